"""What the texts of rules and dashboards show and ask: labels, and queries within Go's templates. Nothing is judged here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

VARIABLE: Final = "__variable__"
"""Stands in an expression for what is known only when it is asked; no rule takes it for a value."""

_LABEL_IN_TEMPLATE: Final = re.compile(r"\$labels\.(\w+)")
_LABEL_IN_LEGEND: Final = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_TEXT: Final = r'"(?:[^"\\]|\\.)*"|`[^`]*`'
_ACTION: Final = re.compile(rf"\{{\{{((?:{_TEXT}|[^\"`])*?)\}}\}}", re.DOTALL)
_QUERY: Final = re.compile(
    rf"\bquery\s+(?P<direct>{_TEXT})"
    rf"|\bquery\s+\(\s*printf\s+(?P<made>{_TEXT})"
    rf"|\bprintf\s+(?P<filled>{_TEXT})[^|]*\|\s*query\b"
    rf"|(?P<piped>{_TEXT})\s*\|\s*query\b",
    re.DOTALL,
)
_VERB: Final = re.compile(r"%[-+# 0]*[\d.]*([a-zA-Z%])")
_QUOTED: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`")


def labels_in_template(text: str) -> list[str]:
    """Labels of an alert that a template of its rule shows."""
    return _LABEL_IN_TEMPLATE.findall(text)


def labels_in_legend(text: str) -> list[str]:
    """Labels that a legend of Grafana shows."""
    return _LABEL_IN_LEGEND.findall(text)


def queries_in_template(text: str) -> Iterator[str]:
    """Queries that a template asks, as far as they are written in it: of a metric or function that is filled in, none.

    Values that `printf` fills in stand as `VARIABLE`, numbers as 60.
    """
    for action in _ACTION.findall(text):
        for asked in _QUERY.finditer(action):
            literal = asked["direct"] or asked["piped"]
            query = _unquoted(literal) if literal else _VERB.sub(_filled, _unquoted(asked["made"] or asked["filled"]))
            if VARIABLE not in _QUOTED.sub("", query):
                yield query


def _unquoted(text: str) -> str:
    """The text that a literal of Go stands for; as it is written where it has escapes that JSON does not know."""
    if text.startswith('"'):
        try:
            return str(json.loads(text, strict=False))
        except ValueError:
            pass
    return text[1:-1]


def _filled(verb: re.Match[str]) -> str:
    match verb[1]:
        case "%":
            return "%"
        case "q":
            return f'"{VARIABLE}"'
        case "d" | "e" | "f" | "g":
            return "60"
        case _:
            return VARIABLE
