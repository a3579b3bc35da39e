"""Starts `embed_texts` when vectors are missing or outdated, ever more rarely where that does not help."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from litgo_pipelines.orchestration.jobs import EMBED_TEXTS, embed_texts
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import AGAIN, Asked, under_way

_DUE = "vectors are due"


class Cursor(BaseModel):
    """What was asked for last in each space: one that a vendor keeps waiting must not hold up the others."""

    model_config = ConfigDict(frozen=True)

    spaces: dict[str, Asked] = {}

    @classmethod
    def parsed(cls, cursor: str | None) -> "Cursor":
        """The cursor as it was kept.

        Raises:
            ValueError: somebody else's.
        """
        try:
            return cls() if cursor is None else cls.model_validate_json(cursor)
        except ValidationError as error:
            raise ValueError(f"the sensor's cursor {cursor!r} is none of ours: reset it in the UI") from error


@dataclass(frozen=True)
class Observed:
    """One space, cases and lawyers together.

    Attributes:
        due: vectors that are missing or outdated.
        newest: when a vector was made last; None: never.
    """

    due: int
    newest: datetime | None = None


@dataclass(frozen=True)
class Plan:
    """Whether to start a run, the cursor to keep, and why."""

    start: bool
    cursor: Cursor
    reason: str


def plan(cursor: Cursor, observed: Mapping[str, Observed], now: datetime) -> Plan:
    """Where something is due: at once, then every ten minutes; in a space where the last run brought nothing, after pauses that double."""
    asked = {space: _after(cursor.spaces.get(space, Asked()), found) for space, found in observed.items()}
    due = {space: found.due for space, found in observed.items() if found.due}
    if not due:
        return Plan(False, Cursor(spaces=asked), "every vector is there")
    ripe = [space for space in due if asked[space].since(now) >= max(AGAIN, asked[space].pause(space, _DUE))]
    told = ", ".join(f"{count:,} in {space}" for space, count in due.items())
    if not ripe:
        waits = [asked[space].told(space, _DUE) if asked[space].reason else f"{space} was asked for lately" for space in due]
        return Plan(False, Cursor(spaces=asked), f"{told}; {'; '.join(waits)}")
    # A run tries every space, ripe or not.
    asked |= {space: asked[space].again(space, _DUE, now) for space in due}
    return Plan(True, Cursor(spaces=asked), f"{told} are due")


def _after(asked: Asked, found: Observed) -> Asked:
    """The same, or as fulfilled: a vector was made since it was asked for, or nothing is left to do."""
    made = asked.at is not None and found.newest is not None and found.newest > asked.at
    return asked.fulfilled() if made or not found.due else asked


def _observe(project: Project, now: datetime) -> dict[str, Observed]:
    from litgo_pipelines.casework.embedding import Embedding, coverage
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    with project.engine() as engine, engine.connect() as connection:
        spaces = Embedding.of(project.settings, PostgresCallLedger(engine)).spaces
        found = [one for entity in ("case", "lawyer") for one in coverage(connection, spaces, entity, now)]
    return {
        space: Observed(
            sum(one.outdated + one.missing for one in found if one.space == space),
            max((one.newest for one in found if one.space == space and one.newest is not None), default=None),
        )
        for space in spaces
    }


@dg.sensor(job=embed_texts, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def texts_to_embed(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Looks for cases and lawyers whose vectors are missing, or were made of something that changed since."""
    cursor, now = Cursor.parsed(context.cursor), datetime.now(UTC)
    if under_way(context.instance, EMBED_TEXTS):
        return dg.SensorResult(skip_reason="texts are being embedded", cursor=context.cursor)
    found = plan(cursor, _observe(project, now), now)
    if not found.start:
        return dg.SensorResult(skip_reason=found.reason, cursor=found.cursor.model_dump_json())
    run_key = f"{EMBED_TEXTS}-{now:%Y%m%dT%H%M%S}-{sum(one.count for one in found.cursor.spaces.values())}"
    request = dg.RunRequest(run_key=run_key, tags={"litgo/reason": found.reason})
    return dg.SensorResult(run_requests=[request], cursor=found.cursor.model_dump_json())
