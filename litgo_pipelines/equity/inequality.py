"""How unequal a distribution is. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def lorenz_curve(values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The Lorenz curve of non-negative values.

    Args:
        values: shape (n,), each >= 0, n >= 1.

    Returns:
        Cumulative share of holders and of what they hold, both of shape (n + 1,), from 0 to 1. Where nobody holds
        anything, all hold the same: the diagonal.

    Raises:
        ValueError: no values, a negative one or one that is no number.
    """
    held = np.sort(np.asarray(values, dtype=np.float64))
    if held.ndim != 1 or held.size == 0:
        raise ValueError("a distribution needs at least one value")
    if not np.all(held >= 0):
        raise ValueError("a distribution is of non-negative numbers")
    people = np.linspace(0.0, 1.0, held.size + 1)
    total = held.sum()
    if total == 0:
        return people, people.copy()
    return people, np.concatenate(([0.0], np.cumsum(held) / total))


def gini(values: ArrayLike) -> float:
    """Gini coefficient: twice the area between the Lorenz curve and the diagonal.

    Args:
        values: shape (n,), each >= 0.

    Returns:
        0 (all equal) to 1 - 1/n (one holds everything); NaN for no values, which is no 0.
    """
    if np.size(values) == 0:
        return float("nan")
    people, share = lorenz_curve(values)
    return float(1.0 - np.trapezoid(2 * share, people))
