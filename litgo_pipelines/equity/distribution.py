"""What a month's distribution of cases and offers looks like: inequality, spread, and gaps between groups of lawyers.

Pure. Which lawyers are counted is read in `casework.distribution`; what is promised of these figures stands in `equity.promises`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.equity.capacity import BANDS
from litgo_pipelines.equity.inequality import gini


@dataclass(frozen=True)
class Lawyers:
    """The lawyers of one moment, arrays of shape (n,): those eligible in at least one area with demand, idle ones included.

    Attributes:
        cases: contracts of the 30 days, cancelled ones left out.
        capacity: cases a month, >= 1.
        offers: offers received in the 30 days.
        area: name of the primary area.
        newcomer: whether the lawyer joined within the settings' newcomer days.

    Raises:
        ValueError: the arrays differ in shape, or hold what cannot be.
    """

    cases: NDArray[np.int64]
    capacity: NDArray[np.int64]
    offers: NDArray[np.int64]
    area: NDArray[np.str_]
    newcomer: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if {np.shape(getattr(self, field.name)) for field in fields(self)} != {(len(self.cases),)}:
            raise ValueError("the arrays must be of one shape (n,)")
        if np.any(self.cases < 0) or np.any(self.offers < 0) or np.any(self.capacity < 1):
            raise ValueError("cases and offers must not be negative, and capacity must be at least 1")

    @property
    def utilisation(self) -> NDArray[np.float64]:
        """u: cases over capacity, shape (n,); 1 is a month fully used."""
        return np.asarray(self.cases / self.capacity, dtype=np.float64)


@dataclass(frozen=True)
class GroupFigures:
    """A group of at least one lawyer.

    Attributes:
        mean_utilisation: mean of u over its lawyers.
        gini: Gini of u; None where none of them has a case.
    """

    name: str
    lawyers: int
    mean_utilisation: float
    gini: float | None


@dataclass(frozen=True)
class Distribution:
    """The figures of one moment. What is unknown is None, never 0: without lawyers all are; without anything to share a Gini is.

    Attributes:
        lawyers: lawyers counted: active, eligible in at least one area with demand, idle ones included.
        cases: their contracts of the 30 days.
        offers: offers they received in the 30 days.
        gini_utilisation: Gini of u = cases over capacity.
        gini_offers: Gini of offers over capacity. Over bare counts, whoever can take more would count as favoured.
        share_offered: share of the lawyers who received at least one offer.
        mean_utilisation: mean of u; 1 is a month fully used.
        p95_minus_p5, max_minus_min: spread of u, in percentage points.
        gap_area, gap_capacity, gap_new: greatest less least mean utilisation (in u: .2 is 20 percentage points) over groups of enough
            lawyers: primary areas, capacity bands, newcomers and established lawyers. None where fewer than two such groups are.
        areas, bands: the groups that the gaps are taken over, and those too small for it. Empty groups are left out.
        tenure: `newcomers` and `established`. Newcomers are those who joined lately, not those to whom the bonus of the offer rule is
            due (`is_new`: received few offers): that group ends with offers, so comparing it would measure its own definition. Their
            utilisation is everybody's, not scaled to the days they have been there: an empty month is filled within days, so that
            scaling would show as favoured whoever just came.
    """

    lawyers: int
    cases: int
    offers: int
    gini_utilisation: float | None
    gini_offers: float | None
    share_offered: float | None
    mean_utilisation: float | None
    p95_minus_p5: float | None
    max_minus_min: float | None
    gap_area: float | None
    gap_capacity: float | None
    gap_new: float | None
    areas: tuple[GroupFigures, ...]
    bands: tuple[GroupFigures, ...]
    tenure: tuple[GroupFigures, ...]

    def figures(self) -> dict[str, float | None]:
        """The figures by name, without the groups."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _GROUPS}

    def change_since(self, before: Distribution | None) -> dict[str, float | None]:
        """Each figure less that of `before`, by name; None where one of the two is unknown."""
        then = {} if before is None else before.figures()
        return {name: _difference(value, then.get(name)) for name, value in self.figures().items()}

    def to_json(self) -> dict[str, Any]:
        """As values that JSON holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Distribution:
        """What `to_json` gave, from JSON and back.

        Raises:
            TypeError: fields are missing, or unknown ones are there.
        """
        groups = {name: tuple(GroupFigures(**one) for one in values[name]) for name in _GROUPS}
        return cls(**{**values, **groups})


_GROUPS = ("areas", "bands", "tenure")


def distribution(lawyers: Lawyers, *, least_lawyers: int) -> Distribution:
    """The figures of these lawyers.

    Args:
        least_lawyers: groups with fewer are not compared, >= 1.
    """
    used = lawyers.utilisation
    offered = lawyers.offers / lawyers.capacity
    areas = tuple(_groups(used, lawyers.area))
    bands = tuple(_groups(used, *_bands(lawyers.capacity)))
    tenure = tuple(_groups(used, lawyers.newcomer.astype(np.intp), ["established", "newcomers"]))
    return Distribution(
        lawyers=used.size,
        cases=int(lawyers.cases.sum()),
        offers=int(lawyers.offers.sum()),
        gini_utilisation=_gini(used),
        gini_offers=_gini(offered),
        share_offered=float(np.mean(lawyers.offers > 0)) if used.size else None,
        mean_utilisation=float(used.mean()) if used.size else None,
        p95_minus_p5=100 * float(np.subtract(*np.percentile(used, [95, 5]))) if used.size else None,
        max_minus_min=100 * float(used.max() - used.min()) if used.size else None,
        gap_area=_gap(areas, least_lawyers),
        gap_capacity=_gap(bands, least_lawyers),
        gap_new=_gap(tenure, least_lawyers),
        areas=areas,
        bands=bands,
        tenure=tenure,
    )


def _bands(capacity: NDArray[np.int64]) -> tuple[NDArray[np.intp], list[str]]:
    """The number of each lawyer's capacity band, shape (n,), and the bands' names."""
    bounds = [most for most, _ in BANDS[:-1]]
    return np.searchsorted(bounds, capacity, side="left"), [name for _, name in BANDS]


def _groups(
    used: NDArray[np.float64], keys: NDArray[np.str_] | NDArray[np.intp], names: Sequence[str] | None = None
) -> Iterator[GroupFigures]:
    """The figures of each group of lawyers with the same key, in the order of the keys; `names` says what a number stands for."""
    found, member = np.unique(keys, return_inverse=True)
    order = np.argsort(member, kind="stable")
    parts = np.split(used[order], np.cumsum(np.bincount(member, minlength=found.size))[:-1]) if found.size else []
    for key, part in zip(found, parts, strict=True):
        yield GroupFigures(str(key) if names is None else names[int(key)], part.size, float(part.mean()), _gini(part))


def _gap(groups: Sequence[GroupFigures], least_lawyers: int) -> float | None:
    means = [group.mean_utilisation for group in groups if group.lawyers >= least_lawyers]
    return max(means) - min(means) if len(means) > 1 else None


def _gini(values: NDArray[np.float64]) -> float | None:
    return gini(values) if values.any() else None


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
