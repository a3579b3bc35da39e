"""Reading a history file: which format it has, opening it, and JSON lines. The result is batches of `Line`, whatever the format.

CSV is `delimited`, Parquet `parquet`. What the lines hold is judged in `checking`.
"""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from litgo_pipelines.casework.history.delimited import delimited_lines
from litgo_pipelines.casework.history.lines import HistoryError, Line, fault_of, one_line, text_lines
from litgo_pipelines.casework.history.parquet import ParquetRows

Format = Literal["jsonl", "csv", "parquet"]

BATCH_LINES = 20_000

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_GZIP_MAGIC = b"\x1f\x8b"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Source:
    """An open file: its lines in batches, how many bytes of it are read by now, and its size in bytes."""

    batches: Iterator[list[Line]]
    done: Callable[[], int]
    size: int


def format_of(path: Path, asked: str | None) -> Format:
    """The format as asked for, else as the suffix tells. Raises HistoryError, also where there is no file to read."""
    with _readable(path):
        if not path.exists():
            raise HistoryError(f"{path} does not exist")
        if not path.is_file():
            raise HistoryError(f"{path} is not a file")
        if path.stat().st_size == 0:
            raise HistoryError(f"{path} is empty")
    if asked is not None:
        if asked not in _SUFFIXES.values():
            raise HistoryError(f"format {asked!r} is unknown: choose jsonl, csv or parquet")
        return cast(Format, asked)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    found = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise HistoryError(f"{path} has no suffix that tells its format ({', '.join(_SUFFIXES)}): say --format jsonl, csv or parquet")
    return found


@contextmanager
def opened(path: Path, file_format: Format) -> Iterator[Source]:
    """The open file. Raises HistoryError, also while the batches are read."""
    with _readable(path), path.open("rb") as raw:
        size = path.stat().st_size
        if file_format == "parquet":
            rows = ParquetRows(path, raw)
            yield Source(rows.batches(BATCH_LINES), lambda: int(size * rows.share_read), size)
            return
        start = raw.read(2)
        raw.seek(0)
        if start in _UTF_16_BOMS:
            raise HistoryError(f"{path} is UTF-16: save it as UTF-8")
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if start == _GZIP_MAGIC else raw
        lines = _json_lines(stream) if file_format == "jsonl" else delimited_lines(path, stream)
        yield Source(_batches(lines), raw.tell, size)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise HistoryError(f"{path} cannot be read ({one_line(error)}): nothing was imported") from error


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while batch := list(itertools.islice(lines, BATCH_LINES)):
        yield batch


def _json_lines(stream: IO[bytes]) -> Iterator[Line]:
    for number, raw in text_lines(stream):
        fault = fault_of(raw)
        record: Any = None
        if fault is None:
            try:
                record = json.loads(raw.decode())
            except UnicodeDecodeError as error:
                fault = f"not UTF-8 at byte {error.start + 1}"
            except json.JSONDecodeError as error:
                fault = f"not JSON: {error.msg} at character {error.pos + 1}"
            except (ValueError, RecursionError) as error:
                fault = f"not JSON that can be read: {error}"
            else:
                if type(record) is not dict:
                    fault = "not a JSON object"
        yield Line(number, raw, None if fault else record, fault)
