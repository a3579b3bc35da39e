"""What operators are told of Dagster: real runs, ticks, checks and freshness on a real instance, and a real outbox."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from litgo_pipelines.orchestration.operations.failures import QUIET
from litgo_pipelines.orchestration.operations.messages import Links, tell_all
from litgo_pipelines.orchestration.sensors.operations import Cursor, look
from litgo_pipelines_tests.orchestration.conftest import Ticks

if TYPE_CHECKING:
    from dagster._core.scheduler.instigation import InstigatorState
    from dagster._core.workspace.context import WorkspaceProcessContext
    from sqlalchemy import Engine

    from litgo_pipelines_tests.orchestration.conftest import Location

NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
DAGSTER = "https://dagster.example"
SECRET = "Maria da Silva foi demitida"


@pytest.fixture
def ticks(location: Location, engine: Engine, database_url: str) -> Ticks:
    """The sensor, ticking by hand on an empty marketplace."""
    location.database = database_url
    return Ticks(location, "operations_watch", litgo_dagster_url=f"{DAGSTER}/")


@pytest.fixture
def mail(engine: Engine) -> Callable[[], list[Any]]:
    """What lies in the outbox, oldest first."""

    def read() -> list[Any]:
        with engine.connect() as connection:
            return list(connection.execute(text("SELECT key, subject, body, audience, details FROM litgo.notifications ORDER BY id")))

    return read


class Unhappy(RuntimeError):
    """What a step of ours raises."""


def run(instance: dg.DagsterInstance, name: str, *, error: Exception | None = None, **tags: str) -> str:
    """A run of a job of one step, which fails with `error`; its id."""

    @dg.op(name="speak")
    def speak() -> None:
        if error is not None:
            raise error

    @dg.job(name=name)
    def job() -> None:
        speak()

    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags).run_id


def test_a_failed_run_is_told_once_with_where_it_failed_and_a_link(ticks: Ticks, mail: Callable[[], list[Any]]) -> None:
    """Job, step and class of the error reach the operators; the error's text, in which clients' words may stand, does not."""
    ticks.evaluate()
    failed = run(ticks.location.instance, "talks", error=Unhappy(SECRET))
    run(ticks.location.instance, "talks")
    ticks.evaluate()
    ticks.evaluate()
    (message,) = mail()
    assert message.audience == "ops"
    assert message.subject == "talks failed: Unhappy in speak"
    assert f"{DAGSTER}/runs/{failed}" in message.body
    assert SECRET not in message.body
    assert message.details == {"from": "dagster", "run_id": failed, "job": "talks", "step": "speak", "error": "Unhappy"}


def test_a_job_of_ours_that_cannot_reach_the_database_is_told_of(ticks: Ticks, mail: Callable[[], list[Any]]) -> None:
    """The class is that of the first error below what Dagster wraps it in."""
    result = ticks.location.execute("expire_records", database_url=NOWHERE)
    assert not result.success
    ticks.evaluate()
    (message,) = mail()
    assert message.subject.startswith("expire_records failed: ")
    assert message.subject.endswith(" in expired_records")
    assert "Dagster" not in message.subject


def test_a_run_that_is_tried_again_is_told_only_when_it_is_not(ticks: Ticks, mail: Callable[[], list[Any]]) -> None:
    """While the retry is coming nothing is said; where Dagster gives up on it the failure is."""
    instance = ticks.location.instance
    failed = run(instance, "talks", error=Unhappy(SECRET), **{"dagster/will_retry": "true"})
    ticks.evaluate()
    assert mail() == []
    instance.add_run_tags(failed, {"dagster/will_retry": "false"})
    ticks.evaluate()
    assert [message.key for message in mail()] == [f"run-failed:{failed}"]


def test_a_job_that_fails_again_and_again_is_told_of_now_and_then(ticks: Ticks, mail: Callable[[], list[Any]]) -> None:
    """The same error is not told again for 20 hours, then with how often it came; another error, or another job, is told at once."""
    instance = ticks.location.instance
    for _ in range(3):
        run(instance, "talks", error=Unhappy(SECRET))
    ticks.evaluate()
    run(instance, "talks", error=Unhappy(SECRET))
    run(instance, "talks", error=ValueError(SECRET))
    run(instance, "sings", error=Unhappy(SECRET))
    ticks.evaluate()
    assert sorted(message.subject for message in mail()) == [
        "sings failed: Unhappy in speak",
        "talks failed: Unhappy in speak",
        "talks failed: ValueError in speak",
    ]
    cursor = Cursor.model_validate_json(str(ticks.cursor))
    told = dict(cursor.runs.told)
    told["talks Unhappy"] = told["talks Unhappy"].model_copy(update={"at": datetime.now(UTC) - QUIET})
    ticks.cursor = cursor.model_copy(update={"runs": cursor.runs.model_copy(update={"told": told})}).model_dump_json()
    run(instance, "talks", error=Unhappy(SECRET))
    ticks.evaluate()
    assert len(mail()) == 4
    assert "3 more failures were not told of" in mail()[-1].body


def test_a_run_that_ended_with_its_process_is_told_of_without_a_step(ticks: Ticks, mail: Callable[[], list[Any]]) -> None:
    """What run monitoring and the look for orphans fail has no error and no step."""
    from dagster._core.test_utils import create_run_for_test

    instance = ticks.location.instance
    lost = create_run_for_test(instance, job_name="talks", status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(lost, f"gone with {SECRET}")
    ticks.evaluate()
    (message,) = mail()
    assert message.subject.startswith("talks failed: ")
    assert SECRET not in message.subject + message.body


def test_what_happens_while_the_database_is_away_is_told_when_it_is_back(ticks: Ticks, mail: Callable[[], list[Any]]) -> None:
    """A tick that cannot write fails and keeps its cursor: the next one tells all of it, once."""
    ticks.evaluate()
    project, before = ticks.project, ticks.cursor
    first = run(ticks.location.instance, "talks", error=Unhappy(SECRET))
    ticks.project = ticks.location.project(database_url=NOWHERE)
    for _ in range(2):
        with pytest.raises(OperationalError):
            ticks.evaluate()
    assert ticks.cursor == before
    second = run(ticks.location.instance, "sings", error=Unhappy(SECRET))
    ticks.project = project
    ticks.evaluate()
    ticks.evaluate()
    assert [message.key for message in mail()] == [f"run-failed:{first}", f"run-failed:{second}"]


def test_a_tick_that_died_after_it_wrote_tells_nothing_twice(ticks: Ticks, mail: Callable[[], list[Any]]) -> None:
    """The outbox is written before the cursor is kept, and a cursor that was lost altogether does no harm either."""
    ticks.evaluate()
    before = ticks.cursor
    run(ticks.location.instance, "talks", error=Unhappy(SECRET))
    ticks.evaluate()
    for cursor in (before, None):
        ticks.cursor = cursor
        ticks.evaluate()
    assert len(mail()) == 1


class Watching:
    """Looks as the sensor does, at moments of the test's choice."""

    def __init__(self, instance: dg.DagsterInstance, engine: Engine, repository: dg.RepositoryDefinition) -> None:
        self.instance, self.engine, self.repository = instance, engine, repository
        self.cursor = Cursor()

    def look(self, now: datetime) -> list[str]:
        """The keys of the messages that were queued."""
        found = look(Cursor.model_validate_json(self.cursor.model_dump_json()), self.instance, self.repository, Links(DAGSTER), now)
        with self.engine.begin() as connection:
            assert tell_all(connection, found.messages, now) == len(found.messages)
        self.cursor = found.cursor
        return [one.key for one in found.messages]

    def look_on(self, begin: datetime, end: datetime) -> list[str]:
        """What is told by looks every ten minutes, both ends included."""
        told = []
        while begin <= end:
            told += self.look(begin)
            begin += timedelta(minutes=10)
        return told


@pytest.fixture
def watching(location: Location, engine: Engine, database_url: str) -> Watching:
    """Watches the project's schedules; its sensors are not there, for no daemon lets them tick."""
    from litgo_pipelines.definitions import defs

    location.database = database_url
    only = dg.Definitions(assets=defs.assets, jobs=defs.jobs, schedules=defs.schedules, resources=location.resources())
    return Watching(location.instance, engine, only.get_repository_def())


OURS = "litgo_pipelines.definitions"
TROUBLED = "litgo_pipelines_tests.orchestration.troubled"


@contextmanager
def _workspace(instance: dg.DagsterInstance, module: str = OURS) -> Iterator[WorkspaceProcessContext]:
    """A code location in this process, for Dagster's daemons to work on."""
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
    from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._core.workspace.context import WorkspaceProcessContext

    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name=module))
    with WorkspaceProcessContext(instance, InProcessTestWorkspaceLoadTarget(origin)) as context:
        yield context


def schedule_until(instance: dg.DagsterInstance, now: datetime) -> None:
    """One iteration of Dagster's scheduler as of `now`."""
    from dagster._core.test_utils import freeze_time
    from dagster._scheduler.scheduler import launch_scheduled_runs

    with _workspace(instance) as workspace, freeze_time(now):
        list(launch_scheduled_runs(workspace, logging.getLogger("scheduler"), now, {}))


def _next(hour_utc: int) -> datetime:
    """The next moment at this hour, a day ahead at least; not on a Monday, on which more is due."""
    moment = (datetime.now(UTC) + timedelta(days=2)).replace(hour=hour_utc, minute=0, second=0, microsecond=0)
    return moment + timedelta(days=1) if moment.weekday() == 0 else moment


def test_a_missed_tick_is_told_once_and_when_it_is_made_up_for(watching: Watching) -> None:
    """Half an hour after the schedule was due, with nobody to evaluate it; told again only once the scheduler has made up for it."""
    due = _next(5)
    schedule_until(watching.instance, due - timedelta(hours=1))
    assert watching.look_on(due - timedelta(minutes=30), due + timedelta(minutes=20)) == []
    assert watching.look_on(due + timedelta(minutes=30), due + timedelta(hours=1)) == [f"tick-missed:nightly_equity:{due.isoformat()}"]
    schedule_until(watching.instance, due + timedelta(minutes=65))
    told = watching.look_on(due + timedelta(minutes=70), due + timedelta(minutes=90))
    assert told == [f"tick-made-up:nightly_equity:{due.isoformat()}"]


def test_a_schedule_that_is_on_time_is_not_told_of(watching: Watching) -> None:
    """Neither is one that a person stopped."""
    due = _next(5)
    schedule_until(watching.instance, due - timedelta(hours=1))
    schedule_until(watching.instance, due + timedelta(seconds=20))
    (expiry,) = (one for one in watching.instance.all_instigator_state() if one.instigator_name == "nightly_expiry")
    from dagster._core.scheduler.instigation import InstigatorStatus

    watching.instance.update_instigator_state(expiry.with_status(InstigatorStatus.STOPPED))
    assert watching.look_on(due - timedelta(minutes=30), due + timedelta(hours=3)) == []


def test_a_schedule_owes_nothing_from_before_it_was_started(watching: Watching) -> None:
    """One that is new, or that a person starts again, was not due before."""
    due = _next(5)
    watching.look(due - timedelta(minutes=10))
    schedule_until(watching.instance, due + timedelta(minutes=2))
    assert watching.look_on(due, due + timedelta(hours=1)) == []


def test_a_job_that_was_started_by_hand_made_up_for_its_schedule(watching: Watching) -> None:
    """Whoever starts the job in time need not be told that its schedule was missed."""
    from dagster._core.test_utils import create_run_for_test, freeze_time

    due = _next(5)
    schedule_until(watching.instance, due - timedelta(hours=1))
    with freeze_time(due + timedelta(minutes=5)):
        create_run_for_test(watching.instance, job_name="calculate_equity_metrics")
    assert watching.look_on(due - timedelta(minutes=30), due + timedelta(hours=1)) == []


def test_what_was_due_while_nobody_looked_is_told_with_the_first_look(watching: Watching) -> None:
    """One message for the standstill; schedules that the scheduler makes up for at once are not told of one by one, others are."""
    due = _next(5)
    schedule_until(watching.instance, due - timedelta(hours=1))
    watching.look(due - timedelta(minutes=30))
    back = due + timedelta(hours=4)
    assert watching.look(back) == [f"standstill:{(due - timedelta(minutes=30)).isoformat()}"]
    assert watching.look(back + timedelta(minutes=1)) == []
    with watching.engine.connect() as connection:
        body = connection.execute(text("SELECT body FROM litgo.notifications")).scalar_one()
    assert f"nightly_equity: {due:%Y-%m-%d %H:%M} UTC" in body
    assert "nightly_expiry" in body
    assert "weekly_price" not in body
    schedule_until(watching.instance, back + timedelta(minutes=2))
    assert watching.look_on(back + timedelta(minutes=6), back + timedelta(minutes=40)) == []


@pytest.fixture
def troubled(location: Location, engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Watching:
    """Watches the code location of `troubled`, in which all is well."""
    from litgo_pipelines_tests.orchestration import troubled

    for name, value in {"sensor": "well", "verdict": "pass", "severity": "WARN"}.items():
        monkeypatch.setitem(troubled.MOOD, name, value)
    location.database = database_url
    return Watching(location.instance, engine, troubled.defs.get_repository_def())


def sense(instance: dg.DagsterInstance, now: datetime) -> None:
    """One iteration of Dagster's sensor daemon as of `now`."""
    from dagster._core.test_utils import freeze_time
    from dagster._daemon.sensor import execute_sensor_iteration

    with _workspace(instance, TROUBLED) as workspace, freeze_time(now):
        list(execute_sensor_iteration(workspace, logging.getLogger("sensors"), None, None))


def test_a_sensor_whose_ticks_fail_is_told_of_once_and_when_it_is_well(troubled: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few failed ticks are nobody's business, a quarter of an hour of them is; what the error says stays in Dagster."""
    from litgo_pipelines_tests.orchestration.troubled import MOOD

    begin = datetime.now(UTC).replace(microsecond=0)
    sense(troubled.instance, begin)
    assert troubled.look(begin) == []
    monkeypatch.setitem(MOOD, "sensor", "ill")
    sense(troubled.instance, begin + timedelta(minutes=9))
    assert troubled.look(begin + timedelta(minutes=10)) == []
    sense(troubled.instance, begin + timedelta(minutes=15))
    assert troubled.look_on(begin + timedelta(minutes=16), begin + timedelta(minutes=50)) == [f"sensor-silent:moody:{begin.isoformat()}"]
    with troubled.engine.connect() as connection:
        subject, body = connection.execute(text("SELECT subject, body FROM litgo.notifications")).one()
    assert subject == "Sensor moody fails with Moody"
    assert SECRET not in body
    monkeypatch.setitem(MOOD, "sensor", "well")
    sense(troubled.instance, begin + timedelta(minutes=51))
    assert troubled.look_on(begin + timedelta(minutes=52), begin + timedelta(minutes=60)) == [f"sensor-well:moody:{begin.isoformat()}"]


def test_a_sensor_that_does_not_tick_is_told_of_once(troubled: Watching) -> None:
    """It counts from the first look, and anew after a standstill, in which nothing could tick."""
    begin = datetime.now(UTC).replace(microsecond=0)
    assert troubled.look_on(begin, begin + timedelta(minutes=10)) == []
    back = begin + timedelta(hours=2)
    assert troubled.look(back) == [f"standstill:{(begin + timedelta(minutes=10)).isoformat()}"]
    assert troubled.look_on(back + timedelta(minutes=10), back + timedelta(minutes=40)) == [f"sensor-silent:moody:{back.isoformat()}"]


def test_a_sensor_that_a_person_stopped_is_let_be(troubled: Watching) -> None:
    """Nobody is told of what was done on purpose."""
    from dagster._core.scheduler.instigation import InstigatorStatus

    begin = datetime.now(UTC).replace(microsecond=0)
    sense(troubled.instance, begin)
    (state,) = troubled.instance.all_instigator_state()
    troubled.instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
    assert troubled.look_on(begin, begin + timedelta(hours=1)) == []


def _state(module: str, sensor: str, **data: Any) -> InstigatorState:
    """How a sensor stands that was loaded from a module: as its code has it, unless a person started it at a moment."""
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    place = RemoteRepositoryOrigin(
        InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name=module), location_name=module), "__repository__"
    )
    status = InstigatorStatus.RUNNING if data else InstigatorStatus.DECLARED_IN_CODE
    return InstigatorState(RemoteInstigatorOrigin(place, sensor), InstigatorType.SENSOR, status, SensorInstigatorData(**data))


@pytest.mark.parametrize("live", [0, 1])
def test_a_sensor_that_was_loaded_from_another_place_before_is_not_silent(live: int, troubled: Watching) -> None:
    """What is left of a place that nobody loads any more hides no tick of where it is loaded from, whichever Dagster names first."""
    from dagster._core.scheduler.instigation import TickData, TickStatus

    begin = datetime.now(UTC).replace(microsecond=0)
    for module in ("before", TROUBLED):
        troubled.instance.add_instigator_state(_state(module, "moody"))
    state = troubled.instance.all_instigator_state()[live]
    at = (begin + timedelta(minutes=14)).timestamp()
    origin, kind, skipped = state.instigator_origin_id, state.instigator_type, TickStatus.SKIPPED
    troubled.instance.create_tick(TickData(origin, "moody", kind, skipped, at, selector_id=state.selector_id))
    assert troubled.look_on(begin, begin + timedelta(minutes=20)) == []


def test_who_watches_may_be_switched_off_while_all_else_runs(location: Location, engine: Engine, database_url: str) -> None:
    """The first look tells that nobody looked, and does not say that Dagster's daemon stood still."""
    from litgo_pipelines.orchestration.sensors.operations import operations_watch

    repository = dg.Definitions(sensors=[operations_watch], resources=location.resources()).get_repository_def()
    watching = Watching(location.instance, engine, repository)
    begin = datetime.now(UTC).replace(microsecond=0)
    watching.look(begin)
    started = begin + timedelta(hours=5)
    location.instance.add_instigator_state(_state(OURS, "operations_watch", last_sensor_start_timestamp=started.timestamp()))
    first = started + timedelta(seconds=30)
    assert watching.look(first) == [f"standstill:{begin.isoformat()}"]
    # A day after it was started, the daemon stands still.
    assert watching.look(first + timedelta(days=1)) == [f"standstill:{first.isoformat()}"]
    with engine.connect() as connection:
        off, still = connection.execute(text("SELECT subject, body FROM litgo.notifications ORDER BY id")).all()
    assert "was not watched" in off.subject
    assert "switched off" in off.body
    assert "did not run" not in off.body
    assert "stood still" in still.subject
    assert "did not run" in still.body


def make(troubled: Watching, mood: pytest.MonkeyPatch, verdict: str, severity: str = "WARN") -> str:
    """Let the figures be made and checked; the id of the run."""
    from litgo_pipelines_tests.orchestration import troubled as location

    mood.setitem(location.MOOD, "verdict", verdict)
    mood.setitem(location.MOOD, "severity", severity)
    return location.defs.resolve_job_def("make_figures").execute_in_process(instance=troubled.instance).run_id


def test_a_check_is_told_of_when_it_begins_to_fail_worsens_and_passes(troubled: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each time it is evaluated; a lack of data neither fails nor passes."""
    name, now = "figures:figures_are_right", datetime.now(UTC)
    make(troubled, monkeypatch, "insufficient data")
    assert troubled.look(now) == []
    failed = make(troubled, monkeypatch, "fail")
    assert troubled.look(now) == [f"check-failed:{name}:{failed}:WARN"]
    assert troubled.look(now) == []
    for verdict in ("fail", "insufficient data", "fail"):
        make(troubled, monkeypatch, verdict)
        assert troubled.look(now) == []
    worse = make(troubled, monkeypatch, "fail", "ERROR")
    assert troubled.look(now) == [f"check-failed:{name}:{worse}:ERROR"]
    make(troubled, monkeypatch, "fail", "WARN")
    assert troubled.look(now) == []
    passed = make(troubled, monkeypatch, "pass")
    assert troubled.look(now) == [f"check-passed:{name}:{passed}"]
    make(troubled, monkeypatch, "pass")
    assert troubled.look(now) == []


def test_a_check_that_is_still_to_be_evaluated_stands_as_it_did(troubled: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has begun, or died before it came to the check, hides neither the failure before nor what follows."""
    from litgo_pipelines_tests.orchestration.troubled import defs

    now = datetime.now(UTC)
    failed = make(troubled, monkeypatch, "fail")
    troubled.instance.create_run_for_job(defs.resolve_job_def("make_figures"), status=dg.DagsterRunStatus.STARTED)
    assert troubled.look(now) == [f"check-failed:figures:figures_are_right:{failed}:WARN"]
    assert troubled.look(now) == []


def judge_freshness(instance: dg.DagsterInstance, now: datetime, module: str = TROUBLED) -> None:
    """One iteration of Dagster's freshness daemon as of `now`."""
    from dagster._core.test_utils import freeze_time
    from dagster._daemon.freshness import FreshnessDaemon

    with _workspace(instance, module) as workspace, freeze_time(now):
        list(FreshnessDaemon().run_iteration(workspace))


def test_a_stale_asset_is_told_of_once_and_when_it_is_fresh(troubled: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was never made is not stale; one that is stale again is told of again."""
    begin = datetime.now(UTC)
    judge_freshness(troubled.instance, begin)
    assert troubled.look(begin) == []
    make(troubled, monkeypatch, "pass")
    judge_freshness(troubled.instance, begin + timedelta(minutes=1))
    assert troubled.look(begin) == []
    judge_freshness(troubled.instance, begin + timedelta(minutes=70))
    since = (begin + timedelta(minutes=70)).isoformat(timespec="seconds")
    assert troubled.look(begin) == [f"stale:figures:{since}"]
    judge_freshness(troubled.instance, begin + timedelta(minutes=75))
    assert troubled.look(begin) == []
    make(troubled, monkeypatch, "pass")
    judge_freshness(troubled.instance, begin + timedelta(minutes=2))
    assert troubled.look(begin) == [f"fresh:figures:{since}"]
    judge_freshness(troubled.instance, begin + timedelta(minutes=80))
    assert [key.split(":")[0] for key in troubled.look(begin)] == ["stale"]


@pytest.mark.parametrize(("made", "stale"), [("04:30", True), ("05:05", False)])
def test_the_nightly_figures_are_stale_at_six_where_the_night_was_missed(watching: Watching, made: str, stale: bool) -> None:
    """São Paulo's 02:00 is 05:00 UTC; what was made before that is of the night before."""
    from dagster._core.test_utils import freeze_time

    day = (datetime.now(UTC) + timedelta(days=2)).date()
    with freeze_time(datetime.fromisoformat(f"{day}T{made}+00:00")):
        watching.instance.report_runless_asset_event(dg.AssetMaterialization("equity_metrics"))
    morning = datetime.fromisoformat(f"{day}T09:00:30+00:00")
    judge_freshness(watching.instance, morning - timedelta(minutes=1), OURS)
    assert watching.look(morning) == []
    judge_freshness(watching.instance, morning, OURS)
    assert watching.look(morning) == ([f"stale:equity_metrics:{day}T09:00:00+00:00"] if stale else [])
    with watching.engine.connect() as connection:
        told = connection.execute(text("SELECT body FROM litgo.notifications")).scalars().all()
    assert [f"should have been made by {day} 09:00 UTC" in body for body in told] == [True] * stale
