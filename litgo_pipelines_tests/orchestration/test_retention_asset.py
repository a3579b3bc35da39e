"""The nightly job that deletes what is kept for a while only, run by Dagster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.orchestration.launch import run_job

if TYPE_CHECKING:
    from litgo_pipelines_tests.orchestration.conftest import Location


def test_old_records_go_and_the_run_says_how_many(location: Location, database_url: str) -> None:
    """Younger ones stay; the asset's metadata tell what went and how long each is kept."""
    location.database = database_url
    engine = open_engine(database_url)
    now = datetime.now(UTC)
    with engine.begin() as connection:
        row = {"request_hash": "x", "status": 200, "answer": {}}
        ages = {"old": now - timedelta(days=31), "young": now - timedelta(days=29)}
        connection.execute(tables.idempotent_answers.insert(), [row | {"key": key, "created_at": at} for key, at in ages.items()])
    launched = run_job("expire_records", resources=location.resources())
    assert launched.success, launched.errors
    with engine.connect() as connection:
        assert list(connection.execute(tables.idempotent_answers.select()).scalars()) == ["young"]
    engine.dispose()
    event = location.instance.get_latest_materialization_event(dg.AssetKey("expired_records"))
    assert event is not None
    assert event.asset_materialization is not None
    told = event.asset_materialization.metadata
    assert (told["idempotent_answers"].value, told["external_calls"].value) == (1, 0)
    assert "| match_candidates | 180 days |" in str(told["kept"].value)
