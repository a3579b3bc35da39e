"""Importing the code location against importing Dagster alone: what every process of Dagster pays before it does anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from litgo_pipelines.settings import PROJECT_FOLDER
from litgo_pipelines_tests.bench.measure import CHILD_SECONDS, Measured, Target
from litgo_pipelines_tests.bench.scratch import Bench

ROUNDS = 7
SMALL_ROUNDS = 2


def run(bench: Bench) -> Iterator[Measured]:
    """Fresh processes in turns; the clock starts inside them, so that the interpreter's own start does not count."""
    rounds = SMALL_ROUNDS if bench.small else ROUNDS
    ours, baseline = [], []
    # Byte code is written and files are read into memory before anything counts.
    for module in ("dagster", "litgo_pipelines.definitions"):
        _seconds(module)
    for number in range(1, rounds + 1):
        bench.tell(f"imports: round {number} of {rounds}")
        baseline.append(_seconds("dagster"))
        ours.append(_seconds("litgo_pipelines.definitions"))
    yield Measured(
        "code_location_import",
        "import litgo_pipelines.definitions",
        "import dagster",
        tuple(ours),
        tuple(baseline),
        Target("ratio", 1.5),
    )


def _seconds(module: str) -> float:
    code = f"import time; started = time.perf_counter(); import {module}; print(time.perf_counter() - started)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=CHILD_SECONDS, cwd=PROJECT_FOLDER
    )
    return float(done.stdout.splitlines()[-1])
