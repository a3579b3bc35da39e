"""What is written down of a request to a vendor, how it can end, and what a ledger of such rows must be able to do.

Where the rows are kept is known to whoever implements `CallLedger`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

Outcome = Literal[
    "ok",
    "connect",  # nothing of the request left the house: name, connection or TLS
    "timeout",
    "broken",  # the connection ended before the answer did
    "http_3xx",
    "http_408",
    "http_429",
    "http_4xx",
    "http_5xx",
    "malformed",
    "breaker_open",
    "no_time",
    "invalid",  # the request itself cannot be sent: a wrong address, an impossible header
]

NO_REQUEST: Final[frozenset[Outcome]] = frozenset({"breaker_open", "no_time", "invalid"})
"""Outcomes of which no request was made; their rows have the number 0."""

NOT_TAKEN: Final[frozenset[Outcome]] = NO_REQUEST | {"connect", "http_429"}
"""Outcomes after which the vendor has certainly done nothing."""

FAILURES: Final[frozenset[Outcome]] = frozenset({"connect", "timeout", "broken", "http_408", "http_429", "http_5xx", "malformed"})
"""Outcomes that speak against the vendor. A refusal (another 4xx) does not: it is an answer."""

REPEATABLE: Final[frozenset[Outcome]] = FAILURES - {"malformed"}


@dataclass(frozen=True)
class Attempt:
    """One request, or the lack of one. Holds no address, header, body or person's data.

    Attributes:
        operation: a fixed word of ours, small letters and underscores.
        number: of the request within its call, from 1; 0 where none was made.
        status: of the HTTP answer, if one came.
        error_class: the name of the error's class, without its message.
    """

    service: str
    operation: str
    outcome: Outcome
    number: int
    started_at: datetime
    duration_ms: float
    status: int | None = None
    error_class: str | None = None


class PastRequest(Protocol):
    """What a breaker must know of an earlier request."""

    @property
    def outcome(self) -> str: ...

    @property
    def ended_at(self) -> datetime: ...


class CallLedger(Protocol):
    """Rows of attempts, shared by all processes."""

    def record(self, attempt: Attempt) -> None:
        """Add a row."""

    def recent(self, service: str, since: datetime, most: int) -> Sequence[PastRequest]:
        """At most `most` requests to a service that started at `since` or later, the newest first; rows without a request are left out."""

    def probe(self, service: str) -> AbstractContextManager[bool]:
        """True inside for one holder a service at a time, in all processes; one that dies lets go."""
