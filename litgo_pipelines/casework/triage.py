"""What a client's own telling is about: area of law, subarea, urgency and complexity, by the nearest labelled examples. Pure.

How near two tellings are is `ranking.retrieval`'s: their words (BM25), with those that mean the same (`triage_words`), and their vectors
where both have one in the same space. Where examples and vectors come from, and what becomes of the answer, is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.triage_examples import Complexity, Example
from litgo_pipelines.casework.triage_words import enriched, plain
from litgo_pipelines.marketplace.vectors import Vectors
from litgo_pipelines.ranking.retrieval import BM25, Lexicon, hybrid, words

NEAREST_OF_AN_AREA: Final = 5
"""An area is as near as so many of its nearest examples are on average: one alone may share a name or a town."""
NEAREST_OF_A_SUBAREA: Final = 2
MOST_LIKELY: Final = 3

_RIDGE = 1.0
_STEPS = 25

_SOON = r"(hoje|amanha|agora|de madrugada|esta noite|em poucas horas)"
_EVENT = r"(audiencia|julgamento|juri|leilao|despejo|prazo|cirurgia|operar|operacao|internad[oa]|medico|juiz|mandado)"
URGENT: Final = (
    (12, r"audiencia de custodia|preso em flagrante|prenderam|risco de (vida|morte)|\buti\b|(vai|ameaca|ameacou|disse que) me mat"),
    (24, rf"liminar|\b{_EVENT}\b[^.!?]{{0,40}}\b{_SOON}\b|\b{_SOON}\b[^.!?]{{0,40}}\b{_EVENT}\b"),
    (48, r"prazo (termina|acaba|vence)|(termina|acaba|vence) o prazo|ultimo dia|leilao"),
)
"""Hours that a telling leaves at most where it says so, without accents. They shorten what the neighbours say, never lengthen it."""


@dataclass(frozen=True)
class Near:
    """A labelled example, and how near it is: a sum of standardised scores, comparable within one answer only."""

    example: str
    area: str | None
    subarea: str | None
    nearness: float


@dataclass(frozen=True)
class Judged:
    """What a telling was found to be about.

    Attributes:
        area, subarea: None: not sure enough.
        confidence: that the likeliest area is right, 0..1.
        space: in which it was compared with the examples.
        likely: the likeliest areas, the likeliest first.
        nearest: the examples that say most.
    """

    area: str | None
    subarea: str | None
    urgency_h: int
    complexity: Complexity
    confidence: float
    space: str
    likely: tuple[str, ...]
    nearest: tuple[Near, ...]


@dataclass(frozen=True)
class Triage:
    """Judges tellings by labelled examples.

    Attributes:
        examples: of one area at least; those without an area speak for abstaining.
        threshold: confidence below which no area is named.
        corpora: vectors of the examples, one row each, in each space that there are.
    """

    examples: tuple[Example, ...]
    threshold: float
    corpora: tuple[Vectors, ...] = ()

    def judge(self, text: str, embedded: Sequence[Vectors] = ()) -> Judged:
        """Say what a telling is about.

        Args:
            embedded: the telling's vectors, one row each, the preferred space first. It is compared in the first space in which the
                examples have vectors too; in none by its words alone.
        """
        for vector in embedded:
            for way in self._ways:
                if way.corpus is not None and way.corpus.space == vector.space:
                    return self._judged(text, way, way.corpus.cosines(vector)[:, 0].astype(np.float64))
        return self._judged(text, self._by_words, None)

    def with_corpus(self, corpus: Vectors) -> Triage:
        """The same with vectors in one more space."""
        return Triage(self.examples, self.threshold, (*self.corpora, corpus))

    def prepare(self) -> None:
        """Compute at once what the first telling would have to wait for."""
        self._by_words, self._ways  # noqa: B018

    @cached_property
    def lexicon(self) -> Lexicon:
        """The words of the examples."""
        return Lexicon([enriched(one.text) for one in self.examples])

    @cached_property
    def _labels(self) -> _Labels:
        return _Labels.of(self.examples)

    @cached_property
    def _by_words(self) -> _Way:
        return _Way.fitted(self, None)

    @cached_property
    def _ways(self) -> tuple[_Way, ...]:
        return tuple(_Way.fitted(self, corpus) for corpus in self.corpora)

    def _judged(self, text: str, way: _Way, cosines: NDArray[np.float64] | None) -> Judged:
        lexical, once = self._told(text)
        nearness = _nearness(lexical, cosines)
        labels = self._labels
        found = labels.compare(text, nearness, once)
        confidence = way.confidence.of(found)
        area = labels.areas[found.order[0]]
        sure = confidence >= self.threshold
        votes = _nearest(nearness, labels.members[found.order[0]], NEAREST_OF_AN_AREA)
        # Neighbours that are no nearer than the rest still count a little: somebody has to say.
        weights = np.maximum(nearness[votes], 0.1)
        return Judged(
            area=area if sure else None,
            subarea=self._subarea(nearness, area) if sure else None,
            urgency_h=min(_weighted_median([self.examples[one].urgency_h for one in votes], weights), most_hours(text)),
            complexity=self._complexity(votes, weights),
            confidence=confidence,
            space=way.space,
            likely=tuple(labels.areas[one] for one in found.order[:MOST_LIKELY]),
            nearest=tuple(self._near(one, nearness) for one in _nearest(nearness, np.arange(len(nearness)), NEAREST_OF_AN_AREA)),
        )

    def _told(self, text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """BM25 of a telling with every example, and the same with each of its words counted once. Shapes (n,)."""
        told = enriched(text)
        return self.lexicon.scores(told), self.lexicon.scores(told, once=True)

    def _subarea(self, nearness: NDArray[np.float64], area: str) -> str:
        names = {one.subarea or "": None for one in self.examples if one.area == area}

        def near(name: str) -> float:
            members = np.array([row for row, one in enumerate(self.examples) if (one.area, one.subarea) == (area, name)])
            return float(nearness[_nearest(nearness, members, NEAREST_OF_A_SUBAREA)].mean())

        return max(names, key=near)

    def _complexity(self, votes: NDArray[np.intp], weights: NDArray[np.float64]) -> Complexity:
        shares: dict[Complexity, float] = {"LOW": 0.0, "MEDIUM": 0.0, "HIGH": 0.0}
        for one, weight in zip(votes, weights, strict=True):
            shares[self.examples[one].complexity] += float(weight)
        return max(shares, key=lambda name: shares[name])

    def _near(self, row: int, nearness: NDArray[np.float64]) -> Near:
        one = self.examples[row]
        return Near(one.id, one.area, one.subarea, round(float(nearness[row]), 3))


def most_hours(text: str) -> int:
    """Hours that a telling leaves at most, by the words of `URGENT` in it; very many where it has none."""
    told = plain(text)
    return min((hours for hours, words in URGENT if re.search(words, told)), default=10**6)


@dataclass(frozen=True)
class _Compared:
    """Areas by how near they are.

    Attributes:
        order: rows of the areas, the nearest first.
        margin: by how much the first is nearer than all else, examples without an area included; negative where those are nearer.
        shared: how much the telling has in common in words with the examples of the first that share most, >= 0. Each word counts once,
            so that nothing is surer for being said again.
        length: how many words the telling has, in logarithm, >= 0: among many some are shared with anything.
    """

    order: list[int]
    margin: float
    shared: float
    length: float


@dataclass(frozen=True)
class _Labels:
    """Which examples each area has.

    Attributes:
        areas: their names; members: rows of their examples; others: rows of the examples without an area.
    """

    areas: list[str]
    members: list[NDArray[np.intp]]
    others: NDArray[np.intp]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> _Labels:
        areas = list(dict.fromkeys(one.area for one in examples if one.area is not None))
        rows = {area: np.array([row for row, one in enumerate(examples) if one.area == area], dtype=np.intp) for area in (*areas, None)}
        return cls(areas, [rows[area] for area in areas], rows[None])

    def compare(self, text: str, nearness: NDArray[np.float64], once: NDArray[np.float64]) -> _Compared:
        """Compare the areas by how near their nearest examples are; NaN do not count.

        Args:
            once: BM25 of the telling with each example, each of its words counted once; shape (n,).
        """
        near = [_mean_of_nearest(nearness, members) for members in self.members]
        order = sorted(range(len(near)), key=lambda one: -near[one])
        rivals = [near[one] for one in order[1:]] + [_mean_of_nearest(nearness, self.others)]
        shared, length = _mean_of_nearest(once, self.members[order[0]]), len(set(words(text)))
        return _Compared(order, near[order[0]] - max(rivals), float(np.log1p(shared)), float(np.log1p(length)))


@dataclass(frozen=True)
class _Confidence:
    """P(the likeliest area is right), by logistic regression with a ridge.

    It is a logistic function of the area's lead, of the words shared with it, and of how many words there are to share.

    Attributes:
        weights: of 1, margin, shared and length.
    """

    weights: tuple[float, ...]

    def of(self, found: _Compared) -> float:
        return float(1 / (1 + np.exp(-np.clip(np.dot(self.weights, _inputs(found)), -30, 30))))

    @classmethod
    def fitted(cls, compared: Sequence[_Compared], right: Sequence[bool]) -> _Confidence:
        """Newton's method, as in Hastie, Tibshirani and Friedman (2009), section 4.4.1."""
        seen = np.array([_inputs(one) for one in compared])
        target, weights = np.array(right, dtype=float), np.zeros(seen.shape[1])
        for _ in range(_STEPS):
            likely = 1 / (1 + np.exp(-np.clip(seen @ weights, -30, 30)))
            slope = seen.T @ (target - likely) - _RIDGE * weights
            curve = (seen.T * (likely * (1 - likely))) @ seen + _RIDGE * np.eye(len(weights))
            weights = weights + np.linalg.solve(curve, slope)
        return cls(tuple(float(one) for one in weights))


def _inputs(found: _Compared) -> tuple[float, ...]:
    return 1.0, found.margin, found.shared, found.length


@dataclass(frozen=True)
class _Way:
    """One way to compare, with how much its answers can be trusted: each example was judged by all the others."""

    corpus: Vectors | None
    confidence: _Confidence

    @property
    def space(self) -> str:
        return space_name(None if self.corpus is None else self.corpus.space)

    @classmethod
    def fitted(cls, triage: Triage, corpus: Vectors | None) -> _Way:
        cosines = None if corpus is None else corpus.cosines(corpus).astype(np.float64)
        labels, compared, right = triage._labels, [], []
        for row, one in enumerate(triage.examples):
            # Nothing about itself.
            lexical, once = (_except(scores, row) for scores in triage._told(one.text))
            nearness = _nearness(lexical, None if cosines is None else _except(cosines[row], row))
            found = labels.compare(one.text, nearness, once)
            compared.append(found)
            right.append(labels.areas[found.order[0]] == one.area)
        return cls(corpus, _Confidence.fitted(compared, right))


def space_name(space: str | None) -> str:
    """Of the comparison by words, and by vectors of a space where there is one."""
    return BM25 if space is None else f"{BM25}+{space}"


def _except(values: NDArray[np.float64], row: int) -> NDArray[np.float64]:
    found = values.copy()
    found[row] = np.nan
    return found


def _nearness(lexical: NDArray[np.float64], cosines: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Of one telling to every example, mean about 0; NaN where the lexical one is. Shape (n,)."""
    return hybrid(lexical, np.full(len(lexical), np.nan) if cosines is None else cosines)


def _nearest(nearness: NDArray[np.float64], rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Those of `rows` with the greatest nearness, the nearest first."""
    known = rows[~np.isnan(nearness[rows])]
    return np.asarray(known[np.argsort(-nearness[known], kind="stable")][:most], dtype=np.intp)


def _mean_of_nearest(nearness: NDArray[np.float64], rows: NDArray[np.intp]) -> float:
    """0, the mean of all, where there is none."""
    nearest = _nearest(nearness, rows, NEAREST_OF_AN_AREA)
    return float(nearness[nearest].mean()) if len(nearest) else 0.0


def _weighted_median(values: Sequence[int], weights: NDArray[np.float64]) -> int:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return int(values[order[int(np.searchsorted(reached, reached[-1] / 2))]])
