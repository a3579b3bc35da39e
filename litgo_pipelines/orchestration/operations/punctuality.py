"""Schedules that were not evaluated when they were due, sensors that have not ticked well for long, and time in which nobody looked.

Whether the daemon lives cannot be told by what the daemon runs: that is for Prometheus. The first look after it stood still tells since
when, and what was due meanwhile; whether that was made up for is judged once the daemon has had the time to do so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.orchestration import instance_reading as reading
from litgo_pipelines.orchestration.instance_reading import Instigator, Schedule, Sensor, Tick, TickPosition, Ticks
from litgo_pipelines.orchestration.operations.messages import Links, Message, stamp, told_at

GRACE: Final = timedelta(minutes=30)
"""How long after it was due a schedule may be evaluated."""
STANDSTILL: Final = timedelta(minutes=15)
"""Looks further apart than this are told of; a restart takes less."""
SETTLED: Final = timedelta(minutes=5)
"""How long after that the daemon may take to make up for what it missed."""
SILENT: Final = timedelta(minutes=15)
"""How long a sensor may go without a tick that did not fail, or ten of its intervals where that is more."""
_INTERVALS = 10
_GOOD = ("success", "skipped")
"""How a tick ends that started a run or had no reason to."""
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
        well_at: when it last ticked without an error; None: not for twice the limit.
        started_at: when a person started it, or the daemon first saw it; None: nobody knows.
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


def plan_standstill(
    watch: Watch | None, due: Mapping[str, Sequence[datetime]], started_at: datetime | None, links: Links, now: datetime
) -> list[Message]:
    """One message where nobody looked for a while.

    Args:
        due: moments at which schedules were due meanwhile, by name.
        started_at: when a person last started the sensor that looks.
    """
    if watch is None or now - watch.at <= STANDSTILL:
        return []
    listed = [f"- {name}: {told_at(moment)}" for name, moments in sorted(due.items()) for moment in moments]
    rest = [f"- and {len(listed) - _MOST_LISTED:,} more"] if len(listed) > _MOST_LISTED else []
    span = f"From {told_at(watch.at)} to {told_at(now)} sensors and schedules were not watched"
    if started_at is not None and started_at > watch.at:
        subject = f"Dagster's automation was not watched until {told_at(now)}"
        why = f"{span}:\nwhat does so was switched off until {told_at(started_at)}, when a person started it. Others may have run."
    else:
        subject = f"Dagster's automation stood still until {told_at(now)}"
        why = f"{span}: Dagster's daemon did not run, or could not\nreach the marketplace's database. Sensors go on from where they were."
    lines = [
        why,
        "",
        *(["Due meanwhile were:", *listed[:_MOST_LISTED], *rest, "You will be told if one of them is not made up for."] if listed else []),
        *([] if listed else ["No schedule was due meanwhile."]),
        f"Schedules and sensors: {links.automation}",
    ]
    return [Message(f"standstill:{stamp(watch.at)}", subject, "\n".join(lines))]


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
        f"The sensor {one.name} {what}; no good tick of it was seen since {told_at(since)}.",
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
    ours = reading.repository_of(repository)
    standing = {(one.kind, one.name): one for one in reading.instigators(instance, ours)}
    schedules = [one for one in ours.schedules if standing["schedule", one.name].running]
    sensors = [one for one in ours.sensors if one.name != own and standing["sensor", one.name].running]
    due = {one.name: _due(one, standing["schedule", one.name], watch) for one in schedules}
    since = {f"schedule {name}": moment for name, moment in due.items() if moment is not None}
    since |= {f"sensor {one.name}": now - 2 * _limit(one) for one in sensors}
    with reading.connect(instance) as storage:
        wanted = [one for one in standing.values() if one.key in since]
        found = reading.ticks(storage, wanted, {key: TickPosition(0, at) for key, at in since.items()})
    scheduled = [_scheduled(instance, one, due[one.name], found.get(f"schedule {one.name}", Ticks())) for one in schedules]
    sensed = [_sensed(instance, one, standing["sensor", one.name], found.get(f"sensor {one.name}", Ticks())) for one in sensors]
    left_out = {} if state.watch is None else {one.name: one.due(state.watch.at, now) for one in schedules}
    watcher = standing.get(("sensor", own))
    told = plan_standstill(state.watch, left_out, watcher.started_at if watcher else None, links, now)
    missed, of_schedules = plan_schedules(state.missed, scheduled, links)
    silent, of_sensors = plan_sensors(state.silent, sensed, watch, links)
    return Punctuality(watch=watch, missed=missed, silent=silent), [*told, *of_schedules, *of_sensors]


def _due(schedule: Schedule, stands: Instigator, watch: Watch) -> datetime | None:
    """When it was due last, its grace being over; None where nothing can be said of that, or it did not run yet."""
    if watch.at - watch.since < SETTLED:
        return None
    due = schedule.last_due(watch.at - GRACE)
    begun = max(watch.began, _begun(stands) or watch.began)
    return due if due > begun else None


def _begun(stands: Instigator) -> datetime | None:
    """When a person started it, or the daemon first saw it."""
    return stands.started_at or stands.seen_at


def _limit(sensor: Sensor) -> timedelta:
    return max(SILENT, _INTERVALS * sensor.every)


def _scheduled(instance: dg.DagsterInstance, schedule: Schedule, due: datetime | None, ticks: Ticks) -> Scheduled:
    if due is None:
        return Scheduled(schedule.name, schedule.job, None, done=True)
    good = any(tick.status in _GOOD and tick.at >= due for tick in ticks.new)
    if good or _was_started(instance, schedule.job, due):
        return Scheduled(schedule.name, schedule.job, due, done=True)
    return Scheduled(schedule.name, schedule.job, due, done=False, error=_error(instance, ticks.last))


def _sensed(instance: dg.DagsterInstance, sensor: Sensor, stands: Instigator, ticks: Ticks) -> Sensed:
    well_at = max((tick.at for tick in ticks.new if tick.status in _GOOD), default=None)
    return Sensed(sensor.name, well_at, _begun(stands), _limit(sensor), _error(instance, ticks.last))


def _error(instance: dg.DagsterInstance, tick: Tick | None) -> str | None:
    """Class of the error of a tick that failed."""
    if tick is None or tick.status != "failure":
        return None
    assert instance.schedule_storage is not None
    error = instance.schedule_storage.get_tick(tick.id).error
    while error is not None and error.cause is not None:
        error = error.cause
    return (error.cls_name if error is not None else None) or "an error without a class"


def _was_started(instance: dg.DagsterInstance, job: str, since: datetime) -> bool:
    return bool(instance.get_run_records(dg.RunsFilter(job_name=job, created_after=since.astimezone(UTC)), limit=1))
