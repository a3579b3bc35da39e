"""The history of what was decided about models: who, what, from which version to which, why, and on what evidence.

Rows are added, never changed. What moves something outside the database is written twice under one operation: as an intent
before, as an outcome after; what does not is one row, an outcome. Carrying an intent out lives in `transitions`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from uuid import UUID, uuid4

from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection

Action = Literal[
    "gate",
    "promotion",
    "rollback",
    "experiment queued",
    "experiment started",
    "experiment ramped",
    "experiment read",
    "experiment ended",
    "watch",
    "alias moved",
    "version deleted",
    "proven",
    "approval",
    "freeze",
    "unfreeze",
    "annotation",
]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

MLFLOW_UI: Final = "mlflow-ui"
"""The actor of what happened in the registry without us."""

GATE: Final = "candidate_evaluation"
PROMOTION: Final = "promotion"
READOUT: Final = "experiment_readout"
WATCH: Final = "model_quality"
RECONCILE: Final = "reconcile"
"""The actor of what follows here from what somebody did in the registry."""
SYSTEM: Final = (GATE, PROMOTION, READOUT, WATCH)
"""The actors that are no persons: assets."""

_COLUMNS = "id, operation_id, stage, action, actor, from_version, to_version, result, reason, evidence, about, dagster_run_id, decided_at"

_ADD = f"""
INSERT INTO litgo.decisions
(operation_id, stage, action, actor, from_version, to_version, result, reason, evidence, about, dagster_run_id, decided_at)
VALUES (:operation_id, :stage, :action, :actor, :from_version, :to_version, :result, :reason, CAST(:evidence AS jsonb), :about,
        :run_id, :at)
ON CONFLICT (operation_id, stage) DO NOTHING
RETURNING {_COLUMNS}
"""

_OF_OPERATION = f"SELECT {_COLUMNS} FROM litgo.decisions WHERE operation_id = :operation_id AND stage = :stage"

_ONE = f"SELECT {_COLUMNS} FROM litgo.decisions WHERE id = :id"

_UNFINISHED = f"""
SELECT {_COLUMNS} FROM litgo.decisions d
WHERE stage = 'intent' AND NOT EXISTS (SELECT FROM litgo.decisions o WHERE o.operation_id = d.operation_id AND o.stage = 'outcome')
ORDER BY id
"""

_NEWEST = f"""
SELECT {_COLUMNS} FROM litgo.decisions
WHERE (CAST(:version AS text) IS NULL OR from_version = :version OR to_version = :version) AND id > :after
ORDER BY id DESC LIMIT :most
"""

# Numbers are drawn before the commit: a row waits while a transaction as old as its own could still commit a lower number.
_AFTER = f"""
SELECT {_COLUMNS} FROM litgo.decisions
WHERE id > :after AND age(xmin) > age(xid(pg_snapshot_xmin(pg_current_snapshot()))) ORDER BY id LIMIT :most
"""

_UNEXPLAINED = f"""
SELECT {_COLUMNS} FROM litgo.decisions d
WHERE actor = '{MLFLOW_UI}' AND NOT EXISTS (SELECT FROM litgo.decisions a WHERE a.about = d.id AND a.action = 'annotation')
ORDER BY id
"""


class UnknownDecision(LitgoError):
    """There is no decision of that number."""


class NotSaid(LitgoError, ValueError):
    """A decision without a name or a reason."""


@dataclass(frozen=True)
class Decision:
    """One row of the history. `evidence` is all that the decision can be computed from again.

    Attributes:
        stage: intent (before something moves outside the database) or outcome.
        result: what became of it; None for an intent.
        about: the decision that this one speaks of, such as the one that an annotation explains.
    """

    id: int
    operation_id: UUID
    stage: Literal["intent", "outcome"]
    action: Action
    actor: str
    from_version: str | None
    to_version: str | None
    result: str | None
    reason: str
    evidence: dict[str, Any]
    about: int | None
    dagster_run_id: str | None
    decided_at: datetime

    @property
    def by(self) -> str:
        """Who took it, without a name: an asset, what follows the registry, MLflow's pages, or `person`."""
        return self.actor if self.actor in (*SYSTEM, RECONCILE, MLFLOW_UI) else "person"

    def told(self) -> str:
        """In one line, for people."""
        moved = (
            "" if self.from_version == self.to_version else f" {self.from_version or 'hand-weights'} -> {self.to_version or 'hand-weights'}"
        )
        return f"{self.action}{moved}: {self.result or 'intended'} ({self.actor}): {self.reason}"


def intend(
    connection: Connection,
    action: Action,
    *,
    actor: str,
    reason: str,
    at: datetime,
    from_version: str | None,
    to_version: str | None,
    evidence: Mapping[str, Any],
    run_id: str | None = None,
    about: int | None = None,
) -> Decision:
    """Write down what is about to be done outside the database; commit it before doing it.

    Raises:
        NotSaid: actor or reason is empty.
    """
    return _add(connection, uuid4(), "intent", action, actor, reason, at, from_version, to_version, None, evidence, run_id, about)


def conclude(
    connection: Connection,
    intent: Decision,
    result: str,
    *,
    reason: str | None = None,
    evidence: Mapping[str, Any] | None = None,
    at: datetime,
) -> Decision:
    """Write what became of an intent, once: a second call returns the row of the first.

    Args:
        reason, evidence: where they differ from the intent's.
    """
    return _add(
        connection,
        intent.operation_id,
        "outcome",
        intent.action,
        intent.actor,
        intent.reason if reason is None else reason,
        at,
        intent.from_version,
        intent.to_version,
        result,
        intent.evidence if evidence is None else evidence,
        intent.dagster_run_id,
        intent.about,
    )


def record(
    connection: Connection,
    action: Action,
    *,
    actor: str,
    reason: str,
    at: datetime,
    result: str,
    from_version: str | None = None,
    to_version: str | None = None,
    evidence: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    about: int | None = None,
) -> Decision:
    """Write a decision that moves nothing outside this transaction.

    Raises:
        NotSaid: actor or reason is empty.
    """
    return _add(connection, uuid4(), "outcome", action, actor, reason, at, from_version, to_version, result, evidence or {}, run_id, about)


def _add(
    connection: Connection,
    operation_id: UUID,
    stage: str,
    action: Action,
    actor: str,
    reason: str,
    at: datetime,
    from_version: str | None,
    to_version: str | None,
    result: str | None,
    evidence: Mapping[str, Any],
    run_id: str | None,
    about: int | None,
) -> Decision:
    from sqlalchemy import text

    if not actor.strip() or not reason.strip():
        raise NotSaid(f"a decision needs {'somebody who takes it' if not actor.strip() else 'a reason'}: say --by NAME and --reason TEXT")
    row = {
        "operation_id": operation_id,
        "stage": stage,
        "action": action,
        "actor": actor.strip(),
        "reason": reason.strip(),
        "at": at,
        "from_version": from_version,
        "to_version": to_version,
        "result": result,
        "evidence": json.dumps(dict(evidence), allow_nan=False),
        "run_id": run_id,
        "about": about,
    }
    found = connection.execute(text(_ADD), row).one_or_none()
    if found is None:
        found = connection.execute(text(_OF_OPERATION), {"operation_id": operation_id, "stage": stage}).one()
    return Decision(*found)


def find(connection: Connection, number: int) -> Decision:
    """The decision of a number.

    Raises:
        UnknownDecision: there is none.
    """
    from sqlalchemy import text

    found = connection.execute(text(_ONE), {"id": number}).one_or_none()
    if found is None:
        raise UnknownDecision(f"there is no decision {number}: `litgo model history` lists them")
    return Decision(*found)


def unfinished(connection: Connection) -> list[Decision]:
    """Intents without an outcome, oldest first: under way, or lost with their process."""
    from sqlalchemy import text

    return [Decision(*row) for row in connection.execute(text(_UNFINISHED))]


def history(connection: Connection, limit: int, *, version: str | None = None, after: int = 0) -> list[Decision]:
    """The newest decisions, at most `limit`, newest first; of one version, or later than the number `after`, if given."""
    from sqlalchemy import text

    rows = connection.execute(text(_NEWEST), {"version": version, "after": after, "most": limit})
    return [Decision(*row) for row in rows]


def earliest_after(connection: Connection, after: int, limit: int) -> list[Decision]:
    """The decisions later than the number `after`, at most `limit`, oldest first; such that none can be committed between them later."""
    from sqlalchemy import text

    return [Decision(*row) for row in connection.execute(text(_AFTER), {"after": after, "most": limit})]


def unexplained(connection: Connection) -> list[Decision]:
    """What happened in the registry without us and was not annotated yet, oldest first."""
    from sqlalchemy import text

    return [Decision(*row) for row in connection.execute(text(_UNEXPLAINED))]


def annotate(connection: Connection, number: int, *, actor: str, reason: str, at: datetime) -> Decision:
    """Explain a decision; one that happened in the registry without us is then no longer flagged.

    Raises:
        UnknownDecision: there is none of that number.
        NotSaid: actor or reason is empty.
    """
    about = find(connection, number)
    return record(
        connection,
        "annotation",
        actor=actor,
        reason=reason,
        at=at,
        result="noted",
        from_version=about.from_version,
        to_version=about.to_version,
        about=number,
    )
