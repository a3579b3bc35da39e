"""Calibrated acceptance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from litgo_pipelines.ranking.calibration import Acceptance, Offered, expected_calibration_error, fit_acceptance
from litgo_pipelines.ranking.training_set import InsufficientData


def _offered(rows: int, seed: int, probability_of: str = "score") -> Offered:
    generator = np.random.default_rng(seed)
    features = generator.random((rows, 8)).astype(np.float32)
    raw = generator.normal(0, 2, rows)
    truth = {"score": 1 / (1 + np.exp(-raw)), "feature": 0.1 + 0.8 * features[:, 0], "steps": np.where(raw > 0, 0.9, 0.1)}[probability_of]
    return Offered(features, raw, generator.random(rows) < truth, (np.arange(rows) // 5).astype(np.int32))


def _all_rows(offered: Offered, acceptance: Acceptance) -> NDArray[np.float64]:
    return acceptance.probability(offered.features, offered.raw)


def test_few_rows_are_calibrated_by_a_sigmoid_that_finds_the_truth() -> None:
    """Below 1000 rows only Platt's sigmoid is tried, and it comes close to the sigmoid the answers were drawn from."""
    acceptance, report = fit_acceptance(_offered(0, 0), _offered(900, 1), _offered(900, 2), seed=0, threads=1)
    assert acceptance.method == "platt"
    assert set(report.log_loss) == {"platt"}
    assert acceptance.x[0] == pytest.approx(1.0, abs=0.25)


def test_many_rows_that_no_sigmoid_fits_are_calibrated_by_steps() -> None:
    """Answers that jump are calibrated by the isotonic curve, whose cross-validated log loss is lower."""
    acceptance, report = fit_acceptance(_offered(0, 0), _offered(4000, 1, "steps"), _offered(4000, 2, "steps"), seed=0, threads=1)
    assert acceptance.method == report.method == "isotonic"
    assert report.log_loss["isotonic"] < report.log_loss["platt"]
    assert report.error < 0.05


@pytest.mark.parametrize("truth", ["score", "steps"])
def test_a_higher_score_never_lowers_the_probability(truth: str) -> None:
    """Both calibrations are monotone in the raw score, far outside what was seen as well."""
    acceptance, _ = fit_acceptance(_offered(0, 0), _offered(1500, 3, truth), _offered(1500, 4, truth), seed=0, threads=1)
    raw = np.sort(np.concatenate([np.random.default_rng(0).normal(0, 3, 500), [-1e6, 1e6]]))
    probability = acceptance.probability(np.zeros((raw.size, 8), dtype=np.float32), raw)
    assert np.all(np.diff(probability) >= 0)
    assert probability[0] < 0.3 < 0.7 < probability[-1]


def test_a_score_that_misleads_gets_a_flat_sigmoid() -> None:
    """Where acceptance falls with the score the slope is 0: the base rate is promised, never a reversed order."""
    offered = _offered(600, 5)
    acceptance, _ = fit_acceptance(
        _offered(0, 0), Offered(offered.features, -offered.raw, offered.accepted, offered.group), offered, seed=0, threads=1
    )
    assert acceptance.x[0] == 0.0
    assert _all_rows(offered, acceptance) == pytest.approx(offered.accepted.mean(), abs=0.01)


def test_features_take_over_where_the_score_is_off_by_more_than_five_points() -> None:
    """Where the calibrated score misses held-out answers by more than .05, the model by features is fitted and kept if it is better."""
    train, calibration, held_out = (_offered(3000, seed, "feature") for seed in (6, 7, 8))
    informed = _drifted_by(calibration, 8.0)
    fooled = _drifted_by(held_out, -8.0)
    acceptance, report = fit_acceptance(train, informed, fooled, seed=0, threads=1)
    assert report.score_error > 0.05
    assert acceptance.method == "features"
    assert report.error == report.features_error < 0.05


def test_the_model_by_features_is_monotone_in_each_feature() -> None:
    """Raising any one feature never lowers the acceptance that the model by features promises."""
    train, calibration, held_out = (_offered(1500, seed, "feature") for seed in (9, 10, 11))
    acceptance, _ = fit_acceptance(train, _drifted_by(calibration, 8.0), _drifted_by(held_out, -8.0), seed=0, threads=1)
    assert acceptance.method == "features"
    base = np.random.default_rng(1).random((200, 8)).astype(np.float32)
    for feature in range(8):
        raised = base.copy()
        raised[:, feature] = np.minimum(1, raised[:, feature] + 0.3)
        ignored = np.zeros(200)
        assert np.all(acceptance.probability(raised, ignored) >= acceptance.probability(base, ignored))


def _drifted_by(offered: Offered, slope: float) -> Offered:
    return Offered(offered.features, offered.features[:, 0].astype(np.float64) * slope, offered.accepted, offered.group)


@pytest.mark.parametrize(
    "acceptance",
    [Acceptance("platt", x=(0.1 + 0.2, -1.7)), Acceptance("isotonic", x=(-1.0, 0.1, 3.0), y=(0.001, 1 / 3, 0.999))],
)
def test_stored_as_json_it_promises_the_same_to_the_last_bit(acceptance: Acceptance) -> None:
    """What is read back from JSON equals what was written."""
    assert Acceptance.from_json(acceptance.to_json()) == acceptance


def test_the_model_by_features_survives_json() -> None:
    """The stored text of the model by features promises the same numbers."""
    train, calibration, held_out = (_offered(600, seed, "feature") for seed in (9, 10, 11))
    acceptance, _ = fit_acceptance(train, _drifted_by(calibration, 8.0), _drifted_by(held_out, -8.0), seed=0, threads=1)
    assert acceptance.method == "features"
    again = Acceptance.from_json(acceptance.to_json())
    assert np.array_equal(_all_rows(held_out, again), _all_rows(held_out, acceptance))


def test_nothing_to_calibrate_on_is_a_verdict() -> None:
    """Without a single settled offer the answer is "insufficient data"."""
    with pytest.raises(InsufficientData, match="calibrate"):
        fit_acceptance(_offered(0, 0), _offered(0, 0), _offered(10, 0), seed=0, threads=1)


def test_offers_that_were_all_accepted_promise_little_doubt_but_no_certainty() -> None:
    """Where nobody ever declined the probability is high and below 1."""
    offered = _offered(40, 12)
    always = Offered(offered.features, offered.raw, np.ones(40, dtype=bool), offered.group)
    acceptance, _ = fit_acceptance(always, always, always, seed=0, threads=1)
    assert np.all((_all_rows(always, acceptance) > 0.9) & (_all_rows(always, acceptance) < 1.0))


def test_calibration_error_of_known_promises() -> None:
    """Promising .7 where .5 happens is an error of .2; promising each half its own rate is none; of nothing it is NaN."""
    happened = np.arange(1000) % 2 == 0
    assert expected_calibration_error(np.full(1000, 0.7), happened) == pytest.approx(0.2)
    assert expected_calibration_error(happened.astype(float), happened) == 0.0
    assert np.isnan(expected_calibration_error(np.empty(0), np.empty(0, dtype=bool)))
