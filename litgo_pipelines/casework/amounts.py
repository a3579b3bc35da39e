"""Amounts as a Brazilian contract writes them: in figures, then in words. Pure."""

from __future__ import annotations

from typing import Final

from litgo_pipelines.casework.wording import number

_UNITS: Final = (
    "zero um dois três quatro cinco seis sete oito nove dez onze doze treze quatorze quinze dezesseis dezessete dezoito dezenove".split()
)
_TENS: Final = "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa".split()
_HUNDREDS: Final = "cento duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos novecentos".split()
_LIMIT: Final = 1_000_000_000


def money(value: float) -> str:
    """Reais and centavos: R$ 3.500,00 (três mil e quinhentos reais)."""
    cents = round(value * 100)
    reais, rest = divmod(cents, 100)
    told = []
    if reais:
        of = "de " if reais % 1_000_000 == 0 else ""
        told.append(f"{in_words(reais)} {of}{'real' if reais == 1 else 'reais'}")
    if rest or not reais:
        told.append(f"{in_words(rest)} {'centavo' if rest == 1 else 'centavos'}")
    return f"R$ {number(value, 2)} ({' e '.join(told)})"


def percentage(value: float) -> str:
    """A share of a hundred: 20% (vinte por cento), 7,5% (sete vírgula cinco por cento)."""
    figures = f"{value:.2f}".rstrip("0").rstrip(".").replace(".", ",")
    whole, _, decimals = figures.partition(",")
    told = in_words(int(whole))
    if decimals:
        zeros = len(decimals) - len(decimals.lstrip("0"))
        told = " ".join([told, "vírgula", *["zero"] * zeros, in_words(int(decimals))])
    return f"{figures}% ({told} por cento)"


def in_words(count: int) -> str:
    """A whole number from 0 to 999,999,999.

    Raises:
        ValueError: it lies outside.
    """
    if not 0 <= count < _LIMIT:
        raise ValueError(f"{count} has no words here: it must lie in 0..{_LIMIT - 1}")
    if count == 0:
        return _UNITS[0]
    millions, thousands, rest = count // 1_000_000, count // 1000 % 1000, count % 1000
    parts = []
    if millions:
        parts.append((millions, f"{_below_thousand(millions)} {'milhão' if millions == 1 else 'milhões'}"))
    if thousands:
        parts.append((thousands, "mil" if thousands == 1 else f"{_below_thousand(thousands)} mil"))
    if rest:
        parts.append((rest, _below_thousand(rest)))
    said = parts[0][1]
    for place, (value, words) in enumerate(parts[1:], start=2):
        # The last part follows an "e" where it is a single word of hundreds, or has none.
        joined = place == len(parts) and (value < 100 or value % 100 == 0)
        said += f" e {words}" if joined else f" {words}"
    return said


def _below_thousand(count: int) -> str:
    if count == 100:
        return "cem"
    hundreds, rest = divmod(count, 100)
    parts = [_HUNDREDS[hundreds - 1]] if hundreds else []
    if rest and rest < 20:
        parts.append(_UNITS[rest])
    elif rest:
        tens, units = divmod(rest, 10)
        parts.append(_TENS[tens - 2])
        parts += [_UNITS[units]] if units else []
    return " e ".join(parts)
