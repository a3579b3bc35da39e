"""The price of load, refitted every week by replay."""

import dagster as dg

from litgo_pipelines.orchestration.assets.equity import GROUP, offer_distribution
from litgo_pipelines.orchestration.moment import Moment
from litgo_pipelines.orchestration.operations.staleness import WEEKLY
from litgo_pipelines.orchestration.resources import Project


@dg.asset(
    group_name=GROUP,
    deps=[offer_distribution],
    kinds={"postgres"},
    owners=["team:data"],
    tags={"litgo/serves": "fairness"},
    freshness_policy=WEEKLY,
)
def equity_price(context: dg.AssetExecutionContext, config: Moment, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The price of load in force: the smallest within reach that keeps Gini and gaps in a replay of the last 30 days.

    It moves by at most `LITGO_EQUITY_MAX_MOVE` a week, not while it is frozen (`litgo fairness price freeze`), and not when run as of
    an earlier moment. Serving follows within seconds. Too little data is a verdict; the price then stays.
    """
    import structlog

    from litgo_pipelines.casework.refit import refit_price
    from litgo_pipelines.orchestration.price_figures import refit_metadata

    registry, as_of = project.registry(), config.value()
    with project.engine() as engine:
        found = refit_price(
            engine,
            registry.answering(),
            project.settings,
            as_of,
            run_id=context.run.run_id,
            rehearse=config.as_of is not None,
            on_progress=lambda done, of: context.log.info(f"replayed {done:,} of {of:,} cases"),
        )
    structlog.get_logger(__name__).info(
        "price of load refitted", run_id=context.run.run_id, verdict=found.verdict, before=found.before, after=found.after
    )
    return dg.MaterializeResult(metadata=refit_metadata(found, as_of, project.settings))


ASSETS = [equity_price]
