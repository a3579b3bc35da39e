"""`litgo experiment status`: how the experiment stands, what it shows by now, and which one waits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from litgo_pipelines.cli.common import Json, as_json, moment, percent

if TYPE_CHECKING:
    from litgo_pipelines.rollout.experiments import Experiment
    from litgo_pipelines.rollout.readout import ExperimentResult


def status(json: Json = False) -> None:
    """Judge the experiment as of now, and change nothing: figures by side with their intervals, sample ratio, guardrails, verdict.

    Without a running one the newest is shown as it ended.

    Example: `litgo experiment status --json`
    """
    from litgo_pipelines.casework.distribution import Terms, gini_since
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.rollout import experiments
    from litgo_pipelines.rollout.readout import judge_experiment
    from litgo_pipelines.rollout.trials import experiment_evidence

    now = datetime.now(UTC)
    with open_marketplace() as marketplace, marketplace.snapshot() as connection:
        found = experiments.running(connection) or experiments.newest(connection)
        waits, result = experiments.waiting(connection), None
        if found is not None and found.started_at is not None:
            as_of = found.ended_at or now
            gini = gini_since(connection, found.started_at, as_of, Terms.of(marketplace.settings))
            result = judge_experiment(experiment_evidence(connection, found, marketplace.settings, as_of, gini=gini))
    if json:
        typer.echo(as_json({"experiment": found, "result": None if result is None else result.model_dump(mode="json"), "waiting": waits}))
        return
    if found is None:
        typer.echo("There has been no experiment yet. `litgo experiment start VERSION --reason TEXT` begins one.")
        return
    _print(found, result)
    if waits is not None and waits.id != found.id:
        typer.echo(f"In line: version {waits.challenger} since {moment(waits.created_at)}.")


def _print(found: Experiment, result: ExperimentResult | None) -> None:
    from rich.console import Console

    typer.echo(f"{found.id}: version {found.challenger} against {found.champion}, {found.mode}, {_stands(found)}")
    if result is None:
        return
    ratio = result.sample_ratio
    console = Console()
    console.print(_table(result))
    if ratio.expected is not None and ratio.found is not None:
        typer.echo(
            f"Treatment's share of the clients: {ratio.found:.3%}, {ratio.expected:.3%} by design{' - ALARM' if ratio.alarm else ''}."
        )
    typer.echo(f"Verdict by now: {result.verdict}.")
    for reason in result.reasons:
        typer.echo(f"- {reason}")


def _table(result: ExperimentResult) -> object:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("metric", "control", "treatment", "units", "lift", "interval", "p-value"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for one in result.figures:
        table.add_row(
            one.metric,
            _number(one.control),
            _number(one.treatment),
            f"{one.units[0]:,} / {one.units[1]:,}",
            _share(one.lift),
            "-" if one.low is None and one.high is None else f"{_share(one.low)} to {_share(one.high)}",
            _p_value(one.p_value),
        )
    return table


def _stands(found: Experiment) -> str:
    if found.ended_at is not None:
        return f"ended {moment(found.ended_at)}: {found.verdict} ({found.conclusion})"
    if found.status == "waiting":
        return f"in line since {moment(found.created_at)}"
    since = "" if found.started_at is None else f" since {moment(found.started_at)}"
    waits = "; it won and waits for approval (`litgo experiment approve`)" if found.status == "approval" else ""
    return f"running{since} on {percent(found.split.share)} of the clients{waits}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _p_value(value: float | None) -> str:
    return "<.001" if value is not None and value < 0.001 else _number(value)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1%}"
