"""What the offer rule is compared with: other ways to choose among candidates. Pure; nothing but comparisons calls them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.equity.allocation import Allocation, OfferRule, Policy, allocate, is_full

_CLUSTER_LEAST, _CLUSTER_SHARE = 0.02, 0.1
_RELEVANCE_WEIGHT = 0.7
_ROUNDING = 1e-9


def relevance_key(score: NDArray[np.float64], u_eff: NDArray[np.float64], full: NDArray[np.bool_]) -> NDArray[np.float64]:  # noqa: ARG001 (one shape for all keys)
    """The best scores, whoever is full. Shapes (n,)."""
    return -score


def relevance_cap_key(score: NDArray[np.float64], u_eff: NDArray[np.float64], full: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The best scores among those with room; then the others, the least loaded first. Shapes (n,)."""
    return np.where(full, 1.0 + u_eff, -score)


def predecessor_key(score: NDArray[np.float64], u_eff: NDArray[np.float64], full: NDArray[np.bool_]) -> NDArray[np.float64]:  # noqa: ARG001 (one shape for all keys)
    """An older backend's way: who scores within eps of the best is reordered by .7 score + .3 (1 - load); the others follow by score.

    eps is .1 of the best score, at least .02. Nobody is left out for being full. Shapes (n,).
    """
    best = score.max(initial=0.0)
    near = score >= best - max(_CLUSTER_LEAST, _CLUSTER_SHARE * best) - _ROUNDING
    fair = _RELEVANCE_WEIGHT * score + (1 - _RELEVANCE_WEIGHT) * np.maximum(0.0, 1.0 - u_eff)
    # Whoever is near the best comes before everybody who is not.
    return np.where(near, -2.0 - fair, -score)


@dataclass(frozen=True)
class ByKey:
    """A policy that takes the first by a key; the order of the candidates decides ties, and nothing is explored."""

    key: Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]], NDArray[np.float64]]

    def __call__(
        self,
        score: NDArray[np.float64],
        u_eff: NDArray[np.float64],
        is_new: NDArray[np.bool_],  # noqa: ARG002 (the protocol's shape, as the others below)
        last_offered: NDArray[np.int64],  # noqa: ARG002
        lawyer_ids: NDArray[np.void],  # noqa: ARG002
        case_id: bytes,  # noqa: ARG002
        top_n: int,
        rule: OfferRule,  # noqa: ARG002
        *,
        step: NDArray[np.float64] | float = 0.0,
        explore: np.random.Generator | None = None,  # noqa: ARG002
    ) -> Allocation:
        """See `allocation.allocate`."""
        full = is_full(u_eff, step)
        key = self.key(score, u_eff, full)
        chosen = np.argsort(key, kind="stable")[:top_n]
        free = chosen[~full[chosen]]
        cutoff = float(score[free].min()) if free.size else float("nan")
        return Allocation(chosen, score, -key, full, full[chosen], np.ones(chosen.size), cutoff, explored=False)


POLICIES: dict[str, Policy] = {
    "relevance": ByKey(relevance_key),
    "relevance_cap": ByKey(relevance_cap_key),
    "predecessor": ByKey(predecessor_key),
    "price": allocate,
}
"""By the names that the command line uses."""
