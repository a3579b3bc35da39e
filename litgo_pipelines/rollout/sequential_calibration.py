"""How often the verdict on an experiment errs, measured on simulated experiments that are judged by the rules of `readout`. Pure.

Printing is `litgo experiment calibrate`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.rollout import sequential
from litgo_pipelines.rollout.readout import METRICS, SAMPLE_RATIO_ALPHA, Counts, Measured, Metric, Minima, measure, verdicts
from litgo_pipelines.rollout.sequential import Array

ALPHA = 0.05
"""Of all metrics together, and of the naive test."""

CONTRACT_RATE = 0.75
ACCEPTED_MEAN, ACCEPTED_SD, OFFERS = 0.25, 0.21, 8
RATED_SHARE = 0.3
RATINGS = (0.03, 0.05, 0.12, 0.30, 0.50)
"""What clients do: the share that sign, the share of their eight offers that is accepted, the share that rate, and with 1 to 5."""

MOST_LIFT = 1 / CONTRACT_RATE - 1
LEAST_LIFT = -0.9
RAMP = (0.01, 0.05)
RAMP_STEP = 0.1
"""Steps before the last share, and the part of the looks (and of the units) that each of them has."""

_BATCH = 2_000


@dataclass(frozen=True)
class Setup:
    """What to simulate.

    Attributes:
        share: treatment's share of the exposed, in (0, 1).
        looks, sims: looks at each experiment, evenly over its units; experiments.
        units: exposed by the last look, both arms together.
        lift: relative, of the challenger's accepted share and contract rate, where power is measured.
        ramp: begin with 1 % and 5 %, as far as they lie below `share`.
        srm_sims: experiments whose sample ratio alone is simulated.
    """

    share: float
    looks: int = 100
    sims: int = 500
    units: int = 50_000
    lift: float = 0.1
    seed: int = 1
    ramp: bool = False
    srm_sims: int = 5_000


@dataclass(frozen=True)
class Calibration:
    """What the simulation found. Shares are of the experiments, each with all its looks.

    Attributes:
        alpha: what `false_positive_rate` must stay within.
        false_positive_rate: equal arms, and a look said promote or harm.
        false_promotion_rate, false_harm_rate: its parts; an experiment may count in both.
        naive_false_positive_rate: equal arms, and at a look the two-proportion z-test of contracts had p < .05.
        power: a look said what was true: promote for a lift above 0, harm for one below; None for a lift of 0.
        units_to_verdict: median units by the first look that said so; None where fewer than half of the experiments did.
        srm_false_alarm_rate: an even split, and at a look the sample ratio alarmed at `srm_alpha`.
    """

    share: float
    ramp: bool
    looks: int
    sims: int
    units: int
    lift: float
    seed: int
    alpha: float
    false_positive_rate: float
    false_promotion_rate: float
    false_harm_rate: float
    naive_false_positive_rate: float
    power: float | None
    units_to_verdict: int | None
    srm_alpha: float
    srm_sims: int
    srm_false_alarm_rate: float | None

    def to_json(self) -> dict[str, object]:
        """By name."""
        return asdict(self)


@dataclass(frozen=True)
class Experiments:
    """Tallies of many experiments at each of their looks.

    Attributes:
        share: treatment's share in each stratum, shape (strata,).
        exposed: units of control and of treatment, each of shape (sims, looks, strata).
        metrics: by name, control's and treatment's counts, arrays of the same shape.
    """

    share: Array
    exposed: tuple[Array, Array]
    metrics: dict[str, tuple[Counts, Counts]]

    def measured(self, minima: Minima) -> list[Measured]:
        """What each metric of an A/B test shows at each look; arrays of shape (sims, looks)."""
        return [measure(metric, *self.metrics[metric.name], self.share, minima) for metric in METRICS["ab"]]

    def verdicts(self, minima: Minima) -> NDArray[np.str_]:
        """What `judge_experiment` says at each look, the time never being up; shape (sims, looks)."""
        alarm = sequential.sample_ratio_p_value(*self.exposed, self.share) < SAMPLE_RATIO_ALPHA
        return verdicts("ab", self.measured(minima), alarm, broken=False, over=False, at_the_end="keep")

    def naive(self, minima: Minima) -> NDArray[np.bool_]:
        """Whether the z-test of contracts says that the arms differ, once each arm has the least units; shape (sims, looks)."""
        control, treatment = self.metrics["contract"]
        n_c, n_t = control.units.sum(axis=-1), treatment.units.sum(axis=-1)
        p_value = sequential.naive_p_value(control.conversions.sum(axis=-1), n_c, treatment.conversions.sum(axis=-1), n_t)
        found: NDArray[np.bool_] = (p_value < ALPHA) & (np.minimum(n_c, n_t) >= minima.units)
        return found


def calibrate(setup: Setup, on_progress: Callable[[int, int], None] = lambda _done, _of: None) -> Calibration:
    """Simulate experiments of equal arms, of a lift, and of the split alone, and count the verdicts.

    Outcomes of a unit are drawn independently of each other: the family's level is spent least wastefully then, so it is the hardest case.

    Args:
        on_progress: told of experiments done and of all.
    """
    minima = Minima()
    batches = _batches(setup)
    work, done = (1 if setup.lift == 0 else 2) * setup.sims, 0
    equal, lifted, naive = [], [], []
    random = np.random.default_rng([setup.seed, round(setup.share * 1e6), setup.ramp])
    for size in batches:
        experiments = simulate(setup, size, 0.0, random)
        equal.append(experiments.verdicts(minima))
        naive.append(experiments.naive(minima).any(axis=1))
        on_progress(done := done + size, work)
    for size in batches if setup.lift else []:
        lifted.append(simulate(setup, size, setup.lift, random).verdicts(minima))
        on_progress(done := done + size, work)
    found = np.concatenate(equal)
    promoted, harmed = (found == "promote").any(axis=1), (found == "harm").any(axis=1)
    power, units = _power(setup, np.concatenate(lifted)) if lifted else (None, None)
    return Calibration(
        share=setup.share,
        ramp=setup.ramp,
        looks=setup.looks,
        sims=setup.sims,
        units=setup.units,
        lift=setup.lift,
        seed=setup.seed,
        alpha=ALPHA,
        false_positive_rate=float((promoted | harmed).mean()),
        false_promotion_rate=float(promoted.mean()),
        false_harm_rate=float(harmed.mean()),
        naive_false_positive_rate=float(np.concatenate(naive).mean()),
        power=power,
        units_to_verdict=units,
        srm_alpha=SAMPLE_RATIO_ALPHA,
        srm_sims=setup.srm_sims,
        srm_false_alarm_rate=_sample_ratio_alarms(setup, random),
    )


def simulate(setup: Setup, sims: int, lift: float, random: np.random.Generator) -> Experiments:
    """Draw experiments whose challenger has the lift, 0 for equal arms."""
    share, part = _strata(setup)
    exposed = _exposed(setup, sims, share[part], random)
    arms = [_outcomes(exposed[0], 0.0, random), _outcomes(exposed[1], lift, random)]

    def counts(arm: int, metric: Metric) -> Counts:
        return Counts(*(_by_look(one, share, part) for one in arms[arm][metric.name]))

    return Experiments(
        share,
        (_by_look(exposed[0], share, part), _by_look(exposed[1], share, part)),
        {metric.name: (counts(0, metric), counts(1, metric)) for metric in METRICS["ab"]},
    )


def _by_look(counted: Array, share: Array, part: NDArray[np.int64]) -> Array:
    """What came between looks, shape (sims, looks), as what had come by each, shape (sims, looks, strata)."""
    return np.cumsum(counted[..., None] * (np.arange(share.size) == part[:, None]), axis=1)


def _batches(setup: Setup) -> list[int]:
    """Sizes of the batches: small enough for memory and for a bar that moves."""
    size = max(1, _BATCH // setup.looks)
    return [min(size, setup.sims - first) for first in range(0, setup.sims, size)]


def _strata(setup: Setup) -> tuple[Array, NDArray[np.int64]]:
    """Each stratum's share, and the stratum of each look."""
    early = [one for one in RAMP if one < setup.share] if setup.ramp else []
    each = max(1, round(setup.looks * RAMP_STEP))
    return np.array([*early, setup.share]), np.minimum(np.arange(setup.looks) // each, len(early))


def _exposed(setup: Setup, sims: int, share: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """Units of control and treatment that come between looks, each of shape (sims, looks)."""
    come = np.linspace(0, setup.units, setup.looks + 1).round().astype(np.int64)
    coming = come[1:] - come[:-1]
    treated = random.binomial(coming, share, size=(sims, setup.looks))
    return (coming - treated).astype(np.float64), treated.astype(np.float64)


def _outcomes(units: Array, lift: float, random: np.random.Generator) -> dict[str, tuple[Array, Array, Array, Array]]:
    """By metric, what the units of one arm add up to: units, conversions, total, squares (as in `Counts`)."""
    whole = units.astype(np.int64)
    nothing = np.zeros_like(units)
    accepted = random.multinomial(whole, _accepted_offers(ACCEPTED_MEAN * (1 + lift)))
    values = np.arange(OFFERS + 1) / OFFERS
    contracts = random.binomial(whole, min(1.0, CONTRACT_RATE * (1 + lift))).astype(np.float64)
    rated = random.binomial(whole, RATED_SHARE)
    ratings = random.multinomial(rated, RATINGS)
    stars = np.arange(1.0, len(RATINGS) + 1)
    return {
        "accepted": (units, units - accepted[..., 0], accepted @ values, accepted @ values**2),
        "contract": (units, contracts, nothing, nothing),
        "rating": (rated.astype(np.float64), nothing, ratings @ stars, ratings @ stars**2),
    }


def _accepted_offers(mean: float) -> Array:
    """Probabilities of 0 to 8 accepted offers: binomial given the client's own rate, which is Beta."""
    from scipy.stats import betabinom

    binomial = ACCEPTED_MEAN * (1 - ACCEPTED_MEAN) / OFFERS
    alike = (ACCEPTED_SD**2 / binomial - 1) / (OFFERS - 1)
    together = 1 / alike - 1
    found = betabinom.pmf(np.arange(OFFERS + 1), OFFERS, mean * together, (1 - mean) * together)
    return np.asarray(found / found.sum(), dtype=np.float64)


def _power(setup: Setup, found: NDArray[np.str_]) -> tuple[float, int | None]:
    """Share of the experiments with a look that said what is true, and the median of the units by the first such look."""
    right = found == ("promote" if setup.lift > 0 else "harm")
    ever = right.any(axis=1)
    first = np.where(ever, right.argmax(axis=1) + 1, np.inf)
    median = float(np.sort(first)[len(first) // 2])
    return float(ever.mean()), round(median / setup.looks * setup.units) if np.isfinite(median) else None


def _sample_ratio_alarms(setup: Setup, random: np.random.Generator) -> float | None:
    """Share of experiments with an alarm though everybody was split by design; None where none was simulated."""
    if not setup.srm_sims:
        return None
    share, part = _strata(setup)
    size = max(1, 10 * _BATCH // setup.looks)
    alarms = 0
    for first in range(0, setup.srm_sims, size):
        exposed = _exposed(setup, min(size, setup.srm_sims - first), share[part], random)
        control, treatment = (_by_look(one, share, part) for one in exposed)
        alarms += int((sequential.sample_ratio_p_value(control, treatment, share) < SAMPLE_RATIO_ALPHA).any(axis=1).sum())
    return alarms / setup.srm_sims
