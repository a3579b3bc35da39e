"""Runs that failed, and what is told of them. The text of an error may hold what clients wrote, so it stays in Dagster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import dagster as dg
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.orchestration.operations.messages import Links, Message, told_at

if TYPE_CHECKING:
    from dagster._core.events import JobFailureData
    from dagster_shared.error import SerializableErrorInfo

QUIET: Final = timedelta(hours=20)
"""How long no more is told of a job that failed with the same error: most sensors ask again for what a failed run left undone. A night is
longer than this from the one before, so a nightly job that fails each night is told of each time."""
LATE: Final = timedelta(minutes=5)
"""How long after its moment a run's end may be committed and is found all the same."""
FIRST_LOOK: Final = timedelta(hours=1)
"""How far the first look goes back."""
MOST: Final = 1000
"""Failed runs that one look reads; more than these within `LATE` cannot be."""
FORGOTTEN: Final = timedelta(days=30)
_MOST_CAUSES = 3
_WILL_RETRY = "dagster/will_retry"
# What only passes on an error that is its cause.
_WRAPPERS = ("DagsterExecutionStepExecutionError", "DagsterExecutionLoadInputError", "DagsterExecutionHandleOutputError", "Failure")


@dataclass(frozen=True)
class Failure:
    """A run that failed and is not tried again by Dagster.

    Attributes:
        step: that failed first; None where none did.
        error: classes of the error and its causes, or the reason of a run that failed without one.
        partition: that it was for.
    """

    run_id: str
    job: str
    step: str | None
    error: str
    ended_at: datetime
    partition: str | None = None


class Told(BaseModel):
    """When a job and error were last told of, and how many more there were since."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    more: int = 0


class Failures(BaseModel):
    """What is remembered of failed runs.

    Attributes:
        until: up to when they were read.
        seen: runs that were read and may be read again, with when they were updated.
        told: by job and error.
    """

    model_config = ConfigDict(frozen=True)

    until: datetime | None = None
    seen: Mapping[str, datetime] = {}
    told: Mapping[str, Told] = {}


def plan(told: Mapping[str, Told], failures: Sequence[Failure], links: Links, now: datetime) -> tuple[dict[str, Told], list[Message]]:
    """One message for a job and error, and no more of them for `QUIET` from the first failure; the next one says how many there were."""
    after, messages = dict(told), []
    for one in sorted(failures, key=lambda failure: (failure.ended_at, failure.run_id)):
        kind = f"{one.job} {one.error}"
        before = after.get(kind)
        if before is not None and one.ended_at < before.at + QUIET:
            after[kind] = before.model_copy(update={"more": before.more + 1})
            continue
        messages.append(_message(one, before, links))
        after[kind] = Told(at=one.ended_at)
    kept = {kind: one for kind, one in after.items() if now - one.at < (FORGOTTEN if one.more else QUIET)}
    return kept, messages


def _message(one: Failure, before: Told | None, links: Links) -> Message:
    where = f" in {one.step}" if one.step else ""
    lines = [
        f"A run of {one.job} failed at {told_at(one.ended_at)}.",
        *([f"Step: {one.step}"] if one.step else []),
        f"Error: {one.error}",
        *([f"Partition: {one.partition}"] if one.partition else []),
        f"The run, with what the error says: {links.run(one.run_id)}",
        "",
    ]
    if before is not None and before.more:
        lines.append(f"Since the last message about this, of {told_at(before.at)}, {_times(before.more)} not told of.")
    lines.append(f"Should it fail again with the same error, you are not told for {QUIET // timedelta(hours=1)} hours.")
    details = {"run_id": one.run_id, "job": one.job, "error": one.error} | ({"step": one.step} if one.step else {})
    return Message(f"run-failed:{one.run_id}", f"{one.job} failed: {one.error}{where}", "\n".join(lines), details)


def _times(count: int) -> str:
    return "another failure was" if count == 1 else f"{count:,} more failures were"


def look(state: Failures, instance: dg.DagsterInstance, links: Links, now: datetime) -> tuple[Failures, list[Message]]:
    """What is to be told of the runs that failed since the last look.

    A run counts from when it was updated last. Those that Dagster will try again are passed over, and taken up should it not.
    """
    begin = now - FIRST_LOOK if state.until is None else state.until - LATE
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=begin.astimezone(UTC)),
        limit=MOST,
        order_by="update_timestamp",
        ascending=True,
    )
    until = records[-1].update_timestamp if len(records) == MOST else now
    # Who tags a run of last year has it updated, but it is no news.
    ended = [one for one in records if one.dagster_run.tags.get(_WILL_RETRY) != "true" and _ended_at(one) > begin - QUIET]
    told, messages = plan(state.told, [_read(instance, one) for one in ended if one.dagster_run.run_id not in state.seen], links, now)
    updated = dict(state.seen) | {one.dagster_run.run_id: one.update_timestamp for one in ended}
    seen = {run_id: at for run_id, at in updated.items() if at > until - 2 * LATE}
    return Failures(until=until, seen=seen, told=told), messages


def _read(instance: dg.DagsterInstance, record: dg.RunRecord) -> Failure:
    run = record.dagster_run
    step, error = _cause(instance, run.run_id)
    return Failure(run.run_id, run.job_name, step, error, _ended_at(record), run.tags.get("dagster/partition"))


def _ended_at(record: dg.RunRecord) -> datetime:
    return record.update_timestamp if record.end_time is None else datetime.fromtimestamp(record.end_time, UTC)


def _cause(instance: dg.DagsterInstance, run_id: str) -> tuple[str | None, str]:
    """The step that failed first and the classes of its error; where none did, why the run failed as Dagster names it."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        error = event.step_failure_data.error
        return event.step_key, _classes(error) or "an error without a class"
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE):
        # Whoever fails a run from outside need not say why in a form of Dagster's.
        data: JobFailureData | None = entry.get_dagster_event().event_specific_data  # type: ignore[assignment]
        if data is None:
            return None, "it was ended from outside"
        reason = data.failure_reason.value.lower().replace("_", " ") if data.failure_reason else None
        return None, _classes(data.error) or reason or "it was ended from outside"
    return None, "nothing is recorded of why"


def _classes(error: "SerializableErrorInfo | None") -> str:
    """Names of the classes of an error and its causes, the outermost first, without what only passes them on."""
    names: list[str] = []
    while error is not None and len(names) < _MOST_CAUSES:
        if error.cls_name and not (error.cls_name in _WRAPPERS and error.cause is not None) and error.cls_name not in names:
            names.append(error.cls_name)
        error = error.cause
    return " from ".join(names)
