"""Runs that a crash left behind, on a real instance."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from litgo_pipelines.orchestration.orphans import PROCESS_TAG, EndedRuns, end_orphaned_runs, end_orphaned_runs_here, process_tag
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRunStatus

SLOW = """
import time
import dagster as dg

@dg.op
def wait():
    time.sleep(60)

@dg.job(executor_def=dg.in_process_executor)
def slow():
    wait()
"""


def _run(instance: DagsterInstance, status: str, tags: dict[str, str] | None = None) -> str:
    from dagster import DagsterRunStatus
    from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
    from dagster._core.test_utils import create_run_for_test
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="litgo_pipelines.definitions"))
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "retrain_ranker")
    run = create_run_for_test(instance, "retrain_ranker", status=DagsterRunStatus[status], tags=tags, remote_job_origin=origin)
    return run.run_id


def _status(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


@pytest.mark.parametrize("status", ["STARTING", "STARTED"])
def test_a_run_that_nobody_executes_is_failed_with_a_reason(status: str, dagster_instance: DagsterInstance) -> None:
    """The run ends as failed, and its log tells a person what happened and what to do."""
    run_id = _run(dagster_instance, status)
    assert end_orphaned_runs(dagster_instance) == EndedRuns(failed=(run_id,), canceled=())
    assert _status(dagster_instance, run_id).value == "FAILURE"
    messages = [entry.dagster_event.message for entry in dagster_instance.all_logs(run_id) if entry.dagster_event]
    assert any("Run it again if it is due" in str(message) for message in messages)


def test_a_run_that_was_being_cancelled_ends_as_cancelled(dagster_instance: DagsterInstance) -> None:
    """What a person asked for is what is recorded."""
    run_id = _run(dagster_instance, "CANCELING")
    assert end_orphaned_runs(dagster_instance) == EndedRuns(failed=(), canceled=(run_id,))
    assert _status(dagster_instance, run_id).value == "CANCELED"


@pytest.mark.parametrize("status", ["QUEUED", "SUCCESS", "FAILURE"])
def test_runs_that_are_not_in_progress_are_left_alone(status: str, dagster_instance: DagsterInstance) -> None:
    """What waits in the queue still waits, what has ended stays as it ended."""
    run_id = _run(dagster_instance, status)
    assert end_orphaned_runs(dagster_instance) == EndedRuns((), ())
    assert _status(dagster_instance, run_id).value == status


def test_a_run_of_a_living_process_is_left_alone(dagster_instance: DagsterInstance) -> None:
    """A run that a process executes by itself says so by its tag, and goes on."""
    run_id = _run(dagster_instance, "STARTED", process_tag())
    assert end_orphaned_runs(dagster_instance) == EndedRuns((), ())
    assert _status(dagster_instance, run_id).value == "STARTED"


@pytest.mark.parametrize(
    "tag",
    [f"{os.getpid()}:{psutil.Process().create_time() - 3600}", f"{2**22 + 1}:1.0", "nonsense"],
    ids=["pid reused", "no such pid", "unreadable"],
)
def test_a_tag_that_names_no_living_process_protects_nothing(tag: str, dagster_instance: DagsterInstance) -> None:
    """Another process that got the same pid does not keep a dead run in progress."""
    run_id = _run(dagster_instance, "STARTED", {PROCESS_TAG: tag})
    assert end_orphaned_runs(dagster_instance).failed == (run_id,)


def test_a_run_lives_as_long_as_the_code_server_that_executes_it(dagster_instance: DagsterInstance, tmp_path: Path) -> None:
    """A run launched through a code server goes on while that one executes it; another that it was never given is failed."""
    from dagster._core.storage.tags import GRPC_INFO_TAG
    from dagster._core.test_utils import create_run_for_test
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import PythonFileTarget

    code = tmp_path / "slow.py"
    code.write_text(SLOW)
    target = PythonFileTarget(str(code), None, working_directory=str(tmp_path), location_name="slow")
    with WorkspaceProcessContext(dagster_instance, target) as context:
        workspace = context.create_request_context()
        job = next(iter(workspace.code_locations[0].get_repositories().values())).get_full_job("slow")
        run = create_run_for_test(
            dagster_instance, "slow", remote_job_origin=job.get_remote_origin(), job_code_origin=job.get_python_origin()
        )
        dagster_instance.launch_run(run.run_id, workspace)
        deadline = time.monotonic() + 30
        while _status(dagster_instance, run.run_id).value != "STARTED" and time.monotonic() < deadline:
            time.sleep(0.2)
        launched = dagster_instance.get_run_by_id(run.run_id)
        assert launched is not None
        stray = _run(dagster_instance, "STARTED", {GRPC_INFO_TAG: launched.tags[GRPC_INFO_TAG]})
        assert end_orphaned_runs(dagster_instance) == EndedRuns(failed=(stray,), canceled=())
        assert _status(dagster_instance, run.run_id).value == "STARTED"
        dagster_instance.run_launcher.terminate(run.run_id)
    left = _run(dagster_instance, "STARTED", {GRPC_INFO_TAG: launched.tags[GRPC_INFO_TAG]})
    assert left in end_orphaned_runs(dagster_instance).failed


def test_a_storage_that_is_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dagster_instance: DagsterInstance) -> None:
    """Without Dagster's storage the caller gets an error that names the variable."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://nobody@127.0.0.1:1/dagster")
    with pytest.raises(LitgoError, match="DAGSTER_POSTGRES_URL"):
        end_orphaned_runs_here()
