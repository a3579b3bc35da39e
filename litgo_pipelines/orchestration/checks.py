"""Asset checks. A verdict is shown, not enforced; only corrupt data blocks what comes after."""

from datetime import date

import dagster as dg

from litgo_pipelines.orchestration.assets.equity import equity_metrics
from litgo_pipelines.orchestration.assets.ranker import candidate_evaluation
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.rollout.handovers import EvaluationRef


@dg.asset_check(asset=equity_metrics, blocking=True)
def snapshot_is_complete(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """The run's snapshots hold every active lawyer, with a capacity of 1..30 and no negative load."""
    from litgo_pipelines.casework.equity_run import as_of_partition, snapshot_faults

    keys = context.op_execution_context.partition_keys if context.op_execution_context.has_partition_key else []
    with project.connection() as connection:
        faults = snapshot_faults(connection, [as_of_partition(date.fromisoformat(key)) for key in keys] or None)
    counts = {name: dg.MetadataValue.int(count) for name, count in faults.items()}
    return dg.AssetCheckResult(passed=not any(faults.values()), severity=dg.AssetCheckSeverity.ERROR, metadata=counts)


@dg.asset_check(asset=candidate_evaluation, blocking=False)
def candidate_passed_the_gate(candidate_evaluation: EvaluationRef) -> dg.AssetCheckResult:
    """Whether the candidate may replace the champion. Failing it is a verdict about the candidate, not a fault of the run."""
    return dg.AssetCheckResult(
        passed=candidate_evaluation.verdict == "pass",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"verdict": candidate_evaluation.verdict, "reasons": "; ".join(candidate_evaluation.reasons)},
    )


CHECKS = [snapshot_is_complete, candidate_passed_the_gate]
