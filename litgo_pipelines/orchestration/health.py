"""What can be told about Dagster from outside: whether its storage answers and its daemon beats.

Judging it is the callers' business.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from litgo_pipelines.marketplace.database import driver_url
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster._daemon.types import DaemonHeartbeat


@dataclass(frozen=True)
class DaemonHealth:
    """The daemon's parts seen together.

    Attributes:
        silent_seconds: since the last heartbeat of the part that has been silent for longest; None if one of them never beat.
        errors: what the parts reported with their last heartbeat.
    """

    silent_seconds: float | None
    errors: tuple[str, ...]


def daemon_health(instance: DagsterInstance, as_of: datetime) -> DaemonHealth:
    """The health of the daemon that works on this instance, seen at `as_of` (aware)."""
    beats = heartbeats(instance)
    errors = [str(error.message).strip() for beat in beats.values() if beat is not None for error in beat.errors or ()]
    known = [beat.timestamp for beat in beats.values() if beat is not None]
    silent = as_of.timestamp() - min(known) if len(known) == len(beats) else None
    return DaemonHealth(silent, tuple(errors))


def heartbeats(instance: DagsterInstance) -> dict[str, DaemonHeartbeat | None]:
    """The last heartbeat of each part that the daemon of this instance must have; None where it never beat."""
    found = instance.get_daemon_heartbeats()
    return {kind: found.get(kind) for kind in instance.get_required_daemon_types()}


def require_storage(url: str | None = None) -> None:
    """Refuse a storage that does not let us in; Dagster itself would try for long before it says so.

    Args:
        url: of the storage; None: the one that DAGSTER_POSTGRES_URL names.

    Raises:
        LitgoError: the server is away, or lacks the database or the user.
    """
    import psycopg2

    try:
        psycopg2.connect(driver_url(url or os.environ["DAGSTER_POSTGRES_URL"]), connect_timeout=5).close()
    except psycopg2.Error as error:
        raise LitgoError(f"cannot use Dagster's storage (DAGSTER_POSTGRES_URL): {error}") from error


def daemon_health_here(as_of: datetime) -> DaemonHealth:
    """`daemon_health` on the instance that the environment names.

    Raises:
        LitgoError: its storage cannot be reached.
    """
    from dagster import DagsterInstance

    require_storage()
    with DagsterInstance.get() as instance:
        return daemon_health(instance, as_of)
