"""How good an order is: NDCG and precision by group, and how sure a difference between two rankers is. Pure and vectorised.

What difference is enough is decided in `rollout.gate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.ranking.training_set import TrainingSet

BOOTSTRAP_RESAMPLES = 2000
_BLOCK = 4_000_000

_Weight = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def ndcg(label: NDArray[np.int32], score: NDArray[np.float64], group: NDArray[np.int32], k: int) -> NDArray[np.float64]:
    """NDCG@k of each group, as `sklearn.metrics.ndcg_score` has it: linear gain, logarithmic discount, ties averaged.

    Args:
        label: shape (n,), relevance >= 0.
        score: shape (n,), higher is better.
        group: shape (n,), 0..g-1, ascending.
        k: depth, >= 1.

    Returns:
        Shape (g,), 0..1; NaN for a group of fewer than two rows or of one label, in which every order is right.
        McSherry and Najork (2008), "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
        Scores".
    """
    groups = _count(group)
    gained = np.bincount(group, weights=label * _tie_averaged(_discount(k), score, group), minlength=groups)
    ideal = label[np.lexsort((-label.astype(np.int64), group))]
    best = np.bincount(group, weights=ideal * _discount(k)(_rank(group)), minlength=groups)
    result = np.full(groups, np.nan)
    usable = _has_two_labels(label, group)
    result[usable] = gained[usable] / best[usable]
    return result


def precision(good: NDArray[np.bool_], score: NDArray[np.float64], group: NDArray[np.int32], k: int) -> NDArray[np.float64]:
    """Share of good rows among the first min(k, size) of each group; tied rows share their places. Shapes (n,) to (g,)."""
    groups = _count(group)
    found = np.bincount(group, weights=good * _tie_averaged(lambda rank: (rank < k).astype(np.float64), score, group), minlength=groups)
    return np.asarray(found / np.minimum(np.bincount(group, minlength=groups), k))


def paired_bootstrap(
    candidate: NDArray[np.float64],
    champion: NDArray[np.float64],
    resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = 0,
    *,
    case: NDArray[np.int32] | None = None,
) -> tuple[float, float, float]:
    """Mean of candidate - champion with its 95 % percentile interval.

    Args:
        candidate, champion: shape (g,), a measure of the same groups in the same order; groups that are NaN are left out.
        resamples: how many times the sample is drawn anew.
        seed: of the draws.
        case: shape (g,), the case of each group; groups of one case are drawn together, because they are not independent.

    Returns:
        (mean, low, high); NaN each where no group is left.
    """
    difference = candidate - champion
    known = ~np.isnan(difference)
    difference = difference[known]
    if difference.size == 0:
        return float("nan"), float("nan"), float("nan")
    unit = np.arange(difference.size) if case is None else np.unique(case[known], return_inverse=True)[1]
    total, count = np.bincount(unit, weights=difference), np.bincount(unit).astype(np.float64)
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // total.size)
    means = []
    for start in range(0, resamples, block):
        drawn = generator.integers(total.size, size=(min(block, resamples - start), total.size), dtype=np.int32)
        means.append(total[drawn].sum(axis=1) / count[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


@dataclass(frozen=True)
class Evaluation:
    """One ranker on one set of rows: each measure per group, shape (g,)."""

    ndcg_5: NDArray[np.float64]
    ndcg_10: NDArray[np.float64]
    precision_5: NDArray[np.float64]

    def means(self) -> dict[str, float]:
        """Mean of each measure over the groups it is defined for; NaN where there are none."""
        return {"ndcg_at_5": _mean(self.ndcg_5), "ndcg_at_10": _mean(self.ndcg_10), "precision_at_5": _mean(self.precision_5)}


def evaluate(ranker: Ranker, rows: TrainingSet) -> Evaluation:
    """Measure a ranker on held-out rows."""
    score = ranker.score(rows.features)
    return Evaluation(
        ndcg(rows.label, score, rows.group, 5),
        ndcg(rows.label, score, rows.group, 10),
        precision(rows.good, score, rows.group, 5),
    )


@dataclass(frozen=True)
class AreaComparison:
    """NDCG@5 of both rankers in one area of law, and the number of cases behind it."""

    area: str
    cases: int
    candidate: float
    champion: float


@dataclass(frozen=True)
class Comparison:
    """Two rankers on the same held-out rows.

    Attributes:
        cases: cases with at least one group for which NDCG is defined.
        groups: those groups.
        left_out: groups of one row or of one label.
        difference, low, high: mean difference of NDCG@5 with its 95 % interval.
        areas: each known area by itself.
    """

    cases: int
    groups: int
    left_out: int
    difference: float
    low: float
    high: float
    areas: tuple[AreaComparison, ...]


def compare(candidate: Evaluation, champion: Evaluation, rows: TrainingSet, *, seed: int = 0) -> Comparison:
    """Compare two rankers that were measured on `rows`."""
    first = np.searchsorted(rows.group, np.arange(rows.groups))
    usable = ~np.isnan(candidate.ndcg_5)
    case, area = rows.case[first], rows.area[first]
    difference, low, high = paired_bootstrap(candidate.ndcg_5, champion.ndcg_5, seed=seed, case=case)
    areas = []
    for code, name in enumerate(rows.areas):
        here = usable & (area == code)
        if here.any():
            areas.append(
                AreaComparison(name, np.unique(case[here]).size, float(candidate.ndcg_5[here].mean()), float(champion.ndcg_5[here].mean()))
            )
    return Comparison(np.unique(case[usable]).size, int(usable.sum()), int((~usable).sum()), difference, low, high, tuple(areas))


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _count(group: NDArray[np.int32]) -> int:
    return int(group[-1]) + 1 if group.size else 0


def _rank(group: NDArray[np.int32]) -> NDArray[np.int64]:
    """Place of each row in its group, from 0. Shape (n,)."""
    first = np.searchsorted(group, np.arange(_count(group)))
    return np.arange(group.size) - first[group]


def _discount(k: int) -> _Weight:
    """1 / log2(rank + 2) for the first k places, 0 after them."""
    return lambda rank: np.where(rank < k, 1.0 / np.log2(rank + 2.0), 0.0)


def _tie_averaged(weight: _Weight, score: NDArray[np.float64], group: NDArray[np.int32]) -> NDArray[np.float64]:
    """The weight of each row's place when its group is ordered by score; rows of equal score share the mean. Shape (n,)."""
    order = np.lexsort((-score, group))
    ranked = score[order]
    new = np.ones(order.size, dtype=bool)
    new[1:] = (ranked[1:] != ranked[:-1]) | (group[1:] != group[:-1])
    run = np.cumsum(new) - 1
    mean = np.bincount(run, weights=weight(_rank(group))) / np.bincount(run)
    shared = np.empty(order.size)
    shared[order] = mean[run]
    return shared


def _has_two_labels(label: NDArray[np.int32], group: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether a group holds two distinct labels. Shape (g,)."""
    first = np.searchsorted(group, np.arange(_count(group)))
    if first.size == 0:
        return np.empty(0, dtype=bool)
    return np.asarray(np.maximum.reduceat(label, first) > np.minimum.reduceat(label, first))
