"""What sensors of the rollout share: when a run was last asked for, and whether one is under way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

AGAIN = timedelta(minutes=10)
"""What is due at once is asked for again after this long, if the run did not bring it about: it failed, or it may not."""


class Asked(BaseModel):
    """A sensor's cursor: what was asked for last, when, and how many runs there were in all.

    Attributes:
        about: what the run was for, such as an experiment or a version.
        seen: how much there was to read then.
    """

    model_config = ConfigDict(frozen=True)

    about: str = ""
    reason: str = ""
    seen: int = 0
    at: datetime | None = None
    count: int = 0

    @classmethod
    def parsed(cls, cursor: str | None) -> Self:
        """The cursor as it was kept.

        Raises:
            ValueError: somebody else's.
        """
        try:
            return cls() if cursor is None else cls.model_validate_json(cursor)
        except ValidationError as error:
            raise ValueError(f"the sensor's cursor {cursor!r} is none of ours: reset it in the UI") from error

    def since(self, now: datetime) -> timedelta:
        """How long ago that was; for ever, where nothing was asked for."""
        return timedelta.max if self.at is None else now - self.at

    def again(self, about: str, reason: str, seen: int, now: datetime) -> Self:
        """The cursor after asking once more."""
        return type(self)(about=about, reason=reason, seen=seen, at=now, count=self.count + 1)


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


def asked_for(cursor: Asked, job: str, at: datetime) -> dg.SensorResult:
    """One run, with a key of its own."""
    request = dg.RunRequest(run_key=f"{job}-{at:%Y%m%dT%H%M%S}-{cursor.count}", tags={"litgo/reason": cursor.reason})
    return dg.SensorResult(run_requests=[request], cursor=cursor.model_dump_json())
