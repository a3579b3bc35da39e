"""Off-policy estimates against the hidden truth of a simulated marketplace."""

from __future__ import annotations

import pytest

from litgo_pipelines_tests.simulation.off_policy_truth import Judged, judged


@pytest.fixture(scope="module")
def found() -> dict[str, Judged]:
    return {one.candidate: one for one in judged(seed=1, blur=0.4, days=8, lawyers=250)}


@pytest.mark.parametrize("candidate", ["the champion", "not blurred", "blurred by .2"])
def test_what_the_log_covers_is_estimated_near_the_truth(found: dict[str, Judged], candidate: str) -> None:
    """The doubly robust interval holds what the candidate's own offers would have come to in the same requests."""
    one = found[candidate]
    interval = one.estimated.doubly_robust
    assert one.estimated.coverage is not None
    assert one.estimated.coverage >= 0.5
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low <= one.truth <= interval.high


def test_a_candidate_of_other_ways_is_not_judged_however_many_places_it_shares(found: dict[str, Judged]) -> None:
    """Hand weights would offer to people whom the champion never tries, and are far worse than the few shared places let them look."""
    one = found["hand weights"]
    assert one.estimated.effective_sample_size > 100
    assert one.estimated.snips.mean is not None
    assert one.estimated.snips.mean > one.truth + 0.1
    assert one.estimated.verdict == "insufficient data"
