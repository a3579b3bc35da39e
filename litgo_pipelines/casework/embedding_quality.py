"""How well texts are found by words, by vectors and by both, where somebody judged what should be found.

The measures themselves are in `ranking.retrieval`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from litgo_pipelines.casework.embedding import Embedding
from litgo_pipelines.casework.triage_examples import Example, KeptExamples, read_examples
from litgo_pipelines.marketplace.vectors import Vectors
from litgo_pipelines.ranking.retrieval import BM25, HYBRID, Judgements, Scored, ndcg_by_query, summarised

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Engine

LEAST_SHARE: Final = 0.9
"""What the fallback must reach at least of the preferred model's NDCG@10."""

SAME_SUBAREA, SAME_AREA = 2.0, 1.0
"""Relevance of a labelled example to another one."""

MOST_EXAMPLES: Final = 600
"""Labelled examples that are compared: few enough for a check of seconds. Of a third of them either scorer comes out ahead by chance."""

_FOLDS = 2


@dataclass(frozen=True)
class Quality:
    """What was measured on judged queries.

    Attributes:
        scored: each scorer, the best first.
        fallback: the scorer that is left without any vendor.
        primary: the scorer that is used while the vendor answers; None: no vendor is configured, or it did not answer.
        trouble: why a model is missing.
    """

    scored: list[Scored]
    fallback: str
    primary: str | None
    trouble: str | None = None

    def of(self, scorer: str) -> float:
        """NDCG@10 of a scorer."""
        return next(one.ndcg_at_10 for one in self.scored if one.scorer == scorer)

    @property
    def share(self) -> float | None:
        """The fallback's quality over the preferred one's; None where there is nothing to compare with."""
        return None if self.primary is None else self.of(self.fallback) / self.of(self.primary)

    @property
    def faults(self) -> list[str]:
        """What is wrong with the fallback; empty: nothing."""
        found = []
        if self.of(self.fallback) < self.of(BM25):
            found.append(f"{self.fallback} ({self.of(self.fallback):.3f}) is worse than words alone ({self.of(BM25):.3f})")
        if self.share is not None and self.share < LEAST_SHARE:
            found.append(f"without the vendor {self.share:.0%} of its quality is left, less than {LEAST_SHARE:.0%}")
        return found


def measure(embedding: Embedding, judged: Sequence[Judgements], progress: Callable[[int, int], None] = lambda _done, _of: None) -> Quality:
    """Measure every scorer there is on all queries of several corpora.

    Args:
        progress: is told how many of all texts are embedded.

    Raises:
        VendorUnavailable, VendorRefused: the vendor's model did not answer and `FALLBACK_ENABLED` is false.
    """
    import numpy as np

    # Texts of one length together: a model works on the longest of a batch as long as on all of them.
    texts = sorted({text for one in judged for text in (*one.queries, *one.documents)}, key=lambda text: (len(text), text))
    vectors, trouble = _embedded(embedding, texts, progress)
    row = {text: index for index, text in enumerate(texts)}
    parts = [ndcg_by_query(one, {space: _of(one, space, rows, row) for space, rows in vectors.items()}) for one in judged]
    found = {scorer: np.concatenate([part[scorer] for part in parts]) for scorer in parts[0]}
    vendor = embedding.vendor is not None and embedding.vendor.space.name in vectors
    local = None if embedding.local is None else embedding.local.space.name
    fallback = BM25 if local not in vectors else f"{HYBRID} {local}" if vendor else HYBRID
    return Quality(summarised(found), fallback, HYBRID if vendor else None, trouble)


def _embedded(
    embedding: Embedding, texts: Sequence[str], progress: Callable[[int, int], None]
) -> tuple[Mapping[str, NDArray[np.float32]], str | None]:
    """Vectors of all texts in each space that has them all, and why one has not."""
    import numpy as np

    parts, trouble = [], embedding.trouble
    for start in range(0, len(texts), embedding.batch):
        part = embedding.texts(texts[start : start + embedding.batch])
        if part.in_fallback:
            # Half of a space is of no use: the rest is not asked for.
            embedding = replace(embedding, vendor=None)
        trouble = trouble or part.trouble
        parts.append(part.by_space)
        progress(min(start + embedding.batch, len(texts)), len(texts))
    whole = [space for space in embedding.spaces if all(space in part for part in parts)]
    return {space: np.concatenate([part[space] for part in parts]) for space in whole}, trouble


def _of(judged: Judgements, space: str, rows: NDArray[np.float32], row: Mapping[str, int]) -> tuple[Vectors, Vectors]:
    queries, documents = ([row[text] for text in texts] for texts in (judged.queries, judged.documents))
    return Vectors(space, rows[queries]), Vectors(space, rows[documents])


def labelled_examples() -> list[Judgements]:
    """The labelled examples of triage, in halves: each half is looked for in the other, once. What is no case of law is left out."""
    every = [example for example in read_examples() if example.area]
    # They stand by area: taken at even distances, every area is there.
    examples = every[:: math.ceil(len(every) / MOST_EXAMPLES)]
    halves = [examples[fold::_FOLDS] for fold in range(_FOLDS)]
    return [_judged(queries, documents) for queries, documents in zip(halves, reversed(halves), strict=True)]


def with_kept_examples(embedding: Embedding, engine: Engine, at: datetime) -> Embedding:
    """The same models for labelled examples alone: what is stored of them is read, and each model is asked for the rest once."""
    examples = {one.text: one for one in read_examples()}
    vendor, local = (None if one is None else KeptExamples(engine, one, examples, at) for one in (embedding.vendor, embedding.local))
    return replace(embedding, vendor=vendor, local=local)


def _judged(queries: Sequence[Example], documents: Sequence[Example]) -> Judgements:
    import numpy as np

    def relevance(query: Example, document: Example) -> float:
        same_area = query.area == document.area
        return SAME_SUBAREA if same_area and query.subarea == document.subarea else SAME_AREA * same_area

    every = np.arange(len(documents))
    graded = [np.array([relevance(query, document) for document in documents]) for query in queries]
    return Judgements([one.text for one in queries], [one.text for one in documents], [every] * len(queries), graded)
