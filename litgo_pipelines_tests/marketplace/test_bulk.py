"""Binary COPY into a table."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Engine,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, IntegrityError

from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.bulk import copy_rows
from litgo_pipelines.marketplace.database import open_engine

EVERYTHING = Table(
    "everything",
    MetaData(schema="scratch"),
    Column("id", Uuid, primary_key=True),
    Column("words", Text),
    Column("single", REAL),
    Column("double", Double),
    Column("small", SmallInteger),
    Column("whole", Integer),
    Column("big", BigInteger),
    Column("truth", Boolean),
    Column("moment", DateTime(timezone=True)),
    Column("list", ARRAY(Text)),
    Column("numbers", ARRAY(Double)),
    Column("document", JSONB),
)
NAMES = tuple(column.name for column in EVERYTHING.columns)


def test_every_type_arrives_as_it_was_and_none_as_null(empty_database_url: str) -> None:
    """Each column type that our tables have takes its values and NULL."""
    from psycopg.types.json import Jsonb

    moment = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    full = (uuid.uuid4(), "ação\n\t\\ '\"", 0.5, 1 / 3, -3, 2**31 - 1, -(2**63), True, moment, ["a", "é", ""], [0.1, -2.5])
    rows: list[tuple[Any, ...]] = [(*full, Jsonb({"a": [1, None]})), (uuid.uuid4(), *[None] * 11)]
    engine = open_engine(empty_database_url, role=None)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA scratch")
        EVERYTHING.create(connection)
        assert copy_rows(connection, EVERYTHING, NAMES, rows) == 2
    with engine.connect() as connection:
        read = {row.id: tuple(row) for row in connection.execute(EVERYTHING.select())}
    engine.dispose()
    assert read[full[0]] == (*full, {"a": [1, None]})
    assert read[rows[1][0]] == rows[1]


def test_every_column_of_our_tables_has_a_type_that_copy_knows() -> None:
    """Nobody finds out in production that a column cannot be written in bulk."""
    from sqlalchemy.dialects import postgresql

    from litgo_pipelines.marketplace.bulk import _POSTGRES_TYPES

    kinds = {column.type.compile(postgresql.dialect()) for table in tables.metadata.tables.values() for column in table.columns}  # type: ignore[no-untyped-call]
    # Vectors are not copied, and the number of a transaction is the server's to give.
    assert kinds - {"HALFVEC", "xid8"} <= set(_POSTGRES_TYPES)


def test_rows_go_with_the_callers_transaction(engine: Engine) -> None:
    """What was copied is gone after a rollback and there after a commit."""
    with engine.connect() as connection:
        transaction = connection.begin()
        copy_rows(connection, tables.clients, ("id", "city"), [(uuid.uuid4(), "Recife")])
        transaction.rollback()
        with connection.begin():
            copy_rows(connection, tables.clients, ("id", "city"), [(uuid.uuid4(), "Natal")])
    with engine.connect() as connection:
        assert [row.city for row in connection.execute(tables.clients.select())] == ["Natal"]


def test_copying_outside_of_a_transaction_is_refused(engine: Engine) -> None:
    """Nothing would ever commit those rows, so it is an error instead of a silent loss."""
    with engine.connect() as connection, pytest.raises(RuntimeError, match="transaction"):
        copy_rows(connection, tables.clients, ("id",), [(uuid.uuid4(),)])


def test_no_rows_are_no_work(engine: Engine) -> None:
    """An empty list writes nothing and says so."""
    with engine.begin() as connection:
        assert copy_rows(connection, tables.clients, ("id",), []) == 0


def test_a_row_that_breaks_a_constraint_fails_all_of_them(engine: Engine) -> None:
    """The database's word stands, and the whole transaction with it."""
    one = uuid.uuid4()

    def write() -> None:
        with engine.begin() as connection:
            copy_rows(connection, tables.clients, ("id",), [(one,), (one,)])

    with pytest.raises(IntegrityError, match="pk_clients"):
        write()
    with engine.connect() as connection:
        assert connection.execute(tables.clients.select()).all() == []


def test_a_connection_that_is_lost_meanwhile_is_told_as_such(engine: Engine, database_url: str) -> None:
    """Callers that treat a lost connection on its own can tell it from a refused row."""

    def rows(pid: int) -> Iterator[tuple[uuid.UUID]]:
        administrator = open_engine(database_url, role=None)
        with administrator.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        administrator.dispose()
        for _ in range(100_000):
            yield (uuid.uuid4(),)

    def write() -> None:
        with engine.begin() as connection:
            copy_rows(connection, tables.clients, ("id",), rows(connection.execute(text("SELECT pg_backend_pid()")).scalar_one()))

    with pytest.raises(DBAPIError) as caught:
        write()
    assert caught.value.connection_invalidated
