"""What the operators are told of a week, whatever happened."""

from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.orchestration.moment import Moment
from litgo_pipelines.orchestration.resources import Project

GROUP = "digest"

_RETRIES = dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL)


@dg.asset(
    kinds={"postgres"},
    group_name=GROUP,
    owners=["team:data"],
    tags={"litgo/serves": "people"},
    retry_policy=_RETRIES,
)
def weekly_digest(context: dg.AssetExecutionContext, config: Moment, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The digest of the last seven days, in Portuguese: what needs a person, fairness, models, experiments, vendors, messages, jobs.

    It is queued for the operators once an ISO week; a run that is repeated shows the newest figures and queues nothing.
    """
    import structlog

    from litgo_pipelines.casework.digest import read_digest, send_digest
    from litgo_pipelines.casework.digest_text import as_markdown, as_text, subject

    with project.engine() as engine:
        found = read_digest(engine, project.settings, config.value())
        with engine.begin() as connection:
            queued = send_digest(connection, found, subject(found), as_text(found, project.settings.dagster_url), datetime.now(UTC))
    structlog.get_logger(__name__).info("weekly digest", run_id=context.run.run_id, key=found.key, queued=queued)
    return dg.MaterializeResult(
        metadata={"digest": dg.MetadataValue.md(as_markdown(found)), "key": found.key, "as_of": found.until.isoformat(), "queued": queued}
    )


ASSETS = [weekly_digest]
