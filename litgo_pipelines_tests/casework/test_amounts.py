"""Amounts in figures and words, as a Brazilian contract has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.casework.amounts import in_words, money, percentage

WORDS = {
    0: "zero",
    1: "um",
    16: "dezesseis",
    21: "vinte e um",
    100: "cem",
    101: "cento e um",
    555: "quinhentos e cinquenta e cinco",
    1000: "mil",
    1001: "mil e um",
    1100: "mil e cem",
    1234: "mil duzentos e trinta e quatro",
    21_000: "vinte e um mil",
    100_500: "cem mil e quinhentos",
    1_000_000: "um milhão",
    1_200_000: "um milhão e duzentos mil",
    2_000_001: "dois milhões e um",
    2_340_567: "dois milhões trezentos e quarenta mil quinhentos e sessenta e sete",
}


@pytest.mark.parametrize("count", WORDS)
def test_numbers_are_written_out(count: int) -> None:
    """With "e" where the grammars want it."""
    assert in_words(count) == WORDS[count]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1, "R$ 1,00 (um real)"),
        (0.01, "R$ 0,01 (um centavo)"),
        (1500.5, "R$ 1.500,50 (mil e quinhentos reais e cinquenta centavos)"),
        (1_000_000, "R$ 1.000.000,00 (um milhão de reais)"),
        (19.99, "R$ 19,99 (dezenove reais e noventa e nove centavos)"),
    ],
)
def test_money_is_told_in_reais_and_centavos(value: float, told: str) -> None:
    """Figures first; what is binary in a float does not show."""
    assert money(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (20, "20% (vinte por cento)"),
        (7.5, "7,5% (sete vírgula cinco por cento)"),
        (12.05, "12,05% (doze vírgula zero cinco por cento)"),
        (33.33, "33,33% (trinta e três vírgula trinta e três por cento)"),
    ],
)
def test_percentages_are_told_with_their_decimals(value: float, told: str) -> None:
    """A zero behind the comma is said."""
    assert percentage(value) == told


@given(st.integers(0, 999_999_999), st.integers(0, 999_999_999))
def test_two_numbers_have_two_texts(one: int, other: int) -> None:
    """No two amounts are written alike."""
    assert (in_words(one) == in_words(other)) == (one == other)


@pytest.mark.parametrize("count", [-1, 1_000_000_000])
def test_numbers_beyond_have_no_words(count: int) -> None:
    """Rather an error than a wrong contract."""
    with pytest.raises(ValueError, match="no words"):
        in_words(count)
