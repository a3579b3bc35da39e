"""What the benchmarks of one run share: a scratch PostgreSQL server with fresh databases, and somewhere to tell how far they are."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litgo_pipelines.marketplace.embedded import EmbeddedServer

AREAS = ("Trabalhista", "Civil", "Família", "Consumidor", "Tributário", "Penal", "Empresarial", "Previdenciário")


@dataclass
class Bench:
    """One run of benchmarks.

    Attributes:
        home: a folder that goes away with the run.
        small: everything at a fiftieth of its size.
        tell: shows what is being done.
    """

    home: Path
    small: bool
    tell: Callable[[str], None]

    @cached_property
    def server(self) -> EmbeddedServer:
        """The scratch server, started when first asked for. Vacuuming is ours, so that it never falls into a round."""
        from litgo_pipelines.marketplace import embedded

        self.tell("starting PostgreSQL")
        found = embedded.acquire(self.home)
        _execute(found.url("postgres", driver=""), "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")
        return found

    def scaled(self, count: int) -> int:
        """A number of rows at the size of this run."""
        return count // 50 if self.small else count

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The URL of a fresh, migrated marketplace database that is dropped afterwards."""
        from litgo_pipelines.marketplace.database import upgrade

        with self.empty_database(name) as url:
            upgrade(url)
            yield url

    @contextmanager
    def empty_database(self, name: str, driver: str = "psycopg") -> Iterator[str]:
        """The URL of a fresh database that is dropped afterwards."""
        maintenance = self.server.url("postgres", driver="")
        _execute(maintenance, f'CREATE DATABASE "{name}" TEMPLATE template0')
        try:
            yield self.server.url(name, driver=driver)
        finally:
            _execute(maintenance, f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def scratch(small: bool, tell: Callable[[str], None]) -> Iterator[Bench]:
    """A run with a home of its own, which is removed afterwards, server and data included."""
    from litgo_pipelines.marketplace import embedded

    home = Path(tempfile.mkdtemp(prefix="litgo-bench-"))
    try:
        yield Bench(home, small, tell)
    finally:
        data = embedded.data_folder(home)
        embedded.release(home)
        shutil.rmtree(home, ignore_errors=True)
        # As root in a private temp folder the data lie elsewhere.
        if not data.is_relative_to(home):
            shutil.rmtree(data.parent, ignore_errors=True)


def fill(url: str, statements: dict[str, str], parameters: dict[str, Any], tell: Callable[[str], None]) -> None:
    """Run the statements that fill tables, by what they fill; then VACUUM ANALYZE.

    Keys are trusted and secondary indexes are built at the end: the rows fit by construction, and a million of them should not
    take minutes.
    """
    import psycopg

    from litgo_pipelines.marketplace.database import driver_url

    with psycopg.connect(driver_url(url)) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET max_parallel_workers_per_gather = 0")
        connection.execute("SELECT setseed(0.5)")
        definitions = [row[0] for row in connection.execute(_SECONDARY_INDEXES)]
        for name, _ in connection.execute(_DROPPED_INDEXES).fetchall():
            connection.execute(f"DROP INDEX {name}")
        for what, statement in statements.items():
            tell(f"filling {what}")
            connection.execute(statement, parameters)
        tell("building indexes")
        for definition in definitions:
            connection.execute(definition)
    vacuum(url)


def vacuum(url: str, *tables: str) -> None:
    """VACUUM ANALYZE (all tables, if none is named) and a checkpoint: what the server would do between two nights."""
    _execute(url, f"VACUUM ANALYZE {', '.join(tables)}", "CHECKPOINT")


def _execute(url: str, *statements: str) -> None:
    import psycopg

    from litgo_pipelines.marketplace.database import driver_url

    with psycopg.connect(driver_url(url), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


_OWN = """
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'litgo' AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid) AND NOT i.indisunique
"""
_SECONDARY_INDEXES = f"SELECT pg_get_indexdef(i.indexrelid) {_OWN}"
_DROPPED_INDEXES = f"SELECT i.indexrelid::regclass::text, 1 {_OWN}"
