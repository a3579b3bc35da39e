"""Starts `move_offers` when an offer's time is up, a case waits for the next lawyers, or one is offered on no more."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from litgo_pipelines.orchestration.jobs import MOVE_OFFERS, move_offers
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import Asked, Plan, asked_for, parsed, under_way

EVERY = timedelta(minutes=2)
"""Between two runs at least. With a tick and the start of a run, an offer past its time runs out within five minutes."""


@dataclass(frozen=True)
class Observed:
    """What the sensor sees.

    Attributes:
        overdue: offers past their time, interest that lapses included.
        waiting: cases that are to be offered on.
        in_vain: cases that nobody was left for when they last were.
        digest: of what all of these are; the same while nothing changes.
        dropped: cases that are offered on no more, which the operators are to be told.
    """

    overdue: int = 0
    waiting: int = 0
    in_vain: int = 0
    digest: str = ""
    dropped: int = 0


def plan(cursor: Asked, observed: Observed, now: datetime) -> Plan[Asked]:
    """Every two minutes while there is something new to do; what runs did not bring about is tried ever more rarely.

    Cases that nobody is left for are tried again as well, for somebody may have joined, but pause longest.
    """
    due = [f"{observed.overdue} offers are past their time"] if observed.overdue else []
    due += [f"{observed.waiting} cases wait for the next lawyers"] if observed.waiting else []
    due += [f"{observed.dropped} cases dropped out"] if observed.dropped else []
    vain = [f"nobody was left for {observed.in_vain} cases"] if observed.in_vain else []
    if not due and not vain:
        return Plan(False, cursor, "no offer is past its time, and no case waits")
    reason, urgent = ", ".join(due or vain), bool(due)
    if cursor.since(now) < max(EVERY, cursor.pause(observed.digest, reason, urgent=urgent)):
        same = (cursor.about, cursor.reason) == (observed.digest, reason)
        return Plan(False, cursor, cursor.told(observed.digest, reason, urgent=urgent) if same else f"{reason}; looked at every {EVERY}")
    return Plan(True, cursor.again(observed.digest, reason, now), reason)


def _observe(project: Project, now: datetime) -> Observed:
    from litgo_pipelines.casework.next_offers import Terms, dropped_out, waiting
    from litgo_pipelines.casework.offers import lapsed, overdue

    terms = Terms.of(project.settings)
    with project.connection() as connection:
        late = [overdue(connection, now), lapsed(connection, now, terms.interest)]
        found = waiting(connection, now, terms)
        dropped = dropped_out(connection, now, terms)
    told = [f"{one.oldest.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}" for one in late if one.oldest is not None]
    told += [found.digest, *(str(one.id) for one in dropped[:1])]
    return Observed(sum(one.offers for one in late), found.cases, found.in_vain, " ".join(told).strip(), len(dropped))


@dg.sensor(job=move_offers, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def offers_due(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Lets offers past their time end within five minutes, offers cases that nobody took on, and tells of those that dropped out."""
    cursor, now = parsed(Asked, context.cursor), datetime.now(UTC)
    if under_way(context.instance, MOVE_OFFERS):
        return dg.SensorResult(skip_reason="offers are being moved", cursor=context.cursor)
    found = plan(cursor, _observe(project, now), now)
    return asked_for(found, MOVE_OFFERS, now)
