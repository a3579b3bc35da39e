"""The nightly figures as an asset: executed on a real instance, with what the UI shows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from litgo_pipelines.casework.equity_run import utilisation
from litgo_pipelines.equity.inequality import gini
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines_tests.orchestration.conftest import NEWEST

if TYPE_CHECKING:
    from litgo_pipelines_tests.orchestration.conftest import Location

JOB = "calculate_equity_metrics"
EQUITY = dg.AssetKey("equity_metrics")


def _metadata(location: Location) -> dict[str, Any]:
    event = location.instance.get_latest_materialization_event(EQUITY)
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_a_day_is_computed_and_shown(location: Location, marketplace_url: str) -> None:
    """The run succeeds, and its metadata tell counts and the Gini as the database has them."""
    location.database = marketplace_url
    result = location.execute(JOB, NEWEST)
    assert result.success
    found = _metadata(location)
    assert found["snapshot_rows"] == found["rows_read"] >= 130
    assert found["current_columns_written"] is True
    engine = open_engine(marketplace_url)
    with engine.connect() as connection:
        as_of = connection.execute(text("SELECT max(as_of) FROM litgo.equity_snapshots")).scalar_one()
        used = utilisation(connection, as_of)
    engine.dispose()
    assert found["as_of"] == pytest.approx(as_of.timestamp())
    assert found["lawyers_eligible"] == len(used)
    assert found["gini_utilisation"] == pytest.approx(gini(used))
    assert [check.passed for check in result.get_asset_check_evaluations() if check.asset_key == EQUITY] == [True]


def test_a_day_run_again_is_the_same(location: Location, marketplace_url: str) -> None:
    """Nothing changes in the current columns, and the day is materialised still."""
    location.database = marketplace_url
    location.execute(JOB, NEWEST)
    before = _metadata(location)
    assert location.execute(JOB, NEWEST).success
    after = _metadata(location)
    assert after["rows_changed"] == 0
    assert {**after, "seconds": 0, "rows_changed": 0} == {**before, "seconds": 0, "rows_changed": 0}
    assert location.instance.get_materialized_partitions(EQUITY) == {NEWEST}


def test_an_older_day_leaves_the_current_columns_alone(location: Location, marketplace_url: str) -> None:
    """A backfill writes its snapshot and says so."""
    location.database = marketplace_url
    location.execute(JOB, NEWEST)
    assert location.execute(JOB, "2026-03-01").success
    found = _metadata(location)
    assert found["current_columns_written"] is False
    assert found["rows_changed"] == 0
    assert found["snapshot_rows"] > 100


def test_an_empty_marketplace_has_no_gini(location: Location, database_url: str) -> None:
    """Without lawyers the run succeeds and shows no number where there is none."""
    location.database = database_url
    assert location.execute(JOB, NEWEST).success
    found = _metadata(location)
    assert found["lawyers_eligible"] == found["snapshot_rows"] == 0
    assert not {"gini_utilisation", "mean_utilisation"} & set(found)


@pytest.fixture
def corrupting(marketplace_url: str) -> Engine:
    """A database in which something spoils every snapshot as it is written."""
    engine = open_engine(marketplace_url, role=None)
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION litgo.spoil() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN NEW.capacidade_mensal := 31; NEW.capacity_band := '21-30'; RETURN NEW; END $$"
            )
        )
        connection.execute(text("CREATE TRIGGER spoil BEFORE INSERT ON litgo.equity_snapshots FOR EACH ROW EXECUTE FUNCTION litgo.spoil()"))
    engine.dispose()
    return engine


def test_a_corrupt_snapshot_fails_the_run(location: Location, marketplace_url: str, corrupting: Engine) -> None:
    """The check blocks: the run is red and says how many rows are wrong."""
    location.database = marketplace_url
    result = location.execute(JOB, NEWEST)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.blocking
    assert check.severity is dg.AssetCheckSeverity.ERROR
    wrong = check.metadata["capacity_out_of_range"].value
    assert isinstance(wrong, int)
    assert wrong > 100
