"""What is known of each version of the ranker: unproven, proven or blocked, and since when it is watched.

A version without a row is unproven. Who moves the alias lives in `transitions`, what the watch says in `watch`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sqlalchemy import Connection

Proof = Literal["unproven", "proven", "blocked"]

_ALL = "SELECT version, state, reason, changed_at, cooldown_until, watched_since, reference FROM litgo.model_states"

_SET = """
INSERT INTO litgo.model_states AS known (version, state, reason, changed_at, cooldown_until)
VALUES (:version, :state, :reason, :at, :cooldown_until)
ON CONFLICT (version) DO UPDATE
SET state = EXCLUDED.state, reason = EXCLUDED.reason, changed_at = EXCLUDED.changed_at,
    cooldown_until = GREATEST(EXCLUDED.cooldown_until, known.cooldown_until)
WHERE known.state = ANY(:over)
"""

_STOP_WATCH = "UPDATE litgo.model_states SET watched_since = NULL WHERE watched_since IS NOT NULL AND version IS DISTINCT FROM :version"

_START_WATCH = """
INSERT INTO litgo.model_states AS known (version, state, reason, changed_at, watched_since)
VALUES (:version, 'unproven', 'nothing is known of it', :at, :at)
ON CONFLICT (version) DO UPDATE SET watched_since = EXCLUDED.watched_since WHERE known.watched_since IS NULL
"""

_REFERENCE = "UPDATE litgo.model_states SET reference = CAST(:reference AS jsonb) WHERE version = :version AND watched_since IS NOT NULL"

_COOLDOWN = "SELECT max(cooldown_until) FROM litgo.model_states"


@dataclass(frozen=True)
class State:
    """What is known of a version.

    Attributes:
        reason: why it is in this state.
        cooldown_until: where it was rolled back: until when nothing is promoted by itself.
        watched_since: since when it is watched as the champion; None for all others.
        reference: what its match scores are compared with, kept from one watch to the next; None until there were enough.
    """

    version: str
    state: Proof
    reason: str
    changed_at: datetime
    cooldown_until: datetime | None
    watched_since: datetime | None
    reference: dict[str, Any] | None

    @property
    def was_blocked(self) -> bool:
        """Whether it is blocked or was at any time: who is blocked gets a cool-down, which stays with it."""
        return self.state == "blocked" or self.cooldown_until is not None


def states(connection: Connection) -> dict[str, State]:
    """What is known, by version."""
    from sqlalchemy import text

    return {row.version: State(*row) for row in connection.execute(text(_ALL))}


def proof_of(connection: Connection, version: str) -> Proof:
    """Whether a version is proven or blocked; unproven where nothing is known of it."""
    found = states(connection).get(version)
    return "unproven" if found is None else found.state


def block(connection: Connection, version: str, reason: str, at: datetime, cooldown_until: datetime) -> None:
    """Never go back to this version by itself, and promote nothing by itself until `cooldown_until`."""
    _set(connection, version, "blocked", reason, at, ["unproven", "proven", "blocked"], cooldown_until)


def mark_proven(connection: Connection, version: str, reason: str, at: datetime) -> bool:
    """Let a version be one to go back to; whether it was not proven before. A blocked one stays blocked."""
    return _set(connection, version, "proven", reason, at, ["unproven"])


def override(connection: Connection, version: str, reason: str, at: datetime) -> bool:
    """A person lets a blocked version answer: it is unproven again; whether it was blocked. The cool-down goes on."""
    return proof_of(connection, version) == "blocked" and _set(connection, version, "unproven", reason, at, ["blocked"])


def _set(
    connection: Connection, version: str, state: Proof, reason: str, at: datetime, over: list[Proof], cooldown_until: datetime | None = None
) -> bool:
    from sqlalchemy import text

    row = {"version": version, "state": state, "reason": reason, "at": at, "over": over, "cooldown_until": cooldown_until}
    return connection.execute(text(_SET), row).rowcount == 1


def start_watch(connection: Connection, version: str | None, at: datetime) -> None:
    """Watch a version from `at` on and no other; None: the hand weights, which are not watched.

    One that is being watched goes on as it does. A reference that the version had stays: who comes back is compared with what it was
    when it came first, and not with what it was withdrawn for.
    """
    from sqlalchemy import text

    connection.execute(text(_STOP_WATCH), {"version": version})
    if version is not None:
        connection.execute(text(_START_WATCH), {"version": version, "at": at})


def set_reference(connection: Connection, version: str, reference: Mapping[str, Any]) -> bool:
    """Note what the match scores of a watched version are compared with; False, and nothing is noted, where it is not watched."""
    from sqlalchemy import text

    row = {"version": version, "reference": json.dumps(dict(reference), allow_nan=False)}
    return connection.execute(text(_REFERENCE), row).rowcount == 1


def cooldown_until(connection: Connection) -> datetime | None:
    """Until when nothing is promoted by itself; it may have passed. None where nothing was ever rolled back."""
    from sqlalchemy import text

    found: datetime | None = connection.execute(text(_COOLDOWN)).scalar_one()
    return found
