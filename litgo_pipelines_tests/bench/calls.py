"""A call that succeeds through the one door to the outside against the same request through httpx alone, on loopback.

What the difference buys: a hard bound on time, the breaker's look at the ledger, and a row in it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from litgo_pipelines_tests.bench.measure import Measured, Target, seconds
from litgo_pipelines_tests.bench.scratch import Bench

ROUNDS = 7
CALLS = 200
LEAST_CALLS = 20
EARLIER_CALLS = 5_000
MOST_OVERHEAD_MS = 2.0


def run(bench: Bench) -> Iterator[Measured]:
    """Rounds in turns, each the median of many calls, with a ledger that holds a day's calls already."""
    import httpx

    from litgo_pipelines.integrations.calls import call
    from litgo_pipelines.integrations.policies import policies_of
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
    from litgo_pipelines.marketplace.database import open_engine
    from litgo_pipelines.settings import Settings
    from litgo_pipelines.simulation.vendors.server import Reply, faulty_server

    policy = policies_of(Settings())["openai"]
    calls = max(LEAST_CALLS, bench.scaled(CALLS))
    with bench.database("bench_calls") as url, faulty_server(lambda _: Reply.json({"data": [0.0] * 100})) as server, httpx.Client() as bare:
        engine = open_engine(url)
        ledger = PostgresCallLedger(engine)
        _fill(url, bench)

        def ours() -> object:
            return call(policy, "embed", httpx.Request("POST", server.url, json={"input": "x"}), lambda one: one.json(), ledger=ledger)

        def baseline() -> object:
            return bare.post(server.url, json={"input": "x"}).json()

        _median_ms(ours, LEAST_CALLS)
        _median_ms(baseline, LEAST_CALLS)
        with_us, without = [], []
        for number in range(1, ROUNDS + 1):
            bench.tell(f"calls: round {number} of {ROUNDS}")
            without.append(_median_ms(baseline, calls))
            with_us.append(_median_ms(ours, calls))
        engine.dispose()
    overhead = statistics.median(with_us) - statistics.median(without)
    yield Measured(
        "vendor_call",
        f"integrations.calls.call, breaker and ledger on PostgreSQL included, the median of {calls} calls",
        "httpx.Client.post to the same server",
        tuple(with_us),
        tuple(without),
        Target("ours", round(min(without) + MOST_OVERHEAD_MS, 2)),
        unit="ms",
        note=f"{overhead:.2f} ms more a call in the median; at most {MOST_OVERHEAD_MS:g} ms are wanted",
    )


def _fill(url: str, bench: Bench) -> None:
    from litgo_pipelines_tests.bench.scratch import fill

    statement = """
        INSERT INTO litgo.external_calls (service, operation, outcome, number, started_at, duration_ms, status)
        SELECT 'openai', 'embed', 'ok', 1, now() - one * interval '17 seconds', 300, 200 FROM generate_series(1, %(rows)s) one
    """
    fill(url, {"earlier calls": statement}, {"rows": bench.scaled(EARLIER_CALLS)}, bench.tell)


def _median_ms(work: Callable[[], object], times: int) -> float:
    return statistics.median(seconds(work) for _ in range(times)) * 1000
