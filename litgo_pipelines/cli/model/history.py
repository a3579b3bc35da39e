"""`litgo model history`, `show` and `annotate`: what was decided about models, by whom, why, and the words a person adds to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import By, Json, Reason, answer, as_json, moment, name_of, transaction, version_name

if TYPE_CHECKING:
    from litgo_pipelines.rollout.decisions import Decision

Number = Annotated[int, typer.Argument(metavar="DECISION", min=1, help="Number of a decision, as `litgo model history` shows it.")]

_UNEXPLAINED = "unexplained"
_MOST_OF_A_REASON = 300


def history(
    version: Annotated[str | None, typer.Option("--version", metavar="N", help="Decisions about this version alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    json: Json = False,
) -> None:
    """List what was decided about models, newest first: who, from which version to which, what came of it, and why.

    What somebody did in MLflow's own pages is listed too, as `mlflow-ui`; it is marked `unexplained` until somebody says why with
    `litgo model annotate`.

    Example: `litgo model history --version 3 --limit 50`
    """
    from litgo_pipelines.rollout import decisions

    with transaction() as connection:
        found = decisions.history(connection, limit, version=version)
        flagged = {one.id for one in decisions.unexplained(connection)}
    if json:
        typer.echo(as_json({"decisions": [{**asdict(one), _UNEXPLAINED: one.id in flagged} for one in found]}))
    elif found:
        _print(found, flagged)
    else:
        typer.echo("Nothing was decided yet." if version is None else f"Nothing was decided about version {version} yet.")


def show(number: Number, json: Json = False) -> None:
    """Show one decision with the evidence it rests on.

    What `--json` prints can be given to `litgo model replay`, here or on another machine.

    Example: `litgo model show 12 --json > decision.json`
    """
    from litgo_pipelines.rollout import decisions

    with transaction() as connection:
        found = decisions.find(connection, number)
        notes = [one for one in decisions.history(connection, 10_000, after=number) if one.about == number]
    typer.echo(as_json(found) if json else "\n".join(_told(found, notes)))


def annotate(number: Number, reason: Reason, by: By = None, json: Json = False) -> None:
    """Add to a decision why it was taken, such as a change that somebody made in MLflow's own pages.

    Nothing recorded is changed: the note is a decision of its own that speaks of the other.

    Example: `litgo model annotate 12 --reason "hotfix agreed with the on-call"`
    """
    from litgo_pipelines.rollout import decisions

    with transaction() as connection:
        found = decisions.annotate(connection, number, actor=name_of(by), reason=reason, at=datetime.now(UTC))
    answer(json, found, f"Noted by {found.actor} as decision {found.id}, about decision {number}.")


def _print(found: Sequence[Decision], flagged: Collection[int]) -> None:
    """A line of facts for each decision and its reason below. What was intended is told only where it has not come to an end."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console, concluded = Console(highlight=False), {one.operation_id for one in found if one.stage == "outcome"}
    shown = [one for one in found if one.stage == "outcome" or one.operation_id not in concluded]
    width = len(str(shown[0].id))
    for one in shown:
        head = Text.assemble(
            (f"{one.id:>{width}}", "bold"),
            f"  {moment(one.decided_at)}  ",
            (one.action if one.about is None else f"{one.action} of {one.about}", "cyan"),
            *(f"  {told}" for told in [_versions(one)] if told),
            f": {one.result or 'intended, not concluded'}, by {one.actor}",
            (f"  {_UNEXPLAINED}" if one.id in flagged else "", "yellow"),
        )
        console.print(head, soft_wrap=True)
        reason = one.reason if len(one.reason) <= _MOST_OF_A_REASON else f"{one.reason[:_MOST_OF_A_REASON]}… (litgo model show {one.id})"
        console.print(Padding(Text(reason), (0, 0, 0, width + 2), expand=False))
    if flagged:
        console.print(f"[yellow]{len(flagged)} unexplained[/]: say why with `litgo model annotate NUMBER --reason TEXT`.")


def _versions(one: Decision) -> str:
    if one.from_version == one.to_version:
        return one.to_version or ""
    return f"{version_name(one.from_version)} -> {version_name(one.to_version)}"


def _told(found: Decision, notes: Sequence[Decision]) -> list[str]:
    """One decision, a line for each of its facts, its evidence last."""
    lines = [
        f"Decision {found.id}: {found.action}, {found.stage}",
        f"  when      {moment(found.decided_at)}",
        f"  by        {found.actor}",
        f"  versions  {_versions(found) or '-'}",
        f"  result    {found.result or 'none: it was intended'}",
        f"  reason    {found.reason}",
        f"  operation {found.operation_id}",
    ]
    if found.dagster_run_id is not None:
        lines.append(f"  run       {found.dagster_run_id}")
    if found.about is not None:
        lines.append(f"  about     decision {found.about}")
    lines += [f"  note      {one.reason} ({one.actor}, {moment(one.decided_at)})" for one in notes if one.action == "annotation"]
    return [*lines, "Evidence:", as_json(found.evidence) if found.evidence else "  none: nothing was computed"]
