"""A marketplace rehearsed in memory: what is in flight, what counts as load and until when, and what a decision may see of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from litgo_pipelines.casework.market import PRIOR_CONTRACTS, PRIOR_OFFERS, Market, micros
from litgo_pipelines.casework.matching import Decision
from litgo_pipelines.casework.rehearsal import DAY, WINDOW, Conditions, Contract, Reaction, Rehearsal
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.equity.policies import POLICIES
from litgo_pipelines_tests.casework.hamlet import NOON, a_case, all_of, hamlet

RULE = OfferRule(exploration=0.0)
HOUR = timedelta(hours=1)
START = micros(NOON)


class Scripted:
    """Every offer is in flight for two hours; the first lawyer of the list signs after three, where cases end in contracts."""

    def __init__(self, signs: bool = True, counts: int = WINDOW) -> None:
        self.signs, self.counts = signs, counts
        self.asked: list[list[float]] = []

    def __call__(self, decision: Decision, utilisation: NDArray[np.float64]) -> Reaction:
        self.asked.append(utilisation.tolist())
        sent = micros(decision.ask.at)
        signed = sent + 3 * micros_of(HOUR)
        contract = Contract(int(decision.chosen[0]), signed, signed + self.counts) if self.signs and len(decision.chosen) else None
        return Reaction(np.full(len(decision.chosen), sent + 2 * micros_of(HOUR)), contract)


def micros_of(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def rehearse(market: Market, reactions: Scripted, contracts: Sequence[Contract] = (), **changes: Any) -> Rehearsal:
    return Rehearsal(market, reactions, Conditions(**({"top_n": 1} | changes)), RULE, contracts)


def offer(rehearsal: Rehearsal, number: int, at: datetime) -> list[int]:
    """Offer a case to everybody's equal scores; whom it was shown to."""
    return rehearsal.offer(a_case(number), at, all_of(rehearsal.market), "m").chosen.tolist()


def test_an_offer_is_in_flight_until_it_is_answered_and_a_contract_counts_from_its_signing_to_its_end() -> None:
    """At the very moment, not before it."""
    rehearsal = rehearse(hamlet(1), Scripted(counts=5 * DAY))
    assert offer(rehearsal, 0, NOON) == [0]
    loads = rehearsal.market.loads
    seen = []
    for hours in (0, 1.999, 2, 2.999, 3, 3 + 5 * 24 - 0.001, 3 + 5 * 24):
        rehearsal.advance(START + round(hours * 3_600_000_000))
        seen.append((loads.in_flight[0], loads.cases[0]))
    assert seen == [(1, 0), (1, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 0)]
    assert [one.lawyer for one in rehearsal.contracts] == [0]
    assert [(at, chosen.tolist()) for at, chosen in rehearsal.offers] == [(START, [0])]


def test_what_was_there_before_leaves_the_window_and_what_was_under_way_comes() -> None:
    """Contracts of before the beginning end, those signed after it are load from then on; both have their 30 days."""
    old = Contract(0, START - 20 * DAY, START + 10 * DAY)
    coming = Contract(1, START + DAY, START + 31 * DAY)
    market = hamlet(2)
    market.loads.cases[0] = 1
    rehearsal = rehearse(market, Scripted(), [old, coming])
    seen = []
    for days in (0, 1, 10, 31):
        rehearsal.advance(START + days * DAY)
        seen.append(rehearsal.market.loads.cases.tolist())
    assert seen == [[1, 0], [1, 1], [0, 1], [0, 0]]


def test_lawyers_are_asked_at_their_load_of_that_moment() -> None:
    """Cases over capacity, whatever the decision itself could see."""
    answers = Scripted()
    rehearsal = rehearse(hamlet(1, capacity=4.0), answers, stale=True)
    for hours in (0, 4, 8):
        offer(rehearsal, hours, NOON + hours * HOUR)
    assert answers.asked == [[0.0], [0.25], [0.5]]


def test_a_decision_sees_what_happened_up_to_it() -> None:
    """Whoever was just offered a case waits for the others; whoever is full is passed over until a case ends."""
    rehearsal = rehearse(hamlet(3), Scripted())
    shown = [offer(rehearsal, number, NOON + number * HOUR)[0] for number in range(3)]
    assert sorted(shown) == [0, 1, 2]
    tight = rehearse(hamlet(2, capacity=1.0, p_win=1.0), Scripted(counts=3 * DAY))
    (first,), (second,) = offer(tight, 0, NOON), offer(tight, 1, NOON + 4 * HOUR)
    assert {first, second} == {0, 1}
    ended = NOON + timedelta(days=3, hours=5)
    assert offer(tight, 2, ended) == [first]


def test_stale_decisions_see_nothing_of_the_day_until_night_falls() -> None:
    """Neither loads nor who was offered what: the same lawyers again and again, until 02:00."""
    market = hamlet(4)
    rehearsal = rehearse(market, Scripted(), stale=True, policy=POLICIES["relevance_cap"])
    day = [offer(rehearsal, number, NOON + number * HOUR)[0] for number in range(8)]
    assert day == [0] * 8
    fair = rehearse(market, Scripted(), stale=True)
    first = offer(fair, 0, NOON)
    assert offer(fair, 0, NOON + HOUR) == first
    fair.night(START + DAY // 2)
    second = offer(fair, 0, NOON + 13 * HOUR)
    assert second != first
    assert offer(fair, 0, NOON + 14 * HOUR) == second


def test_fresh_decisions_can_become_stale_and_stale_ones_fresh() -> None:
    """A change of conditions holds from the next case on, and a price with it."""
    rehearsal = rehearse(hamlet(2), Scripted(signs=False))
    first = offer(rehearsal, 0, NOON)
    rehearsal.change(Conditions(top_n=1, stale=True), OfferRule(price=0.0, exploration=0.0))
    second = offer(rehearsal, 0, NOON + HOUR)
    assert (second, rehearsal.rule.price) == ([1 - first[0]], 0.0)
    assert offer(rehearsal, 0, NOON + 2 * HOUR) == second
    rehearsal.change(Conditions(top_n=1), RULE)
    assert offer(rehearsal, 0, NOON + 3 * HOUR) == first


def test_the_market_that_was_given_stays_as_it_was() -> None:
    """Other rehearsals begin with the same one."""
    market = hamlet(3, cases=1.0)
    before = copy.deepcopy((market.loads, market.profiles.received))
    rehearsal = rehearse(market, Scripted(), [Contract(one, START - DAY, START + DAY) for one in range(3)], top_n=2)
    for number in range(5):
        offer(rehearsal, number, NOON + number * HOUR)
    rehearsal.night(START + 2 * DAY)
    np.testing.assert_equal((vars(market.loads), market.profiles.received), (vars(before[0]), before[1]))


def test_nobody_to_offer_to_is_no_error() -> None:
    """A list without lawyers leaves nothing in flight."""
    rehearsal = rehearse(hamlet(0), Scripted())
    assert offer(rehearsal, 0, NOON) == []
    rehearsal.advance(START + DAY)
    assert rehearsal.contracts == []


_MOMENTS = st.lists(st.integers(-40 * 24, 10 * 24).map(lambda hours: hours * DAY // 24), max_size=40).map(sorted)


@example(signed=[-29 * DAY, DAY], sent=[-30 * DAY, 0], after=DAY)
@given(signed=_MOMENTS, sent=_MOMENTS, after=st.integers(0, 12).map(lambda days: days * DAY))
def test_an_offer_is_worth_what_the_last_offers_came_to(signed: list[int], sent: list[int], after: int) -> None:
    """Contracts of the 30 days before the night per offer of the 30 days that ended a day before it; what is older is forgotten."""
    night = START + after
    contracts = [Contract(0, START + at, START + at + WINDOW) for at in signed]
    rehearsal = Rehearsal(hamlet(1), Scripted(), Conditions(), RULE, contracts, [(START + at, 2) for at in sent])
    rehearsal.night(night)
    won = sum(night - WINDOW < one.signed_at <= night for one in contracts)
    made = 2 * sum(night - WINDOW - DAY < START + at <= night - DAY for at in sent)
    assert rehearsal.market.loads.p_win == min(1.0, (won + PRIOR_CONTRACTS) / (made + PRIOR_OFFERS))


def test_what_is_rehearsed_counts_for_what_an_offer_is_worth() -> None:
    """Its own offers a day later, its own contracts at once; the worth never passes 1."""
    rehearsal = rehearse(hamlet(2), Scripted(), top_n=2)
    for number in range(10):
        offer(rehearsal, number, NOON + number * HOUR)
    found = []
    for days in (1, 3, 40):
        rehearsal.night(START + days * DAY)
        found.append(rehearsal.market.loads.p_win)
    assert found == [(10 + 20) / (2 + 100), (10 + 20) / (20 + 100), 0.2]
    flood = [Contract(0, START - DAY, START + DAY)] * 500
    crowded = rehearse(hamlet(1), Scripted(), flood)
    crowded.night(START)
    assert crowded.market.loads.p_win == 1.0
