"""`litgo experiment start`, `stop` and `approve`: what a person decides about an experiment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from litgo_pipelines.cli.common import By, Json, Reason, answer, as_json, name_of, percent, registry_of, version_name
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.rollout.decisions import Decision
    from litgo_pipelines.rollout.experiments import Experiment
    from litgo_pipelines.rollout.planning import Expectation

_ALL = 10_000


def start(
    version: Annotated[str, typer.Argument(help="The candidate: a registered version (`litgo model list`).")],
    reason: Reason,
    by: By = None,
    mode: Annotated[Literal["ab", "interleaving"] | None, typer.Option(help="Default: LITGO_EXPERIMENT_MODE.")] = None,
    json: Json = False,
) -> None:
    """Put a candidate on trial against the champion, on the share of the clients that the ramp allows.

    One experiment runs at a time: while one does, the candidate waits in line, in place of any that waits already. A freeze or a cool-down
    does not stop a person, nor does a gate that the candidate did not pass, which is said on stderr. Printed is what can be expected at
    today's traffic: the lift that can be detected by the last day, and the days to a verdict.

    Example: `litgo experiment start 7 --reason "better on held-out cases, let us see"`
    """
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.rollout import experiments, outcomes, states
    from litgo_pipelines.rollout.candidates import start_waiting
    from litgo_pipelines.rollout.planning import Course, expect

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
            gate = _gate(connection, version)
        terms = experiments.Terms.of(marketplace.settings, mode)
        with marketplace.engine.begin() as connection:
            queued = experiments.queue(
                connection, version, version_name(champion), terms, actor=actor, reason=reason, at=now, evidence={"judged": "person"}
            )
        if gate is not None and gate.result != "pass":
            typer.echo(f"The gate said {gate.result} of version {version} (decision {gate.id}): {gate.reason}.", err=True)
        _, ruling = start_waiting(marketplace.engine, registry, actor=actor, at=now, by_itself=False)
        with marketplace.snapshot() as connection:
            found = experiments.find(connection, queued.id)
            course = Course(outcomes.daily_clients(connection, now), found.steps, marketplace.settings.litgo_ramp_hours)
            expected = expect(course, outcomes.base_rates(connection, now), found.max_days, interleaving=found.mode == "interleaving")
    reasons = [] if ruling is None else ruling.reasons
    if json:
        typer.echo(as_json({"experiment": found, "reasons": reasons, "expected": expected}))
        return
    typer.echo(_begun(found, reasons))
    _print(expected)


def stop(
    reason: Reason,
    by: By = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Take out the one in line, and let the one that runs go on.")] = False,
    json: Json = False,
) -> None:
    """End the experiment that runs; the champion answers everybody again within seconds. Where none runs, the one in line is taken out.

    Example: `litgo experiment stop --reason "the candidate was trained on wrong labels"`
    """
    from litgo_pipelines.cli.common import transaction
    from litgo_pipelines.rollout import experiments

    actor, now = name_of(by), datetime.now(UTC)
    with transaction() as connection:
        experiments.take_turn(connection)
        runs, waits = experiments.running(connection), experiments.waiting(connection)
        if waiting and waits is None:
            raise LitgoError("no experiment waits in line: `litgo experiment status` shows what there is")
        found = waits if waiting or runs is None else runs
        if found is None:
            raise LitgoError("no experiment runs and none waits: there is nothing to stop")
        experiments.end(connection, found.id, verdict="stopped", conclusion=reason, actor=actor, at=now)
        ended = experiments.find(connection, found.id)
    what = "Taken out of the line" if found.status == "waiting" else "Stopped"
    answer(json, ended, f"{what}: version {found.challenger} against {found.champion} ({found.id}).")


def approve(
    reason: Reason, by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who approves; it is recorded.")], json: Json = False
) -> None:
    """Approve the promotion of a candidate that won its experiment, where LITGO_PROMOTION is `approve`.

    It is carried out by the next run of `read_experiment`, within a minute where the daemon runs. A candidate that does harm in the
    meantime is stopped all the same.

    Example: `litgo experiment approve --by "Ana Souza" --reason "figures checked"`
    """
    from litgo_pipelines.cli.common import transaction
    from litgo_pipelines.rollout import experiments

    with transaction() as connection:
        found = experiments.approve(connection, by=by, reason=reason, at=datetime.now(UTC))
    told = f"{by} approved version {found.challenger}: it is promoted with the next reading (`litgo run read_experiment` reads now)."
    answer(json, found, told)


def _gate(connection: Connection, version: str) -> Decision | None:
    """What the gate said of a version last; None where it said nothing."""
    from litgo_pipelines.rollout import decisions

    found = decisions.history(connection, _ALL, version=version)
    return next((one for one in found if one.action == "gate" and one.to_version == version), None)


def _begun(found: Experiment, reasons: list[str]) -> str:
    why = "; ".join(reasons)
    if found.status == "running":
        steps = ", ".join(percent(one) for one in found.steps)
        return f"Running: version {found.challenger} against {found.champion} ({found.id}), {found.mode}; ramp {steps} of the clients."
    if found.status == "waiting":
        return f"In line: version {found.challenger} ({found.id}): {why}."
    return f"Not started: version {found.challenger}: {why}."


def _print(expected: Expectation) -> None:
    from rich.console import Console
    from rich.table import Table

    from litgo_pipelines.rollout.planning import LIFTS

    minimum = "never" if expected.days_to_minimum is None else f"after {expected.days_to_minimum:,.0f} days at the earliest"
    typer.echo(f"{expected.daily_clients:.1f} clients a day of late; a hundred of them have shown what the candidate is like {minimum}.")
    if not expected.metrics:
        typer.echo("Too little is known to say which lift it will show.")
        return
    typer.echo("With probability .8, ramp and ripening included:")
    table = Table(box=None, pad_edge=False)
    for name in ("metric", "today", f"detectable in {expected.max_days:g} days", *(f"days if +{percent(lift)}" for lift in LIFTS)):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for one in expected.metrics:
        days = ["never" if day is None else f"{day:,.0f}" for day in one.days]
        table.add_row(one.metric, f"{one.base:.3f}", "none" if one.detectable is None else f"+{percent(one.detectable)}", *days)
    Console().print(table)
