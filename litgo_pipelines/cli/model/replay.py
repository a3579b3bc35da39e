"""`litgo model replay`: whether a recorded decision comes out the same from its evidence alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import Json, as_json
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from litgo_pipelines.rollout.decisions import Decision

DIFFERS = 1

Given = Annotated[
    str, typer.Argument(metavar="DECISION", help="Number of a decision, or a file with one as `litgo model show NUMBER --json` prints it.")
]


def replay(decision: Given, json: Json = False) -> None:
    """Compute a decision again from its evidence alone, and say whether the same comes out.

    With a file neither database nor registry is needed, so that anybody can check a decision anywhere. A decision that a person took
    has nothing to compute; then it is checked that name and reason are recorded. Exits with 1, and says what differs, where something does.

    Example: `litgo model show 12 --json > decision.json` and then `litgo model replay decision.json`
    """
    from litgo_pipelines.rollout.replays import replay as replay_decision

    found = _decision(decision)
    replayed = replay_decision(found)
    if json:
        typer.echo(as_json({"decision": found.id, "action": found.action, **vars(replayed)}))
    else:
        typer.echo(f"Decision {found.id}: {replayed.told}.")
        typer.echo(
            "The same comes out."
            if replayed.same
            else "\n".join(["It does not come out the same:", *(f"- {one}" for one in replayed.differences)])
        )
        for note in replayed.notes:
            typer.echo(f"In other words: {note}")
    if not replayed.same:
        raise typer.Exit(DIFFERS)


def _decision(given: str) -> Decision:
    if given.isdecimal():
        from litgo_pipelines.cli.common import transaction
        from litgo_pipelines.rollout.decisions import find

        with transaction() as connection:
            return find(connection, int(given))
    from litgo_pipelines.rollout.replays import read_decision

    try:
        return read_decision(Path(given).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LitgoError(f"{given} is neither the number of a decision nor a file that can be read ({error})") from None
