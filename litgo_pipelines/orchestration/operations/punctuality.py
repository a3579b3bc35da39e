"""Schedules that were not evaluated when they were due, sensors that have not ticked well for long, and time in which nobody looked.

Whether the daemon lives cannot be told by what the daemon runs: that is for Prometheus. The first look after it stood still tells since
when, and what was due meanwhile; whether that was made up for is judged once the daemon has had the time to do so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import dagster as dg
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.orchestration.operations.messages import Links, Message, stamp, told_at

if TYPE_CHECKING:
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus

GRACE: Final = timedelta(minutes=30)
"""How long after it was due a schedule may be evaluated."""
STANDSTILL: Final = timedelta(minutes=15)
"""Looks further apart than this are told of; a restart takes less."""
SETTLED: Final = timedelta(minutes=5)
"""How long after that the daemon may take to make up for what it missed."""
SILENT: Final = timedelta(minutes=15)
"""How long a sensor may go without a tick that did not fail, or ten of its intervals where that is more."""
_INTERVALS = 10
_MOST_LISTED = 20


class Watch(BaseModel):
    """Since when it is looked.

    Attributes:
        began: when it was looked first; what was due before is nobody's business.
        since: since when without a standstill.
        at: when it was looked last.
    """

    model_config = ConfigDict(frozen=True)

    began: datetime
    since: datetime
    at: datetime


class Punctuality(BaseModel):
    """What is remembered.

    Attributes:
        missed: schedules that people were told of, with when they were due.
        silent: sensors that people were told of, with since when they have not ticked well.
    """

    model_config = ConfigDict(frozen=True)

    watch: Watch | None = None
    missed: Mapping[str, datetime] = {}
    silent: Mapping[str, datetime] = {}


@dataclass(frozen=True)
class Scheduled:
    """A schedule that runs.

    Attributes:
        due: when it was due last, its grace being over; None: nothing can be said.
        done: whether it was evaluated since then, or its job was started otherwise.
        error: class of the error of its last tick, where that failed.
    """

    name: str
    job: str
    due: datetime | None
    done: bool
    error: str | None = None


@dataclass(frozen=True)
class Sensed:
    """A sensor that runs.

    Attributes:
        well_at: when it last ticked without an error; None: never.
        started_at: when somebody started it; None: it starts by itself.
        limit: how long it may go without.
        error: class of the error of its last tick, where that failed.
    """

    name: str
    well_at: datetime | None
    started_at: datetime | None
    limit: timedelta
    error: str | None = None


def watch_on(watch: Watch | None, now: datetime) -> Watch:
    """The watch with a look at `now`."""
    if watch is None:
        return Watch(began=now, since=now, at=now)
    return Watch(began=watch.began, since=now if now - watch.at > STANDSTILL else watch.since, at=now)


def plan_standstill(watch: Watch | None, due: Mapping[str, Sequence[datetime]], links: Links, now: datetime) -> list[Message]:
    """One message where nobody looked for a while.

    Args:
        due: moments at which schedules were due meanwhile, by name.
    """
    if watch is None or now - watch.at <= STANDSTILL:
        return []
    listed = [f"- {name}: {told_at(moment)}" for name, moments in sorted(due.items()) for moment in moments]
    rest = [f"- and {len(listed) - _MOST_LISTED:,} more"] if len(listed) > _MOST_LISTED else []
    lines = [
        f"From {told_at(watch.at)} to {told_at(now)} sensors and schedules were not watched: Dagster's daemon did not run, or could not",
        "reach the marketplace's database. Sensors go on from where they were.",
        "",
        *(["Due meanwhile were:", *listed[:_MOST_LISTED], *rest, "You will be told if one of them is not made up for."] if listed else []),
        *([] if listed else ["No schedule was due meanwhile."]),
        f"Schedules and sensors: {links.automation}",
    ]
    return [Message(f"standstill:{stamp(watch.at)}", f"Dagster's automation stood still until {told_at(now)}", "\n".join(lines))]


def plan_schedules(missed: Mapping[str, datetime], seen: Sequence[Scheduled], links: Links) -> tuple[dict[str, datetime], list[Message]]:
    """One message for a schedule and the moment it was due, one when it is evaluated again. A stopped one is forgotten."""
    after: dict[str, datetime] = {}
    messages = []
    for one in seen:
        before = missed.get(one.name)
        if one.due is None:
            after |= {} if before is None else {one.name: before}
        elif not one.done:
            after[one.name] = one.due
            if before != one.due:
                messages.append(_missed(one, one.due, links))
        elif before is not None:
            told = (
                f"The schedule {one.name} was due at {told_at(before)} and missed it. It has been evaluated since, or its job was started."
            )
            key = f"tick-made-up:{one.name}:{stamp(before)}"
            messages.append(Message(key, f"Schedule {one.name} is on time again", f"{told}\n{links.automation}", {"schedule": one.name}))
    return after, messages


def _missed(one: Scheduled, due: datetime, links: Links) -> Message:
    why = "no tick of it is recorded" if one.error is None else f"its tick failed with {one.error}"
    lines = [
        f"The schedule {one.name} was due at {told_at(due)}. Half an hour later {why}, and no run of {one.job} has been started.",
        f"Start it by hand if it cannot wait: litgo run {one.job}",
        f"Schedules and their ticks: {links.automation}",
    ]
    key = f"tick-missed:{one.name}:{stamp(due)}"
    return Message(key, f"Schedule {one.name} missed {told_at(due)}", "\n".join(lines), {"schedule": one.name, "job": one.job})


def plan_sensors(
    silent: Mapping[str, datetime], seen: Sequence[Sensed], watch: Watch, links: Links
) -> tuple[dict[str, datetime], list[Message]]:
    """One message for a sensor that does not tick or whose ticks fail, one when it ticks well again. A stopped one is forgotten.

    What was not watched counts for nobody: after a standstill a sensor has its time again.
    """
    after: dict[str, datetime] = {}
    messages = []
    for one in seen:
        before = silent.get(one.name)
        since = max(moment for moment in (one.well_at, one.started_at, watch.since) if moment is not None)
        if before is not None and (one.well_at is None or one.well_at <= before):
            after[one.name] = before
        elif before is not None:
            told = f"The sensor {one.name} had not ticked well since {told_at(before)}. It does again."
            key = f"sensor-well:{one.name}:{stamp(before)}"
            messages.append(Message(key, f"Sensor {one.name} is well again", f"{told}\n{links.automation}", {"sensor": one.name}))
        elif watch.at - since > one.limit:
            after[one.name] = since
            messages.append(_silent(one, since, links))
    return after, messages


def _silent(one: Sensed, since: datetime, links: Links) -> Message:
    what = "has not ticked" if one.error is None else f"fails with {one.error}"
    lines = [
        f"The sensor {one.name} {what}; its last good tick was {'never seen' if one.well_at is None else f'at {told_at(one.well_at)}'}.",
        "What it watches for is not acted upon. You will be told when it ticks well again.",
        f"Sensors and their ticks, with what errors say: {links.automation}",
    ]
    return Message(f"sensor-silent:{one.name}:{stamp(since)}", f"Sensor {one.name} {what}", "\n".join(lines), {"sensor": one.name})


def look(
    state: Punctuality, instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, links: Links, now: datetime, own: str
) -> tuple[Punctuality, list[Message]]:
    """What is to be told of schedules and sensors as of `now`.

    Args:
        own: the sensor that looks; it does not watch itself.
    """
    watch = watch_on(state.watch, now)
    states = {one.instigator_name: one for one in instance.all_instigator_state()}
    schedules = [one for one in repository.schedule_defs if _runs(states.get(one.name))]
    sensors = [one for one in repository.sensor_defs if one.name != own and _runs(states.get(one.name))]
    due = {} if state.watch is None else {one.name: _due_between(one, state.watch.at, now) for one in schedules}
    told = plan_standstill(state.watch, due, links, now)
    missed, of_schedules = plan_schedules(
        state.missed, [_scheduled(instance, one, states.get(one.name), watch) for one in schedules], links
    )
    silent, of_sensors = plan_sensors(state.silent, [_sensed(instance, one, states.get(one.name)) for one in sensors], watch, links)
    return Punctuality(watch=watch, missed=missed, silent=silent), [*told, *of_schedules, *of_sensors]


def _runs(state: "InstigatorState | None") -> bool:
    """All of ours run unless a person stopped them."""
    return state is None or state.is_running


def _due_between(schedule: dg.ScheduleDefinition, after: datetime, until: datetime) -> list[datetime]:
    from dagster._utils.schedules import schedule_execution_time_iterator

    moments = schedule_execution_time_iterator(after.timestamp(), schedule.cron_schedule, schedule.execution_timezone)
    return [one for one in takewhile(lambda moment: moment <= until, moments) if one > after]


def _scheduled(instance: dg.DagsterInstance, schedule: dg.ScheduleDefinition, state: "InstigatorState | None", watch: Watch) -> Scheduled:
    from dagster._utils.schedules import schedule_execution_time_iterator

    found = Scheduled(schedule.name, schedule.job_name, None, done=True)
    if watch.at - watch.since < SETTLED:
        return found
    end = (watch.at - GRACE).timestamp()
    due = next(iter(schedule_execution_time_iterator(end, schedule.cron_schedule, schedule.execution_timezone, ascending=False)))
    begun = max(watch.began, _started_at(state) or watch.began)
    if due <= begun:
        return found
    good = _newest_tick(instance, state, _good())
    if (good is not None and _moment(good) >= due) or _was_started(instance, schedule.job_name, due):
        return replace(found, due=due)
    return replace(found, due=due, done=False, error=_error(_newest_tick(instance, state)))


def _sensed(instance: dg.DagsterInstance, sensor: dg.SensorDefinition, state: "InstigatorState | None") -> Sensed:
    limit = max(SILENT, _INTERVALS * timedelta(seconds=sensor.minimum_interval_seconds or 0))
    newest = _newest_tick(instance, state)
    good = newest if newest is None or newest.status in _good() else _newest_tick(instance, state, _good())
    return Sensed(sensor.name, None if good is None else _moment(good), _started_at(state), limit, _error(newest))


def _started_at(state: "InstigatorState | None") -> datetime | None:
    """When a person, or for a schedule the daemon, started it."""
    data = None if state is None else state.instigator_data
    moment = getattr(data, "start_timestamp", None) or getattr(data, "last_sensor_start_timestamp", None)
    return None if moment is None else datetime.fromtimestamp(moment, UTC)


def _good() -> "list[TickStatus]":
    """How a tick ends that started a run or had no reason to."""
    from dagster._core.scheduler.instigation import TickStatus

    return [TickStatus.SUCCESS, TickStatus.SKIPPED]


def _newest_tick(
    instance: dg.DagsterInstance, state: "InstigatorState | None", statuses: "list[TickStatus] | None" = None
) -> "InstigatorTick | None":
    if state is None:
        return None
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=statuses)
    return ticks[0] if ticks else None


def _moment(tick: "InstigatorTick") -> datetime:
    """When it was made; of a schedule when it was due."""
    return datetime.fromtimestamp(tick.timestamp, UTC)


def _error(tick: "InstigatorTick | None") -> str | None:
    """Class of the error of a tick that failed."""
    from dagster._core.scheduler.instigation import TickStatus

    if tick is None or tick.status is not TickStatus.FAILURE:
        return None
    error = tick.error
    while error is not None and error.cause is not None:
        error = error.cause
    return (error.cls_name if error is not None else None) or "an error without a class"


def _was_started(instance: dg.DagsterInstance, job: str, since: datetime) -> bool:
    return bool(instance.get_run_records(dg.RunsFilter(job_name=job, created_after=since.astimezone(UTC)), limit=1))
