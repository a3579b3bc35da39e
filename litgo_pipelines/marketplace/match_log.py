"""The log of what was shown and what became of it, read for training: one statement, from the live tables and the imported history.

What an outcome is worth to the ranker is decided in `ranking.labels`; how the rows become groups in `ranking.training_set`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from litgo_pipelines.marketplace.database import APP_ROLE, DatabaseError, driver_url
from litgo_pipelines.marketplace.tables import FEATURE_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection

OUTCOMES = ("lost", "declined", "accepted", "won")
"""What became of an offer; the position is the code in the column `outcome`."""

_FEATURES = ", ".join(f"m.{name}" for name in FEATURE_COLUMNS)

# Binary COPY takes no bound parameters, so the moment travels as a setting of the transaction. Ids leave as 16 bytes; of a
# request only a 64-bit hash is needed, to tell the groups apart.
_MATCHES = f"""
WITH moment AS MATERIALIZED (SELECT current_setting('litgo.as_of')::timestamptz AS as_of),
seen AS (
    SELECT o.match_id, o.case_id, o.lawyer_id, o.decline_reason,
        CASE WHEN o.responded_at > (TABLE moment) OR (o.status = 'expired' AND o.expires_at > (TABLE moment)) THEN 'pending'
             ELSE o.status END AS status,
        o.responded_at IS NOT NULL AS answered
    FROM litgo.offers o
    WHERE o.sent_at <= (TABLE moment)
),
agreed AS (
    SELECT k.case_id,
        count(*) FILTER (WHERE k.status <> 'canceled' AND coalesce(r.outcome, 'ongoing') = 'ongoing') > 0 AS unfinished,
        max(k.lawyer_id::text) FILTER (WHERE k.status <> 'canceled')::uuid AS lawyer_id,
        max(r.outcome) FILTER (WHERE k.status <> 'canceled') AS outcome,
        array_agg(k.lawyer_id) FILTER (WHERE k.status = 'canceled') AS canceled
    FROM litgo.contracts k
    LEFT JOIN litgo.reviews r ON r.contract_id = k.id AND r.created_at <= (TABLE moment)
    WHERE k.created_at <= (TABLE moment)
    GROUP BY k.case_id
),
unsettled AS (
    SELECT DISTINCT s.case_id
    FROM seen s
    JOIN litgo.cases c ON c.id = s.case_id
    LEFT JOIN agreed k ON k.case_id = s.case_id
    WHERE s.status = 'pending' OR (s.status = 'interested' AND c.status = 'open' AND k.case_id IS NULL) OR k.unfinished
),
live AS (
    SELECT uuid_hash_extended(m.request_id, 0) AS request, m.case_id, m.lawyer_id, c.created_at AS moment, 0::bigint AS seq,
        m.position, c.area,
        CASE WHEN k.lawyer_id = s.lawyer_id THEN CASE k.outcome WHEN 'won' THEN 3 WHEN 'lost' THEN 0 ELSE 2 END
             WHEN s.lawyer_id = ANY (k.canceled) THEN 2
             WHEN s.status = 'declined' AND s.decline_reason IS DISTINCT FROM 'capacity' THEN 1
             WHEN s.status = 'interested' OR (s.status = 'closed' AND s.answered) THEN 2 END::smallint AS outcome,
        {_FEATURES}
    FROM seen s
    JOIN litgo.case_matches m ON m.id = s.match_id
    JOIN litgo.cases c ON c.id = s.case_id
    LEFT JOIN agreed k ON k.case_id = s.case_id
    WHERE NOT EXISTS (SELECT FROM unsettled u WHERE u.case_id = s.case_id)
)
SELECT request, uuid_send(case_id) AS case_id, uuid_send(lawyer_id) AS lawyer_id, moment, seq, position, area, outcome, {_FEATURES}
FROM live m
WHERE outcome IS NOT NULL
UNION ALL
SELECT uuid_hash_extended(m.case_id, CASE m.event WHEN 'match' THEN 1 ELSE 2 END), uuid_send(m.case_id), uuid_send(m.lawyer_id),
    m.ordered_at, m.seq, m.position, m.area,
    CASE m.label WHEN 'lost' THEN 0 WHEN 'declined' THEN 1 WHEN 'accepted' THEN 2 ELSE 3 END::smallint,
    {_FEATURES}
FROM litgo.match_history m
WHERE m.ordered_at IS NULL OR m.ordered_at <= (TABLE moment)
"""

_TAKE_ROLE = f"""
SELECT set_config('role', '{APP_ROLE}', false)
WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}' AND pg_has_role(current_user, oid, 'member'))
"""


def read_matches(database_url: str, as_of: datetime) -> pa.Table:
    """Every shown and offered pair whose case was settled at `as_of`, one row each, in no particular order.

    A case is left out whole while one of its offers is pending, while somebody is interested and no contract was made, and
    until its contract has a review with a final outcome. Expired offers, refusals for lack of capacity and offers closed
    unanswered say nothing about the match: those rows are left out. Facts later than `as_of` are not seen.

    Returns:
        Columns `request` (int64, equal within a request), `case_id` and `lawyer_id` (16 bytes), `moment` (when the case
        came, UTC; null where unknown), `seq` (order of arrival of imported rows, 0 for live ones), `position` (int16, from
        1; null where unknown), `area` (dictionary of text), `outcome` (int16, index into `OUTCOMES`) and the eight features
        (float32, null where unknown).

    Raises:
        ValueError: `as_of` has no time zone.
        DatabaseError: the log cannot be read.
    """
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi

    if as_of.tzinfo is None:
        raise ValueError("as_of needs a time zone")
    try:
        with dbapi.connect(driver_url(database_url)) as connection, connection.cursor() as cursor:
            cursor.execute(_TAKE_ROLE)
            cursor.fetchall()
            cursor.execute("SELECT set_config('litgo.as_of', $1, true)", parameters=[as_of.isoformat()])
            cursor.fetchall()
            cursor.execute(_MATCHES)
            reader = cursor.fetch_record_batch()
            batches = [_narrow(batch) for batch in reader]
            schema = batches[0].schema if batches else _narrow(reader.schema.empty_table().to_batches()[0]).schema
    except dbapi.Error as error:
        raise DatabaseError(f"the match log cannot be read: {' '.join(str(error).split())}") from error
    return pa.Table.from_batches(batches, schema=schema).unify_dictionaries()


def _narrow(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Names of areas are few: keep each once a batch."""
    at = batch.schema.get_field_index("area")
    return batch.set_column(at, "area", batch.column(at).dictionary_encode())


def reviews_seen(connection: Connection, as_of: datetime) -> int:
    """How many reviews there were at `as_of`."""
    from sqlalchemy import func, select

    from litgo_pipelines.marketplace.tables import reviews

    return int(connection.execute(select(func.count()).select_from(reviews).where(reviews.c.created_at <= as_of)).scalar_one())
