"""What callers see of the embedded server: how to reach it, what its status is, and the error when it cannot be used.

Starting and stopping it is the package's own; where its files lie is `places`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from litgo_pipelines.settings import LitgoError

SUPERUSER: Final = "postgres"
PORT: Final = 5432


class EmbeddedServerError(LitgoError, RuntimeError):
    """The embedded server cannot be used; the message says why and what to do next."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server: its data folder, the folder of its unix socket, and the port number that names the socket."""

    data_dir: Path
    socket_dir: Path
    port: int

    def url(self, database: str, driver: str = "psycopg") -> str:
        """The URL of `database` for SQLAlchemy with this driver; `driver=""` gives a plain `postgresql://` URL for libpq."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        host = quote(str(self.socket_dir), safe="/")
        # The port is spelt out because libpq would otherwise follow a PGPORT meant for another server.
        return f"{scheme}://{SUPERUSER}@/{quote(database, safe='')}?host={host}&port={self.port}"


@dataclass(frozen=True)
class ServerStatus:
    """What `status` saw: `version` is None before the first start; `leases` are the pids of the living users, ascending."""

    running: bool
    pid: int | None
    version: str | None
    leases: tuple[int, ...]
    log: Path
