"""The weekly refit of the price of load as an asset: executed on a real instance, with what the UI shows of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from litgo_pipelines.casework.prices import freeze, price_history
from litgo_pipelines.equity.pricing import PRICES, TradeOff
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.orchestration import launch
from litgo_pipelines.orchestration.jobs import JOBS, REFIT_EQUITY_PRICE
from litgo_pipelines.orchestration.launch import run_job
from litgo_pipelines.orchestration.pictures import MOST_BYTES
from litgo_pipelines.rollout.registry import CHAMPION, MODEL, Registry
from litgo_pipelines_tests.orchestration.conftest import AS_OF
from litgo_pipelines_tests.simulation.conftest import live

if TYPE_CHECKING:
    from litgo_pipelines_tests.conftest import Databases
    from litgo_pipelines_tests.orchestration.conftest import Location

PRICE = dg.AssetKey("equity_price")
EASY = {"litgo_equity_target_gini": 0.99, "litgo_fairness_max_gap": 1.0}
"""Every price keeps all, so that the smallest within reach is right."""


@pytest.fixture(scope="module")
def _today(databases: Databases, _migrated: str) -> Iterator[str]:
    """A small simulated marketplace that has lived until this moment, which is when the asset reads."""
    with databases.fresh(_migrated) as name:
        live(databases.server.url(name), datetime.now(UTC), lawyers=40, days=35.0, seed=4)
        yield name


@pytest.fixture
def today(databases: Databases, _today: str, location: Location) -> Iterator[Engine]:
    """The marketplace of a location that has lived until now."""
    with databases.fresh(_today) as name:
        location.database = databases.server.url(name)
        engine = open_engine(location.database)
        yield engine
        engine.dispose()


def _metadata(location: Location) -> dict[str, Any]:
    event = location.instance.get_latest_materialization_event(PRICE)
    assert event is not None
    assert event.asset_materialization is not None
    return dict(event.asset_materialization.metadata)


def _told(location: Location, *names: str) -> list[Any]:
    found = _metadata(location)
    return [found[name].value for name in names]


def _history(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(price_history(connection, 9))


def test_a_run_moves_the_price_and_shows_what_it_was_chosen_from(location: Location, today: Engine) -> None:
    """As the schedule starts it, without configuration: the row names the run, the metadata hold the curve as a table and as a picture."""
    result = location.execute(REFIT_EQUITY_PRICE, **EASY)
    assert result.success
    assert _told(location, "verdict", "price_before", "price", "price_a_week_ago", "share_replayed") == ["moved", 0.5, 0.375, 0.5, 1.0]
    (row,) = _history(today)
    assert (row.price, row.dagster_run_id) == (0.375, result.run_id)
    found = _metadata(location)
    assert found["price_id"].value == row.id
    assert found["reason"].value == row.reason
    assert found["cases_replayed"].value == row.evidence["cases"] > 100
    table = [dict(record.data) for record in found["trade_off_curve"].records]
    assert table == [{name: None if value is None else round(value, 4) for name, value in one.items()} for one in row.evidence["curve"]]
    assert [one["price"] for one in table] == sorted({*PRICES, 0.375, 0.4375, 0.5, 0.5625, 0.625})
    assert [one.name for one in found["trade_off_curve"].schema.columns] == [one.name for one in fields(TradeOff)]
    png = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", found["trade_off"].value)
    assert png is not None
    assert base64.b64decode(png[1]).startswith(b"\x89PNG")
    assert len(found["trade_off"].value) < MOST_BYTES


def test_a_second_run_within_the_week_moves_nothing_further(location: Location, today: Engine) -> None:
    """It succeeds, and keeps what the first one put in force."""
    for verdict in ("moved", "kept"):
        assert location.execute(REFIT_EQUITY_PRICE, **EASY).success
        assert _told(location, "verdict", "price", "price_a_week_ago") == [verdict, 0.375, 0.5]
    assert len(_history(today)) == 1
    assert "price_id" not in _metadata(location)


def test_a_frozen_price_stays_and_the_run_succeeds(location: Location, today: Engine) -> None:
    """The curve is shown all the same, for whoever decides whether to lift the freeze."""
    with today.begin() as connection:
        freeze(connection, "rui", "experiment", datetime.now(UTC))
    assert location.execute(REFIT_EQUITY_PRICE, **EASY).success
    assert _told(location, "verdict", "price") == ["frozen", 0.5]
    assert "trade_off_curve" in _metadata(location)
    assert _history(today) == []


def test_too_little_data_is_a_verdict_and_no_failure(location: Location, database_url: str) -> None:
    """An empty marketplace: what is missing is said, no curve is drawn, the price stays."""
    location.database = database_url
    assert location.execute(REFIT_EQUITY_PRICE).success
    assert _told(location, "verdict", "price_before", "price", "cases_replayed") == ["insufficient data", 0.5, 0.5, 0]
    found = _metadata(location)
    assert "0 settled offers" in found["reason"].value
    assert not {"price_id", "trade_off_curve", "trade_off"} & set(found)


def test_as_of_an_earlier_moment_it_is_rehearsed(location: Location, today: Engine) -> None:
    """`litgo run refit_equity_price --as-of …`: the facts of then, replayed by the settings of today; nothing is put in force."""
    launched = run_job(REFIT_EQUITY_PRICE, as_of=datetime.now(UTC) - timedelta(days=1), resources=location.resources(**EASY))
    assert (launched.success, launched.partition, launched.errors, launched.checks) == (True, None, [], {})
    told = launched.assets["equity_price"]
    assert (told["verdict"], told["price_before"], told["price"]) == ("rehearsed", 0.5, 0.5)
    assert "0.375 is the smallest price" in str(told["reason"])
    assert _history(today) == []


def test_a_champion_that_cannot_be_had_fails_the_run_before_anything_moves(location: Location, today: Engine) -> None:
    """What answers cannot be replayed: another ranker's spread would say nothing."""
    client = Registry(location.mlflow).client
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, (location.folder / "nothing").as_uri(), await_creation_for=0)
    client.set_registered_model_alias(MODEL, CHAMPION, "1")
    assert not location.execute(REFIT_EQUITY_PRICE, **EASY).success
    assert _history(today) == []


def test_every_job_without_partitions_can_be_told_as_of_when(location: Location) -> None:
    """Whatever asset it is that reads: a job that was forgotten could not be run as of a moment. Those that act on the present cannot."""
    definitions = location.definitions()
    unpartitioned = {job.name for job in JOBS if definitions.resolve_job_def(job.name).partitions_def is None}
    of_the_present = {"deliver_notifications", "embed_texts", "expire_records", "move_offers", "process_contracts"}
    assert set(launch._READS_AT) == unpartitioned - {"read_experiment", "watch_champion"} - of_the_present
    for job, asset in launch._READS_AT.items():
        config = {"ops": {asset: {"config": {"as_of": AS_OF.isoformat()}}}}
        assert dg.validate_run_config(definitions.resolve_job_def(job), config)["ops"][asset]["config"] == config["ops"][asset]["config"]
