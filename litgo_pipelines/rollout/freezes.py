"""Whether people have frozen the models: then nothing moves the alias `champion` by itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from litgo_pipelines.marketplace.switches import Freeze, switch, switched_on
from litgo_pipelines.rollout import decisions

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Freeze", "freeze", "frozen", "unfreeze"]

_NAME = "models"


def frozen(connection: Connection) -> Freeze | None:
    """Who froze the models, if somebody did."""
    return switched_on(connection, _NAME)


def freeze(connection: Connection, *, actor: str, reason: str, at: datetime) -> Freeze:
    """Let nothing be promoted, rolled back, started or ramped by itself; a person still may.

    Raises:
        NotSaid: actor or reason is empty; nothing is changed.
    """
    decisions.record(connection, "freeze", actor=actor, reason=reason, at=at, result="frozen")
    return switch(connection, _NAME, True, actor, reason, at)


def unfreeze(connection: Connection, *, actor: str, reason: str, at: datetime) -> Freeze | None:
    """Let the system move models again. What was lifted; None, and nothing is changed, where nothing was frozen.

    Raises:
        NotSaid: actor or reason is empty; nothing is changed.
    """
    lifted = frozen(connection)
    if lifted is not None:
        decisions.record(connection, "unfreeze", actor=actor, reason=reason, at=at, result="lifted")
        switch(connection, _NAME, False, actor, reason, at)
    return lifted
