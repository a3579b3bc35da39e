"""`litgo run`: a job here and now, recorded on the project's instance."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from litgo_pipelines.cli.run import moment
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines_tests.cli.conftest import Litgo, refused


@pytest.fixture
def services(database_url: str, dagster_url: str, mlflow_uri: str, tmp_path: Path) -> dict[str, str]:
    """Environment variables of services that are a test's own."""
    return {
        "DATABASE_URL": database_url,
        "DAGSTER_POSTGRES_URL": dagster_url,
        "MLFLOW_TRACKING_URI": mlflow_uri,
        "LITGO_HOME": str(tmp_path / "home"),
    }


def test_a_job_runs_and_tells_what_it_did(litgo: Litgo, services: dict[str, str], database_url: str) -> None:
    """As JSON: run, partition, metadata and checks; the run is in Dagster's storage, and the figures in the database."""
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO litgo.lawyers (id, name, primary_area, created_at) VALUES (gen_random_uuid(), 'L', 'civil', '2026-01-01')"
        )
    done = litgo("run", "calculate_equity_metrics", "--as-of", "2026-03-10T12:00:00-03:00", "--json", **services)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["job"], told["status"], told["partition"], told["errors"]) == ("calculate_equity_metrics", "SUCCESS", "2026-03-09", [])
    assert told["assets"]["equity_metrics"]["snapshot_rows"] == 1
    assert told["checks"] == {
        "equity_metrics:snapshot_is_complete": True,
        **dict.fromkeys((f"offer_distribution:{one}" for one in ("gini_within_limit", "most_lawyers_offered")), False),
        **dict.fromkeys((f"offer_distribution:{one}_gap_within_limit" for one in ("area", "capacity", "newcomer")), False),
    }
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT as_of FROM litgo.equity_snapshots").scalar_one() == datetime(2026, 3, 10, 5, tzinfo=UTC)
    engine.dispose()
    storage = open_engine(services["DAGSTER_POSTGRES_URL"], role=None)
    with storage.connect() as connection:
        assert connection.exec_driver_sql("SELECT run_id, status FROM runs").one() == (told["run_id"], "SUCCESS")
    storage.dispose()


def test_a_job_that_fails_ends_with_one_and_says_why(litgo: Litgo, services: dict[str, str], database_url: str) -> None:
    """The error is the step's own; what was computed before is shown all the same."""
    engine = open_engine(database_url, role=None)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE litgo.trainings")
    engine.dispose()
    done = litgo("run", "retrain_ranker", **services)
    assert done.returncode == 1
    told = " ".join(done.stdout.split())
    assert "retrain_ranker failed" in told
    assert "insufficient" in told
    assert "promotion:" in told
    assert "trainings" in told


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("calculate_everything",), "choose one of calculate_equity_metrics, deliver_notifications, embed_texts, "),
        (("retrain_ranker", "--as-of", "2999-01-01"), "lies in the future"),
    ],
)
def test_what_cannot_be_run_is_one_line(arguments: tuple[str, ...], reason: str, litgo: Litgo) -> None:
    """Before any database is looked for."""
    assert reason in refused(litgo("run", *arguments, DATABASE_URL="postgresql://nobody@127.0.0.1:1/x"))


@pytest.mark.parametrize(
    ("job", "asset", "told"),
    [
        ("read_experiment", "experiment_readout", {"done": "nothing runs and nothing waits"}),
        ("watch_champion", "model_quality", {"done": "nothing is watched: no version is champion", "verdict": "insufficient data"}),
    ],
)
def test_the_watch_runs_by_hand_on_the_present_alone(
    job: str, asset: str, told: dict[str, str], litgo: Litgo, services: dict[str, str]
) -> None:
    """As of another time it is refused: it would act now on what was then."""
    done = litgo("run", job, "--json", **services)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["assets"] == {asset: told}
    assert "leave --as-of out" in refused(litgo("run", job, "--as-of", "2026-01-01", **services))


def test_a_database_without_its_schema_isrefused(litgo: Litgo, services: dict[str, str], empty_database_url: str) -> None:
    """With the command that mends it."""
    assert "litgo db upgrade" in refused(litgo("run", "retrain_ranker", **(services | {"DATABASE_URL": empty_database_url})))


def test_a_time_is_taken_as_utc_unless_it_says_otherwise() -> None:
    """ISO 8601 in, aware UTC out; anything else is a mistake on the command line."""
    assert moment("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert moment("2026-01-31T02:00:00-03:00") == datetime(2026, 1, 31, 5, tzinfo=UTC)
    assert moment("2026-01-31T02:00:00-03:00").utcoffset() == timedelta(0)
    with pytest.raises(typer.BadParameter, match="is no time"):
        moment("yesterday")
