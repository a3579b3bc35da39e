"""Personal data in free text, replaced by placeholders before the text leaves the house or is logged.

Known by their shape: CPF, CNPJ (with letters as well), e-mail addresses, Brazilian phone numbers, numbers of court cases (CNJ) and of
lawyers (OAB). Names and addresses of people are not recognised.

What is repeated does not give back what it took (`++`, `?+`), so that no text makes a pattern try much at a place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_Masks = tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]

_DASH: Final = r"[-\u2010-\u2015\u2212]"
_UF: Final = r"(?:AC|AL|AM|AP|BA|CE|DF|ES|GO|MA|MG|MS|MT|PA|PB|PE|PI|PR|RJ|RN|RO|RR|RS|SC|SE|SP|TO)"
_YEAR: Final = r"(?:19|20)\d\d"
_NOT_MONEY: Final = r"(?<!R\$)(?<!R\$\s)"
_NOT_DECIMAL: Final = r"(?!,\d{1,2}(?!\d))"
# Neither the middle of a number nor, after a point or dash, the end of a date.
_START: Final = rf"(?<!\d)(?<!\d[.,/])(?<!\d{_DASH}){_NOT_MONEY}"
# Numbers do not go on in the next line.
_SPACE: Final = r"[^\S\n]"
_MAYBE: Final = rf"{_SPACE}?+"
_GAP: Final = r"(?!\n)[\s.\-\u2010-\u2015\u2212]"

_EMAIL_WORD: Final = r"[\w.!#$%&'*+/=?^`{|}~-]"
_EMAIL = re.compile(rf"(?<!{_EMAIL_WORD}){_EMAIL_WORD}++{_MAYBE}@{_MAYBE}[\w-]++(?:\.[\w-]++)++")

# Whoever writes the points and dashes of a case number may leave out its leading zeros.
_LAWSUIT = re.compile(
    rf"(?<!\d)(?:\d{{1,7}}+{_MAYBE}{_DASH}{_MAYBE}\d\d\.\d{{4}}\.\d\.\d\d\.\d{{4}}"
    rf"|\d{{7}}(?:{_GAP})?+\d\d(?:{_GAP})?+\d{{4}}(?:{_GAP})?+\d(?:{_GAP})?+\d\d(?:{_GAP})?+\d{{4}})(?!\d)"
)

_WORD_ENDS: Final = r"(?![^\W\d_ªº])"
_OAB_WORD: Final = (
    r"(?:n\.?+[º°]s|n|nr|nro|num|núm|numero|número|no|nos|sob|o|os|de|da|do|com|seccional|inscrição|inscrit[oa]|registro|registrad[oa])"
)
# Each sign and each whole word is taken in one way.
_OAB_BEFORE: Final = rf"(?:[\s/:.,()#ªº°]|{_DASH}|(?:{_UF}|{_OAB_WORD}){_WORD_ENDS})"
_OAB = re.compile(
    rf"\bO\.?+A\.?+B\.?+(?P<before>{_OAB_BEFORE}{{0,24}}+)"
    rf"(?P<number>\d{{1,3}}+\.\d{{3}}|\d{{3,7}}+)(?!\d|[./]\d|{_MAYBE}[ªº°]){_NOT_DECIMAL}"
    rf"(?:{_MAYBE}[-/]{_MAYBE}[A-Z]\b)?+(?P<uf>{_MAYBE}[-/,(]?+{_MAYBE}\b{_UF}\b\)?+)?+",
    re.IGNORECASE,
)

_CNPJ = re.compile(
    rf"(?<!\d)\d\d(?:\.?+\d{{3}}\.?+\d{{3}}|{_SPACE}\d{{3}}{_SPACE}\d{{3}})"
    rf"{_MAYBE}/?+{_MAYBE}\d{{4}}{_MAYBE}(?:{_DASH})?+{_MAYBE}\d\d(?!\d)"
)
_CNPJ_OF_LETTERS = re.compile(
    rf"(?<![^\W_])[^\W_]{{2}}(?P<point>\.?+)[^\W_]{{3}}\.?+[^\W_]{{3}}(?P<slash>/?+)[^\W_]{{4}}(?P<dash>(?:{_DASH})?+)\d\d(?![^\W_])",
    re.ASCII,
)
_CNPJ_NAMED = re.compile(r"\bCNPJ\W{0,5}+(?=[a-z]{0,13}+\d)[a-z\d]{12}\d\d(?![^\W_])", re.IGNORECASE)

_CPF = re.compile(
    rf"(?<!\d){_NOT_MONEY}"
    rf"(?:\d{{3}}\.?+{_MAYBE}\d{{3}}\.{_MAYBE}\d{{3}}|\d{{9}}|\d{{3}}(?P<gap>{_SPACE}|{_DASH})\d{{3}}(?P=gap)\d{{3}})"
    rf"{_MAYBE}(?:{_DASH}|[./])?+{_MAYBE}\d\d(?!\d)"
)

_EIGHT: Final = rf"[2-9]\d{{3}}(?:{_GAP})?+\d{{4}}"
_NINE: Final = rf"9(?:{_GAP})?+\d{{4}}(?:{_GAP})?+\d{{4}}"
_COUNTRY: Final = rf"(?:\+|00)?+{_MAYBE}\(?+55\)?+(?:{_GAP}){{0,2}}+"
_AREA: Final = rf"\(?+{_MAYBE}(?:0(?:{_MAYBE}\d\d{_GAP})?)?[1-9][1-9]{_MAYBE}\)?+(?:{_GAP}){{0,2}}+"
_WHOLE_PHONE: Final = rf"(?:{_COUNTRY})?{_AREA}(?:{_NINE}|{_EIGHT})(?!\d)"
_PHONE = re.compile(rf"{_START}{_WHOLE_PHONE}")
_PHONE_BARE = re.compile(rf"(?<!\d){_NOT_MONEY}(?:55|0)?[1-9][1-9](?:9\d{{8}}|[2-9]\d{{7}})(?!\d)")
_SHORT_PHONE: Final = rf"(?:{_NINE}|[2-9]\d{{3}}{_GAP}\d{{4}}|[2-5]\d{{7}})(?!\d){_NOT_DECIMAL}(?!{_SPACE}(?:de{_SPACE})?+(?:reais|mil))"
_PHONE_LOCAL = re.compile(f"{_START}{_SHORT_PHONE}", re.IGNORECASE)
_PHONE_ANYWHERE = re.compile(rf"(?<!\d){_NOT_MONEY}{_WHOLE_PHONE}")
_PHONE_LOCAL_ANYWHERE = re.compile(rf"(?<!\d){_NOT_MONEY}{_SHORT_PHONE}", re.IGNORECASE)
_DATE = re.compile(
    rf"{_YEAR}{_GAP}?{_YEAR}|{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2]){_YEAR}"
)


def mask(text: str) -> str:
    """The text with `[CPF]`, `[CNPJ]`, `[E-MAIL]`, `[TELEFONE]`, `[PROCESSO]` and `[OAB]` in place of people's numbers and addresses.

    Masking what is masked changes nothing. Amounts of money, dates, years and numbers of laws stay; eight digits without an area code that
    read as a date or as two years count as such.
    """
    rounds = 0
    while (masked := _masked_once(text, _MASKS if rounds < _ROUNDS else _THOROUGH)) != text:
        text, rounds = masked, rounds + 1
    return text


def _masked_once(text: str, masks: _Masks) -> str:
    for pattern, placeholder in masks:
        text = pattern.sub(placeholder, text)
    return text


def _lawyer(found: re.Match[str]) -> str:
    """A number of four digits alone may be the year of an exam."""
    named = found["uf"] or re.search(rf"\b{_UF}\b|\bn|sob|[ºª°#]", found["before"], re.IGNORECASE)
    return "[OAB]" if named or not re.fullmatch(_YEAR, found["number"]) else found[0]


def _company(found: re.Match[str]) -> str:
    """Words that happen to have fourteen characters are told from numbers by punctuation and check digits."""
    punctuated = found["point"] and found["slash"] and found["dash"]
    return "[CNPJ]" if punctuated or is_cnpj(re.sub(r"[^A-Z0-9]", "", found[0].upper())) else found[0]


def is_cnpj(signs: str) -> bool:
    """Whether fourteen signs are a CNPJ by their check digits, of letters and digits alike (Instrução Normativa RFB 2.229/2024)."""
    if len(signs) != 14:
        return False
    values = [ord(one) - ord("0") for one in signs]
    return all(values[length] == _check_digit(values[:length], 9) for length in (12, 13))


def is_cpf(digits: str) -> bool:
    """Whether eleven digits are a CPF by their check digits."""
    if len(digits) != 11:
        return False
    values = [int(one) for one in digits]
    return all(values[length] == _check_digit(values[:length], 11) for length in (9, 10))


def is_lawsuit(digits: str) -> bool:
    """Whether twenty digits are the number of a court case by their check digits (Resolução CNJ 65/2008)."""
    if len(digits) != 20 or not re.fullmatch(_YEAR, digits[9:13]):
        return False
    return int(digits[:7] + digits[9:] + digits[7:9]) % 97 == 1


def _check_digit(values: list[int], largest: int) -> int:
    """Modulo 11 with weights from 2 up to `largest`, from the right, and again from 2."""
    total = sum(value * (2 + place % (largest - 1)) for place, value in enumerate(reversed(values)))
    return 0 if total % 11 < 2 else 11 - total % 11


def _person(found: re.Match[str]) -> str:
    """Eleven bare digits are a mobile phone's too."""
    phone = re.fullmatch(r"[1-9][1-9]9\d{8}", found[0]) and not is_cpf(found[0])
    return "[TELEFONE]" if phone else "[CPF]"


def _local_phone(found: re.Match[str]) -> str:
    return found[0] if _DATE.fullmatch(found[0]) else "[TELEFONE]"


# The longer numbers first: the shorter ones would be found inside them.
_NUMBERS: Final[_Masks] = (
    (_EMAIL, "[E-MAIL]"),
    (_LAWSUIT, "[PROCESSO]"),
    (_OAB, _lawyer),
    (_CNPJ, "[CNPJ]"),
    (_CNPJ_NAMED, "[CNPJ]"),
    (_CNPJ_OF_LETTERS, _company),
    (_CPF, _person),
)
_MASKS: Final[_Masks] = (*_NUMBERS, (_PHONE, "[TELEFONE]"), (_PHONE_BARE, "[TELEFONE]"), (_PHONE_LOCAL, _local_phone))
_THOROUGH: Final[_Masks] = (
    *_NUMBERS,
    (_PHONE_ANYWHERE, "[TELEFONE]"),
    (_PHONE_BARE, "[TELEFONE]"),
    (_PHONE_LOCAL_ANYWHERE, _local_phone),
)
# Of numbers with nothing but commas between them each round finds the first that is left, so a long row of them would take for ever.
_ROUNDS: Final = 8
