"""The nightly equity figures as a daily partitioned asset."""

from datetime import date
from typing import Any

import dagster as dg

from litgo_pipelines.casework.equity_run import RUN_AT, TIMEZONE, as_of_partition
from litgo_pipelines.orchestration.resources import Project

FIRST_DAY = "2025-01-01"
GROUP = "equity"

# A day's partition ends at 02:00 of the next one, which is when it is taken.
DAYS = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone=str(TIMEZONE), hour_offset=RUN_AT.hour)


@dg.asset(
    group_name=GROUP,
    partitions_def=DAYS,
    kinds={"postgres"},
    owners=["team:data"],
    tags={"litgo/serves": "fairness"},
    retry_policy=dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL),
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
        from litgo_pipelines.orchestration.pictures import inline_png, lorenz_png

        metadata["gini_utilisation"] = gini(used)
        metadata["mean_utilisation"] = float(used.mean())
        metadata["lorenz_curve"] = inline_png(lorenz_png(used), "Lorenz curve of utilisation")
    shown = {name: value for name, value in metadata.items() if isinstance(value, int | float)}
    structlog.get_logger(__name__).info("equity figures written", partition=context.partition_key, run_id=context.run.run_id, **shown)
    return dg.MaterializeResult(metadata=metadata)


ASSETS = [equity_metrics]
