"""Follows the registry: what a person did in MLflow is recorded, and each decision is shown in the UI and as a tag in MLflow."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.orchestration.assets.ranker import CHAMPION
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import parsed

if TYPE_CHECKING:
    from litgo_pipelines.rollout.decisions import Decision

MOST_SHOWN = 200
"""Decisions that one tick shows at most; the next ones follow with the next tick."""


class Cursor(BaseModel):
    """The number of the newest decision that was shown."""

    model_config = ConfigDict(frozen=True)

    shown: int = 0


def observation(decision: "Decision") -> dg.AssetObservation:
    """A decision as the UI shows it, at the asset `champion`."""
    shown: dict[str, Any] = {
        "decision": decision.id,
        "action": decision.action,
        "stage": decision.stage,
        "actor": decision.actor,
        "from": decision.from_version or "hand-weights",
        "to": decision.to_version or "hand-weights",
        "reason": decision.reason,
        "decided_at": dg.MetadataValue.timestamp(decision.decided_at),
        "evidence": dg.MetadataValue.text(f"litgo model show {decision.id}"),
    }
    if decision.result is not None:
        shown["result"] = decision.result
    if decision.dagster_run_id is not None:
        shown["run"] = dg.MetadataValue.dagster_run(decision.dagster_run_id)
    return dg.AssetObservation(CHAMPION, description=decision.told(), metadata=shown)


def _log(decision: "Decision") -> None:
    """One line for what came of a decision; who and why stands with it in the history, for names and words of people belong in no log."""
    import structlog

    if decision.stage == "outcome":
        structlog.get_logger(__name__).info(
            "decided",
            decision=decision.id,
            action=decision.action,
            result=decision.result,
            from_version=decision.from_version,
            to_version=decision.to_version,
            by=decision.by,
            run_id=decision.dagster_run_id,
            decided_at=decision.decided_at.isoformat(),
        )


@dg.sensor(asset_selection=dg.AssetSelection.assets(CHAMPION), minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def registry_changes(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Compares MLflow's alias `champion` with what is recorded, every 15 s; finishes what a crash left half done."""
    from litgo_pipelines.rollout.decisions import earliest_after
    from litgo_pipelines.rollout.reconcile import reconcile
    from litgo_pipelines.rollout.transitions import publish_tags

    cursor, registry = parsed(Cursor, context.cursor), project.registry()
    with project.engine() as engine:
        found = reconcile(engine, registry, clock=lambda: datetime.now(UTC))
        with engine.connect() as connection:
            fresh = earliest_after(connection, cursor.shown, MOST_SHOWN)
            tagged = publish_tags(connection, registry)
    for one in fresh:
        _log(one)
    if not fresh:
        told = f"champion: {found.champion or 'hand-weights'}; {found.alias.kind}; {tagged} tags"
        return dg.SensorResult(skip_reason=told, cursor=cursor.model_dump_json())
    return dg.SensorResult(
        asset_events=[observation(one) for one in fresh], cursor=Cursor(shown=max(one.id for one in fresh)).model_dump_json()
    )
