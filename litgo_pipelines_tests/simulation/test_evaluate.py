"""How good a ranking truly is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy.exc import ProgrammingError

from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines.simulation.evaluate import hidden_ndcg
from litgo_pipelines_tests.simulation.conftest import AS_OF, as_simulator

if TYPE_CHECKING:
    from pathlib import Path

    from litgo_pipelines.ranking.ranker import Ranker

G = 3


class _By:
    """Ranks by one feature, upwards or downwards, or by nothing."""

    version = "by"

    def __init__(self, sign: float) -> None:
        self._sign = sign

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._sign * np.nan_to_num(features[:, G]).astype(np.float64)

    def acceptance(self, features: NDArray[np.float32], _raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.full(len(features), 0.5)


def _measured(url: str, rankers: dict[str, Any], cases: int = 120) -> dict[str, float]:
    engine = as_simulator(url)
    try:
        return hidden_ndcg(engine, rankers, AS_OF, cases=cases)
    finally:
        engine.dispose()


def test_whoever_ranks_by_what_truly_counts_is_measured_as_best(simulated_url: str) -> None:
    """Nearness beats the hand weights, indifference is worse, the reverse is worst, and nothing exceeds 1."""
    found = _measured(simulated_url, {"near": _By(1.0), "hand": HandWeights(), "none": _By(0.0), "far": _By(-1.0)})
    assert 1 >= found["near"] > found["hand"] > found["none"] > found["far"] > 0


def test_the_truth_is_not_for_the_product(simulated_url: str) -> None:
    """Under the application's role there is nothing to measure by."""
    engine = open_engine(simulated_url)
    with pytest.raises(ProgrammingError, match="permission denied"):
        hidden_ndcg(engine, {"hand": HandWeights()}, AS_OF)
    engine.dispose()


def test_without_cases_there_is_no_number(database_url: str) -> None:
    """An empty marketplace is an error that says what to do, not a score of 0."""
    with pytest.raises(ValueError, match="simulate more"):
        _measured(database_url, {"hand": HandWeights()})


def test_a_ranker_trained_on_what_was_logged_beats_the_hand_weights_in_truth(simulated_url: str, tmp_path: Path, mlflow_uri: str) -> None:
    """It never saw the hidden relevance, and comes nearer to it."""
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.rollout.steps import build_training_set, train_candidate
    from litgo_pipelines.rollout.tracking import Tracking

    tracking, registry = Tracking(mlflow_uri, (tmp_path / "artifacts").as_uri()), Registry(mlflow_uri, tmp_path / "models")
    ref, _ = build_training_set(
        database_url=simulated_url,
        as_of=AS_OF,
        labels={"lost": 0, "declined": 1, "accepted": 2, "won": 3},
        held_out_share=0.2,
        embargo_days=1.0,
        pseudonym_key=b"key",
        datasets_folder=tmp_path / "datasets",
        tracking=tracking,
    )
    candidate, _ = train_candidate(ref, seed=1, threads=1, tracking=tracking, registry=registry)
    assert candidate.version is not None, candidate.insufficient
    trained: Ranker = registry.load(candidate.version)
    found = _measured(simulated_url, {"trained": trained, "hand": HandWeights()})
    assert found["trained"] > found["hand"]
