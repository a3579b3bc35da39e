"""Starts `read_experiment` when an experiment has something new to read, or one in line may begin."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from litgo_pipelines.orchestration.jobs import READ_EXPERIMENT, read_experiment
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import AGAIN, Asked, asked_for, under_way

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Observed:
    """What the sensor sees.

    Attributes:
        running: the experiment that runs, or waits for approval; None: none does.
        approved: whether a person approved its promotion.
        over: whether its time is up; not of one that waits for approval, which waits on.
        ripe: outcomes of it that have ripened.
        waiting: the experiment in line; None: none is.
        held: why nothing may begin; None: nothing stands against it.
    """

    running: str | None = None
    approved: bool = False
    over: bool = False
    ripe: int = 0
    waiting: str | None = None
    held: str | None = None


@dataclass(frozen=True)
class Plan:
    """Whether to read now, the cursor to keep, and why."""

    start: bool
    cursor: Asked
    reason: str


def plan(cursor: Asked, observed: Observed, now: datetime, every: timedelta) -> Plan:
    """Read at once what a person approved, what ran out of time, and what may begin; otherwise every so often, if anything ripened."""
    about = observed.running or observed.waiting or ""
    urgent = _urgent(observed)
    if urgent is not None:
        if (cursor.about, cursor.reason) == (about, urgent) and cursor.since(now) < AGAIN:
            return Plan(False, cursor, f"{urgent}: asked for a moment ago")
        return Plan(True, cursor.again(about, urgent, observed.ripe, now), urgent)
    if observed.running is None:
        return Plan(False, cursor, "nothing runs and nothing waits" if observed.waiting is None else f"in line, but {observed.held}")
    seen = cursor.seen if cursor.about == about else 0
    if observed.ripe <= seen:
        return Plan(False, cursor, f"nothing has ripened since {seen} outcomes")
    if cursor.about == about and cursor.since(now) < every:
        return Plan(False, cursor, f"{observed.ripe - seen} outcomes have ripened; read every {every}")
    reason = f"{observed.ripe - seen} outcomes have ripened"
    return Plan(True, cursor.again(about, reason, observed.ripe, now), reason)


def _urgent(observed: Observed) -> str | None:
    """What should be carried out at once."""
    if observed.approved:
        return "the promotion was approved"
    if observed.running is not None and observed.over:
        return "its time is up"
    if observed.running is None and observed.waiting is not None and observed.held is None:
        return "the experiment in line may begin"
    return None


def _observe(connection: "Connection", now: datetime) -> Observed:
    from litgo_pipelines.rollout import experiments, freezes, outcomes, states

    running, waiting = experiments.running(connection), experiments.waiting(connection)
    frozen, until = freezes.frozen(connection), states.cooldown_until(connection)
    held = f"frozen by {frozen.actor}" if frozen is not None else None
    if held is None and until is not None and until > now:
        held = f"cooling down until {until:%Y-%m-%d %H:%M} UTC"
    if running is None:
        return Observed(waiting=None if waiting is None else str(waiting.id), held=held)
    began = running.started_at or now
    return Observed(
        running=str(running.id),
        approved=running.status == "approval" and running.approved_by is not None,
        over=running.status == "running" and now - began >= timedelta(days=running.max_days),
        ripe=outcomes.ripe(connection, running, now),
        waiting=None if waiting is None else str(waiting.id),
        held=held,
    )


@dg.sensor(job=read_experiment, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def experiment_due(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Reads the running experiment every `LITGO_READOUT_MINUTES` if anything ripened, and begins the one in line."""
    cursor, now = Asked.parsed(context.cursor), datetime.now(UTC)
    if under_way(context.instance, READ_EXPERIMENT):
        return dg.SensorResult(skip_reason="a reading is under way", cursor=context.cursor)
    with project.connection() as connection:
        observed = _observe(connection, now)
    found = plan(cursor, observed, now, timedelta(minutes=project.settings.litgo_readout_minutes))
    if not found.start:
        return dg.SensorResult(skip_reason=found.reason, cursor=found.cursor.model_dump_json())
    return asked_for(found.cursor, READ_EXPERIMENT, now)
