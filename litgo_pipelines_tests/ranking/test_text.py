"""Case texts as vectors."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.ranking.text import DIMENSION, SPACE, cosine_to_sums, hybrid, hybrid_space, vectorise

OVERTIME = "trabalhei dois anos sem receber horas extras no supermercado"
MORE_OVERTIME = "o supermercado não pagou as horas extras que trabalhei"
DIVORCE = "quero me divorciar e ficar com a guarda dos filhos"


def _cosine(one: str, other: str) -> float:
    first, second = vectorise([one, other])
    return float(cosine_to_sums(first, second[None, :])[0])


def test_texts_about_the_same_thing_are_nearer() -> None:
    """Two clients of unpaid overtime resemble each other more than either does a divorce."""
    assert _cosine(OVERTIME, MORE_OVERTIME) > 0.3
    assert _cosine(OVERTIME, DIVORCE) < 0.15
    assert _cosine(OVERTIME, OVERTIME) == pytest.approx(1.0)


def test_case_and_accents_do_not_matter() -> None:
    """People type as they like."""
    assert _cosine("Rescisão INDEVIDA", "rescisao indevida") == pytest.approx(1.0)


@given(st.lists(st.text(max_size=80), max_size=8))
def test_vectors_are_of_unit_length_or_nothing(texts: list[str]) -> None:
    """A text is one unit vector; one without a word that counts is the zero vector. None is negative."""
    found = vectorise(texts)
    assert found.shape == (len(texts), DIMENSION)
    assert found.dtype == np.float32
    lengths = np.linalg.norm(found, axis=1)
    assert np.all((lengths == 0) | (np.abs(lengths - 1) < 1e-5))
    assert np.all(found >= 0)


def test_words_that_say_nothing_are_not_counted() -> None:
    """A text of stop words alone is the zero vector."""
    assert not vectorise(["eu não sei que é, mas ela e ele são"])[0].sum() > vectorise(["sei"])[0].sum()
    assert vectorise(["não é o que a minha", ""]).sum() == 0


def test_nobody_who_handled_no_case_resembles_anything() -> None:
    """The cosine with an empty sum is unknown, not 0."""
    sums = np.stack([vectorise([OVERTIME, MORE_OVERTIME]).sum(axis=0), np.zeros(DIMENSION, dtype=np.float32)])
    found = cosine_to_sums(vectorise([OVERTIME])[0], sums)
    assert 0.7 < found[0] < 1
    assert np.isnan(found[1])


def test_the_size_of_a_sum_does_not_matter() -> None:
    """Somebody with many such cases resembles the text as one with a single such case does."""
    vector = vectorise([DIVORCE])[0]
    assert cosine_to_sums(vector, np.stack([vector, 20 * vector])).tolist() == pytest.approx([1.0, 1.0])


def test_the_space_is_named_after_what_makes_it() -> None:
    """Another dimension is another space."""
    assert str(DIMENSION) in SPACE


def test_vectors_are_the_same_in_every_process() -> None:
    """Nothing hangs on Python's hash seed: what one process stored another can compare."""
    script = "from litgo_pipelines.ranking.text import vectorise; print(vectorise(['horas extras na rescisão']).nonzero()[1].tolist())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{vectorise(['horas extras na rescisão']).nonzero()[1].tolist()}\n"}


def test_words_and_a_model_count_the_same() -> None:
    """The mean of both cosines; where the model knows nobody, or not this one, nobody is put behind for it."""
    lexical = np.array([0.2, 0.4, 0.0, np.nan])
    assert hybrid(lexical, np.array([0.6, 0.2, np.nan, 0.9]))[:2] == pytest.approx([0.4, 0.3])
    assert hybrid(lexical, np.array([0.6, 0.2, np.nan, np.nan]))[2] == pytest.approx(0.2)
    assert np.isnan(hybrid(lexical, np.array([0.6, 0.2, np.nan, 0.9]))[3])
    assert hybrid(lexical, np.full(4, np.nan))[:3] == pytest.approx(lexical[:3])


def test_a_comparison_is_named_by_all_that_it_rests_on() -> None:
    """Scores by words alone, by words and one model, and by words and another are three spaces."""
    assert len({hybrid_space(None), hybrid_space("a@1:3"), hybrid_space("b@1:3")}) == 3
    assert hybrid_space(None) == SPACE
