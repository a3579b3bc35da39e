"""`litgo model calibrate-watch`: how often the watch over the champion alarms for nothing, and how fast it finds a fall."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from litgo_pipelines.cli.common import progress_bar
from litgo_pipelines.settings import get_settings

if TYPE_CHECKING:
    from litgo_pipelines.rollout.watch_calibration import Calibration


def calibrate_watch(
    sims: Annotated[int, typer.Option(min=1, max=100_000, help="Champions simulated for each true ratio.")] = 1000,
    healthy: Annotated[
        int | None,
        typer.Option(min=2, max=1_000_000, help="What the reference is estimated from. Default: 5,000 decisions; 15,000 answers."),
    ] = None,
    per_hour: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="How many an hour. Default: 100 decisions, or 300 answers.")
    ] = None,
    sd: Annotated[float, typer.Option(min=0.001, max=0.3, help="Standard deviation of match scores, as a share of their mean.")] = 0.10,
    ratio: Annotated[list[float] | None, typer.Option(help="True ratio to the reference; repeatable. Default: .86, .83, .80.")] = None,
    noise: Annotated[
        Literal["normal", "bounded", "skewed"],
        typer.Option(help="Of match scores: normal; bounded, probabilities about .5; skewed, an exponential tail towards low scores."),
    ] = "normal",
    answers: Annotated[
        bool, typer.Option("--answers", help="Accepted against promised over answered offers, in place of match scores.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed finds the same.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Let the watch look at champions whose true ratio to their reference is known, and count its alarms.

    Each champion has a healthy life, which its reference is estimated from, and then a week at the given ratio. At .86, just above
    QUALITY_THRESHOLD, an alarm is a false rollback; below it, what counts is how soon it comes. The code that alarms is the one that
    watches. No database is needed.

    Example: `litgo model calibrate-watch --ratio .86 --ratio .75 --sd 0.3`
    """
    from litgo_pipelines.rollout.watch_calibration import Setup, calibrate

    ratios = tuple(ratio or (0.86, 0.83, 0.80))
    if not all(0 <= one <= 2 for one in ratios):
        raise typer.BadParameter("a true ratio lies between 0 and 2", param_hint="--ratio")
    setup = Setup(
        series="answers" if answers else "scores",
        sims=sims,
        healthy=healthy or (15_000 if answers else 5_000),
        per_hour=per_hour or (300 if answers else 100),
        sd=sd,
        noise=noise,
        threshold=get_settings().quality_threshold,
        ratios=ratios,
        seed=seed,
    )
    with progress_bar("watching", "weeks") as show:
        found = calibrate(setup, show)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        _print(found)


def _print(found: Calibration) -> None:
    from rich.console import Console
    from rich.table import Table

    setup = found.setup
    unit = "answers" if setup.series == "answers" else "decisions"
    scatter = "" if setup.series == "answers" else f", {setup.noise} noise of {setup.sd:g}"
    table = Table(
        title=f"threshold {setup.threshold:g}, reference of {setup.healthy:,} {unit}, {setup.per_hour:,} an hour{scatter}; "
        f"{setup.sims:,} champions a ratio",
        title_justify="left",
    )
    table.add_column("true ratio", justify="right")
    table.add_column("alarm within a week", justify="right")
    for share in ("median", "90 %"):
        table.add_column(f"{share}: {unit} to the alarm", justify="right")
    for row in found.rows:
        times = (_time(one, setup.per_hour) for one in (row.median_decisions, row.p90_decisions))
        table.add_row(f"{row.ratio:g}", f"{row.alarm_share_week:.1%}", *times)
    Console().print(table)


def _time(count: int | None, per_hour: int) -> str:
    return "-" if count is None else f"{count:,} ({count / per_hour:.1f} h)"
