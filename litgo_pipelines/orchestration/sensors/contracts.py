"""Starts `process_contracts` when a contract is due: requested, out for signature for a while, or tried in vain a while ago."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from litgo_pipelines.orchestration.jobs import PROCESS_CONTRACTS, process_contracts
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import Asked, Plan, asked_for, parsed, under_way

EVERY = timedelta(minutes=1)
"""Between two runs at least."""
_DUE = "contracts are due"


@dataclass(frozen=True)
class Observed:
    """What the sensor sees.

    Attributes:
        due: contracts that a run would take up.
        since: when the first of them fell due; None: there are none.
    """

    due: int = 0
    since: datetime | None = None


def plan(cursor: Asked, observed: Observed, now: datetime) -> Plan[Asked]:
    """At once for what no run was asked for; where a run left the first one due, again after a minute, then later, up to ten minutes."""
    if observed.since is None:
        return Plan(False, cursor, "no contract is due")
    about = observed.since.astimezone(UTC).isoformat()
    if cursor.since(now) < cursor.pause(about, _DUE, urgent=True):
        return Plan(False, cursor, f"{observed.due} {cursor.told(about, _DUE, urgent=True)}")
    if cursor.since(now) < EVERY:
        return Plan(False, cursor, f"{observed.due} {_DUE}; a run was asked for less than a minute ago")
    return Plan(True, cursor.again(about, _DUE, now, observed.due), f"{observed.due} {_DUE}")


def _observe(project: Project, now: datetime) -> Observed:
    from litgo_pipelines.casework.contract_queue import due

    with project.connection() as connection:
        return Observed(*due(connection, now))


@dg.sensor(job=process_contracts, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def contracts_due(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Looks for contracts that are due every 30 s; envelopes that are out fall due ever more rarely, many of them together."""
    cursor, now = parsed(Asked, context.cursor), datetime.now(UTC)
    if under_way(context.instance, PROCESS_CONTRACTS):
        return dg.SensorResult(skip_reason="contracts are being processed", cursor=context.cursor)
    found = plan(cursor, _observe(project, now), now)
    return asked_for(found, PROCESS_CONTRACTS, now)
