"""One round of `dataset` in a process of its own: `postgresql URL` or `parquet FILE`; prints seconds, MB and rows as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from litgo_pipelines_tests.bench.dataset import AS_OF
from litgo_pipelines_tests.bench.measure import peak_mb, resident_mb

LABELS = {"lost": 0, "declined": 1, "accepted": 2, "won": 3}


def main(source: str, place: str) -> None:
    """Load the libraries, then read and construct."""
    import pyarrow.parquet as pq

    from litgo_pipelines.marketplace.match_log import read_matches
    from litgo_pipelines.ranking import training, training_set

    readers: dict[str, Callable[[], Any]] = {
        "postgresql": lambda: read_matches(place, AS_OF),
        "parquet": lambda: pq.read_table(place),
    }
    for library in ("adbc_driver_postgresql.dbapi", "lightgbm", "pyarrow.compute"):
        importlib.import_module(library)
    before = resident_mb()
    started = time.perf_counter()
    rows = training_set.from_matches(readers[source](), LABELS)
    made = training.dataset(rows, training.parameters(rows.rows, seed=0, threads=2)).construct()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "megabytes": max(peak_mb() - before, 0.1), "rows": made.num_data()}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
