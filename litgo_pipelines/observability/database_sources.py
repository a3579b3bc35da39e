"""Sources that read the marketplace's database: what the log of events adds up to, and how things stand there."""

from __future__ import annotations

import math
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from litgo_pipelines.marketplace import event_log
from litgo_pipelines.marketplace.event_log import Rollup
from litgo_pipelines.observability.metrics import BOUNDS, COUNTED, METRICS
from litgo_pipelines.observability.sources import Distribution, Sample

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_MOST_SECONDS: Final = 2.0
"""For which one reading counts events; while a long log is caught up with, figures are shown as far as they are."""

_COUNTED: Final = {metric.name: metric for metric in COUNTED}

_STANDING = """
SELECT
    (SELECT count(*) FROM litgo.offers WHERE status = 'pending') AS active_offers_count,
    (SELECT count(*) FROM litgo.cases WHERE status = 'open') AS open_cases_count,
    (SELECT count(*) FROM litgo.triages t JOIN litgo.cases c ON c.id = t.case_id
        WHERE t.area IS NULL AND t.decided_at IS NULL AND c.status = 'triage') AS undecided_triages_count,
    (SELECT count(*) FROM litgo.lawyers WHERE status = 'active') AS active_lawyers_count,
    (SELECT coalesce(greatest(0, EXTRACT(epoch FROM now() - min(created_at))), 0) FROM litgo.notifications
        WHERE status = 'queued' AND (due_at <= now() OR tries > 0)) AS outbox_oldest_due_age_seconds,
    (SELECT coalesce(greatest(0, EXTRACT(epoch FROM now() - min(created_at))), 0) FROM litgo.contracts
        WHERE status IN ('requested', 'pending-signature')) AS pending_contract_oldest_age_seconds,
    pg_database_size(current_database()) AS database_size_bytes
"""
_CONTRACTS = "SELECT status, count(*) FROM litgo.contracts WHERE status IN ('requested', 'pending-signature') GROUP BY status"
# Each has an index of its own; together they would be looked for among all that was ever sent.
_MESSAGES = " UNION ALL ".join(
    f"SELECT '{status}', count(*) FROM litgo.notifications WHERE status = '{status}'" for status in ("queued", "sending", "unknown")
)
_REQUESTS = """
SELECT kind, status, count(*) FROM litgo.match_requests WHERE started_at > now() - interval '1 hour' GROUP BY kind, status
"""


@dataclass
class Counters:
    """Counters and histograms, made of the log of events.

    Args:
        engine: on the marketplace's database.
        known: further series that begin at 0, by metric.
    """

    engine: Engine
    known: Sequence[tuple[str, dict[str, str]]] = ()
    name: str = field(default="events", init=False)

    def read(self) -> list[Sample | Distribution]:
        """Count what came, and show all that was counted. What a reading leaves uncounted the next ones count."""
        until = time.monotonic() + _MOST_SECONDS
        while event_log.advance(self.engine, BOUNDS) and time.monotonic() < until:
            pass
        with self.engine.connect() as connection:
            age = event_log.unread_seconds(connection)
            found = event_log.rollups(connection)
        countable = [one for one in found if _is_countable(one)]
        odd = sum(one.events for one in found) - sum(one.events for one in countable)
        about = [Sample("collector_events_unread_age_seconds", age), Sample("collector_events_uncountable", odd)]
        return [*series(countable, self.known), *about]


def _is_countable(one: Rollup) -> bool:
    metric = _COUNTED.get(one.metric)
    return metric is not None and one.labels.keys() == set(metric.labels) and all(isinstance(value, str) for value in one.labels.values())


def series(rollups: Iterable[Rollup], known: Iterable[tuple[str, dict[str, str]]] = ()) -> list[Sample | Distribution]:
    """Every series of the counted metrics; those of which all labels are known before begin at 0."""
    counts: dict[tuple[str, tuple[tuple[str, str], ...]], dict[float, float]] = defaultdict(dict)
    totals: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
    beginnings = [(metric.name, labels) for metric in COUNTED for labels in metric.beginnings()]
    for name, labels in (*beginnings, *known):
        counts[name, tuple(sorted(labels.items()))] = {}
    for one in rollups:
        key = one.metric, tuple(sorted(one.labels.items()))
        counts[key][one.le] = one.events
        totals[key] += one.total
    found: list[Sample | Distribution] = []
    for (name, pairs), by_bound in counts.items():
        labels = dict(pairs)
        if METRICS[name].kind == "histogram":
            found.append(Distribution(name, by_bound, totals[name, pairs], labels))
        else:
            found.append(Sample(name, math.fsum(by_bound.values()), labels))
    return found


@dataclass
class Standing:
    """How things stand: what waits, and for how long.

    Args:
        engine: on the marketplace's database.
    """

    engine: Engine
    name: str = field(default="marketplace", init=False)

    def read(self) -> list[Sample]:
        """Each figure as of now."""
        from sqlalchemy import text

        with self.engine.connect() as connection:
            row = connection.execute(text(_STANDING)).mappings().one()
            found = [Sample(name, float(value)) for name, value in row.items()]
            found += _grouped(connection, _CONTRACTS, "pending_contracts_count", {"status": ("requested", "pending-signature")})
            found += _grouped(connection, _MESSAGES, "outbox_messages", {"status": ("queued", "sending", "unknown")})
            requests = connection.execute(text(_REQUESTS))
            found += [Sample("requests_last_hour", count, {"kind": kind, "status": status}) for kind, status, count in requests]
        return found


def _grouped(connection: Connection, statement: str, metric: str, listed: dict[str, tuple[str, ...]]) -> list[Sample]:
    """One sample a value of a label, 0 where there is no row."""
    from sqlalchemy import text

    ((label, values),) = listed.items()
    counts: dict[str, int] = {row[0]: row[1] for row in connection.execute(text(statement))}
    return [Sample(metric, float(counts.get(value, 0)), {label: value}) for value in values]


@dataclass
class Reachable:
    """Whether the marketplace's database lets us in, which is an answer either way.

    Args:
        engine: on the marketplace's database.
        seconds: after which no answer is a no, too: a server that hangs keeps connections open.
    """

    engine: Engine
    seconds: float = 5.0
    name: str = field(default="database", init=False)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "litgo-reachable"), init=False)
    _asked: Future[bool] | None = field(default=None, init=False)

    def read(self) -> list[Sample]:
        """1 where it answers."""
        self._asked = self._asked or self._thread.submit(self._answers)
        try:
            answers = self._asked.result(self.seconds)
        except TimeoutError:
            return [Sample("database_up", 0.0)]
        self._asked = None
        return [Sample("database_up", float(answers))]

    def _answers(self) -> bool:
        from sqlalchemy import text
        from sqlalchemy.exc import OperationalError

        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError:
            return False
        return True


@dataclass
class Disk:
    """The disk that the project writes to.

    Args:
        folder: LITGO_HOME.
    """

    folder: Path
    name: str = field(default="disk", init=False)

    def read(self) -> list[Sample]:
        """Size and free space in bytes; the folder is told as `home`."""
        usage = shutil.disk_usage(self.folder)
        labels = {"folder": "home"}
        return [Sample("disk_size_bytes", usage.total, labels), Sample("disk_free_bytes", usage.free, labels)]
