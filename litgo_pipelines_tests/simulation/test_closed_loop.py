"""The closed loop: what the figures say of each policy, and that all of them meet the same world."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from litgo_pipelines.casework.market import micros
from litgo_pipelines.casework.responses import TooLittleRecorded
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.equity.policies import POLICIES
from litgo_pipelines.marketplace.match_log import OUTCOMES
from litgo_pipelines.ranking.ranker import LightGBMRanker
from litgo_pipelines.ranking.training_set import InsufficientData
from litgo_pipelines.simulation.closed_loop import LEARNING_DAYS, REPLAYED_PRICES, SETTLING_DAYS, Findings, Setup, _Loop, live
from litgo_pipelines.simulation.memory import World

SMALL = Setup(seed=3, lawyers=120, least_lawyers=10)


@pytest.fixture(scope="module")
def found() -> dict[str, Findings]:
    """One small marketplace under each policy, and once more under the last with loads of the night before."""
    lived = {name: live(replace(SMALL, policy=name)) for name in POLICIES}
    return lived | {"stale": live(replace(SMALL, stale=True))}


def loop(days: int, **changes: Any) -> _Loop:
    """A marketplace that has lived some days of learning."""
    made = _Loop(replace(SMALL, **changes))
    for day in range(days):
        made.live_day(day)
    return made


def test_the_price_spreads_cases_more_evenly_than_relevance(found: dict[str, Findings]) -> None:
    """Utilisation and offers are more equal, and every lawyer with few cases is offered more: load and offers go against each other."""
    price, relevance = found["price"], found["relevance"]
    assert price.gini_utilisation is not None
    assert relevance.gini_utilisation is not None
    assert price.gini_offers is not None
    assert relevance.gini_offers is not None
    assert price.gini_utilisation < relevance.gini_utilisation - 0.05
    assert price.gini_offers < relevance.gini_offers - 0.05
    assert price.load_offer_correlation < -0.2
    assert relevance.load_offer_correlation > 0.1


def test_relevance_loses_nothing_and_finds_the_most_relevant(found: dict[str, Findings]) -> None:
    """It shows the ranker's own order. The predecessor reorders only those near the best; cap and price pass many of the best over."""
    assert found["relevance"].ndcg5_loss == 0
    assert abs(found["predecessor"].ndcg5_loss) < 0.05
    for name in ("relevance_cap", "price"):
        assert found[name].ndcg5_loss > 0.05
        assert found[name].mean_relevance < found["relevance"].mean_relevance - 0.03


def test_whoever_looks_at_room_fills_every_place_with_it(found: dict[str, Findings]) -> None:
    """The cap and the price offer to lawyers with room, which is worth more among those with room than relevance alone."""
    assert found["relevance_cap"].fill_rate == found["price"].fill_rate == 1
    for name in ("relevance", "predecessor"):
        assert found[name].fill_rate < 0.9
    # The cap takes the ranker's best of those with room: no policy with that ranker should do much better there.
    assert found["relevance_cap"].available_ndcg5 > max(found[name].available_ndcg5 for name in ("relevance", "predecessor")) + 0.05


def test_old_loads_send_offers_to_lawyers_who_are_full_by_now(found: dict[str, Findings]) -> None:
    """Room is measured as it is, not as a decision by last night's loads sees it."""
    assert found["stale"].fill_rate < found["price"].fill_rate
    assert found["stale"].price == found["price"].price


def test_figures_are_about_the_last_thirty_days(found: dict[str, Findings]) -> None:
    """All policies meet the same lawyers and cases; contracts follow from them; a price belongs to one policy alone."""
    assert {(one.lawyers, one.cases, one.seed, one.utilisation) for one in found.values()} == {(120, found["price"].cases, 3, 0.6)}
    for name, one in found.items():
        assert 0.6 < one.contracts / one.cases < 0.95
        assert one.mean_utilisation == pytest.approx(0.6, abs=0.15)
        assert one.price == (0.5 if name in ("price", "stale") else None)
        for figure in ("gini_utilisation", "gini_offers", "share_offered", "utilisation_gap_area", "utilisation_gap_capacity"):
            assert 0 <= getattr(one, figure) <= 1
        assert one.rerank_p50_us > 0


def test_policies_share_the_days_of_learning_and_the_ranker() -> None:
    """Up to the day on which the policy begins everything is equal, down to the text of the learned model."""
    one, other = (loop(LEARNING_DAYS, policy=name, rule=OfferRule(price=price)) for name, price in (("predecessor", 0.1), ("price", 0.9)))
    for mine, theirs in zip(one._reactions.record, other._reactions.record, strict=True):
        assert mine.decision.chosen_ids == theirs.decision.chosen_ids
        assert mine.outcome.tolist() == theirs.outcome.tolist()
    for each in (one, other):
        each.begin_policy()
    rankers = [each._ranker for each in (one, other)]
    texts = [ranker.booster.model_to_string() for ranker in rankers if isinstance(ranker, LightGBMRanker)]
    assert len(texts) == 2
    assert texts[0] == texts[1]
    assert (one._rehearsal.rule.price, other._rehearsal.rule.price) == (0.1, 0.9)


def test_a_case_is_known_of_a_lawyer_once_the_contract_is_signed() -> None:
    """Texts, wins and losses of profiles are those of contracts and reviews up to the last night, and not of what will come."""
    lived = loop(12)
    night = micros(lived._now(12))
    profiles, contracts = lived._world.market.profiles, lived._rehearsal.contracts
    assert all(one.signed_at <= night for one in contracts)
    assert set(np.flatnonzero(profiles.texts.any(axis=1))) == {one.lawyer for one in contracts}
    agreed = [one for one in lived._reactions.record if one.winner >= 0]
    assert len(agreed) > len(contracts) > 100
    ended = [(one, int(one.decision.chosen[one.winner])) for one in agreed if one.known_at <= night]
    for name, counted in (("won", profiles.won), ("lost", profiles.lost)):
        expected = np.zeros(len(counted), dtype=int)
        np.add.at(expected, [who for one, who in ended if OUTCOMES[one.outcome[one.winner]] == name], 1)
        assert counted.tolist() == expected.tolist()
    assert profiles.won.sum() > 10


def test_load_of_a_night_is_compared_with_the_offers_of_the_day_after() -> None:
    """Within an area, over capacity, among those who had joined; the mean over areas and nights on which both differ at all."""
    lived = loop(0)
    days = range(55, 61)
    for day in days:
        lived.live_day(day)
    world, every = lived._world, []
    for day in days:
        night, end = lived._now(day), lived._now(day + 1)
        used, offers = np.zeros(120), np.zeros(120)
        for one in lived._rehearsal.contracts:
            used[one.lawyer] += one.signed_at <= micros(night) < one.counts_until
        for each in lived._reactions.record:
            offers[each.decision.chosen] += night < each.decision.ask.at <= end
        for area in set(world.areas.tolist()):
            there = (world.areas == area) & (world.joined <= micros(night))
            if there.sum() >= SMALL.least_lawyers:
                load, offered = (counted[there] / world.market.loads.capacity[there] for counted in (used, offers))
                if np.ptp(load) > 0 and np.ptp(offered) > 0:
                    every.append(np.corrcoef(rankdata(load), rankdata(offered))[0, 1])
    assert len(every) > 8
    assert lived._correlation() == pytest.approx(np.mean(every))


def test_a_replay_begins_where_the_policy_began() -> None:
    """Cases held, offers received and the last offer of each lawyer are those of the first night; cases are those since then."""
    lived = loop(20)
    loads, profiles = lived._rehearsal.market.loads, lived._rehearsal.market.profiles
    before = {"cases": loads.cases.copy(), "received": profiles.received.copy(), "last_offered": loads.last_offered.copy()}
    for day in range(20, 26):
        lived.live_day(day)
    past = lived._past(lived._now(20), lived._now(26))
    assert past.market.as_of == lived._now(20)
    assert past.market.loads.cases.tolist() == before["cases"].tolist()
    assert past.market.profiles.received.tolist() == before["received"].tolist()
    assert past.market.loads.last_offered.tolist() == before["last_offered"].tolist()
    assert _held(past.contracts, len(loads.cases)).tolist() == before["cases"].tolist()
    assert sum(count for _, count in past.sent) == before["received"].sum()
    since = [one.decision.case.id for one in lived._reactions.record if one.decision.ask.at > lived._now(20)]
    assert [case.id for case, _ in past.cases] == since


def _held(contracts: Any, lawyers: int) -> NDArray[np.float64]:
    return np.bincount([one.lawyer for one in contracts], minlength=lawyers).astype(np.float64)


def test_a_replay_chooses_a_price_on_the_day_that_settling_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of those it tried, by what was recorded; from then on it is in force."""
    days: list[tuple[int, float]] = []
    lived_day = _Loop.live_day

    def note(self: _Loop, number: int) -> None:
        days.append((number, self._rehearsal.rule.price))
        lived_day(self, number)

    monkeypatch.setattr(_Loop, "live_day", note)
    chosen = live(replace(SMALL, replayed_price=True, rule=OfferRule(price=3.0))).price
    assert chosen in REPLAYED_PRICES
    assert [price for day, price in days if day >= LEARNING_DAYS + SETTLING_DAYS] == [chosen] * 30
    assert {price for day, price in days if LEARNING_DAYS <= day < LEARNING_DAYS + SETTLING_DAYS} == {3.0}
    assert {price for day, price in days if day < LEARNING_DAYS} == {0.0}


def test_hidden_truth_shows_in_what_comes_of_offers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were relevance turned round, candidates would be scored as they are, and the first cases go to the same; answers would differ."""
    plain = loop(1)._reactions.record
    relevance = World.relevance
    monkeypatch.setattr(World, "relevance", lambda *arguments: 1 - relevance(*arguments))
    turned = loop(1)._reactions.record
    assert [one.decision.candidates.score.tolist() for one in plain[:5]] == [one.decision.candidates.score.tolist() for one in turned[:5]]
    assert [one.decision.chosen_ids for one in plain[:5]] == [one.decision.chosen_ids for one in turned[:5]]
    assert sum(one.interested.sum() for one in plain) != sum(one.interested.sum() for one in turned)


def test_days_are_told_one_by_one() -> None:
    """From the first to the last, of 85."""
    told: list[tuple[int, int]] = []
    live(replace(SMALL, lawyers=40), lambda done, of: told.append((done, of)))
    assert told == [(day, 85) for day in range(1, 86)]


@pytest.mark.parametrize(
    "nonsense", [{"policy": "lottery"}, {"lawyers": 0}, {"top_n": 0}, {"utilisation": 0.0}, {"utilisation": 2.0}, {"utilisation": np.nan}]
)
def test_a_setup_that_makes_no_sense_is_refused(nonsense: dict[str, Any]) -> None:
    """Before anything is lived through."""
    with pytest.raises(ValueError, match="marketplace needs"):
        live(replace(SMALL, **nonsense))


def test_too_small_a_marketplace_says_what_is_missing() -> None:
    """Nothing to learn from, or too few answers to replay, is no price and no ranker made up."""
    with pytest.raises(InsufficientData):
        live(replace(SMALL, lawyers=1, utilisation=0.05))
    with pytest.raises(TooLittleRecorded, match="50 are needed"):
        live(replace(SMALL, lawyers=40, utilisation=0.1, replayed_price=True))
