"""Two orders of the same lawyers merged into one list, and which of the two a client's offers speak for. Pure.

Whether the wins of many clients are more than chance is told by the tests of `sequential`; who is interleaved, and when, is decided
elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Team = Literal["champion", "challenger"]
TEAMS: tuple[Team, Team] = ("champion", "challenger")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Interleaved(Generic[_T]):
    """One list of k places, best first, and the team that chose each."""

    order: list[_T]
    teams: list[Team]


@dataclass(frozen=True)
class Wins:
    """Units that each team won, and those that neither did."""

    champion: int
    challenger: int
    ties: int


def team_draft(champion: Sequence[_T], challenger: Sequence[_T], top_n: int, generator: np.random.Generator) -> Interleaved[_T]:
    """Merge two orders: the team with fewer places chooses next, a coin where they are even; it takes its first that is not taken.

    Both teams expect as many places, and as good ones, wherever the orders agree: two equal orders win equally often. A lawyer whom both
    would choose belongs to the team whose turn it was. The published algorithm ends where one order is used up; here the other one goes on,
    because a client is shown as many lawyers as there are. Radlinski, Kurup and Joachims (2008), "How Does Clickthrough Data Reflect
    Retrieval Quality?", algorithm 2.

    Args:
        champion, challenger: indices or ids, best first, each at most once an order.
        top_n: places wanted, >= 1.
        generator: tosses the coins; derived from the request's id, it tosses them again alike.
    """
    orders = {"champion": champion, "challenger": challenger}
    places: dict[_T, Team] = {}
    following: dict[Team, int] = dict.fromkeys(TEAMS, 0)
    chosen: dict[Team, int] = dict.fromkeys(TEAMS, 0)
    while len(places) < top_n:
        for team in TEAMS:
            while following[team] < len(orders[team]) and orders[team][following[team]] in places:
                following[team] += 1
        left = [team for team in TEAMS if following[team] < len(orders[team])]
        if not left:
            break
        fewest = min(chosen.values())
        next_ones = [team for team in left if chosen[team] == fewest] or left
        team = next_ones[int(generator.integers(2))] if len(next_ones) == 2 else next_ones[0]
        places[orders[team][following[team]]] = team
        chosen[team] += 1
    return Interleaved(list(places), list(places.values()))


def credit(teams: Sequence[Team], accepted: Sequence[bool]) -> Team | None:
    """The team with more accepted offers of a unit; None where they have as many. Both have one entry a place."""
    balance = sum((1 if team == "challenger" else -1) for team, taken in zip(teams, accepted, strict=True) if taken)
    return None if balance == 0 else "challenger" if balance > 0 else "champion"


def count_wins(unit: NDArray[np.integer], challenger: NDArray[np.bool_], accepted: NDArray[np.bool_]) -> Wins:
    """`credit` of many units at once. Shapes (n,): an offer's unit, whether the challenger chose it, whether it was accepted."""
    if unit.size == 0:
        return Wins(0, 0, 0)
    _, of = np.unique(unit, return_inverse=True)
    balance = np.bincount(of, accepted * np.where(challenger, 1.0, -1.0))
    return Wins(int(np.sum(balance < 0)), int(np.sum(balance > 0)), int(np.sum(balance == 0)))
