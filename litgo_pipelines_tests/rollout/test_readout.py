"""The rules by which an experiment ends, one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from litgo_pipelines.rollout.readout import (
    SHARED_CAPACITY,
    Arms,
    ExperimentEvidence,
    Figure,
    Guardrail,
    Stratum,
    Tally,
    judge_experiment,
)


def _conversions(units: int, rate: float) -> Tally:
    return Tally(units=units, conversions=round(units * rate))


def _values(units: int, mean: float, sd: float = 0.21, converted: float = 0.8) -> Tally:
    return Tally(units=units, conversions=round(units * converted), total=units * mean, squares=units * (mean**2 + sd**2))


def _step(units: tuple[int, int] = (9000, 1000), step: int = 2, share: float = 0.1, **changes: Any) -> Stratum:
    """Equal arms, changed as asked: `accepted`, `contract` and `rating` are treatment's mean or rate."""
    n_c, n_t = units
    metrics = {
        "accepted": Arms(control=_values(n_c, 0.25), treatment=_values(n_t, changes.pop("accepted", 0.25))),
        "contract": Arms(control=_conversions(n_c, 0.75), treatment=_conversions(n_t, changes.pop("contract", 0.75))),
        "rating": Arms(
            control=_values(n_c // 3, 4.2, 1.0, converted=0), treatment=_values(n_t // 3, changes.pop("rating", 4.2), 1.0, converted=0)
        ),
    }
    return Stratum(**({"step": step, "share": share, "exposed": units, "metrics": metrics} | changes))


def _evidence(*strata: Stratum, **changes: Any) -> ExperimentEvidence:
    base = {"mode": "ab", "champion": "3", "challenger": "4", "days": 5.0, "max_days": 28.0, "strata": strata or (_step(),)}
    return ExperimentEvidence(**(base | changes))


def _interleaved(champion: int, challenger: int, **changes: Any) -> ExperimentEvidence:
    units = champion + challenger + 40
    wins = Arms(control=Tally(units=units, conversions=champion), treatment=Tally(units=units, conversions=challenger))
    stratum = Stratum(step=0, share=0.1, exposed=(units, units), metrics={"preference": wins})
    return _evidence(stratum, mode="interleaving", **changes)


def _figure(evidence: ExperimentEvidence, metric: str) -> Figure:
    return next(one for one in judge_experiment(evidence).figures if one.metric == metric)


def test_equal_arms_go_on() -> None:
    """Enough units, no difference, time left."""
    assert judge_experiment(_evidence()).verdict == "go on"


@pytest.mark.parametrize("better", [{"accepted": 0.29}, {"contract": 0.9}])
def test_a_challenger_that_is_better_beyond_doubt_is_promoted(better: dict[str, float]) -> None:
    """In accepted offers or in contracts; the first reason names which."""
    result = judge_experiment(_evidence(_step(**better)))
    assert result.verdict == "promote"
    assert f"better in {next(iter(better))} than 3" in result.reasons[0]


def test_better_ratings_alone_promote_nobody() -> None:
    """Those who rate are a chosen few."""
    evidence = _evidence(_step(rating=4.8))
    low = _figure(evidence, "rating").low
    assert low is not None
    assert low > 0
    assert judge_experiment(evidence).verdict == "go on"


@pytest.mark.parametrize("worse", [{"accepted": 0.21}, {"contract": 0.6}, {"rating": 3.8}])
def test_harm_in_any_metric_ends_it_whatever_another_gains(worse: dict[str, float]) -> None:
    """One metric surely worse is harm, though another is surely better."""
    gain = {"contract": 0.9} if "accepted" in worse else {"accepted": 0.29}
    result = judge_experiment(_evidence(_step(**worse, **gain)))
    assert result.verdict == "harm"
    assert f"worse in {next(iter(worse))} than 3" in result.reasons[0]


def test_a_sample_ratio_that_is_off_comes_before_harm_and_promotion() -> None:
    """Whatever the metrics show: inconclusive, the champion stays, and somebody is to look for the lost clients."""
    for changes in ({"accepted": 0.35}, {"accepted": 0.15}, {}):
        result = judge_experiment(_evidence(_step(exposed=(9200, 800), **changes)))
        assert result.verdict == "inconclusive"
        assert "look for what loses clients" in result.reasons[0]
        assert result.sample_ratio.alarm
        assert result.sample_ratio.found == 0.08


def test_the_sample_ratio_is_compared_step_by_step() -> None:
    """A ramp's steps have shares of their own: as designed in each is no alarm, though the whole has neither share."""
    ratio = judge_experiment(_evidence(_step((9900, 100), 0, 0.01), _step((9000, 1000)))).sample_ratio
    assert (ratio.alarm, ratio.expected, ratio.found) == (False, pytest.approx(0.055), pytest.approx(0.055))
    swapped = judge_experiment(_evidence(_step((9900, 100), 0, 0.1), _step((9000, 1000), share=0.01))).sample_ratio
    assert swapped.alarm


@pytest.mark.parametrize(("treated", "verdict"), [(99, "insufficient data"), (100, "promote")])
def test_below_a_hundred_units_an_arm_nothing_good_is_said(treated: int, verdict: str) -> None:
    """However great the lift."""
    assert judge_experiment(_evidence(_step((900, treated), accepted=0.75))).verdict == verdict


@pytest.mark.parametrize(("converted", "verdict"), [(9, "insufficient data"), (10, "promote")])
def test_below_ten_conversions_an_arm_nothing_good_is_said(converted: int, verdict: str) -> None:
    """Of a metric that counts them; 9 in control are too few, though treatment has hundreds."""
    rare = Arms(control=Tally(units=2000, conversions=converted), treatment=Tally(units=2000, conversions=400))
    assert judge_experiment(_evidence(Stratum(step=0, share=0.5, exposed=(2000, 2000), metrics={"contract": rare}))).verdict == verdict


def test_a_challenger_that_never_converts_is_harm_before_the_minima() -> None:
    """The test of conversions is exact at any size: sixty clients without a contract are enough, though none converted."""
    result = judge_experiment(_evidence(_step((540, 60), contract=0.0)))
    assert result.verdict == "harm"
    assert not any(one.enough for one in result.figures)


@pytest.mark.parametrize(("treated", "verdict"), [(99, "insufficient data"), (100, "harm")])
def test_harm_in_a_mean_needs_units(treated: int, verdict: str) -> None:
    """The test of means is asymptotic."""
    assert judge_experiment(_evidence(_step((900, treated), accepted=0.0, contract=0.75))).verdict == verdict


@pytest.mark.parametrize(("converted", "verdict"), [(0.05, "go on"), (0.1, "harm")])
def test_harm_in_a_mean_needs_ten_conversions_due_in_treatment(converted: float, verdict: str) -> None:
    """Among 100 treated clients five conversions were due, or ten: with five their mean is not normal enough to be called harm."""
    accepted = Arms(control=_values(900, 0.3, 0.01, converted), treatment=_values(100, 0.25, 0.01, converted=0.0))
    contract = Arms(control=_conversions(900, 0.75), treatment=_conversions(100, 0.75))
    stratum = Stratum(step=0, share=0.1, exposed=(900, 100), metrics={"accepted": accepted, "contract": contract})
    assert judge_experiment(_evidence(stratum)).verdict == verdict


@pytest.mark.parametrize(
    ("guardrail", "state", "verdict"),
    [
        (Guardrail(name="p95", control=100, treatment=120, most_ratio=1.2), "holds", "promote"),
        (Guardrail(name="p95", control=100, treatment=121, most_ratio=1.2), "broken", "go on"),
        (Guardrail(name="gini", treatment=0.31, limit=0.3), "broken", "go on"),
        (Guardrail(name="gini", treatment=0.31, limit=0.3, most_ratio=1.2), "broken", "go on"),
        (Guardrail(name="gini", treatment=0.3, limit=0.3, most_ratio=1.2), "unknown", "promote"),
        (Guardrail(name="gini", control=0.2, limit=0.3), "unknown", "promote"),
        (Guardrail(name="gini", control=0.2, treatment=0.25), "unknown", "promote"),
    ],
)
def test_a_broken_guardrail_keeps_from_promotion(guardrail: Guardrail, state: str, verdict: str) -> None:
    """Reaching its bound is allowed; what is unknown is said to be."""
    result = judge_experiment(_evidence(_step(accepted=0.29), guardrails=(guardrail,)))
    assert (result.verdict, result.guardrails[0].state) == (verdict, state)
    assert result.guardrails[0].told in result.reasons
    assert ("guardrail" in result.reasons[0]) == (state == "broken")


def test_a_broken_guardrail_is_no_harm_and_ends_without_promotion() -> None:
    """Equal arms go on under it; at the end of its time a better challenger stays behind, under either policy."""
    broken = (Guardrail(name="p95", control=100, treatment=500, most_ratio=1.2),)
    assert judge_experiment(_evidence(guardrails=broken)).verdict == "go on"
    for policy in ("keep", "promote-if-not-inferior"):
        result = judge_experiment(_evidence(_step(accepted=0.29), guardrails=broken, days=28.0, at_the_end=policy))
        assert result.verdict == "inconclusive"
        assert "guardrail p95 is broken" in result.reasons[0]


def test_when_time_is_up_nothing_goes_on() -> None:
    """Equal arms and too few units alike end inconclusive; harm and promotion are said still."""
    for stratum, verdict in (
        (_step(), "inconclusive"),
        (_step((90, 10)), "inconclusive"),
        (_step(accepted=0.2), "harm"),
        (_step(accepted=0.3), "promote"),
    ):
        assert judge_experiment(_evidence(stratum, days=28.0)).verdict == verdict
    assert judge_experiment(_evidence(days=27.99)).verdict == "go on"


@pytest.mark.parametrize(
    ("units", "accepted", "verdict"),
    [(150_000, 0.25, "promote"), (150_000, 0.2475, "inconclusive"), (50_000, 0.25, "inconclusive")],
)
def test_not_inferior_is_promoted_at_the_end_where_that_is_the_policy(units: int, accepted: float, verdict: str) -> None:
    """Both lower bounds above -2 %: equal arms with many clients; not 1 % worse, not with few, not before the end, not by default."""
    step = _step((units, units), share=0.5, accepted=accepted)
    decided = judge_experiment(_evidence(step, days=28.0, at_the_end="promote-if-not-inferior"))
    assert decided.verdict == verdict
    assert ("not worse than 3 by 2% or more" in decided.reasons[0]) == (verdict == "promote")
    assert judge_experiment(_evidence(step, days=27.0, at_the_end="promote-if-not-inferior")).verdict == "go on"
    assert judge_experiment(_evidence(step, days=28.0)).verdict == "inconclusive"
    slow = (Guardrail(name="p95", control=100, treatment=500, most_ratio=1.2),)
    assert judge_experiment(_evidence(step, days=28.0, at_the_end="promote-if-not-inferior", guardrails=slow)).verdict == "inconclusive"


def test_not_inferior_needs_both_metrics() -> None:
    """Without a single contract known, nobody is promoted for not being worse in accepted offers."""
    step = _step((500_000, 500_000), share=0.5)
    alone = step.model_copy(update={"metrics": {"accepted": step.metrics["accepted"]}})
    assert judge_experiment(_evidence(alone, days=28.0, at_the_end="promote-if-not-inferior")).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("champion", "challenger", "verdict"),
    [(50, 110, "promote"), (110, 50, "harm"), (80, 80, "go on"), (10, 89, "insufficient data"), (10, 90, "promote"), (40, 0, "harm")],
)
def test_interleaving_counts_wins(champion: int, challenger: int, verdict: str) -> None:
    """A hundred decided clients are needed for a win, none for harm; to win is to go on to the A/B test; there are no arms to be off."""
    result = judge_experiment(_interleaved(champion, challenger))
    assert result.verdict == verdict
    assert (result.sample_ratio.p_value, result.sample_ratio.alarm) == (None, False)
    assert ("A/B test" in result.reasons[0]) == (verdict == "promote")


def test_interleaving_ends_without_promotion_whatever_the_policy() -> None:
    """There is no margin of wins by which a challenger would not be inferior."""
    even = _interleaved(50_000, 50_500, days=30.0, at_the_end="promote-if-not-inferior")
    assert judge_experiment(even).verdict == "inconclusive"


def test_every_readout_says_what_it_cannot_see() -> None:
    """With or without data, in either mode."""
    for evidence in (_evidence(), _evidence(strata=()), _interleaved(5, 5), _evidence(_step(exposed=(1, 9999)))):
        assert SHARED_CAPACITY in judge_experiment(evidence).reasons


def test_without_data_every_figure_is_unknown() -> None:
    """No strata, and strata without units: insufficient data, no zeros."""
    for strata in ((), (Stratum(step=0, share=0.01),)):
        result = judge_experiment(_evidence(strata=strata))
        assert result.verdict == "insufficient data"
        assert [(one.control, one.lift, one.low, one.high, one.p_value) for one in result.figures] == [(None,) * 5] * 3
        assert (result.sample_ratio.expected, result.sample_ratio.found) == (None, None)


def test_the_levels_of_a_family_add_up_to_five_in_a_hundred() -> None:
    """In each mode."""
    for evidence in (_evidence(), _interleaved(5, 5)):
        assert sum(one.alpha for one in judge_experiment(evidence).figures) == pytest.approx(0.05)


tallies = st.builds(
    lambda units, rate, mean: Tally(units=units, conversions=round(units * rate), total=units * mean, squares=units * mean),
    st.integers(0, 3000),
    st.floats(0, 1),
    st.floats(0, 1),
)
arms = st.builds(Arms, control=tallies, treatment=tallies)
strata = st.lists(
    st.builds(
        Stratum,
        step=st.integers(0, 4),
        share=st.floats(0.01, 0.99),
        exposed=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
        metrics=st.dictionaries(st.sampled_from(["accepted", "contract", "rating", "preference"]), arms),
    ),
    max_size=3,
)


@given(strata, st.sampled_from(["ab", "interleaving"]), st.floats(0, 40), st.sampled_from(["keep", "promote-if-not-inferior"]))
@settings(max_examples=60, deadline=None)
def test_whatever_the_evidence_the_verdict_can_be_replayed_from_what_is_stored(
    found: list[Stratum], mode: str, days: float, policy: str
) -> None:
    """The evidence goes through strict JSON and gives the same verdict, figures and reasons."""
    first = judge_experiment(_evidence(strata=tuple(found), mode=mode, days=days, at_the_end=policy))
    stored = json.loads(json.dumps(first.model_dump(mode="json"), allow_nan=False))
    again = judge_experiment(ExperimentEvidence(**stored["evidence"]))
    assert again == first
    assert (first.verdict == "go on") <= (days < 28)


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"exposed": (-1, 0)}])
def test_a_stratum_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """Before anything is judged by it."""
    with pytest.raises(ValidationError):
        Stratum(**({"step": 0, "share": 0.1} | wrong))
