"""What an experiment can be expected to show, and when, at today's traffic. Pure; today's traffic is read in `outcomes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from litgo_pipelines.rollout.readout import METRICS
from litgo_pipelines.rollout.sequential import Conversion, Mean, days_to_a_verdict, detectable_lift

LIFTS: Final = (0.05, 0.10, 0.20)


@dataclass(frozen=True)
class Expected:
    """One metric.

    Attributes:
        detectable: the smallest lift shown with probability .8 by the experiment's last day; None: none.
        days: until a verdict, for each of `LIFTS`; None: not within a thousand million units.
    """

    metric: str
    base: float
    detectable: float | None
    days: tuple[float | None, ...]


@dataclass(frozen=True)
class Expectation:
    """The whole experiment.

    Attributes:
        daily_clients: new clients a day, both sides together.
        share: of them in treatment, at the last step of the ramp.
        max_days: after which it ends.
    """

    daily_clients: float
    share: float
    max_days: float
    metrics: tuple[Expected, ...]


def expect(
    daily_clients: float, base: tuple[float, float, float] | None, steps: Sequence[float], max_days: float, *, interleaving: bool
) -> Expectation:
    """What an A/B test at the ramp's last step can show; the days at smaller steps come on top.

    Args:
        base: mean and standard deviation of accepted offers a client, and rate of signed contracts; None: not known, nothing is expected.
        interleaving: a list of both: every second client who saw a difference prefers one side, so a share of the clients decides.
    """
    last = steps[-1]
    if interleaving or base is None or daily_clients <= 0:
        return Expectation(daily_clients, last, max_days, ())
    mean, sd, signed = base
    found = []
    for metric in METRICS["ab"]:
        if metric.name == "accepted" and mean > 0 and sd > 0:
            found.append(_expected(metric.name, mean, Mean(mean, sd), daily_clients, last, max_days, metric.alpha))
        if metric.name == "contract" and 0 < signed <= 1:
            found.append(_expected(metric.name, signed, Conversion(signed), daily_clients, last, max_days, metric.alpha))
    return Expectation(daily_clients, last, max_days, tuple(found))


def _expected(name: str, base: float, outcome: Mean | Conversion, daily: float, share: float, max_days: float, alpha: float) -> Expected:
    detectable = detectable_lift(daily * max_days, share, outcome, alpha=alpha)
    return Expected(name, base, detectable, tuple(days_to_a_verdict(lift, daily, share, outcome, alpha=alpha) for lift in LIFTS))
