"""`litgo triage ask`: what a telling is about, and by which examples."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import Json, as_json, percent
from litgo_pipelines.cli.triage import triage_here
from litgo_pipelines.settings import LitgoError, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.casework.triage import Judged, Triage

_SHOWN = 90


def ask(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What happened, in Portuguese, as a client tells it.")], json: Json = False
) -> None:
    """Say what a client's telling is about: area, subarea, urgency, complexity, how sure that is, and the nearest labelled examples.

    Nothing is stored. Below a confidence of `LITGO_TRIAGE_CONFIDENCE` no area is named. A database is needed only to ask OpenAI.

    Example: `litgo triage ask "Fui demitida grávida e não pagaram meu acerto"`
    """
    from litgo_pipelines.marketplace.vectors import Vectors

    if not text.strip():
        raise LitgoError("there is nothing to triage: the text is empty")
    with triage_here(get_settings()) as (triage, embedding):
        texts = embedding.texts([text])
        found = triage.judge(text, [Vectors(space, rows) for space, rows in texts.by_space.items()])
    if texts.trouble is not None:
        typer.echo(f"litgo: {texts.trouble}", err=True)
    if json:
        typer.echo(as_json(asdict(found)))
    else:
        _print(found, triage)


def _print(found: Judged, triage: Triage) -> None:
    from rich.console import Console
    from rich.table import Table

    if found.area is None:
        typer.echo(f"Not sure (confidence {percent(found.confidence)}). Likeliest: {', '.join(found.likely)}. A person would decide.")
    else:
        typer.echo(f"{found.area} / {found.subarea}, confidence {percent(found.confidence)}")
    typer.echo(f"Urgency {found.urgency_h} h, complexity {found.complexity}; compared in {found.space}.")
    texts = {one.id: one.text for one in triage.examples}
    table = Table(title="Nearest labelled examples", title_justify="left")
    for heading in ("example", "area", "subarea", "text"):
        table.add_column(heading, no_wrap=heading == "example")
    table.add_column("nearness", justify="right")
    for one in found.nearest:
        text = texts[one.example]
        told = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        table.add_row(one.example, one.area or "-", one.subarea or "-", told, f"{one.nearness:.1f}")
    Console().print(table)
