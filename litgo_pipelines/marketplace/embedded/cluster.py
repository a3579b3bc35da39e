"""What the data folder holds: a finished cluster of our version, made by initdb, and the databases in it.

The process that serves it is `postmaster`; tables and migrations are the marketplace's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from litgo_pipelines.marketplace.embedded.places import Site
from litgo_pipelines.marketplace.embedded.programs import MAJOR_VERSION, run
from litgo_pipelines.marketplace.embedded.server import SUPERUSER, EmbeddedServer, EmbeddedServerError

_DATABASES = ("litgo", "dagster", "mlflow")


def has_data(site: Site) -> bool:
    """Whether a finished cluster lies in the data folder; remains of anything else are removed.

    A cluster is moved into place when its initdb has finished, so a folder with neither PG_VERSION nor a control file never was
    one.
    """
    version_file = site.data_dir / "PG_VERSION"
    if version_file.exists():
        version = version_file.read_text().strip()
        if version != MAJOR_VERSION:
            message = f"{site.data_dir} holds data of PostgreSQL {version}, not {MAJOR_VERSION}. Dump them with that version"
            raise EmbeddedServerError(f"{message} and restore them into a new LITGO_HOME.")
        return True
    if (site.data_dir / "global" / "pg_control").exists():
        message = f"{site.data_dir} holds a damaged PostgreSQL (PG_VERSION is missing). Restore it from a backup"
        raise EmbeddedServerError(f"{message}, or move the folder away to begin with empty data.")
    if site.data_dir.exists():
        shutil.rmtree(site.data_dir)
    return False


def initialise(site: Site, programs: Path) -> None:
    """Run initdb in a folder beside the data folder and move the result into place."""
    prefix = f"{site.data_dir.name}.initdb-"
    for remains in site.data_dir.parent.glob(f"{prefix}*"):
        with _flocked(remains):
            shutil.rmtree(remains)
    fresh = Path(tempfile.mkdtemp(prefix=prefix, dir=site.data_dir.parent))
    with _flocked(fresh) as lock:
        if site.account is not None:
            os.chown(fresh, site.account.uid, site.account.gid)
        options = ["-U", SUPERUSER, "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--auth-local=trust", "--auth-host=reject", "--no-instructions"]
        run([str(programs / "initdb"), "-D", str(fresh), *options], site.account, keep=[lock])
        fresh.rename(site.data_dir)
        _sync_folder(site.data_dir.parent)


def create_databases(server: EmbeddedServer, log: Path) -> None:
    """Create the databases that are missing."""
    import psycopg
    from psycopg import sql

    try:
        with psycopg.connect(server.url("postgres", driver=""), autocommit=True, connect_timeout=30) as connection:
            present = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in _DATABASES:
                if name not in present:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        message = f"The embedded PostgreSQL runs but does not serve: {str(error).strip()}."
        raise EmbeddedServerError(f"{message} Read {log}.") from error


@contextlib.contextmanager
def _flocked(folder: Path) -> Iterator[int]:
    """Hold `folder`; a program that inherits the descriptor holds it on after our death, so that nobody clears it away early."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
