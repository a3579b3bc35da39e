"""The ways of offering cases that the offer rule is compared with, against their rules in plain words and whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from litgo_pipelines.equity.allocation import Allocation, OfferRule, never
from litgo_pipelines.equity.policies import POLICIES

OTHERS = ("relevance", "relevance_cap", "predecessor")


@dataclass(frozen=True)
class Candidates:
    """Scores in hundredths and loads in twentieths, so that a test can reckon without rounding."""

    hundredths: list[int]
    twentieths: list[int]

    @property
    def score(self) -> NDArray[np.float64]:
        return np.array(self.hundredths, dtype=np.float64) / 100

    @property
    def load(self) -> NDArray[np.float64]:
        return np.array(self.twentieths, dtype=np.float64) / 20

    def offered(self, policy: str, top_n: int, **options: Any) -> Allocation:
        count = len(self.hundredths)
        ids = np.frombuffer(bytes(range(16)) * count, dtype="V16")
        nothing = np.zeros(count, dtype=bool)
        waited = np.full(count, never())
        return POLICIES[policy](self.score, self.load, nothing, waited, ids, bytes(16), top_n, OfferRule(), **options)


def candidates(scores: list[float], loads: list[float]) -> Candidates:
    return Candidates([round(100 * one) for one in scores], [round(20 * one) for one in loads])


_PAIRS = st.lists(st.tuples(st.integers(1, 99), st.integers(0, 30)), min_size=1, max_size=40)
MANY = _PAIRS.map(lambda pairs: Candidates([one for one, _ in pairs], [one for _, one in pairs]))


@given(MANY, st.integers(1, 45))
@settings(max_examples=300)
def test_the_predecessor_reorders_whoever_is_near_the_best(them: Candidates, top_n: int) -> None:
    """Within max(.02, a tenth of the best score): .7 score + .3 (1 - load), a load above 1 as 1; all others follow by score alone."""
    best = max(them.hundredths)

    def place(one: int) -> tuple[int, int]:
        score, load = them.hundredths[one], min(20, them.twentieths[one])
        near = 10 * (best - score) <= max(20, best)
        return (0, -(7 * score + 300 - 15 * load)) if near else (1, -score)

    found = them.offered("predecessor", top_n).chosen.tolist()
    everybody = sorted(map(place, range(len(them.hundredths))))
    assert [place(one) for one in found] == everybody[:top_n]


def test_the_predecessor_prefers_the_idle_among_the_best_alone() -> None:
    """A fully used lawyer at the top falls behind idle ones within eps; an idle one further down stays down."""
    assert candidates([0.80, 0.75, 0.70], [1.0, 0.0, 0.0]).offered("predecessor", 3).chosen.tolist() == [1, 0, 2]


@pytest.mark.parametrize(("best", "edge"), [(0.05, 0.03), (0.14, 0.12), (0.17, 0.15), (0.70, 0.63), (0.90, 0.81)])
def test_whoever_is_exactly_eps_below_the_best_is_near(best: float, edge: float) -> None:
    """What rounding takes away from the difference does not matter; a hundredth further down is too far."""
    assert candidates([best, edge], [1.0, 0.0]).offered("predecessor", 1).chosen.tolist() == [1]
    assert candidates([best, edge - 0.01], [1.0, 0.0]).offered("predecessor", 1).chosen.tolist() == [0]


def test_a_load_above_one_counts_as_one_for_the_predecessor() -> None:
    """Twice overloaded is no worse than full: the better score decides between them."""
    assert candidates([0.60, 0.61], [1.0, 1.5]).offered("predecessor", 1).chosen.tolist() == [1]


@given(MANY, st.integers(1, 45), st.sampled_from([0.0, 0.05, 0.3]))
@settings(max_examples=300)
def test_relevance_with_a_cap_offers_nobody_full_while_others_have_room(them: Candidates, top_n: int, step: float) -> None:
    """Those with room come first, the best scores before; the full only fill up, the least loaded before."""
    found = them.offered("relevance_cap", top_n, step=step)
    full = (them.load >= 1) | (them.load + step > 1 + 1e-9)
    room = int(np.count_nonzero(~full))
    places = len(found.chosen)
    assert places == min(top_n, len(full))
    assert full[found.chosen].tolist() == found.filled.tolist() == [place >= room for place in range(places)]
    free, extra = found.chosen[~found.filled], found.chosen[found.filled]
    assert them.score[free].tolist() == sorted(them.score[~full], reverse=True)[:places]
    assert them.load[extra].tolist() == sorted(them.load[full])[: len(extra)]
    assert found.full.tolist() == full.tolist()


@given(MANY, st.integers(1, 45))
def test_relevance_alone_asks_for_nothing_but_the_score(them: Candidates, top_n: int) -> None:
    """The best scores in their order, the full among them; who fills a place without having room is told."""
    found = them.offered("relevance", top_n)
    assert them.score[found.chosen].tolist() == sorted(them.score, reverse=True)[:top_n]
    assert found.filled.tolist() == (them.load >= 1)[found.chosen].tolist()


@pytest.mark.parametrize("policy", OTHERS)
@given(them=MANY, top_n=st.integers(1, 45), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_the_others_are_certain_and_keep_to_the_protocol(policy: str, them: Candidates, top_n: int, seed: int) -> None:
    """Different lawyers, as many as there are or are asked for; chance is not used, and the cut-off is the least score with room."""
    found = them.offered(policy, top_n, explore=np.random.default_rng(seed))
    places = min(top_n, len(them.hundredths))
    assert len(set(found.chosen.tolist())) == places
    assert found.propensity.tolist() == [1.0] * places
    assert not found.explored
    assert found.chosen.tolist() == them.offered(policy, top_n).chosen.tolist()
    free = them.score[found.chosen[~found.filled]]
    assert found.cutoff == free.min() if free.size else np.isnan(found.cutoff)


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_to_choose_from_is_an_empty_list(policy: str) -> None:
    """No candidates, no offers, no error."""
    found = Candidates([], []).offered(policy, 5)
    assert found.chosen.tolist() == found.filled.tolist() == found.propensity.tolist() == []
    assert np.isnan(found.cutoff)
