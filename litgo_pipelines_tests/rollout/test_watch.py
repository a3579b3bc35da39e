"""The watch over the champion: its statistics, its verdicts, and its picture."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from litgo_pipelines.rollout.watch import (
    FALLS,
    MOST_KEPT,
    Reference,
    WatchError,
    WatchEvidence,
    answer_statistics,
    boundary,
    counted,
    cusum,
    judge_watch,
    reference_of,
    score_statistics,
    trimmed,
    watch_evidence,
)
from litgo_pipelines.rollout.watch_pictures import watch_picture

REFERENCE = Reference(mean=0.5, sd=0.05, count=5_000, space="local", accepted_ratio=0.9, promised=0.5, offers=15_000)
Floats = NDArray[np.float64]


def scores_at(ratio: float, count: int, seed: int = 1) -> Floats:
    """Match scores about `ratio` times the reference's mean."""
    return np.random.default_rng(seed).normal(ratio * REFERENCE.mean, REFERENCE.sd, count)


def answers_at(ratio: float, count: int, promised: float = 0.5) -> tuple[Floats, NDArray[np.bool_]]:
    """Answers to offers of which a share of `ratio` times what the reference's acceptance would give is accepted."""
    lucky = np.random.default_rng(2).random(count) < ratio * 0.9 * promised
    return np.full(count, promised), lucky


def evidence(scores: Any = (), answers: tuple[Any, Any] = ((), ()), **changes: Any) -> WatchEvidence:
    given: dict[str, Any] = {
        "version": "7",
        "threshold": 0.85,
        "reference": REFERENCE,
        "scores": scores,
        "promised": answers[0],
        "accepted": answers[1],
        "window_hours": 1.0,
        "window": scores[-100:],
        "fallback_count": 0,
    }
    return watch_evidence(**(given | changes))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.floats(0, 2))
def test_the_closed_form_is_the_recursion(steps: list[float], start: float) -> None:
    """Step by step, max(0, S + step) gives the same."""
    expected, now = [], start
    for step in steps:
        now = max(0.0, now + step)
        expected.append(now)
    assert cusum(np.array(steps), start) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(0.6, 1.0), st.integers(1, 50))
def test_the_end_of_a_series_gives_the_statistics_of_the_whole(seed: int, count: int, ratio: float, most: int) -> None:
    """Cut where all statistics were 0, or with what they stood at, whatever was before matters no more."""
    scores = np.clip(scores_at(ratio, count, seed), 0, 1)
    whole = score_statistics(scores, REFERENCE, 0.85)
    tail = trimmed(whole, most=most)
    assert 1 <= tail.kept <= most
    again = score_statistics(scores[count - tail.kept :], REFERENCE, 0.85, tail.start)
    assert again == pytest.approx(whole[:, count - tail.kept :], abs=1e-9)
    if tail.kept < min(most, count):
        assert not any(tail.start)


def test_a_healthy_series_leaves_next_to_nothing_to_keep() -> None:
    """A thousand decisions at the reference's level end within a few decisions of a moment when nothing had gathered."""
    scores = scores_at(1.0, 1_000)
    assert trimmed(score_statistics(scores, REFERENCE, 0.85)).kept < 20
    assert trimmed(score_statistics(scores_at(0.8, 1_000), REFERENCE, 0.85)).kept > 900


def test_going_on_from_a_tail_is_going_on_from_the_whole() -> None:
    """What one hour keeps and the next hour's decisions give the statistics of both hours."""
    first, second = scores_at(0.84, 3_000), scores_at(0.84, 200, seed=5)
    tail = trimmed(score_statistics(first, REFERENCE, 0.85), most=100)
    both = score_statistics(np.concatenate([first, second]), REFERENCE, 0.85)
    onward = score_statistics(np.concatenate([first[3_000 - tail.kept :], second]), REFERENCE, 0.85, tail.start)
    assert onward[:, -1] == pytest.approx(both[:, -1])
    assert tail.start[0] > 0


@pytest.mark.parametrize(
    ("ratio", "count", "verdict"),
    [(1.0, 10_000, "healthy"), (0.87, 10_000, "healthy"), (0.83, 600, "degraded"), (0.80, 160, "degraded"), (0.5, 8, "degraded")],
)
def test_a_fallen_match_score_is_found_and_a_healthy_one_left_alone(ratio: float, count: int, verdict: str) -> None:
    """A slight fall within hundreds of decisions, a clear one within scores, a heavy one within a handful; none, and a small one, never."""
    result = judge_watch(evidence(scores_at(ratio, count)))
    assert result.verdict == verdict
    assert any(("match score: alarm" in reason) == (verdict == "degraded") for reason in result.reasons)


def test_a_fall_after_a_long_healthy_life_is_found_as_fast() -> None:
    """Good days are no credit: the statistic cannot fall below 0."""
    result = judge_watch(evidence(np.concatenate([scores_at(1.05, 20_000), scores_at(0.8, 160)])))
    assert result.verdict == "degraded"


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "healthy"), (0.87, "healthy"), (0.6, "degraded")])
def test_acceptance_below_what_was_promised_is_found_by_itself(ratio: float, verdict: str) -> None:
    """The lawyers shown look as good as ever, but they do not accept."""
    result = judge_watch(evidence(scores_at(1.0, 100), answers_at(ratio, 3_000)))
    assert result.verdict == verdict
    assert any("accepted against promised: alarm" in reason for reason in result.reasons) == (verdict == "degraded")


def test_fewer_acceptances_that_were_promised_so_are_no_fall() -> None:
    """Of offers promised at .3 fewer are accepted than of offers at .5; the same answers to offers at .5 are an alarm."""
    promised, accepted = answers_at(1.0, 3_000, promised=0.3)
    assert judge_watch(evidence(scores_at(1.0, 100), (promised, accepted))).verdict == "healthy"
    assert judge_watch(evidence(scores_at(1.0, 100), (np.full(3_000, 0.5), accepted))).verdict == "degraded"


def test_without_a_reference_or_a_decision_nothing_is_said() -> None:
    """However bad the scores, and however many were answered in fallback."""
    assert judge_watch(evidence(scores_at(0.3, 100), reference=None)).verdict == "insufficient data"
    empty = judge_watch(evidence(fallback_count=500))
    assert empty.verdict == "insufficient data"
    assert any("500 in fallback are left out" in reason for reason in empty.reasons)


def test_answers_alarm_even_while_nobody_asks() -> None:
    """Answers come hours after their requests: an hour without a request hides no fall, and is by itself no health."""
    assert judge_watch(evidence(answers=answers_at(0.5, 3_000))).verdict == "degraded"
    assert judge_watch(evidence(answers=answers_at(1.0, 3_000))).verdict == "insufficient data"


def test_a_reference_without_answers_leaves_acceptance_unjudged() -> None:
    """Scores are judged all the same, and it is said."""
    bare = Reference(mean=0.5, sd=0.05, count=5_000, space="local")
    result = judge_watch(evidence(scores_at(1.0, 100), answers_at(0.2, 3_000), reference=bare))
    assert result.verdict == "healthy"
    assert any("accepted against promised: insufficient data" in reason for reason in result.reasons)


def test_an_alarm_within_the_evidence_is_not_outshone_by_its_end() -> None:
    """Crossed and on its way back, but not back at 0: still degraded."""
    scores = np.concatenate([scores_at(0.7, 60), np.full(40, 0.5)])
    statistics = score_statistics(scores, REFERENCE, 0.85)
    assert statistics.max() > 1
    assert 0 < statistics[:, -1].max() < 1
    assert judge_watch(evidence(scores)).verdict == "degraded"


@pytest.mark.parametrize("ratio", [1.0, 0.8])
def test_the_verdict_can_be_computed_again_from_its_evidence(ratio: float) -> None:
    """Through JSON, from the end of series longer than what is kept."""
    first = judge_watch(evidence(scores_at(ratio, 5_000), answers_at(ratio, 5_000)))
    assert len(first.evidence["scores"]) <= MOST_KEPT
    assert first.verdict == ("healthy" if ratio == 1.0 else "degraded")
    assert judge_watch(WatchEvidence(**json.loads(json.dumps(first.evidence)))) == first


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 1.9))
def test_only_the_ratio_to_the_reference_matters(scale: float) -> None:
    """Scores and reference times the same number give the same statistics."""
    scores = np.clip(scores_at(0.84, 300), 0, 0.52)
    scaled = REFERENCE.model_copy(update={"mean": REFERENCE.mean * scale, "sd": REFERENCE.sd * scale})
    assert score_statistics(scores * scale, scaled, 0.85) == pytest.approx(score_statistics(scores, REFERENCE, 0.85), abs=1e-9)


@pytest.mark.parametrize(("ratio", "degraded"), [(0.63, False), (0.565, True)])
def test_the_levels_move_with_the_threshold(ratio: float, degraded: bool) -> None:
    """At a threshold of .6 a ratio of .63 is good enough, which at .85 is a heavy fall."""
    scores = scores_at(ratio, 400)
    assert (score_statistics(scores, REFERENCE, 0.6).max() > 1) == degraded
    assert score_statistics(scores, REFERENCE, 0.85).max() > 1


def test_a_boundary_follows_from_noise_and_drift() -> None:
    """It scales with the unit, is near the logarithm's law where nothing is in doubt, and rises with noise, doubt, length and caution."""
    usual = boundary(0.03, 0.1, 0.001, 16_800, 0.002)
    assert boundary(0.06, 0.2, 0.002, 16_800, 0.002) == pytest.approx(2 * usual, rel=1e-6)
    law = 0.1**2 / (2 * 0.03) * math.log(16_800 / 0.002 * 2 * 0.03**2 / 0.1**2)
    assert boundary(0.03, 0.1, 0.0, 16_800, 0.002) == pytest.approx(law - 1.166 * 0.1, rel=0.01)
    assert usual < boundary(0.03, 0.11, 0.001, 16_800, 0.002)
    assert usual < boundary(0.03, 0.1, 0.003, 16_800, 0.002)
    assert usual < boundary(0.03, 0.1, 0.001, 168_000, 0.002)
    assert usual < boundary(0.03, 0.1, 0.001, 16_800, 0.0002)


def test_one_wild_score_counts_four_standard_deviations_at_most() -> None:
    """A score of 0 and one of a fifth of the reference are the same outlier."""
    zero, fifth = (score_statistics([one], REFERENCE, 0.85)[:, 0] for one in (0.0, 0.1))
    assert (zero == fifth).all()
    assert (zero > score_statistics([0.3], REFERENCE, 0.85)[:, 0]).all()


def test_a_reference_that_scatters_downwards_raises_the_boundaries() -> None:
    """The same scores stand lower against it; one that scatters upwards changes nothing."""
    scores = scores_at(0.8, 100)
    usual = score_statistics(scores, REFERENCE, 0.85).max(axis=1)
    downwards = score_statistics(scores, REFERENCE.model_copy(update={"skewness": -1.5}), 0.85).max(axis=1)
    upwards = score_statistics(scores, REFERENCE.model_copy(update={"skewness": 1.5}), 0.85).max(axis=1)
    assert (downwards < usual).all()
    assert (upwards == usual).all()


def test_scores_that_never_differ_are_no_division_by_zero() -> None:
    """A reference without any scatter still tells a fall from none."""
    still = reference_of(np.full(600, 0.5), "local", [], [], least=500)
    assert still is not None
    assert still.sd == 0
    assert score_statistics(np.full(200, 0.5), still, 0.85).max() == 0
    assert score_statistics(np.full(200, 0.41), still, 0.85).max() > 1


def test_a_reference_is_what_the_first_decisions_were() -> None:
    """Mean, deviation, skewness and count of the scores; accepted over promised, as sums."""
    scores = [0.2, 0.4, 0.6, 0.6]
    found = reference_of(scores, "openai", [0.5, 0.3, 0.2], [1, 0, 0], least=3)
    assert found is not None
    assert found.model_dump() == {
        "mean": pytest.approx(0.45),
        "sd": pytest.approx(np.std(scores)),
        "skewness": pytest.approx(np.mean((np.array(scores) - 0.45) ** 3) / np.std(scores) ** 3),
        "count": 4,
        "space": "openai",
        "accepted_ratio": pytest.approx(1.0),
        "promised": pytest.approx(1 / 3),
        "offers": 3,
        "began": None,
        "ended": None,
        "after_block": False,
    }


def test_too_few_decisions_make_no_reference_and_too_few_answers_no_acceptance() -> None:
    """Nor do scores that are all 0, which nothing can be a share of."""
    assert reference_of([0.5] * 9, "local", [0.5] * 50, [1] * 50, least=10) is None
    assert reference_of([0.0] * 10, "local", [], [], least=10) is None
    few = reference_of([0.5] * 10, "local", [0.5] * 9, [1] * 9, least=10)
    assert few is not None
    assert (few.accepted_ratio, few.promised, few.offers) == (None, None, 0)
    enough = reference_of([0.5] * 10, "local", [0.5] * 9, [1] * 9, least=10, least_offers=9)
    assert enough is not None
    assert enough.accepted_ratio == 2.0


def test_decisions_in_another_space_or_in_fallback_do_not_count() -> None:
    """Nor those whose space nobody knows."""
    found = counted(["local", "openai", None, "local"], [False, False, False, True], REFERENCE)
    assert found.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("scores", "promised", "accepted", "told"),
    [
        ([0.5, math.nan], [], [], "match scores"),
        ([1.2], [], [], "match scores"),
        ([[0.5]], [], [], "match scores"),
        ([0.5], [math.nan], [1], "promised probabilities"),
        ([0.5], [0.5, 0.5], [1], "2 promises for 1 answers"),
    ],
)
def test_what_is_no_probability_is_refused(scores: Any, promised: Any, accepted: Any, told: str) -> None:
    """An unknown score is left out by who knows why it is unknown, and never counts as 0."""
    with pytest.raises(WatchError, match=told):
        evidence(scores, (promised, accepted), window=[])
    with pytest.raises(WatchError, match=told):
        reference_of(scores, "local", promised, accepted, least=1)


def test_statistics_refuse_what_they_cannot_begin_with() -> None:
    """A threshold that is no share, a start of another length or below 0, a reference that nobody accepted under."""
    with pytest.raises(WatchError, match="QUALITY_THRESHOLD"):
        score_statistics([0.5], REFERENCE, 1.0)
    with pytest.raises(WatchError, match=f"{len(FALLS)} numbers"):
        score_statistics([0.5], REFERENCE, 0.85, [0.1])
    with pytest.raises(WatchError, match=f"{len(FALLS)} numbers"):
        answer_statistics([0.5], [1], REFERENCE, 0.85, [-0.1] * len(FALLS))
    with pytest.raises(WatchError, match="no accepted offer"):
        answer_statistics([0.5], [1], REFERENCE.model_copy(update={"accepted_ratio": 0.0}), 0.85)


def test_the_picture_is_small_and_shows_what_it_is_given() -> None:
    """A week at its most restless fits the event log, base64 included; answers change it, and a series without a decision is drawn too."""
    hours = np.linspace(0, 168, 16_800, endpoint=False)
    scores = scores_at(0.85, 16_800)
    promised, accepted = answers_at(0.85, 16_800)
    png = watch_picture(hours, scores, REFERENCE, 0.85, answer_hours=hours, promised=promised, accepted=accepted)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) * 4 / 3 < 50 * 1024
    assert watch_picture(hours, scores, REFERENCE, 0.85) != png
    assert watch_picture([], [], REFERENCE, 0.85).startswith(b"\x89PNG\r\n\x1a\n")
