"""What answers before and after the first model."""

from __future__ import annotations

import math

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from litgo_pipelines.ranking.ranker import HAND_WEIGHTS, HandWeights, LightGBMRanker

_FEATURE = st.one_of(st.just(math.nan), st.floats(0, 1, width=32))


def _rows(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def test_hand_weights_are_the_agreed_ones_normalised() -> None:
    """A.30 S.25 T.15 G.10 Q.10 U.05 R.05 C.03 over their sum: each feature alone brings its share, all together 1."""
    agreed = [0.30, 0.25, 0.15, 0.10, 0.10, 0.05, 0.05, 0.03]
    assert HandWeights().score(np.eye(8, dtype=np.float32)).tolist() == pytest.approx([one / 1.03 for one in agreed])
    assert HandWeights().score(_rows([1.0] * 8)).tolist() == pytest.approx([1.0])


def test_an_unknown_feature_shares_its_weight_among_the_known() -> None:
    """A lawyer is judged by what is known, not punished for what is not."""
    unknown = math.nan
    found = HandWeights().score(_rows([1.0, unknown, *[0.0] * 6], [0.4, *[unknown] * 7], [unknown] * 8))
    assert found.tolist() == pytest.approx([0.30 / 0.78, 0.4, 0.5])


@given(st.lists(st.lists(_FEATURE, min_size=8, max_size=8), min_size=1, max_size=20))
def test_hand_weights_stay_between_the_least_and_the_greatest_known_feature(rows: list[list[float]]) -> None:
    """A weighted mean is never outside of what it averages."""
    for row, score in zip(rows, HandWeights().score(_rows(*rows)), strict=True):
        known = [one for one in _rows(row)[0].tolist() if not math.isnan(one)] or [0.5]
        assert min(known) - 1e-6 <= score <= max(known) + 1e-6


@given(st.lists(_FEATURE, min_size=8, max_size=8), st.integers(0, 7), st.floats(0, 1))
def test_a_better_feature_never_lowers_the_score(row: list[float], at: int, better: float) -> None:
    """Each of the hand weights is positive."""
    if math.isnan(row[at]):
        row[at] = 0.0
    improved = [max(row[at], better) if place == at else value for place, value in enumerate(row)]
    before, after = HandWeights().score(_rows(row, improved))
    assert after >= before - 1e-9
    assert np.all(HAND_WEIGHTS > 0)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=10))
def test_acceptance_is_never_certain(raw: list[float]) -> None:
    """P(accept) lies inside (0, 1), whatever the raw score is, and keeps its order."""
    features = np.zeros((len(raw), 8), dtype=np.float32)
    found = HandWeights().acceptance(features, np.array(raw))
    assert np.all((found > 0) & (found < 1))
    assert np.all(np.diff(found[np.argsort(raw)]) >= 0)


def test_no_candidates_have_no_scores() -> None:
    """An empty list is scored without an error."""
    assert HandWeights().score(np.zeros((0, 8), dtype=np.float32)).shape == (0,)


class _Certain:
    """A calibration that is sure of everything."""

    def probability(self, _features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return (raw > 0).astype(np.float64)


def test_a_model_scores_as_its_booster_does_and_is_never_certain_either() -> None:
    """Raw scores are LightGBM's own; the calibration's 0 and 1 are kept inside (0, 1)."""
    features = np.random.default_rng(0).random((200, 8)).astype(np.float32)
    label = (features[:, 3] > 0.5).astype(int)
    booster = lightgbm.train(
        {"objective": "lambdarank", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5},
        lightgbm.Dataset(features, label=label, group=[10] * 20),
        num_boost_round=5,
    )
    ranker = LightGBMRanker("7", booster, _Certain())  # type: ignore[arg-type]
    raw = ranker.score(features)
    assert raw.tolist() == np.asarray(booster.predict(features)).tolist()
    assert raw[label == 1].mean() > raw[label == 0].mean()
    accepted = ranker.acceptance(features, raw)
    assert set(accepted.tolist()) == {0.001, 0.999}
