"""Chance that follows from ids: the same event draws the same number in every process and under every policy. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def uniform(ids: NDArray[np.uint64], stream: int) -> NDArray[np.float64]:
    """One uniform number in [0, 1) for each id and stream, always the same one: what happens to an offer needs no memory.

    SplitMix64 (Steele, Lea and Flood, 2014) of the id. Shape (n,).
    """
    mixed = ids + np.uint64(0x9E3779B97F4A7C15 * (stream + 1) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)


def as_numbers(ids: NDArray[np.void]) -> NDArray[np.uint64]:
    """Ids of 16 bytes as whole numbers, for `uniform`. Shape (n,)."""
    pairs = np.ascontiguousarray(ids).view(np.uint64).reshape(-1, 2)
    return pairs[:, 0] ^ (pairs[:, 1] << np.uint64(1))


def paired(lawyers: NDArray[np.uint64], case: np.uint64) -> NDArray[np.uint64]:
    """Numbers of the pairs of lawyers and a case, for `uniform`. Shape (n,)."""
    return np.asarray((lawyers ^ case) * np.uint64(0x9E3779B97F4A7C15))


def gumbel(ids: NDArray[np.uint64], stream: int) -> NDArray[np.float64]:
    """Gumbel noise: the largest of log-weight plus noise is a draw in proportion to the weights. Shape (n,)."""
    return np.asarray(-np.log(-np.log(np.clip(uniform(ids, stream), 1e-12, 1 - 1e-12))))
