"""The log of what is counted: nothing is skipped, nothing counts twice, whoever commits late or is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litgo_pipelines.marketplace.event_log import advance, append, rollups, unread_seconds
from litgo_pipelines_tests.casework.conftest import Facts
from litgo_pipelines_tests.marketplace.counting_child import METRIC

if TYPE_CHECKING:
    from sqlalchemy import Engine

SECONDS = "matching_duration_seconds"


def counted(engine: Engine) -> Counter[str]:
    """What was counted, by the label `status`."""
    with engine.connect() as connection:
        found = rollups(connection)
    total: Counter[str] = Counter()
    for one in found:
        total[one.labels.get("status", "")] += one.events
    return total


def written(engine: Engine) -> Counter[str]:
    """What the log holds, by the label `status`."""
    found = Facts(engine).rows("SELECT labels ->> 'status', CAST(sum(amount) AS bigint) FROM litgo.events GROUP BY 1")
    return Counter(dict(map(tuple, found)))


def happen(engine: Engine, status: str = "declined", amount: int = 1) -> None:
    with engine.begin() as connection:
        append(connection, METRIC, amount=amount, status=status)


def count_all(engine: Engine, most: int = 50_000) -> None:
    while advance(engine, {}, most):
        pass


def test_a_commit_that_comes_late_is_not_skipped(engine: Engine) -> None:
    """A row that was drawn first and committed last waits, and holds back what came after it."""
    with engine.begin() as late:
        append(late, METRIC, status="late")
        happen(engine, "early")
        count_all(engine)
        assert counted(engine) == {}
        with engine.connect() as connection:
            assert unread_seconds(connection) > 0
    count_all(engine)
    assert counted(engine) == {"late": 1, "early": 1}
    with engine.connect() as connection:
        assert unread_seconds(connection) == 0


def test_what_began_later_holds_nothing_back(engine: Engine) -> None:
    """A transaction that is still open hides only what is younger than itself."""
    happen(engine, "before")
    with engine.begin() as late:
        append(late, METRIC, status="late")
        count_all(engine)
        assert counted(engine) == {"before": 1}
    count_all(engine)
    assert counted(engine) == {"before": 1, "late": 1}


def test_what_was_rolled_back_never_happened(engine: Engine) -> None:
    """An event belongs to its transaction."""
    with engine.connect() as connection:
        append(connection, METRIC, status="undone")
        connection.rollback()
    happen(engine)
    count_all(engine)
    assert counted(engine) == {"declined": 1}


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_a_long_log_is_counted_in_portions(engine: Engine, most: int) -> None:
    """Each portion goes on where the one before ended, and a transaction of more events than a portion is not torn."""
    with engine.begin() as connection:
        for _ in range(10):
            append(connection, METRIC, status="together")
    for _ in range(10):
        happen(engine, "alone", amount=2)
    count_all(engine, most)
    assert counted(engine) == {"together": 10, "alone": 20}
    count_all(engine, most)
    assert counted(engine) == {"together": 10, "alone": 20}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(0, 40, allow_nan=False) | st.sampled_from([0.1, 1.0, 30.0]), min_size=1, max_size=30),
    bounds=st.lists(st.sampled_from([0.005, 0.1, 1.0, 2.5, 30.0]), unique=True, max_size=5).map(sorted),
)
def test_what_is_measured_falls_into_the_bucket_that_it_belongs_to(engine: Engine, values: list[float], bounds: list[float]) -> None:
    """The upper bound belongs to a bucket; what lies above all bounds is kept as well, and the sum is that of the values."""
    Facts(engine).execute("DELETE FROM litgo.metric_rollups")
    with engine.begin() as connection:
        for value in values:
            append(connection, SECONDS, value=value)
    while advance(engine, {SECONDS: bounds}):
        pass
    with engine.connect() as connection:
        found = rollups(connection)
    expected = Counter(min((bound for bound in bounds if value <= bound), default=float("inf")) for value in values)
    assert {one.le: one.events for one in found} == expected
    assert sum(one.total for one in found) == pytest.approx(sum(values))


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "litgo_pipelines_tests.marketplace.counting_child", *arguments], stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _kill_after(process: subprocess.Popen[bytes], signs: int) -> None:
    assert process.stdout is not None
    assert process.stdout.read(signs) == b"." * signs
    process.kill()


def test_counts_are_exact_with_three_writers_of_which_one_is_killed(engine: Engine, database_url: str) -> None:
    """Commits out of order, transactions that fail, a killed writer, a killed reader and another one at the same time."""
    with (
        _process("write", database_url, "1", "150") as first,
        _process("write", database_url, "2", "150") as second,
        _process("write", database_url, "3", "100000") as killed,
        _process("count", database_url) as reader,
    ):
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                advance(engine, {}, most=5)
                time.sleep(0.001)

        thread = threading.Thread(target=read)
        thread.start()
        _kill_after(reader, 40)
        _kill_after(killed, 100)
        assert first.wait(60) == second.wait(60) == 0
        stop.set()
        thread.join()
    killed.wait()
    count_all(engine)
    assert counted(engine) == written(engine)
    assert written(engine).total() > 300


def test_a_log_that_was_restored_on_another_server_is_counted_to_its_end(engine: Engine) -> None:
    """Numbers of transactions mean nothing on another server: what was counted stays so, the rest is counted once, and it goes on."""
    facts = Facts(engine)
    for xid, status in (("900", "counted"), ("990", "counted"), ("1000000000", "left"), ("1000000001", "left")):
        facts.execute(
            "INSERT INTO litgo.events (xid, metric, labels) VALUES (CAST(:xid AS xid8), :metric, CAST(:labels AS jsonb))",
            xid=xid,
            metric=METRIC,
            labels=json.dumps({"status": status}),
        )
    seq = facts.value("SELECT max(seq) FROM litgo.events WHERE labels ->> 'status' = 'counted'")
    facts.execute(
        "INSERT INTO litgo.metric_cursors (name, position, moved_at) VALUES ('events', :position, now())",
        position=json.dumps({"server": "another", "xid": "995", "seq": seq}),
    )
    happen(engine, "here")
    count_all(engine)
    assert counted(engine) == {"left": 2, "here": 1}
    happen(engine, "after")
    count_all(engine)
    assert counted(engine) == {"left": 2, "here": 1, "after": 1}


def test_counts_outlive_the_events(engine: Engine) -> None:
    """What is deleted is counted before, and what cannot be counted yet is not deleted."""
    from datetime import UTC, datetime, timedelta

    from litgo_pipelines.casework.retention import expire

    later = datetime.now(UTC) + timedelta(days=400)
    happen(engine, "counted")
    with engine.begin() as late:
        append(late, METRIC, status="late")
        happen(engine, "waiting")
        assert expire(engine, later)["events"] == 1
        assert written(engine) == {"waiting": 1}
    assert expire(engine, later)["events"] == 2
    assert counted(engine) == {"counted": 1, "waiting": 1, "late": 1}
