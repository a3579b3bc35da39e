"""What happens to offers by themselves: those whose time is up end, and cases without a live one go to the next lawyers."""

from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.orchestration.resources import Project

GROUP = "offers"


@dg.asset(kinds={"postgres", "mlflow"}, group_name=GROUP, owners=["team:data"], tags={"litgo/serves": "matching"})
def offer_rounds(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Offers past their time run out and old interest lapses, which frees lawyers; then cases that nobody took go to the next lawyers.

    The operators are told of each case for which nobody is left, and of each that is offered on no more. A run that is repeated does
    nothing twice.
    """
    import structlog

    from litgo_pipelines.casework.next_offers import Terms, offer_next, tell_dropped
    from litgo_pipelines.casework.offers import expire_all, lapse_all

    terms = Terms.of(project.settings)
    with project.engine() as engine:
        expired = expire_all(engine, datetime.now(UTC))
        lapsed = lapse_all(engine, datetime.now(UTC), terms.interest)
        context.log.info(f"{expired} offers ran out, and {lapsed} lawyers' interest lapsed")
        with engine.begin() as connection:
            dropped = tell_dropped(connection, datetime.now(UTC), terms)
        found = offer_next(engine, project.registry(), project.settings, clock=lambda: datetime.now(UTC))
    structlog.get_logger(__name__).info("offers moved", run_id=context.run.run_id, expired=expired, lapsed=lapsed, offers=found.offers)
    cases = found.cases
    return dg.MaterializeResult(
        metadata={
            "offers_expired": expired,
            "interests_lapsed": lapsed,
            "cases_that_dropped_out": dropped,
            "cases_offered_on": cases["offered"],
            "offers_made": found.offers,
            "cases_nobody_is_left_for": cases["nobody left"],
            "cases_that_wait_no_more": cases["waits no more"],
            "cases_left_for_the_next_run": cases["too busy"],
            "model_version": found.model_version or "nobody had to be answered",
        }
    )


ASSETS = [offer_rounds]
