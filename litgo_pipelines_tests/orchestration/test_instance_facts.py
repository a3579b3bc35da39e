"""Dagster's facts for the collector, on a real instance and a real marketplace database."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import DagsterEvent
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.tags import PARTITION_NAME_TAG, SCHEDULED_EXECUTION_TIME_TAG, WILL_RETRY_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._utils.error import SerializableErrorInfo
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines.orchestration.instance_facts import QUEUE_GRACE, TICK_SLACK, DagsterFacts, dagster_facts
from litgo_pipelines.orchestration.instance_reading import OVERLAP, Repository, Schedule, Sensor, asked_for, connect
from litgo_pipelines.settings import LitgoError
from litgo_pipelines_tests.orchestration.test_operations_watch import schedule_until

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.observability.sources import Sample
    from litgo_pipelines_tests.conftest import Databases

NIGHTLY = Schedule("nightly", "figures", "0 2 * * *", "America/Sao_Paulo", timedelta(minutes=30), runs=True)
WATCH = Sensor("watch", timedelta(seconds=30), runs=True)
OURS = Repository(("figures", "sweep"), (NIGHTLY,), (WATCH,))

LOCATION = RemoteRepositoryOrigin(
    InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="litgo_pipelines.definitions")), "__repository__"
)

ERROR = SerializableErrorInfo("told to fail", [], None)

NOON = datetime(2026, 3, 10, 15, tzinfo=UTC)
DUE = datetime(2026, 3, 11, 5, tzinfo=UTC)
"""The schedule's next moment after NOON."""
JUDGED = DUE + NIGHTLY.longest + QUEUE_GRACE

Clock = Callable[[], datetime]
Source = Callable[..., DagsterFacts]


class _Setable:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def source(dagster_instance: DagsterInstance, dagster_url: str, engine: Engine) -> Iterator[Source]:
    """Makes readers of the instance, each as a process of its own would."""
    made = []

    def make(clock: Clock = lambda: datetime.now(UTC), repository: Repository = OURS) -> DagsterFacts:
        made.append(DagsterFacts(repository, dagster_instance.root_directory, dagster_url, engine, clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def counted(engine: Engine) -> Callable[[str], dict[tuple[str, ...], int]]:
    """How often each series of a metric was counted, by its labels' values in the order of the registry."""

    def sums(metric: str) -> dict[tuple[str, ...], int]:
        with engine.connect() as connection:
            rows = connection.execute(
                text("SELECT labels, sum(amount) FROM litgo.events WHERE metric = :metric GROUP BY labels"), {"metric": metric}
            )
            return {tuple(labels[name] for name in METRICS[metric].labels): int(amount) for labels, amount in rows}

    return sums


def _run(
    instance: DagsterInstance,
    end: DagsterEventType = DagsterEventType.PIPELINE_SUCCESS,
    *,
    job: str = "figures",
    began: datetime | None = None,
    ended: datetime | None = None,
    tags: dict[str, str] | None = None,
) -> str:
    """A run that took a second, unless it is told when it began and ended."""
    ended = ended or datetime.now(UTC)
    run = create_run_for_test(instance, job, status=DagsterRunStatus.NOT_STARTED, tags=tags)
    start = DagsterEvent(DagsterEventType.PIPELINE_START.value, job)
    instance.run_storage.handle_run_event(run.run_id, start, began or ended - timedelta(seconds=1))
    instance.run_storage.handle_run_event(run.run_id, DagsterEvent(end.value, job), ended)
    return run.run_id


def _queue(instance: DagsterInstance, job: str) -> None:
    create_run_for_test(instance, job, status=DagsterRunStatus.QUEUED, remote_job_origin=RemoteJobOrigin(LOCATION, job))


def _switch(instance: DagsterInstance, name: str, status: InstigatorStatus, at: datetime) -> InstigatorState:
    """Switch our schedule or sensor on or off, as the daemon or a person does."""
    data: Any
    if name == NIGHTLY.name:
        kind, data = InstigatorType.SCHEDULE, ScheduleInstigatorData(NIGHTLY.cron, at.timestamp())
    else:
        kind, data = InstigatorType.SENSOR, SensorInstigatorData(min_interval=30, last_sensor_start_timestamp=at.timestamp())
    state = InstigatorState(RemoteInstigatorOrigin(LOCATION, name), kind, status, data)
    known = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    return instance.update_instigator_state(state) if known else instance.add_instigator_state(state)


def _tick(instance: DagsterInstance, state: InstigatorState, at: datetime, status: str = "SUCCESS") -> InstigatorTick:
    data = TickData(
        state.instigator_origin_id,
        state.instigator_name,
        state.instigator_type,
        TickStatus[status],
        at.timestamp(),
        run_ids=["one"] if status == "SUCCESS" else [],
        error=ERROR if status == "FAILURE" else None,
        selector_id=state.selector_id,
    )
    return instance.create_tick(data)


def _value(samples: list[Sample], metric: str, **labels: str) -> float | None:
    found = [one.value for one in samples if one.metric == metric and one.labels == labels]
    assert len(found) < 2
    return found[0] if found else None


def test_a_run_is_counted_once_however_it_ends(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """Runs that really ran are counted by how they ended, with their time, by one reader or two at once, and not again by a third."""

    told_to_fail = False

    @dg.op
    def work() -> None:
        if told_to_fail:
            raise dg.Failure("told to fail")

    @dg.job(executor_def=dg.in_process_executor)
    def figures() -> None:
        work()

    first, second = source(), source()
    first.read()
    assert figures.execute_in_process(instance=dagster_instance).success
    told_to_fail = True
    assert not figures.execute_in_process(instance=dagster_instance, raise_on_error=False).success
    canceled = create_run_for_test(dagster_instance, "sweep", status=DagsterRunStatus.STARTED)
    dagster_instance.report_run_canceled(canceled)
    readers = [threading.Thread(target=one.read) for one in (first, second)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    samples = source().read()
    assert counted("job_runs_total") == {("figures", "success"): 1, ("figures", "failure"): 1, ("sweep", "canceled"): 1}
    assert counted("job_duration_seconds") == {("figures",): 2}
    assert _value(samples, "job_last_end_timestamp_seconds", job="sweep", status="canceled") == pytest.approx(time.time(), abs=60)
    assert _value(samples, "job_last_success_timestamp_seconds", job="sweep") is None


def test_a_run_that_is_tried_again_is_no_failure(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """Dagster's tag decides whether a failure counts as one."""
    _run(dagster_instance, DagsterEventType.PIPELINE_FAILURE, tags={WILL_RETRY_TAG: "true"})
    _run(dagster_instance, DagsterEventType.PIPELINE_FAILURE, tags={WILL_RETRY_TAG: "false"})
    source().read()
    assert counted("job_runs_total") == {("figures", "retried"): 1, ("figures", "failure"): 1}


def test_runs_from_before_anybody_counted_are_known_but_not_counted(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """A first start tells when jobs last succeeded, without a leap of the counters; a late change of such a run is no news either."""
    past = datetime.now(UTC) - timedelta(days=3)
    old = _run(dagster_instance, ended=past - timedelta(hours=1))
    _run(dagster_instance, ended=past)
    samples = source().read()
    dagster_instance.add_run_tags(old, {"note": "looked at"})
    source().read()
    assert _value(samples, "job_last_success_timestamp_seconds", job="figures") == pytest.approx(past.timestamp(), abs=0.001)
    assert counted("job_runs_total") == {}


def test_a_run_that_is_written_late_is_counted(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """Its time may be older than that of runs that were counted before."""
    now = datetime.now(UTC)
    reader = source()
    reader.read()
    _run(dagster_instance, ended=now)
    reader.read()
    _run(dagster_instance, ended=now - 0.9 * OVERLAP)
    reader.read()
    assert counted("job_runs_total") == {("figures", "success"): 2}


def test_a_clock_that_is_ahead_hides_no_run(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """A run that says it ended next week does not carry the cursor there."""
    reader = source()
    reader.read()
    _run(dagster_instance, ended=datetime.now(UTC) + timedelta(days=7))
    reader.read()
    _run(dagster_instance)
    reader.read()
    assert counted("job_runs_total") == {("figures", "success"): 2}


def test_a_killed_reader_loses_and_doubles_nothing(
    source: Source, dagster_instance: DagsterInstance, database_url: str, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """A reader that dies while it counts leaves no run known but uncounted, and no cursor moved."""
    state = _switch(dagster_instance, WATCH.name, InstigatorStatus.RUNNING, datetime.now(UTC))
    source().read()
    _run(dagster_instance)
    _tick(dagster_instance, state, datetime.now(UTC))
    raised: list[Exception] = []

    def read() -> None:
        try:
            source().read()
        except Exception as error:
            raised.append(error)

    with open_engine(database_url, role=None).connect() as holder:
        holder.execute(text("LOCK TABLE litgo.events IN ACCESS EXCLUSIVE MODE"))
        reader = threading.Thread(target=read)
        reader.start()
        _waiting(holder, 1)
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        holder.execute(text(kill))
    reader.join()
    assert len(raised) == 1
    assert counted("job_runs_total") == {}
    source().read()
    assert counted("job_runs_total") == {("figures", "success"): 1}
    assert counted("ticks_total") == {("watch", "sensor", "success"): 1}


def test_two_readers_that_saw_the_same_count_it_once(
    source: Source, dagster_instance: DagsterInstance, database_url: str, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """Both have read Dagster before either counts; a run, a tick and a due moment are counted by one of them."""
    state = _switch(dagster_instance, WATCH.name, InstigatorStatus.RUNNING, NOON)
    source(lambda: NOON).read()
    _run(dagster_instance, began=DUE + timedelta(minutes=1), ended=DUE + timedelta(minutes=2))
    _tick(dagster_instance, state, DUE)
    readers = [threading.Thread(target=source(lambda: JUDGED + timedelta(minutes=1)).read) for _ in range(2)]
    with open_engine(database_url, role=None).connect() as holder:
        holder.execute(text("SELECT FROM litgo.metric_cursors FOR UPDATE"))
        for reader in readers:
            reader.start()
        _waiting(holder, 2)
    for reader in readers:
        reader.join()
    assert counted("job_runs_total") == {("figures", "success"): 1}
    assert counted("ticks_total") == {("watch", "sensor", "success"): 1}
    assert counted("jobs_due_total") == counted("jobs_executed_total") == {("figures",): 1}


def _waiting(holder: Connection, readers: int) -> None:
    """Wait until so many readers wait for what a session holds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    deadline = time.monotonic() + 30
    while holder.execute(text(waiting)).scalar_one() < readers:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        holder.execute(text("SELECT pg_stat_clear_snapshot()"))


def test_what_dagster_forgets_stays_counted(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """Retention takes runs and ticks away, and nothing of what they added up to."""
    reader = source()
    state = _switch(dagster_instance, WATCH.name, InstigatorStatus.RUNNING, datetime.now(UTC))
    reader.read()
    run_id = _run(dagster_instance)
    _tick(dagster_instance, state, datetime.now(UTC))
    before = reader.read()
    dagster_instance.delete_run(run_id)
    dagster_instance.purge_ticks(state.instigator_origin_id, state.selector_id, time.time() + 60)
    for after in (reader.read(), source().read()):
        success = _value(after, "job_last_success_timestamp_seconds", job="figures")
        assert success is not None
        assert success == _value(before, "job_last_success_timestamp_seconds", job="figures")
    assert counted("job_runs_total") == {("figures", "success"): 1}
    assert counted("ticks_total") == {("watch", "sensor", "success"): 1}


def test_every_tick_is_counted_once_when_it_has_ended(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """A tick that goes on waits for its end, one that was left behind failed, and a second reader counts none of them again."""
    now = datetime.now(UTC)
    state = _switch(dagster_instance, WATCH.name, InstigatorStatus.DECLARED_IN_CODE, now)
    reader = source()
    reader.read()
    _tick(dagster_instance, state, now)
    _tick(dagster_instance, state, now + timedelta(seconds=30), "SKIPPED")
    going_on = _tick(dagster_instance, state, now + timedelta(seconds=60), "STARTED")
    reader.read()
    assert counted("ticks_total") == {("watch", "sensor", "success"): 1, ("watch", "sensor", "skipped"): 1}
    dagster_instance.update_tick(going_on.with_status(TickStatus.FAILURE, error=ERROR))
    # The clock was set back, and the tick before was interrupted.
    _tick(dagster_instance, state, now + timedelta(seconds=20), "STARTED")
    _tick(dagster_instance, state, now + timedelta(seconds=70))
    for one in (reader, source(), reader):
        one.read()
    assert counted("ticks_total") == {
        ("watch", "sensor", "success"): 2,
        ("watch", "sensor", "skipped"): 1,
        ("watch", "sensor", "failure"): 2,
    }


@pytest.mark.parametrize("kept", [0, 1])
def test_ticks_are_counted_of_a_storage_that_begins_anew_or_was_restored(
    kept: int, source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """It gives its ids a second time; what was counted before, and is there again, is not counted again."""
    now = datetime.now(UTC)
    state = _switch(dagster_instance, WATCH.name, InstigatorStatus.RUNNING, now - timedelta(minutes=5))
    reader = source()
    reader.read()
    for number in range(4):
        _tick(dagster_instance, state, now + timedelta(seconds=30 * number))
    reader.read()
    with dagster_instance.schedule_storage.connect() as storage:  # type: ignore[union-attr]
        storage.execute(text("DELETE FROM job_ticks WHERE id > :kept"), {"kept": kept})
        storage.execute(text("SELECT setval(pg_get_serial_sequence('job_ticks', 'id'), :next, false)"), {"next": kept + 1})
    for number in (5, 6):
        # Read before the first of them, between the two, and after both.
        reader.read()
        _tick(dagster_instance, state, now + timedelta(seconds=30 * number))
    for one in (reader, source()):
        one.read()
    assert counted("ticks_total") == {("watch", "sensor", "success"): 6}


def test_a_failed_tick_that_is_made_good_counts_once_and_is_shown_as_it_is(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """A schedule's tick that failed and was tried again is the same tick."""
    state = _switch(dagster_instance, NIGHTLY.name, InstigatorStatus.DECLARED_IN_CODE, NOON)
    clock = _Setable(NOON)
    reader = source(clock)
    reader.read()
    tick = _tick(dagster_instance, state, DUE, "FAILURE")
    clock.at = DUE + timedelta(minutes=1)
    failed = reader.read()
    dagster_instance.update_tick(tick.with_status(TickStatus.SUCCESS, error=None))
    made_good = reader.read()
    assert [_value(one, "tick_failed", name="nightly", kind="schedule") for one in (failed, made_good)] == [1, 0]
    assert counted("ticks_total") == {("nightly", "schedule", "failure"): 1}


def _nothing(_instance: DagsterInstance) -> None:
    pass


def _in_time(instance: DagsterInstance) -> None:
    _run(instance, began=DUE + timedelta(minutes=5), ended=DUE + timedelta(minutes=6))


def _too_late(instance: DagsterInstance) -> None:
    _run(instance, began=DUE + timedelta(minutes=5), ended=JUDGED + timedelta(seconds=1))


def _begun_before(instance: DagsterInstance) -> None:
    _run(instance, began=DUE - timedelta(minutes=1), ended=DUE + timedelta(minutes=1))


def _of_another_job(instance: DagsterInstance) -> None:
    _run(instance, job="sweep", began=DUE + timedelta(minutes=5), ended=DUE + timedelta(minutes=6))


def _in_vain(instance: DagsterInstance) -> None:
    _run(instance, DagsterEventType.PIPELINE_FAILURE, began=DUE + timedelta(minutes=5), ended=DUE + timedelta(minutes=6))


def _skipped(instance: DagsterInstance) -> None:
    _tick(instance, _switch(instance, NIGHTLY.name, InstigatorStatus.DECLARED_IN_CODE, NOON), DUE, "SKIPPED")


def _failed_tick(instance: DagsterInstance) -> None:
    _tick(instance, _switch(instance, NIGHTLY.name, InstigatorStatus.DECLARED_IN_CODE, NOON), DUE, "FAILURE")


NEWEST = {PARTITION_NAME_TAG: "2026-03-10"}
OLDER = {PARTITION_NAME_TAG: "2026-03-08"}
BY_SCHEDULE = {SCHEDULED_EXECUTION_TIME_TAG: DUE.isoformat()}


def _succeeded(instance: DagsterInstance, minutes: int, **tags: str) -> None:
    began = DUE + timedelta(minutes=minutes)
    _run(instance, began=began, ended=began + timedelta(minutes=1), tags=tags)


def _failed_as_asked(instance: DagsterInstance) -> None:
    began = DUE + timedelta(minutes=3)
    _run(instance, DagsterEventType.PIPELINE_FAILURE, began=began, ended=began + timedelta(minutes=1), tags={**BY_SCHEDULE, **NEWEST})


def _another_day_by_hand(instance: DagsterInstance) -> None:
    _failed_as_asked(instance)
    _succeeded(instance, 6, **OLDER)


def _older_day_alone(instance: DagsterInstance) -> None:
    _succeeded(instance, 2, **BY_SCHEDULE, **OLDER)
    _failed_as_asked(instance)


def _newest_day_under_way(instance: DagsterInstance) -> None:
    _succeeded(instance, 2, **BY_SCHEDULE, **OLDER)
    create_run_for_test(instance, "figures", status=DagsterRunStatus.STARTED, tags={**BY_SCHEDULE, **NEWEST})


def _newest_day_alone(instance: DagsterInstance) -> None:
    began = DUE + timedelta(minutes=1)
    tags = {**BY_SCHEDULE, **OLDER}
    _run(instance, DagsterEventType.PIPELINE_FAILURE, began=began, ended=began + timedelta(minutes=1), tags=tags)
    _succeeded(instance, 3, **BY_SCHEDULE, **NEWEST)


def _executed_again(instance: DagsterInstance) -> None:
    _failed_as_asked(instance)
    _succeeded(instance, 6, **BY_SCHEDULE, **NEWEST)


def _same_day_by_hand(instance: DagsterInstance) -> None:
    _failed_as_asked(instance)
    _succeeded(instance, 6, **NEWEST)


def _without_partitions_by_hand(instance: DagsterInstance) -> None:
    began = DUE + timedelta(minutes=3)
    _run(instance, DagsterEventType.PIPELINE_FAILURE, began=began, ended=began + timedelta(minutes=1), tags=BY_SCHEDULE)
    _succeeded(instance, 6)


def _for_another_moment(instance: DagsterInstance) -> None:
    _succeeded(instance, 6, **{SCHEDULED_EXECUTION_TIME_TAG: (DUE - timedelta(days=1)).isoformat()})


@pytest.mark.parametrize(
    ("happens", "executed"),
    [
        (_another_day_by_hand, False),
        (_older_day_alone, False),
        (_newest_day_under_way, False),
        (_for_another_moment, False),
        (_newest_day_alone, True),
        (_executed_again, True),
        (_same_day_by_hand, True),
        (_without_partitions_by_hand, True),
        (_in_time, True),
        (_skipped, True),
        (_nothing, False),
        (_too_late, False),
        (_begun_before, False),
        (_of_another_job, False),
        (_in_vain, False),
        (_failed_tick, False),
    ],
)
def test_a_due_moment_is_judged_once_when_its_grace_is_over(
    happens: Callable[[DagsterInstance], None],
    executed: bool,
    source: Source,
    dagster_instance: DagsterInstance,
    counted: Callable[[str], dict[tuple[str, ...], int]],
) -> None:
    """It was executed if what the schedule asked for, else any run that began afterwards, succeeded in time, or nothing was to be done."""
    clock = _Setable(NOON)
    reader = source(clock)
    assert _value(reader.read(), "job_due_timestamp_seconds", job="figures") is None
    happens(dagster_instance)
    clock.at = JUDGED - timedelta(seconds=1)
    samples = reader.read()
    assert _value(samples, "job_due_timestamp_seconds", job="figures") == DUE.timestamp()
    assert _value(samples, "job_overdue", job="figures") == 0
    assert counted("jobs_due_total") == {}
    clock.at = JUDGED + timedelta(seconds=5)
    overdue = [_value(one.read(), "job_overdue", job="figures") for one in (reader, source(clock), reader)]
    assert counted("jobs_due_total") == {("figures",): 1}
    assert counted("jobs_executed_total") == ({("figures",): 1} if executed else {})
    # A run that was too late is here by now, in the database.
    assert overdue == [0.0 if executed or happens is _too_late else 1.0] * 3


def test_a_reader_that_was_away_judges_what_it_missed_as_it_was(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """Of three nights without a reader, one without a run, each is judged by what was done in its own time."""
    source(lambda: NOON).read()
    for night in (0, 2):
        due = DUE + timedelta(days=night)
        _run(dagster_instance, began=due + timedelta(seconds=9), ended=due + timedelta(minutes=2))
    samples = source(lambda: JUDGED + timedelta(days=2, hours=1)).read()
    assert counted("jobs_due_total") == {("figures",): 3}
    assert counted("jobs_executed_total") == {("figures",): 2}
    assert _value(samples, "job_overdue", job="figures") == 0


def test_a_long_time_away_is_made_up_for_in_portions(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """Runs are counted from the oldest on, and no moment is judged before those that may have been in time are known."""
    source(lambda: NOON).read()
    for day in range(5):
        began = DUE + timedelta(days=day, minutes=1)
        _run(dagster_instance, began=began, ended=began + timedelta(minutes=1))
    reader = source(lambda: JUDGED + timedelta(days=4, hours=1))
    reader.most = 2
    found = []
    for _ in range(4):
        reader.read()
        found.append((counted("job_runs_total").get(("figures", "success")), counted("jobs_executed_total").get(("figures",))))
    assert found == [(2, None), (4, None), (5, 5), (5, 5)]


def test_an_overdue_job_is_made_good_by_a_late_run(source: Source, dagster_instance: DagsterInstance) -> None:
    """It stays overdue until a run succeeds, and not longer."""
    clock = _Setable(NOON)
    reader = source(clock)
    reader.read()
    clock.at = JUDGED + timedelta(hours=3)
    assert _value(reader.read(), "job_overdue", job="figures") == 1
    _run(dagster_instance, began=clock.at - timedelta(minutes=2), ended=clock.at - timedelta(minutes=1))
    assert _value(reader.read(), "job_overdue", job="figures") == 0


def test_an_overdue_day_is_made_good_by_a_run_for_that_day_alone(source: Source, dagster_instance: DagsterInstance) -> None:
    """Whoever starts it; another day's run leaves it overdue."""
    clock = _Setable(NOON)
    reader = source(clock)
    reader.read()
    _failed_as_asked(dagster_instance)
    clock.at = JUDGED + timedelta(hours=3)
    found = [_value(reader.read(), "job_overdue", job="figures")]
    for tags in (OLDER, NEWEST):
        _run(dagster_instance, began=clock.at - timedelta(minutes=2), ended=clock.at - timedelta(minutes=1), tags=tags)
        found.append(_value(reader.read(), "job_overdue", job="figures"))
    assert found == [1, 1, 0]


def test_runs_that_the_scheduler_asked_for_are_found_by_their_moment(dagster_instance: DagsterInstance) -> None:
    """As Dagster's own scheduler writes it, with a run for the same day that a person started."""
    due = (datetime.now(UTC) + timedelta(days=2)).replace(hour=5, minute=0, second=0, microsecond=0)
    schedule_until(dagster_instance, due - timedelta(hours=1))
    schedule_until(dagster_instance, due + timedelta(seconds=20))
    (asked,) = dagster_instance.get_runs(dg.RunsFilter(job_name="calculate_equity_metrics"))
    by_hand = create_run_for_test(dagster_instance, "calculate_equity_metrics", tags={PARTITION_NAME_TAG: asked.tags[PARTITION_NAME_TAG]})
    create_run_for_test(dagster_instance, "calculate_equity_metrics", tags=OLDER)
    with connect(dagster_instance) as storage:
        assert set(asked_for(storage, "calculate_equity_metrics", due)) == {asked.run_id, by_hand.run_id}
        assert asked_for(storage, "calculate_equity_metrics", due - timedelta(days=1)) == []


def test_a_schedule_that_a_person_switched_off_is_not_due(
    source: Source, dagster_instance: DagsterInstance, counted: Callable[[str], dict[tuple[str, ...], int]]
) -> None:
    """Neither while it is off, nor for what it left out when it is on again."""
    clock = _Setable(NOON)
    reader = source(clock)
    reader.read()
    _switch(dagster_instance, NIGHTLY.name, InstigatorStatus.STOPPED, NOON)
    clock.at = JUDGED + timedelta(minutes=1)
    told = {one.metric for one in reader.read() if {"nightly", "figures"} & set(one.labels.values())}
    assert told == {"job_runs_in_progress"}
    _switch(dagster_instance, NIGHTLY.name, InstigatorStatus.RUNNING, DUE + timedelta(days=1, minutes=1))
    clock.at = JUDGED + timedelta(days=1, minutes=1)
    samples = reader.read()
    assert _value(samples, "job_overdue", job="figures") == 0
    assert _value(samples, "job_due_timestamp_seconds", job="figures") is None
    assert counted("jobs_due_total") == {}


def test_a_sensor_is_due_again_after_its_pause(source: Source, dagster_instance: DagsterInstance) -> None:
    """Counted from its last tick, or from when a person switched it on; one that is off tells nothing."""
    now = datetime.now(UTC)
    state = _switch(dagster_instance, WATCH.name, InstigatorStatus.DECLARED_IN_CODE, now - timedelta(days=1))
    last = now - timedelta(minutes=20)
    _tick(dagster_instance, state, last, "FAILURE")
    labels = {"name": "watch", "kind": "sensor"}
    samples = source().read()
    assert _value(samples, "tick_timestamp_seconds", **labels) == pytest.approx(last.timestamp(), abs=0.001)
    assert _value(samples, "tick_failed", **labels) == 1
    due = last + timedelta(seconds=30) + TICK_SLACK
    assert _value(samples, "tick_due_timestamp_seconds", **labels) == pytest.approx(due.timestamp(), abs=0.001)
    _switch(dagster_instance, WATCH.name, InstigatorStatus.STOPPED, now)
    assert not [one for one in source().read() if one.labels == labels]
    _switch(dagster_instance, WATCH.name, InstigatorStatus.RUNNING, now)
    again = now + timedelta(seconds=30) + TICK_SLACK
    assert _value(source().read(), "tick_due_timestamp_seconds", **labels) == pytest.approx(again.timestamp(), abs=0.001)


def test_a_schedule_should_tick_at_its_next_moment(source: Source, dagster_instance: DagsterInstance) -> None:
    """After its last tick, or, before it ever did, after it was first seen."""
    clock = _Setable(NOON)
    reader = source(clock)
    labels = {"name": "nightly", "kind": "schedule"}
    assert _value(reader.read(), "tick_due_timestamp_seconds", **labels) == (DUE + TICK_SLACK).timestamp()
    state = _switch(dagster_instance, NIGHTLY.name, InstigatorStatus.DECLARED_IN_CODE, NOON)
    _tick(dagster_instance, state, DUE)
    clock.at = JUDGED + timedelta(days=5)
    assert _value(reader.read(), "tick_due_timestamp_seconds", **labels) == (DUE + timedelta(days=1) + TICK_SLACK).timestamp()


def test_runs_that_wait_and_runs_under_way_are_told_apart(source: Source, dagster_instance: DagsterInstance) -> None:
    """By job and state, with the length of the queue and the age of its oldest; a known job has zeros."""
    for _ in range(2):
        _queue(dagster_instance, "figures")
    create_run_for_test(dagster_instance, "elsewhere", status=DagsterRunStatus.CANCELING)
    samples = source(lambda: datetime.now(UTC) + timedelta(minutes=5)).read()
    shown = {tuple(one.labels.values()): one.value for one in samples if one.metric == "job_runs_in_progress"}
    none = {("figures", "started"): 0, ("sweep", "queued"): 0, ("sweep", "started"): 0}
    assert shown == {("figures", "queued"): 2, ("elsewhere", "canceling"): 1, **none}
    assert _value(samples, "job_queue_length") == 2
    assert _value(samples, "job_queue_oldest_age_seconds") == pytest.approx(300, abs=60)


def test_an_empty_queue_has_no_age(source: Source) -> None:
    """Nobody waits, and that is told as zero."""
    samples = source().read()
    assert (_value(samples, "job_queue_length"), _value(samples, "job_queue_oldest_age_seconds")) == (0, 0)


def test_the_zone_of_dagsters_server_does_not_matter(
    source: Source,
    dagster_instance: DagsterInstance,
    dagster_url: str,
    databases: Databases,
    counted: Callable[[str], dict[tuple[str, ...], int]],
) -> None:
    """Dagster stores moments in the zone of its sessions; on a server five hours off, runs and ticks are counted and ages are right."""
    name = _name(dagster_url)
    databases._execute(f"ALTER DATABASE \"{name}\" SET timezone TO 'America/Lima'")
    reader = source()
    reader.read()
    now = datetime.now(UTC)
    _run(dagster_instance, ended=now)
    state = _switch(dagster_instance, WATCH.name, InstigatorStatus.RUNNING, now)
    _tick(dagster_instance, state, now)
    _queue(dagster_instance, "figures")
    samples = reader.read()
    reader.read()
    assert counted("job_runs_total") == {("figures", "success"): 1}
    assert counted("ticks_total") == {("watch", "sensor", "success"): 1}
    assert _value(samples, "job_queue_oldest_age_seconds") == pytest.approx(0, abs=60)
    assert _value(samples, "tick_timestamp_seconds", name="watch", kind="sensor") == pytest.approx(now.timestamp(), abs=0.001)


def _name(url: str) -> str:
    """The name of a database."""
    return str(make_url(url).database)


@contextmanager
def _closed(databases: Databases, url: str) -> Iterator[None]:
    """A database that lets nobody in, nor those who were in."""
    name = _name(url)
    databases._execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    databases._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    yield
    databases._execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_a_storage_that_goes_away_raises_and_is_used_again_when_it_is_back(
    source: Source,
    dagster_instance: DagsterInstance,
    dagster_url: str,
    databases: Databases,
    counted: Callable[[str], dict[tuple[str, ...], int]],
) -> None:
    """The same reader goes on by itself, and what happened meanwhile is counted."""
    reader = source()
    reader.read()
    with _closed(databases, dagster_url):
        with pytest.raises(SQLAlchemyError):
            reader.read()
        for one in (reader, source()):
            with pytest.raises(LitgoError, match="DAGSTER_POSTGRES_URL"):
                one.read()
    _run(dagster_instance)
    reader.read()
    assert counted("job_runs_total") == {("figures", "success"): 1}


def test_a_storage_that_was_never_there_is_named(engine: Engine, tmp_path: Any) -> None:
    """The error says which variable to look at, and comes without the minutes in which Dagster would go on trying."""
    away = DagsterFacts(OURS, str(tmp_path), "postgresql+psycopg2://nobody@127.0.0.1:1/dagster", engine, lambda: NOON)
    with pytest.raises(LitgoError, match="DAGSTER_POSTGRES_URL"):
        away.read()


def test_a_reader_keeps_its_connections_to_itself_however_often_it_fails(
    source: Source, dagster_url: str, dagster_instance: DagsterInstance
) -> None:
    """Months of readings do not fill Dagster's server with connections, though nobody collects what was let go."""
    reader = source()
    engine, away = reader.engine, create_engine("postgresql+psycopg://nobody@127.0.0.1:1/away")
    gc.disable()
    try:
        for _ in range(4):
            reader.engine = engine
            for _ in range(2):
                reader.read()
            reader.engine = away
            with pytest.raises(SQLAlchemyError):
                reader.read()
        with dagster_instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
            ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND application_name = 'litgo metrics'"
            assert connection.execute(text(ours), {"name": _name(dagster_url)}).scalar_one() <= 2
    finally:
        gc.enable()


def test_the_projects_own_definitions_are_told_as_the_registry_says(
    dagster_instance: DagsterInstance, dagster_url: str, database_url: str, engine: Engine
) -> None:
    """Every sample, and every series that begins at zero, has a metric of the registry with exactly its labels."""
    from dagster._daemon.types import DaemonHeartbeat

    from litgo_pipelines.definitions import defs
    from litgo_pipelines.marketplace.database import Services
    from litgo_pipelines.settings import load_settings

    beat = next(iter(dagster_instance.get_required_daemon_types()))
    dagster_instance.add_daemon_heartbeat(DaemonHeartbeat(NOON.timestamp(), beat, "one", []))
    _run(dagster_instance, job="__ASSET_JOB", ended=NOON)
    services = Services(database_url, dagster_url, "sqlite://", None)
    made = dagster_facts(load_settings(), services, engine, lambda: NOON, defs)
    samples = made.read()
    made.close()
    for metric, labels in [*((one.metric, one.labels) for one in samples), *made.known]:
        assert set(labels) == set(METRICS[metric].labels), metric
    assert {metric for metric, _ in made.known} == {
        *("job_runs_total", "job_duration_seconds", "jobs_due_total", "jobs_executed_total", "ticks_total")
    }
    assert _value(samples, "daemon_heartbeat_timestamp_seconds", daemon=beat) == NOON.timestamp()
    assert _value(samples, "job_last_success_timestamp_seconds", job="__ASSET_JOB") == NOON.timestamp()
    repository = defs.get_repository_def()
    ticking = {labels["name"] for metric, labels in made.known if metric == "ticks_total"}
    assert ticking == {one.name for one in (*repository.schedule_defs, *repository.sensor_defs)}
    due = {one.labels["name"] for one in samples if one.metric == "tick_due_timestamp_seconds"}
    assert due == {one.name for one in repository.schedule_defs}
