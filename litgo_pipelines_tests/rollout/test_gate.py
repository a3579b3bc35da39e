"""The offline gate's verdicts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.rollout.gate import MOST_BYTES, MOST_SCORING_MS, AreaEvidence, GateEvidence, judge


def _evidence(**changes: Any) -> GateEvidence:
    """A candidate that passes, changed as asked."""
    base: dict[str, Any] = {
        "incumbent": "3",
        "held_out_cases": 200,
        "min_held_out_cases": 50,
        "min_improvement": 1.05,
        "candidate_ndcg_5": 0.80,
        "champion_ndcg_5": 0.70,
        "difference_low": 0.05,
        "difference_high": 0.15,
    }
    return GateEvidence(**(base | changes))


def test_a_clear_improvement_passes() -> None:
    """Above the factor, with a positive lower bound, no area harmed and nobody to replay: pass, with its reasons."""
    result = judge(_evidence())
    assert result.verdict == "pass"
    assert any("0.8000" in reason and "0.7000" in reason for reason in result.reasons)
    assert any("nobody to replay" in reason for reason in result.reasons)


@pytest.mark.parametrize(("candidate", "verdict"), [(0.735, "fail"), (0.7351, "pass")])
def test_the_factor_must_be_exceeded_not_reached(candidate: float, verdict: str) -> None:
    """1.05 x .70 is .735: exactly that fails."""
    assert judge(_evidence(candidate_ndcg_5=candidate)).verdict == verdict


@pytest.mark.parametrize("low", [0.0, -0.001])
def test_a_lower_bound_that_does_not_exceed_zero_fails(low: float) -> None:
    """An improvement that may be chance does not pass, however large its mean."""
    assert judge(_evidence(difference_low=low)).verdict == "fail"


@given(st.floats(0, 1), st.floats(1, 2))
def test_a_candidate_equal_to_the_champion_never_passes(ndcg: float, factor: float) -> None:
    """Whatever the champion's NDCG and the factor, the same model again does not pass."""
    same = _evidence(candidate_ndcg_5=ndcg, champion_ndcg_5=ndcg, difference_low=0.0, difference_high=0.0, min_improvement=factor)
    assert judge(same).verdict == "fail"


@pytest.mark.parametrize(("cases", "candidate", "verdict"), [(30, 0.664, "fail"), (30, 0.666, "pass"), (29, 0.1, "pass")])
def test_no_area_with_thirty_cases_may_lose_more_than_five_percent(cases: int, candidate: float, verdict: str) -> None:
    """.70 may fall to .665 in an area with 30 held-out cases; with 29 cases nothing is said about the area."""
    result = judge(_evidence(areas=(AreaEvidence(area="penal", cases=cases, candidate=candidate, champion=0.70),)))
    assert result.verdict == verdict
    assert any("penal" in reason for reason in result.reasons) == (verdict == "fail")


@pytest.mark.parametrize(
    ("candidate", "champion", "verdict"),
    [(0.28, 0.20, "pass"), (0.281, 0.20, "fail"), (0.34, 0.33, "pass"), (0.35, 0.33, "fail"), (0.27, None, "pass"), (None, 0.2, "pass")],
)
def test_the_replayed_gini_must_hold(candidate: float | None, champion: float | None, verdict: str) -> None:
    """The candidate's Gini may reach the larger of .27 and the champion's, plus .01; without a replay nothing is asked."""
    assert judge(_evidence(candidate_gini=candidate, champion_gini=champion)).verdict == verdict


@pytest.mark.parametrize(("cases", "verdict"), [(49, "insufficient data"), (50, "pass")])
def test_too_few_cases_are_neither_pass_nor_fail(cases: int, verdict: str) -> None:
    """Below the least number of held-out cases the verdict is "insufficient data", for good and for bad candidates."""
    assert judge(_evidence(held_out_cases=cases)).verdict == verdict
    if cases == 49:
        assert judge(_evidence(held_out_cases=cases, candidate_ndcg_5=0.1)).verdict == verdict


@pytest.mark.parametrize("missing", ["candidate_ndcg_5", "champion_ndcg_5", "difference_low"])
@pytest.mark.parametrize("value", [None, float("nan")])
def test_an_undefined_measure_is_insufficient_data(missing: str, value: float | None) -> None:
    """A measure that no case defines never counts as a pass or a fail."""
    assert judge(_evidence(**{missing: value})).verdict == "insufficient data"


@pytest.mark.parametrize(("candidate", "verdict"), [(0.9619, "fail"), (0.9621, "pass")])
def test_above_reach_the_error_must_fall_instead(candidate: float, verdict: str) -> None:
    """Against .96 a factor of 1.05 would ask for more than 1: an error that falls from .04 to .038 passes, and it is said."""
    result = judge(_evidence(candidate_ndcg_5=candidate, champion_ndcg_5=0.96, difference_low=0.0005))
    assert result.verdict == verdict
    assert any("out of reach above 0.952" in reason for reason in result.reasons)


def test_the_verdict_can_be_replayed_from_its_evidence() -> None:
    """Evidence that went through JSON gives the same verdict and reasons."""
    first = judge(
        _evidence(candidate_gini=0.3, champion_gini=0.2, areas=(AreaEvidence(area="tax", cases=40, candidate=0.5, champion=0.7),))
    )
    assert first.verdict == "fail"
    again = judge(GateEvidence(**json.loads(json.dumps(first.evidence))))
    assert again == first


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "golden scores differ": ({"golden": "version 4: raw score of golden row 5 differs"}, "golden row 5"),
    "a text of over 20 MB": ({"candidate_bytes": MOST_BYTES + 100_000}, "20.1 MB: at most 20 MB"),
    "slower than 20 ms": ({"candidate_scoring_ms": MOST_SCORING_MS + 0.1}, "20.1 ms to score 1,000 candidates: at most 20 ms"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_candidate_that_cannot_answer_fails_however_well_it_ranks(what: str) -> None:
    """With much data and with none; the reason is told, and is all that is told."""
    changes, told = UNFIT[what]
    for data in ({}, {"held_out_cases": 0, "candidate_ndcg_5": None}):
        result = judge(_evidence(**(changes | data)))
        assert result.verdict == "fail"
        (reason,) = result.reasons
        assert told in reason
        assert judge(GateEvidence(**json.loads(json.dumps(result.evidence)))) == result


def test_all_that_makes_a_candidate_unfit_is_told_together() -> None:
    """Nobody mends one thing to learn of the next."""
    everything: dict[str, Any] = {}
    for changes, _ in UNFIT.values():
        everything |= changes
    assert len(judge(_evidence(**everything)).reasons) == len(UNFIT)


@pytest.mark.parametrize(("size", "milliseconds"), [(MOST_BYTES, MOST_SCORING_MS), (None, None)])
def test_a_candidate_at_the_bounds_or_unmeasured_is_judged_by_its_ranking(size: int | None, milliseconds: float | None) -> None:
    """The bounds may be reached; what was not looked at keeps from nothing."""
    fit: dict[str, Any] = {"candidate_bytes": size, "candidate_scoring_ms": milliseconds}
    assert judge(_evidence(**fit)).verdict == "pass"
    assert judge(_evidence(**fit, candidate_ndcg_5=0.5)).verdict == "fail"
