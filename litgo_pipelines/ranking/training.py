"""Learning to rank: LightGBM's lambdarank on a training set. The same rows and seed give the same model text.

What is stored, and whether it is good enough, is decided in `rollout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.names import FEATURES
from litgo_pipelines.ranking.training_set import UNKNOWN_POSITION, InsufficientData, TrainingSet

if TYPE_CHECKING:
    import lightgbm

ROUNDS = 200
"""Boosting rounds: fixed, so that the logged data and parameters give the same model anywhere."""

_MOST_LABEL = 30


def parameters(rows: int, *, seed: int, threads: int, override: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All of LightGBM's parameters for a training set of `rows` rows, `num_boost_round` left out.

    The gain of a label is 2^label - 1. Scores never fall when a feature rises.
    """
    found: dict[str, Any] = {
        "objective": "lambdarank",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": int(np.clip(rows // 100, 5, 100)),
        "lambdarank_truncation_level": 10,
        "lambdarank_position_bias_regularization": 0.0,
        "label_gain": [2**label - 1 for label in range(_MOST_LABEL + 1)],
        "monotone_constraints": [1] * len(FEATURES),
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "num_threads": threads,
        "verbosity": -1,
    }
    return found | dict(override or {})


def positions(rows: TrainingSet) -> NDArray[np.int32] | None:
    """Positions as LightGBM takes them; None where none is known.

    Unknown ones among known ones keep a number of their own: it shifts a whole request alike, so that no pair feels it.
    Shape (n,).
    """
    known = rows.position != UNKNOWN_POSITION
    return rows.position.astype(np.int32) if known.any() else None


def dataset(rows: TrainingSet, params: Mapping[str, Any]) -> lightgbm.Dataset:
    """The rows as LightGBM takes them: features, labels, group sizes, positions where known."""
    import lightgbm

    return lightgbm.Dataset(
        rows.features,
        label=rows.label,
        group=rows.group_sizes,
        position=positions(rows),
        feature_name=list(FEATURES),
        params=dict(params),
    )


def train(
    training_set: TrainingSet, *, seed: int, threads: int, params_override: Mapping[str, Any] | None = None, rounds: int = ROUNDS
) -> lightgbm.Booster:
    """Train a ranker on all rows of `training_set`: what must not be learned from is left out by the caller.

    Args:
        training_set: the rows to learn from.
        seed: of everything random; there is nothing random unless `params_override` asks for it.
        threads: how many LightGBM may use.
        params_override: parameters to use instead of those of `parameters`.
        rounds: boosting rounds.

    Raises:
        InsufficientData: no request holds two lawyers with different outcomes.
    """
    import lightgbm

    _require_pairs(training_set)
    params = parameters(training_set.rows, seed=seed, threads=threads, override=params_override)
    return lightgbm.train(params, dataset(training_set, params), num_boost_round=rounds)


def _require_pairs(rows: TrainingSet) -> None:
    within = rows.group[1:] == rows.group[:-1]
    if not np.any(within & (rows.label[1:] != rows.label[:-1])):
        raise InsufficientData(
            f"none of {rows.groups} requests to learn from holds two lawyers with different outcomes: there is no order to learn"
        )


def feature_gains(booster: lightgbm.Booster) -> dict[str, float]:
    """Share of the total gain that each feature brought; all 0 where no tree split."""
    gain = booster.feature_importance("gain")
    total = gain.sum()
    return {name: float(one / total) if total > 0 else 0.0 for name, one in zip(FEATURES, gain, strict=True)}
