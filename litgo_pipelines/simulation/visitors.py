"""Simulated clients who come through the matching service, several at a time, and what becomes of their cases in the world outside.

The service decides and records, as for any client; here are the questions, and the answers of lawyers and clients at the present moment.
How time passes meanwhile lives in `aging`.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from litgo_pipelines.casework.market import read_market
from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.bulk import copy_rows
from litgo_pipelines.settings import LitgoError
from litgo_pipelines.simulation import fate
from litgo_pipelines.simulation.engine import Origin, read_origin
from litgo_pipelines.simulation.world import Cases, make_cases, subarea_needs

if TYPE_CHECKING:
    import httpx
    from sqlalchemy import Connection, Engine

_ASKED = "id area subarea urgency_h radius_km summary lat lng complexity".split()
_TRIES, _TOO_BUSY, _OK = 3, 503, 200

_LIVED_UNTIL = "UPDATE litgo.marketplace_origin SET simulated_until = GREATEST(simulated_until, :until)"


class NobodyLives(LitgoError):
    """The database holds no simulated marketplace that clients could come to."""


class NotAnswered(LitgoError):
    """The service did not answer a client; the message says what it said."""


@dataclass(frozen=True)
class Visit:
    """A client's question and the service's answer to it.

    Attributes:
        at: when the answer was there.
        seconds: from question to answer.
        answer: as `serving.schemas.MatchAnswer` in JSON.
    """

    client_id: UUID
    case_id: UUID
    at: datetime
    seconds: float
    answer: dict[str, Any]

    @property
    def model_version(self) -> str:
        """What answered."""
        return str(self.answer["model_version"])


class Visitors:
    """The clients of one simulated marketplace.

    Args:
        engine: acts under the role `litgo_simulator`.
        service: speaks to the matching service.
        top_n: lawyers that a client wants.
        at_once: clients who ask at the same time.
    """

    def __init__(self, engine: Engine, service: httpx.Client, *, top_n: int = 5, at_once: int = 4) -> None:
        self._engine, self._service, self._top_n, self._at_once = engine, service, top_n, at_once
        self._came = datetime.min.replace(tzinfo=UTC)

    def come(self, count: int) -> list[Visit]:
        """Let `count` clients ask for lawyers, each for a case of their own, with offers; in the order in which they set out.

        Raises:
            NobodyLives, NotSimulated: there is no simulated marketplace, or more than one.
            NotAnswered: the service refused a client, or was too busy three times.
        """
        with self._engine.begin() as connection:
            cases = self._make(_origin(connection), count)
            copy_rows(
                connection,
                tables.simulation_truth,
                ("entity_type", "entity_id", "traits"),
                (("case", row["id"], traits) for row, traits in zip(cases.rows, cases.traits.tolist(), strict=True)),
            )
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="client") as clients:
            return list(clients.map(self._ask, cases.rows))

    def live(self, until: datetime) -> tuple[int, int]:
        """Let everything happen that is due by `until`: answers, choices, ends of contracts; numbers of new contracts and reviews.

        Raises:
            NobodyLives, NotSimulated: as `come`.
        """
        from sqlalchemy import text

        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
            _origin(connection)
            market = read_market(connection, until)
            happened = fate.happen(connection, market, fate.read_people(connection, market), until)
            connection.execute(text(_LIVED_UNTIL), {"until": until})
        return happened

    def _make(self, origin: Origin, count: int) -> Cases:
        """Exactly so many cases. Draws follow from the second they begin in, which no two waves share."""
        since = max(datetime.now(UTC), self._came + timedelta(seconds=1))
        self._came = since
        drawn = make_cases(origin.seed, since, since + timedelta(seconds=1), 2 * count + 20, subarea_needs(origin.seed))
        return Cases(drawn.clients[:count], drawn.rows[:count], drawn.traits[:count])

    def _ask(self, row: dict[str, Any]) -> Visit:
        case = {name: str(row[name]) if name == "id" else row[name] for name in _ASKED}
        body = {"case": case, "client_id": str(row["client_id"]), "top_n": self._top_n, "create_offers": True}
        begun = time.monotonic()
        for attempt in range(1, _TRIES + 1):
            told = self._service.post("/v1/matches", json=body, headers={"Idempotency-Key": str(row["id"])})
            if told.status_code == _OK:
                return Visit(row["client_id"], row["id"], datetime.now(UTC), time.monotonic() - begun, told.json())
            if told.status_code != _TOO_BUSY or attempt == _TRIES:
                raise NotAnswered(f"a client was answered with {told.status_code}: {told.text[:300]}")
            time.sleep(float(told.headers.get("Retry-After", 1)))
        raise AssertionError("the last try returns or raises")


def _origin(connection: Connection) -> Origin:
    found = read_origin(connection)
    if found is None:
        raise NobodyLives("the marketplace is empty: make one with `litgo simulate`, then clients may come")
    return found
