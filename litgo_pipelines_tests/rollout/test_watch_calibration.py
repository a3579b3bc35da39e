"""How often the watch alarms for nothing, and how fast it finds a fall, on fewer simulations than `docs/watch.md` tells of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from litgo_pipelines.rollout.watch import WatchError
from litgo_pipelines.rollout.watch_calibration import Row, Setup, calibrate

SCORES = Setup("scores", sims=60, healthy=5_000, per_hour=100, sd=0.10, noise="normal", threshold=0.85, ratios=(0.86, 0.83, 0.80), seed=3)
ANSWERS = replace(SCORES, series="answers", sims=12, healthy=15_000, per_hour=300, ratios=(0.86, 0.70))


def rows(setup: Setup) -> tuple[Row, ...]:
    return calibrate(setup).rows


def test_a_week_just_above_the_threshold_is_quiet_and_a_fall_is_found_in_time() -> None:
    """At .86 at most 1 % may alarm, which two of sixty are above; at .80 half are found within 80 decisions, at .83 within 300."""
    tolerated, slight, clear = rows(SCORES)
    assert tolerated.alarm_share_week <= 1 / 60
    assert (tolerated.median_decisions, tolerated.p90_decisions) == (None, None)
    assert slight.alarm_share_week == clear.alarm_share_week == 1
    assert slight.median_decisions is not None
    assert slight.median_decisions <= 300
    assert clear.median_decisions is not None
    assert clear.p90_decisions is not None
    assert clear.median_decisions <= 80 < clear.p90_decisions < 160


@pytest.mark.parametrize(("noise", "sd"), [("skewed", 0.10), ("skewed", 0.30), ("bounded", 0.30)])
def test_noise_that_is_not_normal_raises_no_false_alarms(noise: str, sd: float) -> None:
    """With boundaries made for normal noise, four fifths of the champions with an exponential tail would alarm for nothing."""
    tolerated, clear = rows(replace(SCORES, noise=noise, sd=sd, ratios=(0.86, 0.75)))
    assert tolerated.alarm_share_week <= 1 / 60
    assert clear.alarm_share_week == 1


def test_a_reference_of_few_decisions_raises_no_false_alarms() -> None:
    """The doubt about it is in the boundary: one that was lucky is not held against the version."""
    tolerated, clear = rows(replace(SCORES, healthy=500, ratios=(0.86, 0.80)))
    assert tolerated.alarm_share_week <= 1 / 60
    assert clear.alarm_share_week == 1


def test_answers_that_resemble_one_another_raise_no_false_alarms() -> None:
    """Five offers a request whose answers correlate by .25; a fall to .70 is found within hours."""
    tolerated, heavy = rows(ANSWERS)
    assert tolerated.alarm_share_week == 0
    assert heavy.median_decisions is not None
    assert heavy.median_decisions < 10 * 300


def test_a_seed_finds_the_same_and_another_does_not() -> None:
    """Nothing but the seed decides, and progress is told up to the end."""
    few, told = replace(SCORES, sims=5), []
    first = calibrate(few, lambda done, of: told.append((done, of)))
    assert calibrate(few) == first
    assert calibrate(replace(few, seed=4)).rows != first.rows
    assert told[-1] == (15, 15)


def test_noise_that_cannot_be_is_refused() -> None:
    """Probabilities about .5 cannot lie as far from it as asked."""
    with pytest.raises(WatchError, match="smaller --sd"):
        calibrate(replace(SCORES, noise="bounded", sd=1.0))
