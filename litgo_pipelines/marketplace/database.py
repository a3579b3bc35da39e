"""How to reach the marketplace's PostgreSQL, under which role, and whether its schema fits this code.

Which server that is (embedded or given) is decided in `services_for`; how the embedded one is run is told in `embedded`.
Queries live with their callers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from litgo_pipelines.marketplace.names import SCHEMA
from litgo_pipelines.settings import LitgoError, Settings

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

Role = Literal["litgo_app", "litgo_simulator"]

APP_ROLE: Final = "litgo_app"
SIMULATOR_ROLE: Final = "litgo_simulator"
LEAST_SERVER_VERSION = 16

# A server that vanished without a word is noticed within about ten seconds, instead of the quarter of an hour, or more, that TCP grants.
KEEPALIVES: Final = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

# Product code gives up rights it does not need; a cluster whose owner may not create roles keeps its own user.
_TAKE_ROLE = """
SELECT set_config('role', %(role)s, false)
WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = %(role)s AND pg_has_role(current_user, oid, 'member')
                AND has_schema_privilege(oid, (SELECT oid FROM pg_namespace WHERE nspname = 'litgo'), 'USAGE'))
"""

# Where pgvector's types and operators are: in our schema, or where an administrator put them.
_FIND_TYPES = f"SET search_path TO {SCHEMA}, public, extensions"

# Roles belong to the cluster: another database may have made them, or an administrator; who may not make or take them goes on
# without. Repeated on every upgrade, because what this user may do can have changed.
_GRANT_ROLES = """
DO $$
DECLARE wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['litgo_app', 'litgo_simulator'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            END IF;
            IF NOT pg_has_role(current_user, wanted, 'member') THEN
                EXECUTE format('GRANT %I TO current_user', wanted);
            END IF;
        EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
        END;
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted);
        EXECUTE format('GRANT USAGE ON SCHEMA litgo TO %I', wanted);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA litgo TO %I', wanted);
        EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA litgo TO %I', wanted);
        EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON litgo.alembic_version FROM %I', wanted);
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'litgo_app') THEN
        REVOKE ALL ON litgo.simulation_truth FROM litgo_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'litgo_simulator' AND pg_has_role(current_user, oid, 'member')) THEN
        GRANT CREATE ON SCHEMA litgo TO litgo_simulator;
        ALTER TABLE litgo.simulation_truth OWNER TO litgo_simulator;
        REVOKE CREATE ON SCHEMA litgo FROM litgo_simulator;
    END IF;
END $$
"""


class DatabaseError(LitgoError, RuntimeError):
    """The database cannot be used as it is; the message is one line that says what to do."""


@dataclass(frozen=True)
class Services:
    """URLs of the three databases, and where a new MLflow experiment keeps its artifacts (None: the server decides)."""

    database: str
    dagster: str
    mlflow: str
    mlflow_artifacts: str | None

    def environment(self, settings: Settings) -> dict[str, str]:
        """Environment variables with which another process finds the same services."""
        found = {
            "DATABASE_URL": self.database,
            "DAGSTER_POSTGRES_URL": self.dagster,
            "MLFLOW_TRACKING_URI": self.mlflow,
            "DAGSTER_HOME": str(settings.dagster_home),
            "LITGO_HOME": str(settings.litgo_home),
            # Matplotlib would keep its list of fonts in the user's home.
            "MPLCONFIGDIR": str(settings.litgo_home / "cache" / "matplotlib"),
        }
        if self.mlflow_artifacts is not None:
            found["MLFLOW_ARTIFACT_ROOT"] = self.mlflow_artifacts
        return found


def services_for(settings: Settings) -> Services:
    """Find the databases, starting the embedded server if one of them is not given.

    Raises:
        DatabaseError: a given URL is none of PostgreSQL's.
        EmbeddedServerError: the embedded server does not start.
    """
    given = {
        "database": settings.database_url,
        "dagster": settings.dagster_postgres_url,
        "mlflow": settings.mlflow_tracking_uri,
    }
    urls = {name: secret.get_secret_value() for name, secret in given.items() if secret is not None}
    artifacts = settings.mlflow_artifact_root
    if len(urls) < len(given):
        from litgo_pipelines.marketplace import embedded

        server = embedded.acquire(settings.litgo_home)
        if "mlflow" not in urls and artifacts is None:
            artifacts = (settings.litgo_home / "mlflow-artifacts").as_uri()
        urls = {
            "database": server.url("litgo"),
            "dagster": server.url("dagster", driver="psycopg2"),
            "mlflow": server.url("mlflow", driver="psycopg2"),
        } | urls
    return Services(application_url(urls["database"]), urls["dagster"], urls["mlflow"], artifacts)


def application_url(url: str) -> str:
    """The URL with psycopg 3 as driver.

    Raises:
        DatabaseError: the URL is not one of PostgreSQL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise DatabaseError(f"DATABASE_URL must start with postgresql://, not with {scheme!r}")
    return f"postgresql+psycopg://{rest}"


def driver_url(url: str) -> str:
    """The URL as libpq takes it, for drivers other than SQLAlchemy's."""
    return "postgresql://" + url.partition("://")[2]


def open_engine(url: str, role: Role | None = APP_ROLE, *, seconds: float | None = None, **options: Any) -> Engine:
    """An engine whose connections act as `role` where that role exists (None: as the URL's own user).

    Errors of its statements do not show parameters, which may be what clients wrote and belong in no log.

    Args:
        seconds: that a statement may take; None: for ever.

    Raises:
        DatabaseError: the URL cannot be read.
    """
    from sqlalchemy import create_engine, event, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(application_url(url))
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(f"DATABASE_URL cannot be read: {error}") from None
    options = {"hide_parameters": True} | options
    alive = {name: value for name, value in KEEPALIVES.items() if name not in parsed.query}
    engine = create_engine(parsed, connect_args={"connect_timeout": 5, "application_name": "litgo", **alive}, pool_pre_ping=True, **options)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            if role is not None:
                cursor.execute(_TAKE_ROLE, {"role": role})
                cursor.execute(_FIND_TYPES)
            if seconds is not None:
                cursor.execute(f"SET statement_timeout = {1000 * seconds:.0f}")
        connection.commit()

    return engine


def _described(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split())


def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


@dataclass(frozen=True)
class SchemaStatus:
    """Where the database's schema stands: revision ids, None where there is none yet."""

    current: str | None
    head: str

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


def _status(connection: Connection) -> SchemaStatus:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_alembic_config())
    head = script.get_current_head()
    assert head is not None
    current = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise DatabaseError(
            f"the database is at revision {current}, newer than this code (which ends at {head}): install the newer litgo-pipelines"
        )
    return SchemaStatus(current, head)


def _require_server(connection: Connection) -> None:
    from sqlalchemy import text

    version = connection.execute(text("SELECT current_setting('server_version_num')::int / 10000")).scalar_one()
    if version < LEAST_SERVER_VERSION:
        raise DatabaseError(f"the server is PostgreSQL {version}: {LEAST_SERVER_VERSION} or later is needed")
    available = connection.execute(text("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')")).scalar_one()
    if not available:
        raise DatabaseError("the server lacks the extension pgvector: install it there (package postgresql-NN-pgvector) and try again")


def _install_vector(connection: Connection) -> None:
    from sqlalchemy import text

    if connection.execute(text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')")).scalar_one():
        return
    allowed = connection.execute(
        text(
            "SELECT bool_or(trusted AND has_database_privilege(current_database(), 'CREATE')) OR bool_or(NOT superuser) "
            "OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) "
            "FROM pg_available_extension_versions WHERE name = 'vector'"
        )
    ).scalar_one()
    if not allowed:
        raise DatabaseError(
            "this user may not install pgvector: let an administrator run `CREATE EXTENSION vector` in this database, then try again"
        )
    connection.execute(text(f"CREATE EXTENSION vector SCHEMA {SCHEMA}"))


def schema_status(url: str) -> SchemaStatus:
    """Compare the database with this code.

    Raises:
        DatabaseError: unreachable, too old, without pgvector, or newer than this code.
    """
    from sqlalchemy.exc import SQLAlchemyError

    engine = open_engine(url, role=None)
    try:
        with engine.connect() as connection:
            _require_server(connection)
            return _status(connection)
    except SQLAlchemyError as error:
        raise DatabaseError(f"cannot use the database: {_described(error)}") from error
    finally:
        engine.dispose()


def require_current(url: str) -> None:
    """Refuse a database whose schema is not that of this code.

    Raises:
        DatabaseError: see `schema_status`; also when migrations are missing.
    """
    status = schema_status(url)
    if not status.up_to_date:
        raise DatabaseError(f"the database is at revision {status.current}, this code needs {status.head}: run `litgo db upgrade`")


def ensure_schema(settings: Settings, url: str) -> None:
    """Bring the embedded database to this code's revision; refuse a given one that is not there, for its owner decides when it changes.

    Raises:
        DatabaseError: see `upgrade` and `require_current`.
    """
    if settings.database_url is None:
        upgrade(url)
    else:
        require_current(url)


def require_role(url: str, role: Role) -> None:
    """Refuse a database in which this user cannot act as `role`.

    Raises:
        DatabaseError: the role is missing, or is not this user's to take.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    engine = open_engine(url, role)
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT current_user")).scalar_one()
    except SQLAlchemyError as error:
        raise DatabaseError(f"cannot use the database: {_described(error)}") from error
    finally:
        engine.dispose()
    if found != role:
        raise DatabaseError(
            f"{found} cannot act as the role {role}: let an administrator create {role} and grant it, or give {found} CREATEROLE; "
            "then run `litgo db upgrade`"
        )


def upgrade(url: str) -> SchemaStatus:
    """Bring the schema to this code's revision; does nothing where it is there already.

    Raises:
        DatabaseError: see `schema_status`; also when a migration fails, which leaves the database as it was.
    """
    from alembic import command
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    engine = open_engine(url, role=None)
    try:
        with engine.begin() as connection:
            _require_server(connection)
            # Two processes that upgrade at once take turns.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('litgo schema'))"))
            before = _status(connection)
            if not before.up_to_date:
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                config = _alembic_config()
                config.attributes["connection"] = connection
                _install_vector(connection)
                command.upgrade(config, "head")
            connection.execute(text(_GRANT_ROLES))
            return _status(connection)
    except SQLAlchemyError as error:
        raise DatabaseError(f"cannot use the database: {_described(error)}") from error
    finally:
        engine.dispose()
