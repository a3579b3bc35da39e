"""What is hidden: relevance, and what lawyers and clients make of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.simulation import truth

_SHARE = st.floats(0, 1)
RELEVANCE = np.linspace(0, 1, 50)


def _relevance(near: float = 0.5, in_time: float = 0.5, primary: float = 1.0, quality: float = 0.0, difficulty: float = 0.0) -> float:
    lawyer = np.array([[quality, 0.0, 0.0, *[0.1] * truth.LATENT]])
    case = np.array([difficulty, *[0.1] * truth.LATENT])
    return float(truth.relevance(lawyer, case, np.array([near]), np.array([in_time]), np.array([primary]))[0])


@given(_SHARE, _SHARE, _SHARE, st.floats(-3, 6), st.floats(-3, 3))
def test_relevance_is_a_share_and_grows_with_what_is_good(near: float, in_time: float, primary: float, quality: float, hard: float) -> None:
    """Nearer, quicker, better or more at home in the area is never less relevant; a harder case never more."""
    found = _relevance(near, in_time, primary, quality, hard)
    assert 0 <= found <= 1
    assert _relevance(min(1.0, near + 0.1), in_time, primary, quality, hard) >= found
    assert _relevance(near, min(1.0, in_time + 0.1), primary, quality, hard) >= found
    assert _relevance(near, in_time, min(1.0, primary + 0.1), quality, hard) >= found
    assert _relevance(near, in_time, primary, quality + 0.1, hard) >= found
    assert _relevance(near, in_time, primary, quality, hard + 0.1) <= found


def test_what_the_hand_weights_trust_most_says_least() -> None:
    """Nearness moves relevance far more than the area does: there is something for a ranker to find out."""
    assert _relevance(near=1) - _relevance(near=0) > 10 * (_relevance(primary=1) - _relevance(primary=0))


def test_one_case_serves_for_many_lawyers() -> None:
    """Traits of one case are broadcast."""
    lawyers = np.random.default_rng(0).normal(size=(7, len(truth.LAWYER_TRAITS)))
    case = np.random.default_rng(1).normal(size=len(truth.CASE_TRAITS))
    ones = np.full(7, 0.3)
    together = truth.relevance(lawyers, case, ones, ones, ones)
    alone = [truth.relevance(lawyers[i : i + 1], case, ones[:1], ones[:1], ones[:1])[0] for i in range(7)]
    assert together.tolist() == pytest.approx(alone)


def test_the_full_decline_more() -> None:
    """Up to 70 % of capacity load does not matter, above it acceptance falls, never to nothing."""
    idle, seventy, busy, over = (truth.acceptance_probability(RELEVANCE, np.full(50, load)) for load in (0.0, 0.7, 1.0, 2.0))
    np.testing.assert_allclose(idle, seventy)
    assert np.all(busy < 0.6 * idle)
    assert np.all(over < busy)
    assert np.all(over > 0)


def test_a_relevant_case_is_accepted_and_won_more_often() -> None:
    """Both grow with relevance and stay inside (0, 1); winning hangs less on the lawyer than accepting does."""
    accepted, won = truth.acceptance_probability(RELEVANCE, np.zeros(50)), truth.win_probability(RELEVANCE)
    for found in (accepted, won):
        assert np.all(np.diff(found) > 0)
        assert 0 < found[0] < found[-1] < 1
    assert accepted[-1] - accepted[0] > 2 * (won[-1] - won[0])


def test_clients_prefer_who_stands_first() -> None:
    """Of equally relevant lawyers an earlier position weighs more, at every step; relevance weighs too."""
    positions = np.arange(1, 9)
    weight = truth.choice_weight(np.full(8, 0.5), positions)
    assert np.all(np.diff(weight) < 0)
    assert weight[0] / weight[7] == pytest.approx(8**0.6)
    assert np.all(np.diff(truth.choice_weight(RELEVANCE, np.ones(50, dtype=np.int64))) > 0)
