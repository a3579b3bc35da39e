"""How often the verdict on an experiment errs, measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from litgo_pipelines.rollout.readout import Arms, Counts, ExperimentEvidence, Minima, Stratum, Tally, judge_experiment
from litgo_pipelines.rollout.sequential_calibration import Experiments, Setup, calibrate, simulate

SMALL = Setup(0.1, looks=20, sims=60, units=20_000, seed=4, srm_sims=200)


def _tally(counts: Counts, at: tuple[int, int, int]) -> Tally:
    units, conversions, total, squares = (one[at] for one in (counts.units, counts.conversions, counts.total, counts.squares))
    return Tally(units=int(units), conversions=int(conversions), total=float(total), squares=float(squares))


def _evidence(experiments: Experiments, sim: int, look: int) -> ExperimentEvidence:
    """What a real readout of one simulated experiment would hand over."""
    strata = [
        Stratum(
            step=step,
            share=float(share),
            exposed=(int(experiments.exposed[0][sim, look, step]), int(experiments.exposed[1][sim, look, step])),
            metrics={
                name: Arms(control=_tally(control, (sim, look, step)), treatment=_tally(treatment, (sim, look, step)))
                for name, (control, treatment) in experiments.metrics.items()
            },
        )
        for step, share in enumerate(experiments.share)
    ]
    return ExperimentEvidence(mode="ab", champion="1", challenger="2", days=1, max_days=28, strata=tuple(strata))


@pytest.mark.parametrize("ramp", [False, True])
def test_simulated_experiments_are_judged_as_real_ones(ramp: bool) -> None:
    """Each look's verdict is `judge_experiment`'s, and all verdicts that can occur before the end do occur."""
    setup = replace(SMALL, ramp=ramp)
    random = np.random.default_rng(2)
    seen = set()
    for lift in (-0.15, 0.0, 0.15):
        experiments = simulate(setup, 4, lift, random)
        found = experiments.verdicts(Minima())
        for sim, look in np.ndindex(found.shape):
            assert judge_experiment(_evidence(experiments, sim, look)).verdict == found[sim, look]
        seen |= set(found.ravel())
    assert seen >= {"insufficient data", "go on", "promote", "harm"}


def test_peeking_a_hundred_times_keeps_the_level_and_breaks_that_of_the_naive_test() -> None:
    """The same looks at the same equal arms: ours errs in at most 5 of 100 experiments, the z-test in more than 20."""
    found = calibrate(Setup(0.5, looks=100, sims=300, units=20_000, lift=0.0, seed=8, srm_sims=2_000))
    assert found.false_positive_rate <= 0.05
    assert found.naive_false_positive_rate > 0.2
    assert found.srm_false_alarm_rate is not None
    assert found.srm_false_alarm_rate <= 0.003
    assert found.power is None
    assert max(found.false_promotion_rate, found.false_harm_rate) <= found.false_positive_rate


def test_a_ramp_keeps_the_level_too() -> None:
    """Steps of 1, 5 and 10 % in the same experiment."""
    found = calibrate(Setup(0.1, looks=50, sims=200, units=50_000, lift=0.0, seed=9, ramp=True, srm_sims=500))
    assert found.false_positive_rate <= 0.05 < found.naive_false_positive_rate


@pytest.mark.parametrize("lift", [0.1, -0.1])
def test_a_real_lift_is_found_either_way(lift: float) -> None:
    """Ten in a hundred more is promoted, ten less is harm, in nearly every experiment of 20,000 clients, and the sooner the larger."""
    found = calibrate(replace(SMALL, lift=lift))
    assert found.power is not None
    assert found.power > 0.9
    sooner = calibrate(replace(SMALL, lift=2 * lift))
    assert found.units_to_verdict is not None
    assert sooner.units_to_verdict is not None
    assert 1_000 <= sooner.units_to_verdict < found.units_to_verdict <= 20_000


def test_few_units_show_little() -> None:
    """Where most experiments end without a verdict there is no median of the units by it."""
    found = calibrate(replace(SMALL, units=2_500, lift=0.05, srm_sims=0))
    assert found.power is not None
    assert found.power < 0.5
    assert (found.units_to_verdict, found.srm_false_alarm_rate) == (None, None)


def test_the_same_seed_finds_the_same() -> None:
    """Another seed does not; progress is told up to the end."""
    told: list[tuple[int, int]] = []
    found = calibrate(SMALL, lambda done, of: told.append((done, of)))
    assert found == calibrate(SMALL)
    assert found != replace(calibrate(replace(SMALL, seed=5)), seed=4)
    assert told[-1] == (120, 120)


def test_simulated_clients_are_as_described() -> None:
    """Three in four sign, a quarter of the offers is accepted with a standard deviation of .21, and the ramp's shares are kept."""
    experiments = simulate(Setup(0.1, looks=10, units=400_000, ramp=True), 1, 0.0, np.random.default_rng(1))
    control, treatment = (one[0, -1] for one in experiments.exposed)
    np.testing.assert_allclose(treatment / (control + treatment), [0.01, 0.05, 0.1], rtol=0.1)
    np.testing.assert_allclose(control + treatment, [40_000, 40_000, 320_000])
    accepted, contract = experiments.metrics["accepted"][0], experiments.metrics["contract"][0]
    mean = accepted.total[0, -1].sum() / accepted.units[0, -1].sum()
    assert mean == pytest.approx(0.25, abs=0.002)
    assert np.sqrt(accepted.squares[0, -1].sum() / accepted.units[0, -1].sum() - mean**2) == pytest.approx(0.21, abs=0.002)
    assert contract.conversions[0, -1].sum() / contract.units[0, -1].sum() == pytest.approx(0.75, abs=0.003)
