"""When the alias may move, where a rollback goes, and what is made of a move by somebody else: from the evidence alone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.rollout.rules import (
    AliasEvidence,
    Former,
    PromotionEvidence,
    RollbackEvidence,
    Unfinished,
    judge_alias,
    judge_promotion,
    judge_rollback,
    why_no_target,
)
from litgo_pipelines_tests.rollout.conftest import NOON

VERSIONS = st.sampled_from(["1", "2", "3", None])
PROOFS = st.sampled_from(["unproven", "proven", "blocked"])
FREEZES = st.none() | st.just("frozen by ana")

promotions = st.builds(
    PromotionEvidence,
    version=st.sampled_from(["1", "2", "3"]),
    expected=VERSIONS,
    found=VERSIONS,
    unusable=st.none() | st.just("GoldenScoresDiffer"),
    state=PROOFS,
    frozen=FREEZES,
    cooldown_until=st.none() | st.integers(-2, 2).map(lambda hours: NOON + timedelta(hours=hours)),
    at=st.just(NOON),
    by_itself=st.booleans(),
    why=st.sampled_from(["gate", "experiment", "person"]),
    upstream=st.just({"verdict": "pass"}),
)

formers = st.builds(Former, version=st.sampled_from(["1", "2", "3"]), state=PROOFS, exists=st.none() | st.booleans(), unusable=FREEZES)

rollbacks = st.builds(
    RollbackEvidence,
    champion=st.just("9"),
    found=st.sampled_from(["9", "9", "1", None]),
    formers=st.lists(formers, max_size=4, unique_by=lambda one: one.version).map(tuple),
    frozen=FREEZES,
    by_itself=st.booleans(),
    cooldown_hours=st.just(24.0),
    upstream=st.just({}),
)


def promotion(**changes: Any) -> PromotionEvidence:
    """A promotion by itself that nothing stands against."""
    usual: dict[str, Any] = {"version": "2", "expected": "1", "found": "1", "unusable": None, "state": "unproven", "frozen": None}
    usual |= {"cooldown_until": None, "at": NOON, "by_itself": True, "why": "gate", "upstream": {}}
    return PromotionEvidence(**(usual | changes))


def test_what_nothing_stands_against_is_allowed() -> None:
    """Also against the hand weights, and when the cool-down ends at this very moment."""
    for evidence in (promotion(), promotion(expected=None, found=None), promotion(cooldown_until=NOON), promotion(state="proven")):
        result = judge_promotion(evidence)
        assert (result.verdict, result.override, result.reasons) == ("allowed", False, [])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"frozen": "frozen by ana"}, "frozen by ana"),
        ({"cooldown_until": NOON + timedelta(seconds=1)}, "until 2026-03-10 12:00"),
        ({"state": "blocked"}, "version 2 is blocked"),
    ],
)
def test_what_holds_the_system_is_an_override_for_a_person(changes: dict[str, Any], word: str) -> None:
    """Refused by itself, allowed to a person, and both say why."""
    refused, allowed = judge_promotion(promotion(**changes)), judge_promotion(promotion(**changes, by_itself=False))
    assert (refused.verdict, refused.override, allowed.verdict, allowed.override) == ("refused", False, "allowed", True)
    assert word in refused.reasons[0]
    assert refused.reasons == allowed.reasons


@given(promotions)
def test_a_promotion_is_judged_alike_from_what_was_stored(evidence: PromotionEvidence) -> None:
    """Through JSON and back the verdict is the same; every verdict but a plain yes says why."""
    result = judge_promotion(evidence)
    stored = json.loads(json.dumps(result.model_dump(mode="json")))
    assert judge_promotion(PromotionEvidence.model_validate(stored["evidence"])) == result
    assert bool(result.reasons) == (result.verdict != "allowed" or result.override)


@given(promotions)
def test_nothing_moves_over_somebody_or_to_what_cannot_answer(evidence: PromotionEvidence) -> None:
    """Allowed means: the alias is where it was, the version is another one and loads; by itself moreover that nothing stands against it."""
    result = judge_promotion(evidence)
    if result.verdict == "allowed":
        assert evidence.found == evidence.expected != evidence.version
        assert evidence.unusable is None
        assert not (result.override and evidence.by_itself)
        if evidence.by_itself:
            assert evidence.frozen is None
            assert evidence.state != "blocked"
            assert evidence.cooldown_until is None or evidence.cooldown_until <= evidence.at


@given(rollbacks)
def test_a_rollback_goes_to_a_proven_version_that_loads_or_nowhere(evidence: RollbackEvidence) -> None:
    """The target is the first in line that is proven, exists and loads; without one the hand weights; the verdict can be had again."""
    result = judge_rollback(evidence)
    stored = json.loads(json.dumps(result.model_dump(mode="json")))
    assert judge_rollback(RollbackEvidence.model_validate(stored["evidence"])) == result
    good = [one.version for one in evidence.formers if one.state == "proven" and one.exists and one.unusable is None]
    if evidence.found != "9":
        assert (result.verdict, result.target) == ("superseded", None)
    elif evidence.frozen is not None and evidence.by_itself:
        assert (result.verdict, result.target) == ("held", None)
    else:
        assert (result.verdict, result.target) == (("version", good[0]) if good else ("hand weights", None))
        assert result.override == (evidence.frozen is not None)
    assert result.reasons


def test_every_way_of_being_no_target_is_said() -> None:
    """A version that was not looked at is not taken for a good one."""
    said = [
        why_no_target(Former(version="1", state="blocked")),
        why_no_target(Former(version="1", state="proven")),
        why_no_target(Former(version="1", state="proven", exists=False)),
        why_no_target(Former(version="1", state="proven", exists=True, unusable="odd")),
        why_no_target(Former(version="1", state="proven", exists=True)),
    ]
    assert said == ["it is blocked", "it was not looked at", "it was deleted", "odd", None]


@pytest.mark.parametrize(
    ("changes", "kind", "alert"),
    [
        ({"looked_before": False, "recorded": None}, "first look", False),
        ({"observed": "1"}, "unchanged", False),
        ({}, "moved", True),
        ({"recorded": None, "recorded_exists": None}, "moved", True),
        ({"recorded_exists": False}, "moved", True),
        ({"observed": None, "state": None}, "removed", True),
        ({"observed": None, "state": None, "recorded_exists": False}, "version deleted", True),
        ({"unfinished": (Unfinished(operation_id="x", from_version="1", to_version="2"),)}, "unchanged", False),
        ({"unfinished": (Unfinished(operation_id="x", from_version="1", to_version="3"),)}, "moved", True),
    ],
)
def test_what_became_of_the_alias(changes: dict[str, Any], kind: str, alert: bool) -> None:
    """Moved, removed and deleted are told apart, and only what somebody else did is told."""
    usual = {"looked_before": True, "recorded": "1", "observed": "2", "recorded_exists": True, "state": "unproven"}
    result = judge_alias(AliasEvidence(**(usual | changes)))
    assert (result.kind, result.alert, result.override) == (kind, alert, False)


def test_a_blocked_version_that_somebody_chose_is_an_override() -> None:
    """But one that was there at the first look is nobody's override."""
    usual: dict[str, Any] = {"recorded": "1", "observed": "2", "recorded_exists": True, "state": "blocked"}
    assert judge_alias(AliasEvidence(looked_before=True, **usual)).override is True
    assert judge_alias(AliasEvidence(looked_before=False, **(usual | {"recorded": None}))).override is False
