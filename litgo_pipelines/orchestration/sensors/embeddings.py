"""Starts `embed_texts` when vectors are missing or outdated, ever more rarely where that does not help.

To count all of them takes the longer the more cases there are: that is done rarely, and in between only what came since is looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.orchestration.jobs import EMBED_TEXTS, embed_texts
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import AGAIN, Asked, Plan, parsed, told_dagster, under_way

if TYPE_CHECKING:
    from sqlalchemy import Connection

COUNTED_FOR = timedelta(hours=1)
"""How long a count of everything holds: texts that were changed and contracts that were cancelled are found that late."""
LATE = timedelta(minutes=10)
"""How long after its moment something may be written and is found all the same without a count."""
_DUE = "vectors are due"


@dataclass(frozen=True)
class Observed:
    """One space, cases and lawyers together.

    Attributes:
        due: vectors that are missing or outdated.
        newest: when a vector was made last; None: never.
    """

    due: int
    newest: datetime | None = None

    def and_since(self, later: "Observed") -> "Observed":
        """With what came later. It may have been counted already, so the greater number holds."""
        return Observed(max(self.due, later.due), max((one for one in (self.newest, later.newest) if one is not None), default=None))


class Counted(BaseModel):
    """When everything was counted last, and what was found in each space."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    spaces: dict[str, Observed]


class Cursor(BaseModel):
    """What was asked for last in each space: one that a vendor keeps waiting must not hold up the others."""

    model_config = ConfigDict(frozen=True)

    spaces: dict[str, Asked] = {}
    counted: Counted | None = None

    def counts_again(self, spaces: Sequence[str], now: datetime) -> bool:
        """Whether the last count does not hold: it is old, is of other spaces, or a run was to bring what it had found."""
        if self.counted is None or now - self.counted.at >= COUNTED_FOR or set(spaces) != set(self.counted.spaces):
            return True
        left = any(one.due for one in self.counted.spaces.values())
        return left and any(one.at is not None and one.at >= self.counted.at for one in self.spaces.values())


def plan(cursor: Cursor, observed: Mapping[str, Observed], now: datetime) -> Plan[Cursor]:
    """Where something is due: at once, then every ten minutes; in a space where the last run brought nothing, after pauses that double."""
    asked = {space: _after(cursor.spaces.get(space, Asked()), found) for space, found in observed.items()}
    due = {space: found.due for space, found in observed.items() if found.due}
    if not due:
        return Plan(False, cursor.model_copy(update={"spaces": asked}), "every vector is there")
    ripe = [space for space in due if asked[space].since(now) >= max(AGAIN, asked[space].pause(space, _DUE))]
    told = ", ".join(f"{count:,} in {space}" for space, count in due.items())
    if not ripe:
        waits = [asked[space].told(space, _DUE) if asked[space].reason else f"{space} was asked for lately" for space in due]
        return Plan(False, cursor.model_copy(update={"spaces": asked}), f"{told}; {'; '.join(waits)}")
    # A run tries every space, ripe or not.
    asked |= {space: asked[space].again(space, _DUE, now) for space in due}
    return Plan(True, cursor.model_copy(update={"spaces": asked}), f"{told} are due")


def _after(asked: Asked, found: Observed) -> Asked:
    """The same, or as fulfilled: a vector was made since it was asked for, or nothing is left to do."""
    made = asked.at is not None and found.newest is not None and found.newest > asked.at
    return asked.fulfilled() if made or not found.due else asked


Look = Callable[[datetime | None], Mapping[str, Observed]]
"""What is due of all that came after a moment, or of everything, in each space."""


def observe(cursor: Cursor, spaces: Sequence[str], look: Look, now: datetime) -> tuple[Cursor, Mapping[str, Observed]]:
    """What is due, and the cursor with the last count: a new one where the last does not hold, else that with what came since."""
    if cursor.counted is None or cursor.counts_again(spaces, now):
        found = look(None)
        return cursor.model_copy(update={"counted": Counted(at=now, spaces=dict(found))}), found
    since = look(cursor.counted.at - LATE)
    return cursor, {space: counted.and_since(since[space]) for space, counted in cursor.counted.spaces.items()}


def _observe(project: Project, cursor: Cursor, now: datetime) -> tuple[Cursor, Mapping[str, Observed]]:
    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    with project.engine() as engine, engine.connect() as connection:
        spaces = Embedding.of(project.settings, PostgresCallLedger(engine)).spaces
        return observe(cursor, spaces, partial(_look, connection, spaces, now), now)


def _look(connection: "Connection", spaces: Sequence[str], now: datetime, since: datetime | None) -> dict[str, Observed]:
    from litgo_pipelines.casework.embedding import coverage

    found = [one for entity in ("case", "lawyer") for one in coverage(connection, spaces, entity, now, since)]
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
    cursor, now = parsed(Cursor, context.cursor), datetime.now(UTC)
    if under_way(context.instance, EMBED_TEXTS):
        return dg.SensorResult(skip_reason="texts are being embedded", cursor=context.cursor)
    found = plan(*_observe(project, cursor, now), now)
    return told_dagster(found, f"{EMBED_TEXTS}-{now:%Y%m%dT%H%M%S}-{sum(one.count for one in found.cursor.spaces.values())}")
