"""The log of what is counted, and what it adds up to.

A row of `events` is appended in the transaction in which something happened: by triggers on the tables of facts, or by `append`. A reader
counts it once, after it can be sure that no transaction will still commit a row before it. What the metrics mean is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

MOST_AT_ONCE: Final = 50_000
"""Events that one transaction of a reader counts, about."""

MOST_SECONDS: Final = 120
"""That one statement of a reader may take."""

_CURSOR: Final = "events"

_APPEND = """
INSERT INTO litgo.events (metric, labels, amount, value) VALUES (:metric, CAST(:labels AS jsonb), :amount, :value)
"""

_BEGIN = """
INSERT INTO litgo.metric_cursors (name, position, moved_at)
SELECT :name, CAST(jsonb_build_object('server', CAST(system_identifier AS text), 'xid', '0', 'seq', 0) AS text), now()
FROM pg_control_system() ON CONFLICT DO NOTHING
"""
_TAKE = """
SELECT position, (SELECT CAST(system_identifier AS text) FROM pg_control_system()) FROM litgo.metric_cursors WHERE name = :name FOR UPDATE
"""
_MOVE = "UPDATE litgo.metric_cursors SET position = :position, moved_at = now() WHERE name = :name"

# Every transaction older than the snapshot's xmin has ended, so whatever it wrote is there to be read, and nothing will join it. Of a
# portion the last transaction is read as a whole.
_UPTO = """
WITH ripe AS (
    SELECT xid FROM litgo.events
    WHERE xid > CAST(:after AS xid8) AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid LIMIT :most
)
SELECT CAST(max(xid) AS text), count(*) FROM ripe
"""
_ADD_UP = """
INSERT INTO litgo.metric_rollups AS r (metric, labels, le, events, total, last_at)
SELECT e.metric, e.labels, coalesce(b.le, 'Infinity'), sum(e.amount), coalesce(sum(e.value), 0), max(e.at)
FROM litgo.events e
LEFT JOIN LATERAL (
    SELECT min(CAST(le AS float8)) AS le FROM jsonb_array_elements_text(CAST(:bounds AS jsonb) -> e.metric) le
    WHERE e.value <= CAST(le AS float8)
) b ON e.value IS NOT NULL
WHERE {which}
GROUP BY 1, 2, 3
ON CONFLICT (metric, labels, le) DO UPDATE
SET events = r.events + excluded.events, total = r.total + excluded.total, last_at = greatest(r.last_at, excluded.last_at)
"""
_ADD_RIPE = _ADD_UP.format(which="e.xid > CAST(:after AS xid8) AND e.xid <= CAST(:upto AS xid8)")

_GREATEST = "SELECT max(seq) FROM litgo.events WHERE xid > CAST(:after AS xid8) AND xid <= CAST(:upto AS xid8)"

_KEEP_WRITERS_OUT = "LOCK TABLE litgo.events IN EXCLUSIVE MODE"
_ADD_MOVED = _ADD_UP.format(which="e.xid > CAST(:after AS xid8) OR e.seq > :seq")
_EMPTY = "DELETE FROM litgo.events"
_OLDEST_RUNNING = "SELECT CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text)"

_UNREAD_AGE = """
SELECT EXTRACT(epoch FROM now() - at) FROM litgo.events
WHERE xid > CAST(coalesce((SELECT CAST(position AS jsonb) ->> 'xid' FROM litgo.metric_cursors WHERE name = :name), '0') AS xid8)
ORDER BY xid LIMIT 1
"""
_ROLLUPS = "SELECT metric, labels, le, events, total, last_at FROM litgo.metric_rollups"


class Rollup(NamedTuple):
    """What the events of one series and one bucket add up to.

    Attributes:
        le: upper bound of the bucket; infinity for the last, and where nothing was measured.
        events: how many.
        total: sum of what was measured, in the unit of the metric.
        last_at: when the last of them happened.
    """

    metric: str
    labels: dict[str, str]
    le: float
    events: int
    total: float
    last_at: datetime


@dataclass(frozen=True)
class Position:
    """Up to where the log was counted.

    Attributes:
        server: identifies the database server that numbered the transactions; a dump brings rows to another one.
        xid: number of the last transaction.
        seq: greatest row.
    """

    server: str
    xid: str
    seq: int


def append(connection: Connection, metric: str, *, amount: int = 1, value: float | None = None, **labels: str) -> None:
    """Let something be counted, in the caller's transaction.

    Args:
        metric: name of a counter or histogram.
        amount: how often it happened; 1 where a value was measured.
        value: what was measured, in the unit of the metric.
    """
    from sqlalchemy import text

    connection.execute(text(_APPEND), {"metric": metric, "labels": json.dumps(labels), "amount": amount, "value": value})


def write_history(connection: Connection) -> None:
    """Let nothing be counted that the caller's transaction writes: it happened long ago."""
    connection.exec_driver_sql("SET LOCAL litgo.counted = off")


def advance(engine: Engine, bounds: Mapping[str, Sequence[float]], most: int = MOST_AT_ONCE) -> int:
    """Count events that no late commit can precede, in one transaction; how many there were, 0 when all are counted.

    Two readers take turns, and a killed one leaves nothing half done.

    Args:
        bounds: upper bounds of each histogram's buckets but the last.
        most: about how many; all events of a transaction are counted together.
    """
    from sqlalchemy import text

    with engine.begin() as connection:
        # A transaction of a million events is counted as a whole, however little time the engine gives a statement.
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{MOST_SECONDS}s'")
        connection.execute(text(_BEGIN), {"name": _CURSOR})
        position, server = _taken(connection)
        listed = json.dumps({metric: [repr(float(bound)) for bound in of] for metric, of in bounds.items()})
        if position.server != server:
            return _settle_in(connection, position, server, listed)
        upto, count = connection.execute(text(_UPTO), {"after": position.xid, "most": most}).one()
        if not count:
            return 0
        span = {"after": position.xid, "upto": upto}
        connection.execute(text(_ADD_RIPE), span | {"bounds": listed})
        greatest = connection.execute(text(_GREATEST), span).scalar_one()
        _move(connection, Position(server, upto, max(position.seq, greatest)))
        return int(count)


def _taken(connection: Connection) -> tuple[Position, str]:
    from sqlalchemy import text

    position, server = connection.execute(text(_TAKE), {"name": _CURSOR}).one()
    return Position(**json.loads(position)), server


def _move(connection: Connection, position: Position) -> None:
    from sqlalchemy import text

    connection.execute(text(_MOVE), {"name": _CURSOR, "position": json.dumps(asdict(position))})


def _settle_in(connection: Connection, position: Position, server: str, bounds: str) -> int:
    """Count what is left of the log on a server that it was restored on, and begin anew.

    Transactions of both servers have numbers of their own, so those of the rows that came along say nothing here: all rows that were not
    counted are, and then they go. What was counted is older by both its transaction and its row.
    """
    from sqlalchemy import text

    connection.execute(text(_KEEP_WRITERS_OUT))
    connection.execute(text(_ADD_MOVED), {"after": position.xid, "seq": position.seq, "bounds": bounds})
    count = connection.execute(text(_EMPTY)).rowcount
    # Whoever waits for the lock has a number from here on.
    oldest = connection.execute(text(_OLDEST_RUNNING)).scalar_one()
    _move(connection, Position(server, str(int(oldest) - 1), position.seq))
    return int(count)


def unread_seconds(connection: Connection) -> float:
    """Age of the oldest event that is not counted yet; 0 where there is none."""
    from sqlalchemy import text

    found = connection.execute(text(_UNREAD_AGE), {"name": _CURSOR}).scalar()
    return 0.0 if found is None else max(0.0, float(found))


def rollups(connection: Connection) -> list[Rollup]:
    """All that was counted so far."""
    from sqlalchemy import text

    return [Rollup(*row) for row in connection.execute(text(_ROLLUPS))]
