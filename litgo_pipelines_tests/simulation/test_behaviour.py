"""What simulated people do, as draws of ids: always the same for one id, and each question by a draw of its own."""

from __future__ import annotations

import numpy as np
import pytest

from litgo_pipelines.simulation import behaviour
from litgo_pipelines.simulation.behaviour import DAY, HOUR

MANY = 40_000
IDS = np.random.default_rng(5).integers(0, 2**64, MANY, dtype=np.uint64)
HALF = np.full(MANY, 0.5)
IDLE = np.zeros(MANY)


def test_nothing_is_drawn_twice() -> None:
    """What one id is asked says nothing about what else it is asked: no two answers go together."""
    answers = {
        "silent": behaviour.is_silent(IDS),
        "slow": behaviour.answer_delay(IDS, IDLE),
        "interested": behaviour.accepts(IDS, HALF, IDLE),
        "drawn to": behaviour.attraction(IDS, HALF, np.ones(MANY, dtype=np.int64)),
        "ponders": behaviour.pondering(IDS),
        "walks away": behaviour.walks_away(IDS),
        "lasts": behaviour.contract_length(IDS),
        "canceled": behaviour.is_canceled(IDS),
        "settled": behaviour.outcome(IDS, HALF) == "settled",
        "reviewed": behaviour.is_reviewed(IDS),
        "stars": behaviour.rating(IDS, HALF, np.full(MANY, "won")),
        "reason": behaviour.decline_reason(IDS, IDLE) == "fee",
    }
    together = np.corrcoef([np.asarray(one, dtype=np.float64) for one in answers.values()])
    np.testing.assert_allclose(together, np.eye(len(answers)), atol=5 / np.sqrt(MANY))


def test_an_id_answers_alone_as_among_others() -> None:
    """A draw hangs on the id, not on its place or company."""
    alone = np.array([behaviour.answer_delay(IDS[i : i + 1], IDLE[:1])[0] for i in range(50)])
    assert alone.tolist() == behaviour.answer_delay(IDS[:50][::-1], IDLE[:50])[::-1].tolist()


def test_reasons_are_as_many_of_each_kind() -> None:
    """Whoever does not want the case at all names one of four reasons; for lack of time declines only who would have wanted it."""
    nobody = np.full(MANY, -5.0)
    found, count = np.unique(behaviour.decline_reason(IDS, nobody), return_counts=True)
    assert found.tolist() == ["conflict", "fee", "not_interested", "other"]
    assert count / MANY == pytest.approx([0.25] * 4, abs=0.01)
    wanted = behaviour.accepts(IDS, HALF, IDLE)
    assert ((behaviour.decline_reason(IDS, HALF) == "capacity") == wanted).all()


def test_times_stay_within_their_bounds() -> None:
    """Contracts last 2 to 45 days, clients choose within half a day, the quick answer sooner."""
    length = behaviour.contract_length(IDS)
    assert (length.min(), length.max()) == (2 * DAY, 45 * DAY)
    assert np.median(length) == pytest.approx(np.exp(2.1) * DAY, rel=0.02)
    assert 0 <= behaviour.pondering(IDS).min() < behaviour.pondering(IDS).max() < 12 * HOUR
    slow, quick = (np.median(behaviour.answer_delay(IDS, np.full(MANY, speed))) for speed in (-1.0, 1.0))
    assert slow / quick == pytest.approx(np.exp(0.8), rel=0.05)
    assert quick == pytest.approx(np.exp(0.8) * HOUR, rel=0.03)


def test_stars_follow_relevance_and_outcome() -> None:
    """More for the relevant, more for the won than for the settled than for the lost, always 1 to 5."""
    means = {
        (relevance, ended): behaviour.rating(IDS, np.full(MANY, relevance), np.full(MANY, ended)).mean()
        for relevance in (0.0, 0.5, 1.0)
        for ended in ("lost", "settled", "won")
    }
    for ended in ("lost", "settled", "won"):
        assert 1 <= means[0.0, ended] < means[0.5, ended] < means[1.0, ended] <= 5
    for relevance in (0.0, 0.5, 1.0):
        assert means[relevance, "lost"] < means[relevance, "settled"] < means[relevance, "won"]
