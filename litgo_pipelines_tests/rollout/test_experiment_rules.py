"""When an experiment starts, ramps, and when a champion counts as proven."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.rollout.experiment_rules import (
    LEAST_EXPOSED,
    LEAST_WATCHED,
    ProvenEvidence,
    RampEvidence,
    Ruling,
    StartEvidence,
    judge_proven,
    judge_ramp,
    judge_start,
)


def start(**changes: Any) -> Ruling:
    """On a candidate that nothing stands against, changed as asked."""
    given: dict[str, Any] = {
        "challenger": "2",
        "champion": "1",
        "running": None,
        "frozen_by": None,
        "hours_to_cool": 0.0,
        "state": "unproven",
        "registered": True,
        "by_itself": True,
    }
    return judge_start(StartEvidence(**(given | changes)))


def ramp(**changes: Any) -> Ruling:
    """On a step that nothing stands against leaving."""
    given: dict[str, Any] = {
        "step": 0,
        "steps": (0.01, 0.05, 0.1),
        "hours": 24.0,
        "least_hours": 24.0,
        "exposed": LEAST_EXPOSED,
        "verdict": "go on",
        "sample_ratio_alarm": False,
        "guardrails_hold": True,
        "frozen_by": None,
    }
    return judge_ramp(RampEvidence(**(given | changes)))


def proven(**changes: Any) -> Ruling:
    """On a champion that has been watched for long enough."""
    given: dict[str, Any] = {
        "version": "2",
        "state": "unproven",
        "hours": 24.0,
        "least_hours": 24.0,
        "decisions": LEAST_WATCHED,
        "verdict": "healthy",
    }
    return judge_proven(ProvenEvidence(**(given | changes)))


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        ({}, "start", "version 2 against 1"),
        ({"champion": "hand-weights"}, "start", "version 2 against hand-weights"),
        ({"state": "proven"}, "start", "version 2 against 1"),
        ({"registered": False}, "refuse", "no version 2"),
        ({"champion": "2"}, "refuse", "champion already"),
        ({"state": "blocked"}, "refuse", "blocked"),
        ({"running": "abc"}, "wait", "abc runs"),
        ({"frozen_by": "ana"}, "wait", "frozen by ana"),
        ({"hours_to_cool": 2.5}, "wait", "another 2.5 h"),
        ({"state": "blocked", "running": "abc"}, "refuse", "blocked"),
        ({"hours_to_cool": -1.0}, "start", "version 2 against 1"),
    ],
)
def test_what_stands_against_a_start(changes: dict[str, Any], verdict: str, said: str) -> None:
    """What can never be is refused, what passes is waited for; each says why."""
    found = start(**changes)
    assert (found.verdict, len(found.reasons)) == (verdict, 1)
    assert said in found.reasons[0]


def test_a_person_starts_in_spite_of_a_freeze_and_a_cool_down_and_of_nothing_else() -> None:
    """Two experiments at a time, or one with a blocked version, are no person's choice either."""
    assert start(frozen_by="ana", hours_to_cool=3.0).reasons == ["frozen by ana", "cooling down for another 3.0 h after a rollback"]
    assert start(frozen_by="ana", hours_to_cool=3.0, by_itself=False).verdict == "start"
    assert start(running="abc", by_itself=False).verdict == "wait"
    assert start(state="blocked", by_itself=False).verdict == "refuse"


@pytest.mark.parametrize("verdict", ["go on", "insufficient data"])
def test_a_step_that_lasted_and_reached_enough_is_left(verdict: str) -> None:
    """While nothing is known yet as well as while nothing is beyond doubt; it says from where to where."""
    assert (ramp(verdict=verdict).verdict, ramp(verdict=verdict).reasons) == ("ramp", ["from 1% to 5% of the clients"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": 2}, "10% is the last step"),
        ({"verdict": "inconclusive"}, "the readout says inconclusive"),
        ({"verdict": "harm"}, "the readout says harm"),
        ({"sample_ratio_alarm": True}, "lost on one side"),
        ({"guardrails_hold": False}, "guardrail"),
        ({"frozen_by": "ana"}, "frozen by ana"),
        ({"hours": 23.9}, "23.9 of 24 h"),
        ({"exposed": LEAST_EXPOSED - 1}, "99 of 100 clients"),
    ],
)
def test_each_obstacle_keeps_a_ramp_where_it_is(changes: dict[str, Any], said: str) -> None:
    """Any one of them is enough, and is the only one told."""
    found = ramp(**changes)
    assert (found.verdict, len(found.reasons)) == ("stay", 1)
    assert said in found.reasons[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "proven"}, "it is proven"),
        ({"state": "blocked"}, "it is blocked"),
        ({"verdict": "insufficient data"}, "insufficient data"),
        ({"verdict": "degraded"}, "degraded"),
        ({"hours": 23.9}, "23.9 of 24 h"),
        ({"decisions": LEAST_WATCHED - 1}, "499 of 500"),
    ],
)
def test_each_doubt_keeps_a_champion_from_being_proven(changes: dict[str, Any], said: str) -> None:
    """Too little data is never taken for healthy."""
    assert proven().verdict == "proven"
    found = proven(**changes)
    assert (found.verdict, len(found.reasons)) == ("not yet", 1)
    assert said in found.reasons[0]


@given(
    st.builds(
        RampEvidence,
        step=st.integers(0, 2),
        steps=st.just((0.01, 0.05, 0.1)),
        hours=st.floats(0, 100),
        least_hours=st.floats(0, 100),
        exposed=st.integers(0, 300),
        verdict=st.sampled_from(["go on", "insufficient data", "inconclusive"]),
        sample_ratio_alarm=st.booleans(),
        guardrails_hold=st.booleans(),
        frozen_by=st.none() | st.text(max_size=5),
    )
)
def test_a_ruling_is_computed_again_from_its_stored_evidence(evidence: RampEvidence) -> None:
    """Through JSON and back, with the same verdict and the same words."""
    found = judge_ramp(evidence)
    assert judge_ramp(RampEvidence.model_validate(found.evidence)) == found
