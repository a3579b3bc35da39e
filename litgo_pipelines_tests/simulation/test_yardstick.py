"""The yardstick, against scikit-learn and against lists whose worth is plain to see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import ndcg_score

from litgo_pipelines.simulation.yardstick import Yardstick


def measured(relevance: list[float], chosen: list[int], *, full: list[int] | None = None, score: list[float] | None = None) -> Yardstick:
    found = Yardstick()
    note(found, relevance, chosen, full=full, score=score)
    return found


def note(
    yardstick: Yardstick, relevance: list[float], chosen: list[int], *, full: list[int] | None = None, score: list[float] | None = None
) -> None:
    """Note a list; the ranker's scores are the relevance itself unless they are given."""
    without_room = np.isin(np.arange(len(relevance)), full or [])
    yardstick.note(np.array(relevance), np.array(relevance if score is None else score), np.array(chosen, dtype=np.intp), without_room)


def ndcg5(gain: NDArray[np.float64], chosen: NDArray[np.intp]) -> float:
    """What scikit-learn makes of a list."""
    places = np.zeros(len(gain))
    places[chosen] = np.arange(len(chosen), 0, -1)
    return float(ndcg_score([gain], [places], k=5))


@given(st.integers(5, 30), st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=100, deadline=None)
def test_figures_are_those_of_scikit_learn(count: int, seed: int, data: st.DataObject) -> None:
    """NDCG@5 with linear gain: of the ranker's order less that of the list, and of the list with nothing for full lawyers."""
    rng = np.random.default_rng(seed)
    relevance, score = rng.random(count), rng.random(count)
    chosen = rng.permutation(count)[: data.draw(st.integers(5, count))]
    full = rng.random(count) < 0.4
    full[0] = False
    found = Yardstick()
    found.note(relevance, score, chosen, full)
    assert found.ndcg5_loss == pytest.approx(ndcg5(relevance, np.argsort(-score)) - ndcg5(relevance, chosen))
    assert found.available_ndcg5 == pytest.approx(ndcg5(np.where(full, 0.0, relevance), chosen))
    assert found.mean_relevance == pytest.approx(relevance[chosen].mean())
    assert found.fill_rate == pytest.approx(1 - full[chosen].mean())


def test_an_offer_to_a_full_lawyer_earns_nothing() -> None:
    """The best of all who are full are a list without worth; the best of those with room are a perfect one."""
    relevance = [0.9, 0.8, 0.5, 0.4]
    best = measured(relevance, [0, 1], full=[0, 1])
    assert (best.available_ndcg5, best.fill_rate) == (0.0, 0.0)
    with_room = measured(relevance, [2, 3], full=[0, 1])
    assert (with_room.available_ndcg5, with_room.fill_rate) == (1.0, 1.0)
    assert with_room.ndcg5_loss > 0.3


@pytest.mark.parametrize("top_n", [1, 3, 5, 8])
def test_the_rankers_own_order_loses_nothing_however_long_the_list(top_n: int) -> None:
    """Lists of the same length are compared, so that offering to few is no loss."""
    score = [0.3, 0.9, 0.1, 0.7, 0.5, 0.2, 0.8, 0.4]
    chosen = np.argsort([-one for one in score])[:top_n].tolist()
    found = measured([0.2, 0.1, 0.9, 0.4, 0.8, 0.3, 0.6, 0.5], chosen, score=score)
    assert found.ndcg5_loss == 0
    best = measured(score, chosen)
    assert best.available_ndcg5 == pytest.approx(1)


def test_a_list_that_says_nothing_is_left_out() -> None:
    """No candidates: not counted at all. Nobody with room, or nobody relevant: counted, but in no mean that it has no part in."""
    found = Yardstick()
    note(found, [], [])
    assert found.lists == 0
    assert all(np.isnan([found.mean_relevance, found.ndcg5_loss, found.available_ndcg5, found.fill_rate]))
    note(found, [0.5, 0.4], [0, 1], full=[0, 1])
    assert np.isnan(found.available_ndcg5)
    assert (found.lists, found.fill_rate, found.ndcg5_loss) == (1, 0.0, 0.0)
    note(found, [0.0, 0.0], [0, 1])
    assert np.isnan(found.available_ndcg5)
    assert (found.lists, found.fill_rate, found.mean_relevance) == (2, 0.5, pytest.approx(0.225))


def test_every_list_counts_alike() -> None:
    """Figures are means over lists, whatever their lengths."""
    lists: list[tuple[list[float], list[int], dict[str, Any]]] = [
        ([0.9, 0.5, 0.1], [1, 0], {"full": [1]}),
        ([0.2], [0], {}),
        ([0.6, 0.7, 0.8, 0.9, 0.3, 0.2], [5, 4, 3, 2, 1, 0], {"score": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}),
    ]
    together = Yardstick()
    for relevance, chosen, options in lists:
        note(together, relevance, chosen, **options)
    alone = [measured(relevance, chosen, **options) for relevance, chosen, options in lists]
    assert together.lists == 3
    for name in ("mean_relevance", "ndcg5_loss", "available_ndcg5", "fill_rate"):
        assert getattr(together, name) == pytest.approx(np.mean([getattr(one, name) for one in alone]))
