"""Reading CSV: the header and its delimiter, and records, which may go over several lines.

A quote that nobody closes costs its own line, never the good lines after it. What the columns mean is `columns`.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from litgo_pipelines.casework.history.columns import Columns
from litgo_pipelines.casework.history.lines import MAX_LINE_BYTES, HistoryError, Line, fault_of, text_lines

_DELIMITERS = (",", ";", "\t")
_QUOTED_LINES = 1_000


def delimited_lines(path: Path, stream: IO[bytes]) -> Iterator[Line]:
    """The records, each with the number of its first line. Raises HistoryError for a header that cannot be used."""
    lines = text_lines(stream)
    table = _header(path, next(lines, None))
    return _records(lines, table)


@dataclass(frozen=True)
class _Table:
    delimiter: str
    names: list[str]
    columns: Columns


def _header(path: Path, first: tuple[int, bytes] | None) -> _Table:
    if first is None:
        raise HistoryError(f"{path} holds no lines: nothing to import")
    number, raw = first
    fault = fault_of(raw)
    if fault is not None:
        raise HistoryError(f"{path}: line {number}, which should name the columns, is unreadable ({fault})")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise HistoryError(f"{path}: line {number}, which should name the columns, is not UTF-8") from None
    headers = {delimiter: next(csv.reader([text], delimiter=delimiter)) for delimiter in _DELIMITERS}
    delimiter = max(headers, key=lambda candidate: len(headers[candidate]))
    names = [name.strip() for name in headers[delimiter]]
    return _Table(delimiter, names, Columns.of(names, path))


def _records(lines: Iterator[tuple[int, bytes]], table: _Table) -> Iterator[Line]:
    ahead: deque[tuple[int, bytes]] = deque()
    while (item := ahead.popleft() if ahead else next(lines, None)) is not None:
        number, raw = item
        fields: list[str] | str | None = fault_of(raw)
        if fields is None and _leaves_open(raw) and (further := _quoted_lines(lines, ahead)):
            joined = b"\n".join([raw, *(ahead[index][1] for index in range(further))])
            fields = _joined_fields(joined, table)
            if fields is not None:
                raw = joined
                for _ in range(further):
                    ahead.popleft()
        if fields is None:
            fields = _fields(raw, table)
        if isinstance(fields, str):
            yield Line(number, raw, None, fields)
        else:
            yield Line(number, raw, table.columns.record(dict(zip(table.names, fields, strict=True))), None)


def _leaves_open(raw: bytes) -> bool:
    return raw.count(b'"') % 2 == 1


def _fields(raw: bytes, table: _Table) -> list[str] | str:
    """The fields of one line, or its fault."""
    try:
        fields = next(csv.reader([raw.decode()], delimiter=table.delimiter))
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    except csv.Error as error:
        return f"not CSV: {error}"
    width = len(table.names)
    return fields if len(fields) == width else f"has {len(fields)} columns where the header has {width}"


def _quoted_lines(lines: Iterator[tuple[int, bytes]], ahead: deque[tuple[int, bytes]]) -> int:
    """How many further lines it takes to close an open quote; 0 if none does soon. They are in `ahead` afterwards."""
    size = 0
    for index in range(_QUOTED_LINES):
        if index == len(ahead):
            item = next(lines, None)
            if item is None:
                return 0
            ahead.append(item)
        raw = ahead[index][1]
        size += len(raw)
        if size > MAX_LINE_BYTES:
            return 0
        if _leaves_open(raw):
            return index + 1
    return 0


def _joined_fields(joined: bytes, table: _Table) -> list[str] | None:
    """Fields of a record over several lines, or None: a stray quote must not swallow the good lines up to the next one."""
    try:
        records = list(csv.reader(io.StringIO(joined.decode(), newline=""), delimiter=table.delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    if len(records) != 1 or len(records[0]) != len(table.names):
        return None
    cells = dict(zip(table.names, records[0], strict=True))
    return None if any("\n" in cells[name] for name in table.columns.unbroken) else records[0]
