"""What watches over the models: the reading of the running experiment, and the champion's quality."""

from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.orchestration.assets.ranker import promotion
from litgo_pipelines.orchestration.resources import Project

GROUP = "rollout"
_OWNERS = ["team:data"]
_TAGS = {"litgo/serves": "ranking"}


class Approval(dg.Config):
    """Approving a promotion in the launchpad, where `LITGO_PROMOTION` is `approve`.

    Attributes:
        approved_by: who approves; empty: nobody.
        approval_reason: why, for whoever reads the history.
    """

    approved_by: str = ""
    approval_reason: str = ""


@dg.asset(kinds={"postgres", "mlflow"}, group_name=GROUP, owners=_OWNERS, tags=_TAGS, deps=[promotion])
def experiment_readout(context: dg.AssetExecutionContext, config: Approval, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What the running experiment shows by now, with the verdict carried out: promote, stop for harm, ramp, or go on.

    Under `LITGO_PROMOTION=approve` a winner waits for a person (`litgo experiment approve`, or the job's launchpad); harm stops at once.
    """
    import structlog

    from litgo_pipelines.casework.distribution import Terms, gini_since
    from litgo_pipelines.orchestration.rollout_figures import readout_metadata
    from litgo_pipelines.rollout.experiments import approve, running
    from litgo_pipelines.rollout.readings import past_readings
    from litgo_pipelines.rollout.trials import read_experiment

    with project.engine() as engine:
        if config.approved_by:
            with engine.begin() as connection:
                approve(connection, by=config.approved_by, reason=config.approval_reason, at=datetime.now(UTC))
        with engine.connect() as connection:
            trial, now = running(connection), datetime.now(UTC)
            began = now if trial is None or trial.started_at is None else trial.started_at
            gini = gini_since(connection, began, now, Terms.of(project.settings))
        found = read_experiment(
            engine, project.registry(), project.settings, gini=gini, clock=lambda: datetime.now(UTC), run_id=context.run.run_id
        )
        with engine.connect() as connection:
            past = [] if found.experiment is None else past_readings(connection, found.experiment.id)
    # What was done, and why, stands in the asset's metadata alone: it may name people, as who froze the models.
    trial = found.experiment
    structlog.get_logger(__name__).info(
        "experiment read",
        run_id=context.run.run_id,
        experiment=None if trial is None else str(trial.id),
        model_version=None if trial is None else trial.challenger,
        verdict=None if found.result is None else found.result.verdict,
    )
    return dg.MaterializeResult(metadata=readout_metadata(found, past))


_HEALTHY = dg.AssetCheckSpec(
    "champion_is_healthy",
    asset="model_quality",
    description="The champion does as well as in its own first decisions. Only a degraded one fails; insufficient data pass, and say so.",
)


@dg.asset(kinds={"postgres", "mlflow"}, group_name=GROUP, owners=_OWNERS, tags=_TAGS, deps=[promotion], check_specs=[_HEALTHY])
def model_quality(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """How the champion does against its own first decisions: match scores, kept promises, drift of features.

    Degraded: people are told, the last proven version answers again, the champion is blocked. Frozen (`litgo model freeze`): told only.
    """
    import structlog

    from litgo_pipelines.orchestration.rollout_figures import quality_metadata
    from litgo_pipelines.rollout.watching import watch_champion

    with project.engine() as engine:
        found = watch_champion(engine, project.registry(), project.settings, clock=lambda: datetime.now(UTC), run_id=context.run.run_id)
    verdict = "insufficient data" if found.result is None else found.result.verdict
    reasons = ["nothing is watched"] if found.result is None else found.result.reasons
    structlog.get_logger(__name__).info("champion watched", run_id=context.run.run_id, model_version=found.version, verdict=verdict)
    check = dg.AssetCheckResult(
        check_name=_HEALTHY.name,
        # Neither pass nor fail, but Dagster knows no third: a champion is not degraded because it is young.
        passed=verdict != "degraded",
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{verdict}: {'; '.join(reasons)}",
        metadata={"verdict": verdict},
    )
    return dg.MaterializeResult(metadata=quality_metadata(found, project.settings), check_results=[check])


ASSETS = [experiment_readout, model_quality]
