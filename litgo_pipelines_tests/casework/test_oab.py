"""OAB numbers: every spelling of a registration is read as the same one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.casework.oab import SECTIONS, OabNumber, parse_oab

_SPELLINGS = (
    "OAB/{section} {number}{dash}",
    "OAB-{section} nº {number}{dash}",
    "oab {section} n.º {number}{dash}",
    "{section}{number}{suffix}",
    "{section} {number} {suffix}",
    "{number}/{section}{dash}",
    "{number}{suffix}/{section}",
)


@pytest.mark.parametrize("spelling", ["OAB/SP 123.456", "SP123456", "123456/SP", "123456 SP", "oab/sp nº 0123456", "  SP-123.456 "])
def test_spellings_of_a_number_are_one_number(spelling: str) -> None:
    """Case, points, zeros, the place of the section: none of them tells registrations apart."""
    assert parse_oab(spelling) == OabNumber(123456, "SP")


@given(
    number=st.integers(1, 999_999),
    section=st.sampled_from(SECTIONS),
    suffix=st.sampled_from([None, "A", "B", "E"]),
    template=st.sampled_from(_SPELLINGS),
    dotted=st.booleans(),
    zeros=st.integers(0, 3),
    lower=st.booleans(),
)
def test_what_is_spelled_is_what_is_read(
    number: int, section: str, suffix: str | None, template: str, dotted: bool, zeros: int, lower: bool
) -> None:
    """However a registration is put down, section, number and suffix come back."""
    digits = f"{number:,}".replace(",", ".") if dotted else f"{'0' * zeros}{number}"
    text = template.format(section=section, number=digits, suffix=suffix or "", dash=f"-{suffix}" if suffix else "")
    assert parse_oab(text.lower() if lower else text) == OabNumber(number, section, suffix)
    assert parse_oab(str(OabNumber(number, section, suffix))) == OabNumber(number, section, suffix)


@given(st.text(max_size=80))
def test_any_text_is_a_number_or_none(text: str) -> None:
    """Nothing a person may type breaks the reader, and what it returns can be written and read again."""
    found = parse_oab(text)
    assert found is None or parse_oab(str(found)) == found


@pytest.mark.parametrize("text", ["", "OAB", "SP", "0", "SP 0", "XX 123", "SP 123 RJ", "123456-AB/SP", "Dr. Silva 123", "1" * 80])
def test_what_is_no_number_is_none(text: str) -> None:
    """Also a number of two sections: guessing would answer about somebody else."""
    assert parse_oab(text) is None


def test_a_suffix_makes_another_registration() -> None:
    """A supplementary registration is not the main one, and a number without its section not that of any."""
    assert parse_oab("SP 123456-A") != parse_oab("SP 123456")
    assert parse_oab("123456") == OabNumber(123456, None)
