"""Tests of two arms that may be read at any time, as often as one likes, without losing their level. Pure: counts in, figures out.

Which metrics are tested, at which level and what follows from it is `readout`'s; how often they err, `sequential_calibration` measures.

Counts come in strata, the steps of a ramp: the arms' shares differ from step to step, so what is compared is compared within a step. The
last axis of every array is the strata; all axes before it are experiments (or looks) treated alike. An empty stratum changes nothing.

Sources:
    Ville (1939): a nonnegative martingale that starts at 1 exceeds 1/alpha at any time with probability alpha at most.
    Robbins (1970), Statistical methods related to the law of the iterated logarithm. Annals of Mathematical Statistics 41: mixtures.
    Howard, Ramdas, McAuliffe, Sekhon (2021), Time-uniform, nonparametric, nonasymptotic confidence sequences. Annals of Statistics 49.
    Lindon, Malek (2022), Anytime-valid inference for multinomial count data. NeurIPS 35.
    Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), Time-uniform central limit theory and asymptotic confidence sequences.
        Annals of Statistics 52 (arXiv 2103.06476).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

SPREAD = 0.125
"""How large an effect the mixtures expect: the standard deviation of the logarithm of a ratio of conversion rates, and of a difference of
means in standard deviations of a unit. A mixture is narrowest at one size and pays elsewhere. With this one, intervals are at most 15 %
wider than with the mixture that would be best for just that size, from 100 to 50,000 units (or conversions) in the smaller arm and for
alpha from .01 to .03; other spreads lose at one end what they gain at the other."""

PREFERENCE_SPREAD = 0.25
"""The same for wins under interleaving, where the same clients see both rankers: effects are larger and hundreds of units must do."""

_ENDS = 40.0
"""Logarithms of ratios are looked for within these; a bound beyond is none."""

_HALVINGS = 60
_NO_VARIANCE = 1e-12
_MOST_UNITS = 10**9
_MOST_LIFT = 10.0


@dataclass(frozen=True)
class Sample:
    """Sufficient statistics of a mean, of one arm: how many units, their sum, their sum of squares; each of shape (..., strata)."""

    units: ArrayLike
    total: ArrayLike
    squares: ArrayLike


@dataclass(frozen=True)
class RatioComparison:
    """Treatment's conversion rate over control's, less 1; each of shape (...).

    Attributes:
        lift: most likely value; NaN without any conversion, infinite without one in control.
        low, high: anytime-valid interval, in -1..infinity.
        p_value: anytime-valid, of no difference.
    """

    lift: Array
    low: Array
    high: Array
    p_value: Array


@dataclass(frozen=True)
class MeanComparison:
    """Treatment's mean less control's; each of shape (...). All are NaN where no stratum has units of both arms or nothing varies.

    Attributes:
        control, treatment: means over the strata, both with the weights of the comparison.
        difference, low, high: estimate and anytime-valid interval.
        p_value: anytime-valid, of no difference.
    """

    control: Array
    treatment: Array
    difference: Array
    low: Array
    high: Array
    p_value: Array

    def relative(self) -> tuple[Array, Array, Array]:
        """Lift and its bounds: the difference's over control's mean, which is taken as known. NaN unless that is above 0.

        The sign of a bound is the sign of the difference's, so that both exclude 0 together.
        """
        base = np.where(self.control > 0, self.control, np.nan)
        return self.difference / base, self.low / base, self.high / base


def log_evidence(control: ArrayLike, treatment: ArrayLike, share: ArrayLike, *, ratio: ArrayLike = 1.0, spread: float = SPREAD) -> Array:
    """Logarithm of the likelihood ratio of a mixture of effects against one effect.

    If treatment converts `ratio` times as often as control and has the share w of the exposed, each conversion is treatment's with
    probability w * ratio / (w * ratio + 1 - w), whatever the base rate and however it moves. A Beta mixture over that probability gives a
    ratio of likelihoods that is a nonnegative martingale under `ratio`, and so does the product over the strata.

    Args:
        control, treatment: conversions, shape (..., strata).
        share: treatment's share of the exposed by design, in (0, 1), shape (..., strata).
        ratio: the effect that is held against the mixture, > 0, shape (...).
        spread: standard deviation of the logarithm of the ratios that are mixed.

    Returns:
        Shape (...); 0 where nothing converted.
    """
    ours, theirs, chance = _together(treatment, control, share)
    return _log_mixture(ours, theirs, chance, spread) - _log_likelihood(ours, theirs, chance, np.log(np.asarray(ratio, dtype=np.float64)))


def compare_conversions(
    control: ArrayLike, treatment: ArrayLike, share: ArrayLike, *, alpha: float, spread: float = SPREAD
) -> RatioComparison:
    """Compare conversion rates, given conversions and the share of the exposed that treatment has by design.

    Exact at any number of units. The interval holds every ratio that `log_evidence` does not refute at `alpha`; it has one piece, because
    the likelihood is concave in the logarithm of the ratio. Where the strata contradict each other so much that no common ratio is left,
    the evidence counts only as far as the most likely common ratio carries it: less evidence is valid too. Arguments as in `log_evidence`.
    """
    ours, theirs, chance = _together(treatment, control, share)
    ends = np.full(ours.shape[:-1], _ENDS)
    best = _root(lambda at: np.sum((ours + theirs) * _expit(_logit(chance) + at[..., None]) - ours, axis=-1), -ends, ends)
    mixture = np.minimum(_log_mixture(ours, theirs, chance, spread), _log_likelihood(ours, theirs, chance, best))

    def refuted(at: Array) -> Array:
        return mixture - _log_likelihood(ours, theirs, chance, at) - math.log(1 / alpha)

    low, high = _root(lambda at: -refuted(at), -ends, best), _root(refuted, best, ends)
    any_ours, any_theirs = ours.sum(axis=-1) > 0, theirs.sum(axis=-1) > 0
    lift = np.where(any_ours & any_theirs, np.expm1(best), np.where(any_ours, np.inf, np.where(any_theirs, -1.0, np.nan)))
    return RatioComparison(
        lift,
        np.where(refuted(-ends) > 0, np.expm1(low), -1.0),
        np.where(refuted(ends) > 0, np.expm1(high), np.inf),
        np.exp(-np.maximum(mixture - _log_likelihood(ours, theirs, chance, np.zeros_like(ends)), 0)),
    )


def sample_ratio_p_value(control: ArrayLike, treatment: ArrayLike, share: ArrayLike) -> Array:
    """Anytime-valid p-value of the exposed being split as designed: `log_evidence` of exposures instead of conversions. Shape (...)."""
    return np.exp(-np.maximum(log_evidence(control, treatment, share), 0))


def compare_means(control: Sample, treatment: Sample, *, alpha: float, spread: float = SPREAD) -> MeanComparison:
    """Compare means by an asymptotic confidence sequence (Waudby-Smith et al., Robbins' normal mixture).

    Within a stratum the difference of the means counts with n_c * n_t / (n_c + n_t), which is its information where both arms vary alike;
    m is their sum. With s the standard error of the weighted difference and r = 1 / spread^2 the interval is

        difference -+ s * sqrt((m + r) / m * log((m + r) / (r * alpha^2)))

    Asymptotic means: valid for all looks from a first one on at which the central limit theorem holds, so `readout` looks from 100 units an
    arm on. An arm's variance is never taken below that of both arms together: a small arm that happens to vary little would look surer
    than it is.
    """
    n_c, total_c, squares_c = _together(control.units, control.total, control.squares)
    n_t, total_t, squares_t = _together(treatment.units, treatment.total, treatment.squares)
    size, portion = _weights(n_c, n_t)
    mean_c, mean_t = _weighted(portion, total_c, n_c), _weighted(portion, total_t, n_t)
    variance_c, variance_t = _variances((n_c, total_c, squares_c), (n_t, total_t, squares_t))
    error = np.sqrt(variance_c * _weighted(portion**2, np.ones_like(n_c), n_c) + variance_t * _weighted(portion**2, np.ones_like(n_t), n_t))
    known = error > 0
    error = np.where(known, error, np.nan)
    mean_c, mean_t = np.where(known, mean_c, np.nan), np.where(known, mean_t, np.nan)
    difference = mean_t - mean_c
    radius = error * mean_boundary(np.where(known, size, np.nan), alpha=alpha, spread=spread)
    return MeanComparison(
        mean_c, mean_t, difference, difference - radius, difference + radius, _mean_p_value(difference / error, size, spread)
    )


def weighted_means(total_c: ArrayLike, units_c: ArrayLike, total_t: ArrayLike, units_t: ArrayLike) -> tuple[Array, Array]:
    """Means of control and treatment over the strata, both with the weights of `compare_means`; NaN where no stratum has both arms."""
    sum_c, n_c, sum_t, n_t = _together(total_c, units_c, total_t, units_t)
    size, portion = _weights(n_c, n_t)
    unknown = np.where(size > 0, 0.0, np.nan)
    return _weighted(portion, sum_c, n_c) + unknown, _weighted(portion, sum_t, n_t) + unknown


def mean_boundary(size: ArrayLike, *, alpha: float, spread: float = SPREAD) -> Array:
    """Standard errors that a difference must keep from what is refuted, at information `size` (`compare_means`: m)."""
    m, r = np.asarray(size, dtype=np.float64), spread**-2
    found: Array = np.sqrt((m + r) / m * np.log((m + r) / (r * alpha**2)))
    return found


def naive_p_value(control: ArrayLike, control_units: ArrayLike, treatment: ArrayLike, treatment_units: ArrayLike) -> Array:
    """p-value of the two-proportion z-test: right for one look at a time fixed beforehand, wrong for peeking. For comparison only.

    Returns:
        The shape of the arguments; NaN where an arm is empty or nothing varies.
    """
    from scipy.special import erfc

    c, n_c, t, n_t = (np.asarray(one, dtype=np.float64) for one in (control, control_units, treatment, treatment_units))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (c + t) / (n_c + n_t)
        z = (t / n_t - c / n_c) / np.sqrt(pooled * (1 - pooled) * (1 / n_c + 1 / n_t))
    found: Array = erfc(np.abs(np.where(np.isfinite(z), z, np.nan)) / math.sqrt(2))
    return found


@dataclass(frozen=True)
class Conversion:
    """What a plan must know of a conversion: control's rate, in (0, 1]."""

    rate: float


@dataclass(frozen=True)
class Mean:
    """What a plan must know of a mean: control's, > 0, and the standard deviation of a unit, > 0."""

    mean: float
    sd: float


def detectable_lift(
    units: float, share: float, outcome: Conversion | Mean, *, alpha: float, power: float = 0.8, least_units: int = 100
) -> float | None:
    """The smallest lift that an experiment shows with probability `power` by the time `units` are in it, both arms together.

    The boundary is that of the comparisons above. Only the look at the end counts, so a real experiment, which looks earlier too, shows
    somewhat more.

    Args:
        share: treatment's share of the units, in (0, 1).
        alpha: level of this one metric.
        least_units: units that each arm needs before anything is said.

    Returns:
        None where no lift is shown: too few units, or the rate cannot rise so far.
    """
    most = 1 / outcome.rate - 1 if isinstance(outcome, Conversion) else _MOST_LIFT
    if not _shows(most, units, share, outcome, alpha, power, least_units):
        return None
    return _least(lambda lift: _shows(lift, units, share, outcome, alpha, power, least_units), 0.0, most)


def units_to_detect(
    lift: float, share: float, outcome: Conversion | Mean, *, alpha: float, power: float = 0.8, least_units: int = 100
) -> int | None:
    """Units, both arms together, by which a lift > 0 is shown with probability `power`; arguments as in `detectable_lift`.

    Returns:
        None where a thousand million do not do, or a rate would rise above 1.
    """
    if isinstance(outcome, Conversion) and outcome.rate * (1 + lift) > 1:
        return None
    if not _shows(lift, _MOST_UNITS, share, outcome, alpha, power, least_units):
        return None
    found = _least(lambda exponent: _shows(lift, math.exp(exponent), share, outcome, alpha, power, least_units), 0.0, math.log(_MOST_UNITS))
    return math.ceil(math.exp(found))


def days_to_a_verdict(
    lift: float, daily_units: float, share: float, outcome: Conversion | Mean, *, alpha: float, power: float = 0.8, least_units: int = 100
) -> float | None:
    """Days at `daily_units` new units a day, both arms together, by which `units_to_detect` have come; None where they never do."""
    units = units_to_detect(lift, share, outcome, alpha=alpha, power=power, least_units=least_units)
    return None if units is None or daily_units <= 0 else units / daily_units


def _shows(lift: float, units: float, share: float, outcome: Conversion | Mean, alpha: float, power: float, least_units: int) -> bool:
    """Whether the result that is exceeded with probability `power` lies beyond the boundary."""
    if units * min(share, 1 - share) < least_units:
        return False
    luck = NormalDist().inv_cdf(power)
    if isinstance(outcome, Mean):
        size = units * share * (1 - share)
        told = lift * outcome.mean / outcome.sd * math.sqrt(size) - luck
        return bool(told > mean_boundary(size, alpha=alpha))
    ours, theirs = units * share * (1 + lift) * outcome.rate, units * (1 - share) * outcome.rate
    both = ours + theirs
    unlucky = ours - luck * math.sqrt(ours * theirs / both)
    return unlucky > share * both and bool(log_evidence([both - unlucky], [unlucky], [share]) > math.log(1 / alpha))


def _least(shows: Callable[[float], bool], low: float, high: float) -> float:
    """Where `shows`, false below and true above, turns; it is true at the result."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _together(*arrays: ArrayLike) -> tuple[Array, ...]:
    return tuple(np.broadcast_arrays(*(np.asarray(one, dtype=np.float64) for one in arrays)))


def _over(above: Array, below: Array) -> Array:
    """The quotient, 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _weights(units_c: Array, units_t: Array) -> tuple[Array, Array]:
    """Information of all strata, shape (...), and each stratum's part of it, shape (..., strata); NaN parts where there is none."""
    weight = _over(units_c * units_t, units_c + units_t)
    size = weight.sum(axis=-1)
    return size, weight / np.where(size > 0, size, np.nan)[..., None]


def _weighted(portion: Array, total: Array, units: Array) -> Array:
    found: Array = np.sum(portion * _over(total, units), axis=-1)
    return found


def _logit(chance: Array) -> Array:
    return np.log(chance) - np.log1p(-chance)


def _expit(at: Array) -> Array:
    from scipy.special import expit

    found: Array = expit(at)
    return found


def _log_mixture(ours: Array, theirs: Array, chance: Array, spread: float) -> Array:
    """Log likelihood of the conversions' arms under Beta mixtures around `chance`, summed over the strata.

    With a = r / (1 - chance) and b = r / chance the mean is `chance`, and the logarithm of the ratio of rates has the variance 1 / r.
    """
    from scipy.special import betaln

    r = spread**-2
    a, b = r / (1 - chance), r / chance
    found: Array = np.sum(betaln(a + ours, b + theirs) - betaln(a, b), axis=-1)
    return found


def _log_likelihood(ours: Array, theirs: Array, chance: Array, log_ratio: Array) -> Array:
    at = _logit(chance) + log_ratio[..., None]
    found: Array = -np.sum(ours * np.logaddexp(0, -at) + theirs * np.logaddexp(0, at), axis=-1)
    return found


def _root(rising: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Where a function that rises from below 0 to above crosses it, by halving; the nearer end where it does not cross."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        beyond = rising(middle) > 0
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return (low + high) / 2


def _variances(*arms: tuple[Array, Array, Array]) -> tuple[Array, ...]:
    """Variance of a unit in each arm around its stratum's mean, at least that of all arms together; NaN where nothing tells it."""
    errors, freedoms = [], []
    for units, total, squares in arms:
        error = squares - _over(total**2, units)
        errors.append(np.where(error > _NO_VARIANCE * squares, error, 0).sum(axis=-1))
        freedoms.append(np.maximum(units - 1, 0).sum(axis=-1))
    together = _quotient(np.sum(errors, axis=0), np.sum(freedoms, axis=0))
    return tuple(np.fmax(_quotient(error, freedom), together) for error, freedom in zip(errors, freedoms, strict=True))


def _quotient(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _mean_p_value(z: Array, size: Array, spread: float) -> Array:
    """The least alpha whose boundary a standardised difference lies beyond."""
    r = spread**-2
    found: Array = np.minimum(1, np.sqrt((size + r) / r) * np.exp(-(z**2) / 2 * size / (size + r)))
    return found
