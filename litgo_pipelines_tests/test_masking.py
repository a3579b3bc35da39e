"""Personal data in free text: none leaves, and what only looks like it stays."""

from __future__ import annotations

import math
import re
import string
from datetime import date
from decimal import Decimal
from re import _parser  # type: ignore[attr-defined]  # how Python itself reads a pattern
from re._constants import (  # type: ignore[import-not-found]
    ANY,
    ASSERT,
    ASSERT_NOT,
    AT,
    ATOMIC_GROUP,
    BRANCH,
    GROUPREF,
    IN,
    LITERAL,
    MAX_REPEAT,
    MAXREPEAT,
    NOT_LITERAL,
    POSSESSIVE_REPEAT,
    SUBPATTERN,
)
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from litgo_pipelines import masking
from litgo_pipelines.masking import mask

BEFORE = (
    "",
    "meu número é ",
    "CPF",
    "CPF: ",
    "tel/whats:",
    "(",
    "- ",
    "o dele, ",
    "n.º ",
    "\n",
    "fica sendo\t",
    "https://wa.me/",
    "R. A, ",
)
AFTER = ("", ".", ", ", ")", " e mais nada", "\n", ";", "?", " (dele)", "…", " - do meu pai")
UFS = "AC AL AM AP BA CE DF ES GO MA MG MS MT PA PB PE PI PR RJ RN RO RR RS SC SE SP TO".split()

around = st.tuples(st.sampled_from(BEFORE), st.sampled_from(AFTER))


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(string.digits, min_size=count, max_size=count)


def shaped(number: str, shape: str) -> str:
    """The number's signs in place of the hashes."""
    signs = iter(number)
    return "".join(next(signs) if one == "#" else one for one in shape)


@settings(deadline=None)
@given(
    digits(11),
    st.sampled_from(
        ["###.###.###-##", "###########", "#########-##", "###.###.###/##", "### ### ### ##", "###-###-###-##", "###.###.### ##"]
    ),
    around,
)
def test_no_cpf_survives(number: str, shape: str, around: tuple[str, str]) -> None:
    """With points, without, or as people put them; whether its check digits are right or it was mistyped."""
    masked = mask(f"{around[0]}{shaped(number, shape)}{around[1]}")
    assert not re.search(r"\d", masked)
    # Behind the word CPF, with nothing between, it may be a company's by its check digits.
    assert re.sub(r"\[\w+\]", "#", masked) in (f"{around[0]}#{around[1]}", f"#{around[1]}")


@settings(deadline=None)
@given(
    digits(14),
    st.sampled_from(["##.###.###/####-##", "##############", "########/####-##", "## ### ### #### ##", "##.###.###/######"]),
    around,
)
def test_no_cnpj_survives(number: str, shape: str, around: tuple[str, str]) -> None:
    """Of digits, whether or not they are right."""
    assert mask(f"{around[0]}{shaped(number, shape)}{around[1]}") == f"{around[0]}[CNPJ]{around[1]}"


def with_check_digits(signs: str) -> str:
    """Twelve letters and digits with the two that follow from them, as the Receita Federal publishes the rule."""
    for weights in ([5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2], [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]):
        rest = sum((ord(sign) - 48) * weight for sign, weight in zip(signs, weights, strict=True)) % 11
        signs += str(0 if rest < 2 else 11 - rest)
    return signs


def test_the_check_digits_are_those_of_the_published_example() -> None:
    """12.ABC.345/01DE-35 is the Receita Federal's own."""
    assert with_check_digits("12ABC34501DE") == "12ABC34501DE35"


@settings(deadline=None)
@given(
    st.text(string.digits + string.ascii_uppercase, min_size=12, max_size=12),
    st.sampled_from(["##.###.###/####-##", "##############", "########/####-##"]),
    st.booleans(),
)
def test_no_cnpj_with_letters_survives(signs: str, shape: str, small: bool) -> None:
    """In capitals or not."""
    written = shaped(with_check_digits(signs), shape)
    assert mask(f"a empresa, {written.lower() if small else written}, sumiu") == "a empresa, [CNPJ], sumiu"


@pytest.mark.parametrize("written", ["12.ABC.345/01DE-99", "CNPJ 12ABC34501DE99", "CNPJ: 12abc34501de99", "cnpj nº: 12.ABC.345/01DE-00"])
def test_a_mistyped_cnpj_is_known_by_its_points_or_its_name(written: str) -> None:
    """Where its check digits do not tell it."""
    assert re.search(r"\d", mask(written)) is None


@settings(deadline=None)
@given(st.emails(), around)
def test_no_address_survives(address: str, around: tuple[str, str]) -> None:
    """Whatever an address may hold."""
    masked = mask(f"{around[0]} {address} {around[1]}")
    assert "@" not in masked
    assert "[E-MAIL]" in masked


@pytest.mark.parametrize(
    "address", ["maria.silva+causa@exemplo.com.br", "MARIA @ exemplo.com", "joão.ação@exemplo.com.br", "e-mail:a_b@x.adv.br"]
)
def test_addresses_as_people_write_them(address: str) -> None:
    """With signs and spaces that addresses do not have."""
    assert re.search(r"@|maria|joão|a_b|exemplo", mask(address), re.IGNORECASE) is None


AREAS = st.sampled_from(["11", "21", "68", "85", "99"])
MOBILE = [
    "(##) #####-####",
    "###########",
    "+55 ## #####-####",
    "+55##########" + "#",
    "55###########",
    "(0##) #####-####",
    "##-#####-####",
    "## # ####-####",
]
MOBILE += ["+55 (##) # #### ####", "0##########" + "#", "##.#####.####", "0055 ## ##### ####", "(##)#####.####", "## #####–####"]  # noqa: RUF001
LANDLINE = ["(##) ####-####", "##########", "+55 ## ####-####", "55##########", "## ####.####", "0## #### ####", "(##)########"]


@settings(deadline=None)
@given(AREAS, digits(8), st.sampled_from(MOBILE), around)
def test_no_mobile_number_survives(area: str, rest: str, shape: str, around: tuple[str, str]) -> None:
    """With country and area code in all the ways that phones and people write them."""
    masked = mask(f"{around[0]}{shaped(f'{area}9{rest}', shape)}{around[1]}")
    assert not re.search(r"\d", masked)


@settings(deadline=None)
@given(AREAS, st.sampled_from("2345"), digits(7), st.sampled_from(LANDLINE), around)
def test_no_landline_number_survives(area: str, first: str, rest: str, shape: str, around: tuple[str, str]) -> None:
    """The same without the nine."""
    masked = mask(f"{around[0]}{shaped(f'{area}{first}{rest}', shape)}{around[1]}")
    assert not re.search(r"\d", masked)


@settings(deadline=None)
@given(digits(8), st.sampled_from(["9####-####", "9 ####-####", "9########", "9#### ####", "9.####.####"]), around)
def test_no_mobile_number_without_its_area_survives(rest: str, shape: str, around: tuple[str, str]) -> None:
    """As one gives it to a neighbour."""
    masked = mask(f"{around[0]}{shaped(rest, shape)}{around[1]}")
    assert not re.search(r"\d", masked)


@settings(deadline=None)
@given(st.sampled_from("345"), digits(7), st.sampled_from(["####-####", "########", "#### ####", "####.####"]), around)
def test_no_landline_number_without_its_area_survives(first: str, rest: str, shape: str, around: tuple[str, str]) -> None:
    """Unless it could be a date, as those that begin with 3."""
    assume(first != "3" or int(rest[1:3]) > 12)
    masked = mask(f"{around[0]}{shaped(first + rest, shape)}{around[1]}")
    assert not re.search(r"\d", masked)


@settings(deadline=None)
@given(
    digits(20),
    st.sampled_from(["#######-##.####.#.##.####", "####################", "####### ## #### # ## ####", "#######.##.####.#.##.####"]),
    around,
)
def test_no_case_number_survives(number: str, shape: str, around: tuple[str, str]) -> None:
    """As courts print it, and without its points."""
    assert mask(f"{around[0]}{shaped(number, shape)}{around[1]}") == f"{around[0]}[PROCESSO]{around[1]}"


def test_a_case_number_without_its_leading_zeros() -> None:
    """People leave them out."""
    assert mask("autos 1234-56.2023.5.02.0011.") == "autos [PROCESSO]."


OAB = [
    "OAB/{uf} {n}",
    "OAB {n}/{uf}",
    "OAB-{uf} nº {n}",
    "OAB/{uf} sob o nº {n}",
    "OAB: {n}-{uf}",
    "OAB{uf}{n}",
    "oab {uf} {n}",
    "OAB nº {n} ({uf})",
]
OAB += [
    "OAB/{uf} n.º {n}",
    "inscrito na OAB/{uf} sob o n.º {n}",
    "OAB-{uf} n.º {n}",
    "OAB/{uf} nr {n}",
    "registrada na OAB/{uf} sob o nº {n}",
]
OAB += ["OAB/{uf}, N.o {n}", "OAB/{uf} n.ºs {n}", "OAB n.° {n} ({uf})", "OABnº{n}/{uf}", "OAB/{uf} - núm. de inscrição: {n}"]
OAB += ["O.A.B./{uf} n. {n}-A", "inscrito na OAB, seccional {uf}, sob o número {n}", "OAB/{uf} {n}/B", "OAB (inscrição) {n}, {uf}"]


@settings(deadline=None)
@given(st.integers(100, 999_999), st.booleans(), st.sampled_from(UFS), st.sampled_from(OAB), st.sampled_from(AFTER))
def test_no_number_of_a_lawyer_survives(number: int, point: bool, uf: str, shape: str, after: str) -> None:
    """With its state before or behind it, and a letter behind that."""
    written = f"{number:,}".replace(",", ".") if point else str(number)
    masked = mask(f"meu advogado, {shape.format(n=written, uf=uf)}{after}")
    assert not re.search(r"\d", masked)
    assert "[OAB]" in masked


STAYS = [
    "passei na OAB em 2023",
    "exame da OAB 2023",
    "40º exame da OAB, 1ª fase",
    "na OAB/SP, 15 de maio",
    "a OAB/RJ em 10/05/2023",
    "Lei 8.213/91",
    "Lei nº 13.105/2015",
    "Lei Complementar 150/2015",
    "artigo 5º, LXXIV, da Constituição de 1988",
    "art. 1.723 do Código Civil",
    "Decreto 3.048/99",
    "Súmula 331 do TST",
    "R$ 1.234.567,89",
    "R$ 123.456.789,10",
    "R$ 1.234.567.890,12",
    "R$50000,00",
    "R$ 12345678",
    "R$ 33334444",
    "33334444,50",
    "25000000 reais",
    "50 mil reais",
    "31/12/2023",
    "31.12.2023",
    "31-12-2023",
    "2023-12-31",
    "20231231",
    "31122023",
    "de 2019 a 2020",
    "2019-2020",
    "2019/2020",
    "20192020",
    "entre 2019 e 2023",
    "às 14:30 de 03/04",
    "CEP 01310-100",
    "12x de R$ 199,90",
    "contrato/2024-10",
    "CONTRATUAL2024",
    "processo/2024-10",
    "Rua XV, 1500, apto. 101",
    "100%, 3,5% ou 0,033% ao dia",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(STAYS), min_size=1, max_size=4), st.sampled_from([", ", " e ", "; ", ". ", "\n"]))
def test_money_dates_years_and_laws_stay(told: list[str], between: str) -> None:
    """Alone and beside one another."""
    text = between.join(told)
    assert mask(text) == text


@settings(deadline=None)
@given(st.decimals(0, 10_000_000, places=2))
def test_amounts_stay(amount: Decimal) -> None:
    """Whatever their size, as Brazilians write them, and as computers do behind the sign of the currency."""
    brazilian = f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))
    for text in (f"R$ {brazilian}", f"paguei {brazilian} à vista", f"R${amount:.2f}", f"R$ {int(amount)}"):
        assert mask(text) == text


@settings(deadline=None)
@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)))
def test_dates_stay(day: date) -> None:
    """In the usual forms."""
    for form in ("{:%d/%m/%Y}", "{:%d.%m.%Y}", "{:%d-%m-%Y}", "{:%Y-%m-%d}", "{:%Y%m%d}", "{:%d%m%Y}", "{:%d/%m/%y}", "{:%Y-%m-%d %H:%M}"):
        text = f"no dia {form.format(day)} fui demitido"
        assert mask(text) == text


@settings(deadline=None)
@given(st.text(string.digits + " .,-/()@+ABCNPJOSPR$º\n[]", max_size=80))
@example("12345678901,1233334444")
@example("OAB 1234 OAB/SP2023-3333")
def test_masking_twice_changes_nothing(text: str) -> None:
    """Nor does what the first masking left look like personal data to a second."""
    masked = mask(text)
    assert mask(masked) == masked


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Nd", "Cs"], exclude_characters="@"), max_size=60))
def test_words_stay(text: str) -> None:
    """There is nothing to mask where there are neither digits nor addresses."""
    assert mask(text) == text


def test_a_long_text_takes_no_long_time() -> None:
    """Patterns that try everything anew at each sign would take minutes for these."""
    for unit in ("a", "1", "1 ", "OAB ", "OAB/.", "(11) ", "@", "a.", "9 ", "123.", " ", "CNPJ a", "OAB n.n.n.n.n.n.n.n.n.n."):
        mask(unit * (60_000 // len(unit)))


def test_a_long_row_of_numbers_is_masked_in_few_rounds() -> None:
    """Though each stands behind the comma of another: by one round a number this would take minutes."""
    assert mask("3333-4444," * 6000) == "[TELEFONE]," * 6000


PATTERNS = {name: one for name, one in vars(masking).items() if isinstance(one, re.Pattern)}
MOST_WAYS = 16


def ways(parsed: Any) -> float:
    """In how many ways a pattern can at most be tried at a place of a text, as Python reads it; an upper bound."""
    return math.prod(_ways_of_part(what, of) for what, of in parsed)


def _ways_of_part(what: Any, of: Any) -> float:
    if what in (LITERAL, NOT_LITERAL, IN, ANY, AT, GROUPREF):
        return 1
    if what is SUBPATTERN:
        return ways(of[-1])
    if what is BRANCH:
        return 1 if _exclude_each_other(of[1]) else sum(ways(one) for one in of[1])
    if what is MAX_REPEAT:
        least, most, repeated = of
        return math.inf if most is MAXREPEAT else sum(ways(repeated) ** count for count in range(least, most + 1))
    # What gives nothing back is tried once, each repetition for itself.
    tried = {ASSERT: lambda: of[1], ASSERT_NOT: lambda: of[1], ATOMIC_GROUP: lambda: of, POSSESSIVE_REPEAT: lambda: of[2]}[what]()
    assert ways(tried) <= 2 * MOST_WAYS
    return 1


def _exclude_each_other(branches: Any) -> bool:
    """Whether they are plain words of which none begins as another."""
    words = [tuple(of for _, of in one) for one in branches if all(what is LITERAL for what, _ in one)]
    return len(words) == len(branches) and not any(one != other and one == other[: len(one)] for one in words for other in words)


@pytest.mark.parametrize("name", PATTERNS)
def test_no_text_makes_a_pattern_try_much_at_a_place(name: str) -> None:
    """Whatever is repeated is taken in one way: ways that multiply would hold up everybody for seconds."""
    pattern = PATTERNS[name]
    assert ways(_parser.parse(pattern.pattern, pattern.flags)) <= MOST_WAYS


def test_ways_are_counted() -> None:
    """Ambiguous patterns are found out, and those that are not are let through."""
    counted = {r"(?:a|ab|b){0,3}": 40, r"(?:aa|ab)?": 2, r"a*": math.inf, r"a*+b{2}": 1, r"(?:a|b)?b?": 4}
    assert {one: ways(_parser.parse(one)) for one in counted} == counted
