"""Dagster's facts for the collector: how runs, schedules, sensors and the daemon stand. What they add up to is counted in `run_counts`.

A reading costs what came since the last one, not what there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import dagster as dg

from litgo_pipelines.observability.sources import Sample
from litgo_pipelines.orchestration import instance_reading as reading
from litgo_pipelines.orchestration import run_counts
from litgo_pipelines.orchestration.health import heartbeats
from litgo_pipelines.orchestration.instance_reading import InProgress, Instigator, Repository, Schedule, Ticks
from litgo_pipelines.orchestration.run_counts import Cursors, Due, due_key

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.marketplace.database import Services
    from litgo_pipelines.settings import Settings

QUEUE_GRACE: Final = timedelta(minutes=10)
"""What a run that is due may wait for its turn, on top of the time that it may last. Then a schedule was missed."""
TICK_SLACK: Final = timedelta(minutes=3)
"""How late a tick may be: all sensors share one daemon, and each may take a minute."""

RUN_STATUSES: Final = ("success", "failure", "retried", "canceled")
TICK_STATUSES: Final = ("success", "skipped", "failure")
_ALWAYS_SHOWN: Final = ("queued", "started")


def dagster_facts(
    settings: Settings, services: Services, engine: Engine, clock: Callable[[], datetime], definitions: dg.Definitions
) -> DagsterFacts:
    """The source of the project's Dagster instance. Nothing is read yet, and Dagster's storage may be away.

    Args:
        engine: on the marketplace's database, at this code's revision.
        clock: tells the time, aware.
        definitions: the code location, `litgo_pipelines.definitions.defs`.
    """
    repository = reading.repository_of(definitions.get_repository_def())
    return DagsterFacts(repository, str(settings.dagster_home), services.dagster, engine, clock)


@dataclass
class DagsterFacts:
    """A source of samples that keeps one Dagster instance open.

    Args:
        home: DAGSTER_HOME of the instance.
        url: of its storage.
        engine: on the marketplace's database.
        clock: tells the time, aware.
        most: runs that one reading counts, the oldest; after a long time away the next ones count the rest.
    """

    repository: Repository
    home: str
    url: str
    engine: Engine
    clock: Callable[[], datetime]
    most: int = 1_000
    name: str = field(default="dagster", init=False)
    _instance: dg.DagsterInstance | None = field(default=None, init=False)

    @property
    def known(self) -> list[tuple[str, dict[str, str]]]:
        """The series of counted metrics that are there before anything happened: metric and labels."""
        found = [("job_runs_total", {"job": job, "status": status}) for job in self.repository.jobs for status in RUN_STATUSES]
        found += [("job_duration_seconds", {"job": job}) for job in self.repository.jobs]
        scheduled = sorted({one.job for one in self.repository.schedules})
        found += [(metric, {"job": job}) for metric in ("jobs_due_total", "jobs_executed_total") for job in scheduled]
        ticking = [("schedule", one.name) for one in self.repository.schedules] + [("sensor", one.name) for one in self.repository.sensors]
        return found + [
            ("ticks_total", {"name": name, "kind": kind, "status": status}) for kind, name in ticking for status in TICK_STATUSES
        ]

    def read(self) -> list[Sample]:
        """Count what came since the last reading, and tell how things stand.

        Raises:
            LitgoError: Dagster's storage does not let us in.
            SQLAlchemyError: it, or the marketplace's database, does not answer; nothing is counted by halves.
        """
        at = self.clock()
        if self._instance is None:
            self._instance = reading.open_instance(self.home, self.url)
        try:
            return _read(self._instance, self.engine, self.repository, at, self.most)
        except Exception:
            # Dagster itself would try for long to reach its storage, and with connections that are gone.
            self.close()
            raise

    def close(self) -> None:
        """Let the instance go; the next reading opens another."""
        instance, self._instance = self._instance, None
        if instance is not None:
            reading.close_instance(instance)


def _read(instance: dg.DagsterInstance, engine: Engine, repository: Repository, at: datetime, most: int) -> list[Sample]:
    instigators = reading.instigators(instance, repository)
    before = _cursors(instance, engine, repository, instigators, at)
    with reading.connect(instance) as storage:
        before = _counted_anew(storage, engine, before, at)
        updated = reading.ended_after(storage, before.runs - reading.OVERLAP)
        progress = reading.in_progress(storage)
        ticks = reading.ticks(storage, instigators, before.ticks)
        dues = _dues(storage, repository, instigators, before, at)
    with engine.connect() as connection:
        uncounted = sorted(run_counts.uncounted(connection, updated), key=updated.__getitem__)
    wanted = {run_id: updated[run_id] for run_id in uncounted[:most]}
    seen = updated
    if len(uncounted) > most:
        # A run that is not read yet may have been in time.
        seen, dues = wanted, []
    runs = reading.ended_runs(instance, wanted, at)
    with engine.begin() as connection:
        if runs or dues or any(run_counts.ended(one.new) for one in ticks.values()):
            run_counts.count(connection, runs, max(seen.values(), default=None), ticks, dues, at)
        ends = run_counts.last_ends(connection)
    missed = _missed(instance, engine, repository)
    beats = heartbeats(instance)
    return [
        *_progress_samples(repository, progress, at),
        *_end_samples(ends),
        *_schedule_samples(repository, instigators, before, missed, at),
        *_tick_samples(repository, instigators, ticks, before),
        *(
            Sample("daemon_heartbeat_timestamp_seconds", beat.timestamp, {"daemon": kind})
            for kind, beat in beats.items()
            if beat is not None
        ),
    ]


def _cursors(
    instance: dg.DagsterInstance, engine: Engine, repository: Repository, instigators: Sequence[Instigator], at: datetime
) -> Cursors:
    """Up to where was counted; what is not counted yet begins to be."""
    with engine.connect() as connection:
        found = run_counts.cursors(connection)
    wanted = {one.key for one in instigators}
    if found is not None and wanted <= found.ticks.keys() and {due_key(one) for one in repository.schedules} <= found.dues.keys():
        return found
    past: list[reading.EndedRun] = []
    if found is None:
        with reading.connect(instance) as storage:
            newest = reading.newest_ended(storage)
        past = [one for one in reading.ended_runs(instance, newest, at) if one.ended_at < at - reading.OVERLAP]
    with engine.begin() as connection:
        run_counts.begin(connection, instigators, repository, at)
        # They tell when a job last succeeded; nobody counted then.
        run_counts.add_runs(connection, past)
        begun = run_counts.cursors(connection)
    assert begun is not None
    return begun


def _counted_anew(storage: Connection, engine: Engine, before: Cursors, at: datetime) -> Cursors:
    """The cursors, which begin anew where ticks were counted whose ids the storage has not given."""
    last = reading.last_tick_id(storage)
    if last is None or all(position.id <= last for position in before.ticks.values()):
        return before
    with engine.begin() as connection:
        return run_counts.count_anew(connection, last, at)


def _dues(storage: Connection, repository: Repository, instigators: Sequence[Instigator], before: Cursors, at: datetime) -> list[Due]:
    """The due moments that can be judged at a time: their grace is over, and none of them is older than the schedule is known."""
    standing = {one.name: one for one in instigators if one.kind == "schedule"}
    found = []
    for schedule in repository.schedules:
        grace, stands = _grace(schedule), standing[schedule.name]
        judged = before.dues[due_key(schedule)]
        if schedule.last_due(at - grace) <= judged:
            continue
        for due_at in schedule.due(judged, at - grace):
            off = _off(stands, due_at)
            skipped = not off and reading.was_skipped(storage, stands, due_at)
            found.append(Due(schedule, due_at, due_at + grace, off, skipped, reading.asked_for(storage, schedule.job, due_at)))
    return found


def _missed(instance: dg.DagsterInstance, engine: Engine, repository: Repository) -> dict[str, datetime]:
    """Jobs whose last due moment was judged in vain and no run has made good since, and that moment."""
    with engine.connect() as connection:
        in_vain = run_counts.missed(connection, [one.job for one in repository.schedules])
    if not in_vain:
        return {}
    with reading.connect(instance) as storage:
        asked_for = {job: reading.asked_for(storage, job, due_at) for job, due_at in in_vain.items()}
    with engine.connect() as connection:
        return {job: due_at for job, due_at in in_vain.items() if run_counts.done(connection, job, due_at, asked_for[job]) is None}


def _grace(schedule: Schedule) -> timedelta:
    return schedule.longest + QUEUE_GRACE


def _off(schedule: Instigator, due_at: datetime) -> bool:
    """Whether the schedule asked for nothing at a moment, because a person had switched it off."""
    return not schedule.running or (schedule.started_at is not None and schedule.started_at > due_at)


def _progress_samples(repository: Repository, progress: Sequence[InProgress], at: datetime) -> list[Sample]:
    runs = Counter({(job, status): 0 for job in repository.jobs for status in _ALWAYS_SHOWN})
    runs.update({(one.job, one.status): one.runs for one in progress})
    queued = [one for one in progress if one.status == "queued"]
    waited = max((at - one.oldest for one in queued), default=timedelta())
    return [
        *(Sample("job_runs_in_progress", count, {"job": job, "status": status}) for (job, status), count in sorted(runs.items())),
        Sample("job_queue_length", sum(one.runs for one in queued)),
        Sample("job_queue_oldest_age_seconds", max(0.0, waited.total_seconds())),
    ]


def _end_samples(ends: Mapping[tuple[str, str], datetime]) -> list[Sample]:
    found = []
    for (job, status), at in sorted(ends.items()):
        found.append(Sample("job_last_end_timestamp_seconds", at.timestamp(), {"job": job, "status": status}))
        if status == "success":
            found.append(Sample("job_last_success_timestamp_seconds", at.timestamp(), {"job": job}))
    return found


def _schedule_samples(
    repository: Repository, instigators: Sequence[Instigator], before: Cursors, missed: Mapping[str, datetime], at: datetime
) -> list[Sample]:
    """When each job was last due, and whether it is overdue; nothing of a schedule that is switched off."""
    standing = {one.name: one for one in instigators if one.kind == "schedule"}
    found = []
    for schedule in repository.schedules:
        stands = standing[schedule.name]
        if not stands.running:
            continue
        overdue = schedule.job in missed and not _off(stands, missed[schedule.job])
        found.append(Sample("job_overdue", float(overdue), {"job": schedule.job}))
        last = schedule.last_due(at)
        # What was due before the schedule was known was judged by nobody.
        if last >= before.dues[due_key(schedule)] and not _off(stands, last):
            found.append(Sample("job_due_timestamp_seconds", last.timestamp(), {"job": schedule.job}))
    return found


def _tick_samples(repository: Repository, instigators: Sequence[Instigator], ticks: Mapping[str, Ticks], before: Cursors) -> list[Sample]:
    """When each schedule and sensor last ticked and how, and by when it should again; nothing of one that is switched off."""
    schedules = {one.name: one for one in repository.schedules}
    sensors = {one.name: one for one in repository.sensors}
    found = []
    for one in instigators:
        if not one.running:
            continue
        labels = {"name": one.name, "kind": one.kind}
        last = ticks.get(one.key, Ticks()).last
        known = [at for at in (last.at if last else None, one.started_at) if at is not None]
        if last is not None:
            found.append(Sample("tick_timestamp_seconds", last.at.timestamp(), labels))
            found.append(Sample("tick_failed", float(last.status == "failure"), labels))
        if one.kind == "schedule":
            schedule = schedules[one.name]
            due = schedule.next_due(max(known, default=before.dues[due_key(schedule)]))
            found.append(Sample("tick_due_timestamp_seconds", (due + TICK_SLACK).timestamp(), labels))
        elif known:
            found.append(Sample("tick_due_timestamp_seconds", (max(known) + sensors[one.name].every + TICK_SLACK).timestamp(), labels))
    return found
