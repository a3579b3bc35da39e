"""Starts `deliver_notifications` when a message is due that can be delivered, and now and then for those that must be given up."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from litgo_pipelines.orchestration.jobs import DELIVER_NOTIFICATIONS, deliver_notifications
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import Asked, Plan, asked_for, parsed, under_way

GIVE_UP_EVERY = timedelta(hours=1)
"""How long after any run another one is started that could only give messages up; each run gives up those that it finds."""

_DUE = "messages are due"
_HOPELESS = "messages can only be given up"


@dataclass(frozen=True)
class Observed:
    """What the sensor sees.

    Attributes:
        due: messages that a run could deliver.
        newest: id of the newest of them; None: there are none.
        hopeless: further messages that a run would only give up.
        waiting: messages in all that were not sent yet.
    """

    due: int = 0
    newest: int | None = None
    hopeless: int = 0
    waiting: int = 0


def plan(cursor: Asked, observed: Observed, now: datetime) -> Plan[Asked]:
    """At once for a message that no run was asked for; for the same ones again after a minute, then ever later, up to ten minutes.

    What can only be given up waits for the next of these runs, or for an hour.
    """
    if observed.newest is None and observed.hopeless:
        told = f"{observed.hopeless} {_HOPELESS}"
        if cursor.since(now) < GIVE_UP_EVERY:
            return Plan(False, cursor, f"{told}, which is done with the next delivery, or an hour after the last")
        return Plan(True, cursor.again("", _HOPELESS, now, observed.hopeless), told)
    if observed.newest is None:
        waits = f"{observed.waiting} messages wait, none of them is due and can be delivered" if observed.waiting else "nothing waits"
        return Plan(False, cursor, waits)
    about = str(observed.newest)
    if cursor.since(now) < cursor.pause(about, _DUE, urgent=True):
        return Plan(False, cursor, f"{observed.due} {cursor.told(about, _DUE, urgent=True)}")
    return Plan(True, cursor.again(about, _DUE, now, observed.due), f"{observed.due} {_DUE}")


def _observe(project: Project, now: datetime) -> Observed:
    from litgo_pipelines.casework.notifications import Reach, due, standing

    with project.connection() as connection:
        found = due(connection, Reach.of(project.settings), now, project.settings.litgo_notification_hours)
        waiting = sum(one.messages for one in standing(connection) if one.status in ("queued", "sending"))
    return Observed(found.messages, found.newest, found.hopeless, waiting)


@dg.sensor(job=deliver_notifications, minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def notifications_due(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Looks at the outbox every 15 s; where nothing is due no run is started, and where nobody can be reached one an hour at most."""
    cursor, now = parsed(Asked, context.cursor), datetime.now(UTC)
    if under_way(context.instance, DELIVER_NOTIFICATIONS):
        return dg.SensorResult(skip_reason="a delivery is under way", cursor=context.cursor)
    found = plan(cursor, _observe(project, now), now)
    return asked_for(found, DELIVER_NOTIFICATIONS, now)
