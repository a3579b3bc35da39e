"""What nobody in the product may see: how good a lawyer truly is, what a case truly needs, and what follows from both. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

LATENT = 4
"""Dimensions of skill and need."""
LAWYER_TRAITS = ("quality", "prestige", "speed", *(f"skill_{i}" for i in range(LATENT)))
CASE_TRAITS = ("difficulty", *(f"need_{i}" for i in range(LATENT)))


def relevance(
    lawyer: NDArray[np.float64],
    case: NDArray[np.float64],
    near: NDArray[np.float64],
    in_time: NDArray[np.float64],
    primary: NDArray[np.float64],
) -> NDArray[np.float64]:
    """True relevance of lawyers for cases, 0..1: mostly whether the lawyer is near, less so how good and how quick.

    What the hand weights trust most (area, similar cases, the CV) says little here; a ranker has to find out.

    Args:
        lawyer: shape (n, 7), see LAWYER_TRAITS; quality is heavy-tailed.
        case: shape (n, 5) or (5,), see CASE_TRAITS.
        near: shape (n,), 1 beside the client, 0 at the case's radius and beyond.
        in_time: shape (n,), 1 for an answer at once, 0 for one when the case is no longer urgent.
        primary: shape (n,), 1 where the area is the lawyer's main one.
    """
    case = np.broadcast_to(case, (len(lawyer), len(CASE_TRAITS)))
    skill = np.einsum("ij,ij->i", lawyer[:, 3:], case[:, 1:])
    fit = 12.0 * near + 0.5 * in_time + 0.3 * lawyer[:, 0] + 0.25 * skill + 0.1 * primary - 0.2 * case[:, 0]
    return np.asarray(expit(fit - 2.8))


def acceptance_probability(relevance: NDArray[np.float64], utilisation: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(the lawyer wants the case): by relevance, and reluctantly when nearly full. Shapes (n,)."""
    reluctance = np.clip((utilisation - 0.7) / 0.5, 0.0, 1.0)
    return np.asarray(expit(-4.0 + 8.0 * relevance) * (1.0 - 0.8 * reluctance))


def win_probability(relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(the case is won, if it is not settled): more the case's merit than the lawyer's. Shape (n,)."""
    return np.asarray(expit(-0.2 + 0.8 * relevance))


def choice_weight(relevance: NDArray[np.float64], position: NDArray[np.int64]) -> NDArray[np.float64]:
    """How strongly a client is drawn to an interested lawyer: by relevance, and by standing first. Shapes (n,)."""
    return np.asarray(np.exp(3.0 * relevance) / position**0.6)
