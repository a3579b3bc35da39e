"""The nightly end of what is kept for a while only."""

from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.orchestration.resources import Project


@dg.asset(kinds={"postgres"}, group_name="housekeeping", owners=["team:data"])
def expired_records(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Logs and ledgers without the rows that are older than they are kept."""
    import structlog

    from litgo_pipelines.casework.retention import KEPT, expire

    with project.engine() as engine:
        found = expire(engine, datetime.now(UTC), lambda table, count: context.log.debug(f"{table}: {count} rows deleted"))
    structlog.get_logger(__name__).info("records expired", rows=dict(found))
    kept = "\n".join(["| table | kept | why |", "|---|---|---|", *(f"| {one.table} | {one.days} days | {one.why} |" for one in KEPT)])
    return dg.MaterializeResult(metadata={**found, "kept": dg.MetadataValue.md(kept)})


ASSETS = [expired_records]
