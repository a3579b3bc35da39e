"""`litgo metrics serve`: puts the collector together and shows it to Prometheus."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.settings import LitgoError, Settings, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.marketplace.database import Services
    from litgo_pipelines.observability.collector import Collector

STATEMENT_SECONDS = 3.0
"""That one statement of the collector may take: it must never be what slows the marketplace down."""


def collector_for(settings: Settings, services: Services) -> Collector:
    """The collector of this marketplace, with all its sources.

    Raises:
        DatabaseError: DATABASE_URL cannot be read.
    """
    from litgo_pipelines.casework.fairness_figures import FairnessFigures
    from litgo_pipelines.casework.vendor_figures import VendorFigures
    from litgo_pipelines.definitions import defs
    from litgo_pipelines.marketplace.database import open_engine
    from litgo_pipelines.observability.collector import Collector
    from litgo_pipelines.observability.database_sources import Counters, Disk, Reachable, Standing
    from litgo_pipelines.orchestration.instance_facts import dagster_facts
    from litgo_pipelines.rollout.figures import EvidenceFigures, RolloutFigures

    def now() -> datetime:
        return datetime.now(UTC)

    engine = open_engine(services.database, seconds=STATEMENT_SECONDS)
    dagster = dagster_facts(settings, services, engine, now, defs)
    return Collector(
        [
            Reachable(engine),
            Counters(engine, dagster.known),
            Standing(engine),
            FairnessFigures(engine, settings),
            RolloutFigures(engine, settings),
            EvidenceFigures(engine, settings, now),
            VendorFigures(engine, settings, now),
            dagster,
            Disk(settings.litgo_home),
        ]
    )


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to; default: LITGO_METRICS_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; default: LITGO_METRICS_PORT.")] = None,
) -> None:
    """Show all metrics of the marketplace and of Dagster at /metrics, until Ctrl-C or SIGTERM.

    One long-lived process is enough; several show the same figures. It goes on while the database is away, and says so.

    Example: `litgo metrics serve --port 9108`
    """
    from prometheus_client import CollectorRegistry, start_http_server

    from litgo_pipelines.cli.dagster import dagster_environment
    from litgo_pipelines.marketplace.database import DatabaseError, ensure_schema, services_for
    from litgo_pipelines.observability.logs import get_logger

    settings = get_settings()
    host = settings.litgo_metrics_host if host is None else host
    port = settings.litgo_metrics_port if port is None else port
    services = services_for(settings)
    # Dagster finds its set-up there.
    dagster_environment(settings, services)
    collector = collector_for(settings, services)
    try:
        ensure_schema(settings, services.database)
    except DatabaseError as error:
        get_logger(__name__).warning("the database cannot be used yet", reason=str(error))
    registry = CollectorRegistry()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    collector.start()
    try:
        collector.wait()
        registry.register(collector)
        try:
            server, thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise LitgoError(f"cannot listen on {host}:{port}: {error.strerror}: set LITGO_METRICS_PORT to a free port") from None
        get_logger(__name__).info("metrics are shown", url=f"http://{host}:{port}/metrics")
        stopped.wait()
        server.shutdown()
        thread.join()
    finally:
        collector.stop()
