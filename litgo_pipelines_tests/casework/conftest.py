"""A town of lawyers and cases, written row by row as a test tells it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.casework.market import Market
    from litgo_pipelines.casework.matching import Case

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
AREA = "civil"


@dataclass
class Facts:
    """A marketplace database that a test looks into."""

    engine: Engine

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """What a query finds."""
        from sqlalchemy import text

        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), values).all())

    def value(self, statement: str, **values: Any) -> Any:
        """The one value that a query finds."""
        ((found,),) = self.rows(statement, **values)
        return found

    def execute(self, statement: str, **values: Any) -> None:
        from sqlalchemy import text

        with self.engine.begin() as connection:
            connection.execute(text(statement), values)


@dataclass
class Town(Facts):
    """Writes facts into a marketplace database; everything that is not said is ordinary and happened at noon."""

    _client: UUID | None = None
    _names: Any = field(default_factory=itertools.count)

    def add(self, table: str, **values: Any) -> UUID:
        from litgo_pipelines.marketplace import tables

        row = {"id": uuid4()} | values
        with self.engine.begin() as connection:
            connection.execute(tables.metadata.tables[f"litgo.{table}"].insert().values(**row))
        made: UUID = row["id"]
        return made

    @property
    def client(self) -> UUID:
        if self._client is None:
            self._client = self.add("clients", created_at=NOON)
        return self._client

    def lawyer(self, **values: Any) -> UUID:
        given = {"name": f"L{next(self._names)}", "primary_area": AREA, "created_at": NOON - timedelta(days=400)}
        return self.add("lawyers", **(given | values))

    def lawyers(self, count: int, **values: Any) -> list[UUID]:
        return [self.lawyer(**values) for _ in range(count)]

    def case(self, **values: Any) -> UUID:
        given = {
            "client_id": self.client,
            "area": AREA,
            "urgency_h": 48,
            "radius_km": 50,
            "summary": "cobrança indevida",
            "created_at": NOON,
        }
        return self.add("cases", **(given | values))

    def contract(self, lawyer: UUID, at: datetime = NOON, status: str = "active", case: UUID | None = None) -> UUID:
        of = self.case(status="contracted") if case is None else case
        return self.add("contracts", case_id=of, lawyer_id=lawyer, client_id=self.client, status=status, created_at=at)

    def offer(self, lawyer: UUID, at: datetime = NOON, status: str = "pending", case: UUID | None = None, hours: float = 24) -> UUID:
        of = self.case() if case is None else case
        answered = at + timedelta(hours=1) if status in {"interested", "declined"} else None
        expires = at + timedelta(hours=hours)
        return self.add("offers", case_id=of, lawyer_id=lawyer, status=status, sent_at=at, expires_at=expires, responded_at=answered)

    def review(self, contract: UUID, lawyer: UUID, outcome: str, at: datetime = NOON) -> UUID:
        given = {"contract_id": contract, "lawyer_id": lawyer, "client_id": self.client, "rating": 4}
        return self.add("reviews", **given, outcome=outcome, created_at=at)

    def market(self, as_of: datetime = NOON) -> Market:
        from litgo_pipelines.casework.market import read_market

        with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            return read_market(connection, as_of)

    def as_case(self, case: UUID) -> Case:
        from litgo_pipelines.casework.matching import Case

        ((*row,),) = self.rows(
            "SELECT id, client_id, area, subarea, urgency_h, radius_km, summary, lat, lng FROM litgo.cases WHERE id = :id", id=case
        )
        return Case(*row)


@pytest.fixture
def town(engine: Engine) -> Town:
    """An empty town in a fresh database."""
    return Town(engine)
