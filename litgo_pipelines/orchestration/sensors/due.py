"""What sensors share: their plan and what Dagster is told of it, when a run was last asked for, and whether one is under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, Self, TypeVar

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

AGAIN = timedelta(minutes=10)
"""What is due is asked for again after this long, if the run did not bring it about: it failed, or it may not."""
LONGEST = timedelta(days=1)
"""Each time in vain the pause doubles, up to this."""
_MOST_DOUBLINGS = 8
_SOON = timedelta(minutes=1)

C = TypeVar("C", bound=BaseModel)


def parsed(model: type[C], cursor: str | None) -> C:
    """A sensor's cursor as it was kept; a bare one where nothing was.

    Raises:
        ValueError: somebody else's.
    """
    try:
        return model() if cursor is None else model.model_validate_json(cursor)
    except ValidationError as error:
        raise ValueError(f"the sensor's cursor {cursor!r} is none of ours: reset it in the UI") from error


@dataclass(frozen=True)
class Plan(Generic[C]):
    """Whether to start a run now, the cursor to keep, and why."""

    start: bool
    cursor: C
    reason: str


class Asked(BaseModel):
    """A sensor's cursor: what was asked for last, when, and how many runs there were in all.

    Attributes:
        about: what the run was for, such as an experiment or a version.
        reason: what was due, in words that stay while it stays due.
        seen: how much there was to read then.
        repeats: how often the same had been asked for in vain before.
    """

    model_config = ConfigDict(frozen=True)

    about: str = ""
    reason: str = ""
    seen: int = 0
    at: datetime | None = None
    count: int = 0
    repeats: int = 0

    def since(self, now: datetime) -> timedelta:
        """How long ago that was; for ever, where nothing was asked for."""
        return timedelta.max if self.at is None else now - self.at

    def pause(self, about: str, reason: str, *, urgent: bool = False) -> timedelta:
        """How long after the last time the same may be asked for; none where it is not the same.

        Args:
            urgent: what nothing stands against and cannot wait: a minute at first, never more than ten.
        """
        if (self.about, self.reason) != (about, reason):
            return timedelta()
        first, longest = (_SOON, AGAIN) if urgent else (AGAIN, LONGEST)
        return min(first * (1 << min(self.repeats, _MOST_DOUBLINGS)), longest)

    def told(self, about: str, reason: str, *, urgent: bool = False) -> str:
        """Why the same is not asked for yet: how often it was, and when it will be."""
        assert self.at is not None
        often = f"{self.repeats + 1} times" if self.repeats else "once"
        at = self.at + self.pause(about, reason, urgent=urgent)
        return f"{reason}: asked for {often}, again at {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

    def fulfilled(self) -> Self:
        """The cursor where what was asked for came about: to ask for more of it is no repetition."""
        return self.model_copy(update={"reason": ""})

    def again(self, about: str, reason: str, now: datetime, seen: int = 0) -> Self:
        """The cursor after asking once more."""
        repeats = self.repeats + 1 if (self.about, self.reason) == (about, reason) else 0
        return type(self)(about=about, reason=reason, seen=seen, at=now, count=self.count + 1, repeats=repeats)


def under_way(instance: dg.DagsterInstance, job: str) -> bool:
    """Whether a run of a job has not ended yet."""
    unfinished: Sequence[dg.DagsterRunStatus] = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    return bool(instance.get_run_ids(filters=dg.RunsFilter(job_name=job, statuses=unfinished), limit=1))


def told_dagster(found: Plan[C], run_key: str, **tags: str) -> dg.SensorResult:
    """What Dagster is told of a plan: one run, whose tag `litgo/reason` says why, or why there is none."""
    cursor = found.cursor.model_dump_json()
    if not found.start:
        return dg.SensorResult(skip_reason=found.reason, cursor=cursor)
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key, tags={**tags, "litgo/reason": found.reason})], cursor=cursor)


def asked_for(found: Plan[Asked], job: str, at: datetime) -> dg.SensorResult:
    """The same, with a run key that is used once."""
    return told_dagster(found, f"{job}-{at:%Y%m%dT%H%M%S}-{found.cursor.count}")
