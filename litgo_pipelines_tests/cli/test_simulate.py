"""`litgo simulate`: a marketplace to look at."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import make_url

from litgo_pipelines.cli.simulate import progress_bar, simulate, simulate_until
from litgo_pipelines.marketplace.database import DatabaseError, Services, open_engine, upgrade
from litgo_pipelines.settings import LitgoError, load_settings
from litgo_pipelines.simulation.engine import Plan, Progress
from litgo_pipelines_tests.cli.conftest import Litgo

UNTIL = "2026-03-10T12:00:00"


@pytest.fixture
def services(services: dict[str, str], mlflow_uri: str) -> dict[str, str]:
    """The same, with a registry."""
    return services | {"MLFLOW_TRACKING_URI": mlflow_uri}


def _execute(url: str, *statements: str) -> None:
    engine = open_engine(url, role=None, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_marketplace_is_made_and_lives_on(litgo: Litgo, services: dict[str, str], database_url: str) -> None:
    """The counts are told as JSON and are those of the database; a later call lives the time that passed, with the same lawyers."""
    done = litgo("simulate", "--lawyers", "20", "--days", "4", "--seed", "5", "--as-of", UNTIL, "--json", **services)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["lawyers"], told["days"]) == (20, pytest.approx(4))
    engine = open_engine(database_url)
    with engine.connect() as connection:
        for table in ("lawyers", "cases", "offers", "contracts", "reviews"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM litgo.{table}").scalar_one() == told[table]
    engine.dispose()
    later = litgo("simulate", "--lawyers", "99", "--as-of", "2026-03-11T12:00:00", **services)
    assert later.returncode == 0, later.stderr
    assert later.stdout.startswith("20 lawyers; 1.00 days: ")


def test_a_database_with_rows_of_others_is_refused_in_one_line(litgo: Litgo, services: dict[str, str], database_url: str) -> None:
    """Real lawyers are never mixed with made-up ones."""
    _execute(database_url, "INSERT INTO litgo.lawyers (id, name, primary_area) VALUES (gen_random_uuid(), 'Real', 'civil')")
    done = litgo("simulate", "--lawyers", "5", "--days", "1", **services)
    assert done.returncode == 2
    assert "the simulator did not make" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture
def humble_url(empty_database_url: str) -> Iterator[str]:
    """The URL of an upgraded database whose owner may not create roles."""
    name, user = make_url(empty_database_url).database, f"humble_{uuid.uuid4().hex[:8]}"
    _execute(
        empty_database_url,
        f"CREATE ROLE {user} LOGIN",
        f'ALTER DATABASE "{name}" OWNER TO {user}',
        f"CREATE SCHEMA litgo AUTHORIZATION {user}",
        "CREATE EXTENSION vector SCHEMA litgo",
    )
    url = make_url(empty_database_url).set(username=user).render_as_string(hide_password=False)
    upgrade(url)
    yield url
    _execute(empty_database_url, f"REASSIGN OWNED BY {user} TO CURRENT_USER", f"DROP OWNED BY {user}", f"DROP ROLE {user}")


def test_without_the_simulators_role_nothing_is_simulated(humble_url: str, mlflow_uri: str, tmp_path: Path) -> None:
    """One line says which right is missing, and no row is written."""
    settings = load_settings(litgo_home=tmp_path)
    given = Services(humble_url, "unused", mlflow_uri, None)
    with pytest.raises(DatabaseError, match="CREATEROLE") as caught:
        simulate_until(settings, given, Plan(5, 1, 1), datetime(2026, 3, 10, tzinfo=UTC), lambda _: None)
    assert "\n" not in str(caught.value)
    engine = open_engine(humble_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM litgo.lawyers").scalar_one() == 0
    engine.dispose()


def test_progress_is_shown_on_the_side(capsys: pytest.CaptureFixture[str]) -> None:
    """The bar goes to stderr, so that stdout holds the answer alone; no days at all do not break it."""
    with progress_bar("simulating") as show:
        show(Progress(days=0.0, days_done=0.0, lawyers=3))
        show(Progress(days=2.0, days_done=1.0, lawyers=3, cases=1234))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1,234 cases" in shown.err


def test_the_future_is_not_simulated() -> None:
    """One line, before anything is started."""
    with pytest.raises(LitgoError, match="future"):
        simulate(lawyers=10, days=1, seed=1, utilisation=0.6, as_of=datetime(2999, 1, 1, tzinfo=UTC), as_json=False)
