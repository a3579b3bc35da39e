"""`litgo experiment start`, `stop` and `approve`: what a person decides about an experiment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from litgo_pipelines.cli.common import By, Json, Reason, as_json, name_of, registry_of, version_name
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from litgo_pipelines.rollout.experiments import Experiment
    from litgo_pipelines.rollout.planning import Expectation


def start(
    version: Annotated[str, typer.Argument(help="The candidate: a registered version (`litgo model list`).")],
    reason: Reason,
    by: By = None,
    mode: Annotated[Literal["ab", "interleaving"] | None, typer.Option(help="Default: LITGO_EXPERIMENT_MODE.")] = None,
    json: Json = False,
) -> None:
    """Put a candidate on trial against the champion, on the share of the clients that the ramp allows.

    One experiment runs at a time: while one does, the candidate waits in line, in place of any that waits already. A freeze or a cool-down
    does not stop a person. Printed is what can be expected at today's traffic: the lift that can be detected by the last day, and the
    days to a verdict.

    Example: `litgo experiment start 7 --reason "better on held-out cases, let us see"`
    """
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.rollout import experiments, outcomes, states
    from litgo_pipelines.rollout.conduct import start_waiting
    from litgo_pipelines.rollout.planning import expect

    actor, now = name_of(by), datetime.now(UTC)
    with open_marketplace() as marketplace:
        registry = registry_of(marketplace)
        champion = registry.champion()
        if not registry.exists(version):
            raise LitgoError(f"the registry has no version {version}: `litgo model list` lists those there are")
        if version == champion:
            raise LitgoError(f"version {version} is champion already: put another one on trial")
        # One that does not load as it was trained would be served to nobody.
        registry.load(version)
        with marketplace.snapshot() as connection:
            if states.proof_of(connection, version) == "blocked":
                raise LitgoError(f"version {version} is blocked: `litgo model history --version {version}` says why; try another one")
        terms = experiments.Terms.of(marketplace.settings, mode)
        with marketplace.engine.begin() as connection:
            queued = experiments.queue(
                connection, version, version_name(champion), terms, actor=actor, reason=reason, at=now, evidence={"judged": "person"}
            )
        _, ruling = start_waiting(marketplace.engine, registry, actor=actor, at=now, by_itself=False)
        with marketplace.snapshot() as connection:
            found = experiments.find(connection, queued.id)
            expected = expect(
                outcomes.daily_clients(connection, now),
                outcomes.base_rates(connection, now),
                found.steps,
                found.max_days,
                interleaving=found.mode == "interleaving",
            )
    reasons = [] if ruling is None else ruling.reasons
    if json:
        typer.echo(as_json({"experiment": found, "reasons": reasons, "expected": expected}))
        return
    typer.echo(_begun(found, reasons))
    _print(expected)


def stop(reason: Reason, by: By = None) -> None:
    """End the experiment that runs, or take the one in line out of it; the champion answers everybody again within seconds.

    Example: `litgo experiment stop --reason "the candidate was trained on wrong labels"`
    """
    from litgo_pipelines.cli.common import transaction
    from litgo_pipelines.rollout import experiments

    actor, now = name_of(by), datetime.now(UTC)
    with transaction() as connection:
        experiments.take_turn(connection)
        found = experiments.running(connection) or experiments.waiting(connection)
        if found is None:
            raise LitgoError("no experiment runs and none waits: there is nothing to stop")
        experiments.end(connection, found.id, verdict="stopped", conclusion=reason, actor=actor, at=now)
    typer.echo(f"Stopped: version {found.challenger} against {found.champion} ({found.id}).")


def approve(reason: Reason, by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who approves; it is recorded.")]) -> None:
    """Approve the promotion of a candidate that won its experiment, where LITGO_PROMOTION is `approve`.

    It is carried out by the next run of `read_experiment`, within a minute where the daemon runs. A candidate that does harm in the
    meantime is stopped all the same.

    Example: `litgo experiment approve --by "Ana Souza" --reason "figures checked"`
    """
    from litgo_pipelines.cli.common import transaction
    from litgo_pipelines.rollout import experiments

    with transaction() as connection:
        found = experiments.approve(connection, by=by, reason=reason, at=datetime.now(UTC))
    typer.echo(f"{by} approved version {found.challenger}: it is promoted with the next reading (`litgo run read_experiment` reads now).")


def _begun(found: Experiment, reasons: list[str]) -> str:
    why = "; ".join(reasons)
    if found.status == "running":
        steps = ", ".join(f"{one:.0%}" for one in found.steps)
        return f"Running: version {found.challenger} against {found.champion} ({found.id}), {found.mode}; ramp {steps} of the clients."
    if found.status == "waiting":
        return f"In line: version {found.challenger} ({found.id}): {why}."
    return f"Not started: version {found.challenger}: {why}."


def _print(expected: Expectation) -> None:
    from rich.console import Console
    from rich.table import Table

    from litgo_pipelines.rollout.planning import LIFTS

    if not expected.metrics:
        typer.echo(f"{expected.daily_clients:.1f} clients a day of late: too little is known to say what it will show, and when.")
        return
    typer.echo(
        f"At today's traffic ({expected.daily_clients:.1f} clients a day, {expected.share:.0%} in treatment from the last step on), "
        f"with probability .8:"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("metric", "today", f"detectable in {expected.max_days:g} days", *(f"days if +{lift:.0%}" for lift in LIFTS)):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for one in expected.metrics:
        days = ["never" if day is None else f"{day:,.0f}" for day in one.days]
        table.add_row(one.metric, f"{one.base:.3f}", "none" if one.detectable is None else f"+{one.detectable:.0%}", *days)
    Console().print(table)
