"""A thread that does one thing again and again until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Periodic:
    """Calls `work` at once and then `seconds` after each call's end, in a daemon thread.

    `work` handles its own errors: one that escapes is a defect, shows its traceback and ends the thread.
    """

    def __init__(self, name: str, work: Callable[[], None], seconds: float) -> None:
        self._work, self._seconds = work, seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """Ask the thread to end and wait for it, but no longer than `patience` seconds: a call in a vendor's library may hang."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(patience)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._work()
            self._stopping.wait(self._seconds)
