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


def _count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM litgo.{table}")).scalar_one())


def test_rows_go_on_the_day_they_are_no_longer_kept(engine: Engine) -> None:
    """A second before they stay; the requests that candidates belong to stay for ever."""
    for write, table in ((_candidates, "match_candidates"), (_calls, "external_calls"), (_answers, "idempotent_answers")):
        for age in (timedelta(days=DAYS[table]) + timedelta(seconds=1), timedelta(days=DAYS[table]) - timedelta(minutes=1), timedelta()):
            write(engine, age)
    assert expire(engine, NOW) == {"match_candidates": 3, "external_calls": 1, "idempotent_answers": 1}
    assert {table: _count(engine, table) for table in DAYS} == {"match_candidates": 6, "external_calls": 2, "idempotent_answers": 2}
    assert _count(engine, "match_requests") == 3
    assert expire(engine, NOW) == {"match_candidates": 0, "external_calls": 0, "idempotent_answers": 0}


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
