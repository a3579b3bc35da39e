"""Whether a vendor is left alone for a while, as the ledger's newest rows say. Nothing is remembered here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from litgo_pipelines.integrations.attempts import FAILURES, CallLedger, PastRequest

State = Literal["closed", "open", "half-open"]

LOOK_BACK: Final = timedelta(days=1)


@dataclass(frozen=True)
class Breaker:
    """Opens after `failures` failed requests in a row; `seconds` after the last of them one request at a time may try."""

    failures: int
    seconds: float

    def state(self, past: Sequence[PastRequest], as_of: datetime) -> State:
        """Judge by the newest requests, the newest first."""
        newest = past[: self.failures]
        if len(newest) < self.failures or any(one.outcome not in FAILURES for one in newest):
            return "closed"
        closed_to_all = max(one.ended_at for one in newest) + timedelta(seconds=self.seconds)
        return "open" if as_of < closed_to_all else "half-open"


@contextmanager
def passage(breaker: Breaker, ledger: CallLedger, service: str) -> Iterator[State]:
    """Whether a request may be made, for as long as it takes: `half-open` is given to one request at a time, `open` to the others."""
    state = _state(breaker, ledger, service)
    if state != "half-open":
        yield state
        return
    with ledger.probe(service) as mine:
        # Another probe may have ended between reading and holding.
        yield _state(breaker, ledger, service) if mine else "open"


def _state(breaker: Breaker, ledger: CallLedger, service: str) -> State:
    now = datetime.now(UTC)
    return breaker.state(ledger.recent(service, now - LOOK_BACK, breaker.failures), now)
