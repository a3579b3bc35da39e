"""NDCG, precision and the paired bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from litgo_pipelines.ranking.evaluation import ndcg, paired_bootstrap, precision


@st.composite
def _groups(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sizes = draw(st.lists(st.integers(1, 14), min_size=1, max_size=8))
    group = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    label = np.array(draw(st.lists(st.integers(0, 5), min_size=group.size, max_size=group.size)), dtype=np.int32)
    # Few distinct scores, so that ties are common.
    score = np.array(draw(st.lists(st.integers(-3, 3), min_size=group.size, max_size=group.size))) / 7
    return label, score, group


@settings(max_examples=150, deadline=None)
@given(_groups(), st.integers(1, 12))
def test_ndcg_equals_that_of_scikit_learn(rows: tuple[np.ndarray, np.ndarray, np.ndarray], k: int) -> None:
    """Each group's NDCG is that of `sklearn.metrics.ndcg_score`, ties included; groups without two labels are left out."""
    label, score, group = rows
    found = ndcg(label, score, group, k)
    for one in range(group[-1] + 1):
        own, scored = label[group == one], score[group == one]
        if np.unique(own).size < 2:
            assert np.isnan(found[one])
        else:
            assert found[one] == pytest.approx(ndcg_score([own], [scored], k=k), abs=1e-12)


def test_precision_counts_the_good_among_the_first_five() -> None:
    """Two good ones among the first five of six give .4; a group of two is divided by two; a tie at the cut shares its place."""
    group = np.array([0] * 6 + [1] * 2 + [2] * 6, dtype=np.int32)
    good = np.array([1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0], dtype=bool)
    score = np.array([9, 8, 7, 6, 5, 4] + [1, 2] + [1] * 6, dtype=float)
    assert precision(good, score, group, 5) == pytest.approx([0.4, 0.5, 1 / 6])


def test_no_rows_give_no_groups() -> None:
    """Measures of an empty set are empty, and the bootstrap of nothing is NaN, not 0."""
    empty = np.empty(0, dtype=np.int32)
    assert ndcg(empty, empty.astype(float), empty, 5).shape == (0,)
    assert precision(empty.astype(bool), empty.astype(float), empty, 5).shape == (0,)
    assert np.isnan(paired_bootstrap(np.empty(0), np.empty(0))).all()


def test_the_interval_of_a_clear_difference_lies_above_zero() -> None:
    """A candidate that is better in nearly every group has a positive lower bound; the same call gives the same interval."""
    generator = np.random.default_rng(1)
    champion = generator.random(300)
    candidate = champion + generator.normal(0.1, 0.1, 300)
    mean, low, high = paired_bootstrap(candidate, champion, resamples=500, seed=3)
    assert 0 < low < mean < high
    assert mean == pytest.approx(np.mean(candidate - champion))
    assert (mean, low, high) == paired_bootstrap(candidate, champion, resamples=500, seed=3)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Over 300 samples without any difference the 95 % interval holds 0 in about 95 % of them."""
    generator = np.random.default_rng(2)
    held = 0
    for seed in range(300):
        _, low, high = paired_bootstrap(generator.normal(0, 1, 120), np.zeros(120), resamples=300, seed=seed)
        held += low <= 0 <= high
    assert 0.90 <= held / 300 <= 0.985


def test_equal_rankers_have_an_interval_of_zero() -> None:
    """A ranker compared with itself differs by exactly 0, bounds included."""
    same = np.random.default_rng(0).random(80)
    assert paired_bootstrap(same, same) == (0.0, 0.0, 0.0)


def test_groups_of_one_case_are_drawn_together() -> None:
    """Repeating each case four times adds no certainty when the cases are named, and falsely does when they are not."""
    generator = np.random.default_rng(4)
    difference = np.repeat(generator.normal(0, 1, 60), 4)
    case = np.repeat(np.arange(60, dtype=np.int32), 4)
    _, low, high = paired_bootstrap(difference, np.zeros(240), case=case)
    _, naive_low, naive_high = paired_bootstrap(difference, np.zeros(240))
    assert high - low > 1.6 * (naive_high - naive_low)
