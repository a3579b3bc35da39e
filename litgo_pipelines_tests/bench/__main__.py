"""`python -m litgo_pipelines_tests.bench`: measures our work against its baselines, side by side, and writes the ratios down.

Each benchmark is a module beside this one with a function `run`; what they share is in `measure` and `scratch`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litgo_pipelines_tests.bench.measure import Measured

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from litgo_pipelines_tests.bench.scratch import Bench

BENCHMARKS = ("equity", "equity_large", "allocation", "dataset", "imports", "registration", "calls", "embeddings", "vectors", "metrics")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; 1 if one could not run, or with `--strict` if a target was missed."""
    from rich.console import Console

    wanted = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Only the scratch server and the scratch folder are used, whatever the environment names.
    for name in ("DATABASE_URL", "MLFLOW_TRACKING_URI", "DAGSTER_POSTGRES_URL"):
        os.environ.pop(name, None)
    progress = Console(stderr=True)
    started = time.perf_counter()
    found, failures = _run(wanted.only or BENCHMARKS, wanted.small, progress)
    report = _report(found, failures, wanted.small, time.perf_counter() - started)
    wanted.output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = Console()
    shown.print(_table(found))
    shown.print(_legend(found), markup=False, highlight=False)
    shown.print(f"Least of several rounds on each side; {report['seconds']:.0f} s in all. Written to {wanted.output}.")
    if wanted.small:
        shown.print("[yellow]--small: a fiftieth of the size, at which fixed costs rule. The ratios say nothing about the targets.[/]")
    for name, error in failures.items():
        progress.print(f"[red]{name} could not run:[/] {error}", markup=True, highlight=False)
    missed = [one.name for one in found if not one.met]
    return 1 if failures or (wanted.strict and missed) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m litgo_pipelines_tests.bench", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="where the figures are written")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, help="run these alone")
    parser.add_argument("--small", action="store_true", help="a fiftieth of the size: shows that everything runs, measures nothing")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    return parser.parse_args(arguments)


def _run(names: Sequence[str], small: bool, console: Console) -> tuple[list[Measured], dict[str, str]]:
    """What was measured, and what could not be, by benchmark. One that fails does not keep the others from running."""
    from litgo_pipelines_tests.bench.scratch import scratch

    found: list[Measured] = []
    failures: dict[str, str] = {}
    with console.status("") as status:

        def tell(text: str) -> None:
            if console.is_terminal:
                status.update(text)
            else:
                console.print(text, highlight=False)

        with scratch(small, tell) as bench:
            for name in names:
                try:
                    _one(name, bench, found)
                except Exception as error:
                    console.print_exception()
                    failures[name] = f"{type(error).__name__}: {error}"
    return found, failures


def _one(name: str, bench: Bench, found: list[Measured]) -> None:
    bench.tell(name)
    found.extend(importlib.import_module(f"litgo_pipelines_tests.bench.{name}").run(bench))


def _report(found: Sequence[Measured], failures: dict[str, str], small: bool, seconds: float) -> dict[str, Any]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "small": small,
        "seconds": seconds,
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "results": [one.to_json() for one in found],
        "failures": [{"name": name, "error": error} for name, error in failures.items()],
    }


def _table(found: Sequence[Measured]) -> Table:
    from rich.table import Table

    table = Table(title="litgo benchmarks")
    for heading in ("name", "ours", "baseline", "ratio", "target", "met"):
        table.add_column(heading, justify="left" if heading in ("name", "met") else "right", no_wrap=True)
    for one in found:
        ratio = f"{one.ratio:,.2f}x" if one.ratio < 100 else f"{one.ratio:,.0f}x"
        figures = [f"{min(side):,.3g} {one.unit}" for side in (one.ours, one.baseline)]
        table.add_row(one.name, *figures, ratio, one.target.shown(one.unit), "[green]yes[/]" if one.met else "[red]no[/]")
    return table


def _legend(found: Sequence[Measured]) -> str:
    lines = []
    for one in found:
        direction = "baseline / ours" if one.faster else "ours / baseline"
        lines.append(f"{one.name} ({direction}): {one.what}, against {one.against}." + (f" {one.note}." if one.note else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
