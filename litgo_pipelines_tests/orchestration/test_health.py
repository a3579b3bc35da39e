"""What is told about Dagster from outside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from litgo_pipelines.orchestration.health import DaemonHealth, daemon_health

if TYPE_CHECKING:
    from dagster import DagsterInstance

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _beat(instance: DagsterInstance, seconds_ago: dict[str, float], error: str | None = None) -> None:
    from dagster._daemon.types import DaemonHeartbeat
    from dagster._utils.error import SerializableErrorInfo

    for kind, ago in seconds_ago.items():
        errors = [SerializableErrorInfo(error, [], None)] if error else []
        instance.add_daemon_heartbeat(DaemonHeartbeat(NOON.timestamp() - ago, kind, "one", errors))


def test_a_daemon_that_never_ran_has_no_age(dagster_instance: DagsterInstance) -> None:
    """No heartbeat at all is something else than an old one."""
    assert daemon_health(dagster_instance, NOON) == DaemonHealth(None, ())


def test_a_daemon_is_as_silent_as_its_most_silent_part(dagster_instance: DagsterInstance) -> None:
    """One part that hangs is not hidden by the others that beat."""
    kinds = sorted(dagster_instance.get_required_daemon_types())
    _beat(dagster_instance, dict.fromkeys(kinds, 10.0) | {kinds[0]: 500.0})
    assert daemon_health(dagster_instance, NOON).silent_seconds == 500


def test_a_part_that_never_beat_counts_as_never_run(dagster_instance: DagsterInstance) -> None:
    """All parts must have been seen."""
    kinds = sorted(dagster_instance.get_required_daemon_types())
    _beat(dagster_instance, dict.fromkeys(kinds[1:], 10.0))
    assert daemon_health(dagster_instance, NOON).silent_seconds is None


def test_what_a_part_reports_is_passed_on(dagster_instance: DagsterInstance) -> None:
    """Errors that came with the last heartbeat are told."""
    _beat(dagster_instance, dict.fromkeys(dagster_instance.get_required_daemon_types(), 1.0), "no sensor\n")
    assert set(daemon_health(dagster_instance, NOON).errors) == {"no sensor"}
