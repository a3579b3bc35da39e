"""What is kept for a while only: logs, ledgers and messages that would grow without bound.

Facts of cases, offers and contracts stay, and so do messages that wait or are on their way, and those of which nobody knows whether they
arrived: they are for a person to settle.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from litgo_pipelines.marketplace import event_log
from litgo_pipelines.observability.metrics import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

_AT_ONCE: Final = 1000

# A request's candidates go together, the oldest first; a request without any is passed over.
_CANDIDATES = """
DELETE FROM litgo.match_candidates WHERE request_id IN (
    SELECT r.id FROM litgo.match_requests r
    WHERE r.started_at < :before AND EXISTS (SELECT FROM litgo.match_candidates c WHERE c.request_id = r.id)
    ORDER BY r.started_at LIMIT :most
)
"""
_CALLS = """
DELETE FROM litgo.external_calls WHERE id IN (
    SELECT id FROM litgo.external_calls WHERE started_at < :before ORDER BY id LIMIT :most
)
"""
_ANSWERS = """
DELETE FROM litgo.idempotent_answers WHERE key IN (
    SELECT key FROM litgo.idempotent_answers WHERE created_at < :before ORDER BY created_at LIMIT :most
)
"""
# By when a message was sent or failed. That nobody is left for a case is told once, and cases are offered on for a year at most.
_MESSAGES = """
DELETE FROM litgo.notifications WHERE id IN (
    SELECT id FROM litgo.notifications
    WHERE status IN ('sent', 'failed') AND coalesce(sent_at, due_at) < :before
    AND (key NOT LIKE 'nobody-left:%' OR created_at < :before - interval '1 year')
    ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
)
"""
# What nobody has counted yet stays.
_EVENTS = """
DELETE FROM litgo.events WHERE seq IN (
    SELECT seq FROM litgo.events
    WHERE at < :before
    AND xid <= CAST((SELECT CAST(position AS jsonb) ->> 'xid' FROM litgo.metric_cursors WHERE name = 'events') AS xid8)
    ORDER BY seq LIMIT :most
)
"""
_RUNS = """
DELETE FROM litgo.job_runs WHERE run_id IN (SELECT run_id FROM litgo.job_runs WHERE ended_at < :before ORDER BY ended_at LIMIT :most)
"""


@dataclass(frozen=True)
class Kept:
    """How long rows of a table are kept, and why no longer."""

    table: str
    days: int
    delete: str
    why: str


KEPT: Final = (
    Kept("match_candidates", 180, _CANDIDATES, "explanations and off-policy estimates look back half a year"),
    Kept("external_calls", 90, _CALLS, "breakers look back a day, people a quarter"),
    Kept("idempotent_answers", 30, _ANSWERS, "nobody repeats a request a month later"),
    Kept("notifications", 180, _MESSAGES, "who was told what is asked for within half a year; the texts name people"),
    Kept("events", 30, _EVENTS, "what they add up to is kept for ever in metric_rollups"),
    Kept("job_runs", 400, _RUNS, "how a job did is compared with the year before; their counts are in metric_rollups"),
)


def expire(engine: Engine, as_of: datetime, tell: Callable[[str, int], None] = lambda _table, _count: None) -> dict[str, int]:
    """Delete what is older than it is kept, a thousand at a time, each in a transaction of its own; rows deleted by table.

    Args:
        tell: is told the table and the rows deleted so far.
    """
    from sqlalchemy import text

    # Where nobody else counts, events would be kept for ever.
    while event_log.advance(engine, BOUNDS):
        pass
    found = dict.fromkeys((one.table for one in KEPT), 0)
    for one in KEPT:
        asked = {"before": as_of - timedelta(days=one.days), "most": _AT_ONCE}
        while True:
            with engine.begin() as connection:
                gone = connection.execute(text(one.delete), asked).rowcount
            if not gone:
                break
            found[one.table] += gone
            tell(one.table, found[one.table])
    return found
