"""The benchmarks run, whole but small. Whether targets are met is for `make bench` to say: a test does not judge by the clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from litgo_pipelines.settings import PROJECT_FOLDER

NAMES = {
    "equity_unchanged_night",
    "equity_next_day",
    "equity_lawyer_by_lawyer",
    "equity_large_unchanged_night",
    "equity_large_next_day",
    "allocation",
    "allocation_one_band",
    "allocation_all_tied",
    "dataset_live",
    "dataset_live_memory",
    "dataset_history",
    "dataset_history_memory",
    "code_location_import",
    "register_model",
    "vendor_call",
    "local_embeddings",
    "vector_search",
    "metrics_scrape",
    "metrics_first_scrape",
    "metrics_reading",
    "metrics_database_load",
}


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "litgo_pipelines_tests.bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=PROJECT_FOLDER)


def test_every_benchmark_runs_small_and_writes_its_figures(tmp_path: Path) -> None:
    """One run measures everything by name, with positive figures on both sides, and prints each name."""
    output = tmp_path / "bench.json"
    done = _bench("--small", "--output", str(output))
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["failures"] == []
    assert report["small"] is True
    results = {one["name"]: one for one in report["results"]}
    assert set(results) == NAMES
    for name, one in results.items():
        unit = "mb" if name.endswith("_memory") else "ms" if name.startswith(("allocation", "vendor", "vector")) else "s"
        ours, baseline = one[f"ours_{unit}"], one[f"baseline_{unit}"]
        assert min(ours, baseline, one["rounds"], one["baseline_rounds"]) > 0
        assert min(abs(one["ratio"] - ours / baseline), abs(one["ratio"] - baseline / ours)) < 1e-9
        assert isinstance(one["met"], bool)
        assert one["target"].startswith(("<= ", ">= "))
        assert name in done.stdout


def test_a_benchmark_that_nobody_wrote_is_refused(tmp_path: Path) -> None:
    """An unknown name ends the command with the names there are, before anything is measured or written."""
    output = tmp_path / "bench.json"
    done = _bench("--only", "weather", "--output", str(output))
    assert done.returncode == 2
    assert "equity" in done.stderr
    assert not output.exists()
