"""Time passes in a simulated marketplace: every moment of its facts moves, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from litgo_pipelines.simulation.aging import UNTOUCHED, NotToBeAged, age, moments
from litgo_pipelines.simulation.engine import NotSimulated
from litgo_pipelines_tests.simulation.conftest import as_simulator

if TYPE_CHECKING:
    from sqlalchemy import Engine

NOW = datetime(2026, 3, 10, 15, tzinfo=UTC)


@pytest.fixture
def lived(simulated_url: str) -> Iterator[Engine]:
    """An engine on a marketplace with a history and one recorded decision."""
    from litgo_pipelines.rollout import decisions

    engine = as_simulator(simulated_url)
    with engine.begin() as connection:
        decisions.record(connection, "freeze", actor="Ana", reason="a test", at=NOW, result="frozen")
    yield engine
    engine.dispose()


def _spans(engine: Engine) -> dict[str, Any]:
    """Count, least and greatest of each column of moments, by table and column."""
    from sqlalchemy import text

    from litgo_pipelines.marketplace import tables

    with engine.connect() as connection:
        return {
            f"{table.name}.{name}": tuple(
                connection.execute(text(f"SELECT count({name}), min({name}), max({name}) FROM {table.fullname}")).one()
            )
            for table in tables.metadata.sorted_tables
            for name in moments(table)
        }


def test_every_moment_moves_by_the_same_but_those_of_decisions(lived: Engine) -> None:
    """A column that stayed behind would tear apart what belongs together; a decision's row is never changed."""
    before, by = _spans(lived), timedelta(days=3, hours=5)
    assert age(lived, by) > 0
    moved = {
        name: span if name.partition(".")[0] in UNTOUCHED or span[0] == 0 else (span[0], span[1] - by, span[2] - by)
        for name, span in before.items()
    }
    assert _spans(lived) == moved
    assert before["decisions.decided_at"][0] == 1
    assert before["equity_snapshots.as_of"][0] > 0


def test_snapshots_a_day_apart_do_not_meet_when_a_day_passes(lived: Engine) -> None:
    """Each night's figures move to where those of the night before stood, row by row."""
    before = _spans(lived)["equity_snapshots.as_of"]
    assert before[2] - before[1] > timedelta(days=2)
    age(lived, timedelta(days=1))
    assert _spans(lived)["equity_snapshots.as_of"] == (before[0], before[1] - timedelta(days=1), before[2] - timedelta(days=1))


def test_a_marketplace_that_was_not_simulated_is_refused(database_url: str) -> None:
    """An empty one has nobody, and one with lawyers of its own keeps its moments."""
    from litgo_pipelines.marketplace import tables

    engine = as_simulator(database_url)
    with pytest.raises(NotToBeAged, match="stay"):
        age(engine, timedelta(days=1))
    with engine.begin() as connection:
        row = {"id": "7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11", "name": "A lawyer", "primary_area": "civil", "created_at": NOW}
        connection.execute(tables.lawyers.insert(), row)
    with pytest.raises(NotSimulated, match="lawyers"):
        age(engine, timedelta(days=1))
    assert _spans(engine)["lawyers.created_at"][1] == NOW
    engine.dispose()


def test_time_does_not_run_back(lived: Engine) -> None:
    """What has ripened would be unripe again."""
    with pytest.raises(ValueError, match="forwards"):
        age(lived, timedelta(hours=-1))
