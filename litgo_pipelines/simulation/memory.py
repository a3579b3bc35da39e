"""The simulated lawyers and cases in memory: what `engine` keeps in the database, for marketplaces that are lived through and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.draws import as_numbers
from litgo_pipelines.casework.market import Loads, Market, Profiles, area_pools, as_void, micros
from litgo_pipelines.casework.matching import Candidates, Case
from litgo_pipelines.casework.price_replay import primary_areas
from litgo_pipelines.equity.allocation import never
from litgo_pipelines.ranking.features import PRIMARY_AREA_MATCH
from litgo_pipelines.ranking.text import DIMENSION, vectorise
from litgo_pipelines.simulation import behaviour, truth
from litgo_pipelines.simulation.world import make_cases, make_lawyers, subarea_needs

START = datetime(2026, 1, 1, 5, tzinfo=UTC)
"""02:00 in São Paulo. What happens depends on the seed alone, not on the day it is run."""

_P_WIN_AT_FIRST = 0.2


@dataclass(frozen=True)
class SimulatedCase:
    """A case, when it came in, its hidden traits, shape (5,), and the vector of its text."""

    case: Case
    at: datetime
    traits: NDArray[np.float64]
    vector: NDArray[np.float32]


@dataclass
class World:
    """Lawyers and their hidden traits; arrays of shape (n,) and (n, 7).

    Attributes:
        market: profiles, and loads before anything happened.
        joined: microseconds.
        areas: the main area of each.
        numbers: ids as numbers, for draws.
    """

    seed: int
    market: Market
    traits: NDArray[np.float64]
    joined: NDArray[np.int64]
    areas: NDArray[np.str_]
    numbers: NDArray[np.uint64]
    needs: dict[tuple[str, str], NDArray[np.float64]]
    _vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def make(cls, seed: int, lawyers: int, days: int) -> World:
        """Draw the lawyers; a tenth of them join in the course of the days."""
        people = make_lawyers(seed, lawyers, START, START + timedelta(days=days))
        order = sorted(range(lawyers), key=lambda one: people.rows[one]["id"].bytes)
        rows = [people.rows[one] for one in order]
        ids = as_void([row["id"] for row in rows])
        joined = np.array([micros(row["created_at"]) for row in rows], dtype=np.int64)
        market = Market(_profiles(rows, ids), _loads(people.capacity[order].astype(np.float64), joined), START)
        return cls(seed, market, people.traits[order], joined, primary_areas(market), as_numbers(ids), subarea_needs(seed))

    def day(self, number: int, utilisation: float) -> list[SimulatedCase]:
        """The cases of one day: as many as would fill this share of the capacity of those who are there."""
        since, until = START + timedelta(days=number), START + timedelta(days=number + 1)
        capacity = float(self.market.loads.capacity[self.joined <= micros(since)].sum())
        cases = make_cases(self.seed, since, until, utilisation * capacity / 30 / behaviour.CONTRACTS_PER_CASE, self.needs)
        summaries = [row["summary"] for row in cases.rows]
        fresh = [one for one in dict.fromkeys(summaries) if one not in self._vectors]
        self._vectors.update(zip(fresh, vectorise(fresh), strict=True))
        return [
            SimulatedCase(_case(row), row["created_at"], traits, self._vectors[row["summary"]])
            for row, traits in zip(cases.rows, cases.traits, strict=True)
        ]

    def relevance(self, one: SimulatedCase, candidates: Candidates) -> NDArray[np.float64]:
        """Hidden relevance of the candidates for a case, shape (n,)."""
        members = candidates.members
        near = np.nan_to_num(candidates.features[:, 3].astype(np.float64))
        in_time = np.clip(1 - self.market.profiles.response_h[members] / one.case.urgency_h, 0, 1)
        primary = (candidates.features[:, 0] == PRIMARY_AREA_MATCH).astype(np.float64)
        return truth.relevance(self.traits[members], one.traits, near, in_time, primary)


def _case(row: dict[str, Any]) -> Case:
    names = ("id", "client_id", "area", "subarea", "urgency_h", "radius_km", "summary", "lat", "lng")
    return Case(**{name: row[name] for name in names})


def _profiles(rows: Sequence[dict[str, Any]], ids: NDArray[np.void]) -> Profiles:
    def column(name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in rows], dtype=np.float64)

    nothing = np.zeros(len(rows), dtype=np.int64)
    return Profiles(
        ids=ids,
        uuids=[row["id"] for row in rows],
        row={row["id"].bytes: index for index, row in enumerate(rows)},
        pools=area_pools(tuple(row["primary_area"] for row in rows), tuple(row["specialties"] for row in rows)),
        lat=column("lat"),
        lng=column("lng"),
        qualification=column("cv_score"),
        response_h=column("tempo_resposta_h"),
        rating=column("avaliacao_media"),
        soft_skill=column("kpi_softskill"),
        won=nothing.copy(),
        lost=nothing.copy(),
        received=nothing.copy(),
        texts=np.zeros((len(rows), DIMENSION), dtype=np.float32),
        handled={},
    )


def _loads(capacity: NDArray[np.float64], joined: NDArray[np.int64]) -> Loads:
    count = len(capacity)
    return Loads(
        active=np.ones(count, dtype=bool),
        until=np.full(count, np.iinfo(np.int64).max),
        since=joined,
        capacity=capacity,
        last_offered=np.full(count, never()),
        cases=np.zeros(count),
        in_flight=np.zeros(count),
        p_win=_P_WIN_AT_FIRST,
    )
