"""What the collector shows of models and experiments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine

from litgo_pipelines.marketplace.switches import switch
from litgo_pipelines.rollout import decisions, experiments, following, freezes, readings, states
from litgo_pipelines.rollout.experiment_rules import Ruling
from litgo_pipelines.rollout.experiments import Experiment, Terms
from litgo_pipelines.rollout.figures import EvidenceFigures, RolloutFigures
from litgo_pipelines.rollout.readout import Arms, ExperimentEvidence, Stratum, Tally, judge_experiment
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.observability.shown import shown
from litgo_pipelines_tests.rollout.facts import Offer, Unit, write

if TYPE_CHECKING:
    from litgo_pipelines.rollout.assignment import Mode

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SETTINGS = load_settings(litgo_reference_decisions=100, quality_threshold=0.85, degradation_window=1)


def _rollout(engine: Engine) -> dict[str, float]:
    return shown(RolloutFigures(engine, SETTINGS).read())


def _evidence(engine: Engine, at: datetime) -> dict[str, float]:
    return shown(EvidenceFigures(engine, SETTINGS, lambda: at).read())


def _observe(engine: Engine, version: str | None, at: datetime = NOON) -> None:
    with engine.begin() as connection:
        following.observe(connection, version, actor="test", operation_id=None, at=at)


def _decided(count: int, begin: int, score: float) -> list[Unit]:
    return [Unit(NOON + (begin + n) * MINUTE, offers=(Offer(score=score),)) for n in range(count)]


def _experiment(engine: Engine, mode: Mode = "ab") -> Experiment:
    """A running one of version 2 against version 1."""
    with engine.begin() as connection:
        given: dict[str, Any] = {"actor": "gate", "at": NOON}
        queued = experiments.queue(connection, "2", "1", Terms(mode, (0.05, 0.1), 28.0, "keep"), reason="it passed", evidence={}, **given)
        return experiments.start(connection, queued, Ruling(verdict="start", reasons=["go"], evidence={}), "1", **given)


def _read(engine: Engine, of: Experiment, *, accepted: tuple[int, int], exposed: tuple[int, int], hours: int = 1) -> None:
    """A reading of 1,000 and 100 units, as the sensor's run keeps it."""
    control, treatment = (
        Tally(units=units, conversions=converted, total=float(converted), squares=float(converted))
        for units, converted in zip((1000, 100), accepted, strict=True)
    )
    stratum = Stratum(step=0, share=0.1, exposed=exposed, metrics={"accepted": Arms(control=control, treatment=treatment)})
    evidence = ExperimentEvidence(mode="ab", champion="1", challenger="2", days=1, max_days=28, strata=(stratum,))
    with engine.begin() as connection:
        readings.keep_reading(connection, of, judge_experiment(evidence), at=NOON + timedelta(hours=hours))


def test_where_nothing_was_ever_decided_nothing_is_said(engine: Engine) -> None:
    """Nobody looked where the alias points, which is not the same as nobody being champion."""
    assert _rollout(engine) == {"model_quality_threshold": 0.85, "unexplained_promotions_count": 0}
    assert _evidence(engine, NOON) == {}


def test_the_champion_is_the_one_last_seen(engine: Engine) -> None:
    """With the moment it was; nobody is a value of its own."""
    _observe(engine, "1")
    _observe(engine, "2", NOON + MINUTE)
    found = _rollout(engine)
    assert found["champion_info{2}"] == 1
    assert "champion_info{1}" not in found
    assert found["champion_since_timestamp_seconds"] == (NOON + MINUTE).timestamp()
    _observe(engine, None, NOON + 2 * MINUTE)
    assert _rollout(engine)["champion_info{nobody}"] == 1


def test_a_move_by_hand_counts_until_somebody_explains_it(engine: Engine) -> None:
    """Only moves of the alias in MLflow do, no deleted version, and nothing that people did by our commands."""
    with engine.begin() as connection:
        given: dict[str, Any] = {"reason": "so", "at": NOON, "result": "followed"}
        moved = decisions.record(connection, "alias moved", actor=decisions.MLFLOW_UI, **given)
        decisions.record(connection, "version deleted", actor=decisions.MLFLOW_UI, **given)
        decisions.record(connection, "promotion", actor="Ana", **given)
    assert _rollout(engine)["unexplained_promotions_count"] == 1
    with engine.begin() as connection:
        decisions.annotate(connection, moved.id, actor="Ana", reason="it was me", at=NOON)
    assert _rollout(engine)["unexplained_promotions_count"] == 0


def test_what_is_frozen_is_shown_as_long_as_it_is(engine: Engine) -> None:
    """By name, and 0 once it is lifted."""
    with engine.begin() as connection:
        freezes.freeze(connection, actor="Ana", reason="holidays", at=NOON)
        switch(connection, "equity_price", True, "Ana", "holidays", NOON)
    found = _rollout(engine)
    assert (found["frozen{models}"], found["frozen{equity_price}"]) == (1, 1)
    with engine.begin() as connection:
        freezes.unfreeze(connection, actor="Ana", reason="back", at=NOON)
    assert _rollout(engine)["frozen{models}"] == 0


def test_the_champion_is_judged_by_its_decisions_of_the_last_hours(engine: Engine) -> None:
    """Half of what its first decisions promised is a ratio of .5, and degraded."""
    _observe(engine, "1")
    write(engine, _decided(100, 1, 0.6) + _decided(50, 200, 0.6))
    healthy = _evidence(engine, NOON + 250 * MINUTE)
    assert healthy == {
        "model_quality_ratio{1}": pytest.approx(1.0),
        "model_degraded{1}": 0,
        "model_watch_timestamp_seconds": (NOON + 250 * MINUTE).timestamp(),
    }
    write(engine, _decided(60, 400, 0.3))
    fallen = _evidence(engine, NOON + 460 * MINUTE)
    assert fallen["model_quality_ratio{1}"] == pytest.approx(0.5)
    assert fallen["model_degraded{1}"] == 1


def test_too_few_decisions_are_no_verdict(engine: Engine) -> None:
    """Below the reference neither ratio nor verdict is shown, and that somebody looked is."""
    _observe(engine, "1")
    write(engine, _decided(99, 1, 0.6))
    assert _evidence(engine, NOON + 120 * MINUTE) == {"model_watch_timestamp_seconds": (NOON + 120 * MINUTE).timestamp()}


def test_evidence_is_read_once_a_minute(engine: Engine) -> None:
    """What is shown in between is that of the last reading, with its moment."""
    at = [NOON]
    source = EvidenceFigures(engine, SETTINGS, lambda: at[0])
    assert source.read() == []
    _observe(engine, "1")
    at[0] += timedelta(seconds=59)
    assert source.read() == []
    at[0] += timedelta(seconds=1)
    assert shown(source.read()) == {"model_watch_timestamp_seconds": at[0].timestamp()}


def test_a_running_experiment_is_shown_with_what_its_last_reading_saw(engine: Engine) -> None:
    """Rates of both groups, and the difference with its interval; what the reading cannot tell is left out."""
    one = _experiment(engine)
    _read(engine, one, accepted=(900, 90), exposed=(1000, 100), hours=1)
    _read(engine, one, accepted=(500, 60), exposed=(1000, 100), hours=2)
    found = _rollout(engine)
    assert found[f"experiment_info{{{one.id},1,2,ab,running}}"] == 1
    assert found[f"experiment_share{{{one.id}}}"] == 0.05
    assert found[f"experiment_metric{{{one.id},control,accepted}}"] == pytest.approx(0.5)
    assert found[f"experiment_metric{{{one.id},treatment,accepted}}"] == pytest.approx(0.6)
    assert found[f"experiment_lift{{{one.id},accepted,estimate}}"] == pytest.approx(0.2)
    low, high = (found[f"experiment_lift{{{one.id},accepted,{bound}}}"] for bound in ("low", "high"))
    assert low < 0.2 < high
    assert found[f"experiment_sample_ratio_broken{{{one.id}}}"] == 0
    assert not any("rating" in series for series in found)


def test_groups_of_the_wrong_size_are_told(engine: Engine) -> None:
    """500 clients where a tenth of 1,500 belongs are no chance."""
    one = _experiment(engine)
    _read(engine, one, accepted=(500, 50), exposed=(1000, 500))
    assert _rollout(engine)[f"experiment_sample_ratio_broken{{{one.id}}}"] == 1


def test_before_its_first_reading_an_experiment_has_no_metrics(engine: Engine) -> None:
    """And once it has ended nothing of it is shown."""
    one = _experiment(engine)
    assert {series.partition("{")[0] for series in _rollout(engine) if series.startswith("experiment")} == {
        "experiment_info",
        "experiment_share",
    }
    with engine.begin() as connection:
        experiments.end(connection, one.id, verdict="stopped", conclusion="enough", actor="Ana", at=NOON)
    assert not any(series.startswith("experiment") for series in _rollout(engine))
    assert _evidence(engine, NOON) == {}


@pytest.mark.parametrize(
    ("mode", "expected"), [("ab", {"control": 3, "treatment": 0, "held back": 1}), ("interleaving", {"interleaved": 0})]
)
def test_clients_are_counted_by_side(engine: Engine, mode: Mode, expected: dict[str, int]) -> None:
    """Live, with 0 for a side that nobody is on yet."""
    one = _experiment(engine, mode)
    variants = [variant for variant, count in expected.items() for _ in range(count)]
    if variants:
        write(engine, [Unit(NOON, variant) for variant in variants], one.id)
    assert _evidence(engine, NOON + MINUTE) == {f"experiment_units{{{one.id},{name}}}": count for name, count in expected.items()}


def test_a_version_that_is_not_watched_is_not_judged(engine: Engine) -> None:
    """The hand weights have no match score of their own to be compared with."""
    _observe(engine, "1")
    with engine.begin() as connection:
        states.start_watch(connection, None, NOON)
    assert _evidence(engine, NOON) == {}
