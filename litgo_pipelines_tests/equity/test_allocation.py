"""The offer rule, compared with what it promises and with a plain implementation of the same words."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from litgo_pipelines.equity.allocation import BAND, Allocation, OfferRule, allocate, effective_load, is_full, never

CASE = bytes(range(16))
RULE = OfferRule()


@dataclass(frozen=True)
class Field:
    """Candidates of one case."""

    score: NDArray[np.float64]
    u_eff: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    last_offered: NDArray[np.int64]
    ids: NDArray[np.void]

    def allocate(self, top_n: int, rule: OfferRule = RULE, case: bytes = CASE, **options: Any) -> Allocation:
        return allocate(self.score, self.u_eff, self.is_new, self.last_offered, self.ids, case, top_n, rule, **options)


def field(count: int, seed: int = 0, **columns: Any) -> Field:
    """Random candidates with many ties; given columns replace the drawn ones."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, Any] = {
        "score": rng.integers(1, 100, count) / 100,
        "u_eff": rng.integers(0, 24, count) / 20,
        "is_new": rng.random(count) < 0.2,
        "last_offered": np.where(rng.random(count) < 0.3, never(), rng.integers(0, 4, count)),
        "ids": np.frombuffer(rng.bytes(16 * count), dtype="V16"),
    }
    kinds: dict[str, Any] = {"score": np.float64, "u_eff": np.float64, "is_new": np.bool_, "last_offered": np.int64, "ids": "V16"}
    return Field(**{name: np.asarray(columns.get(name, values), dtype=kinds[name]) for name, values in drawn.items()})


FIELDS = st.builds(field, st.integers(1, 60), st.integers(0, 2**32 - 1))


def by_the_book(them: Field, top_n: int, rule: OfferRule = RULE, case: bytes = CASE, step: float = 0.0) -> list[int]:
    """The rule as one would write it for a single case, with a full sort and no shortcuts."""

    def digest(one: int) -> bytes:
        return hashlib.sha256(case + b"|" + them.ids[one].tobytes()).digest()

    def band(one: int) -> float:
        value = them.score[one] - rule.price * them.u_eff[one] + rule.bonus * them.is_new[one]
        return float(-np.floor(value / BAND + 1e-9))

    everybody = range(len(them.score))
    busy = [one for one in everybody if them.u_eff[one] >= 1 or them.u_eff[one] + step > 1 + 1e-9]
    free = sorted(set(everybody).difference(busy), key=lambda one: (band(one), them.last_offered[one], them.u_eff[one], digest(one)))
    busy.sort(key=lambda one: (them.u_eff[one], them.last_offered[one], digest(one)))
    return (free + busy)[:top_n]


@given(FIELDS, st.integers(1, 70), st.sampled_from([0.0, 0.04, 0.5]))
@settings(max_examples=300)
def test_cutting_before_sorting_changes_nothing(them: Field, top_n: int, step: float) -> None:
    """The vectorised rule, which sorts and hashes only what it must, chooses as a full sort does."""
    assert them.allocate(top_n, step=step).chosen.tolist() == by_the_book(them, top_n, step=step)


@given(FIELDS, st.integers(1, 70), st.data(), st.sampled_from([0.0, 0.04]))
@settings(max_examples=300)
def test_more_load_never_gives_a_better_rank(them: Field, top_n: int, data: st.DataObject, step: float) -> None:
    """Whoever gets busier, all else equal, stands at the same place or further down, or is not shown."""
    one = data.draw(st.integers(0, len(them.score) - 1))
    busier = them.u_eff.copy()
    busier[one] += data.draw(st.floats(0, 2))
    before, after = them.allocate(top_n, step=step), replace(them, u_eff=busier).allocate(top_n, step=step)
    assert _rank(after, one) >= _rank(before, one)


def _rank(found: Allocation, one: int) -> int:
    places = np.flatnonzero(found.chosen == one)
    return int(places[0]) if places.size else len(found.value)


@given(FIELDS, st.integers(1, 70), st.booleans())
@settings(max_examples=200)
def test_the_list_is_as_long_as_asked_for_or_as_there_are_lawyers(them: Field, top_n: int, explores: bool) -> None:
    """Always min(top_n, n) different lawyers, whoever is full, exploring or not."""
    found = them.allocate(top_n, explore=np.random.default_rng(1) if explores else None)
    assert len(found.chosen) == len(set(found.chosen.tolist())) == min(top_n, len(them.score))
    assert len(found.propensity) == len(found.filled) == len(found.chosen)


@given(FIELDS, st.integers(1, 20), st.booleans())
@settings(max_examples=200)
def test_nobody_full_is_offered_while_enough_others_are_free(them: Field, top_n: int, explores: bool) -> None:
    """The full only fill up what the free leave, stand behind them, and the least loaded of them come first."""
    found = them.allocate(top_n, explore=np.random.default_rng(1) if explores else None)
    free = int(np.count_nonzero(them.u_eff < 1))
    places = min(top_n, len(them.score))
    assert found.filled.tolist() == [place >= free for place in range(places)]
    assert (them.u_eff[found.chosen] >= 1).tolist() == found.filled.tolist()
    assert np.all(np.diff(them.u_eff[found.chosen[found.filled]]) >= 0)


def test_somebody_whom_the_next_offer_would_carry_above_capacity_is_full() -> None:
    """Free is who has room for what one more offer is worth; exactly reaching capacity is allowed."""
    assert is_full(np.array([0.95, 0.97, 1.0, 0.5]), 0.05).tolist() == [False, True, True, False]
    nearly = field(2, u_eff=[0.97, 0.1], score=[0.9, 0.2], is_new=[False, False])
    assert nearly.allocate(2, step=0.05).chosen.tolist() == [1, 0]
    assert nearly.allocate(2, step=0.02).chosen.tolist() == [0, 1]


@given(st.integers(1, 10), st.integers(1, 30), st.sampled_from([0.0, 0.05, 0.2, 1.0]), st.floats(0, 2), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_equal_lawyers_take_turns(top_n: int, capacity: int, p_win: float, price: float, seed: int) -> None:
    """Ten lawyers alike in everything and 100 cases: offers differ by one at most, whatever they weigh, full or not."""
    assume(p_win > 0 or 10 % top_n == 0)
    them = field(10, seed, score=np.full(10, 0.5), is_new=np.zeros(10), last_offered=np.full(10, never()))
    offers = np.zeros(10)
    for case in range(100):
        load = effective_load(np.zeros(10), offers, np.full(10, float(capacity)), p_win)
        found = replace(them, u_eff=load).allocate(top_n, OfferRule(price=price), case=case.to_bytes(16), step=p_win / capacity)
        offers[found.chosen] += 1
        them.last_offered[found.chosen] = case
        assert np.ptp(offers) <= 1
    assert offers.sum() == 100 * top_n


def test_among_those_who_waited_equally_long_the_least_loaded_comes_first() -> None:
    """Who was offered the same earlier case as others, and is busier since, comes after them."""
    them = field(3, score=np.full(3, 0.515), u_eff=[0.02, 0.01, 0.0], is_new=np.zeros(3), last_offered=[5, 5, 5])
    assert them.allocate(3).chosen.tolist() == [2, 1, 0]


def test_in_a_band_whoever_waited_longest_comes_first_and_who_was_never_offered_before_all() -> None:
    """Small differences in value count less than waiting."""
    them = field(3, score=[0.519, 0.515, 0.501], u_eff=np.zeros(3), is_new=np.zeros(3), last_offered=[20, 10, never()])
    assert them.allocate(3).chosen.tolist() == [2, 1, 0]


def test_a_better_band_comes_before_a_longer_wait() -> None:
    """Waiting decides only between equals."""
    them = field(2, score=[0.53, 0.51], u_eff=np.zeros(2), is_new=np.zeros(2), last_offered=[20, never()])
    assert them.allocate(1).chosen.tolist() == [0]


def test_complete_ties_are_broken_by_a_hash_of_case_and_lawyer() -> None:
    """sha256(case | lawyer) decides, so that each case has another order and nobody gains by an id."""
    them = field(30, score=np.full(30, 0.5), u_eff=np.zeros(30), is_new=np.zeros(30), last_offered=np.full(30, 7))
    for number in range(5):
        case = number.to_bytes(16)
        expected = sorted(range(30), key=lambda one: hashlib.sha256(case + b"|" + them.ids[one].tobytes()).hexdigest())
        assert them.allocate(4, case=case).chosen.tolist() == expected[:4]
    firsts = {int(them.allocate(1, case=number.to_bytes(16)).chosen[0]) for number in range(60)}
    assert len(firsts) > 15


@pytest.mark.parametrize("known", [0.1, 0.29, 0.3, 0.58, 0.7])
def test_a_value_on_the_edge_of_a_band_belongs_to_the_upper_one(known: float) -> None:
    """What rounding takes from a multiple of the width does not throw it into the band below."""
    edge = round(known / BAND) * BAND
    them = field(2, score=[edge + 0.001, edge], u_eff=np.zeros(2), is_new=np.zeros(2), last_offered=[9, 1])
    assert them.allocate(2).chosen.tolist() == [1, 0]


def test_a_newcomer_gets_the_bonus() -> None:
    """A lawyer with few offers is worth `bonus` more, and no more than that."""
    them = field(2, score=[0.50, 0.46], u_eff=np.zeros(2), is_new=[False, True], last_offered=[1, 1])
    found = them.allocate(1)
    assert found.chosen.tolist() == [1]
    assert found.value.tolist() == pytest.approx([0.50, 0.51])
    assert them.allocate(1, OfferRule(bonus=0.0)).chosen.tolist() == [0]


def test_the_price_is_what_a_used_month_costs() -> None:
    """value = score - price * u_eff + bonus * is_new; without a price load counts for nothing below capacity."""
    them = field(2, score=[0.6, 0.5], u_eff=[0.5, 0.1], is_new=[False, False], last_offered=[1, 1])
    found = them.allocate(2, OfferRule(price=0.5))
    assert found.value.tolist() == pytest.approx([0.35, 0.45])
    assert found.chosen.tolist() == [1, 0]
    assert found.cutoff == pytest.approx(0.35)
    assert them.allocate(2, OfferRule(price=0.0)).chosen.tolist() == [0, 1]


def test_the_cutoff_is_the_least_value_of_the_free_ones_shown() -> None:
    """Who only fills up the list does not lower it; where only such are shown there is none."""
    them = field(3, score=[0.6, 0.5, 0.9], u_eff=[0.0, 0.0, 1.0], is_new=np.zeros(3))
    assert them.allocate(3).cutoff == pytest.approx(0.5)
    assert np.isnan(replace(them, u_eff=np.ones(3)).allocate(2).cutoff)


def test_nobody_to_choose_from_is_an_empty_list() -> None:
    """No candidates, no offers, no error."""
    found = field(0).allocate(5)
    assert found.chosen.tolist() == found.propensity.tolist() == found.filled.tolist() == []
    assert np.isnan(found.cutoff)


def test_without_exploration_everything_was_certain() -> None:
    """The propensity of a deterministic answer is 1."""
    found = field(20).allocate(8)
    assert not found.explored
    assert found.propensity.tolist() == [1.0] * 8


@given(FIELDS, st.integers(1, 20), st.integers(0, 1000))
@settings(max_examples=200)
def test_exploring_only_reorders_within_bands(them: Field, top_n: int, seed: int) -> None:
    """The bands shown, in their order, are those of the rule; who fills up is not drawn at all."""
    told, drawn = them.allocate(top_n), them.allocate(top_n, explore=np.random.default_rng(seed))
    band = np.floor(told.value / BAND + 1e-9)
    best = ~told.filled
    assert drawn.explored
    assert band[drawn.chosen[best]].tolist() == band[told.chosen[best]].tolist()
    assert drawn.chosen[told.filled].tolist() == told.chosen[told.filled].tolist()
    assert np.all((drawn.propensity > 0) & (drawn.propensity <= 1))


def test_logged_propensities_are_how_often_a_lawyer_is_shown_at_a_place() -> None:
    """Over many draws each lawyer of a band appears at each of its places as often as was logged, also at the cut."""
    score = [0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.1]
    them = field(7, score=score, u_eff=np.zeros(7), is_new=np.zeros(7))
    draws = 6000
    shown = np.zeros((7, 4))
    for draw in range(draws):
        found = them.allocate(4, explore=np.random.default_rng(draw))
        shown[found.chosen, range(4)] += 1
        assert found.propensity.tolist() == [0.5, 0.5, 0.25, 0.25]
    expected = np.zeros((7, 4))
    expected[:2, :2], expected[2:6, 2:] = 0.5, 0.25
    # Five standard deviations of a share of a half over so many draws.
    assert np.abs(shown / draws - expected).max() < 5 * 0.5 / np.sqrt(draws)


def test_load_is_cases_and_offers_in_flight_over_capacity() -> None:
    """An offer in flight counts with the probability that it becomes a case; a capacity below 1 counts as 1."""
    found = effective_load(np.array([3.0, 0.0]), np.array([5.0, 2.0]), np.array([10.0, 0.0]), 0.2)
    assert found.tolist() == pytest.approx([0.4, 0.4])


_SCRIPT = """
import numpy as np
from litgo_pipelines.equity.allocation import OfferRule, allocate
rng = np.random.default_rng(3)
ids = np.frombuffer(rng.bytes(16 * 500), dtype="V16")
zeros = np.zeros(500)
found = allocate(np.full(500, .5), zeros, zeros.astype(bool), zeros.astype(np.int64), ids, b"c" * 16, 50, OfferRule())
drawn = allocate(np.full(500, .5), zeros, zeros.astype(bool), zeros.astype(np.int64), ids, b"c" * 16, 50, OfferRule(),
                 explore=np.random.default_rng(9))
print(found.chosen.tolist(), drawn.chosen.tolist())
"""


def test_the_answer_does_not_hang_on_pythons_hash_seed() -> None:
    """Two processes with different PYTHONHASHSEED choose the same lawyers in the same order."""
    answers = {
        subprocess.run(
            [sys.executable, "-c", _SCRIPT], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
    assert answers.pop().count(",") == 98
