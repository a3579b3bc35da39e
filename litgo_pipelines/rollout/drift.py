"""Drift of the features: whether the cases and lawyers of late resemble those a version was trained on. Pure: two samples in, figures out.

Drift is shown and alerted. It takes no version back by itself: features may shift while the ranking stays right, and whether it did is what
`watch` judges by. Where the samples come from is decided by those who ask.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.marketplace.names import FEATURES
from litgo_pipelines.settings import LitgoError

Verdict = Literal["stable", "moderate", "drifted", "insufficient data"]

LEAST_ROWS = 500
BINS = 10
STABLE_BELOW = 0.10
DRIFTED_FROM = 0.25
SIGNIFICANCE = 0.05
LEAST_KNOWN = 50
_SMOOTHING = 0.5
_WORST_FIRST: tuple[Verdict, ...] = ("drifted", "moderate", "stable")


class DriftError(LitgoError, ValueError):
    """Samples that cannot be compared; the message says why."""


class FeatureDrift(BaseModel):
    """One feature, then and of late.

    Attributes:
        feature: its letter.
        psi: population stability index; None with too few rows.
        ks_statistic, p_value: two-sample Kolmogorov-Smirnov over known values; None with fewer than 50 of them on a side.
        unknown_before, unknown_of_late: share of NaN; None without a row.
        verdict: what they say together.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    feature: str
    psi: float | None
    ks_statistic: float | None
    p_value: float | None
    unknown_before: float | None
    unknown_of_late: float | None
    verdict: Verdict


class DriftResult(BaseModel):
    """The worst verdict of all features, why, and each feature by itself."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    verdict: Verdict
    reasons: list[str]
    reference_rows: int
    recent_rows: int
    features: tuple[FeatureDrift, ...]


def judge_drift(reference: ArrayLike, recent: ArrayLike) -> DriftResult:
    """Compare the features of late with those of the reference.

    - Insufficient data: fewer than 500 rows on a side.
    - Stable: PSI below .1. Drifted: PSI of at least .25, and surely no chance (below). Moderate: between, or not surely so.
    - Surely: the Kolmogorov-Smirnov test of the known values, or the exact test that equally many are unknown, is significant at .05 after
      Bonferroni's correction over both tests of all features. The limits .1 and .25 are those customary in credit scoring (Siddiqi,
      Credit Risk Scorecards, 2006).

    Args:
        reference, recent: shape (n, 8) and (m, 8), in the order of `FEATURES`; NaN where unknown.

    Raises:
        DriftError: another number of columns, or infinite values.
    """
    before, of_late = _sample(reference), _sample(recent)
    features = tuple(_feature(name, before[:, at], of_late[:, at]) for at, name in enumerate(FEATURES))
    if min(len(before), len(of_late)) < LEAST_ROWS:
        reasons = [f"{len(before)} rows of the reference and {len(of_late)} recent ones: {LEAST_ROWS} of each are needed"]
        return DriftResult(
            verdict="insufficient data", reasons=reasons, reference_rows=len(before), recent_rows=len(of_late), features=features
        )
    verdict = next(one for one in _WORST_FIRST if any(feature.verdict == one for feature in features))
    reasons = [_reason(one) for one in features if one.verdict != "stable"] or [f"PSI of all features below {STABLE_BELOW:g}"]
    return DriftResult(verdict=verdict, reasons=reasons, reference_rows=len(before), recent_rows=len(of_late), features=features)


def stability_index(reference: ArrayLike, recent: ArrayLike) -> float:
    """Population stability index of two samples of shape (n,) and (m,), neither empty: sum of (q - p) * log(q / p) over bins.

    p and q are the shares of the reference and of the recent sample between the deciles of the reference's known values, and in one more
    bin for unknown ones (NaN); half a row is added to every bin, so that an empty one is no infinity. A value at which deciles coincide
    has a bin of its own, beside those of what lies below and above.

    References: Jeffreys, An invariant form for the prior probability in estimation problems, Proc. R. Soc. A 186, 1946 (the divergence);
    Siddiqi, Credit Risk Scorecards, 2006 (its use for stability).

    Raises:
        DriftError: no row on a side.
    """
    before, of_late = np.asarray(reference, dtype=np.float64), np.asarray(recent, dtype=np.float64)
    if not before.size or not of_late.size:
        raise DriftError("a stability index needs a row on each side")
    edges = _edges(before[~np.isnan(before)])
    p, q = _shares(before, edges), _shares(of_late, edges)
    return float(((q - p) * np.log(q / p)).sum())


def _edges(known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inner edges of bins closed to the right: each decile but the outermost, and both sides of a value at which deciles coincide."""
    if not known.size:
        return np.zeros(0)
    places = -(-np.arange(BINS + 1) * known.size // BINS) - 1
    deciles, times = np.unique(np.sort(known)[np.maximum(places, 0)], return_counts=True)
    shared = times > 1
    inner = (deciles > known.min()) & (deciles < known.max())
    return np.unique(np.concatenate([deciles[inner | shared], np.nextafter(deciles[shared], -np.inf)]))


def _shares(sample: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    known = sample[~np.isnan(sample)]
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=edges.size + 1)
    smoothed = np.append(counts, sample.size - known.size) + _SMOOTHING
    return np.asarray(smoothed / smoothed.sum())


def _feature(name: str, before: NDArray[np.float64], of_late: NDArray[np.float64]) -> FeatureDrift:
    unknown = [float(np.isnan(one).mean()) if one.size else None for one in (before, of_late)]
    if min(before.size, of_late.size) < LEAST_ROWS:
        return FeatureDrift(
            feature=name,
            psi=None,
            ks_statistic=None,
            p_value=None,
            unknown_before=unknown[0],
            unknown_of_late=unknown[1],
            verdict="insufficient data",
        )
    psi = stability_index(before, of_late)
    statistic, p_value = _kolmogorov_smirnov(before[~np.isnan(before)], of_late[~np.isnan(of_late)])
    chance = SIGNIFICANCE / (2 * len(FEATURES))
    surely = (p_value is not None and p_value < chance) or _unknown_p_value(before, of_late) < chance
    drifted: Verdict = "drifted" if psi >= DRIFTED_FROM and surely else "moderate"
    return FeatureDrift(
        feature=name,
        psi=psi,
        ks_statistic=statistic,
        p_value=p_value,
        unknown_before=unknown[0],
        unknown_of_late=unknown[1],
        verdict="stable" if psi < STABLE_BELOW else drifted,
    )


def _kolmogorov_smirnov(before: NDArray[np.float64], of_late: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Massey, The Kolmogorov-Smirnov test for goodness of fit, JASA 46, 1951; with ties the p-value is too large rather than too small."""
    from scipy.stats import ks_2samp

    if min(before.size, of_late.size) < LEAST_KNOWN:
        return None, None
    found = ks_2samp(before, of_late, method="asymp")
    return float(found.statistic), float(found.pvalue)


def _unknown_p_value(before: NDArray[np.float64], of_late: NDArray[np.float64]) -> float:
    """Fisher's exact test that equally many values are unknown on both sides."""
    from scipy.stats import fisher_exact

    table = np.array([[np.isnan(one).sum(), (~np.isnan(one)).sum()] for one in (before, of_late)], dtype=np.int64)
    return float(fisher_exact(table)[1])


def _reason(one: FeatureDrift) -> str:
    known = "" if one.ks_statistic is None or one.p_value is None else f", KS {one.ks_statistic:.3f} (p {one.p_value:.1g})"
    unknown = f", unknown {one.unknown_before:.1%} before and {one.unknown_of_late:.1%} of late" if one.unknown_of_late else ""
    return f"{one.feature} {one.verdict}: PSI {one.psi:.3f}{known}{unknown}"


def _sample(values: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != len(FEATURES):
        raise DriftError(f"a sample has {len(FEATURES)} columns, one a feature, and not the shape {found.shape}")
    if np.isinf(found).any():
        raise DriftError("a feature is infinite: features lie between 0 and 1, or are NaN where unknown")
    return found
