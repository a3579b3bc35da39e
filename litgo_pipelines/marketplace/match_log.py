"""The log of what was shown and what became of it, read for training: one statement, from the live tables and the imported history.

What an outcome is worth to the ranker is decided in `ranking.labels`; how the rows become groups in `ranking.training_set`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from litgo_pipelines.marketplace.database import APP_ROLE, DatabaseError, driver_url
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection

OUTCOMES = ("lost", "declined", "accepted", "won")
"""What became of an offer; the position is the code in the column `outcome`."""

_CONNECT_SECONDS = 5
_FEATURES = ", ".join(f"m.{name}" for name in FEATURE_COLUMNS)

# Binary COPY takes no bound parameters, so the moment travels as a setting of the transaction. Ids leave as 16 bytes; of a
# request only a 64-bit hash is needed, to tell the groups apart. The outer join makes PostgreSQL work an outcome out before it
# joins: once a row, and the hash table holds the answer in place of what it came from.
_AS_OF = "(SELECT current_setting('litgo.as_of')::timestamptz)"
_MATCHES = f"""
WITH agreed AS NOT MATERIALIZED (
    SELECT k.case_id, k.lawyer_id, coalesce(r.outcome, 'ongoing') AS outcome
    FROM litgo.contracts k
    LEFT JOIN litgo.reviews r ON r.contract_id = k.id AND r.created_at <= {_AS_OF}
    WHERE k.status <> 'canceled' AND k.created_at <= {_AS_OF}
),
unsettled AS (
    SELECT o.case_id
    FROM litgo.offers o
    WHERE o.sent_at <= {_AS_OF}
        AND (o.status = 'pending' OR o.responded_at > {_AS_OF} OR (o.status = 'expired' AND o.expires_at > {_AS_OF}))
    UNION ALL
    SELECT o.case_id
    FROM litgo.offers o
    JOIN litgo.cases c ON c.id = o.case_id
    WHERE o.status = 'interested' AND o.sent_at <= {_AS_OF} AND c.status = 'open'
        AND NOT EXISTS (SELECT FROM litgo.contracts k WHERE k.case_id = o.case_id)
    UNION ALL
    SELECT k.case_id
    FROM litgo.contracts k
    WHERE k.created_at > {_AS_OF}
        AND NOT EXISTS (SELECT FROM litgo.contracts e WHERE e.case_id = k.case_id AND e.created_at <= {_AS_OF})
),
settled AS (
    SELECT c.id, c.created_at, c.area, k.lawyer_id, k.outcome
    FROM litgo.cases c
    LEFT JOIN agreed k ON k.case_id = c.id
    WHERE k.outcome IS DISTINCT FROM 'ongoing' AND NOT EXISTS (SELECT FROM unsettled u WHERE u.case_id = c.id)
),
broken AS (
    SELECT DISTINCT k.case_id, k.lawyer_id
    FROM litgo.contracts k
    WHERE k.status = 'canceled' AND k.created_at <= {_AS_OF}
),
answered AS (
    SELECT o.match_id, c.created_at, c.area,
        CASE WHEN c.lawyer_id = o.lawyer_id THEN CASE c.outcome WHEN 'won' THEN 3 WHEN 'lost' THEN 0 ELSE 2 END
             WHEN b.case_id IS NOT NULL THEN 2
             WHEN o.status = 'declined' AND o.decline_reason IS DISTINCT FROM 'capacity' THEN 1
             WHEN o.status = 'interested' OR (o.status = 'closed' AND o.responded_at IS NOT NULL) THEN 2 END::smallint AS outcome
    FROM litgo.offers o
    JOIN settled c ON c.id = o.case_id
    LEFT JOIN broken b ON b.case_id = o.case_id AND b.lawyer_id = o.lawyer_id
    WHERE o.sent_at <= {_AS_OF}
)
SELECT uuid_hash_extended(m.request_id, 0) AS request, uuid_send(m.case_id) AS case_id, uuid_send(m.lawyer_id) AS lawyer_id,
    a.created_at AS moment, 0::bigint AS seq, m.position, a.area, a.outcome, {_FEATURES}
FROM litgo.case_matches m
LEFT JOIN answered a ON a.match_id = m.id
WHERE a.outcome IS NOT NULL
UNION ALL
SELECT uuid_hash_extended(m.case_id, CASE m.event WHEN 'match' THEN 1 ELSE 2 END), uuid_send(m.case_id), uuid_send(m.lawyer_id),
    m.ordered_at, m.seq, m.position, m.area,
    CASE m.label WHEN 'lost' THEN 0 WHEN 'declined' THEN 1 WHEN 'accepted' THEN 2 ELSE 3 END::smallint,
    {_FEATURES}
FROM litgo.match_history m
WHERE m.ordered_at IS NULL OR m.ordered_at <= {_AS_OF}
"""

# The planner cannot guess how many rows a moment leaves, and a million index probes cost several times one hash join.
_SET_UP = """
SELECT set_config('litgo.as_of', $1, true), set_config('work_mem', '128MB', true), set_config('enable_nestloop', 'off', true),
    set_config('jit', 'off', true)
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
        with dbapi.connect(_bounded(driver_url(database_url))) as connection, connection.cursor() as cursor:
            cursor.execute(_TAKE_ROLE)
            cursor.fetchall()
            cursor.execute(_SET_UP, parameters=[as_of.isoformat()])
            cursor.fetchall()
            cursor.execute(_MATCHES)
            reader = cursor.fetch_record_batch()
            at = reader.schema.get_field_index("area")
            schema = reader.schema.set(at, pa.field("area", pa.dictionary(pa.int32(), pa.string())))
            # Names of areas are few: each is kept once a batch.
            batches = [batch.set_column(at, "area", batch.column(at).dictionary_encode()) for batch in reader]
    except dbapi.Error as error:
        raise DatabaseError(f"the match log cannot be read: {' '.join(str(error).split())}") from error
    return pa.Table.from_batches(batches, schema=schema).unify_dictionaries()


def _bounded(url: str) -> str:
    """The URL with a bound on connecting, unless it names one."""
    return url if "connect_timeout=" in url else f"{url}{'&' if '?' in url else '?'}connect_timeout={_CONNECT_SECONDS}"


def reviews_seen(connection: Connection, as_of: datetime) -> int:
    """How many reviews there were at `as_of`."""
    from sqlalchemy import func, select

    from litgo_pipelines.marketplace.tables import reviews

    return int(connection.execute(select(func.count()).select_from(reviews).where(reviews.c.created_at <= as_of)).scalar_one())
