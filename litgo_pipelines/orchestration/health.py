"""What can be told about Dagster from outside: whether its storage answers, its daemon beats, and our definitions load.

Judging it is the callers' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

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


def daemon_health_here(as_of: datetime) -> DaemonHealth:
    """`daemon_health` on the instance that the environment names; whatever its storage raises is passed on."""
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        return daemon_health(instance, as_of)


def load_definitions() -> None:
    """Load the project's definitions and everything they name; whatever they raise is passed on."""
    from dagster import Definitions
    from litgo_pipelines.definitions import defs

    Definitions.validate_loadable(defs)
