"""Who lives in the simulated marketplace."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import numpy as np
import pytest

from litgo_pipelines.simulation.texts import AREAS
from litgo_pipelines.simulation.world import CITIES, NEWCOMERS, make_cases, make_lawyers, subarea_needs
from litgo_pipelines_tests.simulation.conftest import AS_OF

START = AS_OF - timedelta(days=40)
PLACES = {city[0]: (city[2], city[3]) for city in CITIES}


def test_a_seed_makes_always_the_same_world() -> None:
    """Lawyers, needs and cases repeat; another seed makes others."""
    one, same, other = (make_lawyers(seed, 50, START, AS_OF) for seed in (1, 1, 2))
    assert one.rows == same.rows
    np.testing.assert_array_equal(one.traits, same.traits)
    assert {row["id"] for row in one.rows}.isdisjoint({row["id"] for row in other.rows})
    needs = subarea_needs(1)
    first, again = (make_cases(1, START, START + timedelta(days=1), 60, needs) for _ in range(2))
    assert first.rows == again.rows
    assert first.clients == again.clients


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lawyers_are_ones_that_the_database_would_take(seed: int) -> None:
    """Capacities of 1..30, shares within 0..1, ratings within 1..5, distinct ids and numbers at the bar."""
    people = make_lawyers(seed, 400, START, AS_OF)
    assert people.capacity.min() >= 1
    assert people.capacity.max() <= 30
    assert len(set(people.capacity.tolist())) > 10
    assert len({row["id"] for row in people.rows}) == len({row["oab_number"] for row in people.rows}) == 400
    for row in people.rows:
        assert all(0 <= row[name] <= 1 for name in ("success_rate", "cv_score", "kpi_softskill"))
        assert 1 <= row["avaliacao_media"] <= 5
        assert row["tempo_resposta_h"] > 0
        assert row["primary_area"] not in row["specialties"]
        assert len(set(row["specialties"])) == len(row["specialties"]) <= 2
        lat, lng = PLACES[row["city"]]
        assert abs(row["lat"] - lat) + abs(row["lng"] - lng) < 1


def test_some_lawyers_join_while_time_runs() -> None:
    """About a tenth, between start and end; the others were there before."""
    people = make_lawyers(3, 2000, START, AS_OF)
    joined = [row["created_at"] for row in people.rows if row["created_at"] >= START]
    assert NEWCOMERS * 0.7 < len(joined) / 2000 < NEWCOMERS * 1.3
    assert max(joined) <= AS_OF
    assert all((row["available_from"] is None) == (row["created_at"] < START) for row in people.rows)


def test_demand_is_skewed_and_not_as_supply_is() -> None:
    """Some areas are asked for many times as often as others, and lawyers are spread otherwise."""
    cases = make_cases(5, START, AS_OF, 4000, subarea_needs(5))
    asked = Counter(row["area"] for row in cases.rows)
    shares = np.array([asked[area.name] for area in AREAS]) / len(cases.rows)
    assert shares.tolist() == pytest.approx([area.demand / sum(one.demand for one in AREAS) for area in AREAS], abs=0.03)
    assert shares.max() > 4 * shares[shares > 0].min()
    ratio = [area.demand / area.supply for area in AREAS]
    assert max(ratio) > 1.3 * min(ratio)


def test_cases_come_in_the_order_of_time_and_as_many_as_expected() -> None:
    """Poisson around what is expected, within their stretch of time, each by its own client at the same place."""
    cases = make_cases(1, START, START + timedelta(days=1), 900, subarea_needs(1))
    moments = [row["created_at"] for row in cases.rows]
    assert 800 < len(moments) < 1000
    assert moments == sorted(moments)
    assert START <= moments[0] <= moments[-1] < START + timedelta(days=1)
    assert [row["client_id"] for row in cases.rows] == [client[0] for client in cases.clients]
    assert all(4 <= row["urgency_h"] <= 720 and row["radius_km"] > 0 and row["summary"] for row in cases.rows)
    assert cases.traits.shape == (len(moments), 5)


def test_no_demand_makes_no_cases() -> None:
    """Nothing expected, nothing made, no error."""
    cases = make_cases(1, START, AS_OF, 0.0, subarea_needs(1))
    assert cases.rows == []
    assert cases.clients == []
    assert cases.traits.shape == (0, 5)


def test_cases_of_one_kind_ask_for_similar_skill() -> None:
    """Needs cluster around their subarea's, so that texts can tell something."""
    needs = subarea_needs(2)
    cases = make_cases(2, START, AS_OF, 3000, needs)
    kinds = np.array([needs[row["area"], row["subarea"]] for row in cases.rows])
    assert np.abs(cases.traits[:, 1:] - kinds).mean() < 0.5 * np.abs(kinds).mean()
