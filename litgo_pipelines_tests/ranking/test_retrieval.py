"""How texts are found by words, by vectors and by both, and how such orders are measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import ndcg_score

from litgo_pipelines.marketplace.vectors import SpacesDiffer, Vectors
from litgo_pipelines.ranking.retrieval import Judgements, Lexicon, hybrid, ndcg_by_query, standardised, summarised, words

DOCUMENTS = [
    "O empregado tem direito a horas extras quando a jornada passa de oito horas.",
    "A guarda compartilhada dos filhos é a regra no divórcio.",
    "Horas de sobreaviso não são horas extras.",
    "A multa do condomínio depende de assembleia.",
]


def judged(relevance: Sequence[Sequence[float]], queries: Sequence[str]) -> Judgements:
    """Every document of DOCUMENTS judged for every query."""
    every = np.arange(len(DOCUMENTS))
    return Judgements(queries, DOCUMENTS, [every] * len(queries), [np.array(one, dtype=np.float64) for one in relevance])


def test_words_are_told_without_accents_endings_and_what_does_not_count() -> None:
    """However a client writes, the same words come out."""
    assert words("A JORNADA não é das horas-extras; Indenização!") == ["jornad", "horas", "extras", "indeni"]
    assert words("indenizações") == words("INDENIZAR") == ["indeni"]
    assert words("... 1 a e ?") == []


def test_bm25_is_what_the_formula_says() -> None:
    """Robertson's weights in Lucene's form, k1 1.5 and b .75, computed by hand."""
    told = [words(one) for one in DOCUMENTS]
    length = np.array([len(one) for one in told])
    expected = np.zeros(len(told))
    for word in ("sobrea", "extras"):
        frequency = np.array([one.count(word) for one in told])
        holding = int((frequency > 0).sum())
        rarity = math.log(1 + (len(told) - holding + 0.5) / (holding + 0.5))
        expected += rarity * frequency / (frequency + 1.5 * (1 - 0.75 + 0.75 * length / length.mean()))
    np.testing.assert_allclose(Lexicon(DOCUMENTS).scores("sobreaviso, extras e feriado"), expected, rtol=1e-5)


@pytest.mark.parametrize("query", ["", "de a o", "xyzzy"])
def test_a_query_that_shares_no_word_finds_nothing(query: str) -> None:
    """All documents score 0, also where no document has a word."""
    assert Lexicon(DOCUMENTS).scores(query).tolist() == [0.0] * 4
    assert Lexicon(["", "a e o"]).scores("horas").tolist() == [0.0, 0.0]
    assert Lexicon([]).scores("horas").shape == (0,)


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3, allow_nan=False)), st.floats(0.01, 100), st.floats(-100, 100))
def test_standard_scores_forget_unit_and_origin(scores: np.ndarray, factor: float, offset: float) -> None:
    """Mean 0 and deviation 1, whatever the scale; scores that are alike say nothing."""
    found = standardised(scores)
    assert np.isfinite(found).all()
    assert abs(found.mean()) < 1e-6
    if scores.std() > 1e-3:
        assert found.std() == pytest.approx(1.0)
        np.testing.assert_allclose(standardised(factor * scores + offset), found, atol=1e-6)


def test_a_document_without_a_vector_is_judged_by_its_words() -> None:
    """It neither gains nor loses; without any vector the order is that of the words."""
    lexical = np.array([0.0, 1.0, 2.0, 3.0])
    found = hybrid(lexical, np.array([0.9, np.nan, 0.1, 0.5]))
    assert found[1] == standardised(lexical)[1]
    assert np.argsort(hybrid(lexical, np.full(4, np.nan))).tolist() == [0, 1, 2, 3]


def test_the_measure_is_scikit_learns_of_each_query() -> None:
    """Gain is linear, only judged documents count, and a query of which nothing is relevant counts as 0."""
    queries = ["horas extras", "guarda dos filhos", "condomínio"]
    graded = [[1.0, 0.0, 3.0, 2.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    found = ndcg_by_query(judged(graded, queries), {})
    scores = [Lexicon(DOCUMENTS).scores(query) for query in queries]
    expected = [ndcg_score([relevance], [score], k=10) for relevance, score in zip(graded, scores, strict=True)]
    assert list(found) == ["bm25"]
    np.testing.assert_allclose(found["bm25"], expected)
    assert 0 < found["bm25"][0] < found["bm25"][1] == 1
    assert found["bm25"][2] == 0


def test_every_space_is_measured_alone_and_with_the_words() -> None:
    """`hybrid` is with the preferred space, the others are named; a perfect space is perfect alone."""
    perfect = (Vectors("perfect", np.eye(4, dtype=np.float32)[[2]]), Vectors("perfect", np.eye(4, dtype=np.float32)))
    blind = (Vectors("blind", np.eye(4, dtype=np.float32)[[3]]), Vectors("blind", np.eye(4, dtype=np.float32)))
    found = ndcg_by_query(judged([[0.0, 0.0, 1.0, 0.0]], ["férias"]), {"perfect": perfect, "blind": blind})
    assert list(found) == ["bm25", "perfect", "hybrid", "blind", "hybrid blind"]
    assert found["perfect"] == found["hybrid"] == 1
    assert found["blind"] < 1


def test_queries_and_documents_of_two_spaces_are_never_compared() -> None:
    """However alike their lengths are."""
    mixed = (Vectors("one", np.eye(4, dtype=np.float32)[[2]]), Vectors("other", np.eye(4, dtype=np.float32)))
    with pytest.raises(SpacesDiffer, match="vectors of other cannot be compared with those of one"):
        ndcg_by_query(judged([[0.0, 0.0, 1.0, 0.0]], ["férias"]), {"one": mixed})


def test_intervals_hold_the_mean_and_narrow_with_queries() -> None:
    """The best scorer comes first; four times the queries halve the interval."""
    generator = np.random.default_rng(0)
    few, many = (generator.uniform(0.4, 1.0, count) for count in (50, 800))
    first, second = summarised({"few": few, "many": np.clip(many + 0.2, 0, 1)})
    assert [first.scorer, second.scorer] == ["many", "few"]
    assert second.low < second.ndcg_at_10 < second.high
    assert second.ndcg_at_10 == pytest.approx(few.mean())
    assert (first.high - first.low) < 0.5 * (second.high - second.low)
