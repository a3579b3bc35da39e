"""Where demand and supply meet, by area of law and region, and where they miss each other.

A region is a state. Regions do not decide who is eligible: every lawyer who practises the area is, wherever the client lives, and
distance only ranks. A misfit here says where clients are far from the next lawyer, and lawyers far from the next client.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sqlalchemy import Connection

UNKNOWN = "?"
"""The region of clients and lawyers of whom no state is known."""

Misfit = Literal["no lawyers", "too few lawyers", "no cases"]

_DEMAND = """
SELECT k.area, COALESCE(c.state, :unknown), count(*), count(x.id)
FROM litgo.cases k
JOIN litgo.clients c ON c.id = k.client_id
LEFT JOIN litgo.contracts x ON x.case_id = k.id AND x.status <> 'canceled' AND x.created_at <= :as_of
WHERE k.created_at > CAST(:as_of AS timestamptz) - interval '30 days' AND k.created_at <= :as_of
GROUP BY 1, 2 ORDER BY 1, 2
"""
_SUPPLY = """
SELECT COALESCE(l.state, :unknown), s.area, COALESCE(l.specialties, '{}'), sum(s.capacidade_mensal)
FROM litgo.equity_snapshots s LEFT JOIN litgo.lawyers l ON l.id = s.lawyer_id
WHERE s.as_of = :as_of
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


@dataclass(frozen=True)
class Meeting:
    """Demand and supply of one area in one region over 30 days.

    Attributes:
        cases: of clients of that state.
        contracts: expected of them: cases times the share of all areas' cases that became contracts.
        capacity: of the active lawyers of that state who practise the area. A lawyer's capacity is shared equally over the areas
            practised that somebody asks for (over all of them, where nobody asks for any).
    """

    area: str
    region: str
    cases: int
    contracts: float
    capacity: float

    @property
    def ratio(self) -> float | None:
        """Contracts expected over capacity: above 1 there are too few lawyers; None where there are none."""
        return self.contracts / self.capacity if self.capacity else None

    @property
    def misfit(self) -> Misfit | None:
        """What is wrong, if anything."""
        if self.cases and not self.capacity:
            return "no lawyers"
        if self.contracts > self.capacity:
            return "too few lawyers"
        return None if self.cases else "no cases"


def read_meetings(connection: Connection, as_of: datetime) -> list[Meeting]:
    """Demand and supply of the snapshot of `as_of`, by area and region; empty ones are left out."""
    from sqlalchemy import text

    values = {"as_of": as_of, "unknown": UNKNOWN}
    demand: dict[tuple[str, str], int] = {}
    contracted = 0
    for area, region, cases, contracts in connection.execute(text(_DEMAND), values):
        demand[area, region] = cases
        contracted += contracts
    share = contracted / sum(demand.values()) if demand else 0.0
    asked_for = {area for area, _ in demand}
    supply: dict[tuple[str, str], float] = {}
    for region, primary, specialties, capacity in connection.execute(text(_SUPPLY), values):
        practised = {primary, *specialties}
        shared = practised & asked_for or practised
        for area in shared:
            supply[area, region] = supply.get((area, region), 0.0) + capacity / len(shared)
    return [
        Meeting(area, region, demand.get((area, region), 0), share * demand.get((area, region), 0), supply.get((area, region), 0.0))
        for area, region in sorted(demand.keys() | supply.keys())
    ]


def misfits(meetings: Iterable[Meeting]) -> list[Meeting]:
    """Those where demand and supply miss each other, the worst first.

    Demand without lawyers (most cases first), then too few lawyers (highest ratio first), then lawyers without demand (most capacity
    first).
    """
    found = [one for one in meetings if one.misfit is not None]
    return sorted(found, key=lambda one: (_ORDER.index(one.misfit), -_badness(one), one.area, one.region))


_ORDER: tuple[Misfit | None, ...] = ("no lawyers", "too few lawyers", "no cases")


def _badness(one: Meeting) -> float:
    if one.misfit == "too few lawyers":
        return one.contracts / one.capacity
    return one.cases or one.capacity
