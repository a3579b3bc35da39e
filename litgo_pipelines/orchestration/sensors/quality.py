"""Starts `watch_champion` at once when the champion is degraded, and otherwise every `DEGRADATION_WINDOW` if it decided anything."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg

from litgo_pipelines.orchestration.jobs import WATCH_CHAMPION, watch_champion
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import Asked, Plan, asked_for, parsed, under_way

_DECISIONS = "new decisions"


@dataclass(frozen=True)
class Observed:
    """What the sensor sees.

    Attributes:
        version: that is watched; None: none is.
        decisions: of it so far.
        verdict: of the watch.
        held: why it may not be rolled back by itself; None: nothing stands against it.
    """

    version: str | None
    decisions: int = 0
    verdict: Literal["healthy", "degraded", "insufficient data"] = "insufficient data"
    held: str | None = None


def plan(cursor: Asked, observed: Observed, now: datetime, window: timedelta) -> Plan[Asked]:
    """At once when degraded, again soon while it still is, and ever more rarely while it is held; every window else, if there is news."""
    if observed.version is None:
        return Plan(False, cursor, "nothing is watched: no version is champion")
    if observed.verdict == "degraded":
        # Once nothing holds it any more the reason is another one, which is asked for at once.
        urgent = observed.held is None
        degraded = "degraded" if urgent else f"degraded, but {observed.held}"
        if cursor.since(now) < cursor.pause(observed.version, degraded, urgent=urgent):
            return Plan(False, cursor, f"version {observed.version} is {cursor.told(observed.version, degraded, urgent=urgent)}")
        return Plan(True, cursor.again(observed.version, degraded, now, observed.decisions), degraded)
    known = cursor.about == observed.version
    new = observed.decisions - (cursor.seen if known else 0)
    if new <= 0:
        return Plan(False, cursor, f"version {observed.version} has decided nothing new")
    if known and cursor.since(now) < window:
        return Plan(False, cursor, f"version {observed.version}: {observed.verdict}, {new} new decisions; looked at every {window}")
    return Plan(True, cursor.again(observed.version, _DECISIONS, now, observed.decisions), f"{new} {_DECISIONS}")


def _observe(project: Project, now: datetime) -> Observed:
    from litgo_pipelines.rollout import freezes
    from litgo_pipelines.rollout.watch import judge_watch
    from litgo_pipelines.rollout.watching import look_at_quality

    with project.connection() as connection:
        found = look_at_quality(connection, project.settings, now, with_features=False)
        frozen = freezes.frozen(connection)
    if found is None:
        return Observed(None)
    state, quality = found
    held = None if frozen is None else f"frozen by {frozen.actor}"
    return Observed(state.version, quality.decisions, judge_watch(quality.evidence).verdict, held)


@dg.sensor(job=watch_champion, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def champion_watch(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Looks at the champion's newest decisions; a degraded champion is rolled back by the run that this asks for."""
    cursor, now = parsed(Asked, context.cursor), datetime.now(UTC)
    if under_way(context.instance, WATCH_CHAMPION):
        return dg.SensorResult(skip_reason="a look is under way", cursor=context.cursor)
    found = plan(cursor, _observe(project, now), now, timedelta(hours=project.settings.degradation_window))
    return asked_for(found, WATCH_CHAMPION, now)
