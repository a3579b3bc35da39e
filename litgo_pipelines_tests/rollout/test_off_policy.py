"""Off-policy estimates on logs whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from litgo_pipelines.rollout.off_policy import Estimate, Logged, OffPolicyResult, evaluate, gather, recompute

ACCEPTS = np.array([0.1, 0.3, 0.5, 0.7])
"""Hidden probability of acceptance of the four who can be shown."""
LOGGED_BY = np.array([0.4, 0.3, 0.2, 0.1])
"""Who was in charge showed the worst most often."""
WOULD_SHOW = np.array([0.1, 0.1, 0.2, 0.6])
LOGGED_TRUTH, TRUTH = float(ACCEPTS @ LOGGED_BY), float(ACCEPTS @ WOULD_SHOW)


def log(requests: int, *, seed: int = 0, belief: Any = ACCEPTS, places: int = 2) -> Logged:
    """Places filled by `LOGGED_BY`, seen by somebody who would fill them by `WOULD_SHOW`; mood differs from request to request."""
    generator = np.random.default_rng(seed)
    request = np.repeat(np.arange(requests), places)
    mood = np.repeat(generator.normal(0, 0.05, requests), places)
    shown = generator.choice(4, size=request.size, p=LOGGED_BY)
    belief = np.asarray(belief, dtype=np.float64)
    return Logged(
        reward=(generator.random(request.size) < ACCEPTS[shown] + mood).astype(np.float64),
        propensity=LOGGED_BY[shown],
        target=WOULD_SHOW[shown],
        request=request,
        prediction=belief[shown],
        expected=np.full(request.size, belief @ WOULD_SHOW),
    )


def estimated(logged: Logged, **given: Any) -> OffPolicyResult:
    return evaluate(gather(logged, candidate="8", champion="7", **given))


def holds(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= truth <= estimate.high


def test_both_estimates_recover_the_truth_and_the_mean_of_the_log_does_not() -> None:
    """The log's own mean is the worth of who filled it."""
    found = estimated(log(3_000))
    assert holds(found.snips, TRUTH)
    assert holds(found.doubly_robust, TRUTH)
    assert holds(found.doubly_robust_difference, TRUTH - LOGGED_TRUTH)
    assert holds(found.snips_difference, TRUTH - LOGGED_TRUTH)
    assert holds(found.champion, LOGGED_TRUTH)
    assert not holds(found.champion, TRUTH)
    assert found.verdict == "better"


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Over 60 logs, of 95 % intervals; a bootstrap over places instead of requests would be too sure where moods differ."""
    found = [estimated(log(250, seed=seed)) for seed in range(60)]
    assert 0.85 <= np.mean([holds(one.doubly_robust, TRUTH) for one in found]) <= 1
    assert 0.85 <= np.mean([holds(one.snips, TRUTH) for one in found]) <= 1


def test_places_of_one_request_count_as_one_draw() -> None:
    """The same rows, each three times within its request, leave the interval as wide as it was."""
    once = log(400)
    thrice = Logged(**{name: np.repeat(column, 3) for name, column in vars(once).items()})
    apart = replace(thrice, request=np.arange(thrice.request.size))

    def width(logged: Logged) -> float:
        found = estimated(logged).doubly_robust
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert width(thrice) == pytest.approx(width(once), rel=0.02)
    assert width(apart) < 0.7 * width(once)


def test_a_false_belief_moves_the_doubly_robust_estimate_little() -> None:
    """Even who believes the best to be the worst is corrected by what came of it; a true belief makes the interval narrower."""
    false, true = estimated(log(3_000, belief=ACCEPTS[::-1])), estimated(log(3_000))
    assert holds(false.doubly_robust, TRUTH)
    assert false.doubly_robust.high - false.doubly_robust.low > true.doubly_robust.high - true.doubly_robust.low  # type: ignore[operator]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
# Squares that six decimals would not hold.
@example([0.0003] * 50)
def test_the_effective_sample_size_is_kishs(targets: list[float]) -> None:
    """(sum w)^2 / sum w^2: as many as there are where weights are equal, one where one weighs all."""
    weight = np.array(targets) / 0.25
    assume(weight.sum() > 0.01)
    count = weight.size
    logged = Logged(np.zeros(count), np.full(count, 0.25), np.array(targets), np.arange(count), np.zeros(count), np.zeros(count))
    found = estimated(logged)
    assert found.effective_sample_size == pytest.approx(weight.sum() ** 2 / np.sum(weight**2), rel=1e-6)
    assert found.effective_sample_size <= count + 1e-3
    assert found.coverage == pytest.approx(weight.mean(), rel=1e-6)


@pytest.mark.parametrize(("requests", "verdict"), [(40, "insufficient data"), (400, "better")])
def test_below_the_floor_nothing_is_said(requests: int, verdict: str) -> None:
    """However good the candidate looks; the reason tells what is missing."""
    found = estimated(log(requests))
    assert found.verdict == verdict
    assert (found.effective_sample_size < 100) == (verdict == "insufficient data")
    assert estimated(log(requests), floor=found.effective_sample_size).verdict != "insufficient data"
    if verdict == "insufficient data":
        assert "100 are needed" in found.reasons[0]


def test_no_log_is_no_figure() -> None:
    """Nothing was explored: insufficient data, and no mean is made up."""
    found = estimated(log(0))
    assert found.verdict == "insufficient data"
    assert (found.requests, found.places, found.effective_sample_size, found.coverage) == (0, 0, 0.0, None)
    assert found.champion == found.snips == found.doubly_robust_difference == Estimate(mean=None, low=None, high=None)


def test_a_candidate_that_would_do_what_was_never_done_is_not_judged() -> None:
    """Weights of a quarter in the mean: three quarters of what it would do lie outside the log, where it is its own only witness."""
    logged = log(5_000)
    outside = replace(logged, target=logged.propensity / 4, expected=np.full(logged.request.size, 0.99))
    found = estimated(outside)
    assert found.effective_sample_size > 1_000
    assert found.verdict == "insufficient data"
    assert "covers 25%" in found.reasons[0]


@pytest.mark.parametrize(
    ("better_by", "verdict"), [(0.016, "better"), (0.014, "no clear difference"), (-0.014, "no clear difference"), (-0.016, "worse")]
)
def test_a_difference_that_unchecked_promises_may_account_for_is_not_clear(better_by: float, verdict: str) -> None:
    """Three tenths of what it would do are not in the log; promises about them may be off by .05, which is .015 in the mean."""
    half = np.full(1_000, 0.5)
    logged = Logged(half, half, 0.7 * half, np.arange(1_000), half, half + better_by)
    found = estimated(logged)
    assert found.coverage == pytest.approx(0.7)
    assert found.doubly_robust_difference.mean == pytest.approx(better_by)
    assert found.verdict == verdict


def test_who_would_have_done_the_same_is_worth_the_same() -> None:
    """All weights are 1: both estimates are the mean of the log, and there is no difference to be sure of."""
    logged = log(500)
    same = replace(logged, target=logged.propensity, expected=logged.prediction)
    found = estimated(same)
    assert found.snips == found.doubly_robust == found.champion
    assert found.snips_difference == Estimate(mean=0, low=0, high=0)
    assert (found.effective_sample_size, found.coverage) == (1_000, 1.0)
    assert found.verdict == "no clear difference"


def test_a_worse_candidate_is_called_worse() -> None:
    """Who would show those more often whom nobody takes."""
    logged = log(3_000)
    would = np.array([0.8, 0.1, 0.05, 0.05])
    who = np.searchsorted(-LOGGED_BY, -logged.propensity)
    worse = replace(logged, target=would[who], expected=np.full(logged.request.size, ACCEPTS @ would))
    assert estimated(worse).verdict == "worse"


@pytest.mark.parametrize("requests", [0, 30, 300, 4_500])
def test_the_evidence_alone_gives_the_same_result(requests: int) -> None:
    """After a way through JSON, to the last digit; it stays small however much was logged."""
    found = estimated(log(requests), left_out={"a band was not recorded whole": 3}, floor=50, seed=4)
    stored = json.dumps(found.evidence)
    assert recompute(json.loads(stored)) == found
    assert found.left_out == {"a band was not recorded whole": 3}
    assert len(stored) < 200_000


def test_a_log_of_many_requests_is_estimated_as_a_small_one() -> None:
    """Grouping requests beyond 2,000 leaves the means as they are."""
    logged = log(4_500)
    weight = logged.target / logged.propensity
    found = estimated(logged)
    assert found.requests == 4_500
    assert found.snips.mean == pytest.approx(weight @ logged.reward / weight.sum(), abs=1e-5)
    doubly = np.mean(logged.expected + weight * (logged.reward - logged.prediction))
    assert found.doubly_robust.mean == pytest.approx(doubly, abs=1e-5)
    assert holds(found.doubly_robust, TRUTH)


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.1, np.nan])
def test_an_impossible_propensity_is_refused(propensity: float) -> None:
    """Nobody stands anywhere with such a chance."""
    logged = log(10)
    broken = replace(logged, propensity=np.full(20, propensity))
    with pytest.raises(ValueError, match=r"propensities|finite"):
        estimated(broken)


def test_columns_of_different_length_are_refused() -> None:
    """Rather than matched by chance."""
    logged = log(10)
    with pytest.raises(ValueError, match="one length"):
        estimated(replace(logged, reward=logged.reward[:-1]))
