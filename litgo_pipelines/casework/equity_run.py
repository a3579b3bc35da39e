"""The nightly equity figures: one set-based statement over all lawyers, and one snapshot row for each active one.

What capacity is stands in `equity.capacity`; when this runs is `orchestration`'s.
"""

from __future__ import annotations

import time as clock
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from litgo_pipelines.equity.capacity import band_sql, capacity_sql

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Connection, Engine

TIMEZONE = ZoneInfo("America/Sao_Paulo")
RUN_AT = time(2, 0)
_MOST_ATTEMPTS = 4

# LEFT JOINs from lawyers, so that whoever falls to zero is among them. Contracts and offers are counted in one pass over both.
# What differs is told while the figures are made (OFFSET 0 keeps them from being computed twice), so that a quiet night joins
# lawyers once. Older offers are looked up for those alone who have none in the window and none noted. Whether somebody is new is
# counted anew for those alone who were new on the run before and received offers since. Snapshot rows go in sorted, which suits their key.
_STATEMENT = f"""
WITH facts AS (
    SELECT lawyer_id, count(*) - count(sent_at) AS cases, max(sent_at) AS last_at
    FROM (
        SELECT lawyer_id, NULL::timestamptz AS sent_at
        FROM litgo.contracts
        WHERE created_at > CAST(:as_of AS timestamptz) - interval '30 days' AND created_at <= :as_of AND status <> 'canceled'
        UNION ALL
        SELECT lawyer_id, sent_at
        FROM litgo.offers
        WHERE sent_at > CAST(:as_of AS timestamptz) - interval '30 days' AND sent_at <= :as_of
    ) window_30d
    GROUP BY lawyer_id
), demand AS (
    SELECT COALESCE(array_agg(area), '{{}}') AS areas
    FROM (
        SELECT DISTINCT area
        FROM litgo.cases
        WHERE created_at > CAST(:as_of AS timestamptz) - interval '30 days' AND created_at <= :as_of
    ) wanted
), figures AS MATERIALIZED (
    SELECT id, active, area, cases, capacity, last_at, lately_at, eligible,
           (cases, capacity, GREATEST(noted_at, last_at)) IS DISTINCT FROM (noted_cases, noted_capacity, noted_at) AS differs
    FROM (
        SELECT l.id, l.status = 'active' AS active, l.primary_area AS area, COALESCE(facts.cases, 0)::int AS cases,
               ({capacity_sql("l")})::int AS capacity,
               COALESCE(GREATEST(CASE WHEN l.last_offered_at <= :as_of THEN l.last_offered_at END, facts.last_at),
                        (SELECT max(o.sent_at) FROM litgo.offers o WHERE o.lawyer_id = l.id AND o.sent_at <= :as_of)) AS last_at,
               facts.last_at AS lately_at,
               l.primary_area = ANY((SELECT areas FROM demand)::text[]) OR l.specialties && (SELECT areas FROM demand) AS eligible,
               l.cases_30d AS noted_cases, l.capacidade_mensal AS noted_capacity, l.last_offered_at AS noted_at
        FROM litgo.lawyers l
        LEFT JOIN facts ON facts.lawyer_id = l.id
        WHERE l.created_at <= :as_of
        OFFSET 0
    ) computed
), changed AS (
    UPDATE litgo.lawyers l
    SET cases_30d = f.cases, capacidade_mensal = f.capacity, last_offered_at = GREATEST(l.last_offered_at, f.last_at),
        equity_updated_at = :as_of, updated_at = :as_of
    FROM figures f
    WHERE :newest AND f.differs AND l.id = f.id
    RETURNING 1
), previous AS (
    SELECT lawyer_id, is_new, as_of, as_of > CAST(:as_of AS timestamptz) - interval '30 days' AS recent
    FROM litgo.equity_snapshots
    WHERE as_of = (SELECT max(as_of) FROM litgo.equity_snapshots WHERE as_of < :as_of)
), snapshot AS (
    INSERT INTO litgo.equity_snapshots
        (as_of, lawyer_id, cases_30d, capacidade_mensal, utilisation, area, capacity_band, is_new, eligible, last_offered_at)
    SELECT :as_of, f.id, f.cases, f.capacity, f.cases::real / f.capacity, f.area, {band_sql("f.capacity")},
           CASE WHEN NOT previous.is_new THEN false
                WHEN previous.recent AND (f.lately_at IS NULL OR f.lately_at <= previous.as_of) THEN true
                ELSE (SELECT count(*) FROM (SELECT FROM litgo.offers o
                                            WHERE o.lawyer_id = f.id AND o.sent_at <= :as_of LIMIT :new_offers) x)
                     < :new_offers END,
           f.eligible, f.last_at
    FROM figures f
    LEFT JOIN previous ON previous.lawyer_id = f.id
    WHERE f.active
    ORDER BY f.id
)
SELECT count(*), (SELECT count(*) FROM changed), count(*) FILTER (WHERE active) FROM figures
"""


@dataclass(frozen=True)
class EquityRun:
    """What one run did: rows read and changed in `lawyers`, snapshot rows written, seconds, and whether it was the newest run.

    Only the newest run writes the current columns of `lawyers`; an older day gets its snapshot alone.
    """

    as_of: datetime
    rows_read: int
    rows_changed: int
    snapshot_rows: int
    newest: bool
    seconds: float


def as_of_partition(day: date) -> datetime:
    """The moment a daily partition is taken: 02:00 of the day after it, São Paulo time. An aware UTC datetime."""
    return datetime.combine(day + timedelta(days=1), RUN_AT, TIMEZONE).astimezone(UTC)


def latest_partition(at: datetime) -> date:
    """The newest day whose partition is complete at `at`."""
    local = at.astimezone(TIMEZONE)
    return local.date() - timedelta(days=1 if local.time() >= RUN_AT else 2)


def run_equity(engine: Engine, as_of: datetime, *, new_lawyer_offers: int) -> EquityRun:
    """Compute the figures as of a moment and write them, in one transaction. Running it again replaces that moment's snapshot.

    Args:
        as_of: aware datetime; only facts up to it count.
        new_lawyer_offers: offers received after which a lawyer is no longer new.

    Raises:
        ValueError: `as_of` is naive.
    """
    from psycopg import errors
    from sqlalchemy.exc import OperationalError

    for attempt in range(1, _MOST_ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                return compute(connection, as_of, new_lawyer_offers=new_lawyer_offers)
        except OperationalError as error:
            # Serving locks lawyers in another order than this statement meets them.
            if attempt == _MOST_ATTEMPTS or not isinstance(error.orig, errors.DeadlockDetected):
                raise
    raise AssertionError("unreachable")


def compute(connection: Connection, as_of: datetime, *, new_lawyer_offers: int) -> EquityRun:
    """`run_equity` inside the caller's transaction."""
    from sqlalchemy import text

    if as_of.tzinfo is None:
        raise ValueError("as_of must be an aware datetime")
    started = clock.perf_counter()
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('litgo equity'))"))
    newest = not connection.execute(
        text("SELECT EXISTS (SELECT FROM litgo.equity_snapshots WHERE as_of > :as_of)"), {"as_of": as_of}
    ).scalar_one()
    connection.execute(text("DELETE FROM litgo.equity_snapshots WHERE as_of = :as_of"), {"as_of": as_of})
    read, changed, written = connection.execute(text(_STATEMENT), {"as_of": as_of, "newest": newest, "new_offers": new_lawyer_offers}).one()
    return EquityRun(as_of, read, changed, written, newest, clock.perf_counter() - started)


def utilisation(connection: Connection, as_of: datetime) -> NDArray[np.float64]:
    """Utilisation of the active lawyers who were eligible in an area with demand, from the snapshot of `as_of`. Shape (n,)."""
    import numpy as np
    from sqlalchemy import text

    rows = connection.execute(
        text("SELECT utilisation FROM litgo.equity_snapshots WHERE as_of = :as_of AND eligible"), {"as_of": as_of}
    ).scalars()
    return np.array(list(rows), dtype=np.float64)


# That a lawyer is in a snapshot once is the key's to see to; that a person is one lawyer is not, for OAB numbers are spelt in many ways.
_FAULTS = """
WITH moments AS (
    SELECT unnest(CAST(:moments AS timestamptz[])) AS as_of
    UNION
    SELECT max(as_of) FROM litgo.equity_snapshots WHERE CAST(:moments AS timestamptz[]) IS NULL
), chosen AS (
    SELECT s.* FROM litgo.equity_snapshots s JOIN moments USING (as_of)
)
SELECT count(*) FILTER (WHERE capacidade_mensal NOT BETWEEN 1 AND 30) AS capacity_out_of_range,
       count(*) FILTER (WHERE cases_30d < 0) AS negative_load,
       (SELECT count(*) FROM moments m JOIN litgo.lawyers l ON l.status = 'active' AND l.created_at <= m.as_of
        WHERE EXISTS (SELECT FROM chosen c WHERE c.as_of = m.as_of)
          AND NOT EXISTS (SELECT FROM chosen c WHERE c.as_of = m.as_of AND c.lawyer_id = l.id)) AS lawyers_missing,
       (SELECT count(*) - count(DISTINCT number)
        FROM (SELECT NULLIF(regexp_replace(upper(regexp_replace(oab_number, '[^0-9A-Za-z]', '', 'g')), '^OAB', ''), '') AS number
              FROM litgo.lawyers WHERE status = 'active' AND created_at <= (SELECT max(as_of) FROM moments)) spelt
        WHERE number IS NOT NULL) AS lawyers_twice,
       CASE WHEN count(*) = 0 AND EXISTS (SELECT FROM litgo.lawyers WHERE status = 'active') THEN 1 ELSE 0 END AS empty_snapshot
FROM chosen
"""


def snapshot_faults(connection: Connection, moments: list[datetime] | None) -> dict[str, int]:
    """How much of the snapshots cannot be right, by kind of fault: rows, lawyers active now who are missing from one, or who are there
    more than once, under OAB numbers that differ in spelling alone (case, a leading OAB, and all that is no letter and no digit).

    Args:
        moments: which snapshots to look at; None: the newest.
    """
    from sqlalchemy import text

    return dict(connection.execute(text(_FAULTS), {"moments": moments}).one()._mapping)
