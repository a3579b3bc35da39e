"""Faults by name: a vendor's stand-in that fails a share of its requests in one way, until it is told otherwise.

What each vendor answers lives in the modules beside this one, how bytes go wrong in `server`.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, cast, get_args

from litgo_pipelines.settings import LitgoError
from litgo_pipelines.simulation.vendors.server import Behaviour, Cut, Hang, Received, Reply, Reset

Kind = Literal["none", "latency", "trickle", "hang", "reset", "cut", "rate-limit", "error", "malformed", "empty", "lost"]

TOLD: Final[dict[Kind, str]] = {
    "none": "answers as it should",
    "latency": "answers late, after SECONDS",
    "trickle": "answers a byte at a time, with SECONDS in between",
    "hang": "takes the request and never answers",
    "reset": "resets the connection, having done nothing",
    "cut": "does what is asked, and breaks off in the middle of its answer",
    "rate-limit": "429 with Retry-After of SECONDS",
    "error": "500, having done nothing",
    "malformed": "does what is asked, and answers with broken JSON",
    "empty": "does what is asked, and answers without saying so",
    "lost": "does what is asked, and its answer is lost",
}
CONTROL: Final = "/_stand-in/fault"
"""Where a stand-in is told, by PUT, how to fail from then on."""

_SECONDS: Final[dict[Kind, float]] = {"latency": 5.0, "trickle": 0.5, "rate-limit": 2.0}


class NoSuchFault(LitgoError, ValueError):
    """A fault that nobody knows how to make; the message names those there are."""


@dataclass(frozen=True)
class Fault:
    """How requests fail.

    Attributes:
        share: of the requests, 0..1; the others are answered as they should be.
        seconds: what is between the bytes, before the answer, or asked for as a pause, by the kind.
    """

    kind: Kind = "none"
    share: float = 1.0
    seconds: float | None = None

    @classmethod
    def parsed(cls, words: str) -> Fault:
        """KIND[:SHARE[:SECONDS]], such as `hang`, `lost:.3` or `latency:1:8`.

        Raises:
            NoSuchFault: it cannot be read; the message says how it is written.
        """
        kind, _, rest = words.partition(":")
        if kind not in get_args(Kind):
            raise NoSuchFault(f"there is no fault {kind!r}: take one of {', '.join(get_args(Kind))}")
        share, _, seconds = rest.partition(":")
        try:
            found = cls(cast(Kind, kind), float(share) if share else 1.0, float(seconds) if seconds else None)
        except ValueError:
            raise NoSuchFault(f"{words!r} cannot be read: write KIND[:SHARE[:SECONDS]], such as lost:0.3 or latency:1:8") from None
        if not 0 <= found.share <= 1 or (found.seconds is not None and not 0 <= found.seconds <= 600):
            raise NoSuchFault(f"{words!r}: a share lies in 0..1, seconds in 0..600")
        return found

    def behaviour(self, act: Callable[[], Behaviour]) -> Behaviour:
        """What becomes of a request that meets this fault; `act` does what is asked and gives the proper answer."""
        seconds = _SECONDS.get(self.kind, 0.0) if self.seconds is None else self.seconds
        match self.kind:
            case "hang":
                return Hang()
            case "reset":
                return Reset()
            case "error":
                return Reply.json({"message": "the stand-in fails as told"}, 500)
            case "rate-limit":
                return Reply(429, b"{}", {"Content-Type": "application/json", "Retry-After": f"{seconds:g}"})
        proper = act()
        return proper if not isinstance(proper, Reply) else self._spoilt(proper, seconds)

    def _spoilt(self, proper: Reply, seconds: float) -> Behaviour:
        match self.kind:
            case "latency":
                return replace(proper, latency=seconds)
            case "trickle":
                return replace(proper, trickle=seconds)
            case "cut":
                return Cut()
            case "malformed":
                return replace(proper, body=b'{"not": json')
            case "empty":
                return replace(proper, body=b"", headers={})
            case "lost":
                return Reset()
        return proper


class Troubled:
    """A stand-in's answers, spoilt as told. Which request is met is drawn, the same for the same seed.

    Args:
        answer: the vendor's own.
        watch: is told of every request whether it met the fault; nothing of a control request.
    """

    def __init__(
        self, answer: Callable[[Received], Behaviour], seed: int = 0, watch: Callable[[Received, Fault], None] | None = None
    ) -> None:
        self.fault = Fault()
        self._answer, self._watch = answer, watch
        self._random, self._lock = random.Random(seed), threading.Lock()

    def __call__(self, received: Received) -> Behaviour:
        if received.path == CONTROL:
            return self._told(received)
        with self._lock:
            met = self.fault if self._random.random() < self.fault.share else Fault()
        if self._watch is not None:
            self._watch(received, met)
        return met.behaviour(lambda: self._answer(received))

    def _told(self, received: Received) -> Reply:
        try:
            self.fault = Fault.parsed(str(received.json()["fault"]))
        except (NoSuchFault, ValueError, KeyError, TypeError) as error:
            return Reply.json({"error": str(error)}, 422)
        return Reply(200, json.dumps(asdict(self.fault)).encode(), {"Content-Type": "application/json"})
