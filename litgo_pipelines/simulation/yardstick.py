"""How good the lists of a simulated marketplace are, by the hidden relevance that no product code can see. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_K = 5
_DISCOUNT = 1 / np.log2(np.arange(2, _K + 2))


def dcg(gain: NDArray[np.float64]) -> float:
    """Discounted cumulative gain of the first five, linear gain (Järvelin and Kekäläinen, 2002). Shape (n,), best place first."""
    first = gain[:_K]
    return float(first @ _DISCOUNT[: len(first)])


@dataclass
class Yardstick:
    """Collects one number a list of each kind; NaN-free: a list that says nothing is left out. Lists compared are of the same length."""

    _relevance: list[float] = field(default_factory=list)
    _shown: list[float] = field(default_factory=list)
    _ranked: list[float] = field(default_factory=list)
    _available: list[float] = field(default_factory=list)
    _filled: list[float] = field(default_factory=list)

    def note(self, relevance: NDArray[np.float64], score: NDArray[np.float64], chosen: NDArray[np.intp], full: NDArray[np.bool_]) -> None:
        """Measure one list.

        Args:
            relevance: shape (n,), hidden relevance of each candidate, 0..1.
            score: shape (n,), what the ranker gave.
            chosen: shape (k,), indices of those offered, best place first.
            full: shape (n,), who had no room.
        """
        places = len(chosen)
        if not places:
            return
        best = dcg(-np.sort(-relevance)[:places])
        with_room = dcg(-np.sort(-relevance[~full])[:places])
        self._relevance.append(float(relevance[chosen].mean()))
        self._filled.append(float(np.mean(~full[chosen])))
        if best > 0:
            self._shown.append(dcg(relevance[chosen]) / best)
            self._ranked.append(dcg(relevance[np.argsort(-score, kind="stable")[:places]]) / best)
        if with_room > 0:
            self._available.append(dcg(np.where(full, 0.0, relevance)[chosen]) / with_room)

    @property
    def lists(self) -> int:
        """How many were measured."""
        return len(self._relevance)

    @property
    def mean_relevance(self) -> float:
        """Hidden relevance of the offers made, 0..1; NaN without any."""
        return _mean(self._relevance)

    @property
    def ndcg5_loss(self) -> float:
        """NDCG@5 of the ranker's own order less that of the lists shown; both against the best list of all candidates."""
        return _mean(self._ranked) - _mean(self._shown)

    @property
    def available_ndcg5(self) -> float:
        """NDCG@5 of the lists shown against the best lists of lawyers with room; an offer to a full lawyer earns nothing."""
        return _mean(self._available)

    @property
    def fill_rate(self) -> float:
        """Share of places that went to lawyers with room."""
        return _mean(self._filled)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
