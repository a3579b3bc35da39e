"""`litgo model list`: the registered versions of the ranker, and how each one stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from litgo_pipelines.cli.common import Json, as_json, held_told, moment, percent, registry_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.rollout.freezes import Freeze
    from litgo_pipelines.rollout.registry import Registry, Version
    from litgo_pipelines.rollout.states import State


@dataclass(frozen=True)
class Row:
    """One version as it is listed.

    Attributes:
        gate: verdict of the offline gate; None where none was recorded.
        ndcg_at_5: on the held-out cases, as logged; None where it was not.
        share: of the clients that it answers now, 0..1.
        unexplained: numbers of decisions about it that nobody here took and nobody explained.
    """

    version: str
    created_at: datetime
    aliases: tuple[str, ...]
    state: str
    cooldown_until: datetime | None
    gate: str | None
    ndcg_at_5: float | None
    share: float
    unexplained: tuple[int, ...]


def list_versions(json: Json = False) -> None:
    """List the versions of the ranker, newest first: what the gate said, whether each is proven, and how many clients it answers.

    Where no version is champion the hand weights answer; but one that was deleted in MLflow while it was champion goes on answering
    wherever it is loaded. A version is `unproven` until the watch has found it healthy long enough, and
    `blocked` once it was withdrawn for harm.

    Example: `litgo model list --json`
    """
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION
    from litgo_pipelines.rollout import experiments
    from litgo_pipelines.rollout.audit import shares
    from litgo_pipelines.rollout.following import deleted_champion
    from litgo_pipelines.rollout.freezes import frozen
    from litgo_pipelines.rollout.registry import CHAMPION

    with open_marketplace() as marketplace:
        registry = registry_of(marketplace)
        known = registry.versions()
        champion = next((one.version for one in known if CHAMPION in one.aliases), None)
        with marketplace.snapshot() as connection:
            deleted = deleted_champion(connection, registry) if champion is None else None
            answered = shares(champion or deleted, experiments.running(connection))
            held = frozen(connection)
            rows = _rows(connection, registry, known, answered)
    hand_weights = answered.get(HAND_WEIGHTS_VERSION, 0.0)
    if json:
        typer.echo(as_json({"versions": rows, "hand_weights_share": hand_weights, "deleted_champion": deleted, "frozen": held}))
    else:
        _print(rows, hand_weights, deleted, held, datetime.now(UTC))


def _rows(connection: Connection, registry: Registry, known: Sequence[Version], answered: dict[str, float]) -> list[Row]:
    from litgo_pipelines.rollout.decisions import unexplained
    from litgo_pipelines.rollout.states import states

    found, flagged, ndcg = states(connection), unexplained(connection), _ndcg(registry, known)
    return [
        _row(
            one,
            found.get(one.version),
            ndcg.get(one.run_id or ""),
            answered.get(one.version, 0.0),
            tuple(flag.id for flag in flagged if one.version in (flag.from_version, flag.to_version)),
        )
        for one in known
    ]


def _row(one: Version, state: State | None, ndcg: float | None, share: float, unexplained: tuple[int, ...]) -> Row:
    return Row(
        version=one.version,
        created_at=one.created_at,
        aliases=one.aliases,
        state="unproven" if state is None else state.state,
        cooldown_until=None if state is None else state.cooldown_until,
        gate=one.tags.get("verdict"),
        ndcg_at_5=ndcg,
        share=share,
        unexplained=unexplained,
    )


def _ndcg(registry: Registry, known: Sequence[Version]) -> dict[str, float]:
    """NDCG@5 of the versions' runs, by run id, as far as it was logged."""
    from litgo_pipelines.rollout.tracking import EXPERIMENT, unavailable_as_such

    wanted = {one.run_id for one in known if one.run_id is not None}
    found: dict[str, float] = {}
    with unavailable_as_such(registry.uri):
        experiment = registry.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return found
        page = registry.client.search_runs([experiment.experiment_id], max_results=1000)
        while True:
            found |= {
                run.info.run_id: run.data.metrics["candidate_ndcg_at_5"]
                for run in page
                if run.info.run_id in wanted and "candidate_ndcg_at_5" in run.data.metrics
            }
            if not page.token:
                return found
            page = registry.client.search_runs([experiment.experiment_id], max_results=1000, page_token=page.token)


def _print(rows: Sequence[Row], hand_weights: float, deleted: str | None, held: Freeze | None, now: datetime) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not rows and deleted is None:
        console.print("No version is registered yet: the hand weights answer. `litgo run retrain_ranker` trains one.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("version", "registered (UTC)", "alias", "state", "gate", "NDCG@5", "clients"):
        table.add_column(name, justify="right" if name in ("version", "NDCG@5", "clients") else "left", no_wrap=True)
    table.add_column("")
    for one in rows:
        table.add_row(
            one.version,
            f"{one.created_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            Text(", ".join(one.aliases)),
            Text(one.state, style={"proven": "green", "blocked": "red"}.get(one.state, "")),
            one.gate or "-",
            "-" if one.ndcg_at_5 is None else f"{one.ndcg_at_5:.4f}",
            percent(one.share) if one.share else "-",
            Text(f"unexplained: {', '.join(str(flag) for flag in one.unexplained)}" if one.unexplained else "", style="yellow"),
        )
    if rows:
        console.print(table)
    if deleted is not None:
        console.print(
            f"Version {deleted}, the champion, was deleted in MLflow: what has it loaded keeps answering with version {deleted}, "
            "and what starts without it answers by the hand weights. `litgo model promote VERSION --reason TEXT` lets another one answer.",
            style="yellow",
            markup=False,
        )
    if hand_weights:
        console.print(f"The hand weights answer {percent(hand_weights)} of the clients.")
    if any(one.unexplained for one in rows):
        console.print("Say why with `litgo model annotate NUMBER --reason TEXT`.", style="yellow", markup=False)
    cools = max((one.cooldown_until for one in rows if one.cooldown_until is not None), default=now)
    if cools > now:
        console.print(f"After a rollback nothing is promoted by itself until {moment(cools)}.")
    if held is not None:
        console.print(held_told(held), markup=False)
