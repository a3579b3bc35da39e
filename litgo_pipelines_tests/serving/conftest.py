"""A marketplace to serve, a service on a loopback port, and models to promote."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from litgo_pipelines.settings import Settings, load_settings

if TYPE_CHECKING:
    import httpx
    from fastapi import FastAPI
    from sqlalchemy import URL, Engine

    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.serving.models import ModelSource

AREA = "Trabalhista"


def _nobody() -> ModelSource:
    """A registry in which nothing was ever promoted."""

    class Empty:
        def champion(self) -> str | None:
            return None

        def exists(self, version: str) -> bool:
            raise AssertionError(version)

        def load(self, version: str) -> Any:
            raise AssertionError(f"nobody promoted {version}")

    return Empty()


@dataclass(frozen=True)
class Served:
    """A service that runs: its address and its application."""

    url: str
    app: FastAPI

    def client(self, token: str | None = None, **options: Any) -> httpx.Client:
        import httpx

        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)

    def ask(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        with self.client() as client:
            return client.post("/v1/matches", json=body, headers=headers)


class Wire:
    """A way to the database that can be cut, or can fall silent: it forwards bytes between a local port and the server's socket."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.cut_off = False
        self._flowing = threading.Event()
        self._flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self.cut_off = True
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.cut_off = False
        self._flowing.set()

    def fall_silent(self) -> None:
        """Keep every connection, and forward nothing."""
        self._flowing.clear()

    def close(self) -> None:
        self.mend()
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.cut_off:
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(database_url: str) -> Iterator[Wire]:
    """A wire to the test's server."""
    url = _parsed(database_url)
    found = Wire(f"{url.query['host']}/.s.PGSQL.{url.query['port']}")
    yield found
    found.close()


def _parsed(url: str) -> URL:
    from sqlalchemy import make_url

    return make_url(url)


def through(wire: Wire, database_url: str) -> str:
    """The database's URL by way of the wire."""
    return _parsed(database_url).set(host="127.0.0.1", port=wire.port, query={}).render_as_string(hide_password=False)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds until `condition` held."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - begun


@pytest.fixture
def serving_settings(tmp_path: Path) -> Settings:
    """Settings of a service in a hurry, that leaves nothing to chance."""
    return load_settings(litgo_home=tmp_path / "home", litgo_refresh_seconds=0.3, litgo_model_poll_seconds=0.3, litgo_exploration=0.0)


@contextmanager
def serving(
    database_url: str,
    settings: Settings,
    open_registry: Callable[[], ModelSource] = _nobody,
    *,
    until_ready: bool = True,
    embedding: Embedding | None = None,
) -> Iterator[Served]:
    """Run the application behind a real uvicorn on a free port."""
    import httpx
    import uvicorn

    from litgo_pipelines.serving.app import create_app
    from litgo_pipelines.serving.server import serving_engine

    engine = serving_engine(database_url)
    app = create_app(engine, open_registry, settings, embedding)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn")
        thread.start()
        try:
            wait_until(lambda: server.started, 20, "the service starts")
            if until_ready:
                wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200, 30, "the service is ready")
            yield Served(url, app)
        finally:
            server.should_exit = True
            thread.join(30)
            engine.dispose()


@pytest.fixture
def served(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> Iterator[Served]:
    """A ready service over `marketplace`; the hand weights answer."""
    with serving(database_url, serving_settings) as found:
        yield found


class Marketplace:
    """Lawyers, clients and cases of one area, written as other rooms would."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.client_id = uuid4()
        with engine.begin() as connection:
            from litgo_pipelines.marketplace import tables

            connection.execute(tables.clients.insert(), {"id": self.client_id})

    def lawyers(self, count: int, *, capacity: int = 10, area: str = AREA, **columns: Any) -> list[UUID]:
        """Active lawyers who differ in their curriculum only."""
        from litgo_pipelines.marketplace import tables

        ids = [uuid4() for _ in range(count)]
        rows = [
            {"id": one, "name": "A lawyer", "primary_area": area, "capacidade_mensal": capacity, "cv_score": (n + 1) / (count + 1)}
            | columns
            for n, one in enumerate(ids)
        ]
        with self.engine.begin() as connection:
            connection.execute(tables.lawyers.insert(), rows)
        return ids

    def case(self, *, area: str = AREA, **columns: Any) -> UUID:
        """A stored, open case."""
        from litgo_pipelines.marketplace import tables

        row = {"id": uuid4(), "client_id": self.client_id, "area": area, "urgency_h": 48, "summary": "rescisão sem justa causa"} | columns
        with self.engine.begin() as connection:
            connection.execute(tables.cases.insert(), row)
        return UUID(str(row["id"]))

    def offer(self, case_id: UUID, lawyer_id: UUID, status: str = "pending") -> None:
        """An offer sent a minute ago."""
        from litgo_pipelines.marketplace import tables

        sent = datetime.now(UTC) - timedelta(minutes=1)
        row = {"id": uuid4(), "case_id": case_id, "lawyer_id": lawyer_id, "status": status, "sent_at": sent}
        with self.engine.begin() as connection:
            connection.execute(tables.offers.insert(), row | {"expires_at": sent + timedelta(hours=24)})

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """What a query finds."""
        from sqlalchemy import text

        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.rows(f"SELECT count(*) FROM litgo.{table}")[0][0])


@pytest.fixture
def marketplace(engine: Engine) -> Marketplace:
    """An empty marketplace with one client."""
    return Marketplace(engine)


def small_booster(favoured: int) -> Any:
    """A booster of a few trees that looks at one feature alone (a column of `FEATURES`)."""
    import lightgbm

    features = np.random.default_rng(0).random((400, 8)).astype(np.float32)
    params = {"objective": "regression", "num_leaves": 7, "min_data_in_leaf": 5, "verbosity": -1, "seed": 1, "num_threads": 1}
    return lightgbm.train(params, lightgbm.Dataset(features, label=features[:, favoured].copy()), num_boost_round=10)


def register(registry: Registry, folder: Path, *, favoured: int = 4, spoilt: bool = False) -> str:
    """Register a version whose scores follow one feature; the golden scores of a spoilt one are changed afterwards."""
    import json
    from urllib.parse import unquote, urlsplit

    from litgo_pipelines.ranking.calibration import Acceptance
    from litgo_pipelines.rollout.bundle import GOLDEN_FILE, Bundle
    from litgo_pipelines.rollout.registry import MODEL
    from litgo_pipelines.rollout.tracking import Tracking

    Bundle.of(small_booster(favoured), Acceptance("platt", (2.0, -1.0))).write(folder)
    run = Tracking(registry.uri, (folder.parent / "artifacts").as_uri()).start_run({})
    version = registry.register(run.run_id, folder, {})
    run.finish()
    if spoilt:
        stored = unquote(urlsplit(registry.client.get_model_version_download_uri(MODEL, version)).path)
        (file,) = Path(stored).rglob(GOLDEN_FILE)
        golden = json.loads(file.read_text())
        golden["raw"][5] += 0.01
        file.write_text(json.dumps(golden))
    return version


@pytest.fixture
def as_owner(database_url: str) -> Callable[[str], None]:
    """Run a statement with all rights on the test's database."""
    from sqlalchemy import text

    from litgo_pipelines.marketplace.database import open_engine

    def execute(statement: str) -> None:
        engine = open_engine(database_url, role=None)
        with engine.begin() as connection:
            connection.execute(text(statement))
        engine.dispose()

    return execute
