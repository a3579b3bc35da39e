"""What an experiment is expected to show, told before it begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.rollout.experiment_rules import RampEvidence, judge_ramp
from litgo_pipelines.rollout.planning import LIFTS, Course, Expectation, expect
from litgo_pipelines.rollout.readout import METRICS
from litgo_pipelines.rollout.sequential import Conversion, Mean, detectable_lift

STEPS = (0.01, 0.05, 0.1)
BASE = (0.3, 0.35, 0.25)
ALPHA = {one.name: one.alpha for one in METRICS["ab"]}


def plan(daily: float = 500.0, days: float = 28.0, steps: tuple[float, ...] = STEPS, ramp_hours: float = 24.0) -> Expectation:
    return expect(Course(daily, steps, ramp_hours), BASE, days, interleaving=False)


def detectable(found: Expectation, metric: int = 0) -> float:
    lift = found.metrics[metric].detectable
    assert lift is not None
    return lift


def test_the_ramp_is_walked_and_outcomes_ripen() -> None:
    """A day of patience at 1 %, another at 5 %, the rest at 10 %; contracts of the last week are not ripe at the end."""
    course = Course(10_000.0, STEPS, 24.0)
    control, treatment = course.exposed(28.0)
    assert control == pytest.approx(28 * 10_000 * 0.9)
    assert treatment == pytest.approx(10_000 * (0.01 + 0.05 + 26 * 0.1))
    accepted, contract = expect(course, BASE, 28.0, interleaving=False).metrics
    for found, outcome, ripens in ((accepted, Mean(0.3, 0.35), 1), (contract, Conversion(0.25), 7)):
        of_control, of_treatment = course.exposed(28.0 - ripens)
        units = of_control + of_treatment
        assert found.detectable == detectable_lift(units, of_treatment / units, outcome, alpha=ALPHA[found.metric])


@given(daily=st.floats(1, 5_000), hours=st.floats(1, 100))
def test_a_step_lasts_as_long_as_the_rule_lets_it(daily: float, hours: float) -> None:
    """Just before the plan leaves the first step the rule says stay, just after it ramp."""
    course = Course(daily, STEPS, hours)

    def rule(days: float) -> str:
        exposed = int(days * daily * STEPS[0])
        evidence = RampEvidence(
            step=0,
            steps=STEPS,
            hours=days * 24,
            least_hours=hours,
            exposed=exposed,
            verdict="go on",
            sample_ratio_alarm=False,
            guardrails_hold=True,
            frozen_by=None,
        )
        return judge_ramp(evidence).verdict

    length = course._length(STEPS[0])
    assert rule(length * 0.98) == "stay"
    assert rule(length * 1.02 + 1 / (daily * STEPS[0]) if length * 24 < 2 * hours - 1e-9 else length * 1.02) == "ramp"


def test_a_small_marketplace_reaches_the_last_step_too() -> None:
    """130 clients a day have brought a hundred into treatment well within the experiment's 28 days."""
    found = plan(daily=130)
    assert found.days_to_minimum is not None
    assert 5 < found.days_to_minimum < 20
    assert detectable(found) > 0


def test_more_traffic_more_days_or_a_larger_share_show_smaller_lifts_sooner() -> None:
    """Whichever grows, what can be detected shrinks; larger lifts need fewer days; a longer ramp costs days."""
    base = detectable(plan())
    assert detectable(plan(daily=1000)) < base
    assert detectable(plan(days=56)) < base
    assert detectable(plan(steps=(0.5,))) < base
    assert detectable(plan(ramp_hours=120)) > base
    days = [one for one in plan().metrics[0].days if one is not None]
    assert days == sorted(days, reverse=True)
    assert len(days) == len(LIFTS)


def test_the_two_figures_of_a_plan_agree() -> None:
    """A lift of 20 % that is shown on the last day by one figure is shown by then by the other."""
    for daily in (60, 130, 500):
        found = plan(daily=daily).metrics[0]
        shown = found.detectable is not None and found.detectable <= 0.20
        assert (found.days[2] is not None and found.days[2] <= 28) == shown


def test_too_few_clients_detect_nothing() -> None:
    """None, not a lift of nought; the days until then are still told."""
    found = plan(daily=1.0)
    assert [one.detectable for one in found.metrics] == [None, None]
    assert plan(daily=5.0).metrics[0].days[2] is not None
    assert plan(daily=0.0) == Expectation(0.0, 0.1, 28.0, None, ())


def test_where_nothing_is_known_no_metric_is_planned() -> None:
    """Without base rates, and for interleaving; how long a hundred clients take is told all the same."""
    course = Course(500.0, STEPS, 24.0)
    for found in (expect(course, None, 28.0, interleaving=False), expect(course, BASE, 28.0, interleaving=True)):
        assert found.metrics == ()
        assert found.days_to_minimum is not None
