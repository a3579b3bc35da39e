"""Reading Parquet: batches of rows, and Python values of Arrow's many types. What the columns mean is `columns`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast
from uuid import UUID

from litgo_pipelines.casework.history.columns import Columns
from litgo_pipelines.casework.history.lines import OPTIONAL_FEATURE, HistoryError, Line, one_line

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


class ParquetRows:
    """The rows of a file. `share_read`, in 0..1, is how many of them were read by now."""

    def __init__(self, path: Path, raw: IO[bytes]) -> None:
        """Raises: HistoryError for what is no Parquet, or lacks columns."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(raw, buffer_size=1 << 20)
        except (pa.ArrowException, OSError) as error:
            raise HistoryError(f"{path} is not a Parquet file: {one_line(error)}") from error
        self._path = path
        self._names = self._file.schema_arrow.names
        self._columns = Columns.of([name.strip() for name in self._names], path)
        self._rows = max(1, int(self._file.metadata.num_rows))
        self._read = 0

    @property
    def share_read(self) -> float:
        return self._read / self._rows

    def batches(self, size: int) -> Iterator[list[Line]]:
        """All rows, `size` at a time; numbers are those of the rows, from 1. Raises HistoryError where the file breaks."""
        import pyarrow as pa

        used = [name for name in self._names if name.strip() in self._columns.used]
        try:
            for batch in self._file.iter_batches(batch_size=size, columns=used):
                before = self._read
                self._read += batch.num_rows
                yield _lines(batch, self._columns, before)
        except pa.ArrowException as error:
            raise HistoryError(f"{self._path} cannot be read ({one_line(error)}): nothing was imported") from error


def _lines(batch: Any, columns: Columns, before: int) -> list[Line]:
    names = [name.strip() for name in batch.schema.names]
    nullable = {"position", columns.features.get(OPTIONAL_FEATURE)}
    values = [_values(batch.column(index), nan_is_null=name in nullable) for index, name in enumerate(names)]
    rows = (dict(zip(names, row, strict=True)) for row in zip(*values, strict=True))
    return [Line(number, row, columns.record(row), None) for number, row in enumerate(rows, before + 1)]


def _values(column: Any, *, nan_is_null: bool) -> list[Any]:
    """Python values of an Arrow column. NaN is how NumPy and pandas spell a missing value where one may be missing."""
    import pyarrow as pa

    kind = pa.types
    if kind.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if kind.is_timestamp(column.type):
        unit = column.type.unit
        return [None if value is None else _moment(value, unit) for value in column.cast(pa.int64()).to_pylist()]
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


def _moment(value: int, unit: str) -> datetime | str:
    """The moment, or a text that no timestamp is where Python has no such year."""
    try:
        return _EPOCH + timedelta(microseconds=value * 1_000_000 // _UNITS[unit])
    except OverflowError:
        return f"{value} {unit} since 1970"
