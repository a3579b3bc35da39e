"""What people have frozen: one row a switch, with who turned it, why and since when. What a freeze holds is known to whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ON = 'SELECT actor, reason, changed_at FROM litgo.switches WHERE name = :name AND "on"'

_ALL = 'SELECT name, "on" FROM litgo.switches ORDER BY name'

_SET = """
INSERT INTO litgo.switches (name, "on", actor, reason, changed_at) VALUES (:name, :on, :actor, :reason, :at)
ON CONFLICT (name) DO UPDATE
SET "on" = EXCLUDED."on", actor = EXCLUDED.actor, reason = EXCLUDED.reason, changed_at = EXCLUDED.changed_at
"""


@dataclass(frozen=True)
class Freeze:
    """Who froze something, why and since when."""

    actor: str
    reason: str
    changed_at: datetime


def switched_on(connection: Connection, name: str) -> Freeze | None:
    """Who turned a switch on; None where it is off, or was never turned."""
    from sqlalchemy import text

    found = connection.execute(text(_ON), {"name": name}).one_or_none()
    return None if found is None else Freeze(*found)


def switches(connection: Connection) -> dict[str, bool]:
    """Every switch that was ever turned, and whether it is on."""
    from sqlalchemy import text

    return {row.name: row.on for row in connection.execute(text(_ALL))}


def switch(connection: Connection, name: str, on: bool, actor: str, reason: str, at: datetime) -> Freeze:
    """Turn a switch; turned on again, it is for the newer reason."""
    from sqlalchemy import text

    now = Freeze(actor.strip(), reason.strip(), at)
    connection.execute(text(_SET), {"name": name, "on": on, "actor": now.actor, "reason": now.reason, "at": at})
    return now
