"""The marketplace in memory: the same lawyers, cases and hidden relevance as in the database, drawn from a seed alone."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert

from litgo_pipelines.casework.market import micros, read_market
from litgo_pipelines.casework.matching import Candidates, score_candidates
from litgo_pipelines.marketplace import tables
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines.simulation import behaviour, fate
from litgo_pipelines.simulation.memory import START, SimulatedCase, World
from litgo_pipelines.simulation.world import make_lawyers

LAWYERS, DAYS, SEED = 90, 30, 4


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(SEED, LAWYERS, DAYS)


def told(cases: list[SimulatedCase]) -> list[Any]:
    """Cases as values that can be compared."""
    return [(one.case, one.at, one.traits.tolist(), one.vector.tolist()) for one in cases]


def scored(world: World, one: SimulatedCase) -> Candidates:
    return score_candidates(world.market, one.case, HandWeights(), one.at, vector=one.vector)


def test_lawyers_are_those_that_the_database_would_hold(world: World, engine: Engine) -> None:
    """Profiles and loads of the same people, written to the database and read by the product, are equal, in the same order."""
    people = make_lawyers(SEED, LAWYERS, START, START + timedelta(days=DAYS))
    rows = [row | {"capacidade_mensal": int(most)} for row, most in zip(people.rows, people.capacity, strict=True)]
    with engine.begin() as connection:
        connection.execute(insert(tables.lawyers), rows)
        read = read_market(connection, START)
    mine = world.market
    assert mine.profiles.uuids == read.profiles.uuids
    assert mine.profiles.row == read.profiles.row
    assert mine.profiles.pools.keys() == read.profiles.pools.keys()
    for area, pool in read.profiles.pools.items():
        mine_here = dict(zip(mine.profiles.pools[area].members.tolist(), mine.profiles.pools[area].match.tolist(), strict=True))
        assert mine_here == dict(zip(pool.members.tolist(), pool.match.tolist(), strict=True))
    for name in ("lat", "lng", "qualification", "response_h", "rating", "soft_skill", "won", "lost", "received", "texts"):
        # Columns of 4 bytes keep seven digits.
        np.testing.assert_allclose(getattr(mine.profiles, name), getattr(read.profiles, name), rtol=1e-6, err_msg=name)
    for field in fields(mine.loads):
        if field.name != "since":
            np.testing.assert_array_equal(getattr(mine.loads, field.name), getattr(read.loads, field.name), err_msg=field.name)
    traits = dict(zip([row["id"] for row in people.rows], people.traits.tolist(), strict=True))
    assert world.traits.tolist() == [traits[one] for one in mine.profiles.uuids]
    areas = {row["id"]: row["primary_area"] for row in people.rows}
    assert world.areas.tolist() == [areas[one] for one in mine.profiles.uuids]


def test_nobody_is_there_before_joining(world: World) -> None:
    """A newcomer is a candidate from the moment of joining; the others always are."""
    everybody = np.arange(LAWYERS)
    newcomers = world.joined > micros(START)
    assert 0 < np.count_nonzero(newcomers) < LAWYERS / 4
    for one in np.flatnonzero(newcomers):
        moment = int(world.joined[one])
        assert world.market.available(everybody, moment)[one]
        assert not world.market.available(everybody, moment - 1)[one]
    assert world.market.available(everybody, micros(START)).tolist() == (~newcomers).tolist()


def test_a_day_is_the_same_whatever_was_drawn_before(world: World) -> None:
    """The cases of a day follow from seed, day and demand; another day, seed or demand has others."""
    day = told(world.day(7, 0.6))
    other = World.make(SEED, LAWYERS, DAYS)
    other.day(3, 1.1)
    assert told(other.day(7, 0.6)) == day
    assert told(world.day(7, 0.6)) == day
    ids = {case.id for case, *_ in day}
    for changed in (world.day(8, 0.6), World.make(SEED + 1, LAWYERS, DAYS).day(7, 0.6)):
        assert ids.isdisjoint(one.case.id for one in changed)


def test_cases_come_within_their_day_in_the_order_of_time(world: World) -> None:
    """From one 02:00 in São Paulo to the next, with distinct ids and places."""
    seen: set[Any] = set()
    for number in range(5):
        cases = world.day(number, 0.8)
        moments = [one.at for one in cases]
        assert moments == sorted(moments)
        assert START + timedelta(days=number) <= moments[0]
        assert moments[-1] < START + timedelta(days=number + 1)
        assert all(one.case.lat is not None and one.case.lng is not None for one in cases)
        ids = {one.case.id for one in cases}
        assert len(ids) == len(cases)
        assert seen.isdisjoint(ids)
        seen |= ids


@pytest.mark.parametrize("utilisation", [0.3, 0.9])
def test_demand_would_fill_its_share_of_capacity(world: World, utilisation: float) -> None:
    """Cases of a month, at the contracts that each brings about, over the capacity of those who are there by then."""
    cases = sum(len(world.day(number, utilisation)) for number in range(DAYS))
    nights = [micros(START + timedelta(days=number)) for number in range(DAYS)]
    capacity = np.mean([world.market.loads.capacity[world.joined <= night].sum() for night in nights])
    # Three standard deviations of a Poisson count.
    assert cases * behaviour.CONTRACTS_PER_CASE / capacity == pytest.approx(utilisation, rel=3 / np.sqrt(cases))


def test_demand_comes_with_the_lawyers(world: World) -> None:
    """Whose joining is yet to come brings no cases."""
    joining = replace(world, joined=np.full(LAWYERS, micros(START + timedelta(days=4))))
    assert [len(joining.day(number, 0.6)) > 0 for number in range(6)] == [False] * 4 + [True] * 2


def test_hidden_relevance_is_that_of_the_database(world: World) -> None:
    """What `fate` makes of the same lawyers and case, read by their columns."""
    for one in world.day(2, 0.6)[:20]:
        candidates = scored(world, one)
        them, case = candidates.members, one.case
        people = fate.People(world.traits, world.joined, {case.id.bytes: one.traits})
        columns = {
            "case_id": [case.id] * len(them),
            "lawyer_id": [world.market.profiles.uuids[row] for row in them.tolist()],
            "lat": [case.lat] * len(them),
            "lng": [case.lng] * len(them),
            "radius_km": [case.radius_km] * len(them),
            "urgency_h": [case.urgency_h] * len(them),
            "primary": world.areas[them] == case.area,
        }
        pairs = fate._pairs(world.market, people, columns)
        assert pairs.lawyer.tolist() == them.tolist()
        np.testing.assert_allclose(world.relevance(one, candidates), pairs.relevance, rtol=1e-5)


def test_the_product_sees_nothing_hidden(world: World) -> None:
    """Lawyers and a case with other hidden traits look the same to it: scores and features are equal, relevance is not."""
    one = world.day(1, 0.6)[0]
    stranger = replace(world, traits=world.traits[::-1].copy())
    unlike = replace(one, traits=-one.traits)
    seen, also = scored(world, one), scored(stranger, unlike)
    for field in fields(seen):
        np.testing.assert_array_equal(getattr(seen, field.name), getattr(also, field.name))
    assert np.abs(world.relevance(one, seen) - stranger.relevance(unlike, also)).max() > 0.01
