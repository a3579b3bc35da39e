"""`litgo triage evaluate`: how often the triage is right on labelled tellings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import Json, as_json, percent
from litgo_pipelines.cli.triage import triage_here
from litgo_pipelines.settings import LitgoError, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.casework.triage_quality import TriageQuality

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE.csv",
        help="Columns id, area, subarea, urgency_h, complexity, text; UTF-8. Without an area: none should be named.",
        show_default=False,
    ),
]


def evaluate(file: File, json: Json = False) -> None:
    """Measure on labelled tellings how often the triage finds area, subarea, urgency and complexity, and how often it abstains.

    `accuracy` counts the likeliest area of every telling; `coverage` is the share of which it was sure enough to name it, and
    `accuracy_named` how often that was right. The tellings must not be among the examples.

    Example: `litgo triage evaluate litgo_pipelines_tests/data/triage_held_out.csv --json`
    """
    from litgo_pipelines.casework.triage_examples import read_examples
    from litgo_pipelines.casework.triage_quality import measure
    from litgo_pipelines.marketplace.vectors import Vectors

    tellings = read_examples(file)
    if not any(one.area for one in tellings):
        raise LitgoError(f"{file} has no telling with an area: there is nothing to measure")
    with triage_here(get_settings()) as (triage, embedding):
        known = {one.text for one in triage.examples}
        if same := next((one.id for one in tellings if one.text in known), None):
            raise LitgoError(f"{file}: telling {same} is a labelled example itself: leave out what the triage knows")
        texts = embedding.texts([one.text for one in tellings])
        judged = [
            triage.judge(one.text, [Vectors(space, rows[row : row + 1]) for space, rows in texts.by_space.items()])
            for row, one in enumerate(tellings)
        ]
    if texts.trouble is not None:
        typer.echo(f"litgo: {texts.trouble}", err=True)
    found = measure(tellings, judged)
    if json:
        typer.echo(as_json(found))
    else:
        _print(found)


def _print(found: TriageQuality) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found.tellings} tellings with an area, compared in {found.space}", title_justify="left")
    table.add_column("area")
    for heading in ("tellings", "likeliest right", "named", "right of these"):
        table.add_column(heading, justify="right")
    for one in found.areas:
        of_named = percent(one.named_right / one.named) if one.named else "-"
        table.add_row(one.area, str(one.tellings), percent(one.accuracy), str(one.named), of_named)
    of_named = "-" if found.accuracy_named is None else percent(found.accuracy_named)
    named = round(found.coverage * found.tellings)
    table.add_row("all", str(found.tellings), percent(found.accuracy), str(named), of_named, style="bold")
    console = Console()
    console.print(table)
    for told in _told(found):
        console.print(told, markup=False)


def _told(found: TriageQuality) -> list[str]:
    def share(value: float | None) -> str:
        return "-" if value is None else percent(value)

    return [
        f"An area is named for {percent(found.coverage)}; mean confidence there {share(found.mean_confidence)}.",
        f"Subarea right where the area is: {share(found.subarea_accuracy)}. Complexity: {percent(found.complexity_accuracy)}.",
        f"Urgency: median error {found.urgency_error_h:g} h; given twice its hours or more: {percent(found.too_late)}.",
        f"Without an area: {found.vague} tellings, of which {share(found.abstained)} were left to a person.",
        "Worst pairs: " + ("; ".join(f"{one.area} taken for {one.taken_for} ({one.tellings})" for one in found.confused) or "none") + ".",
    ]
