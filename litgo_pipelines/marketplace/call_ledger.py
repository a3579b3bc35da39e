"""The ledger of requests to vendors: rows of `external_calls`, which all processes add to and judge a vendor by.

Implements the protocol `CallLedger` of `integrations`. What the rows mean is known there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from sqlalchemy import Engine

# A row that a crash of the server takes away within the last second is not worth waiting for the disk on every call.
_ADD = """
WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO litgo.external_calls (service, operation, outcome, number, started_at, duration_ms, status, error_class)
SELECT :service, :operation, :outcome, :number, :started_at, :duration_ms, CAST(:status AS smallint), :error_class FROM relaxed
"""

_RECENT = """
SELECT outcome, started_at + duration_ms * interval '1 millisecond'
FROM litgo.external_calls
WHERE service = :service AND started_at >= :since AND number > 0
ORDER BY started_at DESC, id DESC LIMIT :most
"""

_PROBE = "SELECT pg_try_advisory_xact_lock(hashtext('litgo probe'), hashtext(:service))"


class PastCall(NamedTuple):
    """How an earlier request to a vendor ended, and when."""

    outcome: str
    ended_at: datetime


class PostgresCallLedger:
    """The ledger in the marketplace's database.

    Args:
        engine: acts as the application's role; a probe holds one of its connections for as long as the request takes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._at_once = engine.execution_options(isolation_level="AUTOCOMMIT")

    def record(self, attempt: DataclassInstance) -> None:
        """Add a row; its fields are named like the columns."""
        from sqlalchemy import text

        with self._at_once.connect() as connection:
            connection.execute(text(_ADD), asdict(attempt))

    def recent(self, service: str, since: datetime, most: int) -> list[PastCall]:
        """At most `most` requests to a service that started at `since` or later, the newest first; rows without a request are left out."""
        from sqlalchemy import text

        with self._at_once.connect() as connection:
            rows = connection.execute(text(_RECENT), {"service": service, "since": since, "most": most})
            return [PastCall(*row) for row in rows]

    @contextmanager
    def probe(self, service: str) -> Iterator[bool]:
        """True inside for one holder a service at a time, in all processes. The lock goes with the transaction, and so with its process."""
        from sqlalchemy import text

        with self._engine.connect() as connection:
            yield bool(connection.execute(text(_PROBE), {"service": service}).scalar_one())
