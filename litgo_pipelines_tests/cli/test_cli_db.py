"""`litgo db` as a process, against real databases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from litgo_pipelines.marketplace import embedded
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines_tests.cli.conftest import Litgo, refused


def _execute(url: str, statement: str) -> None:
    engine = open_engine(url, role=None, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_upgrade_brings_an_empty_database_to_this_version(litgo: Litgo, empty_database_url: str) -> None:
    """Status says 1 before, 0 after, and a second upgrade changes nothing."""
    before = litgo("db", "status", "--json", DATABASE_URL=empty_database_url)
    assert (before.returncode, json.loads(before.stdout)["current"]) == (1, None)
    assert litgo("db", "upgrade", DATABASE_URL=empty_database_url).returncode == 0
    assert litgo("db", "upgrade", DATABASE_URL=empty_database_url).returncode == 0
    after = litgo("db", "status", "--json", DATABASE_URL=empty_database_url)
    assert (after.returncode, json.loads(after.stdout)["up_to_date"]) == (0, True)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://somebody@localhost/litgo", "DATABASE_URL must start with postgresql://"),
        ("no url", "DATABASE_URL must start with postgresql://"),
        ("postgresql://nobody@127.0.0.1:1/litgo", "cannot use the database"),
    ],
)
def test_a_wrong_url_is_one_line(url: str, reason: str, litgo: Litgo) -> None:
    """A URL that is none of PostgreSQL's, or at which nobody answers, ends the command with one line."""
    assert reason in refused(litgo("db", "status", DATABASE_URL=url))


def test_a_newer_database_is_left_alone(litgo: Litgo, database_url: str) -> None:
    """A schema that this version does not know is neither changed nor used."""
    _execute(database_url, "UPDATE litgo.alembic_version SET version_num = '9999'")
    assert "newer than this code" in refused(litgo("db", "upgrade", DATABASE_URL=database_url))


def test_a_server_without_pgvector_isrefused(litgo: Litgo, empty_database_url: str, embedded_home: Path) -> None:
    """The missing extension is named before anything is created."""
    name = make_url(empty_database_url).database
    # The server then finds no extensions but those of an empty folder, as if none were installed.
    _execute(empty_database_url, f"ALTER DATABASE \"{name}\" SET extension_control_path = '{embedded_home}/none'")
    assert "pgvector" in refused(litgo("db", "upgrade", DATABASE_URL=empty_database_url))


def test_url_is_the_one_in_use(litgo: Litgo, database_url: str, dagster_url: str, mlflow_uri: str) -> None:
    """Each service's URL can be taken over by other programs."""
    given = {"DATABASE_URL": database_url, "DAGSTER_POSTGRES_URL": dagster_url, "MLFLOW_TRACKING_URI": mlflow_uri}
    assert litgo("db", "url", **given).stdout.strip() == database_url
    assert litgo("db", "url", "--service", "dagster", **given).stdout.strip() == dagster_url
    assert litgo("db", "url", "--service", "mlflow", **given).stdout.strip() == mlflow_uri


@pytest.fixture
def home() -> Iterator[Path]:
    """A LITGO_HOME of its own, where the server's OS user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="litgo-test-home-"))
    yield folder
    shutil.rmtree(folder)


def test_stop_ends_a_server_whose_user_was_killed(litgo: Litgo, home: Path) -> None:
    """After its user's sudden death the server is still there, and `db stop` ends it."""
    code = (
        "import os, pathlib, sys; from litgo_pipelines.marketplace import embedded; embedded.acquire(pathlib.Path(sys.argv[1])); os.abort()"
    )
    subprocess.run([sys.executable, "-c", code, str(home)], check=False)
    assert embedded.status(home).running
    assert litgo("db", "stop", LITGO_HOME=str(home)).returncode == 0
    assert not embedded.status(home).running
    assert litgo("db", "stop", LITGO_HOME=str(home)).returncode == 0


def test_stop_spares_a_server_in_use(litgo: Litgo, database_url: str, embedded_home: Path) -> None:
    """A server that others use is not taken from them; they are named."""
    assert str(os.getpid()) in refused(litgo("db", "stop", LITGO_HOME=str(embedded_home)))
