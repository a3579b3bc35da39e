"""What goes wrong with a vendor's requests: before it did anything, or afterwards, when only its answer is lost; by chance, or as told."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable

from litgo_pipelines.simulation.vendors.server import Behaviour, Cut, Received, Reply, Reset

BEFORE: tuple[Behaviour, ...] = (Reply(500), Reply(503), Reply(429, headers={"Retry-After": "0"}), Reset())
AFTER: tuple[Behaviour, ...] = (Reset(), Cut(), Reply(502))


class Mishaps:
    """A stand-in's answers on a bad line. What is drawn is the same for the same seed.

    Args:
        before: share of the requests that fail before the vendor acts.
        after: share of the others whose answer is lost after it acted.
    """

    def __init__(self, answer: Callable[[Received], Behaviour], seed: int = 0, before: float = 0.0, after: float = 0.0) -> None:
        self._answer, self._random = answer, random.Random(seed)
        self._before, self._after = before, after
        self._lost: deque[Behaviour] = deque()
        self._lock = threading.Lock()

    def lose(self, *behaviours: Behaviour) -> None:
        """Queue what becomes of the next answers, after the vendor has acted."""
        with self._lock:
            self._lost.extend(behaviours)

    def __call__(self, received: Received) -> Behaviour:
        with self._lock:
            before, after = self._random.random() < self._before, self._random.random() < self._after
            what = self._random.random()
            lost = self._lost.popleft() if self._lost and not before else None
        if before:
            return BEFORE[int(what * len(BEFORE))]
        answer = self._answer(received)
        if lost is not None:
            return lost
        return AFTER[int(what * len(AFTER))] if after else answer
