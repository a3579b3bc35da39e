"""Import of the product's old match history: from a file into the table `match_history`.

What lives here: reading JSON lines, CSV and Parquet, checking each line, writing the good ones, setting the bad ones aside.
What does not: which of these rows a model learns from (`ranking`), the progress bar and the printed summary (`cli/history.py`).

An import is all or nothing. The good lines are copied into a temporary table of this connection, batch by batch, each committed
at once: no transaction is open while the file is read, because one would hold back every reader of `events`. One transaction
at the end then corrects and adds the rows; whatever breaks before it commits leaves the history as it was. Other imports wait
for that transaction, readers do not.

A row is identified by event, case, lawyer and time of occurrence, where "no time" is equal to itself. A line that is there
already changes nothing; one with another label, feature, position or area corrects the row, which keeps its place in the order
of arrival (`seq`, `ordered_at`, `imported_at`). Of several such lines in one file the last one counts, in the place of the first.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
import re
import reprlib
import textwrap
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, cast
from uuid import UUID, uuid5

from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

Format = Literal["jsonl", "csv", "parquet"]

EVENTS = ("match", "recommend")
LABELS = ("won", "accepted", "declined", "lost")
NEEDED_FEATURES = ("A", "S", "T", "G", "Q", "U", "R")
OPTIONAL_FEATURE = "C"
MAX_LINE_BYTES = 1_000_000
MAX_POSITION = 32_767
FIRST_YEAR, LAST_YEAR = 1990, 2099
BATCH_LINES = 20_000
REJECTED_TEXT_CHARACTERS = 2_000

_NAMESPACE = UUID("8a1c6f0e-6f0b-5c55-9d5b-0c6a2f4f7e21")
_CASES, _LAWYERS = uuid5(_NAMESPACE, "case"), uuid5(_NAMESPACE, "lawyer")

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_NEEDED_COLUMNS = ("event", "case_id", "lawyer_id", "label")
_OPTIONAL_COLUMNS = ("timestamp", "position", "area")
_DELIMITERS = (",", ";", "\t")
_QUOTED_LINES = 1_000
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")

_UUID_TEXT = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_UNIX_TEXT = re.compile(r"[0-9]{9,}(?:\.[0-9]*)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM = 1e11
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class HistoryError(LitgoError, ValueError):
    """The file, or what was asked for it, cannot be used at all; the message is one line that says what to do."""


class _BadLineError(ValueError):
    """One line cannot be used; the message is the reason in the rejects file."""


@dataclass(frozen=True)
class ImportSummary:
    """What an import did.

    Of the file's `lines` (empty ones left out) each is one of `inserted` (a new row), `updated` (corrected a row), `unchanged`
    (was there already), `repeated` (a later line of the same file replaces it) and `rejected` (bad; see `rejects_file`, None
    where there are none). `cases` and `lawyers` count the different ones in the good lines.
    """

    lines: int
    inserted: int
    updated: int
    unchanged: int
    repeated: int
    rejected: int
    rejects_file: Path | None
    seconds: float
    cases: int
    lawyers: int

    @property
    def all_bad(self) -> bool:
        """Whether not a single line could be used."""
        return self.rejected == self.lines


def import_history(
    engine: Engine,
    path: Path,
    *,
    labels: Mapping[str, str] | None = None,
    rejects: Path | None = None,
    file_format: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportSummary:
    """Import a file of old matches; doing it again changes nothing.

    Args:
        engine: of a database at this code's schema.
        path: JSON lines, CSV (comma, semicolon or tab; UTF-8) or Parquet; the first two may be gzipped.
        labels: the file's label -> one of `LABELS`, beside those four themselves; case and outer spaces do not count.
        rejects: JSON lines `{"line", "reason", "text"}` of the bad lines, text cut to 2,000 characters. By default
            `<path>.rejects.jsonl`, in the current folder where that of `path` is not writable. It always tells of the last
            import: without bad lines an older one is removed.
        file_format: `jsonl`, `csv` or `parquet` where the suffix does not say it.
        on_progress: called with the bytes read and those of the file. Once both are equal the rows are written.

    Returns:
        The counts. Line numbers and order are those of the file: lines without a time are ordered by that of the nearest
        line before, bad ones included.

    Raises:
        HistoryError: the file is missing, empty, unreadable, of no known format or lacks columns; a label maps to none of ours;
            the rejects cannot be written. Nothing was imported.
        DatabaseError: the database failed. Nothing was imported.
    """
    started = time.perf_counter()
    path = Path(path)
    report = on_progress or (lambda _done, _total: None)
    known = _known_labels(labels or {})
    chosen = _format_of(path, file_format)
    with ExitStack() as stack:
        rejected = stack.enter_context(_rejects_file(path, rejects))
        source = stack.enter_context(_opened(path, chosen))
        reading = _Reading(known, rejected)
        connection = stack.enter_context(_connected(engine))
        _stage(connection, reading, source, lambda: report(source.done(), source.size))
        if reading.lines == 0:
            raise HistoryError(f"{path} holds no lines: nothing to import")
        rejects_file = rejected.finish()
        report(source.size, source.size)
        written = _write(connection)
    return ImportSummary(
        lines=reading.lines,
        inserted=written.inserted,
        updated=written.updated,
        unchanged=written.rows - written.inserted - written.updated,
        repeated=reading.lines - rejected.count - written.rows,
        rejected=rejected.count,
        rejects_file=rejects_file,
        seconds=round(time.perf_counter() - started, 3),
        cases=written.cases,
        lawyers=written.lawyers,
    )


@lru_cache(maxsize=1 << 16)
def case_uuid(text: str) -> UUID:
    """The id of an old case: itself if it is a UUID, else a stable one (uuid5)."""
    return UUID(text) if _UUID_TEXT.fullmatch(text) else uuid5(_CASES, text)


@lru_cache(maxsize=1 << 16)
def lawyer_uuid(text: str) -> UUID:
    """The id of an old lawyer: itself if it is a UUID, else a stable one that no case has (uuid5)."""
    return UUID(text) if _UUID_TEXT.fullmatch(text) else uuid5(_LAWYERS, text)


def _known_labels(given: Mapping[str, str]) -> dict[str, str]:
    known = {label: label for label in LABELS}
    for label, ours in given.items():
        if ours not in LABELS:
            raise HistoryError(f"label {label!r} cannot become {ours!r}: choose one of {', '.join(LABELS)}")
        known[label.strip().casefold()] = ours
    return known


def _format_of(path: Path, asked: str | None) -> Format:
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


class _Line(NamedTuple):
    """A line of the file: its record, or the fault for which there is none. `source` is what the rejects file shows."""

    number: int
    source: bytes | Mapping[str, Any]
    record: Mapping[str, Any] | None
    fault: str | None


@dataclass(frozen=True)
class _Source:
    lines: Iterator[_Line]
    done: Callable[[], int]
    size: int


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise HistoryError(f"{path} cannot be read ({_one_line(error)}): nothing was imported") from error


@contextmanager
def _opened(path: Path, file_format: Format) -> Iterator[_Source]:
    with _readable(path), ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        size = os.fstat(raw.fileno()).st_size
        start = raw.read(2)
        raw.seek(0)
        if file_format == "parquet":
            yield _parquet_source(path, raw, size)
            return
        if start in _UTF_16_BOMS:
            raise HistoryError(f"{path} is UTF-16: save it as UTF-8")
        stream: IO[bytes] = raw
        if start == _GZIP_MAGIC:
            stream = stack.enter_context(io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw))))
        lines = _json_lines(stream) if file_format == "jsonl" else _csv_lines(path, stream)
        yield _Source(lines, raw.tell, size)


def _physical_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends; one that is too long comes as its beginning, longer than `MAX_LINE_BYTES`."""
    for number in itertools.count(1):
        line = stream.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(MAX_LINE_BYTES)
        else:
            line = line.rstrip(b"\r\n")
        yield number, line.removeprefix(_BOM) if number == 1 else line


def _fault_of(raw: bytes) -> str | None:
    if len(raw) > MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES:,} bytes"
    if b"\0" in raw:
        return "holds a NUL character"
    return None


def _json_lines(stream: IO[bytes]) -> Iterator[_Line]:
    decode = json.JSONDecoder().decode
    for number, raw in _physical_lines(stream):
        if not raw or raw.isspace():
            continue
        fault = _fault_of(raw)
        record: Any = None
        if fault is None:
            try:
                record = decode(raw.decode())
            except UnicodeDecodeError as error:
                fault = f"not UTF-8 at byte {error.start + 1}"
            except json.JSONDecodeError as error:
                fault = f"not JSON: {error.msg} at character {error.pos + 1}"
            except (ValueError, RecursionError) as error:
                fault = f"not JSON that can be read: {error}"
            else:
                if type(record) is not dict:
                    fault = "not a JSON object"
        yield _Line(number, raw, None if fault else record, fault)


@dataclass(frozen=True)
class _Layout:
    """Which column of a table holds what. `features` is empty where one column, `packed`, holds them all."""

    plain: tuple[tuple[str, int], ...]
    features: tuple[tuple[str, int], ...]
    packed: int | None

    @classmethod
    def of(cls, names: Sequence[str], path: Path) -> _Layout:
        """Raises: HistoryError, naming the columns that are missing or there twice."""
        names = [name.strip() for name in names]
        plain = {name: name for name in (*_NEEDED_COLUMNS, *_OPTIONAL_COLUMNS) if name in names}
        features: dict[str, str] = {}
        for feature in (*NEEDED_FEATURES, OPTIONAL_FEATURE):
            for name in (feature, f"features.{feature}"):
                if name in names:
                    features.setdefault(feature, name)
        packed = "features" in names and not all(feature in features for feature in NEEDED_FEATURES)
        missing = [name for name in _NEEDED_COLUMNS if name not in plain]
        if packed:
            features = {}
        else:
            missing += [feature for feature in NEEDED_FEATURES if feature not in features]
        if missing:
            found = textwrap.shorten(", ".join(names), 200, placeholder=" ...")
            raise HistoryError(f"{path} lacks the columns {', '.join(missing)} (found: {found or 'none'})")
        used = (*plain.values(), *features.values(), *(["features"] if packed else []))
        twice = [name for name in used if names.count(name) > 1]
        if twice:
            raise HistoryError(f"{path} has the columns {', '.join(twice)} more than once")
        return cls(
            tuple((field, names.index(name)) for field, name in plain.items()),
            tuple((feature, names.index(name)) for feature, name in features.items()),
            names.index("features") if packed else None,
        )

    @property
    def used(self) -> tuple[int, ...]:
        packed = () if self.packed is None else (self.packed,)
        return tuple(sorted({index for _, index in (*self.plain, *self.features)} | set(packed)))

    @property
    def numeric(self) -> tuple[int, ...]:
        return tuple(index for field, index in (*self.plain, *self.features) if field not in _TEXT_COLUMNS)

    def record(self, values: Sequence[Any]) -> dict[str, Any]:
        record = {field: values[index] for field, index in self.plain}
        if self.packed is None:
            record["features"] = {feature: values[index] for feature, index in self.features}
        else:
            record["features"] = values[self.packed]
        return record


_TEXT_COLUMNS = frozenset({"event", "case_id", "lawyer_id", "label", "timestamp", "area"})


def _number(text: str) -> float | str | None:
    """The number a cell holds, None for an empty one; what is no number stays text, for the check to name."""
    try:
        return float(text) if "_" not in text else text
    except ValueError:
        return text if text.strip() else None


def _unpacked(text: Any) -> Any:
    """The object that a cell of JSON holds; what is none stays as it is, for the check to name."""
    if type(text) is not str:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _csv_lines(path: Path, stream: IO[bytes]) -> Iterator[_Line]:
    lines = ((number, raw) for number, raw in _physical_lines(stream) if raw and not raw.isspace())
    delimiter, layout, width = _csv_header(path, next(lines, None))
    return _csv_records(lines, delimiter, layout, width)


def _csv_header(path: Path, first: tuple[int, bytes] | None) -> tuple[str, _Layout, int]:
    if first is None:
        raise HistoryError(f"{path} holds no lines: nothing to import")
    number, raw = first
    fault = _fault_of(raw)
    if fault is not None:
        raise HistoryError(f"{path}: line {number}, which should name the columns, is unreadable ({fault})")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise HistoryError(f"{path}: line {number}, which should name the columns, is not UTF-8") from None
    headers = {delimiter: next(csv.reader([text], delimiter=delimiter)) for delimiter in _DELIMITERS}
    delimiter = max(headers, key=lambda candidate: len(headers[candidate]))
    return delimiter, _Layout.of(headers[delimiter], path), len(headers[delimiter])


def _csv_records(lines: Iterator[tuple[int, bytes]], delimiter: str, layout: _Layout, width: int) -> Iterator[_Line]:
    ahead: deque[tuple[int, bytes]] = deque()
    numeric, packed = layout.numeric, layout.packed
    one_line = {index for index in layout.used if index != packed}
    while (item := ahead.popleft() if ahead else next(lines, None)) is not None:
        number, raw = item
        cells: list[Any] | str | None = _fault_of(raw)
        if cells is None and raw.count(b'"') % 2 and (further := _quoted_lines(lines, ahead)):
            joined = b"\n".join([raw, *(ahead[index][1] for index in range(further))])
            cells = _joined_fields(joined, delimiter, width, one_line)
            if cells is not None:
                raw = joined
                for _ in range(further):
                    ahead.popleft()
        if cells is None:
            cells = _fields(raw, delimiter, width)
        if isinstance(cells, str):
            yield _Line(number, raw, None, cells)
            continue
        for index in numeric:
            cells[index] = _number(cells[index])
        if packed is not None:
            cells[packed] = _unpacked(cells[packed])
        yield _Line(number, raw, layout.record(cells), None)


def _fields(raw: bytes, delimiter: str, width: int) -> list[Any] | str:
    """The fields of one line, or its fault."""
    try:
        fields = next(csv.reader([raw.decode()], delimiter=delimiter))
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    except csv.Error as error:
        return f"not CSV: {error}"
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
        if raw.count(b'"') % 2:
            return index + 1
    return 0


def _joined_fields(joined: bytes, delimiter: str, width: int, one_line: set[int]) -> list[Any] | None:
    """Fields of a record over several lines, or None: a stray quote must not swallow the good lines up to the next one."""
    try:
        records = list(csv.reader(io.StringIO(joined.decode(), newline=""), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    if len(records) != 1 or len(records[0]) != width or any("\n" in records[0][index] for index in one_line):
        return None
    return records[0]


def _parquet_source(path: Path, raw: IO[bytes], size: int) -> _Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(raw, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise HistoryError(f"{path} is not a Parquet file: {_one_line(error)}") from error
    names = file.schema_arrow.names
    used = [names[index] for index in _Layout.of(names, path).used]
    rows = max(1, file.metadata.num_rows)
    read = 0

    def batches() -> Iterator[_Line]:
        nonlocal read
        try:
            for batch in file.iter_batches(batch_size=BATCH_LINES, columns=used):
                yield from _parquet_lines(batch, _Layout.of(batch.schema.names, path), read)
                read += batch.num_rows
        except pa.ArrowException as error:
            raise HistoryError(f"{path} cannot be read ({_one_line(error)}): nothing was imported") from error

    return _Source(batches(), lambda: size * read // rows, size)


def _parquet_lines(batch: Any, layout: _Layout, before: int) -> Iterator[_Line]:
    names = batch.schema.names
    nullable = {index for field, index in (*layout.plain, *layout.features) if field in {"position", OPTIONAL_FEATURE}}
    columns = [_arrow_values(batch.column(index), nan_is_null=index in nullable) for index in range(len(names))]
    for index in layout.numeric:
        columns[index] = [_number(value) if type(value) is str else value for value in columns[index]]
    if layout.packed is not None:
        columns[layout.packed] = [_unpacked(value) for value in columns[layout.packed]]
    for number, values in enumerate(zip(*columns, strict=True), before + 1):
        yield _Line(number, dict(zip(names, values, strict=True)), layout.record(values), None)


def _arrow_values(column: Any, *, nan_is_null: bool) -> list[Any]:
    """Python values of an Arrow column. NaN is how NumPy and pandas spell a missing value where one may be missing."""
    import pyarrow as pa

    kind = pa.types
    if kind.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind.is_date(column.type):
        column = column.cast(pa.timestamp("s" if kind.is_date32(column.type) else "ms"))
    if kind.is_timestamp(column.type):
        unit = column.type.unit
        return [None if value is None else _arrow_moment(value, unit) for value in column.cast(pa.int64()).to_pylist()]
    if kind.is_decimal(column.type) or kind.is_floating(column.type):
        values = column.cast(pa.float64()).to_pylist()
        return [None if value != value else value for value in values] if nan_is_null else values
    if kind.is_fixed_size_binary(column.type) and column.type.byte_width == 16:
        return [None if value is None else UUID(bytes=value) for value in column.to_pylist()]
    if kind.is_map(column.type):
        return [None if value is None else dict(value) for value in column.to_pylist()]
    try:
        return cast(list[Any], column.to_pylist())
    except UnicodeDecodeError:
        return [None if value is None else _text_or_bytes(value) for value in column.cast(pa.large_binary()).to_pylist()]


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def _arrow_moment(value: int, unit: str) -> datetime | str:
    """The moment, or a text that no timestamp is where Python has no such year."""
    try:
        return _EPOCH + timedelta(microseconds=value * 1_000_000 // _UNITS[unit])
    except OverflowError:
        return f"{value} {unit} since 1970"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class _Reading:
    """Turns lines into rows of the staging table, in the file's order; sets the bad ones aside."""

    def __init__(self, labels: Mapping[str, str], rejects: _Rejects) -> None:
        self.lines = 0
        self._labels = labels
        self._rejects = rejects
        self._latest: datetime | None = None

    def rows(self, lines: Iterable[_Line]) -> Iterator[tuple[Any, ...]]:
        """Rows in the order of `_STAGED`."""
        for line in lines:
            self.lines += 1
            if line.record is None:
                self._rejects.add(line, line.fault or "")
                continue
            try:
                occurred_at, row = _checked(line.record, self._labels)
            except _BadLineError as error:
                self._rejects.add(line, str(error))
                with suppress(_BadLineError):
                    self._latest = _moment(line.record.get("timestamp")) or self._latest
                continue
            self._latest = occurred_at or self._latest
            yield (line.number, self._latest, *row)


def _checked(record: Mapping[str, Any], labels: Mapping[str, str]) -> tuple[datetime | None, tuple[Any, ...]]:
    """Time of occurrence, and the row behind line number and order."""
    event = record.get("event")
    if event not in EVENTS:
        raise _BadLineError(f"event is {_shown(event)}: it must be {' or '.join(EVENTS)}")
    case_id = _identity("case_id", record.get("case_id"), case_uuid)
    lawyer_id = _identity("lawyer_id", record.get("lawyer_id"), lawyer_uuid)
    features = _features(record.get("features"))
    label = _label(record.get("label"), labels)
    occurred_at = _moment(record.get("timestamp"))
    position = _position(record.get("position"))
    return occurred_at, (event, case_id, lawyer_id, *features, label, occurred_at, position, _area(record.get("area")))


def _shown(value: Any) -> str:
    return "missing" if value is None else _SHORT.repr(value)


def _require_storable(field: str, text: str) -> None:
    if "\0" in text:
        raise _BadLineError(f"{field} holds a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _BadLineError(f"{field} holds half a surrogate pair, which is no valid Unicode") from None


def _identity(field: str, value: Any, to_uuid: Callable[[str], UUID]) -> UUID:
    kind = type(value)
    if kind is UUID:
        return cast(UUID, value)
    if kind is float and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    elif value is None:
        raise _BadLineError(f"{field} is missing")
    elif kind is not str and kind is not int:
        raise _BadLineError(f"{field} is {_shown(value)}: it must be text or a whole number")
    text = str(value).strip()
    if not text:
        raise _BadLineError(f"{field} is empty")
    _require_storable(field, text)
    return to_uuid(text)


def _features(given: Any) -> list[float | None]:
    """The eight features in their order; only C may be None."""
    if not isinstance(given, dict):
        raise _BadLineError(f"features is {_shown(given)}: it must be an object with {', '.join(NEEDED_FEATURES)}")
    values: list[float | None] = [_feature(name, given.get(name)) for name in NEEDED_FEATURES]
    optional = given.get(OPTIONAL_FEATURE)
    values.append(None if optional is None else _feature(OPTIONAL_FEATURE, optional))
    return values


def _feature(name: str, value: Any) -> float:
    kind = type(value)
    if kind is not float and kind is not int:
        raise _BadLineError(f"feature {name} is {_shown(value)}{'' if value is None else ': it must be a number'}")
    if not 0 <= value <= 1:
        raise _BadLineError(f"feature {name} is {_shown(value)}: it must lie in 0..1")
    return cast(float, value)


def _label(value: Any, labels: Mapping[str, str]) -> str:
    text = str(value) if type(value) is int else value
    if type(text) is str:
        found = labels.get(text) or labels.get(text.strip().casefold())
        if found is not None:
            return found
    raise _BadLineError(f"label is {_shown(value)}: known are {', '.join(labels)}; map others with --label OLD=NEW")


def _moment(value: Any) -> datetime | None:
    """The time a line tells, in UTC: ISO 8601 (without a zone UTC is meant) or Unix seconds or milliseconds; None for none."""
    if value is None or value == "":
        return None
    kind = type(value)
    if kind is str:
        text = value.strip()
        try:
            moment = _unix_moment(float(text)) if _UNIX_TEXT.fullmatch(text) else datetime.fromisoformat(text)
        except ValueError as error:
            if isinstance(error, _BadLineError):
                raise
            raise _BadLineError(f"timestamp is {_shown(value)}: it must be ISO 8601 or Unix seconds or milliseconds") from None
    elif kind is int or kind is float:
        moment = _unix_moment(value)
    elif kind is datetime:
        moment = value
    else:
        raise _BadLineError(f"timestamp is {_shown(value)}: it must be ISO 8601 or Unix seconds or milliseconds")
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise _BadLineError(f"timestamp is {_shown(str(value))}: its year is not in {FIRST_YEAR}..{LAST_YEAR}")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _unix_moment(value: float) -> datetime:
    if not 0 <= value < _MILLISECONDS_FROM * 100:
        raise _BadLineError(f"timestamp is {_shown(value)}: as Unix time its year is not in {FIRST_YEAR}..{LAST_YEAR}")
    return datetime.fromtimestamp(value / 1000 if value >= _MILLISECONDS_FROM else value, UTC)


def _position(value: Any) -> int | None:
    if value is None or value == "":
        return None
    kind = type(value)
    if (kind is int or (kind is float and value.is_integer())) and 1 <= value <= MAX_POSITION:
        return int(value)
    raise _BadLineError(f"position is {_shown(value)}: it must be a whole number in 1..{MAX_POSITION:,}, or absent where unknown")


def _area(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not str:
        raise _BadLineError(f"area is {_shown(value)}: it must be text")
    text = value.strip()
    _require_storable("area", text)
    return text or None


class _Rejects:
    """The rejects file; it appears whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._file: IO[str] | None = None

    def add(self, line: _Line, reason: str) -> None:
        if isinstance(line.source, bytes):
            text = line.source[: 4 * REJECTED_TEXT_CHARACTERS].decode(errors="replace")
        else:
            text = json.dumps(line.source, default=str)
        self.count += 1
        with self._writable():
            if self._file is None:
                self._file = self._partial.open("w", encoding="utf-8")
            self._file.write(json.dumps({"line": line.number, "reason": reason, "text": text[:REJECTED_TEXT_CHARACTERS]}) + "\n")

    def finish(self) -> Path | None:
        """Put the file in its place, or remove an older one if nothing was rejected."""
        with self._writable():
            if self._file is None:
                self.path.unlink(missing_ok=True)
                return None
            self._file.close()
            self._partial.replace(self.path)
        return self.path

    def abandon(self) -> None:
        """Remove what `finish` did not put in its place."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._partial.unlink(missing_ok=True)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HistoryError(f"rejected lines cannot be written to {self.path} ({error.strerror}): say --rejects FILE") from error


@contextmanager
def _rejects_file(source: Path, asked: Path | None) -> Iterator[_Rejects]:
    path = asked
    if path is None:
        folder = source.parent if os.access(source.parent, os.W_OK) else Path.cwd()
        path = folder / f"{source.name}.rejects.jsonl"
    if path.resolve() == source.resolve():
        raise HistoryError(f"{path} is the file to import: the rejected lines need another one")
    if path.is_dir():
        raise HistoryError(f"{path} is a folder: --rejects takes a file")
    rejects = _Rejects(path)
    try:
        yield rejects
    finally:
        rejects.abandon()


_IDENTITY = ("event", "case_id", "lawyer_id", "occurred_at")
_FEATURE_COLUMNS = tuple(f"feature_{name.lower()}" for name in (*NEEDED_FEATURES, OPTIONAL_FEATURE))
_CONTENT = (*_FEATURE_COLUMNS, "label", "position", "area")
_STAGED = (
    *("line", "ordered_at", "event", "case_id", "lawyer_id"),
    *_FEATURE_COLUMNS,
    *("label", "occurred_at", "position", "area"),
)


def _listed(columns: Iterable[str], table: str = "") -> str:
    return ", ".join(f"{table}.{column}" if table else column for column in columns)


_SAME_ROW = """known.event = latest.event AND known.case_id = latest.case_id AND known.lawyer_id = latest.lawyer_id
    AND known.occurred_at IS NOT DISTINCT FROM latest.occurred_at"""

_KEEP_LATEST = f"""
CREATE TEMPORARY TABLE history_latest AS
SELECT DISTINCT ON ({_listed(_IDENTITY)})
    {_listed((*_IDENTITY, *_CONTENT))}, last_value(line) OVER arrival AS line, last_value(ordered_at) OVER arrival AS ordered_at
FROM pg_temp.history_lines
WINDOW arrival AS (
    PARTITION BY {_listed(_IDENTITY)} ORDER BY history_lines.line DESC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
)
ORDER BY {_listed(_IDENTITY)}, history_lines.line DESC
"""

_COUNT = "SELECT count(*) AS rows, count(DISTINCT case_id) AS cases, count(DISTINCT lawyer_id) AS lawyers FROM pg_temp.history_latest"

# Two imports at once would each miss the other's rows; SELECT goes on.
_TAKE_TURNS = "LOCK TABLE litgo.match_history IN SHARE ROW EXCLUSIVE MODE"

_CORRECT = f"""
UPDATE litgo.match_history AS known
SET ({_listed(_CONTENT)}) = ROW({_listed(_CONTENT, "latest")})
FROM pg_temp.history_latest AS latest
WHERE {_SAME_ROW}
    AND ({_listed(_CONTENT, "known")}) IS DISTINCT FROM ({_listed(_CONTENT, "latest")})
"""

# Identities are drawn behind the sort, so `seq` follows the file.
_ADD = f"""
INSERT INTO litgo.match_history ({_listed((*_IDENTITY, *_CONTENT))}, ordered_at)
SELECT {_listed((*_IDENTITY, *_CONTENT), "latest")}, latest.ordered_at
FROM pg_temp.history_latest AS latest
WHERE NOT EXISTS (SELECT FROM litgo.match_history AS known WHERE {_SAME_ROW})
ORDER BY latest.line
"""


class _Written(NamedTuple):
    rows: int
    cases: int
    lawyers: int
    updated: int
    inserted: int


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    """A connection that is closed afterwards, not returned to the pool: the temporary tables go with it."""
    import psycopg
    from sqlalchemy.exc import SQLAlchemyError

    from litgo_pipelines.marketplace.database import DatabaseError

    try:
        with engine.connect() as connection:
            try:
                yield connection
            finally:
                connection.invalidate()
    except (SQLAlchemyError, psycopg.Error) as error:
        cause = _one_line(getattr(error, "orig", None) or error)
        raise DatabaseError(f"the database failed, nothing was imported: {cause}") from error


def _staging_table() -> Table:
    from sqlalchemy import BigInteger, Column, MetaData, Table

    from litgo_pipelines.marketplace.tables import match_history

    columns = [Column(name, BigInteger if name == "line" else match_history.c[name].type) for name in _STAGED]
    return Table("history_lines", MetaData(), *columns, schema="pg_temp", prefixes=["TEMPORARY"])


def _stage(connection: Connection, reading: _Reading, source: _Source, on_batch: Callable[[], None]) -> None:
    from litgo_pipelines.marketplace.bulk import copy_rows

    table = _staging_table()
    with connection.begin():
        table.create(connection, checkfirst=False)
    while lines := list(itertools.islice(source.lines, BATCH_LINES)):
        with connection.begin():
            copy_rows(connection, table, _STAGED, reading.rows(lines))
        on_batch()


def _write(connection: Connection) -> _Written:
    from sqlalchemy import text

    with connection.begin():
        connection.execute(text("SET LOCAL work_mem = '64MB'"))
        connection.execute(text(_KEEP_LATEST))
        connection.execute(text("ANALYZE pg_temp.history_latest"))
        found = connection.execute(text(_COUNT)).one()
    with connection.begin():
        connection.execute(text(_TAKE_TURNS))
        updated = connection.execute(text(_CORRECT)).rowcount
        inserted = connection.execute(text(_ADD)).rowcount
    return _Written(found.rows, found.cases, found.lawyers, updated, inserted)
