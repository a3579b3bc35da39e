"""How evenly the areas could have been used at all: what demand and the lawyers' areas leave to any offer rule. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_ROUNDING, _DIGITS = 1e-9, 9
_SOLVED, _INFEASIBLE = 0, 2


@dataclass(frozen=True)
class Group:
    """Lawyers with the same primary area who practise the same areas (the primary one among them), and their capacity together."""

    area: str
    practised: frozenset[str]
    lawyers: int
    capacity: float


@dataclass(frozen=True)
class SmallestGap:
    """The least difference between the areas' mean utilisations, and whether there was room for all contracts.

    Attributes:
        gap: greatest less least mean utilisation over the compared primary areas; None where fewer than two can be compared.
        overload: 1 where all contracts fit; otherwise the share of capacity to which even the best assignment would load somebody
            (1.2: a fifth more than there is room for), and `gap` is the smallest under that load.
        unplaced: contracts in areas that nobody practises; they are in no assignment.
    """

    gap: float | None
    overload: float
    unplaced: int

    def to_json(self) -> dict[str, Any]:
        """As values that JSON holds; the constructor takes them back."""
        return asdict(self)


def smallest_gap(cases_by_area: Mapping[str, int], groups: Sequence[Group], *, least_lawyers: int) -> SmallestGap:
    """The smallest gap in mean utilisation between primary areas that any assignment of these contracts could have reached.

    Every contract goes to a group that practises its area, in fractions if need be, and nobody is loaded above capacity. Inside a
    group all have the same utilisation: lawyers who practise the same areas are treated alike. (Piling cases on those of them with
    little capacity would shift a mean, at the price of the other promises; such assignments are not looked at.) The mean of an area
    is over its lawyers.

    A linear programme (HiGHS) with x[a, g] >= 0 contracts of area a for group g, minimising max - min of the means.

    Args:
        cases_by_area: contracts of the period by the case's area.
        groups: all lawyers counted; best as few groups as there are different ones.
        least_lawyers: primary areas with fewer lawyers are not compared; their lawyers take contracts all the same.

    Raises:
        ValueError: a group without lawyers or capacity.
        ArithmeticError: the solver gave up.
    """
    if any(group.lawyers < 1 or group.capacity <= 0 for group in groups):
        raise ValueError("a group needs at least one lawyer and some capacity")
    reached = set().union(*(group.practised for group in groups)) if groups else set()
    demand = {area: count for area, count in sorted(cases_by_area.items()) if count > 0 and area in reached}
    unplaced = sum(cases_by_area.values()) - sum(demand.values())
    task = _Task.of(demand, groups, least_lawyers)
    if not demand or len(task.means) < 2:
        # Without contracts every mean is 0; without two areas there is nothing to compare.
        return SmallestGap(0.0 if len(task.means) > 1 else None, round(task.overload(), _DIGITS) if demand else 1.0, unplaced)
    overload, found = 1.0, task.gap(1.0)
    if found is None:
        overload = task.overload()
        found = task.gap(overload * (1 + _ROUNDING))
    if found is None:
        raise ArithmeticError("the contracts fit no assignment, although the overload allows for one")
    return SmallestGap(round(max(0.0, found), _DIGITS), round(overload, _DIGITS), unplaced)


@dataclass(frozen=True)
class _Task:
    """The programme's parts over p pairs of area and group.

    Attributes:
        placed: shape (areas, p), sums the contracts of each area.
        load: shape (groups, p), sums the contracts of each group.
        means: mean utilisation of each compared area, as a row of shape (p,).
        demand: shape (areas,).
        capacity: shape (groups,).
    """

    placed: csr_array
    load: csr_array
    means: list[NDArray[np.float64]]
    demand: NDArray[np.float64]
    capacity: NDArray[np.float64]

    @classmethod
    def of(cls, demand: Mapping[str, int], groups: Sequence[Group], least_lawyers: int) -> _Task:
        from scipy.sparse import csr_array

        number = {area: index for index, area in enumerate(demand)}
        pairs = [(number[area], index) for index, group in enumerate(groups) for area in sorted(group.practised & number.keys())]
        of_area, of_group = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        capacity = np.array([group.capacity for group in groups], dtype=np.float64)
        people: dict[str, int] = {}
        for group in groups:
            people[group.area] = people.get(group.area, 0) + group.lawyers
        means = []
        for area in sorted(area for area, count in people.items() if count >= least_lawyers):
            share = np.array([group.lawyers * (group.area == area) / people[area] for group in groups])
            means.append((share / capacity)[of_group])
        one, columns = np.ones(len(pairs)), np.arange(len(pairs))
        return cls(
            csr_array((one, (of_area, columns)), shape=(len(demand), len(pairs))),
            csr_array((one, (of_group, columns)), shape=(len(groups), len(pairs))),
            means,
            np.array(list(demand.values()), dtype=np.float64),
            capacity,
        )

    def gap(self, overload: float) -> float | None:
        """The least max - min of the means with loads up to `overload` times capacity; None where the contracts do not fit."""
        from scipy.sparse import csr_array, hstack, vstack

        rows = csr_array(np.array(self.means))
        one, none = np.ones((rows.shape[0], 1)), np.zeros((rows.shape[0], 1))
        bounds = vstack(
            [
                hstack([self.load, csr_array((self.load.shape[0], 2))]),
                hstack([rows, csr_array(np.hstack([-one, none]))]),
                hstack([-rows, csr_array(np.hstack([none, one]))]),
            ]
        )
        limits = np.concatenate([overload * self.capacity, np.zeros(2 * rows.shape[0])])
        return self._solve([1.0, -1.0], bounds, limits)

    def overload(self) -> float:
        """The least share of capacity, at least 1, within which the contracts fit."""
        from scipy.sparse import csr_array, hstack

        bounds = hstack([self.load, csr_array(-self.capacity[:, None])])
        found = self._solve([1.0], bounds, np.zeros(self.capacity.size))
        if found is None:
            raise ArithmeticError("the contracts fit no assignment at any load")
        return max(1.0, found)

    def _solve(self, extra: list[float], bounds: csr_array, limits: NDArray[np.float64]) -> float | None:
        """Minimise the costs `extra` of the variables after the pairs; None where it is infeasible."""
        from scipy.optimize import linprog
        from scipy.sparse import csr_array, hstack

        pairs = self.placed.shape[1]
        # Interior points are many times faster on the largest programmes; the simplex decides where they do not.
        for method in ("highs-ipm", "highs-ds"):
            found = linprog(  # type: ignore[call-overload]  # its stubs know no sparse matrices
                np.concatenate([np.zeros(pairs), extra]),
                A_ub=bounds,
                b_ub=limits,
                A_eq=hstack([self.placed, csr_array((self.placed.shape[0], len(extra)))]),
                b_eq=self.demand,
                bounds=(0, None),
                method=method,
            )
            if found.status in (_SOLVED, _INFEASIBLE):
                return float(found.fun) if found.status == _SOLVED else None
        raise ArithmeticError(f"the linear programme was not solved: {found.message}")
