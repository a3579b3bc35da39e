"""The marketplace's database as a verb finds it: reachable, with the schema of this code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from litgo_pipelines.settings import Settings, get_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.marketplace.database import Services


@dataclass(frozen=True)
class Marketplace:
    """What a verb works with; the engine acts under the application's role."""

    settings: Settings
    services: Services
    engine: Engine

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that reads one state of the marketplace."""
        with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield connection


@contextmanager
def open_marketplace() -> Iterator[Marketplace]:
    """Open it for the time of a verb.

    Raises:
        DatabaseError: it cannot be reached, or its schema is not that of this code.
    """
    from litgo_pipelines.marketplace.database import ensure_schema, open_engine, services_for

    settings = get_settings()
    services = services_for(settings)
    ensure_schema(settings, services.database)
    engine = open_engine(services.database)
    try:
        yield Marketplace(settings, services, engine)
    finally:
        engine.dispose()
