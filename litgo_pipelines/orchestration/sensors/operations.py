"""Tells the operators by mail of failed runs, missed ticks, failed checks and stale assets.

An ordinary polling sensor, and no run-status sensor: the cursor of one of those moves on even where its code raises, and what happened
while the marketplace's database was away would be lost. Here the outbox is written first. The cursor follows where that succeeded; a tick
that fails, or dies in between, is made again from the same cursor, plans messages with the same keys, and nothing is told twice.

It cannot tell that Dagster's daemon is dead, nor that itself fails: Prometheus does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.orchestration.operations import failures, punctuality, staleness, verdicts
from litgo_pipelines.orchestration.operations.messages import Links, Message, tell_all
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import parsed

NAME = "operations_watch"


class Cursor(BaseModel):
    """What was told and seen of each; see the modules of `operations`."""

    model_config = ConfigDict(frozen=True)

    runs: failures.Failures = failures.Failures()
    ticks: punctuality.Punctuality = punctuality.Punctuality()
    checks: Mapping[str, verdicts.Standing] = {}
    stale: Mapping[str, datetime] = {}


@dataclass(frozen=True)
class Looked:
    """The cursor after a look, and what is to be told before it is kept."""

    cursor: Cursor
    messages: list[Message]


def look(cursor: Cursor, instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, links: Links, now: datetime) -> Looked:
    """What is to be told of Dagster as of `now`. Reads Dagster's instance, writes nothing."""
    graph = repository.asset_graph
    policies = {key: policy for key in graph.get_all_asset_keys() if (policy := graph.get(key).freshness_policy) is not None}
    failed, of_runs = failures.look(cursor.runs, instance, links, now)
    punctual, of_ticks = punctuality.look(cursor.ticks, instance, repository, links, now, own=NAME)
    checks, of_checks = verdicts.look(cursor.checks, instance, sorted(graph.asset_check_keys), links)
    stale, of_assets = staleness.look(cursor.stale, instance, policies, links)
    after = Cursor(runs=failed, ticks=punctual, checks=checks, stale=stale)
    return Looked(after, [*of_runs, *of_ticks, *of_checks, *of_assets])


@dg.sensor(name=NAME, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def operations_watch(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Looks every minute at what Dagster did, and puts into the outbox what the operators should know."""
    assert context.repository_def is not None
    now = datetime.now(UTC)
    found = look(parsed(Cursor, context.cursor), context.instance, context.repository_def, Links(project.settings.dagster_url), now)
    if found.messages:
        with project.engine() as engine, engine.begin() as connection:
            tell_all(connection, found.messages, now)
    told = "; ".join(one.subject for one in found.messages) or "nothing to tell"
    return dg.SensorResult(skip_reason=told, cursor=found.cursor.model_dump_json())
