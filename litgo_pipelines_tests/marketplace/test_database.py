"""Reaching the database: its schema, its roles, and errors that say what to do."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from litgo_pipelines.marketplace import database
from litgo_pipelines.marketplace.database import APP_ROLE, SIMULATOR_ROLE, DatabaseError, Role, Services, open_engine
from litgo_pipelines.settings import load_settings


def _execute(url: str, statement: str, role: Role | None = None) -> Any:
    engine = open_engine(url, role, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            done = connection.execute(text(statement))
            return done.scalar() if done.returns_rows else None
    finally:
        engine.dispose()


def _told(action: Callable[[], object]) -> str:
    with pytest.raises(DatabaseError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_upgrade_brings_an_empty_database_to_the_head_and_a_second_changes_nothing(empty_database_url: str) -> None:
    """Upgrading is idempotent."""
    assert database.schema_status(empty_database_url).current is None
    first = database.upgrade(empty_database_url)
    assert first.up_to_date
    _execute(empty_database_url, "INSERT INTO litgo.clients (id) VALUES (gen_random_uuid())")
    assert database.upgrade(empty_database_url) == first
    assert _execute(empty_database_url, "SELECT count(*) FROM litgo.clients") == 1
    database.require_current(empty_database_url)


def test_upgrades_by_two_processes_at_once_take_turns(empty_database_url: str) -> None:
    """Both end well, and the schema is there once."""
    code = "import sys; from litgo_pipelines.marketplace.database import upgrade; print(upgrade(sys.argv[1]).up_to_date)"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, empty_database_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=60) for process in processes]
    assert [out for out, _ in ended] == ["True\n", "True\n"], ended
    assert _execute(empty_database_url, "SELECT count(*) FROM litgo.alembic_version") == 1


def test_a_migration_that_fails_leaves_the_database_as_it_was(empty_database_url: str) -> None:
    """A table that is in the way fails the upgrade in one line, and nothing of it stays."""
    _execute(empty_database_url, "CREATE SCHEMA litgo")
    _execute(empty_database_url, "CREATE TABLE litgo.offers (id int)")
    assert "offers" in _told(lambda: database.upgrade(empty_database_url))
    assert database.schema_status(empty_database_url).current is None
    assert _execute(empty_database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'litgo'") == 1


def test_a_database_that_lacks_migrations_says_which_command_to_run(empty_database_url: str) -> None:
    """`require_current` refuses it."""
    assert "litgo db upgrade" in _told(lambda: database.require_current(empty_database_url))


@pytest.mark.parametrize("action", [database.upgrade, database.require_current, database.schema_status])
def test_a_newer_database_is_refused(action: Callable[[str], object], database_url: str) -> None:
    """A revision that this code does not know is neither used nor changed."""
    _execute(database_url, "UPDATE litgo.alembic_version SET version_num = '9999'")
    assert "newer than this code" in _told(lambda: action(database_url))
    assert _execute(database_url, "SELECT version_num FROM litgo.alembic_version") == "9999"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://nobody@127.0.0.1:1/litgo", "cannot use the database"),
        ("postgresql://nobody@no-such-host.invalid/litgo", "cannot use the database"),
        ("mysql://somebody@localhost/litgo", "must start with postgresql://"),
        ("nonsense", "must start with postgresql://"),
        ("postgresql://somebody@localhost:port/litgo", "cannot be read"),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_line(url: str, reason: str) -> None:
    """Nobody there, or no URL at all: the message says so, without a traceback's worth of text."""
    assert reason in _told(lambda: database.schema_status(url))
    assert reason in _told(lambda: database.upgrade(url))


def test_errors_do_not_show_what_was_asked(database_url: str) -> None:
    """They end in logs and in Dagster's event log; whoever looks for a mistake at home may ask for it."""
    for options, shown in (({}, False), ({"hide_parameters": False}, True)):
        engine = open_engine(database_url, **options)
        with pytest.raises(ProgrammingError) as told, engine.connect() as connection:
            connection.execute(text("SELECT * FROM litgo.nowhere WHERE name = :name"), {"name": "Maria"})
        engine.dispose()
        assert ("Maria" in str(told.value)) == shown


def test_a_password_is_not_told(database_url: str) -> None:
    """Errors about the database do not carry its password."""
    for url in ("postgresql://somebody:sesame@127.0.0.1:1/litgo", "postgresql://somebody:sesame@localhost:port/litgo"):
        assert "sesame" not in _told(lambda url=url: database.schema_status(url))  # type: ignore[misc]


@pytest.mark.parametrize("given", ["postgres://a@h/d", "postgresql://a@h/d", "postgresql+psycopg2://a@h/d", "postgresql+psycopg://a@h/d"])
def test_every_way_to_write_the_url_gets_the_one_driver(given: str) -> None:
    """Application code uses psycopg 3, whatever the URL named."""
    assert database.application_url(given) == "postgresql+psycopg://a@h/d"
    assert database.driver_url(given) == "postgresql://a@h/d"


def test_given_services_are_used_as_given(tmp_path: Any) -> None:
    """With all three URLs no server is started; the environment for other processes names the same ones."""
    settings = load_settings(
        litgo_home=tmp_path,
        database_url="postgres://a@h/litgo",
        dagster_postgres_url="postgresql+psycopg2://a@h/dagster",
        mlflow_tracking_uri="http://mlflow:5000",
    )
    services = database.services_for(settings)
    assert services == Services("postgresql+psycopg://a@h/litgo", "postgresql+psycopg2://a@h/dagster", "http://mlflow:5000", None)
    assert services.environment(settings) == {
        "DATABASE_URL": services.database,
        "DAGSTER_POSTGRES_URL": services.dagster,
        "MLFLOW_TRACKING_URI": services.mlflow,
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        "LITGO_HOME": str(tmp_path),
        "MPLCONFIGDIR": str(tmp_path / "cache" / "matplotlib"),
    }
    assert list(tmp_path.iterdir()) == []


def test_product_code_acts_as_its_own_role(engine: Engine) -> None:
    """Also on a connection that was used and given back before."""
    for _ in range(2):
        with engine.connect() as connection:
            assert connection.execute(text("SELECT current_user")).scalar_one() == APP_ROLE


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM litgo.simulation_truth",
        "INSERT INTO litgo.simulation_truth VALUES ('case', gen_random_uuid(), '{1}')",
        "DELETE FROM litgo.simulation_truth",
        "UPDATE litgo.alembic_version SET version_num = 'x'",
        "DELETE FROM litgo.alembic_version",
        "CREATE TABLE litgo.mine (id int)",
        "DROP TABLE litgo.offers",
        "ALTER TABLE litgo.simulation_truth OWNER TO litgo_app",
    ],
)
def test_product_code_may_not(statement: str, database_url: str) -> None:
    """Hidden truth is hidden, and the schema is migrations' alone."""
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        _execute(database_url, statement, APP_ROLE)


def test_product_code_may_read_and_write_the_facts(database_url: str) -> None:
    """Reading the revision and writing rows needs no more than the application's role."""
    assert _execute(database_url, "SELECT count(*) FROM litgo.alembic_version", APP_ROLE) == 1
    _execute(database_url, "INSERT INTO litgo.match_history (event, case_id, lawyer_id, label) "
             "VALUES ('match', gen_random_uuid(), gen_random_uuid(), 'won')", APP_ROLE)  # fmt: skip


def test_the_simulator_reads_and_writes_hidden_truth(database_url: str) -> None:
    """Its role owns that table, and may not touch the revision either."""
    _execute(database_url, "INSERT INTO litgo.simulation_truth VALUES ('case', gen_random_uuid(), '{1}')", SIMULATOR_ROLE)
    assert _execute(database_url, "SELECT count(*) FROM litgo.simulation_truth", SIMULATOR_ROLE) == 1
    with pytest.raises(ProgrammingError, match="permission denied"):
        _execute(database_url, "DELETE FROM litgo.alembic_version", SIMULATOR_ROLE)


@pytest.fixture
def humble_url(empty_database_url: str) -> Iterator[str]:
    """The URL of a database whose owner may not create roles, as hosted databases often are."""
    name, user = make_url(empty_database_url).database, f"humble_{uuid.uuid4().hex[:8]}"
    _execute(empty_database_url, f"CREATE ROLE {user} LOGIN")
    _execute(empty_database_url, f'ALTER DATABASE "{name}" OWNER TO {user}')
    # An extension that is not marked as trusted is an administrator's to install.
    _execute(empty_database_url, f"CREATE SCHEMA litgo AUTHORIZATION {user}")
    _execute(empty_database_url, "CREATE EXTENSION vector SCHEMA litgo")
    yield make_url(empty_database_url).set(username=user).render_as_string(hide_password=False)
    _execute(empty_database_url, f"REASSIGN OWNED BY {user} TO CURRENT_USER")
    _execute(empty_database_url, f"DROP OWNED BY {user}")
    _execute(empty_database_url, f"DROP ROLE {user}")


def test_an_owner_who_may_not_create_roles_can_upgrade_and_work(humble_url: str) -> None:
    """Product code then acts as that user."""
    assert database.upgrade(humble_url).up_to_date
    user = make_url(humble_url).username
    assert _execute(humble_url, "SELECT current_user", APP_ROLE) == user
    _execute(humble_url, "INSERT INTO litgo.clients (id) VALUES (gen_random_uuid())", APP_ROLE)
    database.require_current(humble_url)


def test_without_the_simulators_role_one_line_says_what_is_missing(humble_url: str) -> None:
    """Whoever cannot act as the role is told which right to ask for."""
    database.upgrade(humble_url)
    message = _told(lambda: database.require_role(humble_url, SIMULATOR_ROLE))
    assert SIMULATOR_ROLE in message
    assert "CREATEROLE" in message


def test_the_simulators_role_is_there_where_roles_could_be_made(database_url: str) -> None:
    """Nothing is refused."""
    database.require_role(database_url, SIMULATOR_ROLE)
    database.require_role(database_url, APP_ROLE)


def test_roles_granted_later_are_taken_up_by_the_next_upgrade(humble_url: str, empty_database_url: str) -> None:
    """An administrator grants them; one more upgrade, and product code acts under its role and cannot read the hidden truth."""
    database.upgrade(humble_url)
    user = make_url(humble_url).username
    _execute(empty_database_url, f"GRANT {APP_ROLE}, {SIMULATOR_ROLE} TO {user}")
    database.upgrade(humble_url)
    database.require_role(humble_url, SIMULATOR_ROLE)
    assert _execute(humble_url, "SELECT current_user", APP_ROLE) == APP_ROLE
    assert _execute(humble_url, "SELECT count(*) FROM litgo.lawyers", APP_ROLE) == 0
    with pytest.raises(ProgrammingError, match="permission denied"):
        _execute(humble_url, "SELECT count(*) FROM litgo.simulation_truth", APP_ROLE)


def test_pgvector_that_this_user_may_not_install_is_said_in_one_line(humble_url: str, empty_database_url: str) -> None:
    """The message names the statement that an administrator has to run; nothing is left half done."""
    _execute(empty_database_url, "DROP EXTENSION vector")
    message = _told(lambda: database.upgrade(humble_url))
    assert "CREATE EXTENSION vector" in message
    assert database.schema_status(humble_url).current is None
