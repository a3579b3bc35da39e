"""What Dagster's storage tells: runs that ended, runs that wait or are under way, what is switched on, and ticks. Nothing is counted here.

Where Dagster's own interface would read all there ever was, or ask dozens of times, its tables are read themselves, each by one of their
indexes. Moments in columns without a time zone are in the zone of the sessions that wrote them, hence the casts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData, SensorInstigatorData
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG, SCHEDULED_EXECUTION_TIME_TAG, WILL_RETRY_TAG
from dagster._utils.schedules import schedule_execution_time_iterator

from litgo_pipelines.marketplace.database import KEEPALIVES, driver_url
from litgo_pipelines.orchestration.health import require_storage
from litgo_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from sqlalchemy import Connection

Kind = Literal["schedule", "sensor"]

OVERLAP: Final = timedelta(hours=2)
"""How far back runs are looked for again: their times are those of the processes that wrote them, and clocks may be set back."""
TICK_OVERLAP: Final = timedelta(minutes=10)
"""How far back ticks are looked for again, by their time; their ids tell which are new."""
_MOST_TICKS: Final = 5_000
"""Ticks of one schedule or sensor that are read at once; what is left follows with the next reading."""
_RETRY_KNOWN: Final = timedelta(minutes=1)
"""After a failure, within which Dagster says whether it tries again."""

# Times in milliseconds and seconds. A server that does not answer a request at all is noticed by the kernel.
_STATEMENT_TIMEOUT: Final = 5_000
_POOL_RECYCLE: Final = 3600
_BOUNDS: Final = {**KEEPALIVES, "connect_timeout": "5", "application_name": "litgo metrics"}

_EVERY: Final = timedelta(seconds=30)
"""Dagster's own pause between two ticks of a sensor that names none; one that ticks more often is not expected sooner."""

_ENDED: Final = {
    dg.DagsterRunStatus.SUCCESS: "success",
    dg.DagsterRunStatus.FAILURE: "failure",
    dg.DagsterRunStatus.CANCELED: "canceled",
}
_TICK_ENDED: Final = {"SUCCESS": "success", "SKIPPED": "skipped", "FAILURE": "failure"}

_ENDED_AFTER = """
SELECT run_id, CAST(update_timestamp AS timestamptz) AS updated_at FROM runs
WHERE status IN ('SUCCESS', 'FAILURE', 'CANCELED') AND update_timestamp > CAST(CAST(:after AS timestamptz) AS timestamp)
"""
_NEWEST_ENDED = """
SELECT DISTINCT ON (pipeline_name, status) run_id, CAST(update_timestamp AS timestamptz) AS updated_at FROM runs
WHERE status IN ('SUCCESS', 'FAILURE', 'CANCELED') ORDER BY pipeline_name, status, id DESC
"""
_IN_PROGRESS = """
SELECT pipeline_name, lower(status), count(*), min(CAST(create_timestamp AS timestamptz)) FROM runs
WHERE status IN ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING') GROUP BY 1, 2
"""

# The limits keep the planner on the index by selector and time.
_TICKS = """
WITH wanted AS (
    SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:selectors AS text[]), CAST(:afters AS timestamptz[]), CAST(:ids AS bigint[]))
        AS w (key, selector_id, after, id)
)
SELECT w.key, t.id, t.status, CAST(t."timestamp" AS timestamptz), false
FROM wanted w CROSS JOIN LATERAL (
    SELECT * FROM job_ticks WHERE selector_id = w.selector_id AND "timestamp" > CAST(w.after AS timestamp) AND id > w.id
    ORDER BY "timestamp" LIMIT :most
) t
UNION ALL
SELECT w.key, t.id, t.status, CAST(t."timestamp" AS timestamptz), true
FROM wanted w CROSS JOIN LATERAL (
    SELECT * FROM job_ticks WHERE selector_id = w.selector_id AND status <> 'STARTED' ORDER BY "timestamp" DESC LIMIT 1
) t
"""
_SKIPPED = """
SELECT count(*) FROM job_ticks
WHERE selector_id = ANY(CAST(:selectors AS text[])) AND "timestamp" = CAST(CAST(:at AS timestamptz) AS timestamp) AND status = 'SKIPPED'
"""

# Null where the storage never held a tick. What retention takes away does not set it back.
_LAST_TICK_ID = "SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence('job_ticks', 'id') AS regclass))"
_ASKED_FOR = """
SELECT run_id FROM runs WHERE pipeline_name = :job AND partition = (
    SELECT max(asked.partition COLLATE "C") FROM run_tags t JOIN runs asked ON asked.run_id = t.run_id
    WHERE t.key = :tag AND t.value = :due_at AND asked.pipeline_name = :job
)
"""


def last_moment(cron: str | Sequence[str], zone: str, at: datetime) -> datetime:
    """The last moment of a cron string, or of several, up to `at` (aware), in UTC."""
    moments = schedule_execution_time_iterator(at.timestamp(), cron, zone, ascending=False)
    return next(moment for moment in moments if moment <= at).astimezone(UTC)


@dataclass(frozen=True)
class Schedule:
    """A schedule of ours.

    Attributes:
        cron: one cron string or several.
        zone: in which that is read.
        longest: a run of its job may last, before Dagster ends it.
        runs: whether it is switched on until somebody decides otherwise.
    """

    name: str
    job: str
    cron: str | Sequence[str]
    zone: str
    longest: timedelta
    runs: bool

    def due(self, after: datetime, until: datetime) -> list[datetime]:
        """Its moments after one and up to another, both aware, ascending, in UTC."""
        found = []
        for moment in schedule_execution_time_iterator(after.timestamp(), self.cron, self.zone):
            if moment > until:
                break
            if moment > after:
                found.append(moment.astimezone(UTC))
        return found

    def last_due(self, at: datetime) -> datetime:
        """Its last moment up to `at` (aware), in UTC."""
        return last_moment(self.cron, self.zone, at)

    def next_due(self, after: datetime) -> datetime:
        """Its first moment after one (aware), in UTC."""
        moments = schedule_execution_time_iterator(after.timestamp(), self.cron, self.zone)
        return next(moment for moment in moments if moment > after).astimezone(UTC)


@dataclass(frozen=True)
class Sensor:
    """A sensor of ours: how often it is expected to tick, and whether it is switched on until somebody decides otherwise."""

    name: str
    every: timedelta
    runs: bool


@dataclass(frozen=True)
class Repository:
    """What the project holds that runs and ticks."""

    jobs: tuple[str, ...]
    schedules: tuple[Schedule, ...]
    sensors: tuple[Sensor, ...]


@dataclass(frozen=True)
class Instigator:
    """How a schedule or sensor stands.

    Attributes:
        selectors: under which its ticks are found; none before the daemon has seen it.
        running: whether it is switched on.
        started_at: when a person switched it on; None where that is as in the code.
        seen_at: when the daemon first saw it; None where it has not, or a person decided since.
    """

    kind: Kind
    name: str
    selectors: tuple[str, ...]
    running: bool
    started_at: datetime | None
    seen_at: datetime | None

    @property
    def key(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class EndedRun:
    """A run that ended: success, failure, canceled, or retried (failed, and tried again by itself).

    Attributes:
        started_at: None where it never began.
        due_at: the moment of the schedule that asked for it.
    """

    run_id: str
    job: str
    status: str
    started_at: datetime | None
    ended_at: datetime
    due_at: datetime | None


@dataclass(frozen=True)
class InProgress:
    """Runs of a job in one state, named as Dagster does, and since when the oldest is there."""

    job: str
    status: str
    runs: int
    oldest: datetime


@dataclass(frozen=True)
class Tick:
    """A tick: success, skipped, failure, or None while it goes on. A schedule's is as of the moment at which it was due."""

    id: int
    at: datetime
    status: str | None


class TickPosition(NamedTuple):
    """Up to which tick they were counted."""

    id: int
    at: datetime


@dataclass(frozen=True)
class Ticks:
    """Ticks of one schedule or sensor: those after a position, by id, and the last that has ended."""

    new: tuple[Tick, ...] = ()
    last: Tick | None = None


def repository_of(found: dg.RepositoryDefinition) -> Repository:
    """Its jobs, schedules and sensors; those that Dagster adds by itself are left out."""
    jobs = {job.name: job for job in found.get_all_jobs() if not job.name.startswith("__")}
    default = _longest_run()
    schedules = [
        Schedule(
            one.name,
            one.job_name,
            one.cron_schedule,
            one.execution_timezone or "UTC",
            timedelta(seconds=float(jobs[one.job_name].tags.get(MAX_RUNTIME_SECONDS_TAG, default))),
            one.default_status == dg.DefaultScheduleStatus.RUNNING,
        )
        for one in found.schedule_defs
    ]
    sensors = [
        Sensor(
            one.name,
            max(_EVERY, timedelta(seconds=one.minimum_interval_seconds or 0)),
            one.default_status == dg.DefaultSensorStatus.RUNNING,
        )
        for one in found.sensor_defs
    ]
    return Repository(tuple(sorted(jobs)), tuple(schedules), tuple(sensors))


def _longest_run() -> float:
    """Seconds after which Dagster ends a run of a job that names no time of its own."""
    import yaml

    return float(yaml.safe_load((PROJECT_FOLDER / "dagster.yaml").read_text())["run_monitoring"]["max_runtime_seconds"])


def open_instance(home: str, url: str) -> dg.DagsterInstance:
    """The project's instance on a storage, with times within which it must answer, and one connection that stays open.

    Args:
        home: its DAGSTER_HOME.
        url: of its storage, any driver.

    Raises:
        LitgoError: the storage does not let us in.
    """
    from sqlalchemy import make_url

    require_storage(url)
    parsed = make_url(driver_url(url))
    # The one driver that Dagster's storage works with.
    bounded = parsed.set(drivername="postgresql+psycopg2", query=_BOUNDS | dict(parsed.query)).render_as_string(hide_password=False)
    overrides: Any = {"storage": {"postgres": {"postgres_url": bounded}}}
    instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(home, config_dir=str(PROJECT_FOLDER), overrides=overrides))
    instance.optimize_for_webserver(statement_timeout=_STATEMENT_TIMEOUT, pool_recycle=_POOL_RECYCLE, max_overflow=1)
    return instance


def close_instance(instance: dg.DagsterInstance) -> None:
    """Let an instance go that `open_instance` opened, and its connections, which Dagster itself would leave open."""
    instance.dispose()
    storages: Any = (instance.run_storage, instance.schedule_storage, instance.event_log_storage)
    for storage in storages:
        storage._engine.dispose()


def connect(instance: dg.DagsterInstance) -> Any:
    """A context with a connection to the storage; each statement is a transaction."""
    storage: Any = instance.run_storage
    return storage.connect()


def ended_after(connection: Connection, after: datetime) -> dict[str, datetime]:
    """Ids of the runs that ended, or were changed after their end, after a moment (aware), and when."""
    from sqlalchemy import text

    return _by_id(connection.execute(text(_ENDED_AFTER), {"after": after}))


def newest_ended(connection: Connection) -> dict[str, datetime]:
    """The same for the newest run of each job and status. It reads all runs."""
    from sqlalchemy import text

    return _by_id(connection.execute(text(_NEWEST_ENDED)))


def _by_id(rows: Iterable[Any]) -> dict[str, datetime]:
    return {row.run_id: row.updated_at for row in rows}


def ended_runs(instance: dg.DagsterInstance, updated: Mapping[str, datetime], at: datetime) -> list[EndedRun]:
    """The runs of these ids, by id; without those that are gone, and failures of which Dagster has yet to say whether it tries again."""
    if not updated:
        return []
    records = instance.get_run_records(dg.RunsFilter(run_ids=list(updated)))
    found = []
    for record in records:
        run = record.dagster_run
        changed = updated[run.run_id]
        undecided = instance.run_retries_enabled and WILL_RETRY_TAG not in run.tags and at - changed < _RETRY_KNOWN
        if run.status not in _ENDED or (run.status == dg.DagsterRunStatus.FAILURE and undecided):
            continue
        retried = run.status == dg.DagsterRunStatus.FAILURE and run.tags.get(WILL_RETRY_TAG) == "true"
        due = run.tags.get(SCHEDULED_EXECUTION_TIME_TAG)
        found.append(
            EndedRun(
                run.run_id,
                run.job_name,
                "retried" if retried else _ENDED[run.status],
                _moment(record.start_time),
                _moment(record.end_time) or changed,
                datetime.fromisoformat(due) if due else None,
            )
        )
    return sorted(found, key=lambda one: one.run_id)


def in_progress(connection: Connection) -> list[InProgress]:
    """All runs that have not ended."""
    from sqlalchemy import text

    return [InProgress(*row) for row in connection.execute(text(_IN_PROGRESS))]


def instigators(instance: dg.DagsterInstance, repository: Repository) -> list[Instigator]:
    """How each schedule and sensor of the project stands, wherever it was loaded from."""
    states: dict[tuple[str, str], list[InstigatorState]] = defaultdict(list)
    for state in instance.all_instigator_state():
        states[state.instigator_type.value, state.instigator_name].append(state)
    schedules = [_instigator("schedule", one, states[InstigatorType.SCHEDULE.value, one.name]) for one in repository.schedules]
    return schedules + [_instigator("sensor", one, states[InstigatorType.SENSOR.value, one.name]) for one in repository.sensors]


def _instigator(kind: Kind, defined: Schedule | Sensor, states: Sequence[InstigatorState]) -> Instigator:
    decided = [state for state in states if state.status != InstigatorStatus.DECLARED_IN_CODE]
    switched_on = [state for state in decided if state.status == InstigatorStatus.RUNNING]
    started = [at for at in map(_started_at, switched_on) if at is not None]
    seen = [at for at in map(_started_at, states) if at is not None and not decided]
    return Instigator(
        kind,
        defined.name,
        tuple(sorted(state.selector_id for state in states)),
        bool(switched_on) if decided else defined.runs,
        max(started, default=None),
        min(seen, default=None),
    )


def _started_at(state: InstigatorState) -> datetime | None:
    data = state.instigator_data
    if isinstance(data, ScheduleInstigatorData):
        return _moment(data.start_timestamp)
    return _moment(data.last_sensor_start_timestamp) if isinstance(data, SensorInstigatorData) else None


def ticks(connection: Connection, wanted: Iterable[Instigator], positions: Mapping[str, TickPosition]) -> dict[str, Ticks]:
    """Ticks of each schedule and sensor after its position, by its key."""
    from sqlalchemy import text

    asked = [(one.key, selector, *positions[one.key]) for one in wanted for selector in one.selectors]
    if not asked:
        return {}
    keys, selectors, ids, ats = zip(*asked, strict=True)
    given = {"keys": list(keys), "selectors": list(selectors), "ids": list(ids), "afters": [at - TICK_OVERLAP for at in ats]}
    new: dict[str, list[Tick]] = defaultdict(list)
    last: dict[str, Tick] = {}
    for key, id_, status, at, newest in connection.execute(text(_TICKS), given | {"most": _MOST_TICKS}):
        tick = Tick(id_, at, _TICK_ENDED.get(status))
        if not newest:
            new[key].append(tick)
        elif key not in last or (tick.at, tick.id) > (last[key].at, last[key].id):
            last[key] = tick
    return {key: Ticks(tuple(sorted(new[key], key=lambda one: one.id)), last.get(key)) for key in set(keys)}


def last_tick_id(connection: Connection) -> int | None:
    """The highest id that the storage ever gave to a tick; None where it held none."""
    from sqlalchemy import text

    found: int | None = connection.execute(text(_LAST_TICK_ID)).scalar()
    return found


def asked_for(connection: Connection, job: str, due_at: datetime) -> list[str]:
    """Ids of the runs of the newest partition that a schedule asked for at a moment (aware), whoever started them and however they end.

    A run that is executed again, by Dagster or from its pages, keeps the moment; one that a person starts anew has the partition alone.
    Older partitions were due at moments of their own. None where it asked for no run, and for a job without partitions.
    """
    from sqlalchemy import text

    given = {"job": job, "tag": SCHEDULED_EXECUTION_TIME_TAG, "due_at": due_at.astimezone(UTC).isoformat()}
    return list(connection.execute(text(_ASKED_FOR), given).scalars())


def was_skipped(connection: Connection, schedule: Instigator, at: datetime) -> bool:
    """Whether the schedule's tick of a moment (aware) found that nothing is to be done."""
    from sqlalchemy import text

    return bool(connection.execute(text(_SKIPPED), {"selectors": list(schedule.selectors), "at": at}).scalar_one())


def _moment(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
