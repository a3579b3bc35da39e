"""The vectors of cases and lawyers in every space, and how good they are where no vendor answers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from litgo_pipelines.orchestration.resources import Project

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.casework.embedding import Embedding, Refreshed
    from litgo_pipelines.marketplace.vectors import Entity

GROUP = "embeddings"
_OWNERS = ["team:data"]
_TAGS = {"litgo/serves": "ranking"}


@dg.asset(kinds={"postgres"}, group_name=GROUP, owners=_OWNERS, tags=_TAGS)
def case_embeddings(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The vectors of all cases in every space: those that are missing, or were made of another text, are made.

    Each batch is kept as it is done. A vendor that does not answer keeps the local space from nothing, and its own is filled up later.
    """
    from litgo_pipelines.casework.embedding import refresh_cases

    return _refreshed(context, project, "case", refresh_cases)


@dg.asset(kinds={"postgres"}, group_name=GROUP, owners=_OWNERS, tags=_TAGS, deps=[case_embeddings])
def lawyer_embeddings(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The vectors of lawyers in every space: the mean of those of the cases they handled lately, as unit vectors."""
    from litgo_pipelines.casework.embedding import refresh_lawyers

    return _refreshed(context, project, "lawyer", refresh_lawyers)


def _refreshed(
    context: dg.AssetExecutionContext,
    project: Project,
    entity: "Entity",
    refresh: "Callable[[Engine, Embedding, datetime], Sequence[Refreshed]]",
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    import structlog

    from litgo_pipelines.casework.embedding import coverage
    from litgo_pipelines.orchestration.embedding_figures import refresh_metadata

    with _embedding(project) as (engine, embedding):
        now = datetime.now(UTC)
        found = refresh(engine, embedding, now)
        with engine.connect() as connection:
            covered = coverage(connection, embedding.spaces, entity, now)
    for one in found:
        context.log.info(f"{one.space}: {one.new:,} new, {one.outdated:,} outdated" + (f"; {one.trouble}" if one.trouble else ""))
    structlog.get_logger(__name__).info(
        "texts embedded",
        run_id=context.run.run_id,
        entity=entity,
        spaces=embedding.spaces,
        written=sum(one.new + one.outdated for one in found),
    )
    return dg.MaterializeResult(metadata=refresh_metadata(embedding, found, covered))


@dg.asset_check(asset=case_embeddings, blocking=False)
def fallback_quality(project: Project) -> dg.AssetCheckResult:
    """Without a vendor the labelled examples are found at least nine tenths as well as with it, and never worse than by words alone.

    By their stored vectors: a model is asked for those alone that are missing.
    """
    from litgo_pipelines.casework.embedding_quality import labelled_examples, measure, with_kept_examples
    from litgo_pipelines.orchestration.embedding_figures import quality_metadata

    with _embedding(project) as (engine, embedding):
        found = measure(with_kept_examples(embedding, engine, datetime.now(UTC)), labelled_examples())
    told = f"{found.fallback}: NDCG@10 {found.of(found.fallback):.3f} on the labelled examples"
    return dg.AssetCheckResult(
        passed=not found.faults,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(found.faults) or told,
        metadata=quality_metadata(found),
    )


@contextmanager
def _embedding(project: Project) -> "Iterator[tuple[Engine, Embedding]]":
    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    with project.engine() as engine:
        yield engine, Embedding.of(project.settings, PostgresCallLedger(engine))


ASSETS = [case_embeddings, lawyer_embeddings]
CHECKS = [fallback_quality]
