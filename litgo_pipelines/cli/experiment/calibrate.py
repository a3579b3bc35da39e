"""`litgo experiment calibrate`: how often the verdict on an experiment errs, with the naive test beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import progress_bar

if TYPE_CHECKING:
    from litgo_pipelines.rollout.sequential_calibration import Calibration

_SHARE = 0.1
_LOOKS_OF_A_RAMP = 10


def calibrate(
    share: Annotated[
        list[float] | None,
        typer.Option(min=0.001, max=0.999, help=f"Treatment's share of the exposed; repeat it for more rows. Default: {_SHARE}."),
    ] = None,
    looks: Annotated[int, typer.Option(min=1, max=2_000, help="Looks at each experiment, evenly over its units.")] = 100,
    sims: Annotated[int, typer.Option(min=1, max=100_000, help="Experiments of equal arms, and as many of the lift.")] = 500,
    units: Annotated[int, typer.Option(min=100, max=100_000_000, help="Clients exposed by the last look, both arms together.")] = 50_000,
    lift: Annotated[
        float,
        typer.Option(help="Relative lift of the challenger's accepted share and contract rate where power is measured; below 0: harm."),
    ] = 0.1,
    ramp: Annotated[
        bool, typer.Option("--ramp", help="Begin with 1 % and 5 %, a tenth of the units each, as a real experiment does.")
    ] = False,
    srm_sims: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Experiments whose split alone is simulated, for false alarms of the sample ratio.")
    ] = 5_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed finds the same.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; a list where several shares are asked for.")] = False,
) -> None:
    """Measure how often experiments are judged wrongly, by simulating them under the very rules that judge real ones.

    A false positive is an experiment whose arms are equal and that was promoted or stopped for harm at any of its looks. Looking as
    often as one likes is allowed here: the tests are anytime-valid, and their false positives stay below 5 %.

    The naive column is the two-proportion z-test of contracts at p < .05, read at the same looks (peeking): each look is one more chance
    to be wrong, so its false positives are many times the 5 % that a single look at a time fixed beforehand would have.

    Power is the share of experiments with a real `--lift` in which a look said so (promote; for a lift below 0 harm). Clients are made
    up: 75 % sign, 25 % of eight offers are accepted (sd 21 %), 30 % rate. No database is needed.

    Example: `litgo experiment calibrate --share 0.01 --share 0.1 --share 0.5 --looks 100 --sims 500`
    """
    from litgo_pipelines.rollout.sequential_calibration import LEAST_LIFT, MOST_LIFT, Setup
    from litgo_pipelines.rollout.sequential_calibration import calibrate as measured

    if not LEAST_LIFT <= lift <= MOST_LIFT:
        reason = f"{lift:g} does not lie in {LEAST_LIFT:g}..{MOST_LIFT:.2f}: no more than all clients can sign"
        raise typer.BadParameter(reason, param_hint="--lift")
    if ramp and looks < _LOOKS_OF_A_RAMP:
        raise typer.BadParameter(f"a ramp needs {_LOOKS_OF_A_RAMP} looks or more, so that each step is looked at", param_hint="--looks")
    shares = share or [_SHARE]
    found = []
    for one in shares:
        with progress_bar(f"share {one:g}", "experiments") as show:
            found.append(measured(Setup(one, looks, sims, units, lift, seed, ramp, srm_sims), show))
    if as_json:
        told = [one.to_json() for one in found]
        typer.echo(json.dumps(told if len(told) > 1 else told[0], indent=2))
    else:
        _print(found)


def _print(found: list[Calibration]) -> None:
    from rich.console import Console
    from rich.table import Table

    first = found[0]
    ramp = ", after steps of 1 % and 5 %" if first.ramp else ""
    table = Table(
        title=f"{first.sims:,} experiments of {first.units:,} clients, {first.looks:,} looks each, seed {first.seed}{ramp}",
        title_justify="left",
        caption=f"False positives: equal arms, and some look said otherwise. Allowed: {first.alpha:.0%}; "
        f"false alarms of the sample ratio ({first.srm_sims:,} experiments): {first.srm_alpha:.1%}.",
        caption_justify="left",
    )
    for heading in (
        "share",
        "false positives",
        "naive z-test, peeking",
        f"power at lift {first.lift:+.0%}",
        "units to that verdict",
        "sample ratio, false alarms",
    ):
        table.add_column(heading, justify="right")
    for one in found:
        table.add_row(
            f"{one.share:.1%}",
            f"{one.false_positive_rate:.1%}",
            f"{one.naive_false_positive_rate:.1%}",
            "-" if one.power is None else f"{one.power:.1%}",
            "-" if one.units_to_verdict is None else f"{one.units_to_verdict:,}",
            "-" if one.srm_false_alarm_rate is None else f"{one.srm_false_alarm_rate:.2%}",
        )
    Console().print(table)
