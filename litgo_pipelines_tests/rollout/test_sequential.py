"""Anytime-valid tests: exact where they claim to be, and silent where there is nothing to say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litgo_pipelines.rollout import sequential
from litgo_pipelines.rollout.sequential import Conversion, Mean, Sample

counts = st.integers(0, 3000)
shares = st.floats(0.01, 0.99)
strata = st.lists(st.tuples(counts, counts, shares), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("control", "treatment", "share", "expected"),
    [
        (0, 1, 0.5, 1.0),
        (0, 2, 0.5, (2 / 4) * (3 / 5) / 0.25),
        (1, 1, 0.5, (2 / 4) * (2 / 5) / 0.25),
        (0, 2, 0.25, (1 / 4) * (7 / 3) / (19 / 3) / 0.0625),
        (1, 1, 0.25, (1 / 4) * 4 / (19 / 3) / (0.25 * 0.75)),
    ],
)
def test_the_likelihood_ratio_is_what_a_hand_computes(control: int, treatment: int, share: float, expected: float) -> None:
    """With spread 1 the mixture at share .5 is Beta(2, 2), at share .25 Beta(4/3, 4): Pólya's urn."""
    assert float(sequential.log_evidence([control], [treatment], [share], spread=1.0)) == pytest.approx(math.log(expected))


@pytest.mark.parametrize("ratio", [1.0, 1.3, 0.6])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_under_the_ratio_held_against_it_the_evidence_is_a_martingale(ratio: float, share: float) -> None:
    """Whatever has been seen, in either stratum, the next conversion leaves the evidence as it is on average."""
    chance = share * ratio / (share * ratio + 1 - share)
    seen = np.array([(theirs, ours) for theirs in range(7) for ours in range(7)], dtype=float)

    def evidence(theirs: int, ours: int) -> np.ndarray:
        control = np.stack([seen[:, 0] + theirs, np.full(len(seen), 5.0)], axis=-1)
        treatment = np.stack([seen[:, 1] + ours, np.full(len(seen), 2.0)], axis=-1)
        return np.exp(sequential.log_evidence(control, treatment, [share, 0.3], ratio=ratio, spread=0.5))

    np.testing.assert_allclose(chance * evidence(0, 1) + (1 - chance) * evidence(1, 0), evidence(0, 0), rtol=1e-12)


@given(strata, st.sampled_from([0.01, 0.05]))
@settings(max_examples=60, deadline=None)
def test_the_interval_of_the_lift_holds_just_what_is_not_refuted(found: list[tuple[int, int, float]], alpha: float) -> None:
    """Beyond its ends the evidence exceeds 1/alpha, within, in one stratum, it does not; 0 is outside where the p-value is below alpha."""
    control, treatment, share = zip(*found, strict=True)
    bounds = sequential.compare_conversions(control, treatment, share, alpha=alpha)
    limit = math.log(1 / alpha)

    def evidence(lift: float) -> float:
        return float(sequential.log_evidence(control, treatment, share, ratio=1 + lift))

    for end in (float(bounds.low), float(bounds.high)):
        if -0.999 < end < 1e6:
            assert evidence(end) >= limit - 1e-5
            assert len(found) > 1 or evidence(end) <= limit + 1e-5
    if math.isfinite(bounds.lift) and bounds.lift > -1:
        assert bounds.low < bounds.lift < bounds.high
    assert bounds.low == -1 or sum(treatment) > 0
    assert bounds.high == math.inf or sum(control) > 0
    if abs(bounds.p_value - alpha) > 1e-9:
        assert (not bounds.low <= 0 <= bounds.high) == (bounds.p_value < alpha)


@given(strata)
@settings(max_examples=40, deadline=None)
def test_arms_that_change_places_turn_the_lift_round(found: list[tuple[int, int, float]]) -> None:
    """Control's share for treatment's: the ratio becomes its inverse, and the p-value, of conversions and of exposures, stays."""
    control, treatment, share = (np.array(one, dtype=float) for one in zip(*found, strict=True))
    one = sequential.compare_conversions(control, treatment, share, alpha=0.05)
    other = sequential.compare_conversions(treatment, control, 1 - share, alpha=0.05)
    if -0.999 < one.low < one.high < 1e3:
        assert (1 + other.low) * (1 + one.high) == pytest.approx(1, rel=1e-6)
        assert (1 + other.high) * (1 + one.low) == pytest.approx(1, rel=1e-6)
        assert (1 + other.lift) * (1 + one.lift) == pytest.approx(1, rel=1e-6)
    assert other.p_value == pytest.approx(float(one.p_value), rel=1e-6, abs=1e-300)


def test_strata_that_contradict_each_other_leave_an_interval() -> None:
    """Where every common ratio is refuted, the interval is as wide as the likelihood alone makes it, around no lift here."""
    control, treatment, share = [100, 900], [900, 100], [0.5, 0.5]
    assert min(float(sequential.log_evidence(control, treatment, share, ratio=one)) for one in np.geomspace(0.1, 10, 99)) > math.log(20)
    found = sequential.compare_conversions(control, treatment, share, alpha=0.05)
    assert float(found.lift) == pytest.approx(0, abs=1e-9)
    assert -0.2 < found.low < -0.05
    assert 0.05 < found.high < 0.2
    assert found.p_value == 1


def test_an_empty_stratum_changes_nothing() -> None:
    """A step that nobody has come to yet, at any share, is as if it were not there."""
    control, treatment, share = [300, 40], [60, 9], [0.1, 0.2]
    more = ([*control, 0], [*treatment, 0], [*share, 0.5])
    assert sequential.compare_conversions(*more, alpha=0.05) == sequential.compare_conversions(control, treatment, share, alpha=0.05)
    assert sequential.sample_ratio_p_value(*more) == sequential.sample_ratio_p_value(control, treatment, share)
    arms = [(Sample([300, 40], [80.0, 9.0], [30.0, 4.0])), (Sample([60, 9], [20.0, 2.0], [9.0, 1.0]))]
    longer = [Sample(*([*one, 0] for one in (arm.units, arm.total, arm.squares))) for arm in arms]  # type: ignore[misc]
    assert sequential.compare_means(*longer, alpha=0.05) == sequential.compare_means(*arms, alpha=0.05)


def test_where_nothing_happened_nothing_is_said_and_nothing_divided() -> None:
    """No strata, no units, an arm without any: unknown or unbounded, never 0, never a division by zero."""
    with np.errstate(divide="raise", invalid="raise"):
        for control, treatment, share in (([], [], []), ([0], [0], [0.1]), ([0, 0], [0, 0], [0.1, 0.5])):
            bounds = sequential.compare_conversions(control, treatment, share, alpha=0.05)
            assert math.isnan(bounds.lift)
            assert (bounds.low, bounds.high, bounds.p_value) == (-1, math.inf, 1)
            assert sequential.sample_ratio_p_value(control, treatment, share) == 1
            means = sequential.compare_means(Sample(control, control, control), Sample(treatment, treatment, treatment), alpha=0.05)
            assert all(math.isnan(one) for one in (means.control, means.difference, means.low, means.high, means.p_value))
            assert all(math.isnan(one) for one in means.relative())
        assert sequential.compare_conversions([20], [0], [0.5], alpha=0.05).lift == -1
        assert sequential.compare_conversions([0], [20], [0.5], alpha=0.05).lift == math.inf
        lonely = sequential.compare_means(Sample([5], [2.0], [1.0]), Sample([0], [0.0], [0.0]), alpha=0.05)
        assert math.isnan(lonely.difference)
        assert math.isnan(sequential.naive_p_value(0, 0, 1, 2))
        assert math.isnan(sequential.naive_p_value(5, 5, 7, 7))


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 0.7, 5.0])
def test_units_that_are_all_alike_are_no_certainty(value: float) -> None:
    """Where nothing varies but the last digit of a sum, the difference has no interval rather than one of no width."""
    alike = [Sample([n], [sum([value] * n)], [sum([value**2] * n)]) for n in (300, 211)]
    found = sequential.compare_means(*alike, alpha=0.05)
    assert math.isnan(found.low)
    assert math.isnan(found.p_value)


def test_a_small_arm_that_happens_not_to_vary_looks_no_surer() -> None:
    """Its variance counts as that of both arms together."""
    control = Sample([10_000], [1_000.0], [1_000.0])
    nobody = sequential.compare_means(control, Sample([100], [0.0], [0.0]), alpha=0.05)
    assert nobody.high - nobody.difference > 3 * math.sqrt(0.09 * 0.98 / 100)


def test_the_interval_of_a_mean_is_the_published_one() -> None:
    """One stratum of equal arms: WSAS+ (2024), with t = n_c n_t / (n_c + n_t), rho^2 = spread^2 and the sample's standard deviation."""
    n, mean, variance = 400, 0.3, 0.04
    squares = (n - 1) * variance + n * mean**2
    found = sequential.compare_means(
        Sample([n], [n * mean], [squares]), Sample([n], [n * (mean + 0.05)], [(n - 1) * variance + n * 0.35**2]), alpha=0.05
    )
    t, rho2 = n / 2, sequential.SPREAD**2
    radius = 0.2 * math.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * math.log(math.sqrt(t * rho2 + 1) / 0.05))
    assert (float(found.control), float(found.treatment)) == (pytest.approx(0.3), pytest.approx(0.35))
    assert (float(found.low), float(found.high)) == (pytest.approx(0.05 - radius), pytest.approx(0.05 + radius))
    assert [float(one) for one in found.relative()] == pytest.approx([0.05 / 0.3, (0.05 - radius) / 0.3, (0.05 + radius) / 0.3])


@given(st.floats(-0.2, 0.2), st.integers(2, 5000), st.integers(2, 5000), st.sampled_from([0.01, 0.03, 0.05]))
@settings(deadline=None)
def test_a_means_p_value_is_below_alpha_just_where_the_interval_leaves_zero_out(shift: float, n_c: int, n_t: int, alpha: float) -> None:
    """And arms that change places turn the difference round."""
    control = Sample([n_c], [0.3 * n_c], [n_c * (0.09 + 0.04)])
    treatment = Sample([n_t], [(0.3 + shift) * n_t], [n_t * ((0.3 + shift) ** 2 + 0.05)])
    found = sequential.compare_means(control, treatment, alpha=alpha)
    assert (not found.low <= 0 <= found.high) == (found.p_value < alpha)
    turned = sequential.compare_means(treatment, control, alpha=alpha)
    assert (float(turned.low), float(turned.high)) == (pytest.approx(-float(found.high)), pytest.approx(-float(found.low)))


def test_a_base_rate_that_moves_with_the_share_is_no_lift() -> None:
    """Control and treatment alike in each step: no lift, though treatment's whole is far better because its clients came later."""
    control, treatment, share = np.array([9000.0, 5000.0]), np.array([1000.0, 5000.0]), np.array([0.1, 0.5])
    rate = np.array([0.2, 0.6])
    assert (rate * treatment).sum() / treatment.sum() > 1.4 * (rate * control).sum() / control.sum()
    conversions = sequential.compare_conversions(control * rate, treatment * rate, share, alpha=0.05)
    assert float(conversions.lift) == pytest.approx(0, abs=1e-9)
    means = sequential.compare_means(
        Sample(control, control * rate, control * rate), Sample(treatment, treatment * rate, treatment * rate), alpha=0.05
    )
    assert float(means.difference) == pytest.approx(0, abs=1e-12)
    assert float(means.control) == float(means.treatment)


def test_many_experiments_at_once_are_each_by_itself() -> None:
    """Every axis before the strata is kept."""
    random = np.random.default_rng(3)
    control, treatment = random.integers(0, 400, (2, 3, 2)), random.integers(0, 400, (2, 3, 2))
    share = np.array([0.2, 0.5])
    together = sequential.compare_conversions(control, treatment, share, alpha=0.05)
    sample = [Sample(one + 400, one * 0.5, one * 0.4) for one in (control, treatment)]
    means = sequential.compare_means(*sample, alpha=0.05)
    assert together.low.shape == means.low.shape == (2, 3)
    for at in np.ndindex(2, 3):
        alone = sequential.compare_conversions(control[at], treatment[at], share, alpha=0.05)
        assert (alone.low, alone.high, alone.p_value) == (together.low[at], together.high[at], together.p_value[at])
        one = sequential.compare_means(*(Sample(c[at] + 400, c[at] * 0.5, c[at] * 0.4) for c in (control, treatment)), alpha=0.05)
        assert float(one.low) == pytest.approx(float(means.low[at]))


def test_clients_that_one_arm_loses_are_noticed() -> None:
    """A split as designed does not alarm; five in a hundred of treatment's clients missing do, among a hundred thousand."""
    assert sequential.sample_ratio_p_value([50_100, 9_000], [49_900, 1_010], [0.5, 0.1]) > 0.5
    assert sequential.sample_ratio_p_value([50_000, 9_000], [47_500, 950], [0.5, 0.1]) < 0.001


@pytest.mark.parametrize("alpha", [0.01, 0.03])
def test_the_spread_is_good_from_a_hundred_units_to_fifty_thousand(alpha: float) -> None:
    """At most 15 % wider than the spread that is best for just that size."""
    sizes = np.geomspace(100, 50_000, 30)
    best = np.min([sequential.mean_boundary(sizes, alpha=alpha, spread=one) for one in np.geomspace(0.01, 1, 200)], axis=0)
    assert np.max(sequential.mean_boundary(sizes, alpha=alpha) / best) < 1.151


@pytest.mark.parametrize("outcome", [Conversion(0.75), Conversion(0.05), Mean(0.25, 0.21)])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_plan_of_units_and_a_plan_of_lift_say_the_same(outcome: Conversion | Mean, share: float) -> None:
    """The lift that the planned units can show is the lift that they were planned for."""
    units = sequential.units_to_detect(0.1, share, outcome, alpha=0.01)
    assert units is not None
    assert sequential.detectable_lift(units, share, outcome, alpha=0.01) == pytest.approx(0.1, rel=1e-3)
    assert sequential.days_to_a_verdict(0.1, 500, share, outcome, alpha=0.01) == pytest.approx(units / 500)


def test_planned_units_show_the_lift_four_times_in_five() -> None:
    """Of simulated experiments with as many units, four in five refute no effect by their last look alone."""
    random = np.random.default_rng(11)
    share, lift, rate, sims = 0.1, 0.12, 0.3, 4000
    units = sequential.units_to_detect(lift, share, Conversion(rate), alpha=0.01)
    assert units is not None
    treated = random.binomial(units, share, sims)
    control, treatment = random.binomial(units - treated, rate), random.binomial(treated, rate * (1 + lift))
    found = sequential.compare_conversions(control[:, None], treatment[:, None], [share], alpha=0.01)
    assert (found.low > 0).mean() == pytest.approx(0.8, abs=0.03)
    needed = sequential.units_to_detect(lift, 0.5, Mean(0.25, 0.21), alpha=0.03)
    assert needed is not None
    size = needed // 2
    arms = [
        Sample(np.full((sims, 1), size), drawn.sum(axis=1, keepdims=True), (drawn**2).sum(axis=1, keepdims=True))
        for drawn in (random.normal(0.25, 0.21, (sims, size)), random.normal(0.25 * (1 + lift), 0.21, (sims, size)))
    ]
    assert (sequential.compare_means(*arms, alpha=0.03).low > 0).mean() == pytest.approx(0.8, abs=0.03)


def test_what_no_number_of_units_can_show_has_no_plan() -> None:
    """A rate cannot rise above 1; an arm below its least number of units shows nothing; no clients, no days."""
    assert sequential.units_to_detect(0.5, 0.5, Conversion(0.75), alpha=0.01) is None
    assert sequential.detectable_lift(500, 0.1, Mean(0.25, 0.21), alpha=0.05) is None
    assert sequential.detectable_lift(300, 0.5, Conversion(0.9), alpha=0.01) is None
    assert sequential.days_to_a_verdict(0.1, 0, 0.5, Mean(0.25, 0.21), alpha=0.05) is None
