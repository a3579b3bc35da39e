"""`litgo import-history`: the verb, its progress bar and its printed summary. The import itself is `casework.history`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from litgo_pipelines.casework.history import ImportSummary


def import_history(
    file: Annotated[Path, typer.Argument(help="The history: .jsonl, .csv (both also .gz) or .parquet.", show_default=False)],
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="What a label of the file means: won, accepted, declined or lost. May be repeated."),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where lines that cannot be used go, with number and reason; replaced or removed at each import. "
            "Default: FILE.rejects.jsonl beside the history.",
            show_default=False,
        ),
    ] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="jsonl, csv or parquet, where the suffix does not say it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Import the match history of the product's old backend.

    Each line is one match that was shown and what became of it:

    ```json
    {"event": "match", "case_id": "C-1", "lawyer_id": "L-7", "features": {"A": 1,
    "S": 0.8, "T": 0.6, "G": 0.9, "Q": 0.7, "U": 0.5, "R": 0.8}, "label": "won",
    "timestamp": "2025-03-01T12:00:00Z", "position": 1, "area": "trabalhista"}
    ```

    all of it on one line. `event` is match or recommend; `C` (a feature), `timestamp`, `position` and `area` may be absent.
    CSV and Parquet have the same columns, with `A` to `R` and `C` beside the others or in one column of JSON, `features`.

    Importing a file again changes nothing; a line that differs corrects the row that is there. Bad lines are set aside and
    never stop the good ones. If anything else fails, nothing is imported.

    Exits with 1 if not one line could be used, with 2 if the file or the database cannot be used.

    Example: `litgo import-history old.jsonl --label hired=won --label refused=declined`
    """
    from litgo_pipelines.casework import history
    from litgo_pipelines.cli.marketplace import open_marketplace

    labels = _labels(label or [])
    with open_marketplace() as place, _progress_bar() as on_progress:
        summary = history.import_history(
            place.engine, file, labels=labels, rejects=rejects, file_format=file_format, on_progress=on_progress
        )
    _print(summary, as_json=as_json)
    if summary.all_bad:
        raise typer.Exit(1)


def _labels(given: Sequence[str]) -> dict[str, str]:
    from litgo_pipelines.casework.history import LABELS, HistoryError

    found: dict[str, str] = {}
    for pair in given:
        old, separator, new = (part.strip() for part in pair.rpartition("="))
        if not (old and separator and new):
            raise HistoryError(f"--label takes OLD=NEW, as in --label hired=won, not {pair!r}; NEW is one of {', '.join(LABELS)}")
        if found.setdefault(old, new) != new:
            raise HistoryError(f"--label maps {old!r} twice, to {found[old]!r} and to {new!r}: say which")
    return found


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes read on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description="reading" if done < total else "writing")

        yield show


def _print(summary: ImportSummary, *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    if as_json:
        typer.echo(json.dumps(asdict(summary), default=str))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, count, meaning in (
        ("lines", summary.lines, f"of {summary.cases:,} cases and {summary.lawyers:,} lawyers, in {summary.seconds:.1f} s"),
        ("inserted", summary.inserted, "new"),
        ("updated", summary.updated, "corrected what was there"),
        ("unchanged", summary.unchanged, "were there already"),
        ("repeated", summary.repeated, "a later line of this file replaces them"),
        ("rejected", summary.rejected, "cannot be used"),
    ):
        table.add_row(name, f"{count:,}", meaning)
    console = Console()
    console.print(table)
    if summary.rejects_file is not None:
        console.print(f"Why lines were rejected: {summary.rejects_file}", markup=False, highlight=False, soft_wrap=True)
