"""Import of the product's old match history: from a file into the table `match_history`.

What lives here: the import as a whole, and what it answers. `lines` says what a line is; `reading` finds the format and reads JSON
lines, `delimited` CSV, `parquet` Parquet, the latter two through `columns`; `checking` makes rows of lines, `rejects` sets bad ones
aside, `writing` is the database.
What does not: which of these rows a model learns from (`ranking`), the progress bar and the printed summary (`cli/history.py`).

A row is identified by event, case, lawyer and time of occurrence, where "no time" is equal to itself. A line that is there
already changes nothing; one with another label, feature, position or area corrects the row, which keeps its place in the order
of arrival (`seq`, `ordered_at`, `imported_at`). Of several such lines in one file the last one counts, in the place of the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from litgo_pipelines.casework.history.checking import Checker, case_uuid, known_labels, lawyer_uuid
from litgo_pipelines.casework.history.lines import LABELS, HistoryError
from litgo_pipelines.casework.history.reading import format_of, opened
from litgo_pipelines.casework.history.rejects import rejects_file
from litgo_pipelines.casework.history.writing import connected, stage, write

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["LABELS", "HistoryError", "ImportSummary", "case_uuid", "import_history", "lawyer_uuid"]


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
    known = known_labels(labels or {})
    chosen = format_of(path, file_format)
    with rejects_file(path, rejects) as rejected, opened(path, chosen) as source, connected(engine) as connection:
        checker = Checker(known, rejected)
        stage(connection, map(checker.rows, source.batches), lambda: report(source.done(), source.size))
        if checker.lines == 0:
            raise HistoryError(f"{path} holds no lines: nothing to import")
        rejects_path = rejected.finish()
        report(source.size, source.size)
        written = write(connection)
    return ImportSummary(
        lines=checker.lines,
        inserted=written.inserted,
        updated=written.updated,
        unchanged=written.rows - written.inserted - written.updated,
        repeated=checker.lines - rejected.count - written.rows,
        rejected=rejected.count,
        rejects_file=rejects_path,
        seconds=round(time.perf_counter() - started, 3),
        cases=written.cases,
        lawyers=written.lawyers,
    )
