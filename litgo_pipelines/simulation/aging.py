"""Time passes: all that a simulated marketplace remembers lies further back, while every clock stays as it is.

A week that takes a week would keep nobody's attention. Moved are the moments of facts; what becomes due by that is `visitors`' and the
product's own business.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from litgo_pipelines.marketplace import tables
from litgo_pipelines.settings import LitgoError
from litgo_pipelines.simulation.engine import read_origin

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

UNTOUCHED: Final = frozenset(
    {"decisions", "external_calls", "embedding_spaces", "embeddings", "events", "metric_rollups", "metric_cursors", "job_runs", "job_dues"}
)
"""The histories of decisions and of requests to vendors are never changed, not even by time; vectors would be indexed anew; what was
counted, and what Dagster did, happened when it happened."""

_ASIDE = timedelta(days=400_000)
"""Where the rows of a table stand for a moment that would otherwise meet one another on their way."""


class NotToBeAged(LitgoError):
    """The marketplace is not a simulated one: nobody may move its moments."""


def moments(table: Table) -> list[str]:
    """Names of the columns of a table that hold a moment."""
    from sqlalchemy import DateTime

    return [column.name for column in table.columns if isinstance(column.type, DateTime)]


def age(engine: Engine, by: timedelta) -> int:
    """Move every moment of a simulated marketplace's facts into the past, in one transaction; the number of rows moved.

    Args:
        engine: acts under the role `litgo_simulator`.

    Raises:
        NotToBeAged: the simulator did not make it; nothing is moved.
        NotSimulated: rows lie in it that the simulator did not make; nothing is moved.
        ValueError: `by` is not positive; time does not run back.
    """
    if by <= timedelta(0):
        raise ValueError("time passes forwards: give a positive stretch")
    count = 0
    with engine.begin() as connection:
        if read_origin(connection) is None:
            raise NotToBeAged("this marketplace was not made by `litgo simulate`: its moments are facts and stay")
        for table in tables.metadata.sorted_tables:
            names = moments(table)
            if table.name in UNTOUCHED or not names:
                continue
            if _is_told_apart_by(table, names):
                connection.execute(_shift(table, names, _ASIDE))
                count += connection.execute(_shift(table, names, by - _ASIDE)).rowcount
            else:
                count += connection.execute(_shift(table, names, by)).rowcount
    return count


def _shift(table: Table, names: list[str], by: timedelta) -> Any:
    return table.update().values({name: table.c[name] - by for name in names})


def _is_told_apart_by(table: Table, names: list[str]) -> bool:
    """Whether rows differ by a moment alone: one that is moved before its neighbour would take its place."""
    from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint

    keys = [each.columns for each in table.constraints if isinstance(each, PrimaryKeyConstraint | UniqueConstraint)]
    keys += [each.columns for each in table.indexes if each.unique]
    return any(column.name in names for key in keys for column in key)
