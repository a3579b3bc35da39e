"""What answers "how good is this match": hand weights, or a trained model with its calibration. Pure once loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import lightgbm

    from litgo_pipelines.ranking.calibration import Acceptance

HAND_WEIGHTS = np.array([0.30, 0.25, 0.15, 0.10, 0.10, 0.05, 0.05, 0.03])
"""Weights of A, S, T, G, Q, U, R, C; used normalised."""

HAND_WEIGHTS_VERSION = "hand-weights"
_OPEN_UNIT = 1e-3


class Ranker(Protocol):
    """Scores pairs of case and lawyer."""

    @property
    def version(self) -> str:
        """Name under which answers are recorded: a registry version, or `hand-weights`."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw scores, higher is better. Shape (n, 8) to (n,)."""

    def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(the lawyer accepts), in (0, 1). Shapes (n, 8) and (n,) to (n,)."""


@dataclass(frozen=True)
class HandWeights:
    """The ranker of the first day: a weighted mean of the features that are known."""

    version: str = HAND_WEIGHTS_VERSION

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Weighted mean over known features, 0..1; .5 where none is known. Shape (n, 8) to (n,)."""
        known = ~np.isnan(features)
        weight = known @ HAND_WEIGHTS
        total = np.where(known, features, 0.0) @ HAND_WEIGHTS
        return np.asarray(np.divide(total, weight, out=np.full(len(features), 0.5), where=weight > 0))

    def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002 (the protocol's shape)
        """The score itself, kept inside (0, 1): nothing is known about acceptance yet."""
        return np.clip(raw, _OPEN_UNIT, 1 - _OPEN_UNIT)


@dataclass(frozen=True)
class LightGBMRanker:
    """A trained ranker with the calibration that was stored with it."""

    version: str
    booster: lightgbm.Booster
    calibration: Acceptance

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw lambdarank scores. Shape (n, 8) to (n,)."""
        # A few hundred rows are scored sooner by one thread than shared out to several.
        return np.asarray(self.booster.predict(features, num_threads=1), dtype=np.float64)

    def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated P(accept), kept inside (0, 1). Shapes (n, 8) and (n,) to (n,)."""
        return np.clip(self.calibration.probability(features, raw), _OPEN_UNIT, 1 - _OPEN_UNIT)
