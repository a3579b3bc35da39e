"""What an outcome is worth: relevance labels for ranking, and whether the lawyer accepted. No row is read or dropped here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.match_log import OUTCOMES

LOST, DECLINED, ACCEPTED, WON = range(len(OUTCOMES))


def relevance(outcome: NDArray[np.integer], labels: Mapping[str, int]) -> NDArray[np.int32]:
    """Relevance label of each outcome code. Shape (n,) to (n,).

    Args:
        outcome: shape (n,), indices into `OUTCOMES`.
        labels: relevance of each outcome, whole numbers in 0..30 (setting `LITGO_LABELS`).

    Raises:
        KeyError: `labels` lacks an outcome.
    """
    return np.asarray(np.array([labels[name] for name in OUTCOMES], dtype=np.int32)[outcome])


def accepted(outcome: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether the lawyer took the offer, whatever became of the case: accepted, won or lost. Shape (n,) to (n,)."""
    return np.asarray(outcome != DECLINED)


def good(outcome: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Accepted or better: the match a client hopes to see among the first. Shape (n,) to (n,)."""
    return np.asarray((outcome == ACCEPTED) | (outcome == WON))
