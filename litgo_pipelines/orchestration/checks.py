"""Asset checks. A verdict is shown, not enforced; only corrupt data blocks what comes after."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import dagster as dg

from litgo_pipelines.orchestration.assets.equity import equity_metrics, offer_distribution
from litgo_pipelines.orchestration.assets.ranker import candidate_evaluation
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.rollout.handovers import EvaluationRef

if TYPE_CHECKING:
    from litgo_pipelines.casework.distribution import Report
    from litgo_pipelines.equity.promises import Judgement, Limits


@dg.asset_check(asset=equity_metrics, blocking=True)
def snapshot_is_complete(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """The run's snapshots hold every active lawyer, each person once, with a capacity of 1..30 and no negative load."""
    from litgo_pipelines.casework.equity_run import as_of_partition, snapshot_faults

    with project.connection() as connection:
        faults = snapshot_faults(connection, [as_of_partition(date.fromisoformat(key)) for key in _days(context)] or None)
    counts = {name: dg.MetadataValue.int(count) for name, count in faults.items()}
    return dg.AssetCheckResult(passed=not any(faults.values()), severity=dg.AssetCheckSeverity.ERROR, metadata=counts)


@dg.asset_check(asset=offer_distribution, blocking=False)
def gini_within_limit(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """The Gini of utilisation over the lawyers who count lies below the limit."""
    from litgo_pipelines.equity.promises import judge_gini

    report, limits = _judged(context, project)
    return _verdict(judge_gini(report.distribution, limits))


@dg.asset_check(asset=offer_distribution, blocking=False)
def most_lawyers_offered(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """More of the lawyers who count than the limit received an offer in the 30 days."""
    from litgo_pipelines.equity.promises import judge_offered

    report, limits = _judged(context, project)
    return _verdict(judge_offered(report.distribution, limits))


def _gap_check(name: str, figure: str) -> dg.AssetChecksDefinition:
    """A check of one of the gaps in mean utilisation."""
    from litgo_pipelines.equity.promises import GAPS, judge_gaps

    @dg.asset_check(
        asset=offer_distribution,
        name=name,
        blocking=False,
        description=f"Mean utilisation differs by no more than the limit between {GAPS[figure]}.",
    )
    def check(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
        report, limits = _judged(context, project)
        (found,) = (one for one in judge_gaps(report.distribution, limits, report.smallest) if one.figure == figure)
        return _verdict(found, smallest_possible=report.smallest.gap if figure == "gap_area" else None)

    return check


area_gap_within_limit = _gap_check("area_gap_within_limit", "gap_area")
capacity_gap_within_limit = _gap_check("capacity_gap_within_limit", "gap_capacity")
newcomer_gap_within_limit = _gap_check("newcomer_gap_within_limit", "gap_new")


def _judged(context: dg.AssetCheckExecutionContext, project: Project) -> "tuple[Report, Limits]":
    """The report of the run's day (without a day: of the newest snapshot), and the limits."""
    from litgo_pipelines.casework.distribution import Terms, limits_of, newest_snapshot, report_of
    from litgo_pipelines.casework.equity_run import as_of_partition

    days = _days(context)
    with project.connection() as connection:
        as_of = as_of_partition(date.fromisoformat(days[-1])) if days else newest_snapshot(connection, datetime.now(UTC))
        return report_of(connection, as_of, Terms.of(project.settings)), limits_of(project.settings)


def _verdict(found: "Judgement", smallest_possible: float | None = None) -> dg.AssetCheckResult:
    """Warns unless it passes."""
    numbers = {"figure": found.value, "limit": found.limit, "smallest_possible": smallest_possible}
    return dg.AssetCheckResult(
        passed=found.verdict == "pass",
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found.verdict}: {found.reason}",
        metadata={
            "verdict": dg.MetadataValue.text(found.verdict),
            **{name: dg.MetadataValue.float(value) for name, value in numbers.items() if value is not None},
        },
    )


@dg.asset_check(asset=candidate_evaluation, blocking=False)
def candidate_passed_the_gate(candidate_evaluation: EvaluationRef) -> dg.AssetCheckResult:
    """Whether the candidate may replace the champion. Failing it is a verdict about the candidate, not a fault of the run."""
    return dg.AssetCheckResult(
        passed=candidate_evaluation.verdict == "pass",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"verdict": candidate_evaluation.verdict, "reasons": "; ".join(candidate_evaluation.reasons)},
    )


def _days(context: dg.AssetCheckExecutionContext) -> Sequence[str]:
    """The partitions of the run; none where the check was started by itself."""
    return context.op_execution_context.partition_keys if context.op_execution_context.has_partition_key else ()


CHECKS = [
    snapshot_is_complete,
    gini_within_limit,
    most_lawyers_offered,
    area_gap_within_limit,
    capacity_gap_within_limit,
    newcomer_gap_within_limit,
    candidate_passed_the_gate,
]
