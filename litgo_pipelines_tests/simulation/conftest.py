"""A small simulated marketplace, made once and cloned for each test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from litgo_pipelines.simulation.engine import Conduct, Plan, Progress
    from litgo_pipelines_tests.conftest import Databases

AS_OF = datetime(2026, 3, 10, 15, tzinfo=UTC)
LAWYERS, DAYS, SEED = 80, 20.0, 3
HIDDEN = "simulation_truth"


def plan(**changes: Any) -> Plan:
    from litgo_pipelines.simulation.engine import Plan

    return Plan(**({"lawyers": LAWYERS, "days": DAYS, "seed": SEED} | changes))


def conduct(**changes: Any) -> Conduct:
    from litgo_pipelines.equity.allocation import OfferRule
    from litgo_pipelines.ranking.ranker import HandWeights
    from litgo_pipelines.simulation.engine import Conduct

    given: dict[str, Any] = {
        "ranker": HandWeights(),
        "rule": OfferRule(),
        "new_lawyer_offers": 10,
        "offer_lifetime": timedelta(hours=24),
        "recorded_candidates": 20,
    }
    return Conduct(**(given | changes))


def as_simulator(url: str) -> Engine:
    from litgo_pipelines.marketplace.database import SIMULATOR_ROLE, open_engine

    return open_engine(url, SIMULATOR_ROLE)


def live(url: str, until: datetime = AS_OF, on_progress: Callable[[Progress], None] = lambda _: None, **changes: Any) -> Progress:
    """Simulate in a database."""
    from litgo_pipelines.simulation.engine import simulate

    engine = as_simulator(url)
    try:
        return simulate(engine, plan(**changes), conduct(), until, on_progress)
    finally:
        engine.dispose()


def digests(url: str) -> dict[str, str]:
    """A digest of each table's rows, apart from when a row was written by the clock."""
    from sqlalchemy import text

    from litgo_pipelines.marketplace import tables

    found = {}
    engine = as_simulator(url)
    with engine.connect() as connection:
        for name in sorted(table.name for table in tables.metadata.tables.values()):
            clock = " - 'updated_at'" if name == "lawyers" else ""
            statement = (
                f"SELECT count(*)::text || ' ' || COALESCE(md5(string_agg(row, E'\\n' ORDER BY row)), '') "
                f"FROM (SELECT (to_jsonb(t){clock})::text AS row FROM litgo.{name} t) every"
            )
            found[name] = connection.execute(text(statement)).scalar_one()
    engine.dispose()
    return found


def count(url: str, statement: str) -> Any:
    from sqlalchemy import text

    engine = as_simulator(url)
    with engine.connect() as connection:
        found = connection.execute(text(statement)).scalar_one()
    engine.dispose()
    return found


@pytest.fixture(scope="session")
def _lived(databases: Databases, _migrated: str) -> str:
    databases.create("simulated_template", _migrated)
    live(databases.server.url("simulated_template"))
    return "simulated_template"


@pytest.fixture
def simulated_url(databases: Databases, _lived: str) -> Iterator[str]:
    """The URL of a clone of the simulated marketplace; whoever writes gets it alone."""
    with databases.fresh(_lived) as name:
        yield databases.server.url(name)


@pytest.fixture
def another_url(databases: Databases, _migrated: str) -> Iterator[str]:
    """The URL of a second fresh, migrated database."""
    with databases.fresh(_migrated) as name:
        yield databases.server.url(name)
