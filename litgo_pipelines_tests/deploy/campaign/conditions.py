"""What the modelled marketplace is like, and what may change in the course of time. What happens in it is in `happening`.

Times are seconds since the first scrape; before it lies the past that windows and waiting things need.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0
PAST: Final = 5 * DAY
"""How long the marketplace has lived before the first scrape."""
_CELL: Final = 5.0

SERVICES: Final = ("openai", "docusign", "onesignal", "sendgrid")
SOURCES: Final = ("database", "events", "marketplace", "disk", "dagster", "fairness", "rollout", "evidence", "vendors")
WITHOUT_DATABASE: Final = ("database", "disk")
"""Sources that read on while the database is away."""
JOBS: Final = (
    *("calculate_equity_metrics", "deliver_notifications", "embed_texts", "expire_records", "move_offers", "process_contracts"),
    *("read_experiment", "refit_equity_price", "retrain_ranker", "watch_champion"),
)
SENSORS: Final = {
    **{"champion_watch": 30.0, "contracts_due": 30.0, "experiment_due": 30.0, "new_reviews": 60.0, "notifications_due": 30.0},
    **{"offers_due": 30.0, "operations_watch": 60.0, "registry_changes": 30.0, "texts_to_embed": 60.0},
}
"""Seconds between ticks."""
SCHEDULES: Final = {
    "nightly_equity": ("calculate_equity_metrics", 2.0, 1800.0),
    "weekly_price": ("refit_equity_price", 3.0, 3600.0),
    "nightly_expiry": ("expire_records", 4.0, 3600.0),
}
"""Job, hour of the day, and seconds that a run may last."""
WEEKLY: Final = frozenset({"weekly_price"})
DAEMONS: Final = ("SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "ASSET", "BACKFILL", "MONITORING")

NORMAL: Final[dict[str, float]] = {
    # Requests, as a multiple of the hour's usual rate; each of them fails for a reason of its own, or not.
    "load": 1.0,
    "latency": 1.0,
    "triage_errors": 0.0002,
    "matching_errors": 0.0002,
    # Lawyers: of their answers so many reach us, and so many of them say yes; mails that a vendor refuses.
    "answered": 0.92,
    "interested": 0.5,
    # Vendors, by name: requests that fail, and that are not answered in time; 1 where they fail by silence, else by refusing to connect.
    "vendor_failing": 0.0,
    "vendor_timeouts": 0.003,
    "vendor_hangs": 0.0,
    # Parts of the system; 0 while one is away.
    "serving": 1.0,
    "database": 1.0,
    "collector": 1.0,
    "prometheus": 1.0,
    "daemon": 1.0,
    "registry": 1.0,
    "follows": 1.0,
    # Collector's sources, schedules, sensors and jobs, by name.
    "source": 1.0,
    "counting": 1.0,
    "uncountable": 0.0,
    "schedule": 1.0,
    "sensor_failing": 0.0,
    "sensor_hangs": 0.0,
    "job_failing": 0.0,
    "queue_moves": 1.0,
    # Fairness figures beside their usual values, models, what people left undone.
    "gini": 0.0,
    "offered": 0.0,
    "gap": 0.0,
    "champion": 7.0,
    "rolled_back": 0.0,
    "degraded": 0.0,
    "unexplained": 0.0,
    "mismatch": 0.0,
    "undecided": 0.0,
    "forgotten": 0.0,
    "refused": 0.0,
    "disk_used": 0.0,
}
"""Each condition as it usually is. One that holds of a thing is named `condition:thing`."""


@dataclass(frozen=True)
class Size:
    """How large a marketplace is.

    Attributes:
        requests: a minute, in the busiest hour of a day.
        night: share of that which comes in the deepest night.
        lawyers: who are active.
    """

    name: str
    requests: float
    night: float
    lawyers: int


CITY: Final = Size("city", requests=8.0, night=0.03, lawyers=2400)
TOWN: Final = Size("town", requests=0.3, night=0.05, lawyers=180)
"""One request an hour by night: what a ratio without a guard makes of it is seen here."""


@dataclass
class Conditions:
    """Each condition in the course of time.

    Args:
        hour: of the day in São Paulo, at the first scrape.
        ends: seconds from the first scrape to the last.
        weekday: of the first scrape, Monday is 0.
    """

    hour: float
    ends: float
    weekday: int = 2
    _changed: dict[str, Floats] = field(default_factory=dict)

    def set(self, name: str, value: float, begin: float, end: float) -> None:
        """Make a condition have a value from one time to another."""
        values = self._changed.setdefault(name, np.full(self._cell(self.ends + DAY) + 1, NORMAL[name.split(":")[0]]))
        values[self._cell(begin) : self._cell(end)] = value

    def at(self, name: str, when: Any) -> Any:
        """The value of a condition at a time, or at each of many."""
        if name not in self._changed:
            usual = NORMAL[name.split(":")[0]]
            return np.full(np.shape(when), usual) if np.ndim(when) else usual
        values = self._changed[name]
        if np.ndim(when) == 0:
            return float(values[min(self._cell(float(when)), len(values) - 1)])
        cells = ((np.asarray(when) + PAST) / _CELL).astype(int)
        return values[np.clip(cells, 0, len(values) - 1)]

    def waits(self, when: float, *names: str) -> float:
        """The first moment from a time on at which none of the conditions is 0; infinity where there is none."""
        while True:
            hindered = [name for name in names if name in self._changed and self.at(name, when) == 0]
            if not hindered:
                return when
            values = self._changed[hindered[0]]
            later = np.flatnonzero(values[self._cell(when) :])
            if not len(later):
                return float("inf")
            when = (self._cell(when) + int(later[0])) * _CELL - PAST

    def turns(self, name: str) -> list[float]:
        """Moments at which a condition changes."""
        values = self._changed.get(name)
        return [] if values is None else [float(cell + 1) * _CELL - PAST for cell in np.flatnonzero(np.diff(values))]

    def hour_at(self, when: Any) -> Any:
        """Hour of the day, 0 to 24."""
        return (self.hour + np.asarray(when) / HOUR) % 24

    def due(self, schedule: str, begin: float, end: float) -> list[float]:
        """Moments at which a schedule is due within a time."""
        _, hour, _ = SCHEDULES[schedule]
        first = (hour - self.hour) * HOUR
        days = range(int((begin - first) // DAY), int((end - first) // DAY) + 1)
        found = [first + day * DAY for day in days]
        return [at for at in found if begin <= at < end and (schedule not in WEEKLY or self._weekday_at(at) == 0)]

    def _weekday_at(self, when: float) -> int:
        return int(self.weekday + (self.hour * HOUR + when) // DAY) % 7

    @staticmethod
    def _cell(when: float) -> int:
        return max(0, int((when + PAST) / _CELL))


def shape(size: Size, hours: Floats) -> Floats:
    """Share of the busiest hour's requests that come at an hour of the day."""
    by_day = np.clip(np.sin(np.pi * (hours - 6.5) / 16.5), 0.0, None) ** 1.3
    by_day[(hours < 6.5) | (hours > 23)] = 0.0
    return np.maximum(by_day, size.night)
