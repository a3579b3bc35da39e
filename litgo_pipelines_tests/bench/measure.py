"""How a benchmark measures and what it hands back: interleaved rounds, targets, fresh processes. No benchmark lives here."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from litgo_pipelines.settings import PROJECT_FOLDER

CHILD_SECONDS = 300
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Target:
    """A bound on the ratio of a measurement, or on our own figure."""

    of: Literal["ratio", "ours"]
    bound: float
    least: bool = False

    def met(self, ours: float, ratio: float) -> bool:
        """Whether the figure that counts keeps the bound."""
        figure = ratio if self.of == "ratio" else ours
        return figure >= self.bound if self.least else figure <= self.bound

    def shown(self, unit: str) -> str:
        """The bound as a reader writes it."""
        return f"{'>=' if self.least else '<='} {self.bound:g}{'x' if self.of == 'ratio' else ' ' + unit}"


@dataclass(frozen=True)
class Measured:
    """Two sides that were measured in turns.

    Attributes:
        name: of the measurement, unique in a run.
        what: what our side did.
        against: what the other side did.
        ours, baseline: one figure a round, in `unit`; the least of each side counts, because noise only ever adds.
        target: what is wanted.
        faster: the ratio is baseline over ours (how many times faster we are), instead of ours over baseline.
        unit: `s` or `MB`.
        note: what a reader must know to judge the figures.
    """

    name: str
    what: str
    against: str
    ours: tuple[float, ...]
    baseline: tuple[float, ...]
    target: Target
    faster: bool = False
    unit: Literal["s", "ms", "MB"] = "s"
    note: str = ""

    @property
    def ratio(self) -> float:
        """Of the least figures."""
        return self._ratio(min(self.ours), min(self.baseline))

    @property
    def ratio_of_medians(self) -> float:
        """The same of the middle ones: far from `ratio` on a machine that was busy."""
        return self._ratio(statistics.median(self.ours), statistics.median(self.baseline))

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.target.met(min(self.ours), self.ratio)

    def _ratio(self, ours: float, baseline: float) -> float:
        return baseline / ours if self.faster else ours / baseline

    def to_json(self) -> dict[str, Any]:
        """Flat, with the unit in the names of the figures, as in `ours_s`."""
        unit = self.unit.lower()
        return {
            "name": self.name,
            "what": self.what,
            "against": self.against,
            f"ours_{unit}": min(self.ours),
            f"baseline_{unit}": min(self.baseline),
            "ratio": self.ratio,
            "target": self.target.shown(self.unit),
            "met": self.met,
            f"ours_median_{unit}": statistics.median(self.ours),
            f"baseline_median_{unit}": statistics.median(self.baseline),
            "ratio_of_medians": self.ratio_of_medians,
            "rounds": len(self.ours),
            "baseline_rounds": len(self.baseline),
            "note": self.note,
        }


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_child(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a module of this package in a fresh process; what it printed last, as JSON.

    Raises:
        RuntimeError: it failed; the message ends with what it wrote to stderr.
    """
    command = [sys.executable, "-m", f"litgo_pipelines_tests.bench.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_SECONDS, cwd=PROJECT_FOLDER)
    if done.returncode:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def resident_mb() -> float:
    """Memory that this process holds now."""
    import psutil

    return float(psutil.Process().memory_info().rss) / _MEGABYTE


def peak_mb() -> float:
    """The most memory that this process ever held."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux lets a child inherit its parent's ru_maxrss; VmHWM is its own.
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MEGABYTE if sys.platform == "darwin" else peak / 1024
