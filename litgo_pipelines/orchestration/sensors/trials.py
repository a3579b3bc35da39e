"""Starts `read_experiment` when an experiment has something new to read, or one in line may begin."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from litgo_pipelines.orchestration.jobs import READ_EXPERIMENT, read_experiment
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import Asked, Plan, asked_for, parsed, under_way

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.rollout.experiments import Experiment

_RIPENED = "outcomes have ripened"
_ENDS = {"running": ("promote", "harm", "inconclusive"), "approval": ("harm",)}
"""What a reading says that ends an experiment, by how it stands; a winner that waits for a person waits on."""


@dataclass(frozen=True)
class Observed:
    """What the sensor sees.

    Attributes:
        running: the experiment that runs, or waits for approval; None: none does.
        approved: whether a person approved its promotion.
        over: whether its time is up; not of one that waits for approval, which waits on.
        ripe: outcomes of it that have ripened.
        read: how many of them its newest reading saw.
        read_at: when that was; None: it was never read.
        undone: what that reading said, where it was not carried out.
        waiting: the experiment in line; None: none is.
        held: why nothing may begin or be promoted by itself; None: nothing stands against it.
    """

    running: str | None = None
    approved: bool = False
    over: bool = False
    ripe: int = 0
    read: int = 0
    read_at: datetime | None = None
    undone: str | None = None
    waiting: str | None = None
    held: str | None = None


def plan(cursor: Asked, observed: Observed, now: datetime, every: timedelta) -> Plan[Asked]:
    """Read at once what a person approved, what ran out of time, and what may begin; otherwise every so often, if anything ripened.

    What a reading did not bring about is asked for again ever more rarely; what ripens meanwhile is read as always, for it may show harm.
    """
    about = observed.running or observed.waiting or ""
    urgent = _urgent(observed)
    if urgent is None and observed.running is None:
        return Plan(False, cursor, "nothing runs and nothing waits" if observed.waiting is None else f"in line, but {observed.held}")
    ripened = observed.ripe - observed.read
    served = cursor.about == about and cursor.at is not None and observed.read_at is not None and observed.read_at >= cursor.at
    if urgent is not None:
        fresh = ripened > 0 and served and cursor.since(now) >= every
        if cursor.since(now) < cursor.pause(about, urgent) and not fresh:
            return Plan(False, cursor, cursor.told(about, urgent))
        return Plan(True, cursor.again(about, urgent, now), urgent)
    if ripened <= 0:
        return Plan(False, cursor, f"nothing has ripened since {observed.read} outcomes")
    told = f"{ripened} {_RIPENED}"
    if cursor.since(now) < (every if served else cursor.pause(about, _RIPENED)):
        return Plan(False, cursor, f"{told}; read every {every}" if served else f"{ripened} {cursor.told(about, _RIPENED)}")
    return Plan(True, (cursor.fulfilled() if served else cursor).again(about, _RIPENED, now), told)


def _urgent(observed: Observed) -> str | None:
    """What should be carried out at once, with what holds it; once nothing does, that is another reason, asked for at once."""
    held = "" if observed.held is None else f", but {observed.held}"
    if observed.approved:
        return "the promotion was approved"
    if observed.running is not None and observed.over:
        return f"its time is up{held}"
    if observed.undone is not None:
        return f"the verdict {observed.undone} was not carried out{held}"
    if observed.running is None and observed.waiting is not None and observed.held is None:
        return "the experiment in line may begin"
    return None


def _observe(connection: "Connection", now: datetime) -> Observed:
    from litgo_pipelines.rollout import experiments, outcomes
    from litgo_pipelines.rollout.readings import newest_reading

    running, waiting = experiments.running(connection), experiments.waiting(connection)
    if running is None:
        return Observed(waiting=None if waiting is None else str(waiting.id), held=_held(connection, waiting, now))
    began, reading = running.started_at or now, newest_reading(connection, running.id)
    verdict = None if reading is None else reading.figures["verdict"]
    return Observed(
        running=str(running.id),
        approved=running.status == "approval" and running.approved_by is not None,
        over=running.status == "running" and now - began >= timedelta(days=running.max_days),
        ripe=outcomes.ripe(connection, running, now),
        read=0 if reading is None else outcomes.ripe(connection, running, reading.read_at),
        read_at=None if reading is None else reading.read_at,
        undone=verdict if verdict in _ENDS[running.status] else None,
        waiting=None if waiting is None else str(waiting.id),
        held=_held(connection, None, now),
    )


def _held(connection: "Connection", waiting: "Experiment | None", now: datetime) -> str | None:
    """What holds all that happens by itself; nothing holds what a person put in line."""
    from litgo_pipelines.rollout import freezes, states
    from litgo_pipelines.rollout.decisions import SYSTEM

    if waiting is not None and waiting.actor not in SYSTEM:
        return None
    frozen, until = freezes.frozen(connection), states.cooldown_until(connection)
    if frozen is not None:
        return f"frozen by {frozen.actor}"
    return f"cooling down until {until:%Y-%m-%d %H:%M} UTC" if until is not None and until > now else None


@dg.sensor(job=read_experiment, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def experiment_due(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Reads the running experiment every `LITGO_READOUT_MINUTES` if anything ripened, and begins the one in line."""
    cursor, now = parsed(Asked, context.cursor), datetime.now(UTC)
    if under_way(context.instance, READ_EXPERIMENT):
        return dg.SensorResult(skip_reason="a reading is under way", cursor=context.cursor)
    with project.connection() as connection:
        observed = _observe(connection, now)
    found = plan(cursor, observed, now, timedelta(minutes=project.settings.litgo_readout_minutes))
    return asked_for(found, READ_EXPERIMENT, now)
