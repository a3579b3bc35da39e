"""Many rows at once: binary COPY into a table, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

_POSTGRES_TYPES = {
    "BYTEA": "bytea",
    "UUID": "uuid",
    "TEXT": "text",
    "REAL": "float4",
    "DOUBLE PRECISION": "float8",
    "SMALLINT": "int2",
    "INTEGER": "int4",
    "BIGINT": "int8",
    "BOOLEAN": "bool",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "TEXT[]": "text[]",
    "REAL[]": "float4[]",
    "DOUBLE PRECISION[]": "float8[]",
    "JSONB": "jsonb",
}


def copy_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Append `rows` (each in the order of `columns`) to `table`; None is NULL.

    Returns:
        The number of rows written. The transaction stays the caller's.

    Raises:
        RuntimeError: the connection is in no transaction, so that nothing would ever commit the rows.
        DBAPIError: the database refuses a row or goes away; the same class that SQLAlchemy raises for any other statement.
    """
    import psycopg
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.exc import DBAPIError

    # COPY goes past SQLAlchemy, which would not notice that there is something to commit.
    if not connection.in_transaction():
        raise RuntimeError("copy_rows needs a connection that has begun a transaction")

    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = [_POSTGRES_TYPES[table.c[name].type.compile(dialect=dialect)] for name in columns]
    listed = ", ".join(f'"{name}"' for name in columns)
    driver = connection.connection.driver_connection
    assert driver is not None
    statement = f'COPY "{table.schema}"."{table.name}" ({listed}) FROM STDIN (FORMAT BINARY)'
    try:
        with driver.cursor() as cursor:
            with cursor.copy(statement) as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
            return int(cursor.rowcount)
    except psycopg.Error as error:
        lost = connection.dialect.is_disconnect(error, driver, None)  # type: ignore[arg-type]  # the stub knows no driver's errors
        raise DBAPIError.instance(statement, None, error, psycopg.Error, connection_invalidated=lost) from error
