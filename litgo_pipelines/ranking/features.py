"""The eight features of a lawyer for a case, each 0..1, by one vectorised function.

What was computed at the decision is logged with the match, and training reads the log: nothing is recomputed later. Load is
never a feature. Unknown stays NaN; it is not 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRIMARY_AREA_MATCH = 1.0
SPECIALTY_AREA_MATCH = 0.6
_EARTH_RADIUS_KM = 6371.0088


def feature_matrix(
    *,
    area_match: ArrayLike,
    similarity: ArrayLike,
    won: ArrayLike,
    lost: ArrayLike,
    distance_km: ArrayLike,
    radius_km: ArrayLike,
    qualification: ArrayLike,
    response_h: ArrayLike,
    urgency_h: ArrayLike,
    rating: ArrayLike,
    soft_skill: ArrayLike,
) -> NDArray[np.float32]:
    """Features A, S, T, G, Q, U, R, C of n pairs of case and lawyer.

    Args:
        area_match: 1 for the primary area, .6 for a further one.
        similarity: cosine of the case's text with the cases the lawyer handled; NaN where there are none.
        won, lost: cases won and lost, for the Beta(1, 1)-smoothed success rate.
        distance_km, radius_km: of lawyer and case; G falls from 1 beside the client to 0 at the radius.
        qualification: `cv_score`, 0..1.
        response_h, urgency_h: the lawyer's usual answer time and what the case allows; U falls to 0 where they are equal.
        rating: mean review, 1..5.
        soft_skill: `kpi_softskill`, 0..1.
        All broadcast to shape (n,); NaN where unknown.

    Returns:
        Shape (n, 8), in the order of `FEATURES`.
    """
    won, lost = np.asarray(won, dtype=np.float64), np.asarray(lost, dtype=np.float64)
    reach = np.asarray(radius_km, dtype=np.float64)
    allowed = np.asarray(urgency_h, dtype=np.float64)
    columns = np.broadcast_arrays(
        area_match,
        similarity,
        (won + 1.0) / (won + lost + 2.0),
        1.0 - np.asarray(distance_km, dtype=np.float64) / reach,
        qualification,
        1.0 - np.asarray(response_h, dtype=np.float64) / allowed,
        (np.asarray(rating, dtype=np.float64) - 1.0) / 4.0,
        soft_skill,
    )
    return np.asarray(np.clip(np.stack(columns, axis=1), 0.0, 1.0), dtype=np.float32)


def distance_km(lat: ArrayLike, lng: ArrayLike, to_lat: ArrayLike, to_lng: ArrayLike) -> NDArray[np.float64]:
    """Great-circle distance in kilometres (haversine); degrees in, NaN where a coordinate is unknown."""
    phi, to_phi = np.radians(np.asarray(lat, dtype=np.float64)), np.radians(np.asarray(to_lat, dtype=np.float64))
    half_phi = (to_phi - phi) / 2
    half_lambda = np.radians(np.asarray(to_lng, dtype=np.float64) - np.asarray(lng, dtype=np.float64)) / 2
    chord = np.sin(half_phi) ** 2 + np.cos(phi) * np.cos(to_phi) * np.sin(half_lambda) ** 2
    return np.asarray(2 * _EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0))))
