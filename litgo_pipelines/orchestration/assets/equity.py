"""The nightly equity figures, and what they say of the distribution of offers, as daily partitioned assets."""

from datetime import date
from typing import Any

import dagster as dg

from litgo_pipelines.casework.equity_run import RUN_AT, TIMEZONE, as_of_partition
from litgo_pipelines.orchestration.operations.staleness import NIGHTLY
from litgo_pipelines.orchestration.resources import Project

FIRST_DAY = "2025-01-01"
GROUP = "equity"

_OWNERS = ["team:data"]
_TAGS = {"litgo/serves": "fairness"}
_RETRIES = dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL)

# A day's partition ends at 02:00 of the next one, which is when it is taken.
DAYS = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone=str(TIMEZONE), hour_offset=RUN_AT.hour)


@dg.asset(
    group_name=GROUP,
    partitions_def=DAYS,
    kinds={"postgres"},
    owners=_OWNERS,
    tags=_TAGS,
    retry_policy=_RETRIES,
    freshness_policy=NIGHTLY,
)
def equity_metrics(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Per lawyer, as of 02:00 after the day: `cases_30d`, `capacidade_mensal`, `last_offered_at`, and one snapshot row.

    The newest day writes the current columns of `lawyers`; an older one, run again or filled in, writes its snapshot alone.
    """
    import structlog

    from litgo_pipelines.casework.equity_run import run_equity, utilisation
    from litgo_pipelines.equity.inequality import gini

    as_of = as_of_partition(date.fromisoformat(context.partition_key))
    with project.engine() as engine:
        run = run_equity(engine, as_of, new_lawyer_offers=project.settings.litgo_new_lawyer_offers)
        with engine.connect() as connection:
            used = utilisation(connection, as_of)
    metadata: dict[str, Any] = {
        "as_of": dg.MetadataValue.timestamp(as_of),
        "rows_read": run.rows_read,
        "rows_changed": run.rows_changed,
        "snapshot_rows": run.snapshot_rows,
        "lawyers_eligible": len(used),
        "current_columns_written": run.newest,
        "seconds": run.seconds,
    }
    if len(used):
        metadata["gini_utilisation"] = gini(used)
        metadata["mean_utilisation"] = float(used.mean())
    shown = {name: value for name, value in metadata.items() if isinstance(value, int | float)}
    structlog.get_logger(__name__).info("equity figures written", partition=context.partition_key, run_id=context.run.run_id, **shown)
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    group_name=GROUP,
    partitions_def=DAYS,
    deps=[equity_metrics],
    kinds={"postgres"},
    owners=_OWNERS,
    tags=_TAGS,
    retry_policy=_RETRIES,
    freshness_policy=NIGHTLY,
)
def offer_distribution(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """How cases and offers of the day's last 30 days were spread over the lawyers: inequality, gaps between groups, who was left out.

    Counted are the active lawyers of the day's snapshot who were eligible in at least one area with demand, idle ones included.
    The figures are defined in `litgo_pipelines.equity.distribution`, and kept in the table `equity_reports`.
    """
    import structlog

    from litgo_pipelines.casework.distribution import NoSnapshot, Terms, limits_of, read_overview, reports, write_report
    from litgo_pipelines.orchestration.figures import overview_metadata

    as_of = as_of_partition(date.fromisoformat(context.partition_key))
    terms = Terms.of(project.settings)
    try:
        with project.connection() as connection:
            overview = read_overview(connection, as_of, terms)
    except NoSnapshot as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    with project.engine() as engine:
        with engine.begin() as connection:
            write_report(connection, overview.report)
        with engine.begin() as connection:
            trend = reports(connection, as_of, terms)
    known = {name: value for name, value in overview.report.distribution.figures().items() if value is not None}
    structlog.get_logger(__name__).info("distribution reported", partition=context.partition_key, run_id=context.run.run_id, **known)
    return dg.MaterializeResult(metadata=overview_metadata(overview, trend, limits_of(project.settings)))


ASSETS = [equity_metrics, offer_distribution]
