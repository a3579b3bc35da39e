"""Child processes of the command line: they get our signals, and they end when we do."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from honcho.manager import Manager
from honcho.process import Popen, Process

_PR_SET_PDEATHSIG = 1


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
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


class _LeashedProcess(Process):  # type: ignore[misc]  # honcho is not typed
    """A program that ends when honcho's process around it ends, which in turn ends when we do."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._child_ctor = functools.partial(Popen, preexec_fn=die_with_parent)

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        # It has nothing to clean up, and it ignores everything gentler.
        die_with_parent(signal.SIGKILL)
        super().run(events, ignore_signals)


class LeashedManager(Manager):  # type: ignore[misc]  # honcho is not typed
    """honcho's manager (one stops, all are stopped, with their process groups), whose programs do not outlive it in any case."""

    def __init__(self) -> None:
        super().__init__()
        self._process_ctor = _LeashedProcess
