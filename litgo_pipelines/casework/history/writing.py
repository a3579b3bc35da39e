"""Writing rows to the database: staging them, then one transaction that corrects and adds.

An import is all or nothing. The rows are copied into a temporary table of this connection, batch by batch, each committed at once:
no transaction is open while the file is read, because one would hold back every reader of `events`. One transaction at the end
then corrects and adds the rows; whatever breaks before it commits leaves the history as it was. Other imports wait for that
transaction, readers do not.

What the rows are made of is `checking`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from litgo_pipelines.casework.history.checking import STAGED
from litgo_pipelines.casework.history.lines import one_line
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

_IDENTITY = ("event", "case_id", "lawyer_id", "occurred_at")
_CONTENT = (*FEATURE_COLUMNS, "label", "position", "area")


def _listed(columns: Iterable[str], table: str = "") -> str:
    return ", ".join(f"{table}.{column}" if table else column for column in columns)


_SAME_ROW = """known.event = latest.event AND known.case_id = latest.case_id AND known.lawyer_id = latest.lawyer_id
    AND known.occurred_at IS NOT DISTINCT FROM latest.occurred_at"""

_KEEP_LATEST = f"""
CREATE TEMPORARY TABLE history_latest AS
SELECT DISTINCT ON ({_listed(_IDENTITY)})
    {_listed((*_IDENTITY, *_CONTENT))}, last_value(line) OVER arrival AS line, last_value(ordered_at) OVER arrival AS ordered_at
FROM pg_temp.history_lines
WINDOW arrival AS (
    PARTITION BY {_listed(_IDENTITY)} ORDER BY history_lines.line DESC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
)
ORDER BY {_listed(_IDENTITY)}, history_lines.line DESC
"""

_COUNT = "SELECT count(*) AS rows, count(DISTINCT case_id) AS cases, count(DISTINCT lawyer_id) AS lawyers FROM pg_temp.history_latest"

# Two imports at once would each miss the other's rows; SELECT goes on.
_TAKE_TURNS = "LOCK TABLE litgo.match_history IN SHARE ROW EXCLUSIVE MODE"

_CORRECT = f"""
UPDATE litgo.match_history AS known
SET ({_listed(_CONTENT)}) = ROW({_listed(_CONTENT, "latest")})
FROM pg_temp.history_latest AS latest
WHERE {_SAME_ROW}
    AND ({_listed(_CONTENT, "known")}) IS DISTINCT FROM ({_listed(_CONTENT, "latest")})
"""

# Identities are drawn behind the sort, so `seq` follows the file.
_ADD = f"""
INSERT INTO litgo.match_history ({_listed((*_IDENTITY, *_CONTENT))}, ordered_at)
SELECT {_listed((*_IDENTITY, *_CONTENT), "latest")}, latest.ordered_at
FROM pg_temp.history_latest AS latest
WHERE NOT EXISTS (SELECT FROM litgo.match_history AS known WHERE {_SAME_ROW})
ORDER BY latest.line
"""


class Written(NamedTuple):
    """Different rows of the file, and how many of them corrected one or were added; different cases and lawyers."""

    rows: int
    cases: int
    lawyers: int
    updated: int
    inserted: int


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A connection that is closed afterwards, not returned to the pool: the temporary tables go with it. Raises DatabaseError."""
    import psycopg
    from sqlalchemy.exc import SQLAlchemyError

    from litgo_pipelines.marketplace.database import DatabaseError

    try:
        with engine.connect() as connection:
            try:
                yield connection
            finally:
                connection.invalidate()
    except (SQLAlchemyError, psycopg.Error) as error:
        cause = one_line(getattr(error, "orig", None) or error)
        raise DatabaseError(f"the database failed, nothing was imported: {cause}") from error


def stage(connection: Connection, batches: Iterable[Iterable[tuple[Any, ...]]], on_batch: Callable[[], None]) -> None:
    """Copy rows, in the order of `STAGED`, into a temporary table; `on_batch` is called after each batch, with none open."""
    from litgo_pipelines.marketplace.bulk import copy_rows

    table = _staging_table()
    with connection.begin():
        table.create(connection, checkfirst=False)
    for rows in batches:
        with connection.begin():
            copy_rows(connection, table, STAGED, rows)
        on_batch()


def write(connection: Connection) -> Written:
    """Correct and add what was staged."""
    from sqlalchemy import text

    with connection.begin():
        connection.execute(text("SET LOCAL work_mem = '64MB'"))
        connection.execute(text(_KEEP_LATEST))
        connection.execute(text("ANALYZE pg_temp.history_latest"))
        found = connection.execute(text(_COUNT)).one()
    with connection.begin():
        connection.execute(text(_TAKE_TURNS))
        updated = connection.execute(text(_CORRECT)).rowcount
        inserted = connection.execute(text(_ADD)).rowcount
    return Written(found.rows, found.cases, found.lawyers, updated, inserted)


def _staging_table() -> Table:
    from sqlalchemy import BigInteger, Column, MetaData, Table

    from litgo_pipelines.marketplace.tables import match_history

    columns = [Column(name, BigInteger if name == "line" else match_history.c[name].type) for name in STAGED]
    return Table("history_lines", MetaData(), *columns, schema="pg_temp", prefixes=["TEMPORARY"])
