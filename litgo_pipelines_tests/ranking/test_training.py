"""Learning to rank."""

from __future__ import annotations

from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from litgo_pipelines.marketplace.tables import FEATURES
from litgo_pipelines.ranking.evaluation import ndcg
from litgo_pipelines.ranking.pictures import importance_picture
from litgo_pipelines.ranking.training import ROUNDS, dataset, feature_gains, parameters, positions, train
from litgo_pipelines.ranking.training_set import InsufficientData, TrainingSet


def made(groups: int, *, size: int = 5, seed: int = 0, unknown: float = 0.0, positions_known: bool = True) -> TrainingSet:
    """Requests in which the second feature and, less so, the third decide the outcome."""
    generator = np.random.default_rng(seed)
    rows = groups * size
    features = generator.random((rows, 8)).astype(np.float32)
    worth = features[:, 1] + 0.5 * features[:, 2] + generator.normal(0, 0.15, rows)
    outcome = np.digitize(worth, [0.4, 0.7, 1.0]).astype(np.int8)
    features[generator.random(features.shape) < unknown] = np.nan
    group = (np.arange(rows) // size).astype(np.int32)
    return TrainingSet(
        features=features,
        outcome=outcome,
        label=outcome.astype(np.int32),
        group=group,
        case=group,
        time=group.astype(np.int64) * 3_600_000_000,
        position=(np.arange(rows) % size + 1).astype(np.int16) * positions_known,
        area=np.zeros(rows, dtype=np.int16),
        areas=("civil",),
        part=np.zeros(rows, dtype=np.int8),
        case_ids=np.array([one.to_bytes(16, "big") for one in range(1, groups + 1)], dtype="S16"),
        lawyer_ids=np.array([one.to_bytes(16, "big") for one in range(1, rows + 1)], dtype="S16"),
    )


def _scores(booster: lightgbm.Booster, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(booster.predict(features), dtype=np.float64)


def test_two_trainings_give_the_same_model_text() -> None:
    """The same rows, seed and threads give the same model to the last character."""
    rows = made(120, unknown=0.1)
    assert train(rows, seed=3, threads=2).model_to_string() == train(rows, seed=3, threads=2).model_to_string()


def test_a_history_of_300_rows_is_enough_to_learn_from() -> None:
    """From 60 requests of 5 the ranker learns an order that is far better than chance on requests it never saw."""
    booster = train(made(60), seed=0, threads=1)
    unseen = made(200, seed=9)
    learned = np.nanmean(ndcg(unseen.label, _scores(booster, unseen.features), unseen.group, 5))
    chance = np.nanmean(ndcg(unseen.label, np.random.default_rng(0).random(unseen.rows), unseen.group, 5))
    assert learned > chance + 0.1


@pytest.mark.parametrize("feature", range(8), ids=FEATURES)
def test_a_better_feature_never_lowers_the_score(feature: int) -> None:
    """Raising any one feature never lowers the score, also where others are unknown."""
    booster = train(made(150, unknown=0.1), seed=0, threads=1, rounds=60)
    base = made(40, seed=5, unknown=0.2).features
    base[:, feature] = np.nan_to_num(base[:, feature], nan=0.3)
    raised = base.copy()
    raised[:, feature] = np.minimum(1.0, raised[:, feature] + np.float32(0.4))
    assert np.all(_scores(booster, raised) >= _scores(booster, base))


def test_positions_are_used_where_known_and_dropped_where_not() -> None:
    """Known positions reach LightGBM; a set without any trains without them; unknown ones among known change no score."""
    assert positions(made(10, positions_known=False)) is None
    rows = made(80)
    known = positions(rows)
    assert known is not None
    assert known.tolist() == [1, 2, 3, 4, 5] * 80
    without = train(replace(rows, position=np.zeros_like(rows.position)), seed=0, threads=1, rounds=30)
    assert train(rows, seed=0, threads=1, rounds=30).model_to_string() != without.model_to_string()


def test_a_shown_place_is_not_mistaken_for_merit() -> None:
    """Where outcomes depend on the place alone, and the first feature follows the place, using positions takes its gain away."""
    rows = made(400, seed=2)
    generator = np.random.default_rng(3)
    place = np.arange(rows.rows) % 5
    features = generator.random((rows.rows, 8)).astype(np.float32)
    features[:, 0] = 1 - (place + generator.random(rows.rows) * 2) / 6
    label = (generator.random(rows.rows) < 0.8 - 0.18 * place).astype(np.int32) * 3
    biased = replace(rows, features=features, label=label, outcome=label.astype(np.int8))
    aware = train(biased, seed=0, threads=1, rounds=80)
    naive = train(replace(biased, position=np.zeros_like(biased.position)), seed=0, threads=1, rounds=80)
    probe = np.full((2, 8), 0.5, dtype=np.float32)
    probe[:, 0] = (0.1, 0.9)
    assert np.ptp(_scores(aware, probe)) < 0.7 * np.ptp(_scores(naive, probe))


def test_rows_without_two_outcomes_in_a_request_are_a_verdict() -> None:
    """Where no request holds two different labels there is no order to learn, and that is said."""
    rows = made(30)
    flat = replace(rows, label=rows.group % 4)
    with pytest.raises(InsufficientData, match="30 requests"):
        train(flat, seed=0, threads=1)


def test_the_logged_parameters_alone_give_the_same_model() -> None:
    """Plain `lightgbm.train` with the listed parameters, rounds, groups and positions gives the same model text."""
    rows = made(100)
    listed = parameters(rows.rows, seed=4, threads=1)
    plain = lightgbm.Dataset(
        rows.features, label=rows.label, group=np.bincount(rows.group), position=rows.position.astype(int), feature_name=list(FEATURES)
    )
    assert train(rows, seed=4, threads=1).model_to_string() == lightgbm.train(listed, plain, num_boost_round=ROUNDS).model_to_string()


def test_a_parameter_can_be_overridden() -> None:
    """What the caller asks for stands in the model."""
    booster = train(made(60), seed=0, threads=1, params_override={"num_leaves": 3}, rounds=5)
    assert "[num_leaves: 3]" in booster.model_to_string()


def test_all_labels_up_to_thirty_can_be_trained_on() -> None:
    """A mapping that uses the highest label trains."""
    rows = made(60)
    assert train(replace(rows, label=rows.label * 10), seed=0, threads=1, rounds=5).num_trees() == 5


def test_the_gains_name_what_decided() -> None:
    """The feature that decides most has the largest share of the gain; shares sum to one; the picture is a small PNG."""
    gains = feature_gains(train(made(150), seed=0, threads=1, rounds=50))
    assert max(gains, key=gains.__getitem__) == "s"
    assert sum(gains.values()) == pytest.approx(1.0)
    picture = importance_picture(gains)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 50_000


def test_the_dataset_keeps_the_groups() -> None:
    """LightGBM sees as many rows and groups as the training set has."""
    rows = made(12, size=4)
    built = dataset(rows, parameters(rows.rows, seed=0, threads=1)).construct()
    assert built.num_data() == 48
    assert np.array_equal(np.asarray(built.get_group()), [4] * 12)
