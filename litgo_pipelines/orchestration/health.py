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
    heartbeats = instance.get_daemon_heartbeats()
    required = instance.get_required_daemon_types()
    beats = [heartbeats[kind].timestamp for kind in required if kind in heartbeats]
    errors = [str(error.message).strip() for kind in required if kind in heartbeats for error in heartbeats[kind].errors or ()]
    silent = as_of.timestamp() - min(beats) if len(beats) == len(required) else None
    return DaemonHealth(silent, tuple(errors))


def require_storage() -> None:
    """Refuse a storage that does not let us in; Dagster itself would try for long before it says so.

    Raises:
        LitgoError: the server that DAGSTER_POSTGRES_URL names is away, or lacks the database or the user.
    """
    import psycopg2

    try:
        psycopg2.connect(driver_url(os.environ["DAGSTER_POSTGRES_URL"]), connect_timeout=5).close()
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
