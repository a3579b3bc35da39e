"""What becomes of the alerts when all is well, and when something is not: one verdict a run. The faults are in `faults`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from litgo_pipelines_tests.deploy.campaign.conditions import HOUR, Conditions, Size
from litgo_pipelines_tests.deploy.campaign.faults import Fault, window_of
from litgo_pipelines_tests.deploy.campaign.figures import View
from litgo_pipelines_tests.deploy.campaign.happening import Happening, happening
from litgo_pipelines_tests.deploy.campaign.promtool import Fired, evaluate

BY_NOISE: Final = ("NotificationsUnknown",)
"""Speaks of single messages, of which a healthy vendor leaves some: with a cause wherever there is such a message."""


@dataclass(frozen=True)
class Verdict:
    """How the alerts did in one fault.

    Attributes:
        delays: seconds from the fault to each alert that must fire; None for one that did not, or too late.
        resolved: seconds from the fault's end to the end of the last of them; None where one still fires though its window is over.
        alerts: that fired in all, as often as they began.
        by_noise: those of them with a cause that is no fault.
        without_fault: those that neither the fault nor its consequences explain, or that fired for too long afterwards.
    """

    fault: Fault
    delays: dict[str, float | None]
    resolved: float | None
    alerts: int
    by_noise: int
    without_fault: tuple[Fired, ...]

    @property
    def detected(self) -> bool:
        """Whether all that must fire did in time."""
        return all(delay is not None for delay in self.delays.values())


def healthy(size: Size, seed: int, ends: float = 24 * HOUR, step: float = 60.0) -> tuple[list[Fired], Happening]:
    """What fires from midnight on while all is well.

    From 1:00 to 4:00 one match an hour fails, which in a town is most of them. Five minutes without Prometheus at 5:00, a deploy of 40 s at
    10:30, a champion promoted at noon, a vendor away for half a minute at 14:00, a restart at 15:12, and a minute without the collector
    at 17:00.
    """
    conditions = Conditions(hour=0.0, ends=ends)
    conditions.set("matching_errors", min(1.0, 1 / (60 * size.requests * size.night)), HOUR, 4 * HOUR)
    conditions.set("serving", 0, 10.5 * HOUR, 10.5 * HOUR + 40)
    conditions.set("champion", 8, 12 * HOUR, ends + 24 * HOUR)
    conditions.set("vendor_failing:onesignal", 1, 14 * HOUR, 14 * HOUR + 30)
    conditions.set("prometheus", 0, 5 * HOUR, 5 * HOUR + 300)
    conditions.set("collector", 0, 17 * HOUR, 17 * HOUR + 60)
    happened = happening(size, conditions, seed)
    lines = View(happened, step, restarts=(15.2 * HOUR,), seed=seed).series(with_health=False)
    with tempfile.TemporaryDirectory() as folder:
        return evaluate(lines, step, ends, Path(folder)), happened


def judge(fault: Fault, seed: int) -> Verdict:
    """Let a fault happen, and see what fires."""
    conditions = fault.conditions()
    happened = happening(fault.size, conditions, seed)
    lines = View(happened, fault.step, seed=seed).series(with_health=False)
    with tempfile.TemporaryDirectory() as folder:
        fired = evaluate(lines, fault.step, conditions.ends, Path(folder))
    return verdict(fault, fired, happened)


def verdict(fault: Fault, fired: Iterable[Fired], happened: Happening) -> Verdict:
    """What is to be said of the alerts that fired."""
    listed = list(fired)
    expected = {name: [one for one in listed if _is(one, name, fault)] for name in fault.must}
    delays: dict[str, float | None] = {}
    for name, within in fault.must.items():
        first = min((one.first for one in expected[name]), default=None)
        delays[name] = first - fault.begins if first is not None and 0 <= first - fault.begins <= within else None
    ended = [one for ones in expected.values() for one in ones if window_of(one.name, one.rest) <= fault.after]
    still = any(one.last > happened.ends - fault.step for one in ended)
    noise = [one for one in listed if not explained(one, fault) and one.name in BY_NOISE and happened.unknown]
    odd = [one for one in listed if not explained(one, fault) and one not in noise]
    return Verdict(
        fault,
        delays,
        None if still or not ended else max(0.0, *(one.last + fault.step - fault.ends for one in ended)),
        sum(one.episodes for one in listed),
        sum(one.episodes for one in noise),
        tuple(odd),
    )


def explained(one: Fired, fault: Fault) -> bool:
    """Whether a fault explains all of the time for which an alert fired."""
    names = {name.split("/")[0] for name in fault.must} | set(fault.may)
    about = all(one.rest.get(label, value) == value for label, value in fault.only.items())
    return about and one.name in names and one.first >= fault.begins and one.last <= fault.ends + window_of(one.name, one.rest)


def _is(one: Fired, wanted: str, fault: Fault) -> bool:
    name, _, severity = wanted.partition("/")
    about = all(one.rest.get(label, value) == value for label, value in fault.only.items())
    return one.name == name and about and (not severity or one.severity == severity)
