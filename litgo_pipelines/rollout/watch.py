"""The watch over the champion: whether its quality has fallen. Pure: evidence in, verdict and reasons out.

Two series are watched, each against the version's own reference: the match score of every decision (mean calibrated probability of
acceptance of the first three lawyers shown), and accepted against promised over answered offers. Each runs through one-sided CUSUMs (Page,
Continuous inspection schemes, Biometrika 41, 1954), each tuned to a fall of another size. How decisions are read, and what is done
about a verdict, is not decided here. How often and how fast they alarm is told in `docs/watch.md`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from litgo_pipelines.settings import LitgoError

Verdict = Literal["healthy", "degraded", "insufficient data"]
Floats = NDArray[np.float64]

MOST_KEPT = 2_000
WEEK_OF_DECISIONS = 16_800
WEEK_OF_ANSWERS = 50_400

# All levels are shares of the threshold, so that they move with it; at a threshold of .85 the tolerated ratio is .86.
_TOLERATED = 0.86 / 0.85
_LEAST_SD = 0.02
_MOST_SDS = 4.0
_DESIGN_EFFECT = 2.0
_LEAST_CHANCE, _MOST_CHANCE = 1e-4, 0.98
# Mean of what a random walk with normal steps overshoots a boundary by, in standard deviations, at both ends (Siegmund 1985).
_OVERSHOOT = 1.166


class WatchError(LitgoError, ValueError):
    """A series or a threshold that nothing can be computed from; the message says which."""


@dataclass(frozen=True)
class Fall:
    """A fall that a CUSUM is tuned to.

    Attributes:
        of_threshold: the ratio fallen to, as a share of the threshold.
        false_alarms: share of weeks at the tolerated ratio, just above the threshold, in which it may alarm.
    """

    of_threshold: float
    false_alarms: float


# Together half of what is allowed at most, one false alarm in a hundred weeks, is left as a margin for what the formula does not know.
FALLS = (Fall(0.83 / 0.85, 0.0010), Fall(0.80 / 0.85, 0.0015), Fall(0.70 / 0.85, 0.0005), Fall(0.50 / 0.85, 0.0005))


class Reference(BaseModel):
    """What a version's later decisions are compared with: its first ones, be they good or bad.

    Attributes:
        mean, sd, skewness: of the match score; the skewness after what lies over four standard deviations low was pulled in.
        count: decisions behind them.
        space: the embedding space they were made in.
        accepted_ratio: accepted over promised of the answered offers; None without any answered offer.
        promised: mean probability of acceptance at those offers; None without any.
        offers: answered offers behind it.
        began, ended: moments of the first and the last decision behind it; None where they were not of a time.
        after_block: whether the version had been blocked before, so that these decisions may be bad ones and prove nothing.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    mean: float = Field(gt=0)
    sd: float = Field(ge=0)
    count: int = Field(ge=1)
    space: str
    skewness: float = 0.0
    accepted_ratio: float | None = Field(None, ge=0)
    promised: float | None = Field(None, gt=0, le=1)
    offers: int = Field(0, ge=0)
    began: datetime | None = None
    ended: datetime | None = None
    after_block: bool = False


def reference_of(
    scores: ArrayLike, space: str, promised: ArrayLike, accepted: ArrayLike, *, least: int, least_offers: int | None = None
) -> Reference | None:
    """The reference that a version's first decisions make.

    Args:
        scores: match scores of shape (n,), each 0..1, of decisions in the embedding space `space` alone.
        promised, accepted: of shape (m,): probability given at the offer, and whether the lawyer was interested; answered offers only.
        least: below this many decisions there is no reference.
        least_offers: below this many answered offers acceptance is not compared; as many as `least` by default.

    Returns:
        None below `least` decisions, or where all scores are 0, which nothing can be a share of.

    Raises:
        WatchError: a series holds NaN, or what is no probability, or `promised` and `accepted` differ in length.
    """
    found = _probabilities(scores, "match scores")
    if found.size < max(least, 1) or found.mean() <= 0:
        return None
    mean, sd = float(found.mean()), float(found.std())
    skewness = _skewness(found, mean, sd)
    bare = Reference(mean=mean, sd=sd, count=found.size, space=space, skewness=skewness, accepted_ratio=None, promised=None, offers=0)
    return with_answers(bare, promised, accepted, least=least if least_offers is None else least_offers)


def with_answers(reference: Reference, promised: ArrayLike, accepted: ArrayLike, *, least: int) -> Reference:
    """A reference that also knows what became of its decisions' offers; the same below `least` answered ones.

    Args:
        promised, accepted: of shape (m,), as for `reference_of`.

    Raises:
        WatchError: as `reference_of`.
    """
    chances, answers = _answers(promised, accepted)
    if chances.size < max(least, 1) or chances.sum() <= 0:
        return reference
    return reference.model_copy(
        update={
            "accepted_ratio": float(answers.sum() / chances.sum()),
            "promised": float(chances.mean()),
            "offers": chances.size,
        }
    )


def counted(spaces: Sequence[str | None], fallback: ArrayLike, reference: Reference) -> NDArray[np.bool_]:
    """Which of n decisions count: made in the reference's embedding space and not marked as answered in fallback. Shape (n,)."""
    same = np.array([space == reference.space for space in spaces], dtype=np.bool_)
    return same & ~np.asarray(fallback, dtype=np.bool_)


def cusum(steps: ArrayLike, start: float = 0.0) -> Floats:
    """S[t] = max(0, S[t - 1] + steps[t]) with S[-1] = `start` >= 0, along the last axis; the shape of `steps`.

    Written out it is the running sum less its least value so far, which needs no loop.
    """
    sums = np.cumsum(np.asarray(steps, dtype=np.float64), axis=-1)
    return np.asarray(sums - np.minimum(np.minimum.accumulate(sums, axis=-1), -start))


def boundary(drift: float, sd: float, doubt: float, horizon: int, alarms: float) -> float:
    """How high a CUSUM must rise so that it alarms with probability `alarms` within `horizon` steps while nothing is wrong.

    Steps have mean -`drift` and standard deviation `sd`; the mean is known but for a normal error of standard deviation `doubt`, that of
    the reference. The mean time to an alarm is Siegmund's (Sequential Analysis, 1985), and the time itself is taken as exponential.

    Returns:
        The boundary, in the steps' unit; for little doubt about `sd**2 / (2 * drift) * log(horizon / alarms * 2 * drift**2 / sd**2)`.
    """
    errors = np.linspace(-5, 5, 201)
    weights = np.exp(-(errors**2) / 2) / np.exp(-(errors**2) / 2).sum()
    drifts = drift + doubt * errors
    low, high = 0.0, horizon * (drift + 5 * doubt + sd)
    for _ in range(60):
        middle = (low + high) / 2
        within = -np.expm1(-horizon / _mean_time(middle + _OVERSHOOT * sd, drifts, sd))
        low, high = (middle, high) if weights @ within > alarms else (low, middle)
    return high


def _mean_time(height: float, drifts: Floats, sd: float) -> Floats:
    exponents = np.clip(2 * drifts * height / sd**2, -600, 600)
    flat = np.abs(exponents) < 1e-3
    safe = np.where(flat, 1.0, exponents)
    return np.asarray(2 * (height / sd) ** 2 * np.where(flat, 0.5 + exponents / 6, (np.expm1(safe) - safe) / safe**2))


def score_statistics(scores: ArrayLike, reference: Reference, threshold: float, start: Sequence[float] | None = None) -> Floats:
    """The CUSUMs of match scores as shares of their boundaries: above 1 is an alarm.

    The ratio x = score / reference mean raises a statistic by k - x, k midway between the tolerated ratio and the one the fall is to. A
    single step is at most four standard deviations. Noise that is skewed downwards raises the boundary: the exponent at which crossings
    become rarer is 2 * drift / sd**2 for normal noise, and falls with the skewness (the next term of its expansion).

    Args:
        scores: shape (n,), in the order of the decisions.
        threshold: the ratio that counts as degraded, in (0, 1).
        start: shares before the first score, one for each of `FALLS`; 0 by default.

    Returns:
        Shape (len(FALLS), n).

    Raises:
        WatchError: scores that are no probabilities, or a threshold outside (0, 1).
    """
    ratios = _probabilities(scores, "match scores") / reference.mean
    sd = max(reference.sd / reference.mean, _LEAST_SD)
    normal = _threshold(threshold) * _TOLERATED
    doubt = normal * sd / math.sqrt(reference.count)
    rows = []
    for fall, begun in zip(FALLS, _begun(start), strict=True):
        drift = (normal - threshold * fall.of_threshold) / 2
        spread = sd * math.sqrt(1 + 2 / 3 * max(-reference.skewness, 0.0) * drift / sd)
        limit = boundary(drift, spread, doubt, WEEK_OF_DECISIONS, fall.false_alarms)
        rows.append(cusum(np.minimum(normal - drift - ratios, _MOST_SDS * sd) / limit, begun))
    return np.stack(rows)


def answer_statistics(
    promised: ArrayLike, accepted: ArrayLike, reference: Reference, threshold: float, start: Sequence[float] | None = None
) -> Floats:
    """The CUSUMs of answered offers as shares of their boundaries: above 1 is an alarm.

    An answer raises a statistic by its log-likelihood ratio: acceptance at the ratio of the fall against the tolerated one, each times
    `reference.accepted_ratio * promised`. Answers to one request resemble one another; boundaries are those for twice the variance of
    independent ones, which is that of five offers a request whose answers correlate by .25.

    Args:
        promised, accepted: shape (n,), in the order of the decisions.
        threshold, start: as for `score_statistics`.

    Returns:
        Shape (len(FALLS), n).

    Raises:
        WatchError: what is no probability, lengths that differ, a threshold outside (0, 1), or a reference without any accepted offer.
    """
    chances, answers = _answers(promised, accepted)
    if not (reference.accepted_ratio and reference.promised and reference.offers):
        raise WatchError("the reference holds no accepted offer: take one over more decisions")
    normal = _threshold(threshold) * _TOLERATED
    share = min(reference.accepted_ratio * reference.promised, _MOST_CHANCE)
    error = math.sqrt(_DESIGN_EFFECT * (1 - share) / (share * reference.offers))
    expected = _chance(normal * reference.accepted_ratio * chances)
    typical = _chance(np.array([normal * share]))
    rows = []
    for fall, begun in zip(FALLS, _begun(start), strict=True):
        left = threshold * fall.of_threshold / normal
        steps = np.where(answers, math.log(left), np.log1p(-left * expected) - np.log1p(-expected))
        declined = float((np.log1p(-left * typical) - np.log1p(-typical))[0])
        width = declined - math.log(left)
        drift = float(typical[0]) * width - declined
        sd = width * math.sqrt(_DESIGN_EFFECT * float(typical[0] * (1 - typical[0])))
        limit = boundary(drift, sd, float(typical[0]) * width * error, WEEK_OF_ANSWERS, fall.false_alarms)
        rows.append(cusum(steps / limit, begun))
    return np.stack(rows)


@dataclass(frozen=True)
class Tail:
    """The end of a series, and what is needed to go on from it.

    Attributes:
        kept: how many of the newest remain.
        start: the statistics just before them, as shares of their boundaries.
    """

    kept: int
    start: tuple[float, ...]


def trimmed(statistics: Floats, start: Sequence[float] | None = None, most: int = MOST_KEPT) -> Tail:
    """The shortest end of a series that gives the same statistics from there on, at least one long and at most `most`.

    It begins after the last moment but the end at which all statistics were 0. Where that lies more than `most` back, the statistics at
    the cut are handed on as `start`.

    Args:
        statistics: shape (len(FALLS), n), as `score_statistics` or `answer_statistics` gives them for the whole series.
        start: what they were given.
    """
    length = statistics.shape[1]
    if length == 0:
        return Tail(0, _begun(start))
    before = np.concatenate([np.array(_begun(start))[:, None], statistics[:, :-1]], axis=1)
    quiet = np.flatnonzero(~before.any(axis=0))
    first = max(int(quiet[-1]) if quiet.size else 0, length - most)
    return Tail(length - first, tuple(float(one) for one in before[:, first]))


class WatchEvidence(BaseModel):
    """What the watch judges by. `watch_evidence` makes it of series of any length.

    Attributes:
        version: the version watched.
        threshold: the ratio to the reference that counts as degraded, QUALITY_THRESHOLD.
        reference: None while the version has too few decisions.
        scores: match scores in the order of the decisions, those in fallback left out, since the statistics were last 0.
        scores_start: the statistics before the first of them, as shares of their boundaries; empty for 0.
        answers: probability promised and whether accepted (0 or 1), in the order of the decisions, since the statistics were last 0.
        answers_start: as `scores_start`.
        window_hours: hours that the following figures are of, DEGRADATION_WINDOW.
        window_count, window_mean: decisions in them that count, and their mean match score; None where there is none.
        fallback_count: decisions in them that do not count, because they were answered in fallback.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    version: str
    threshold: float = Field(gt=0, lt=1)
    reference: Reference | None
    scores: tuple[float, ...] = Field((), max_length=MOST_KEPT)
    scores_start: tuple[float, ...] = ()
    answers: tuple[tuple[float, int], ...] = Field((), max_length=MOST_KEPT)
    answers_start: tuple[float, ...] = ()
    window_hours: float = Field(gt=0)
    window_count: int = Field(0, ge=0)
    window_mean: float | None = None
    fallback_count: int = Field(0, ge=0)

    @field_validator("scores")
    @classmethod
    def _rounded(cls, scores: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(round(score, 6) for score in scores)

    @field_validator("answers")
    @classmethod
    def _rounded_promises(cls, answers: tuple[tuple[float, int], ...]) -> tuple[tuple[float, int], ...]:
        return tuple((round(promised, 6), int(accepted)) for promised, accepted in answers)


class WatchResult(BaseModel):
    """The verdict, why, and the evidence it can be computed from again."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    reasons: list[str]
    evidence: dict[str, Any]


def watch_evidence(
    *,
    version: str,
    threshold: float,
    reference: Reference | None,
    scores: ArrayLike,
    promised: ArrayLike,
    accepted: ArrayLike,
    window_hours: float,
    window: ArrayLike,
    fallback_count: int,
) -> WatchEvidence:
    """Evidence of series of any length: all that the version decided since it was promoted, or since a moment at which it was healthy.

    Args:
        scores: match scores of shape (n,), in the order of the decisions; only such as count (`counted`).
        promised, accepted: shape (m,), in the order of the decisions; only offers that were answered in time, and not declined for lack of
            capacity, of decisions that all had that time.
        window: match scores of the last `window_hours`, shape (k,).
        fallback_count: decisions of these hours that do not count.
        version, threshold, reference: as in `WatchEvidence`.

    Raises:
        WatchError: NaN or what is no probability.
    """
    found = np.round(_probabilities(scores, "match scores"), 6)
    chances, answers = _answers(promised, accepted)
    chances, recent = np.round(chances, 6), _probabilities(window, "match scores")
    of_scores = of_answers = Tail(0, ())
    if reference is not None:
        of_scores = trimmed(score_statistics(found, reference, threshold))
        if reference.accepted_ratio:
            of_answers = trimmed(answer_statistics(chances, answers, reference, threshold))
    return WatchEvidence(
        version=version,
        threshold=threshold,
        reference=reference,
        scores=tuple(found[found.size - of_scores.kept :].tolist()),
        scores_start=of_scores.start if any(of_scores.start) else (),
        answers=tuple(zip(chances.tolist(), answers.astype(int).tolist(), strict=True))[chances.size - of_answers.kept :],
        answers_start=of_answers.start if any(of_answers.start) else (),
        window_hours=window_hours,
        window_count=recent.size,
        window_mean=round(float(recent.mean()), 6) if recent.size else None,
        fallback_count=fallback_count,
    )


def judge_watch(evidence: WatchEvidence) -> WatchResult:
    """Call a version degraded where any of its statistics stood above its boundary at any moment of the evidence.

    - Degraded: match scores, or accepted against promised, crossed a boundary; each by itself is enough.
    - Insufficient data: no reference, or not one decision that counts, and no alarm from the answers.
    - Healthy: neither. The mean of the last hours is told beside it but does not decide: a few decisions may lie anywhere.
    """
    if evidence.reference is None:
        return _result("insufficient data", [f"version {evidence.version} has no reference yet: it has decided too few cases"], evidence)
    findings = [_of_scores(evidence, evidence.reference), _of_answers(evidence, evidence.reference)]
    reasons = [_window(evidence, evidence.reference), *(reason for _, reason in findings)]
    if any(alarm for alarm, _ in findings):
        return _result("degraded", reasons, evidence)
    return _result("healthy" if evidence.scores else "insufficient data", reasons, evidence)


def _result(verdict: Verdict, reasons: list[str], evidence: WatchEvidence) -> WatchResult:
    return WatchResult(verdict=verdict, reasons=reasons, evidence=evidence.model_dump(mode="json"))


def _window(evidence: WatchEvidence, reference: Reference) -> str:
    told = f"last {evidence.window_hours:g} h: {evidence.window_count} decisions"
    if evidence.window_mean is not None:
        share = evidence.window_mean / reference.mean
        told += f" at {share:.1%} of the reference's match score, {evidence.threshold:.0%} counts as degraded"
    return told + (f"; {evidence.fallback_count} in fallback are left out" if evidence.fallback_count else "")


def _of_scores(evidence: WatchEvidence, reference: Reference) -> tuple[bool, str]:
    if not evidence.scores:
        return False, "match score: insufficient data, not one decision that counts"
    statistics = score_statistics(evidence.scores, reference, evidence.threshold, evidence.scores_start or None)
    return _told("match score", "decisions", statistics, evidence.threshold)


def _of_answers(evidence: WatchEvidence, reference: Reference) -> tuple[bool, str]:
    if not reference.accepted_ratio:
        return False, "accepted against promised: insufficient data, the reference holds too few answered offers, or none accepted"
    if not evidence.answers:
        return False, "accepted against promised: insufficient data, not one answered offer"
    promised, accepted = zip(*evidence.answers, strict=True)
    statistics = answer_statistics(promised, accepted, reference, evidence.threshold, evidence.answers_start or None)
    return _told("accepted against promised", "answers", statistics, evidence.threshold)


def _told(what: str, unit: str, statistics: Floats, threshold: float) -> tuple[bool, str]:
    """Whether a series alarms, and the sentence about it: the statistic that stood highest over its boundary."""
    highest = statistics.max(axis=1)
    worst = int(highest.argmax())
    fall = f"a fall to {threshold * FALLS[worst].of_threshold:.0%}"
    crossed = np.flatnonzero(statistics.max(axis=0) > 1)
    if not crossed.size:
        return False, f"{what}: no alarm; at most {highest[worst]:.0%} of a boundary ({fall}) over {statistics.shape[1]} {unit}"
    ago = statistics.shape[1] - 1 - int(crossed[0])
    return True, f"{what}: alarm {ago} {unit} ago; up to {highest[worst]:.0%} of a boundary ({fall}) over {statistics.shape[1]} {unit}"


def _begun(start: Sequence[float] | None) -> tuple[float, ...]:
    if start is None:
        return (0.0,) * len(FALLS)
    if len(start) != len(FALLS) or not all(math.isfinite(one) and one >= 0 for one in start):
        raise WatchError(f"statistics begin with {len(FALLS)} numbers of at least 0, not with {list(start)}")
    return tuple(start)


def _threshold(threshold: float) -> float:
    if not 0 < threshold < 1:
        raise WatchError(f"a threshold of {threshold:g} is no share: give one between 0 and 1 (QUALITY_THRESHOLD)")
    return threshold


def _probabilities(values: ArrayLike, what: str) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not ((found >= 0) & (found <= 1)).all():
        raise WatchError(f"{what} must be a row of numbers from 0 to 1: leave unknown ones out")
    return found


def _answers(promised: ArrayLike, accepted: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    chances, answers = _probabilities(promised, "promised probabilities"), _probabilities(accepted, "answers")
    if chances.size != answers.size:
        raise WatchError(f"{chances.size} promises for {answers.size} answers: give one of each an offer")
    return chances, answers > 0


def _chance(expected: Floats) -> Floats:
    return np.clip(expected, _LEAST_CHANCE, _MOST_CHANCE)


def _skewness(scores: Floats, mean: float, sd: float) -> float:
    if sd <= 0:
        return 0.0
    return float((np.maximum((scores - mean) / sd, -_MOST_SDS) ** 3).mean())
