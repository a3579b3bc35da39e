"""`litgo triage list` and `decide`: cases of whose area the triage was not sure, and the person who says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from litgo_pipelines.cli.common import By, Json, Reason, as_json, moment, name_of, percent, transaction
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from litgo_pipelines.casework.triage_recording import Triaged, Undecided

_SHOWN = 400


def list_triages(
    undecided: Annotated[bool, typer.Option("--undecided", help="Only cases that wait for a person, with what the client told.")] = False,
    most: Annotated[int, typer.Option("--most", min=1, help="Cases shown at most.")] = 50,
    json: Json = False,
) -> None:
    """List cases that were triaged, the newest first; with `--undecided` those that wait for a person, the most urgent first.

    With `--undecided` the clients' own words are shown: they are for the house.

    Example: `litgo triage list --undecided`
    """
    from litgo_pipelines.casework.triage_recording import latest
    from litgo_pipelines.casework.triage_recording import undecided as waiting

    with transaction() as connection:
        found: list[Undecided] | list[Triaged] = waiting(connection, most) if undecided else latest(connection, most)
    if json:
        typer.echo(as_json(found))
    elif not found:
        typer.echo("No case waits for a decision." if undecided else "No case was triaged.")
    else:
        _print(found)


def decide(
    case: Annotated[str, typer.Argument(metavar="CASE", help="The case's id.")],
    area: Annotated[str, typer.Option("--area", metavar="AREA", help="Area of law that the case is of.")],
    reason: Reason,
    subarea: Annotated[str | None, typer.Option("--subarea", metavar="SUBAREA", help="Part of the area.")] = None,
    by: By = None,
    json: Json = False,
) -> None:
    """Say which area a case is of that the triage was not sure of. The case becomes open: lawyers of that area can be found for it.

    Example: `litgo triage decide 0b0e9c1e-3a55-4b8e-9d4e-0f6f0a4c7d11 --area família --reason "a pensão é o que importa ao cliente"`
    """
    from litgo_pipelines.casework.triage_examples import read_examples
    from litgo_pipelines.casework.triage_recording import decide as carry_out

    try:
        case_id = UUID(case)
    except ValueError:
        raise LitgoError(f"{case!r} is no id of a case: see `litgo triage list --undecided`") from None
    name, parts = name_of(by), {(one.area, one.subarea) for one in read_examples() if one.area}
    known = sorted({str(one) for one, _ in parts})
    if subarea is not None and area in known and (area, subarea) not in parts:
        raise LitgoError(f"{area} has no subarea {subarea!r}: choose one of {', '.join(sorted(str(b) for a, b in parts if a == area))}")
    with transaction() as connection:
        carry_out(connection, case_id, area=area, subarea=subarea, by=name, reason=reason, at=datetime.now(UTC), known=known)
    told = f"Case {case_id} is of {area}{f' / {subarea}' if subarea else ''} and open."
    if json:
        typer.echo(as_json({"case_id": case_id, "area": area, "subarea": subarea, "decided_by": name}))
    else:
        typer.echo(told)


def _print(found: list[Undecided] | list[Triaged]) -> None:
    """A paragraph a case: ids and a client's words do not fit beside one another."""
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    from litgo_pipelines.casework.triage_recording import Undecided

    console = Console(highlight=False)
    for one in found:
        console.print(f"[bold]{one.case_id}[/bold]  told {moment(one.created_at)}")
        facts = [f"{percent(one.confidence)} sure", f"{one.urgency_h} h", one.complexity]
        if isinstance(one, Undecided):
            facts = [f"perhaps {one.likeliest}", *facts]
            words = f"{one.summary[:_SHOWN]}…" if len(one.summary) > _SHOWN else one.summary
        else:
            facts = [one.area or "no area", *facts, one.status, *([] if one.decided_by is None else [f"decided by {one.decided_by}"])]
            words = ""
        console.print(Padding(escape(", ".join(facts)), (0, 0, 0, 2)))
        if words:
            console.print(Padding(f"[italic]{escape(words)}[/italic]", (0, 0, 0, 2)))
