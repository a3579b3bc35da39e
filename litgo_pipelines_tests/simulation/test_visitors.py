"""Clients who come through a real service, and what becomes of their cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from litgo_pipelines.settings import load_settings
from litgo_pipelines.simulation.aging import age
from litgo_pipelines.simulation.visitors import NobodyLives, NotAnswered, Visitors
from litgo_pipelines_tests.serving.conftest import serving
from litgo_pipelines_tests.simulation.conftest import as_simulator, count, live

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True)
class _Town:
    """A marketplace that lived until now, with its service."""

    url: str
    engine: Engine
    visitors: Visitors


@pytest.fixture
def town(database_url: str, tmp_path: Path) -> Iterator[_Town]:
    """A few lawyers, a service that answers by hand weights, and clients who may come."""
    live(database_url, datetime.now(UTC), lawyers=40, days=5.0)
    engine = as_simulator(database_url)
    with serving(database_url, load_settings(litgo_home=tmp_path / "home")) as served, served.client() as client:
        yield _Town(database_url, engine, Visitors(engine, client))
    engine.dispose()


def test_each_client_gets_an_answer_of_their_own(town: _Town) -> None:
    """As many as were called, in two waves of the same second: no case is asked about twice, and each is known to the simulator alone."""
    visits = town.visitors.come(12) + town.visitors.come(12)
    assert len({one.case_id for one in visits}) == len({one.client_id for one in visits}) == 24
    assert {one.model_version for one in visits} == {"hand-weights"}
    assert sum(one.answer["offers_created"] for one in visits) == count(
        town.url, "SELECT count(*) FROM litgo.offers o JOIN litgo.match_requests r ON r.case_id = o.case_id WHERE r.answer IS NOT NULL"
    )
    known = (
        "SELECT count(*) FROM litgo.simulation_truth t JOIN litgo.match_requests r ON r.case_id = t.entity_id WHERE r.answer IS NOT NULL"
    )
    assert count(town.url, known) == 24


def test_answers_come_when_their_time_has_come(town: _Town) -> None:
    """At once nobody has answered yet; two days later every offer is answered or ran out, and clients have chosen."""
    visits = town.visitors.come(30)
    pending = "SELECT count(*) FROM litgo.offers WHERE status = 'pending'"
    town.visitors.live(datetime.now(UTC))
    assert count(town.url, pending) >= sum(one.answer["offers_created"] for one in visits)
    age(town.engine, timedelta(days=2))
    contracts, _ = town.visitors.live(datetime.now(UTC))
    assert contracts > 0
    assert count(town.url, pending) == 0
    assert count(town.url, "SELECT now() - simulated_until < interval '1 minute' FROM litgo.marketplace_origin")


def test_a_refused_client_is_told_of(town: _Town) -> None:
    """A service that does not answer is no silent gap in the figures."""
    visitors = Visitors(town.engine, town.visitors._service, top_n=0)
    with pytest.raises(NotAnswered, match="422"):
        visitors.come(1)


def test_nobody_comes_to_an_empty_marketplace(database_url: str) -> None:
    """There are no lawyers to ask for."""
    import httpx

    engine = as_simulator(database_url)
    with httpx.Client() as client, pytest.raises(NobodyLives, match="litgo simulate"):
        Visitors(engine, client).come(1)
    engine.dispose()
