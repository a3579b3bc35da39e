"""What a ranker would have been worth, estimated from offers that another one made in a random order. Pure: arrays in, figures out.

How the offers are read, and with which probability each ranker makes them, lives in `off_policy_log`. The result can be computed again from
its evidence alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.ranking.calibration import TOLERATED_ERROR

Verdict = Literal["better", "worse", "no clear difference", "insufficient data"]

LEAST_EFFECTIVE_SAMPLE = 100.0
LEAST_COVERAGE = 0.5
RESAMPLES = 1000

_MOST_CLUSTERS = 2000
_DIGITS = 9
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Logged:
    """n places that were shown, shapes (n,).

    Attributes:
        reward: what came of the place, 0..1.
        propensity: probability with which whoever stood there was put there, in (0, 1].
        target: probability with which the candidate would have put the same one there, 0..1.
        request: number of the request; places of one request are not independent.
        prediction: expected reward of whoever stood there, 0..1: the candidate's own, brought to the level of the log (`fit_level`).
        expected: the same of whom the candidate would have put there, in the mean.
    """

    reward: NDArray[np.float64]
    propensity: NDArray[np.float64]
    target: NDArray[np.float64]
    request: NDArray[np.int64]
    prediction: NDArray[np.float64]
    expected: NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """How promises are to be read: logit(reward) = intercept + slope * logit(promise)."""

    intercept: float = 0.0
    slope: float = 1.0

    def __call__(self, promise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected reward, shapes (n,)."""
        from scipy.special import expit, logit

        return np.asarray(expit(self.intercept + self.slope * logit(promise)))


class OffPolicyEvidence(BaseModel):
    """Sums over clusters, which all figures follow from: requests, or groups of them where there are more than 2,000.

    Attributes:
        candidate, champion: versions, or `hand-weights`.
        requests: requests that were used.
        left_out: requests that were not, by reason.
        floor: least effective sample size.
        seed: of the bootstrap.
        places: places of each cluster.
        weight, weight_squared: sums of w = target / propensity, and of its square.
        reward, weighted_reward: sums of r and of w * r.
        robust: sum of expected + w * (r - prediction).
    """

    model_config = ConfigDict(frozen=True)

    candidate: str
    champion: str
    requests: int
    left_out: dict[str, int] = {}
    floor: float = LEAST_EFFECTIVE_SAMPLE
    seed: int = 0
    places: tuple[int, ...] = ()
    weight: tuple[float, ...] = ()
    weight_squared: tuple[float, ...] = ()
    reward: tuple[float, ...] = ()
    weighted_reward: tuple[float, ...] = ()
    robust: tuple[float, ...] = ()


class Estimate(BaseModel):
    """A mean with its 95 % interval; None where nothing defines it."""

    model_config = ConfigDict(frozen=True)

    mean: float | None
    low: float | None
    high: float | None


class OffPolicyResult(BaseModel):
    """What the log says of the candidate, and the evidence it can be computed from again.

    Attributes:
        effective_sample_size: places that would say as much if the candidate had filled them itself.
        coverage: mean weight, about 1 where the log holds all that the candidate would do; what it does outside the log is seen by `snips`
            not at all, by `doubly_robust` through the candidate's own promises.
        champion: mean reward of the places as they were filled.
        snips, doubly_robust: the candidate's mean reward by either estimate.
        snips_difference, doubly_robust_difference: candidate less champion, on the same places.
    """

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    reasons: list[str]
    requests: int
    places: int
    left_out: dict[str, int]
    effective_sample_size: float
    coverage: float | None
    champion: Estimate
    snips: Estimate
    doubly_robust: Estimate
    snips_difference: Estimate
    doubly_robust_difference: Estimate
    evidence: dict[str, Any]


def fit_level(promise: NDArray[np.float64], reward: NDArray[np.float64]) -> Level:
    """Bring a ranker's promises to what the log shows, by two numbers; a ridge prior holds what little is logged near "as promised".

    Without it the doubly robust estimate would take a ranker's word for whatever the log does not cover: who promises most would be best.

    Args:
        promise: shape (n,), in (0, 1).
        reward: shape (n,), 0..1.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, logit

    if not promise.size:
        return Level()
    at_promise, prior = logit(promise), np.array([0.0, 1.0])

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = at[0] + at[1] * at_promise
        surplus, pull = expit(margin) - reward, at - prior
        value = np.sum(np.logaddexp(0.0, margin) - reward * margin) + 0.5 * pull @ pull
        return float(value), np.array([surplus.sum(), surplus @ at_promise]) + pull

    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=[(None, None), (0.0, None)]).x
    return Level(float(found[0]), float(found[1]))


def gather(
    logged: Logged,
    *,
    candidate: str,
    champion: str,
    left_out: Mapping[str, int] | None = None,
    floor: float = LEAST_EFFECTIVE_SAMPLE,
    seed: int = 0,
) -> OffPolicyEvidence:
    """Add the places up by request, each sum with nine significant digits: little enough to store, and all that the estimates need.

    Raises:
        ValueError: a propensity outside (0, 1], a number that is not finite, or columns of different length.
    """
    columns = list(vars(logged).values())
    if len({one.shape for one in columns}) != 1 or not all(np.isfinite(one).all() for one in columns):
        raise ValueError("the columns of logged places must be finite and of one length")
    if not np.all((logged.propensity > 0) & (logged.propensity <= 1)):
        raise ValueError("propensities must lie in (0, 1]")
    numbers, cluster = np.unique(logged.request, return_inverse=True)
    # Requests in turn: a bootstrap over groups of independent requests is as good as one over requests, once there are many groups.
    cluster = cluster % _MOST_CLUSTERS
    weight = logged.target / logged.propensity

    def sums(values: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(float(f"{one:.{_DIGITS}g}") for one in np.bincount(cluster, values))

    return OffPolicyEvidence(
        candidate=candidate,
        champion=champion,
        requests=numbers.size,
        left_out=dict(left_out or {}),
        floor=floor,
        seed=seed,
        places=tuple(np.bincount(cluster).tolist()) if cluster.size else (),
        weight=sums(weight),
        weight_squared=sums(weight**2),
        reward=sums(logged.reward),
        weighted_reward=sums(weight * logged.reward),
        robust=sums(logged.expected + weight * (logged.reward - logged.prediction)),
    )


def evaluate(evidence: OffPolicyEvidence) -> OffPolicyResult:
    """Estimate the candidate's mean reward a place, and say whether it differs from the champion's.

    - SNIPS, sum(w r) / sum(w): Swaminathan and Joachims (2015), "The Self-Normalized Estimator for Counterfactual Learning".
    - Doubly robust, mean(expected + w (r - prediction)): Dudik, Langford and Li (2011), "Doubly Robust Policy Evaluation and Learning". The
      verdict is by its difference: the interval must lie beyond what the promises that the log cannot check may be off by, .05 each, as
      much as a calibration is allowed.
    - Effective sample size, sum(w)^2 / sum(w^2): Kish (1965), "Survey Sampling". Below the floor the verdict is insufficient data; so it is
      where the log covers less than half of what the candidate would do.
    - Intervals are of a bootstrap over requests, 1,000 times, 2.5 % to 97.5 %.
    """
    columns = np.array([getattr(evidence, name) for name in _SUMS], dtype=np.float64)
    total = columns.sum(axis=1)
    drawn = _resampled(columns, evidence.seed)
    means, spread = _figures(total[:, None])[:, 0], _figures(drawn)
    found = {name: _estimate(mean, row) for name, mean, row in zip(_FIGURES, means, spread, strict=True)}
    squared = total[_SUMS.index("weight_squared")]
    effective = float(total[_SUMS.index("weight")] ** 2 / squared) if squared > 0 else 0.0
    places = int(total[0])
    coverage = float(total[_SUMS.index("weight")] / places) if places else None
    missing = _missing(effective, coverage, evidence)
    difference = found["doubly_robust_difference"]
    slack = TOLERATED_ERROR * max(0.0, 1 - (coverage or 0.0))
    return OffPolicyResult(
        verdict="insufficient data" if missing else _verdict(difference, slack),
        reasons=missing or [_told(difference, slack, evidence)],
        requests=evidence.requests,
        places=places,
        left_out=evidence.left_out,
        effective_sample_size=effective,
        coverage=coverage,
        **found,
        evidence=evidence.model_dump(mode="json"),
    )


def recompute(evidence: Mapping[str, Any]) -> OffPolicyResult:
    """The same result from stored evidence.

    Raises:
        pydantic.ValidationError: it is no evidence of this kind.
    """
    return evaluate(OffPolicyEvidence.model_validate(dict(evidence)))


_SUMS = ("places", "weight", "weight_squared", "reward", "weighted_reward", "robust")
_FIGURES = ("champion", "snips", "doubly_robust", "snips_difference", "doubly_robust_difference")


def _figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The figures of sums, shapes (6, k) to (5, k); NaN where a figure is not defined."""
    places, weight, _, reward, weighted, robust = sums
    champion, snips, doubly = (
        np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
        for above, below in ((reward, places), (weighted, weight), (robust, places))
    )
    return np.stack([champion, snips, doubly, snips - champion, doubly - champion])


def _resampled(columns: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Sums of clusters drawn with replacement, shape (6, resamples)."""
    clusters = columns.shape[1]
    if clusters == 0:
        return np.zeros((len(_SUMS), 0))
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // clusters)
    drawn = [
        generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=min(block, RESAMPLES - start))
        for start in range(0, RESAMPLES, block)
    ]
    return np.asarray(columns @ np.concatenate(drawn).T)


def _estimate(mean: float, spread: NDArray[np.float64]) -> Estimate:
    known = spread[~np.isnan(spread)]
    if np.isnan(mean) or not known.size:
        return Estimate(mean=None, low=None, high=None)
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(mean=float(mean), low=float(low), high=float(high))


def _missing(effective: float, coverage: float | None, evidence: OffPolicyEvidence) -> list[str]:
    found = []
    if effective < evidence.floor:
        found.append(
            f"effective sample size {effective:.0f} of {evidence.requests} explored requests, {evidence.floor:g} are needed: "
            "wait, or let more requests explore (LITGO_EXPLORATION)"
        )
    if coverage is not None and coverage < LEAST_COVERAGE:
        covered = f"the log covers {coverage:.0%} of what {evidence.candidate} would do"
        found.append(f"{covered}, {LEAST_COVERAGE:.0%} are needed: only an experiment can tell")
    return found


def _verdict(difference: Estimate, slack: float) -> Verdict:
    if difference.low is None or difference.high is None:
        return "insufficient data"
    return "better" if difference.low > slack else "worse" if difference.high < -slack else "no clear difference"


def _told(difference: Estimate, slack: float, evidence: OffPolicyEvidence) -> str:
    if difference.mean is None:
        return "no offer says anything"
    return (
        f"{evidence.candidate} less {evidence.champion}: {difference.mean:+.4f} accepted offers a place "
        f"(95 % interval {difference.low:+.4f} to {difference.high:+.4f}, {slack:.4f} more for what the log does not cover)"
    )
