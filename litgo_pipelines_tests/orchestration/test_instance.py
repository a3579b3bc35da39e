"""The project's `dagster.yaml`, read by a real instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from litgo_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from dagster import DagsterInstance


def test_the_instance_keeps_everything_in_postgresql(dagster_instance: DagsterInstance) -> None:
    """Runs, events and schedules all go to the database that DAGSTER_POSTGRES_URL names."""
    from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

    assert isinstance(dagster_instance.run_storage, PostgresRunStorage)
    assert isinstance(dagster_instance.event_log_storage, PostgresEventLogStorage)
    assert isinstance(dagster_instance.schedule_storage, PostgresScheduleStorage)


def test_runs_are_watched_and_never_resumed_half_way(dagster_instance: DagsterInstance) -> None:
    """A run that does not start, does not end or was lost is failed by run monitoring, and nothing takes it up again."""
    assert dagster_instance.run_monitoring_enabled
    assert 0 < dagster_instance.run_monitoring_start_timeout_seconds <= 300
    assert dagster_instance.run_monitoring_max_runtime_seconds > 0
    assert dagster_instance.run_monitoring_max_resume_run_attempts == 0
    assert not dagster_instance.run_retries_enabled


def test_the_queue_waits_for_the_code_server_and_keeps_exclusive_runs_apart(dagster_instance: DagsterInstance) -> None:
    """A run queued while code loads is tried again, and two runs with the same `litgo/exclusive` never run at once."""
    queue = dagster_instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_user_code_failure_retries == 3
    assert {"key": "litgo/exclusive", "value": {"applyLimitPerUniqueValue": True}, "limit": 1} in queue.tag_concurrency_limits


def test_nothing_is_sent_home_and_ticks_are_purged(dagster_instance: DagsterInstance) -> None:
    """Telemetry is off, freshness is on, and the ticks of schedules and sensors do not grow for ever."""
    from dagster._core.definitions.run_request import InstigatorType

    assert not dagster_instance.telemetry_enabled
    assert dagster_instance.freshness_enabled
    for kind in (InstigatorType.SCHEDULE, InstigatorType.SENSOR, InstigatorType.AUTO_MATERIALIZE):
        assert all(days > 0 for days in dagster_instance.get_tick_retention_settings(kind).values())


def test_the_workspace_is_the_projects_definitions() -> None:
    """The web server and the daemon load the one stable import."""
    assert yaml.safe_load((PROJECT_FOLDER / "workspace.yaml").read_text()) == {
        "load_from": [{"python_module": "litgo_pipelines.definitions"}]
    }
