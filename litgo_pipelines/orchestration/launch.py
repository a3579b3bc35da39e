"""Runs one of the project's jobs in this process, on the project's Dagster instance, so that it shows in the UI like any other run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from litgo_pipelines.orchestration.orphans import process_tag
from litgo_pipelines.settings import LitgoError

_READS_AT = {"retrain_ranker": "training_set", "refit_equity_price": "equity_price", "send_weekly_digest": "weekly_digest"}
"""The asset of each unpartitioned job that is told as of when to read."""


class UnknownJob(LitgoError):
    """There is no job of that name; the message lists those there are."""


@dataclass(frozen=True)
class Launched:
    """A finished run: its id, whether it succeeded, what its assets and checks reported, what was said of a check, and its errors."""

    run_id: str
    success: bool
    partition: str | None
    assets: dict[str, dict[str, int | float | str | bool]]
    checks: dict[str, bool]
    remarks: dict[str, str]
    errors: list[str]


def job_names() -> list[str]:
    """The project's jobs."""
    from litgo_pipelines.orchestration.jobs import JOBS

    return sorted(job.name for job in JOBS)


def run_job(name: str, *, as_of: datetime | None = None, log_level: str = "INFO", resources: Mapping[str, Any] | None = None) -> Launched:
    """Execute a job and wait for it. The environment must name the databases and DAGSTER_HOME.

    Args:
        as_of: aware datetime; a partitioned job takes the newest partition complete by then, another reads the facts up to it.
        log_level: least severe Dagster event that is written to stderr; all of them are in the UI.

    Raises:
        UnknownJob: no such job.
        LitgoError: `as_of` for a job that acts on the present alone.
    """
    import dagster as dg

    from litgo_pipelines.definitions import build_definitions

    if name not in job_names():
        raise UnknownJob(f"there is no job {name!r}: choose one of {', '.join(job_names())}")
    definitions = build_definitions(resources)
    job = definitions.resolve_job_def(name)
    partition = _partition(job, as_of or datetime.now(UTC))
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": log_level}}}}
    if as_of is not None and partition is None:
        if name not in _READS_AT:
            raise LitgoError(f"{name} acts on what there is now: leave --as-of out")
        config["ops"] = {_READS_AT[name]: {"config": {"as_of": as_of.isoformat()}}}
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(
            instance=instance,
            partition_key=partition,
            run_config=config,
            tags=process_tag(),
            raise_on_error=False,
        )
        return _launched(result, partition)


def _partition(job: Any, as_of: datetime) -> str | None:
    definition = job.partitions_def
    if definition is None:
        return None
    keys = definition.get_partition_keys(current_time=as_of)
    if not keys:
        raise LitgoError(f"no partition of {job.name} is complete at {as_of.isoformat()}")
    return str(keys[-1])


def _launched(result: Any, partition: str | None) -> Launched:
    import dagster as dg

    assets: dict[str, dict[str, int | float | str | bool]] = {}
    checks: dict[str, bool] = {}
    remarks: dict[str, str] = {}
    errors = []
    for event in result.all_events:
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            found = event.step_materialization_data.materialization
            assets[found.asset_key.to_user_string()] = {
                name: value.value for name, value in found.metadata.items() if isinstance(value.value, int | float | str) and _short(value)
            }
        elif event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            name = f"{evaluation.asset_key.to_user_string()}:{evaluation.check_name}"
            checks[name] = bool(evaluation.passed)
            if evaluation.description:
                remarks[name] = evaluation.description
        elif event.event_type is dg.DagsterEventType.STEP_FAILURE:
            failure = event.step_failure_data.error
            while failure is not None and failure.cause is not None:
                failure = failure.cause
            errors.append(f"{event.step_key}: {failure.message.strip() if failure else event.message}")
    return Launched(result.run_id, result.success, partition, assets, checks, remarks, errors)


def _short(value: Any) -> bool:
    """Whether a value is a number or a word; pictures and logs are for the UI."""
    import dagster as dg

    return isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue | dg.TextMetadataValue | dg.BoolMetadataValue)
