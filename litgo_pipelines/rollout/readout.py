"""The verdict on an experiment: whether a challenger is better than the champion, worse, or not to be told. Pure: evidence in, verdict out.

The unit is a client's first request in the experiment; only units whose outcome is ripe are counted. Who reads them from the facts is
somebody else; the tests are in `sequential`. `measure` and `verdicts` take arrays of experiments, so that `sequential_calibration` judges
by the very rules of `judge_experiment`. A stored verdict can be replayed from its evidence alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from litgo_pipelines.rollout import sequential
from litgo_pipelines.rollout.sequential import Array

Verdict = Literal["promote", "harm", "go on", "insufficient data", "inconclusive"]
Mode = Literal["ab", "interleaving"]
AtTheEnd = Literal["keep", "promote-if-not-inferior"]
State = Literal["holds", "broken", "unknown"]

SAMPLE_RATIO_ALPHA = 0.001
NON_INFERIORITY_MARGIN = 0.02
SHARED_CAPACITY = (
    "both arms share the lawyers' capacity: what one arm fills the other cannot, so effects on load are not seen by this comparison"
)


@dataclass(frozen=True)
class Metric:
    """What is compared.

    Attributes:
        kind: `mean`, `conversion` (of units) or `preference` (conversions are an arm's wins).
        alpha: its part of the family's .05; the parts add up, so the family's level holds whatever the metrics have to do with each other.
        promotes: whether being better in it suffices for a promotion.
        converts: whether conversions are counted, so that too few of them are too little.
    """

    name: str
    kind: Literal["mean", "conversion", "preference"]
    alpha: float
    promotes: bool
    converts: bool


METRICS: dict[Mode, tuple[Metric, ...]] = {
    "ab": (
        Metric("accepted", "mean", 0.03, promotes=True, converts=True),
        Metric("contract", "conversion", 0.01, promotes=True, converts=True),
        Metric("rating", "mean", 0.01, promotes=False, converts=False),
    ),
    "interleaving": (Metric("preference", "preference", 0.05, promotes=True, converts=True),),
}

Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Tally(BaseModel):
    """What the ripe units of one arm add up to, for one metric.

    Attributes:
        units: units with the metric; under `rating` those who rated.
        conversions: units that converted; under `accepted` those with at least one accepted offer, under `preference` the arm's wins.
        total, squares: sum of the units' values and of their squares, for a mean.
    """

    model_config = ConfigDict(frozen=True)

    units: Count = 0
    conversions: Count = 0
    total: Number = 0.0
    squares: Annotated[Number, Field(ge=0)] = 0.0


class Arms(BaseModel):
    """One metric in both arms."""

    model_config = ConfigDict(frozen=True)

    control: Tally = Tally()
    treatment: Tally = Tally()


class Stratum(BaseModel):
    """One step of the ramp.

    Attributes:
        step: its number.
        share: treatment's share of the exposed by design, in (0, 1); unused in mode interleaving.
        exposed: clients exposed in control and in treatment, ripe or not; in mode interleaving everybody is exposed to both.
        metrics: by name; one that is missing counts as empty.
    """

    model_config = ConfigDict(frozen=True)

    step: int
    share: float = Field(gt=0, lt=1)
    exposed: tuple[Count, Count] = (0, 0)
    metrics: dict[str, Arms] = {}


class Guardrail(BaseModel):
    """A figure that a promoted model must not worsen; None is unknown.

    Attributes:
        most_ratio: treatment may reach control's times this.
        limit: treatment may reach this.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    control: Number | None = None
    treatment: Number | None = None
    most_ratio: Number | None = None
    limit: Number | None = None


class ExperimentEvidence(BaseModel):
    """What an experiment is judged by.

    Attributes:
        champion, challenger: versions answering control and treatment.
        days, max_days: how long it has run, and may.
        at_the_end: what becomes of it without a verdict.
        min_units, min_conversions: below that many an arm nothing is said of a metric, but for harm: `judge_experiment`.
    """

    model_config = ConfigDict(frozen=True)

    mode: Mode
    champion: str
    challenger: str
    days: float
    max_days: float
    at_the_end: AtTheEnd = "keep"
    min_units: int = 100
    min_conversions: int = 10
    strata: tuple[Stratum, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()


class Figure(BaseModel):
    """What one metric shows; None is unknown.

    Attributes:
        units, conversions: of control and treatment, over all strata.
        control, treatment: means, rates or shares of the wins; over several strata both with the same weights.
        lift: relative difference. Of a mean the difference over control's mean, which is taken as known; of a conversion the ratio of the
            arms' conversions over the ratio of their shares by design, which is not quite that of the rates while chance, within what the
            sample ratio allows, made the arms larger or smaller than designed.
        low, high: anytime-valid interval of the lift at 1 - alpha; None where it has no bound.
        p_value: anytime-valid.
        enough: whether the minima are reached.
    """

    model_config = ConfigDict(frozen=True)

    metric: str
    units: tuple[int, int]
    conversions: tuple[int, int]
    control: float | None
    treatment: float | None
    lift: float | None
    low: float | None
    high: float | None
    alpha: float
    p_value: float | None
    enough: bool


class SampleRatio(BaseModel):
    """Whether clients reached the arms as designed.

    Attributes:
        expected, found: treatment's share of the exposed; None where nobody was, or under interleaving, which has no arms.
        alarm: whether the p-value lies below .001.
    """

    model_config = ConfigDict(frozen=True)

    p_value: float | None
    expected: float | None
    found: float | None
    alarm: bool


class GuardrailFinding(BaseModel):
    """Whether a guardrail holds."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: State
    told: str


class ExperimentResult(BaseModel):
    """The verdict, why, the figures, and the evidence that all of it can be recomputed from."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    reasons: list[str]
    figures: tuple[Figure, ...]
    sample_ratio: SampleRatio
    guardrails: tuple[GuardrailFinding, ...]
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """Tallies of one arm as arrays of shape (..., strata)."""

    units: Array
    conversions: Array
    total: Array
    squares: Array


@dataclass(frozen=True)
class Minima:
    """Units and conversions that each arm needs."""

    units: int = 100
    conversions: int = 10


@dataclass(frozen=True)
class Measured:
    """What one metric shows in many experiments, each of shape (...); NaN is unknown. Names as in `Figure`."""

    control: Array
    treatment: Array
    lift: Array
    low: Array
    high: Array
    p_value: Array
    enough: NDArray[np.bool_]
    enough_for_harm: NDArray[np.bool_]

    @property
    def won(self) -> NDArray[np.bool_]:
        """Whether treatment is better beyond doubt."""
        return self.enough & (self.low > 0)

    @property
    def harmed(self) -> NDArray[np.bool_]:
        """Whether treatment is worse beyond doubt."""
        return self.enough_for_harm & (self.high < 0)

    @property
    def not_inferior(self) -> NDArray[np.bool_]:
        """Whether treatment is not worse by the margin or more, beyond doubt."""
        return self.enough & (self.low > -NON_INFERIORITY_MARGIN)


def measure(metric: Metric, control: Counts, treatment: Counts, share: Array, minima: Minima) -> Measured:
    """Compare one metric in many experiments at once.

    Args:
        share: treatment's share by design, shape (..., strata).
    """
    enough, enough_for_harm = _enough(metric, control, treatment, minima)
    if metric.kind == "mean":
        found = sequential.compare_means(
            sequential.Sample(control.units, control.total, control.squares),
            sequential.Sample(treatment.units, treatment.total, treatment.squares),
            alpha=metric.alpha,
        )
        return Measured(found.control, found.treatment, *found.relative(), found.p_value, enough, enough_for_harm)
    if metric.kind == "preference":
        decided = control.conversions + treatment.conversions
        wins = sequential.compare_conversions(
            control.conversions,
            treatment.conversions,
            np.full_like(share, 0.5),
            alpha=metric.alpha,
            spread=sequential.PREFERENCE_SPREAD,
        )
        rates = sequential.weighted_means(control.conversions, decided, treatment.conversions, decided)
    else:
        wins = sequential.compare_conversions(control.conversions, treatment.conversions, share, alpha=metric.alpha)
        rates = sequential.weighted_means(control.conversions, control.units, treatment.conversions, treatment.units)
    unknown = np.where(np.isnan(wins.lift), np.nan, 0.0)
    return Measured(*rates, wins.lift, wins.low + unknown, wins.high + unknown, wins.p_value + unknown, enough, enough_for_harm)


def _enough(metric: Metric, control: Counts, treatment: Counts, minima: Minima) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the minima are reached, and whether those that harm needs are."""
    units_c, units_t = control.units.sum(axis=-1), treatment.units.sum(axis=-1)
    converted_c, converted_t = control.conversions.sum(axis=-1), treatment.conversions.sum(axis=-1)
    if metric.kind == "preference":
        enough = converted_c + converted_t >= minima.units
        return enough, np.ones_like(enough)
    units = np.minimum(units_c, units_t) >= minima.units
    if not metric.converts:
        return units, units
    enough = units & (np.minimum(converted_c, converted_t) >= minima.conversions)
    if metric.kind == "conversion":
        return enough, np.ones_like(enough)
    due = converted_c * units_t >= minima.conversions * units_c
    return enough, units & (converted_c >= minima.conversions) & due


def verdicts(
    mode: Mode, measured: Sequence[Measured], alarm: NDArray[np.bool_], *, broken: bool, over: bool, at_the_end: AtTheEnd
) -> NDArray[np.str_]:
    """The rules, for many experiments at once; what they are is said in `judge_experiment`.

    Args:
        measured: one for each of `METRICS[mode]`, in their order, each of shape (...).
        alarm: whether the sample ratio is off, shape (...).
        broken: whether a guardrail is.
        over: whether the time is up.

    Returns:
        Verdicts, shape (...).
    """
    primary = [one for metric, one in zip(METRICS[mode], measured, strict=True) if metric.promotes]
    harmed = np.any([one.harmed for one in measured], axis=0)
    won = np.any([one.won for one in primary], axis=0)
    enough = np.any([one.enough for one in primary], axis=0)
    may_end_well = over and mode == "ab" and at_the_end == "promote-if-not-inferior"
    not_inferior = np.all([one.not_inferior for one in primary], axis=0) & may_end_well
    found: NDArray[np.str_] = np.select(
        [alarm, harmed, (won | not_inferior) & (not broken), np.full(alarm.shape, over), ~enough],
        ["inconclusive", "harm", "promote", "inconclusive", "insufficient data"],
        "go on",
    )
    return found


def judge_experiment(evidence: ExperimentEvidence) -> ExperimentResult:
    """Judge an experiment at any time, as often as one likes.

    1. Sample ratio off (alpha .001, over the strata): `inconclusive`, whatever the metrics show; the champion stays.
    2. A metric's interval lies wholly below 0: `harm`. A conversion or preference needs no minimum for that, because its test is exact at
       any size: a challenger that never converts is stopped. A mean needs `min_units` in each arm and, where conversions are counted,
       `min_conversions` in control and as many due in treatment at control's rate: its test is asymptotic.
    3. The interval of `accepted` or `contract` (under interleaving: `preference`) lies wholly above 0 and no guardrail is broken:
       `promote`. Under interleaving that means: won, may go on to the A/B test. `min_units` and `min_conversions` of each arm are needed;
       under interleaving `min_units` decided units.
    4. Time is up: `inconclusive`, with too few units too. Under `promote-if-not-inferior`, A/B only, `promote` if the lower bounds of
       `accepted` and `contract` both lie above -.02 and no guardrail is broken.
    5. Neither `accepted` nor `contract` reaches the minima: `insufficient data`. Else `go on`.

    A broken guardrail keeps from promotion and is no harm; one that is unknown is said to be and keeps from nothing.
    """
    share = np.array([one.share for one in evidence.strata])
    minima = Minima(evidence.min_units, evidence.min_conversions)
    metrics = METRICS[evidence.mode]
    arms = [(_counts(evidence, metric, "control"), _counts(evidence, metric, "treatment")) for metric in metrics]
    measured = [measure(metric, *both, share, minima) for metric, both in zip(metrics, arms, strict=True)]
    ratio = _sample_ratio(evidence)
    guardrails = tuple(_guardrail(one) for one in evidence.guardrails)
    broken = any(one.state == "broken" for one in guardrails)
    over = evidence.days >= evidence.max_days
    decided = verdicts(evidence.mode, measured, np.array(ratio.alarm), broken=broken, over=over, at_the_end=evidence.at_the_end)
    verdict = cast(Verdict, decided.item())
    figures = tuple(_figure(metric, *both, one) for metric, both, one in zip(metrics, arms, measured, strict=True))
    return ExperimentResult(
        verdict=verdict,
        reasons=_reasons(verdict, evidence, measured, figures, ratio, guardrails),
        figures=figures,
        sample_ratio=ratio,
        guardrails=guardrails,
        evidence=evidence.model_dump(mode="json"),
    )


def _counts(evidence: ExperimentEvidence, metric: Metric, arm: Literal["control", "treatment"]) -> Counts:
    tallies = [getattr(one.metrics.get(metric.name, Arms()), arm) for one in evidence.strata]
    return Counts(*(np.array([getattr(one, name) for one in tallies], dtype=np.float64) for name in Tally.model_fields))


def _figure(metric: Metric, control: Counts, treatment: Counts, found: Measured) -> Figure:
    return Figure(
        metric=metric.name,
        units=(int(control.units.sum()), int(treatment.units.sum())),
        conversions=(int(control.conversions.sum()), int(treatment.conversions.sum())),
        control=_known(found.control),
        treatment=_known(found.treatment),
        lift=_known(found.lift),
        low=_known(found.low),
        high=_known(found.high),
        alpha=metric.alpha,
        p_value=_known(found.p_value),
        enough=bool(found.enough),
    )


def _known(number: Array) -> float | None:
    return float(number) if np.isfinite(number) else None


def _sample_ratio(evidence: ExperimentEvidence) -> SampleRatio:
    control, treatment = (np.array([one.exposed[arm] for one in evidence.strata], dtype=np.float64) for arm in (0, 1))
    everybody = control + treatment
    if evidence.mode == "interleaving" or not everybody.sum():
        return SampleRatio(p_value=None, expected=None, found=None, alarm=False)
    share = np.array([one.share for one in evidence.strata])
    p_value = float(sequential.sample_ratio_p_value(control, treatment, share))
    return SampleRatio(
        p_value=p_value,
        expected=float((everybody * share).sum() / everybody.sum()),
        found=float(treatment.sum() / everybody.sum()),
        alarm=p_value < SAMPLE_RATIO_ALPHA,
    )


def _guardrail(one: Guardrail) -> GuardrailFinding:
    told = f"guardrail {one.name}: {_plain(one.treatment)} in treatment, {_plain(one.control)} in control"
    ratio = None if one.control is None or one.most_ratio is None else one.control * one.most_ratio
    bounds = [bound for bound in (ratio, one.limit) if bound is not None]
    if one.treatment is not None and any(one.treatment > bound for bound in bounds):
        return GuardrailFinding(name=one.name, state="broken", told=f"{told}: above {min(bounds):.4g}")
    if one.treatment is None or not bounds or (one.most_ratio is not None and one.control is None):
        return GuardrailFinding(name=one.name, state="unknown", told=f"{told}: cannot be told")
    return GuardrailFinding(name=one.name, state="holds", told=f"{told}: at most {min(bounds):.4g}")


def _plain(number: float | None) -> str:
    return "unknown" if number is None else f"{number:.4g}"


def _reasons(
    verdict: Verdict,
    evidence: ExperimentEvidence,
    measured: Sequence[Measured],
    figures: Sequence[Figure],
    ratio: SampleRatio,
    guardrails: Sequence[GuardrailFinding],
) -> list[str]:
    """The ground of the verdict first, then every figure, the guardrails, and what the comparison cannot see."""
    minima = Minima(evidence.min_units, evidence.min_conversions)
    told = [_told(*one, minima) for one in zip(METRICS[evidence.mode], figures, measured, strict=True)]
    return [
        _ground(verdict, evidence, measured, ratio, guardrails),
        *told,
        *(one.told for one in guardrails),
        SHARED_CAPACITY,
    ]


def _ground(
    verdict: Verdict,
    evidence: ExperimentEvidence,
    measured: Sequence[Measured],
    ratio: SampleRatio,
    guardrails: Sequence[GuardrailFinding],
) -> str:
    if ratio.alarm and ratio.found is not None and ratio.expected is not None and ratio.p_value is not None:
        return (
            f"sample ratio off: treatment has {ratio.found:.2%} of the exposed instead of {ratio.expected:.2%} "
            f"(p {ratio.p_value:.1g}); look for what loses clients of one arm; the champion stays"
        )
    metrics = METRICS[evidence.mode]
    worse = " and ".join(metric.name for metric, one in zip(metrics, measured, strict=True) if one.harmed)
    better = " and ".join(metric.name for metric, one in zip(metrics, measured, strict=True) if metric.promotes and one.won)
    broken = " and ".join(one.name for one in guardrails if one.state == "broken")
    over = f"{evidence.days:.3g} of {evidence.max_days:.3g} days are over"
    held = f": better in {better}, but guardrail {broken} is broken" if better and broken else ""
    if verdict == "harm":
        return f"challenger {evidence.challenger} is worse in {worse} than {evidence.champion}"
    if verdict == "promote" and evidence.mode == "interleaving":
        return f"challenger {evidence.challenger} is preferred to {evidence.champion}: it may go on to the A/B test"
    if verdict == "promote" and better:
        return f"challenger {evidence.challenger} is better in {better} than {evidence.champion}"
    if verdict == "promote":
        return f"{over}: challenger {evidence.challenger} is not worse than {evidence.champion} by {NON_INFERIORITY_MARGIN:.0%} or more"
    if verdict == "inconclusive":
        return f"{over}{held or ' without a verdict'}; the champion stays"
    if verdict == "insufficient data":
        return "too little to judge by so far"
    return f"no promotion yet{held}" if held else f"no difference beyond doubt yet; {evidence.days:.3g} of {evidence.max_days:.3g} days"


def _told(metric: Metric, figure: Figure, found: Measured, minima: Minima) -> str:
    if figure.control is None or figure.treatment is None or (metric.kind != "mean" and not any(figure.conversions)):
        return f"{figure.metric}: nothing to compare"
    design = " at the shares by design" if metric.kind == "conversion" else ""
    told = (
        f"{figure.metric}: {figure.treatment:.4g} against {figure.control:.4g}, lift{design} {_percent(figure.lift)} "
        f"({1 - figure.alpha:.0%} interval {_percent(figure.low)} to {_percent(figure.high)}, {_sizes(metric, figure)})"
    )
    if found.harmed:
        return f"{told}: worse"
    if found.enough:
        return f"{told}: {'better' if found.won else 'no difference beyond doubt'}"
    return f"{told}: {_needed(metric, minima)}"


def _percent(number: float | None) -> str:
    return "unbounded" if number is None else f"{round(number, 3) + 0.0:+.1%}"


def _sizes(metric: Metric, figure: Figure) -> str:
    if metric.kind == "preference":
        return f"{sum(figure.conversions):,} decided"
    control, treatment = figure.units
    return f"{treatment:,} and {control:,} units"


def _needed(metric: Metric, minima: Minima) -> str:
    if metric.kind == "preference":
        return f"{minima.units} decided units are needed"
    return f"{minima.units} units{f' and {minima.conversions} conversions' if metric.converts else ''} an arm are needed"
