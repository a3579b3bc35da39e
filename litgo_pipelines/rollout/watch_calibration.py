"""How often the watch alarms for nothing and how fast it finds a fall, measured on the very code that judges. No database.

Each simulated champion has a healthy life, of which its reference is estimated, and from then on stands at a true ratio to it for a week.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.rollout.watch import Floats, Reference, WatchError, answer_statistics, reference_of, score_statistics

Noise = Literal["normal", "bounded", "skewed"]
Series = Literal["scores", "answers"]

HOURS_A_WEEK = 168
OFFERS_A_REQUEST = 5
# Half of the answers to a request follow what they share, so that two of them correlate by .25.
_SHARING = 0.5
_MEAN_SCORE = {"normal": 0.3, "bounded": 0.5, "skewed": 0.3}


@dataclass(frozen=True)
class Setup:
    """What is simulated.

    Attributes:
        series: match scores of decisions, or answers to offers.
        sims: champions a ratio.
        healthy: decisions (answers) that the reference is estimated from.
        per_hour: decisions (answers) an hour.
        sd: standard deviation of the ratio of a match score to its mean.
        noise: `normal`; `bounded`, probabilities about .5 that follow a Beta distribution; `skewed`, an exponential tail towards low
            scores.
        threshold: the ratio that counts as degraded.
        ratios: true ratios to the reference.
        seed: of all random numbers.
    """

    series: Series
    sims: int
    healthy: int
    per_hour: int
    sd: float
    noise: Noise
    threshold: float
    ratios: tuple[float, ...]
    seed: int


@dataclass(frozen=True)
class Row:
    """What became of the champions at one true ratio.

    Attributes:
        ratio: their true ratio to the reference.
        alarm_share_week: share of them with an alarm within a week.
        median_decisions, p90_decisions: decisions (answers) until half, and nine tenths, had one; None where fewer had within the week.
    """

    ratio: float
    alarm_share_week: float
    median_decisions: int | None
    p90_decisions: int | None


@dataclass(frozen=True)
class Calibration:
    """A setup and a row for each of its ratios."""

    setup: Setup
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self.setup) | {"rows": [asdict(row) for row in self.rows]}


def calibrate(setup: Setup, show: Callable[[int, int], None] = lambda _done, _of: None) -> Calibration:
    """Simulate `setup.sims` champions at each ratio.

    Args:
        show: told how many weeks are done, of how many.

    Raises:
        WatchError: noise that cannot be: the healthy scores are all 0, or a Beta distribution has no such deviation.
    """
    week = HOURS_A_WEEK * setup.per_hour
    first = np.full((len(setup.ratios), setup.sims), np.inf)
    draw: Callable[..., tuple[Floats, ...]] = _scores if setup.series == "scores" else _answers
    for number, source in enumerate(np.random.SeedSequence(setup.seed).spawn(setup.sims)):
        rng = np.random.default_rng(source)
        begin = draw(rng, setup, 1.0, setup.healthy)
        reference = _reference(setup, begin)
        for at, ratio in enumerate(setup.ratios):
            crossed = np.flatnonzero(_statistics(setup, draw(rng, setup, ratio, week), reference).max(axis=0) > 1)
            first[at, number] = crossed[0] + 1 if crossed.size else np.inf
        show((number + 1) * len(setup.ratios), setup.sims * len(setup.ratios))
    return Calibration(setup, tuple(_row(ratio, found) for ratio, found in zip(setup.ratios, first, strict=True)))


def _row(ratio: float, first: Floats) -> Row:
    def until(share: float) -> int | None:
        found = float(np.quantile(first, share, method="higher"))
        return int(found) if np.isfinite(found) else None

    return Row(ratio, float(np.isfinite(first).mean()), until(0.5), until(0.9))


def _reference(setup: Setup, healthy: Sequence[Floats]) -> Reference:
    answers = healthy if setup.series == "answers" else ((), ())
    found = reference_of(healthy[0], "simulated", answers[0], answers[1], least=1)
    if found is None:
        raise WatchError("all healthy scores are 0: give a smaller --sd")
    return found


def _statistics(setup: Setup, series: Sequence[Floats], reference: Reference) -> Floats:
    if setup.series == "scores":
        return score_statistics(series[0], reference, setup.threshold)
    return answer_statistics(series[0], series[1], reference, setup.threshold)


def _scores(rng: np.random.Generator, setup: Setup, ratio: float, count: int) -> tuple[Floats]:
    """Match scores of mean `ratio` in units of the healthy mean; the noise is that of a healthy champion, whatever the ratio."""
    mean = _MEAN_SCORE[setup.noise]
    if setup.noise == "normal":
        about = 1 + setup.sd * rng.standard_normal(count)
    elif setup.noise == "skewed":
        about = 1 + setup.sd * (1 - rng.standard_exponential(count))
    else:
        size = mean * (1 - mean) / (setup.sd * mean) ** 2 - 1
        if size <= 0:
            raise WatchError(f"bounded noise about .5 has no standard deviation of {setup.sd:g}: give a smaller --sd")
        about = rng.beta(mean * size, (1 - mean) * size, count) / mean
    return (np.clip(mean * (ratio - 1 + about), 0.0, 1.0),)


def _answers(rng: np.random.Generator, _setup: Setup, ratio: float, count: int) -> tuple[Floats, Floats]:
    """Promises from .1 to .9 about .5, and answers that keep the share `ratio` of them; those to one request resemble one another."""
    requests = -(-count // OFFERS_A_REQUEST)
    shape = (requests, OFFERS_A_REQUEST)
    promised = 0.1 + 0.8 * rng.beta(2.0, 2.0, shape)
    luck = np.where(rng.random(shape) < _SHARING, rng.random((requests, 1)), rng.random(shape))
    accepted: NDArray[np.float64] = (luck < ratio * promised).astype(np.float64)
    return promised.ravel()[:count], accepted.ravel()[:count]
