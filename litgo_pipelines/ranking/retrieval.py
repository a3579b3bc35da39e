"""How near texts are to a query: by their words (BM25), by their vectors, and by both; and how good such orders are. Pure.

What makes vectors is not known here. Reference of BM25: Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and
Beyond".
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.vectors import Vectors
from litgo_pipelines.ranking.evaluation import paired_bootstrap
from litgo_pipelines.ranking.text import STOP_WORDS

DEPTH: Final = 10
STEM: Final = 6
"""Letters of a word that count: Portuguese inflects at the end."""

BM25, HYBRID = "bm25", "hybrid"

_WORD = re.compile(r"\w\w+")
_SILENT = frozenset(STOP_WORDS)


def words(text: str) -> list[str]:
    """The words of a text that count, without accents, cut to their beginnings."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(letter))
    return [word[:STEM] for word in _WORD.findall(plain) if word not in _SILENT]


class Lexicon:
    """Documents by their words.

    Args:
        documents: n texts.
    """

    def __init__(self, documents: Sequence[str]) -> None:
        import bm25s

        # It takes the liberty of logging how far it is.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        self._count = len(documents)
        told = [words(document) for document in documents]
        # Of documents without any word there is no index.
        self._index: Any = bm25s.BM25() if any(told) else None
        if self._index is not None:
            self._index.index(told, show_progress=False)

    def scores(self, query: str, *, once: bool = False) -> NDArray[np.float64]:
        """BM25 of every document, at least 0; 0 where no word is shared. Shape (n,).

        Args:
            once: count each word of the query once, however often it is there.
        """
        known = [] if self._index is None else [word for word in words(query) if word in self._index.vocab_dict]
        known = list(dict.fromkeys(known)) if once else known
        return np.asarray(self._index.get_scores(known), dtype=np.float64) if known else np.zeros(self._count)


def hybrid(lexical: NDArray[np.float64], cosine: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Sum of both scores of the documents of a corpus, each standardised over the corpus.

    Args:
        lexical, cosine: of one query with each document, shape (n,); NaN where a document has no vector: it is judged by its words alone.

    Returns:
        Shape (n,), mean about 0.
    """
    return standardised(lexical) + np.nan_to_num(standardised(cosine))


def standardised(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Scores with mean 0 and deviation 1; all 0 where they are alike. NaN stay and do not count. Shape (n,)."""
    found = np.asarray(scores, dtype=np.float64)
    known = found[~np.isnan(found)]
    if known.size == 0:
        return found
    deviation = known.std()
    return np.asarray((found - known.mean()) / (deviation if deviation > 1e-12 else np.inf))


@dataclass(frozen=True)
class Judgements:
    """Queries with documents of judged relevance.

    Attributes:
        queries, documents: texts.
        pairs: of each query the indices of its documents, two at least.
        relevance: of the same, >= 0.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    pairs: Sequence[NDArray[np.intp]]
    relevance: Sequence[NDArray[np.float64]]


@dataclass(frozen=True)
class Scored:
    """Mean NDCG@10 of a scorer with its 95 % interval, a bootstrap over queries."""

    scorer: str
    ndcg_at_10: float
    low: float
    high: float


def ndcg_by_query(judged: Judgements, embedded: Mapping[str, tuple[Vectors, Vectors]]) -> dict[str, NDArray[np.float64]]:
    """NDCG@10 of each query by scorer: `bm25`, each space, `hybrid` (BM25 with the first space) and `hybrid SPACE` (with each other one).

    Args:
        embedded: unit vectors of the queries and of the documents, by the name of their space; the preferred space first.

    Returns:
        Shape (q,) each, 0..1, as `sklearn.metrics.ndcg_score` has it: linear gain, ties averaged, 0 where nothing is relevant.

    Raises:
        SpacesDiffer: queries and documents lie in different spaces.
    """
    from sklearn.metrics import ndcg_score

    lexicon = Lexicon(judged.documents)
    found: dict[str, list[float]] = {}
    for number, (pairs, relevance) in enumerate(zip(judged.pairs, judged.relevance, strict=True)):
        for scorer, scores in _scores(number, judged, lexicon, embedded):
            found.setdefault(scorer, []).append(float(ndcg_score([relevance], [scores[pairs]], k=DEPTH)))
    return {scorer: np.array(values) for scorer, values in found.items()}


def _scores(
    number: int, judged: Judgements, lexicon: Lexicon, embedded: Mapping[str, tuple[Vectors, Vectors]]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    lexical = lexicon.scores(judged.queries[number])
    yield BM25, lexical
    for place, (space, (queries, documents)) in enumerate(embedded.items()):
        cosine = Vectors(queries.space, queries.rows[number : number + 1]).cosines(documents)[0].astype(np.float64)
        yield space, cosine
        yield HYBRID if place == 0 else f"{HYBRID} {space}", hybrid(lexical, cosine)


def summarised(found: Mapping[str, NDArray[np.float64]]) -> list[Scored]:
    """Means with their intervals, the best first."""
    scored = [Scored(scorer, *paired_bootstrap(values, np.zeros_like(values))) for scorer, values in found.items()]
    return sorted(scored, key=lambda one: -one.ndcg_at_10)
