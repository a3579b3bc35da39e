"""Runs that a crash left behind: nobody executes them, yet Dagster still counts them as in progress.

Run monitoring only notices them when their maximum runtime has passed, and until then they hold their places in the queue. What
waits in the queue is none of this module's business: the daemon takes it from there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from litgo_pipelines.orchestration.health import require_storage

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

PROCESS_TAG = "litgo/process"
_ANSWER_SECONDS = 5
_MESSAGE = "The process that executed this run is gone (a crash, a power loss, a kill): nothing of it continues. Run it again if it is due."


def process_tag() -> dict[str, str]:
    """The run tag with which a run that this very process executes says so; see `end_orphaned_runs`."""
    return {PROCESS_TAG: f"{os.getpid()}:{psutil.Process().create_time()}"}


@dataclass(frozen=True)
class EndedRuns:
    """Run ids that were ended: `failed` had begun or was about to, `canceled` was being cancelled when its process went."""

    failed: tuple[str, ...]
    canceled: tuple[str, ...]


def end_orphaned_runs_here() -> EndedRuns:
    """`end_orphaned_runs` on the instance that the environment names.

    Raises:
        LitgoError: its storage cannot be reached.
    """
    from dagster import DagsterInstance

    require_storage()
    with DagsterInstance.get() as instance:
        return end_orphaned_runs(instance)


def end_orphaned_runs(instance: DagsterInstance) -> EndedRuns:
    """Fail the runs in progress that no living process executes; those being cancelled end as cancelled.

    A run is alive if its tag `litgo/process` names a living process of this host, or if the code server that it was handed to
    answers that it is executing it. Call it before the daemon starts, from the host that executes the runs.
    """
    from dagster import DagsterRunStatus, RunsFilter

    failed, canceled = [], []
    in_progress = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    for run in instance.get_runs(RunsFilter(statuses=in_progress)):
        if _is_executed(run):
            continue
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, _MESSAGE)
            canceled.append(run.run_id)
        else:
            instance.report_run_failed(run, _MESSAGE)
            failed.append(run.run_id)
    return EndedRuns(tuple(failed), tuple(canceled))


def _is_executed(run: DagsterRun) -> bool:
    tag = run.tags.get(PROCESS_TAG)
    return _process_lives(tag) if tag is not None else _code_server_executes(run)


def _process_lives(tag: str) -> bool:
    pid, _, created = tag.partition(":")
    try:
        process = psutil.Process(int(pid))
        # A step of the wall clock moves the creation time of a living process, by far less than pids take to come round.
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - float(created)) < 60
    except (psutil.NoSuchProcess, ValueError):
        return False


def _code_server_executes(run: DagsterRun) -> bool:
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._core.storage.tags import GRPC_INFO_TAG
    from dagster._grpc.client import DagsterGrpcClient
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
    from dagster._serdes import deserialize_value

    info = run.tags.get(GRPC_INFO_TAG)
    if info is None:
        return False
    server = json.loads(info)
    client = DagsterGrpcClient(
        port=server.get("port"), socket=server.get("socket"), host=server.get("host"), use_ssl=bool(server.get("use_ssl", False))
    )
    try:
        answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=_ANSWER_SECONDS)
    except DagsterUserCodeUnreachableError:
        return False
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel
