"""What the collector costs with a long log of events: a scrape, the first scrape of a new process, and the database's part of it.

The other side is the obvious way: to group and count all events whenever somebody asks.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from litgo_pipelines_tests.bench.measure import Measured, Target, seconds
from litgo_pipelines_tests.bench.scratch import Bench

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.observability.collector import Collector

EVENTS = 10_000_000
SERIES = 2_000
MESSAGES = 1_000_000
AT_ONCE = 5_000
ROUNDS, BASELINE_ROUNDS = 15, 3
NEW_EVENTS = 200
"""Of each of which a reading finds so many: 40 a second."""
SCRAPE_SECONDS = 15.0

# A quarter of the series are histograms; labels as runs of jobs have them.
_ADD = """
INSERT INTO litgo.events (metric, labels, value)
SELECT CASE WHEN s % 4 = 0 THEN 'job_duration_seconds' ELSE 'job_runs_total' END,
    CASE WHEN s % 4 = 0 THEN jsonb_build_object('job', 'job ' || s)
         ELSE jsonb_build_object('job', 'job ' || s, 'status', (ARRAY['success', 'failure', 'canceled'])[s % 4]) END,
    CASE WHEN s % 4 = 0 THEN random() * 100 END
FROM (SELECT (:offset + g) % :series AS s FROM generate_series(1, :count) g) drawn
"""
# Half a year of messages that were delivered: what stands still must not cost anything either.
_MESSAGES = """
INSERT INTO litgo.notifications (key, audience, channel, subject, body, status, created_at, due_at, sent_at)
SELECT CAST(g AS text), 'ops', 'email', 's', repeat('b', 300), 'sent', now() - g * interval '15 s', now() - g * interval '15 s',
    now() - g * interval '15 s'
FROM generate_series(1, :count) g
"""
_COUNT_ALL = "SELECT metric, labels, count(*), sum(value) FROM litgo.events GROUP BY metric, labels"


def run(bench: Bench) -> Iterator[Measured]:
    """Fill the log by many transactions, count it as the collector does, and ask in turns."""
    from litgo_pipelines.marketplace.database import open_engine
    from litgo_pipelines_tests.bench.scratch import vacuum

    count = bench.scaled(EVENTS)
    with bench.database("bench_metrics") as url, bench.empty_database("bench_metrics_dagster", driver="psycopg2") as dagster_url:
        engine = open_engine(url)
        try:
            _fill(engine, count, bench)
            _deliver(engine, bench.scaled(MESSAGES))
            bench.tell("metrics: counting")
            counting = seconds(lambda: _count(engine))
            vacuum(url, "litgo.events", "litgo.metric_rollups", "litgo.notifications")
            yield from _measured(engine, *_collector(bench, url, dagster_url), bench, count, counting)
        finally:
            engine.dispose()


def _fill(engine: Engine, count: int, bench: Bench) -> None:
    for offset in range(0, count, AT_ONCE):
        if offset % (AT_ONCE * 100) == 0:
            bench.tell(f"metrics: {offset:,} of {count:,} events")
        _add(engine, offset, AT_ONCE)


def _deliver(engine: Engine, count: int) -> None:
    from sqlalchemy import text

    from litgo_pipelines.marketplace.event_log import write_history

    with engine.begin() as connection:
        write_history(connection)
        connection.execute(text(_MESSAGES), {"count": count})


def _add(engine: Engine, offset: int, count: int) -> None:
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text(_ADD), {"offset": offset, "series": SERIES, "count": count})


def _count(engine: Engine) -> None:
    from litgo_pipelines.marketplace.event_log import advance
    from litgo_pipelines.observability.metrics import BOUNDS

    while advance(engine, BOUNDS):
        pass


def _collector(bench: Bench, url: str, dagster_url: str) -> tuple[Collector, dict[str, str]]:
    """As `litgo metrics serve` puts it together, with all its sources; and the variables with which a process makes another one."""
    from litgo_pipelines.cli.dagster import dagster_environment
    from litgo_pipelines.cli.metrics.serve import collector_for
    from litgo_pipelines.marketplace.database import Services
    from litgo_pipelines.settings import load_settings

    settings = load_settings(litgo_home=bench.home)
    services = Services(url, dagster_url, "", None)
    environment = dagster_environment(settings, services)
    return collector_for(settings, services), environment


def _count_all(engine: Engine) -> None:
    from sqlalchemy import text

    with engine.connect() as connection:
        connection.execute(text(_COUNT_ALL)).all()


def _first_scrape(environment: Mapping[str, str]) -> float:
    """Seconds from the start of a process until it has answered once."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "litgo_pipelines.cli", "metrics", "serve", "--port", port]
    began = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            try:
                _scrape(f"http://127.0.0.1:{port}/metrics")
                return time.perf_counter() - began
            except OSError:
                time.sleep(0.01)
        raise RuntimeError(f"the collector ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


@contextmanager
def _shown(collector: Collector) -> Iterator[str]:
    """The address at which a collector is shown."""
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(collector)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _scrape(address: str) -> int:
    """Bytes of the answer."""
    with urllib.request.urlopen(address, timeout=60) as answer:
        return len(answer.read())


def _server_seconds(engine: Engine) -> float:
    """Processor time of all the server's processes so far."""
    import psutil
    from sqlalchemy import text

    with engine.connect() as connection:
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    postmaster = psutil.Process(backend).parent()
    assert postmaster is not None
    times = [one.cpu_times() for one in (postmaster, *postmaster.children())]
    return sum(one.user + one.system for one in times)


def _measured(
    engine: Engine, collector: Collector, environment: Mapping[str, str], bench: Bench, count: int, counting: float
) -> Iterator[Measured]:
    bench.tell("metrics: rounds")
    baseline = tuple(seconds(lambda: _count_all(engine)) for _ in range(BASELINE_ROUNDS))
    firsts = tuple(_first_scrape(environment) for _ in range(BASELINE_ROUNDS))
    for source in collector.sources:
        collector.read(source)
    with _shown(collector) as address:
        size = _scrape(address)
        scrapes = tuple(seconds(lambda: _scrape(address)) for _ in range(ROUNDS))
    before = _server_seconds(engine)
    for number in range(ROUNDS):
        _add(engine, number, NEW_EVENTS)
    adding = _server_seconds(engine) - before
    before = _server_seconds(engine)
    readings = []
    for number in range(ROUNDS):
        _add(engine, number, NEW_EVENTS)
        readings.append(seconds(lambda: [collector.read(source) for source in collector.sources]))
    server = (_server_seconds(engine) - before - adding) / ROUNDS
    from litgo_pipelines.observability.sources import EVERY_SECONDS

    what = f"{count:,} events in {SERIES:,} series and {bench.scaled(MESSAGES):,} delivered messages"
    note = f"{size / 1000:.0f} kB; counted at first at {count / counting:,.0f} events a second"
    against = "group and count all events"
    yield Measured("metrics_scrape", f"a scrape over HTTP, {what}", against, scrapes, baseline, Target("ours", 0.25), note=note)
    yield Measured(
        "metrics_first_scrape", f"from the start of a process to its first scrape, {what}", against, firsts, baseline, Target("ours", 5.0)
    )
    yield Measured(
        "metrics_reading",
        f"one reading of all sources, with {NEW_EVENTS} new events, {what}",
        against,
        tuple(readings),
        baseline,
        Target("ours", 0.25),
    )
    load = server / EVERY_SECONDS
    yield Measured(
        "metrics_database_load",
        f"processor time of the server in {SCRAPE_SECONDS:g} s of readings every {EVERY_SECONDS:g} s, {what}",
        f"group and count all events every {SCRAPE_SECONDS:g} s",
        (load * SCRAPE_SECONDS,),
        (min(baseline),),
        Target("ours", 0.01 * SCRAPE_SECONDS),
        note=f"{100 * load:.2f} % of a core; 1 % is wanted",
    )
