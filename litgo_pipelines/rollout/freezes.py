"""Whether people have frozen the models: then nothing moves the alias `champion` by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from litgo_pipelines.rollout import decisions

if TYPE_CHECKING:
    from sqlalchemy import Connection

_NAME = "models"

_READ = 'SELECT actor, reason, changed_at FROM litgo.switches WHERE name = :name AND "on"'

_SET = """
INSERT INTO litgo.switches (name, "on", actor, reason, changed_at) VALUES (:name, :on, :actor, :reason, :at)
ON CONFLICT (name) DO UPDATE
SET "on" = EXCLUDED."on", actor = EXCLUDED.actor, reason = EXCLUDED.reason, changed_at = EXCLUDED.changed_at
"""


@dataclass(frozen=True)
class Freeze:
    """Who froze the models, why and since when."""

    actor: str
    reason: str
    changed_at: datetime


def frozen(connection: Connection) -> Freeze | None:
    """Who froze the models, if somebody did."""
    from sqlalchemy import text

    found = connection.execute(text(_READ), {"name": _NAME}).one_or_none()
    return None if found is None else Freeze(*found)


def freeze(connection: Connection, *, actor: str, reason: str, at: datetime) -> Freeze:
    """Let nothing be promoted, rolled back, started or ramped by itself; a person still may.

    Raises:
        NotSaid: actor or reason is empty; nothing is changed.
    """
    return _switch(connection, "freeze", True, actor, reason, at)


def unfreeze(connection: Connection, *, actor: str, reason: str, at: datetime) -> Freeze | None:
    """Let the system move models again. What was lifted; None, and nothing is changed, where nothing was frozen.

    Raises:
        NotSaid: actor or reason is empty; nothing is changed.
    """
    lifted = frozen(connection)
    if lifted is not None:
        _switch(connection, "unfreeze", False, actor, reason, at)
    return lifted


def _switch(connection: Connection, action: decisions.Action, on: bool, actor: str, reason: str, at: datetime) -> Freeze:
    from sqlalchemy import text

    decisions.record(connection, action, actor=actor, reason=reason, at=at, result="frozen" if on else "lifted")
    now = Freeze(actor.strip(), reason.strip(), at)
    connection.execute(text(_SET), {"name": _NAME, "on": on, "actor": now.actor, "reason": now.reason, "at": at})
    return now
