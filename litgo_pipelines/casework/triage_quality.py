"""How well the triage does on labelled tellings that it does not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from litgo_pipelines.casework.triage import Judged
from litgo_pipelines.casework.triage_examples import Example

WORST_PAIRS: Final = 5
TOO_LATE: Final = 2
"""A telling is judged too late where it is given so many times the hours it has."""


@dataclass(frozen=True)
class OfArea:
    """How the tellings of one area fared.

    Attributes:
        tellings: how many there are.
        right: those whose likeliest area is right, whether it was named or not.
        named: those whose area was named.
        named_right: those of them that are right.
    """

    area: str
    tellings: int
    right: int
    named: int
    named_right: int

    @property
    def accuracy(self) -> float:
        """Of the likeliest area, 0..1."""
        return self.right / self.tellings


@dataclass(frozen=True)
class Confused:
    """How many tellings of an area were most likely another one's."""

    area: str
    taken_for: str
    tellings: int


@dataclass(frozen=True)
class TriageQuality:
    """What was measured; None where there is nothing to measure.

    Attributes:
        space: in which the tellings were compared with the examples.
        tellings: with an area.
        accuracy: of the likeliest area over all of them.
        coverage: share of them whose area was named; accuracy_named: of those.
        subarea_accuracy: of those whose area was named and right.
        mean_confidence: of those whose area was named; near `accuracy_named` where confidence means what it says.
        abstained: share of the tellings without an area of which none was named.
        urgency_error_h: median difference in hours; too_late: share that was given twice the hours it has, or more.
        complexity_accuracy: over all with an area.
        areas: the worst first; confused: the worst pairs.
    """

    space: str
    tellings: int
    accuracy: float
    coverage: float
    accuracy_named: float | None
    subarea_accuracy: float | None
    mean_confidence: float | None
    vague: int
    abstained: float | None
    urgency_error_h: float
    too_late: float
    complexity_accuracy: float
    areas: tuple[OfArea, ...]
    confused: tuple[Confused, ...]


def measure(tellings: Sequence[Example], judged: Sequence[Judged]) -> TriageQuality:
    """Compare what was found with the labels.

    Raises:
        ValueError: no telling has an area.
    """
    pairs = [(one, found) for one, found in zip(tellings, judged, strict=True) if one.area is not None]
    vague = [found for one, found in zip(tellings, judged, strict=True) if one.area is None]
    if not pairs:
        raise ValueError("no telling has an area: there is nothing to measure")
    named = [(one, found) for one, found in pairs if found.area is not None]
    right = [(one, found) for one, found in named if one.area == found.area]
    wrong = Counter((str(one.area), found.likely[0]) for one, found in pairs if one.area != found.likely[0])
    return TriageQuality(
        space=judged[0].space,
        tellings=len(pairs),
        accuracy=sum(one.area == found.likely[0] for one, found in pairs) / len(pairs),
        coverage=len(named) / len(pairs),
        accuracy_named=_share([one.area == found.area for one, found in named]),
        subarea_accuracy=_share([one.subarea == found.subarea for one, found in right]),
        mean_confidence=sum(found.confidence for _, found in named) / len(named) if named else None,
        vague=len(vague),
        abstained=_share([found.area is None for found in vague]),
        urgency_error_h=float(median(abs(one.urgency_h - found.urgency_h) for one, found in pairs)),
        too_late=sum(found.urgency_h >= TOO_LATE * one.urgency_h for one, found in pairs) / len(pairs),
        complexity_accuracy=sum(one.complexity == found.complexity for one, found in pairs) / len(pairs),
        areas=tuple(sorted(_by_area(pairs), key=lambda one: (one.accuracy, one.area))),
        confused=tuple(Confused(area, other, count) for (area, other), count in wrong.most_common(WORST_PAIRS)),
    )


def _by_area(pairs: Sequence[tuple[Example, Judged]]) -> list[OfArea]:
    found = []
    for area in dict.fromkeys(one.area for one, _ in pairs):
        own = [judged for one, judged in pairs if one.area == area]
        named = [one for one in own if one.area is not None]
        found.append(
            OfArea(str(area), len(own), sum(one.likely[0] == area for one in own), len(named), sum(one.area == area for one in named))
        )
    return found


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
