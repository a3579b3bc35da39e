"""OAB registration numbers in whatever spelling: which section, which number, which suffix. Pure.

Who bears a number is looked up elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

SECTIONS: Final = tuple("AC AL AM AP BA CE DF ES GO MA MG MS MT PA PB PE PI PR RJ RN RO RR RS SC SE SP TO".split())
"""The 27 sections (seccionais), named like the states."""

_SECTION = "|".join(SECTIONS)
_NUMBER = re.compile(
    rf"(?:OAB)?[\W_]*(?P<before>{_SECTION})?[\W_]*(?:NUMERO|NUM|NRO|N[\W_]*[RO]?)?[\W_]*"
    rf"(?P<digits>\d[\d.\s]*)[\W_]*(?P<suffix>[A-Z](?![A-Z]))?[\W_]*(?P<after>{_SECTION})?[\W_]*(?P<last>[A-Z])?[\W_]*"
)
_LONGEST = 64


@dataclass(frozen=True)
class OabNumber:
    """A registration: `section` is None where the spelling leaves it out, `suffix` (A for a supplementary one, …) where there is none."""

    number: int
    section: str | None = None
    suffix: str | None = None

    def __str__(self) -> str:
        """As it is written in Brazil: OAB/SP 123.456-A."""
        section = f"/{self.section}" if self.section else ""
        suffix = f"-{self.suffix}" if self.suffix else ""
        return f"OAB{section} {self.number:,}".replace(",", ".") + suffix


def parse_oab(text: str) -> OabNumber | None:
    """Read a number such as "OAB/SP 123.456", "SP123456", "123456/SP" or "123.456-A SP"; None where it is none.

    Leading zeros, case, accents and punctuation do not matter; the suffix does, for it tells registrations apart.
    """
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one)).upper().strip()
    found = _NUMBER.fullmatch(plain) if len(plain) <= _LONGEST and plain.isascii() else None
    if found is None:
        return None
    sections = {one for one in (found["before"], found["after"]) if one}
    suffixes = {one for one in (found["suffix"], found["last"]) if one}
    number = int(re.sub(r"\D", "", found["digits"]))
    if len(sections) > 1 or len(suffixes) > 1 or number == 0:
        return None
    return OabNumber(number, next(iter(sections), None), next(iter(suffixes), None))
