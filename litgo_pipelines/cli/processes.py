"""Child processes of the command line: they get our signals, and they end when we do."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from honcho.manager import KILL_WAIT, Manager
from honcho.process import Popen, Process

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY = 0.25
"""Seconds between two looks at whether something happened that no blocking call tells of."""


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send this process the signal when its parent dies, however that happens; on Linux only, elsewhere nothing.

    The setting survives an exec, so it can be made between fork and exec.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def run_child(command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> int:
    """Run a program to its end with these variables added, pass on what we are told to stop with, and return its exit code."""
    child = subprocess.Popen(command, env={**os.environ, **environment}, cwd=folder, preexec_fn=die_with_parent)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        # On a terminal Ctrl-C reaches the child as well; twice would cut its clean-up short.
        if number != signal.SIGINT or not sys.stdin.isatty():
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        code = _wait(child)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _wait(child: subprocess.Popen[bytes]) -> int:
    """The exit code of a child, with a look at our own signals now and then: one that comes just before a long wait is not seen in it."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(_LOOK_EVERY)


class _LeashedProcess(Process):  # type: ignore[misc]  # honcho is not typed
    """A program around which honcho keeps a process of its own; when `litgo` is killed, that one ends the whole process group."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._child_ctor = functools.partial(Popen, preexec_fn=die_with_parent)
        self._manager = os.getpid()

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        # A signal handler would not do: the main thread sits in a read, and one that comes just before it is answered only after it.
        threading.Thread(target=self._end_without_manager, daemon=True).start()
        super().run(events, ignore_signals)

    def _end_without_manager(self) -> None:
        while os.getppid() == self._manager:
            time.sleep(_LOOK_EVERY)
        self._signal_group(signal.SIGTERM)
        time.sleep(KILL_WAIT)
        self._signal_group(signal.SIGKILL)
        # Nobody reads the lines that honcho would still deliver before it lets this process end.
        os._exit(1)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)


class LeashedManager(Manager):  # type: ignore[misc]  # honcho is not typed
    """honcho's manager (one stops, all are stopped, with their process groups), whose programs do not outlive it in any case."""

    def __init__(self) -> None:
        super().__init__()
        self._process_ctor = _LeashedProcess

    def loop(self) -> None:
        try:
            super().loop()
        finally:
            # All have ended: nobody is left to be killed, but for this process, which has no handler any more while it exits.
            signal.alarm(0)

    def terminate(self) -> None:
        if not self._terminating:
            # honcho itself counts the seconds from the moment when the first program has ended: if all are deaf, never.
            signal.signal(signal.SIGALRM, lambda _number, _frame: self.kill())
            signal.alarm(KILL_WAIT)
        super().terminate()
