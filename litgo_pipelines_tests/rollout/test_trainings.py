"""How many reviews the last training had seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from litgo_pipelines.rollout.trainings import Training, record_training, reviews_at_last_training

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _record(engine: Engine, run: str, reviews: int, at: datetime) -> None:
    record_training(engine, Training(run, reviews, "fingerprint", "mlflow", None, "fail"), at=at)


def _seen(engine: Engine) -> int:
    with engine.connect() as connection:
        return reviews_at_last_training(connection)


def test_before_the_first_training_none_was_seen(engine: Engine) -> None:
    """An empty table is no error."""
    assert _seen(engine) == 0


def test_a_training_that_looked_at_the_past_takes_nothing_back(engine: Engine) -> None:
    """It finished later but had seen fewer reviews."""
    _record(engine, "first", 1_300, NOW)
    _record(engine, "backtest", 600, NOW + timedelta(days=1))
    assert _seen(engine) == 1_300


def test_one_run_counts_once(engine: Engine) -> None:
    """A step that is executed again replaces what it wrote."""
    _record(engine, "first", 1_300, NOW)
    _record(engine, "first", 1_250, NOW)
    assert _seen(engine) == 1_250
