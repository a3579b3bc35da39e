"""What is kept for a while only goes, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import Engine, text

from litgo_pipelines.casework.retention import KEPT, expire
from litgo_pipelines.marketplace import tables

NOW = datetime.now(UTC)
DAYS = {one.table: one.days for one in KEPT}


def _candidates(engine: Engine, age: timedelta, lawyers: int = 3) -> None:
    request = uuid4()
    row = {"id": request, "kind": "matching", "status": "error", "error_class": "X", "started_at": NOW - age}
    shown = [
        {"request_id": request, "lawyer_id": uuid4(), "score": 0.5, "u_eff": 0.1, "outcome": "shown", "reason": "value"}
        for _ in range(lawyers)
    ]
    with engine.begin() as connection:
        connection.execute(tables.match_requests.insert(), row)
        connection.execute(tables.match_candidates.insert(), shown)


def _calls(engine: Engine, age: timedelta) -> None:
    row = {"service": "openai", "operation": "embed", "outcome": "ok", "number": 1, "started_at": NOW - age, "duration_ms": 1.0}
    with engine.begin() as connection:
        connection.execute(tables.external_calls.insert(), row)


def _answers(engine: Engine, age: timedelta) -> None:
    row = {"key": str(uuid4()), "request_hash": "x", "status": 200, "answer": {}, "created_at": NOW - age}
    with engine.begin() as connection:
        connection.execute(tables.idempotent_answers.insert(), row)


def _message(engine: Engine, age: timedelta, status: str = "sent", key: str | None = None, made: timedelta | None = None) -> None:
    """One that was sent, or last tried, so long ago; made then as well, where nothing else is said."""
    ended = NOW - age
    row = {"key": key or str(uuid4()), "audience": "client", "recipient_id": uuid4(), "channel": "email", "subject": "s", "body": "b"}
    row |= {"status": status, "created_at": NOW - (made or age), "due_at": ended, "sent_at": ended if status == "sent" else None}
    row |= {"claim": uuid4(), "claimed_until": ended} if status == "sending" else {"claim": None, "claimed_until": None}
    with engine.begin() as connection:
        connection.execute(tables.notifications.insert(), row)


def _run(engine: Engine, age: timedelta) -> None:
    row = {"run_id": str(uuid4()), "job": "embed_texts", "status": "success", "ended_at": NOW - age}
    with engine.begin() as connection:
        connection.execute(tables.job_runs.insert(), row)


def _count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM litgo.{table}")).scalar_one())


def test_rows_go_on_the_day_they_are_no_longer_kept(engine: Engine) -> None:
    """A second before they stay; the requests that candidates belong to stay for ever."""
    for write, table in (
        (_candidates, "match_candidates"),
        (_calls, "external_calls"),
        (_answers, "idempotent_answers"),
        (_message, "notifications"),
        (_run, "job_runs"),
    ):
        for age in (timedelta(days=DAYS[table]) + timedelta(seconds=1), timedelta(days=DAYS[table]) - timedelta(minutes=1), timedelta()):
            write(engine, age)
    gone = {"match_candidates": 3, "external_calls": 1, "idempotent_answers": 1, "notifications": 1, "job_runs": 1}
    assert expire(engine, NOW) == gone | {"events": 0}
    assert {table: _count(engine, table) for table in gone} == {table: 2 * count for table, count in gone.items()}
    assert _count(engine, "match_requests") == 3
    assert expire(engine, NOW) == dict.fromkeys(DAYS, 0)


def test_messages_that_somebody_may_still_care_for_stay(engine: Engine) -> None:
    """What waits, what is on its way and what nobody knows of; and what was sent again lately, however old it is."""
    old = timedelta(days=400)
    for status in ("queued", "sending", "unknown", "sent", "failed"):
        _message(engine, old, status)
        _message(engine, timedelta(days=1), status, made=old)
    assert expire(engine, NOW)["notifications"] == 2
    with engine.connect() as connection:
        left = connection.execute(text("SELECT status, count(*) FROM litgo.notifications GROUP BY status"))
        assert {one.status: one[1] for one in left} == {"queued": 2, "sending": 2, "unknown": 2, "sent": 1, "failed": 1}


def test_that_nobody_is_left_is_remembered_as_long_as_a_case_may_be_offered_on(engine: Engine) -> None:
    """Or it would be told again for a case that still waits."""
    for days in (200, 500, 600):
        _message(engine, timedelta(days=days), key=f"nobody-left:{days}")
    assert expire(engine, NOW)["notifications"] == 1
    with engine.connect() as connection:
        left = connection.execute(text("SELECT key FROM litgo.notifications ORDER BY id")).scalars().all()
    assert left == ["nobody-left:200", "nobody-left:500"]


def test_a_message_that_a_person_sends_again_meanwhile_stays(engine: Engine) -> None:
    """Who expires messages does not wait for who holds one, nor deletes it."""
    _message(engine, timedelta(days=200), "failed")
    _message(engine, timedelta(days=200), "failed")
    with engine.begin() as held:
        first = "SELECT min(id) FROM litgo.notifications"
        held.execute(text(f"UPDATE litgo.notifications SET status = 'queued' WHERE id = ({first})"))
        assert expire(engine, NOW)["notifications"] == 1
    assert _count(engine, "notifications") == 1


def test_more_than_one_portion_goes(engine: Engine) -> None:
    """The end is reached however much there is, and somebody is told on the way."""
    with engine.begin() as connection:
        connection.execute(
            text("""
            INSERT INTO litgo.idempotent_answers (key, request_hash, status, answer, created_at)
            SELECT n::text, 'x', 200, '{}', now() - interval '60 days' FROM generate_series(1, 2500) n
            """)
        )
    told: list[tuple[str, int]] = []
    assert expire(engine, NOW, lambda table, count: told.append((table, count)))["idempotent_answers"] == 2500
    assert told == [("idempotent_answers", 1000), ("idempotent_answers", 2000), ("idempotent_answers", 2500)]
