"""Starting the service: checks that fail in one line, the socket, the database connections, the signals. No route lives here."""

from __future__ import annotations

import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.serving.app import WORKERS, Service, create_app
from litgo_pipelines.serving.auth import Tokens, require_guarded
from litgo_pipelines.serving.models import ModelSource
from litgo_pipelines.settings import LitgoError, Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

DRAIN_SECONDS = 30
"""Longer than the longest request."""
_BACKLOG = 512
_SWITCH_SECONDS = 0.001
_log = get_logger(__name__)

_LIMITS = "SET statement_timeout = '8s'; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = '30s'"


class CannotBind(LitgoError):
    """The address or port cannot be listened on."""


def serving_engine(url: str, workers: int = WORKERS) -> Engine:
    """An engine of which no statement, lock, connection or dead peer keeps a request waiting without end.

    Raises:
        DatabaseError: the URL cannot be read.
    """
    from sqlalchemy import event

    from litgo_pipelines.marketplace.database import open_engine

    # More for the threads that read the market and the experiment, and for two requests to a vendor that is tried again.
    engine = open_engine(url, pool_size=workers + 4, max_overflow=0, pool_timeout=5)

    @event.listens_for(engine, "connect")
    def _limit(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_LIMITS)
        connection.commit()

    return engine


def serve(settings: Settings, host: str, port: int) -> None:
    """Answer on `host` and `port` until SIGTERM or Ctrl-C; then what is being worked on is finished first.

    Raises:
        OpenToEverybody: no tokens, and not loopback.
        CannotBind: the address is taken or not ours.
        DatabaseError: unreachable, or its schema is not this code's.
    """
    from litgo_pipelines.marketplace.database import ensure_schema, services_for

    require_guarded(host, Tokens(settings.litgo_api_keys))
    with _listening(host, port) as listener:
        services = services_for(settings)
        ensure_schema(settings, services.database)
        engine = serving_engine(services.database)
        try:
            run(engine, _registry(services.mlflow, settings.litgo_home / "models"), settings, listener)
        finally:
            engine.dispose()


def _registry(uri: str, cache: Path) -> Callable[[], ModelSource]:
    def open_registry() -> ModelSource:
        from litgo_pipelines.rollout.registry import Registry

        return Registry(uri, cache)

    return open_registry


def run(engine: Engine, open_registry: Callable[[], ModelSource], settings: Settings, listener: socket.socket) -> None:
    """Serve on a bound socket until a signal says stop."""
    import uvicorn
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
    from litgo_pipelines.ranking.text import vectorise

    # The first text costs the import of scikit-learn: now, not in the first request.
    vectorise([""])
    embedding = Embedding.of(settings, PostgresCallLedger(engine))
    app = create_app(engine, open_registry, settings, embedding)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=DRAIN_SECONDS, server_header=False)
    # Reading the market keeps the interpreter busy for a while; requests get their turn sooner than the usual 5 ms.
    sys.setswitchinterval(_SWITCH_SECONDS)
    threading.Thread(target=_settle, args=(app.state.service,), name="settle", daemon=True).start()
    shown = listener.getsockname()
    _log.info("serving", host=shown[0], port=shown[1], tokens=len(settings.litgo_api_keys))
    # Arrays of some thousand rows are multiplied sooner by one thread than shared out among several.
    with threadpool_limits(limits=1), _quiet_end():
        uvicorn.Server(config).run(sockets=[listener])
    _log.info("stopped")


def _settle(service: Service) -> None:
    """Once all is loaded, exempt it from garbage collection, which would stop every thread for a fraction of a second again and again."""
    service.model.wait_for_look()
    gc.collect()
    gc.freeze()


@contextmanager
def _quiet_end() -> Iterator[None]:
    """uvicorn raises the signal that stopped it again when it is done; SIGTERM then means a good end, not a kill."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound before anything slow begins.

    Raises:
        CannotBind: taken, not permitted, or no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotBind(f"cannot listen on {host}:{port}: {error.strerror}") from None
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise CannotBind(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or LITGO_SERVE_PORT") from None
        yield listener
