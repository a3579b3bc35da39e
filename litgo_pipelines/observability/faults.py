"""What the lint can say of an expression: the rules that one may break, and how a fault is told. Nothing is checked here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import promql_parser as ql

Rule = Literal[
    "parse",
    "yaml-alias",
    "unknown-metric",
    "unknown-label",
    "impossible-value",
    "unmatched-labels",
    "one-sided-filter",
    "counter-without-rate",
    "rate-of-gauge",
    "quantile",
    "short-window",
    "always-fires",
    "ratio-without-guard",
    "bare-rate",
    "exception",
]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)

_LONGEST_LINE: Final = 200


@dataclass(frozen=True)
class Fault:
    """What is wrong with an expression.

    Attributes:
        part: the part of the expression that is meant.
        instead: what to write.
    """

    rule: Rule
    part: str
    wrong: str
    instead: str


def written(node: ql.Expr) -> str:
    """An expression as it is shown: in one line, shortened where it is long."""
    return shortened(str(node).replace("{}", ""))


def shortened(text: str) -> str:
    """A text in one line, and no more than can be read."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
