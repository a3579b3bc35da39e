"""What an experiment is expected to show, told before it begins."""

from __future__ import annotations

import pytest

from litgo_pipelines.rollout.planning import LIFTS, Expectation, expect
from litgo_pipelines.rollout.readout import METRICS
from litgo_pipelines.rollout.sequential import Conversion, Mean, days_to_a_verdict, detectable_lift

STEPS = (0.01, 0.05, 0.1)
BASE = (0.3, 0.35, 0.25)


def plan(daily: float = 500.0, days: float = 28.0, steps: tuple[float, ...] = STEPS) -> Expectation:
    return expect(daily, BASE, steps, days, interleaving=False)


def test_each_metric_that_promotes_is_planned_at_its_own_level() -> None:
    """With the last step's share, the metric's part of the family's level, and the traffic of all its days."""
    found = plan()
    accepted, contract = found.metrics
    alpha = {one.name: one.alpha for one in METRICS["ab"]}
    assert (found.daily_clients, found.share, found.max_days) == (500.0, 0.1, 28.0)
    assert (accepted.metric, accepted.base, contract.metric, contract.base) == ("accepted", 0.3, "contract", 0.25)
    assert accepted.detectable == detectable_lift(500 * 28, 0.1, Mean(0.3, 0.35), alpha=alpha["accepted"])
    assert contract.detectable == detectable_lift(500 * 28, 0.1, Conversion(0.25), alpha=alpha["contract"])
    assert accepted.days == tuple(days_to_a_verdict(lift, 500, 0.1, Mean(0.3, 0.35), alpha=alpha["accepted"]) for lift in LIFTS)


def test_more_traffic_more_days_or_a_larger_share_show_smaller_lifts_sooner() -> None:
    """Whichever grows, what can be detected shrinks; larger lifts need fewer days."""

    def detectable(found: Expectation) -> float:
        assert found.metrics[0].detectable is not None
        return found.metrics[0].detectable

    base = detectable(plan())
    assert detectable(plan(daily=1000)) < base
    assert detectable(plan(days=56)) < base
    assert detectable(plan(steps=(0.5,))) < base
    days = [one for one in plan().metrics[0].days if one is not None]
    assert days == sorted(days, reverse=True)
    assert len(days) == 3


def test_a_lift_that_is_just_detectable_takes_all_the_days() -> None:
    """The two figures of the plan agree with each other."""
    (lift,) = [one.detectable for one in plan().metrics[:1]]
    assert lift is not None
    days = days_to_a_verdict(lift, 500, 0.1, Mean(0.3, 0.35), alpha=METRICS["ab"][0].alpha)
    assert days == pytest.approx(28, rel=0.01)


def test_too_few_clients_detect_nothing() -> None:
    """None, not a lift of nought; the days until then are still told."""
    found = plan(daily=1.0)
    assert [one.detectable for one in found.metrics] == [None, None]
    assert found.metrics[0].days[0] is not None


@pytest.mark.parametrize(
    ("daily", "base", "interleaving"),
    [(500.0, None, False), (0.0, BASE, False), (500.0, BASE, True), (500.0, (0.0, 0.0, 0.0), False)],
)
def test_nothing_is_expected_where_nothing_is_known(daily: float, base: tuple[float, float, float] | None, interleaving: bool) -> None:
    """No rates, no traffic, nobody who accepts or signs, or another kind of comparison."""
    assert expect(daily, base, STEPS, 28.0, interleaving=interleaving).metrics == ()


def test_what_everybody_does_cannot_be_raised() -> None:
    """A rate of one: no lift is possible, and that is said instead of a division by nothing."""
    accepted, contract = expect(500.0, (0.3, 0.35, 1.0), STEPS, 28.0, interleaving=False).metrics
    assert (contract.detectable, contract.days) == (None, (None, None, None))
    assert accepted.detectable is not None
