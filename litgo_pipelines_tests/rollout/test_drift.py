"""Drift of the features: figures computed by hand, verdicts, and the picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from litgo_pipelines.rollout.drift import DriftError, FeatureDrift, judge_drift, stability_index
from litgo_pipelines.rollout.watch_pictures import drift_picture

Floats = NDArray[np.float64]


def sample(rows: int, seed: int) -> Floats:
    return np.random.default_rng(seed).random((rows, 8))


def of(letter: str, reference: Floats, recent: Floats) -> FeatureDrift:
    return next(one for one in judge_drift(reference, recent).features if one.feature == letter)


def test_the_stability_index_is_the_sum_over_bins() -> None:
    """1 to 100 in ten bins of ten, an empty one for unknown; of late only values up to 50: by hand, half a row added to each bin."""
    reference = np.arange(1, 101) / 100
    recent = np.repeat(np.arange(1, 51) / 100, 2)
    p, low, high = 10.5 / 105.5, 20.5 / 105.5, 0.5 / 105.5
    expected = 5 * (low - p) * math.log(low / p) + 5 * (high - p) * math.log(high / p)
    assert stability_index(reference, recent) == pytest.approx(expected)
    assert stability_index(reference, reference) == 0


def test_unknown_values_have_a_bin_of_their_own() -> None:
    """Half of late are unknown, which is a bin that stood empty; nothing else changed."""
    reference = np.arange(1, 101) / 100
    recent = np.concatenate([reference, np.full(100, np.nan)])
    p, q = 10.5 / 105.5, 10.5 / 205.5
    before, of_late = 0.5 / 105.5, 100.5 / 205.5
    assert stability_index(reference, recent) == pytest.approx(
        10 * (q - p) * math.log(q / p) + (of_late - before) * math.log(of_late / before)
    )


def test_a_constant_feature_that_stays_so_is_stable_and_one_that_moves_is_not() -> None:
    """To either side: a value that all rows share has a bin of its own."""
    still = np.full(1_000, 0.6)
    assert stability_index(still, still) == 0
    assert stability_index(still, np.full(1_000, 0.61)) > 1
    assert stability_index(still, np.full(1_000, 0.59)) > 1


def test_a_value_shared_by_many_rows_is_told_from_those_beside_it() -> None:
    """Area match is 1 or .6: fewer ones of late are a drift although both values occurred before."""
    reference = np.repeat([0.6, 1.0], [200, 800])
    shifted = np.repeat([0.6, 1.0], [600, 400])
    assert stability_index(reference, shifted) == pytest.approx(0.4 * math.log(3) + 0.4 * math.log(2), rel=0.01)


def test_samples_of_the_same_kind_are_stable() -> None:
    """At the least size that is compared too, where chance alone makes the index largest."""
    for seed in range(5):
        result = judge_drift(sample(500, seed), sample(500, 100 + seed))
        assert result.verdict == "stable"
        assert all(one.psi is not None and one.psi > 0 for one in result.features)


def test_one_drifted_feature_is_named_with_its_figures() -> None:
    """Squared, a uniform feature lies .25 below itself at most; the verdict is that of the worst feature."""
    recent = sample(2_000, 2)
    recent[:, 3] **= 2
    result = judge_drift(sample(2_000, 1), recent)
    assert result.verdict == "drifted"
    assert [one.feature for one in result.features if one.verdict != "stable"] == ["g"]
    drifted = result.features[3]
    assert drifted.ks_statistic == pytest.approx(0.25, abs=0.04)
    assert drifted.p_value is not None
    assert drifted.p_value < 1e-10
    assert len(result.reasons) == 1
    assert result.reasons[0].startswith("g drifted: PSI 0.")


def test_the_distance_is_the_greatest_between_the_distributions() -> None:
    """Of 0..1 and .1..1.1 in steps it is a tenth."""
    reference, recent = sample(1_000, 1), sample(1_000, 2)
    reference[:, 0], recent[:, 0] = np.arange(1_000) / 1_000, np.arange(100, 1_100) / 1_000
    assert of("a", reference, recent).ks_statistic == pytest.approx(0.1)


def test_between_the_limits_it_is_moderate() -> None:
    """A shift whose index lies between .1 and .25 is told, and is no drift."""
    reference, recent = sample(4_000, 1), sample(4_000, 2)
    recent[:, 5] = recent[:, 5] ** 1.55
    found = of("u", reference, recent)
    assert found.psi is not None
    assert 0.1 <= found.psi < 0.25
    assert found.verdict == "moderate"
    assert judge_drift(reference, recent).verdict == "moderate"


def test_a_large_index_that_may_be_chance_is_only_moderate() -> None:
    """Every other decile empty of late makes a large index, but no distance that 500 rows could be sure of."""
    reference, recent = sample(500, 1), sample(500, 2)
    reference[:, 0] = np.arange(500) / 500
    recent[:, 0] = np.repeat([place for place in np.arange(500) / 500 if int(place * 10 + 1e-9) % 2], 2)
    found = of("a", reference, recent)
    assert found.psi is not None
    assert found.psi > 1
    assert found.ks_statistic == pytest.approx(0.1)
    assert found.verdict == "moderate"


def test_a_feature_nobody_knows_is_stable_until_somebody_does() -> None:
    """All unknown on both sides is no drift; all unknown of late is one, in either direction, without a test of known values."""
    known, unknown = sample(600, 1), sample(600, 2)
    unknown[:, 1] = np.nan
    both = of("s", unknown, unknown)
    assert (both.psi, both.ks_statistic, both.verdict) == (0, None, "stable")
    assert of("s", known, unknown).verdict == "drifted"
    assert of("s", unknown, known).verdict == "drifted"


@pytest.mark.parametrize(("before", "of_late"), [(499, 5_000), (5_000, 499), (0, 0)])
def test_too_few_rows_are_neither_stable_nor_drifted(before: int, of_late: int) -> None:
    """However far apart the samples lie."""
    result = judge_drift(sample(before, 1), sample(of_late, 2) ** 4)
    assert result.verdict == "insufficient data"
    assert {one.verdict for one in result.features} == {"insufficient data"}
    assert {one.psi for one in result.features} == {None}
    assert f"{before} rows of the reference and {of_late} recent ones" in result.reasons[0]


def test_what_is_no_sample_of_features_is_refused() -> None:
    """Another number of columns, or an infinite value."""
    with pytest.raises(DriftError, match="8 columns"):
        judge_drift(np.zeros((600, 7)), np.zeros((600, 8)))
    with pytest.raises(DriftError, match="infinite"):
        judge_drift(np.full((600, 8), np.inf), np.zeros((600, 8)))
    with pytest.raises(DriftError, match="a row on each side"):
        stability_index([], [0.5])


def test_the_picture_is_small_and_drawn_whatever_is_unknown() -> None:
    """With bars, and without one where there were too few rows."""
    full, empty = judge_drift(sample(600, 1), sample(600, 2) ** 2), judge_drift(sample(0, 1), sample(0, 2))
    pictures = {drift_picture(full), drift_picture(empty)}
    assert len(pictures) == 2
    assert all(png.startswith(b"\x89PNG\r\n\x1a\n") and len(png) * 4 / 3 < 50 * 1024 for png in pictures)
