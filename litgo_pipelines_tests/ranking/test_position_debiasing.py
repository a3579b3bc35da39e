"""What position debiasing is worth: clicks of lists that were examined from the top, judged by the relevance that made them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import ndcg_score

from litgo_pipelines.marketplace.match_log import OUTCOMES
from litgo_pipelines.ranking.training import train
from litgo_pipelines.ranking.training_set import UNKNOWN_POSITION, TrainingSet
from litgo_pipelines_tests.data import make_clicks

LEARNED_FROM = 2_000
"""Queries; the others judge."""
RELEVANCE, CLICKED = make_clicks.COLUMNS.index("relevance"), make_clicks.COLUMNS.index("clicked")


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float64]:
    return make_clicks.read()


def training_set(rows: NDArray[np.float64], positions: NDArray[np.float64] | int) -> TrainingSet:
    """Each query a request, a click an offer that was accepted."""
    query, clicked = rows[:, 0].astype(np.int32), rows[:, CLICKED].astype(bool)
    return TrainingSet(
        features=rows[:, 2:10].astype(np.float32),
        outcome=np.where(clicked, OUTCOMES.index("accepted"), OUTCOMES.index("declined")).astype(np.int8),
        label=clicked.astype(np.int32),
        group=query,
        case=query,
        time=query.astype(np.int64) * 3_600_000_000,
        position=np.broadcast_to(positions, len(rows)).astype(np.int16),
        area=np.zeros(len(rows), dtype=np.int16),
        areas=("civil",),
        part=np.zeros(len(rows), dtype=np.int8),
        case_ids=np.array([one.to_bytes(16, "big") for one in range(1, int(query[-1]) + 2)], dtype="S16"),
        lawyer_ids=np.array([one.to_bytes(16, "big") for one in range(1, len(rows) + 1)], dtype="S16"),
    )


def true_ndcg(rows: NDArray[np.float64], score: NDArray[np.float64]) -> float:
    """NDCG@5 against the hidden relevance."""
    shape = (-1, make_clicks.DOCUMENTS)
    return float(ndcg_score(rows[:, RELEVANCE].reshape(shape), score.reshape(shape), k=5))


def test_with_positions_the_true_order_is_learned_better_by_five_points(rows: NDArray[np.float64]) -> None:
    """From the same clicks, on queries that neither saw. Both beat the order that collected the clicks."""
    learned, judged = rows[rows[:, 0] < LEARNED_FROM], rows[rows[:, 0] >= LEARNED_FROM]

    def trained(positions: NDArray[np.float64] | int) -> float:
        booster = train(training_set(learned, positions), seed=0, threads=1)
        return true_ndcg(judged, np.asarray(booster.predict(judged[:, 2:10])))

    debiased, naive = trained(learned[:, 1]), trained(UNKNOWN_POSITION)
    assert debiased >= naive + 0.05
    assert naive > true_ndcg(judged, -judged[:, 1])


def test_the_clicks_are_those_that_the_script_makes(rows: NDArray[np.float64]) -> None:
    """Nothing was chosen by hand."""
    np.testing.assert_allclose(rows, make_clicks.clicks(), atol=1e-9)


def test_clicks_fall_with_the_place_as_one_over_its_number(rows: NDArray[np.float64]) -> None:
    """At each place the share of clicks is relevance over rank: what the examination was said to be."""
    for rank in range(1, make_clicks.DOCUMENTS + 1):
        here = rows[rows[:, 1] == rank]
        assert here[:, CLICKED].mean() == pytest.approx(here[:, RELEVANCE].mean() / rank, abs=0.02)
