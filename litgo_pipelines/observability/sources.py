"""What the collector asks: sources of samples. Which there are is decided where the collector is put together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """One value of a metric of `metrics.METRICS`; of a histogram use `Distribution`."""

    metric: str
    value: float
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True)
class Distribution:
    """The state of one series of a histogram.

    Attributes:
        counts: observations by upper bound, not cumulative; the last bound is infinity.
        total: sum of what was observed.
    """

    metric: str
    counts: Mapping[float, float]
    total: float
    labels: Labels = field(default_factory=dict)

    def cumulative(self, bounds: Sequence[float]) -> list[tuple[float, float]]:
        """Observations at or below each bound and in all, ascending."""
        listed = (*bounds, math.inf)
        return [(bound, sum(count for upper, count in self.counts.items() if upper <= bound)) for bound in listed]


class Source(Protocol):
    """One place that figures come from. It is read in a thread of its own, so a slow one delays no other.

    Attributes:
        name: as it is shown in `collector_source_up`.
    """

    name: str

    def read(self) -> Sequence[Sample | Distribution]:
        """All samples as of now. What raises is shown as a source that is down."""
        ...


EVERY_SECONDS: Final = 5.0
"""How often a source is read."""
