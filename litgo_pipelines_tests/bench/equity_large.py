"""The nightly equity run at ten times the size: 1,000,000 lawyers and 10,000,000 contracts of 120 days. Filling takes longest."""

from __future__ import annotations

from collections.abc import Iterator

from litgo_pipelines_tests.bench import equity
from litgo_pipelines_tests.bench.measure import Measured
from litgo_pipelines_tests.bench.scratch import Bench

LAWYERS = 1_000_000
CONTRACTS = 10_000_000
ROUNDS = 3


def run(bench: Bench) -> Iterator[Measured]:
    """Unchanged nights and next days."""
    lawyers, contracts = bench.scaled(LAWYERS), bench.scaled(CONTRACTS)
    with equity.marketplace(bench, lawyers, contracts) as (url, engine):
        quiet, changed = equity.nights(bench, url, engine, ROUNDS)
    size = f"{lawyers:,} lawyers, {contracts:,} contracts of {equity.DAYS} days"
    yield quiet.measured("equity_large_unchanged_night", f"equity run in which no lawyer changes ({size})", (0, 0))
    yield changed.measured("equity_large_next_day", f"equity run of the next day ({size})", (lawyers // 50, lawyers))
