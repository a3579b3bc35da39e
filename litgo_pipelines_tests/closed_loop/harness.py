"""The whole house at work for a test: a Dagster daemon, a matching service, a registry and a marketplace, all real and all its own.

What goes on in it lives in `scenarios`. Nothing here decides anything: a `World` lets clients ask, lets time pass, lets a person act, and
looks at what came of it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litgo_pipelines.integrations.embedders import Space
from litgo_pipelines.settings import LitgoError, Settings, load_settings

if TYPE_CHECKING:
    import httpx
    from dagster import DagsterInstance
    from numpy.typing import NDArray
    from sqlalchemy import Engine

    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.integrations.policies import Deadline
    from litgo_pipelines.marketplace.database import Services
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.simulation.visitors import Visit, Visitors

# With little to do the load is spread too unevenly in a marketplace this small for any candidate to pass the gate.
LAWYERS, DAYS, SEED, UTILISATION = 200, 40, 12, 0.7
PERSON = "Ana Souza"
PATIENCE = 150.0
"""Seconds until something that was due is given up."""

# A ramp of one step and readings without a pause: clients are few here. Everything else is as delivered.
_SETTINGS = {
    "LITGO_RAMP": "[50]",
    "LITGO_RAMP_HOURS": "0",
    "LITGO_READOUT_MINUTES": "0.05",
    "LITGO_REFERENCE_DECISIONS": "100",
    "LITGO_TRAINING_THREADS": "1",
    # The night's figures may come in between and find a market this small uneven.
    "LITGO_FAIRNESS_MAX_GINI": "1",
    "LITGO_LOG_FORMAT": "json",
    # In a marketplace this small a replay is uneven now and then; whether a candidate passes the gate must not hang on it.
    "LITGO_EQUITY_PRICE": "0.7",
    # Clients and lawyers are played by the scenarios alone.
    "LITGO_NEXT_OFFER_DAYS": "0",
    "LOCAL_EMBEDDING_MODEL": "none",
}


_DECIDED = "SELECT action, result, to_version, reason FROM litgo.decisions ORDER BY id"


class NotInTime(AssertionError):
    """Something that was due did not come about."""


class Vendor:
    """A model of embeddings outside of the house, which can be away. To it all texts are alike, so that it raises every similarity."""

    space = Space("vendor", "1", 4)

    def __init__(self) -> None:
        self.away = False

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> NDArray[np.float32]:  # noqa: ARG002  # as every model's
        from litgo_pipelines.integrations.calls import VendorUnavailable

        if self.away:
            raise VendorUnavailable("the vendor does not answer", "timeout", 1, maybe_taken=True)
        return np.full((len(texts), self.space.dim), 0.5, dtype=np.float32)


@dataclass
class World:
    """What a scenario acts on and looks at.

    Attributes:
        engine: acts under the role `litgo_simulator`; nothing of the product's is written with it.
        environment: of every process that is started.
    """

    settings: Settings
    services: Services
    environment: Mapping[str, str]
    engine: Engine
    registry: Registry
    service: httpx.Client
    visitors: Visitors
    vendor: Vendor
    embedding: Embedding
    instance: DagsterInstance
    daemon: subprocess.Popen[bytes]
    log: Path
    tell: Callable[[str], None] = field(default=lambda _told: None)

    @property
    def artifacts(self) -> str:
        """Where MLflow keeps what is logged."""
        assert self.services.mlflow_artifacts is not None
        return self.services.mlflow_artifacts

    def come(self, count: int) -> list[Visit]:
        """Let clients ask."""
        return self.visitors.come(count)

    def pass_time(self, by: timedelta) -> None:
        """Let time pass while no run is under way, and let happen what is due by it."""
        from litgo_pipelines.simulation.aging import age

        self.until(lambda: not self.runs_under_way(), "the runs under way end")
        age(self.engine, by)
        self.visitors.live(datetime.now(UTC))
        _know_lawyers(self.services, self.embedding)

    def model(self) -> dict[str, Any]:
        """What the service says of itself."""
        found: dict[str, Any] = self.service.get("/v1/model").raise_for_status().json()
        return found

    def champion_is(self, version: str) -> bool:
        """Whether the alias points to a version."""
        return self.registry.champion() == version

    def move_alias(self, version: str) -> None:
        """What a person does in MLflow's own pages."""
        from litgo_pipelines.rollout.registry import CHAMPION, MODEL

        self.registry.client.set_registered_model_alias(MODEL, CHAMPION, version)

    def command(self, *words: str) -> str:
        """What a person types; what is printed."""
        return _command(self.environment, *words)

    def refused(self, *words: str) -> str:
        """What a person is told who types something that is refused."""
        return _command(self.environment, *words, code=2)

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """What a query finds."""
        from sqlalchemy import text

        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def one(self, statement: str, **parameters: Any) -> Any:
        """The one row that a query finds; None where it finds none."""
        found = self.rows(statement, **parameters)
        assert len(found) <= 1, f"{len(found)} rows: {statement}"
        return found[0] if found else None

    def write(self, statement: str, **parameters: Any) -> None:
        """Change facts that somebody outside of the rollout would change, such as a lawyer's place."""
        from sqlalchemy import text

        with self.engine.begin() as connection:
            connection.execute(text(statement), parameters)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> float:
        """Seconds until a condition held.

        Raises:
            NotInTime: it did not, or the daemon died.
        """
        begun = time.monotonic()
        while not condition():
            if self.daemon.poll() is not None:
                raise NotInTime(f"the daemon ended with {self.daemon.returncode} while waiting: {what}\n{self._how_it_stands()}")
            if time.monotonic() - begun > seconds:
                raise NotInTime(f"not within {seconds:g} s: {what}\n{self._how_it_stands()}")
            time.sleep(0.1)
        return time.monotonic() - begun

    def ticks(self, sensor: str, after: datetime) -> list[Any]:
        """The ticks of a sensor that began after a moment and have ended, oldest first."""
        from dagster._core.scheduler.instigation import TickStatus

        found = [
            tick
            for state in self.instance.all_instigator_state()
            if state.instigator_name == sensor
            for tick in self.instance.get_ticks(state.instigator_origin_id, state.selector_id, after=after.timestamp())
            if tick.status in (TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE)
        ]
        return sorted(found, key=lambda one: one.timestamp)

    def failed_runs(self) -> list[str]:
        """Runs that failed, by job."""
        from dagster import DagsterRunStatus, RunsFilter

        return [run.job_name for run in self.instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))]

    def runs_under_way(self) -> bool:
        """Whether a run of Dagster's has not ended yet."""
        from dagster import DagsterRunStatus as Status
        from dagster import RunsFilter

        begun = [Status.QUEUED, Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING]
        return bool(self.instance.get_run_ids(RunsFilter(statuses=begun), limit=1))

    def _how_it_stands(self) -> str:
        """What was decided so far, and the daemon's last lines."""
        decided = [f"{row.action} {row.result} {row.to_version}: {row.reason}" for row in self.rows(_DECIDED)]
        return "\n".join([*decided, *self.log.read_text(errors="replace").splitlines()[-20:]])


def register(registry: Registry, artifacts: str, follows: Mapping[str, float], platt: tuple[float, float]) -> str:
    """Register a version whose scores are a weighted sum of features, with a calibration that somebody gave it; its number."""
    import lightgbm

    from litgo_pipelines.marketplace.names import FEATURES
    from litgo_pipelines.ranking.calibration import Acceptance
    from litgo_pipelines.rollout.bundle import Bundle
    from litgo_pipelines.rollout.tracking import Tracking

    features = np.random.default_rng(0).random((2000, len(FEATURES))).astype(np.float32)
    label = features[:, [FEATURES.index(name) for name in follows]] @ np.array(list(follows.values()))
    params = {"objective": "regression", "num_leaves": 15, "learning_rate": 0.2, "verbosity": -1, "seed": 1, "num_threads": 1}
    booster = lightgbm.train(params, lightgbm.Dataset(features, label=label), num_boost_round=60)
    run = Tracking(registry.uri, artifacts).start_run({})
    with tempfile.TemporaryDirectory() as folder:
        Bundle.of(booster, Acceptance("platt", platt)).write(Path(folder))
        version = registry.register(run.run_id, Path(folder), {})
    run.finish()
    return version


@contextmanager
def a_world(services: Services, home: Path, tell: Callable[[str], None] = lambda _told: None) -> Iterator[World]:
    """A simulated marketplace with its history, a service, and a daemon that has begun to look.

    Args:
        services: three databases of its own; that of the marketplace is migrated and empty.
        home: LITGO_HOME of all processes.
        tell: is told what is being done.
    """
    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.cli.dagster import dagster_environment
    from litgo_pipelines.marketplace.database import SIMULATOR_ROLE, open_engine
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.simulation.visitors import Visitors

    given = {
        "database_url": services.database,
        "dagster_postgres_url": services.dagster,
        "mlflow_tracking_uri": services.mlflow,
        "mlflow_artifact_root": services.mlflow_artifacts,
        "litgo_home": str(home),
    }
    bare = load_settings(**given)
    environment = {**_inherited(), **dagster_environment(bare, services), **_SETTINGS}
    with ExitStack() as stack:
        tell("a marketplace lives")
        engine = open_engine(services.database, SIMULATOR_ROLE)
        stack.callback(engine.dispose)
        size = {"--lawyers": LAWYERS, "--days": DAYS, "--seed": SEED, "--utilisation": UTILISATION}
        _command(environment, "simulate", *(str(word) for option in size.items() for word in option))
        # All reviews of the history start a training at once; those that follow would have to be as many again.
        environment["MIN_REVIEWS_FOR_RETRAIN"] = str(_reviews(engine))
        stack.enter_context(_as_environment(environment))
        settings = load_settings()
        registry, vendor = Registry(services.mlflow, home / "models"), Vendor()
        embedding = Embedding(None, vendor, batch=1000)
        _know_lawyers(services, embedding)
        service = stack.enter_context(_served(services, settings, embedding))
        instance = stack.enter_context(_instance())
        log = home / "daemon.log"
        daemon = stack.enter_context(_daemon(environment, settings, log))
        yield World(
            settings=settings,
            services=services,
            environment=environment,
            engine=engine,
            registry=registry,
            service=service,
            visitors=Visitors(engine, service),
            vendor=vendor,
            embedding=embedding,
            instance=instance,
            daemon=daemon,
            log=log,
            tell=tell,
        )


def _command(environment: Mapping[str, str], *words: str, code: int = 0) -> str:
    """What `litgo` prints, which is to end with an exit code."""
    command = [sys.executable, "-m", "litgo_pipelines.cli", *words]
    ended = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    assert ended.returncode == code, f"litgo {' '.join(words)}: {ended.returncode}: {ended.stdout}{ended.stderr}"
    return ended.stdout if code == 0 else ended.stderr


def _inherited() -> dict[str, str]:
    """This process's environment without the developer's own settings."""
    ours = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in ours}


@contextmanager
def _as_environment(environment: Mapping[str, str]) -> Iterator[None]:
    from unittest import mock

    with mock.patch.dict(os.environ, environment):
        yield


def _reviews(engine: Engine) -> int:
    from sqlalchemy import text

    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM litgo.reviews")).scalar_one())


@contextmanager
def _instance() -> Iterator[DagsterInstance]:
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        yield instance


def _know_lawyers(services: Services, embedding: Embedding) -> None:
    """Embed what the lawyers handled."""
    from litgo_pipelines.casework.embedding import refresh_cases, refresh_lawyers
    from litgo_pipelines.marketplace.database import open_engine

    engine = open_engine(services.database)
    refresh_cases(engine, embedding, datetime.now(UTC))
    refresh_lawyers(engine, embedding, datetime.now(UTC))
    engine.dispose()


@contextmanager
def _served(services: Services, settings: Settings, embedding: Embedding) -> Iterator[httpx.Client]:
    """The matching service behind a real uvicorn on a free port, and a client of it."""
    import httpx
    import uvicorn

    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.serving.app import create_app
    from litgo_pipelines.serving.server import serving_engine

    engine = serving_engine(services.database)
    app = create_app(engine, lambda: Registry(services.mlflow, settings.litgo_home / "models"), settings, embedding)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn")
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
                _wait_for_service(server, client)
                yield client
        finally:
            server.should_exit = True
            thread.join(30)
            engine.dispose()


def _wait_for_service(server: Any, client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while not (server.started and client.get("/readyz").status_code == 200):
        if time.monotonic() > deadline:
            raise NotInTime("the service does not become ready")
        time.sleep(0.05)


@contextmanager
def _daemon(environment: Mapping[str, str], settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster's daemon as `litgo up` starts it, in a process group of its own; it goes with us, however that happens."""
    from litgo_pipelines.cli.processes import die_with_parent
    from litgo_pipelines.cli.up import WORKSPACE

    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(WORKSPACE), "--log-format", "json"]
    with log.open("wb") as lines:
        daemon = subprocess.Popen(
            command,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            cwd=settings.dagster_home,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        try:
            yield daemon
        finally:
            _end(daemon)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """Tell the daemon to stop; whatever it started and left behind ends too."""
    group = daemon.pid
    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def versions_of(visits: list[Visit]) -> dict[str, int]:
    """How many clients each version answered."""
    found: dict[str, int] = {}
    for visit in visits:
        found[visit.model_version] = found.get(visit.model_version, 0) + 1
    return found


def parsed(told: str) -> Any:
    """What a command printed with `--json`."""
    return json.loads(told)


__all__ = ["PERSON", "LitgoError", "NotInTime", "Vendor", "World", "a_world", "parsed", "register", "versions_of"]
