"""Running a job in this process, recorded like any other run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.orchestration.launch import UnknownJob, job_names, run_job
from litgo_pipelines.orchestration.orphans import PROCESS_TAG, process_tag
from litgo_pipelines.settings import LitgoError
from litgo_pipelines_tests.orchestration.conftest import AS_OF, NEWEST
from litgo_pipelines_tests.orchestration.test_definitions import JOBS

if TYPE_CHECKING:
    from litgo_pipelines_tests.orchestration.conftest import Location


def test_the_projects_jobs_are_known_by_name() -> None:
    """As schedules and people call them."""
    assert job_names() == sorted(JOBS)


def test_a_job_that_is_not_there_is_refused_with_those_that_are(location: Location) -> None:
    """Before anything is opened."""
    with pytest.raises(UnknownJob, match=", ".join(sorted(JOBS))):
        run_job("calculate_everything", resources=location.resources())


def test_a_daily_job_takes_the_newest_complete_day(location: Location, marketplace_url: str) -> None:
    """The day that was complete at the moment asked for; the run is on the instance, tagged with its process."""
    location.database = marketplace_url
    launched = run_job("calculate_equity_metrics", as_of=AS_OF, resources=location.resources())
    assert (launched.success, launched.partition, launched.errors) == (True, NEWEST, [])
    assert launched.checks["equity_metrics:snapshot_is_complete"] is True
    assert launched.assets["equity_metrics"]["snapshot_rows"] == launched.assets["equity_metrics"]["rows_read"]
    assert launched.assets["offer_distribution"]["lawyers"] == launched.assets["equity_metrics"]["lawyers_eligible"]
    assert not {"lorenz_curve", "worst_off"} & set(launched.assets["offer_distribution"])
    run = location.instance.get_run_by_id(launched.run_id)
    assert run is not None
    assert run.status.value == "SUCCESS"
    assert run.tags["dagster/partition"] == NEWEST
    assert run.tags[PROCESS_TAG] == process_tag()[PROCESS_TAG]


def test_a_job_without_partitions_reads_the_facts_as_of_the_moment(location: Location, marketplace_url: str) -> None:
    """Reviews of later are not seen."""
    location.database = marketplace_url
    early = AS_OF - timedelta(days=20)
    launched = run_job("retrain_ranker", as_of=early, resources=location.resources())
    engine = open_engine(marketplace_url)
    with engine.connect() as connection:
        then = connection.execute(text("SELECT count(*) FROM litgo.reviews WHERE created_at <= :at"), {"at": early}).scalar_one()
        now = connection.execute(text("SELECT count(*) FROM litgo.reviews")).scalar_one()
    engine.dispose()
    assert launched.success, launched.errors
    assert launched.partition is None
    assert launched.assets["training_set"]["reviews_seen"] == then < now
    assert set(launched.assets) == {"training_set", "ranker_candidate", "candidate_evaluation", "promotion"}


def test_a_failed_run_tells_its_first_cause(location: Location, empty_database_url: str) -> None:
    """Errors name the step and what was wrong, not the machinery around it."""
    location.database = empty_database_url
    launched = run_job("retrain_ranker", as_of=AS_OF, resources=location.resources())
    assert not launched.success
    assert any(error.startswith("training_set: ") and "does not exist" in error for error in launched.errors)
    run = location.instance.get_run_by_id(launched.run_id)
    assert run is not None
    assert run.status.value == "FAILURE"


def test_before_the_first_day_there_is_nothing_to_run(location: Location) -> None:
    """A moment without a complete partition is an error of one line."""
    with pytest.raises(LitgoError, match="no partition"):
        run_job("calculate_equity_metrics", as_of=datetime(2024, 12, 1, tzinfo=UTC), resources=location.resources())
