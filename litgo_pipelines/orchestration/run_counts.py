"""What of Dagster's runs, ticks and due moments was counted, each once and for good, in the marketplace's database.

Each function writes in the caller's transaction: what is counted and up to where go together, so a reader that is killed neither loses nor
doubles anything, and two readers take turns at the cursors. What Dagster forgets later stays counted; a run that it forgot before any
reader saw it is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from litgo_pipelines.marketplace import event_log
from litgo_pipelines.orchestration.instance_reading import (
    OVERLAP,
    TICK_OVERLAP,
    EndedRun,
    Instigator,
    Repository,
    Schedule,
    Tick,
    TickPosition,
    Ticks,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SINCE: Final = "dagster since"
_RUNS: Final = "dagster runs"

_BEGIN = """
INSERT INTO litgo.metric_cursors (name, position, moved_at) VALUES (:name, :position, :at) ON CONFLICT DO NOTHING
"""
_POSITIONS = "SELECT name, position FROM litgo.metric_cursors WHERE name LIKE 'dagster %' ORDER BY name"
_TAKE = f"{_POSITIONS} FOR UPDATE"
_MOVE = "UPDATE litgo.metric_cursors SET position = :position, moved_at = :at WHERE name = :name"

_UNCOUNTED = """
SELECT id FROM unnest(CAST(:run_ids AS text[])) AS id WHERE NOT EXISTS (SELECT FROM litgo.job_runs r WHERE r.run_id = id)
"""
_ADD_RUNS = """
INSERT INTO litgo.job_runs (run_id, job, status, started_at, ended_at, due_at)
SELECT * FROM unnest(
    CAST(:run_ids AS text[]), CAST(:jobs AS text[]), CAST(:statuses AS text[]),
    CAST(:started AS timestamptz[]), CAST(:ended AS timestamptz[]), CAST(:due AS timestamptz[])
)
ON CONFLICT DO NOTHING RETURNING run_id
"""
# A run that another moment asked for does not stand for this one, unless it is for the same partition.
_DONE = """
SELECT run_id FROM litgo.job_runs
WHERE job = :job AND status = 'success' AND started_at >= :due_at
    AND ended_at > :due_at AND ended_at <= coalesce(CAST(:until AS timestamptz), 'infinity')
    AND CASE cardinality(CAST(:asked_for AS text[])) WHEN 0 THEN due_at IS NULL OR due_at = :due_at ELSE run_id = ANY(:asked_for) END
ORDER BY ended_at LIMIT 1
"""
_JUDGE = """
INSERT INTO litgo.job_dues (job, due_at, executed, run_id, judged_at) VALUES (:job, :due_at, :executed, :run_id, :at)
ON CONFLICT DO NOTHING RETURNING executed
"""

# From job to job by the index: how many runs there were does not matter.
_LAST_ENDS = """
WITH RECURSIVE jobs AS (
    (SELECT job FROM litgo.job_runs ORDER BY job LIMIT 1)
    UNION ALL
    SELECT (SELECT r.job FROM litgo.job_runs r WHERE r.job > jobs.job ORDER BY r.job LIMIT 1) FROM jobs WHERE jobs.job IS NOT NULL
)
SELECT j.job, s.status, last.ended_at
FROM jobs j CROSS JOIN unnest(ARRAY['success', 'failure', 'retried', 'canceled']) AS s (status)
CROSS JOIN LATERAL (
    SELECT ended_at FROM litgo.job_runs r WHERE r.job = j.job AND r.status = s.status ORDER BY ended_at DESC LIMIT 1
) last
"""
_MISSED = """
SELECT wanted.job, due.due_at
FROM unnest(CAST(:jobs AS text[])) AS wanted (job) CROSS JOIN LATERAL (
    SELECT due_at, executed FROM litgo.job_dues d WHERE d.job = wanted.job ORDER BY due_at DESC LIMIT 1
) due
WHERE NOT due.executed
"""


@dataclass(frozen=True)
class Cursors:
    """Up to where was counted.

    Attributes:
        since: runs that ended before were there before anybody counted; they are known of, but not counted.
        runs: up to where runs were seen, by the time of their last change.
        ticks: by key of the schedule or sensor.
        dues: by key of the schedule, up to which moment its due moments were judged.
    """

    since: datetime
    runs: datetime
    ticks: Mapping[str, TickPosition]
    dues: Mapping[str, datetime]


@dataclass(frozen=True)
class Due:
    """A moment at which a schedule was due, whose grace is over.

    Attributes:
        until: end of the grace.
        off: a person had switched the schedule off: nothing was due.
        skipped: its tick found that nothing was to be done.
        asked_for: runs by which it is judged; where there are none, by any that no other moment asked for.
    """

    schedule: Schedule
    due_at: datetime
    until: datetime
    off: bool
    skipped: bool
    asked_for: Sequence[str] = ()


def due_key(schedule: Schedule) -> str:
    """Under which a schedule's judged moments are kept."""
    return f"schedule {schedule.name}"


def cursors(connection: Connection) -> Cursors | None:
    """Up to where was counted; None before the first time."""
    from sqlalchemy import text

    return _cursors({row.name: row.position for row in connection.execute(text(_POSITIONS))})


def _take(connection: Connection) -> Cursors:
    """The cursors, which nobody else moves before the transaction ends."""
    from sqlalchemy import text

    found = _cursors({row.name: row.position for row in connection.execute(text(_TAKE))})
    assert found is not None
    return found


def _cursors(positions: Mapping[str, str]) -> Cursors | None:
    if _SINCE not in positions:
        return None
    return Cursors(
        datetime.fromisoformat(positions[_SINCE]),
        datetime.fromisoformat(positions[_RUNS]),
        {key: _tick_position(text) for key, text in _under("dagster ticks ", positions)},
        {key: datetime.fromisoformat(text) for key, text in _under("dagster due ", positions)},
    )


def _under(prefix: str, positions: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name.removeprefix(prefix), position) for name, position in positions.items() if name.startswith(prefix)]


def _tick_position(text: str) -> TickPosition:
    number, _, at = text.partition(" ")
    return TickPosition(int(number), datetime.fromisoformat(at))


def _told(position: TickPosition) -> str:
    return f"{position.id} {position.at.isoformat()}"


def begin(connection: Connection, instigators: Iterable[Instigator], repository: Repository, at: datetime) -> None:
    """Begin to count what is not counted yet: runs and ticks of the last hours, and moments that come.

    Args:
        at: aware.
    """
    from sqlalchemy import text

    first = (at - OVERLAP).isoformat()
    positions = {_SINCE: first, _RUNS: at.isoformat()}
    positions |= {f"dagster ticks {one.key}": f"0 {first}" for one in instigators}
    positions |= {f"dagster due {due_key(one)}": at.isoformat() for one in repository.schedules}
    for name in sorted(positions):
        connection.execute(text(_BEGIN), {"name": name, "position": positions[name], "at": at})


def count_anew(connection: Connection, last_tick_id: int, at: datetime) -> Cursors:
    """Count ticks of a storage that numbers them anew, or was restored, but none from before the last one that was counted.

    Args:
        last_tick_id: the highest that it ever gave.
        at: aware.
    """
    from sqlalchemy import text

    positions = _take(connection).ticks
    # Another reader may have begun meanwhile.
    if any(position.id > last_tick_id for position in positions.values()):
        for key, position in sorted(positions.items()):
            begun = TickPosition(0, position.at + TICK_OVERLAP)
            connection.execute(text(_MOVE), {"name": f"dagster ticks {key}", "position": _told(begun), "at": at})
    return _take(connection)


def uncounted(connection: Connection, run_ids: Iterable[str]) -> list[str]:
    """Those of these runs that are not known of."""
    from sqlalchemy import text

    asked = list(run_ids)
    return list(connection.execute(text(_UNCOUNTED), {"run_ids": asked}).scalars()) if asked else []


def count(
    connection: Connection, runs: Sequence[EndedRun], seen: datetime | None, ticks: Mapping[str, Ticks], dues: Sequence[Due], at: datetime
) -> None:
    """Count what was read, but what another reader has counted meanwhile.

    Args:
        seen: when the newest of all runs that were looked at changed.
        ticks: by key of the schedule or sensor.
        dues: by schedule ascending in time.
        at: aware.
    """
    from sqlalchemy import text

    taken = _take(connection)
    moved: dict[str, str] = {}
    _count_runs(connection, runs, taken.since)
    # A clock that is ahead must not hide the runs of the others.
    if seen is not None and min(seen, at) > taken.runs:
        moved[_RUNS] = min(seen, at).isoformat()
    counted: Counter[tuple[str, str]] = Counter()
    for key, found in ticks.items():
        position = taken.ticks[key]
        for tick, status in ended(found.new):
            if tick.id > position.id:
                counted[key, status] += 1
                position = TickPosition(tick.id, tick.at)
        if position != taken.ticks[key]:
            moved[f"dagster ticks {key}"] = _told(position)
    for (key, status), amount in sorted(counted.items()):
        kind, _, name = key.partition(" ")
        event_log.append(connection, "ticks_total", amount=amount, name=name, kind=kind, status=status)
    for due in dues:
        key = due_key(due.schedule)
        if due.due_at > taken.dues[key]:
            _judge(connection, due, at)
            moved[f"dagster due {key}"] = due.due_at.isoformat()
    for name, position_text in sorted(moved.items()):
        connection.execute(text(_MOVE), {"name": name, "position": position_text, "at": at})


def ended(ticks: Sequence[Tick]) -> list[tuple[Tick, str]]:
    """The ticks that can be counted and how they ended, of all in a row by id.

    One that goes on holds those after it back, for there are none. Where there are, it was interrupted and left: a failure. A tick counts
    by the end that is seen first; a schedule whose tick failed may make it good later, as the same tick.
    """
    going_on = len(ticks) - 1 if ticks and ticks[-1].status is None else len(ticks)
    return [(tick, tick.status or "failure") for tick in ticks[:going_on]]


def add_runs(connection: Connection, runs: Sequence[EndedRun]) -> list[EndedRun]:
    """Know of runs from here on; those that were not known of."""
    from sqlalchemy import text

    if not runs:
        return []
    ordered = sorted(runs, key=lambda one: one.run_id)
    given = {
        "run_ids": [one.run_id for one in ordered],
        "jobs": [one.job for one in ordered],
        "statuses": [one.status for one in ordered],
        "started": [one.started_at for one in ordered],
        "ended": [one.ended_at for one in ordered],
        "due": [one.due_at for one in ordered],
    }
    added = set(connection.execute(text(_ADD_RUNS), given).scalars())
    return [one for one in ordered if one.run_id in added]


def _count_runs(connection: Connection, runs: Sequence[EndedRun], since: datetime) -> None:
    counted = [one for one in add_runs(connection, runs) if one.ended_at >= since]
    for (job, status), amount in sorted(Counter((one.job, one.status) for one in counted).items()):
        event_log.append(connection, "job_runs_total", amount=amount, job=job, status=status)
    for one in counted:
        if one.started_at is not None:
            seconds = max(0.0, (one.ended_at - one.started_at).total_seconds())
            event_log.append(connection, "job_duration_seconds", value=seconds, job=one.job)


def _judge(connection: Connection, due: Due, at: datetime) -> None:
    from sqlalchemy import text

    if due.off:
        return
    job = due.schedule.job
    run_id = done(connection, job, due.due_at, due.asked_for, due.until)
    given = {"job": job, "due_at": due.due_at, "executed": due.skipped or run_id is not None, "run_id": run_id, "at": at}
    executed = connection.execute(text(_JUDGE), given).scalar()
    if executed is None:
        return
    event_log.append(connection, "jobs_due_total", job=job)
    if executed:
        event_log.append(connection, "jobs_executed_total", job=job)


def done(connection: Connection, job: str, due_at: datetime, asked_for: Sequence[str], until: datetime | None = None) -> str | None:
    """The run that first did what was due at a moment, and succeeded up to another (both aware) or at any time; None where none did.

    Args:
        asked_for: ids of the runs that may have; none: any that no other moment asked for.
    """
    from sqlalchemy import text

    given = {"job": job, "due_at": due_at, "asked_for": list(asked_for), "until": until}
    found: str | None = connection.execute(text(_DONE), given).scalar()
    return found


def last_ends(connection: Connection) -> dict[tuple[str, str], datetime]:
    """When a run of each job last ended in each way, by job and status."""
    from sqlalchemy import text

    return {(job, status): at for job, status, at in connection.execute(text(_LAST_ENDS))}


def missed(connection: Connection, jobs: Iterable[str]) -> dict[str, datetime]:
    """Of these jobs those whose last due moment was judged in vain, and that moment."""
    from sqlalchemy import text

    return {row.job: row.due_at for row in connection.execute(text(_MISSED), {"jobs": list(jobs)})}
