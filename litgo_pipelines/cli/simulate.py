"""`litgo simulate`: a marketplace to look at, made up but driven by the product's own matching."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.run import AsOf
from litgo_pipelines.settings import LitgoError, Settings, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.marketplace.database import Services
    from litgo_pipelines.simulation.engine import Plan, Progress


def simulate(
    lawyers: Annotated[int, typer.Option(min=1, max=100_000, help="Lawyers of a new marketplace.")] = 2000,
    days: Annotated[float, typer.Option(min=0.01, max=3650, help="Days a new marketplace has lived until now.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and time make the same rows.")] = 7,
    utilisation: Annotated[float, typer.Option(min=0.05, max=1.5, help="Demand as a share of all lawyers' capacity.")] = 0.6,
    as_of: AsOf = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Let a simulated marketplace live until now.

    An empty database gets a new one; a simulated one lives on for the time that has passed, with its own lawyers and seed.
    A database with rows that the simulator did not make is refused.

    Example: `litgo simulate --lawyers 500 --days 30 --seed 1`
    """
    from litgo_pipelines.marketplace.database import services_for
    from litgo_pipelines.simulation.engine import Plan

    if as_of is not None and as_of > datetime.now(UTC):
        raise LitgoError(f"--as-of {as_of.isoformat()} lies in the future")
    settings = get_settings()
    services = services_for(settings)
    with progress_bar("simulating") as show:
        progress = simulate_until(settings, services, Plan(lawyers, days, seed, utilisation), as_of or datetime.now(UTC), show)
    if as_json:
        typer.echo(json.dumps(asdict(progress)))
    else:
        typer.echo(
            f"{progress.lawyers:,} lawyers; {progress.days_done:.2f} days: {progress.cases:,} cases, {progress.offers:,} offers, "
            f"{progress.contracts:,} contracts, {progress.reviews:,} reviews"
        )


def simulate_until(settings: Settings, services: Services, plan: Plan, as_of: datetime, show: Callable[[Progress], None]) -> Progress:
    """Simulate with the ranker that answers now and the price of load in force.

    Raises:
        NotSimulated: the database holds rows that the simulator did not make.
        DatabaseError: the schema is not that of this code, or the roles are missing.
    """
    from litgo_pipelines.casework.prices import offer_rule
    from litgo_pipelines.marketplace.database import SIMULATOR_ROLE, ensure_schema, open_engine, require_role
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.simulation.engine import Conduct
    from litgo_pipelines.simulation.engine import simulate as live

    ensure_schema(settings, services.database)
    require_role(services.database, SIMULATOR_ROLE)
    ranker = Registry(services.mlflow, settings.litgo_home / "models").answering()
    engine = open_engine(services.database, SIMULATOR_ROLE)
    try:
        with engine.connect() as connection:
            rule = offer_rule(connection, settings)
        lifetime = timedelta(hours=settings.litgo_offer_hours)
        conduct = Conduct(ranker, rule, settings.litgo_new_lawyer_offers, lifetime, settings.litgo_recorded_candidates)
        return live(engine, plan, conduct, as_of, show)
    finally:
        engine.dispose()


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr that shows the days lived and what they brought."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None, told="")

        def show(progress: object) -> None:
            from litgo_pipelines.simulation.engine import Progress as Lived

            assert isinstance(progress, Lived)
            told = f"day {progress.days_done:.0f} of {progress.days:.0f}, {progress.cases:,} cases, {progress.reviews:,} reviews"
            bar.update(task, total=max(progress.days, 1e-9), completed=progress.days_done, told=told)

        yield show
