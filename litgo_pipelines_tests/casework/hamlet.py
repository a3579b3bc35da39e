"""A handful of equal lawyers in memory, and a client's case for them: what a rehearsal can be told without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.market import Loads, Market, Profiles, area_pools, as_void
from litgo_pipelines.casework.matching import Candidates, Case, derived_id
from litgo_pipelines.equity.allocation import never
from litgo_pipelines.ranking.text import DIMENSION

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
AREA = "civil"


def hamlet(count: int, capacity: float = 10.0, cases: float = 0.0, p_win: float = 0.2, as_of: datetime = NOON) -> Market:
    """Lawyers who differ in nothing but their id."""
    uuids = [derived_id(UUID(int=one), "lawyer") for one in range(count)]
    unknown, nothing = np.full(count, np.nan), np.zeros(count, dtype=np.int64)
    profiles = Profiles(
        ids=as_void(uuids),
        uuids=uuids,
        row={one.bytes: index for index, one in enumerate(uuids)},
        pools=area_pools((AREA,) * count, ([],) * count),
        lat=unknown,
        lng=unknown,
        qualification=unknown,
        response_h=unknown,
        rating=unknown,
        soft_skill=unknown,
        won=nothing.copy(),
        lost=nothing.copy(),
        received=nothing.copy(),
        texts=np.zeros((count, DIMENSION), dtype=np.float32),
        handled={},
    )
    loads = Loads(
        active=np.ones(count, dtype=bool),
        until=np.full(count, np.iinfo(np.int64).max),
        since=np.full(count, never()),
        capacity=np.full(count, capacity),
        last_offered=np.full(count, never()),
        cases=np.full(count, cases),
        in_flight=np.zeros(count),
        p_win=p_win,
    )
    return Market(profiles, loads, as_of)


def a_case(number: int = 0) -> Case:
    """The case of a number, always the same one."""
    return Case(derived_id(UUID(int=number), "case"), UUID(int=1), AREA, None, 48, 50, "cobrança indevida")


def all_of(market: Market, score: float | NDArray[np.float64] = 0.5) -> Candidates:
    """Every lawyer as a candidate with this score."""
    count = len(market.profiles.ids)
    scores = np.broadcast_to(np.asarray(score, dtype=np.float64), (count,)).copy()
    return Candidates(np.arange(count), np.zeros((count, 8), dtype=np.float32), scores, scores)
