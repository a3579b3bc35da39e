"""What an experiment can be expected to show, and when, at today's traffic. Pure; today's traffic is read in `outcomes`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from litgo_pipelines.rollout.experiment_rules import LEAST_EXPOSED, PATIENCE
from litgo_pipelines.rollout.outcomes import ACCEPTED_WITHIN, SIGNED_WITHIN
from litgo_pipelines.rollout.readout import METRICS
from litgo_pipelines.rollout.sequential import Conversion, Mean, detectable_lift, units_to_detect

LIFTS: Final = (0.05, 0.10, 0.20)
MOST_DAYS: Final = 3_650.0
_LEAST_UNITS = 100
_HALVINGS = 40


@dataclass(frozen=True)
class Course:
    """How many clients come, and how the ramp lets them in.

    Attributes:
        daily_clients: new clients a day, of all sides.
        steps: shares of all clients in treatment, ascending.
        ramp_hours: that a step lasts at least.
    """

    daily_clients: float
    steps: tuple[float, ...]
    ramp_hours: float

    def exposed(self, days: float) -> tuple[float, float]:
        """Clients in control and in treatment after so many days."""
        left, treatment = max(days, 0.0), 0.0
        control = left * self.daily_clients * (1 - self.steps[-1])
        for share in self.steps[:-1]:
            spent = min(left, self._length(share))
            treatment, left = treatment + spent * self.daily_clients * share, left - spent
        return control, treatment + left * self.daily_clients * self.steps[-1]

    def _length(self, share: float) -> float:
        """Days that a step lasts: see `experiment_rules.judge_ramp`."""
        least = self.ramp_hours / 24
        enough = LEAST_EXPOSED / (self.daily_clients * share)
        return max(least, min(enough, PATIENCE * least))


@dataclass(frozen=True)
class Expected:
    """One metric.

    Attributes:
        base: its value of late.
        detectable: the smallest lift shown with probability .8 by the experiment's last day; None: none.
        days: from the start until a verdict, for each of `LIFTS`; None: not within ten years.
    """

    metric: str
    base: float
    detectable: float | None
    days: tuple[float | None, ...]


@dataclass(frozen=True)
class Expectation:
    """The whole experiment.

    Attributes:
        share: of all clients in treatment at the last step of the ramp.
        max_days: after which it ends.
        days_to_minimum: until a hundred clients in treatment have ripened, before which nothing is promoted; None: not within ten years.
    """

    daily_clients: float
    share: float
    max_days: float
    days_to_minimum: float | None
    metrics: tuple[Expected, ...]


def expect(course: Course, base: tuple[float, float, float] | None, max_days: float, *, interleaving: bool) -> Expectation:
    """What an experiment can show: the ramp is walked, and outcomes count once they are ripe.

    Args:
        base: mean and standard deviation of accepted offers a client, and rate of signed contracts; None: not known, no metric is planned.
        interleaving: then no metric is planned either: how often clients tell two lists apart is known only afterwards.
    """
    share = course.steps[-1]
    if course.daily_clients <= 0:
        return Expectation(course.daily_clients, share, max_days, None, ())
    ripe = _earliest(lambda days: course.exposed(days)[1] >= _LEAST_UNITS, ACCEPTED_WITHIN)
    if interleaving or base is None:
        return Expectation(course.daily_clients, share, max_days, ripe, ())
    mean, sd, signed = base
    alpha = {one.name: one.alpha for one in METRICS["ab"]}
    found = []
    if mean > 0 and sd > 0:
        found.append(_expected("accepted", mean, Mean(mean, sd), course, max_days, alpha["accepted"], ACCEPTED_WITHIN))
    if 0 < signed <= 1:
        found.append(_expected("contract", signed, Conversion(signed), course, max_days, alpha["contract"], SIGNED_WITHIN))
    return Expectation(course.daily_clients, share, max_days, ripe, tuple(found))


def _expected(
    name: str, base: float, outcome: Mean | Conversion, course: Course, max_days: float, alpha: float, ripens: timedelta
) -> Expected:
    def shows(days: float, lift: float) -> bool:
        units, share = _units(course, days)
        needed = units_to_detect(lift, share, outcome, alpha=alpha)
        return needed is not None and needed <= units

    units, share = _units(course, max_days - ripens / timedelta(days=1))
    detectable = detectable_lift(units, share, outcome, alpha=alpha) if units > 0 else None
    days = tuple(_earliest(lambda at, lift=lift: shows(at, lift), ripens) for lift in LIFTS)  # type: ignore[misc]  # bound now, not later
    return Expected(name, base, detectable, days)


def _units(course: Course, days: float) -> tuple[float, float]:
    """Clients in both arms after so many days, and treatment's share of them."""
    control, treatment = course.exposed(days)
    units = control + treatment
    return units, treatment / units if units > 0 else course.steps[-1]


def _earliest(holds: Callable[[float], bool], ripens: timedelta) -> float | None:
    """The day from which something holds that never ceases to, with the time that its last outcomes take to ripen."""
    if not holds(MOST_DAYS):
        return None
    low, high = 0.0, MOST_DAYS
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high + ripens / timedelta(days=1)
