"""Past cases offered again."""

from __future__ import annotations

import copy
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.casework.replay import GiniReplay, recent_cases, replayed_gini
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.equity.inequality import gini
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines_tests.casework.conftest import NOON, Town

HOUR = timedelta(hours=1)
FAIR = OfferRule(exploration=0.0)
UNFAIR = OfferRule(price=0.0, bonus=0.0, exploration=0.0)


def _replay(town: Town, rule: OfferRule = FAIR, top_n: int = 2) -> GiniReplay:
    with town.engine.connect() as connection:
        found = GiniReplay.read(connection, NOON, rule=rule, new_lawyer_offers=0)
    return GiniReplay(found.market, found.cases, rule, 0, top_n)


def test_the_newest_cases_of_the_last_month_are_replayed_oldest_first(town: Town) -> None:
    """Older and later ones are not, and where there are too many the oldest are left out."""
    wanted = [town.case(created_at=NOON - hours * HOUR, summary=f"{hours}") for hours in (3, 2, 1, 0)]
    town.case(created_at=NOON - timedelta(days=30))
    town.case(created_at=NOON + HOUR)
    with town.engine.connect() as connection:
        cases = recent_cases(connection, NOON, 10)
        assert [case.id for case, _ in cases] == wanted
        assert [at for _, at in cases] == [NOON - hours * HOUR for hours in (3, 2, 1, 0)]
        assert [case.id for case, _ in recent_cases(connection, NOON, 2)] == wanted[2:]


def test_a_price_on_load_spreads_it(town: Town) -> None:
    """The same cases under the same ranker are spread more evenly where load costs something; inequality is that of load over capacity."""
    for share in range(10):
        town.lawyer(cv_score=share / 9)
    for hours in range(60):
        town.case(created_at=NOON - hours * HOUR)
    fair, unfair = _replay(town)(HandWeights()), _replay(town, UNFAIR)(HandWeights())
    assert fair is not None
    assert unfair is not None
    assert fair < 0.3 < unfair


def test_the_replay_begins_with_empty_hands_and_changes_nothing(town: Town) -> None:
    """Loads as they are do not count, and the market that was read stays as it was, so that the next ranker finds the same."""
    lawyers = town.lawyers(4)
    for hours in range(8):
        town.case(created_at=NOON - hours * HOUR)
    empty = _replay(town)(HandWeights())
    run_equity(town.engine, NOON, new_lawyer_offers=0)
    town.execute("UPDATE litgo.lawyers SET cases_30d = 8 WHERE id = :id", id=lawyers[0])
    town.execute("UPDATE litgo.lawyers SET last_offered_at = :at WHERE id = :id", at=NOON, id=lawyers[1])
    replay = _replay(town)
    before = copy.deepcopy(replay.market.loads)
    assert replay(HandWeights()) == pytest.approx(empty)
    assert replay(HandWeights()) == pytest.approx(empty)
    np.testing.assert_array_equal(replay.market.loads.cases, before.cases)
    np.testing.assert_array_equal(replay.market.loads.in_flight, before.in_flight)
    np.testing.assert_array_equal(replay.market.loads.last_offered, before.last_offered)


def test_equals_take_turns_in_the_replay_whenever_they_were_really_offered_cases(town: Town) -> None:
    """What was offered since the replayed cases came does not keep anybody at the end of the line."""
    for hours in range(4):
        town.lawyer(last_offered_at=NOON + hours * HOUR)
    for hours in range(20):
        town.case(created_at=NOON - hours * HOUR)
    assert _replay(town, UNFAIR, top_n=1)(HandWeights()) == pytest.approx(0.0)


def test_only_lawyers_who_were_eligible_count(town: Town) -> None:
    """Who practises nothing that was asked for is not counted as idle."""
    town.lawyers(2)
    town.case(created_at=NOON)
    alone = _replay(town)(HandWeights())
    town.lawyers(5, primary_area="penal")
    assert _replay(town)(HandWeights()) == pytest.approx(alone)
    assert alone == pytest.approx(0.0)


def test_with_nobody_to_replay_there_is_no_inequality(town: Town) -> None:
    """None, which is not 0: no case, or no lawyer for any of them."""
    town.lawyers(2)
    assert _replay(town)(HandWeights()) is None
    town.case(area="espacial", created_at=NOON)
    assert _replay(town)(HandWeights()) is None


class _Favourite:
    """A ranker to whom the most learned are all that counts."""

    version = "favourite"

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return features[:, 4].astype(np.float64)

    def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(raw >= features[:, 4].max(), 0.99, 0.01)


def test_another_ranker_leads_to_another_spread(town: Town) -> None:
    """One that sees nobody but its favourite concentrates load, and the number is the Gini of offers that become cases."""
    for share in range(5):
        town.lawyer(cv_score=share / 4)
    for hours in range(20):
        town.case(created_at=NOON - hours * HOUR)
    replay = _replay(town, UNFAIR, top_n=1)
    even = replayed_gini(replay.market, replay.cases, HandWeights(), FAIR, top_n=1, new_lawyer_offers=0)
    assert replay(_Favourite()) == pytest.approx(gini([0, 0, 0, 0, 1]))
    assert even is not None
    assert even < 0.8
