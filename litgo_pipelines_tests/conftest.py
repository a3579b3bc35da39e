"""Fixtures that every room's tests share: databases, MLflow stores and a Dagster instance, all real and all fresh.

One embedded PostgreSQL serves a pytest process (a worker, under xdist). What takes seconds to set up is set up once in a template
database, of which each test gets a clone. Nothing of it starts before a test asks for it.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from litgo_pipelines.settings import PROJECT_FOLDER, Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from sqlalchemy import Engine

    from litgo_pipelines.marketplace.embedded import EmbeddedServer

_HOME_PREFIX = "litgo-tests-"
_home = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Hide the developer's own services from the tests, and give everything that is written a folder that goes away."""
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    # Not pytest's own temp folder: that is 0700, and as root the server runs as a user who must get in.
    home = Path(tempfile.mkdtemp(prefix=f"{_HOME_PREFIX}{os.getpid()}-"))
    config.stash[_home] = home
    os.environ["LITGO_HOME"] = str(home)
    os.environ["MPLCONFIGDIR"] = str(home / "matplotlib")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_home], ignore_errors=True)


def _remove_homes_of_killed_sessions() -> None:
    """Stop the servers that pytest processes left behind because they were killed, and remove their folders."""
    import psutil

    from litgo_pipelines.marketplace import embedded

    for home in Path(tempfile.gettempdir()).glob(f"{_HOME_PREFIX}*"):
        owner = home.name.removeprefix(_HOME_PREFIX).partition("-")[0]
        if home.stat().st_uid == os.getuid() and owner.isdigit() and not psutil.pid_exists(int(owner)):
            if embedded.status(home).running:
                embedded.acquire(home)
                embedded.release(home)
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A verb that is called in this process sets logging up for the rest of it: the next test finds it as it was."""
    import structlog

    root, ours = logging.getLogger(), logging.getLogger("litgo_pipelines")
    before = (root.handlers[:], root.level, ours.level, logging.root.manager.disable)
    hooks = (warnings.showwarning, sys.excepthook, threading.excepthook, sys.unraisablehook)
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root.handlers[:], root.level, ours.level, logging.root.manager.disable = before
        logging.root.manager._clear_cache()
        warnings.showwarning, sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


class Databases:
    """The databases of one embedded server, by name."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.server.url("postgres", driver=""), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]  # names are ours, no user's text

    def create(self, name: str, template: str = "template0") -> None:
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    def drop(self, name: str) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @contextmanager
    def fresh(self, template: str = "template0") -> Iterator[str]:
        """The name of a new database that is dropped afterwards."""
        name = f"t_{uuid.uuid4().hex}"
        self.create(name, template)
        try:
            yield name
        finally:
            self.drop(name)


@pytest.fixture(scope="session")
def embedded_home(request: pytest.FixtureRequest) -> Path:
    """The LITGO_HOME of this pytest process."""
    return request.config.stash[_home]


@pytest.fixture(scope="session")
def databases(embedded_home: Path) -> Iterator[Databases]:
    """The embedded server of this pytest process."""
    from litgo_pipelines.marketplace import embedded

    _remove_homes_of_killed_sessions()
    found = Databases(embedded.acquire(embedded_home))
    # What these tests write need not survive a power loss.
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        found._execute(f"ALTER SYSTEM SET {setting} = off")
    found._execute("SELECT pg_reload_conf()")
    yield found
    embedded.release(embedded_home)


@pytest.fixture(scope="session")
def _migrated(databases: Databases) -> str:
    from litgo_pipelines.marketplace import database

    databases.create("litgo_template")
    database.upgrade(databases.server.url("litgo_template"))
    return "litgo_template"


@pytest.fixture
def database_url(databases: Databases, _migrated: str) -> Iterator[str]:
    """The URL of a fresh, migrated marketplace database."""
    with databases.fresh(_migrated) as name:
        yield databases.server.url(name)


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """The URL of a fresh database without any schema of ours."""
    with databases.fresh() as name:
        yield databases.server.url(name)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`, acting as the application's role."""
    from litgo_pipelines.marketplace.database import open_engine

    found = open_engine(database_url)
    yield found
    found.dispose()


def _initialise_mlflow(uri: str, artifacts: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(uri, artifacts)
    store.engine.dispose()
    SqlAlchemyStore._engine_map.pop(uri, None)


@pytest.fixture(scope="session")
def _mlflow_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow-template")
    _initialise_mlflow(f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri())
    return folder / "mlflow.db"


@pytest.fixture
def mlflow_uri(_mlflow_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a fresh MLflow tracking and registry store in a file; what is written without saying where goes to `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mlflow.db"
    shutil.copyfile(_mlflow_file, file)
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", [(tmp_path / "mlflow-artifacts").as_uri()])
    connection.close()
    return f"sqlite:///{file}"


@pytest.fixture(scope="session")
def _mlflow_database(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> str:
    databases.create("mlflow_template")
    _initialise_mlflow(databases.server.url("mlflow_template", driver="psycopg2"), tmp_path_factory.mktemp("mlflow-artifacts").as_uri())
    return "mlflow_template"


@pytest.fixture
def mlflow_postgres_uri(databases: Databases, _mlflow_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of a fresh MLflow tracking and registry store on PostgreSQL; what is written without saying where goes to `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    with databases.fresh(_mlflow_database) as name:
        yield databases.server.url(name, driver="psycopg2")


@contextmanager
def _dagster_instance(home: Path, url: str) -> Iterator[DagsterInstance]:
    from dagster import DagsterInstance

    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT_FOLDER / "dagster.yaml", home / "dagster.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("DAGSTER_POSTGRES_URL", url)
        with DagsterInstance.get() as instance:
            yield instance


@pytest.fixture(scope="session")
def _dagster_database(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> str:
    databases.create("dagster_template")
    with _dagster_instance(tmp_path_factory.mktemp("dagster-template"), databases.server.url("dagster_template", driver="psycopg2")):
        pass
    return "dagster_template"


@pytest.fixture
def dagster_url(databases: Databases, _dagster_database: str) -> Iterator[str]:
    """The URL of a fresh, initialised database for Dagster's storage."""
    with databases.fresh(_dagster_database) as name:
        yield databases.server.url(name, driver="psycopg2")


@pytest.fixture
def dagster_instance(dagster_url: str, tmp_path: Path) -> Iterator[DagsterInstance]:
    """A real Dagster instance with the project's own `dagster.yaml`, on fresh PostgreSQL storage and a DAGSTER_HOME of its own."""
    with _dagster_instance(tmp_path / "dagster", dagster_url) as instance:
        yield instance
