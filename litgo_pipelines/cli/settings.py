"""`litgo settings`: the table of all environment variables, for people and for the documentation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from litgo_pipelines.settings import PROJECT_FOLDER, LitgoError, Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DOCUMENTS = (PROJECT_FOLDER / "README.md", PROJECT_FOLDER / "docs" / "environment.md")
BEGIN, END = "<!-- environment -->", "<!-- /environment -->"


@dataclass(frozen=True)
class Variable:
    """One environment variable: its name, its default as one would write it (empty: none), and what it is for."""

    name: str
    default: str
    description: str


def variables() -> list[Variable]:
    """All environment variables, in the order of their definition."""
    return [Variable(name.upper(), _default(field), field.description or "") for name, field in Settings.model_fields.items()]


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value == []:
        return ""
    if isinstance(value, Path):
        return str(value.relative_to(PROJECT_FOLDER)) if value.is_relative_to(PROJECT_FOLDER) else str(value)
    if isinstance(value, bool | dict | list):
        return json.dumps(value)
    return str(value)


def markdown() -> str:
    """The table of the documentation."""
    rows = [
        f"| `{variable.name}` | {f'`{variable.default}`' if variable.default else ''} | {_cell(variable.description)} |"
        for variable in variables()
    ]
    return "\n".join(["| Variable | Default | Meaning |", "|---|---|---|", *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def with_table(text: str) -> str:
    """The text of a document with the table between its markers renewed.

    Raises:
        LitgoError: the markers are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LitgoError(f"the document lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{markdown()}{END}{after}"


def settings(
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table that the documents hold.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Renew the table in README.md and docs/environment.md.")] = False,
) -> None:
    """List every environment variable with its default and meaning.

    Example: `litgo settings --write`
    """
    if write:
        for document in DOCUMENTS:
            document.write_text(with_table(document.read_text(encoding="utf-8")), encoding="utf-8")
        return
    if as_markdown:
        typer.echo(markdown(), nl=False)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("Variable", "Default", "Meaning", show_lines=True)
    for variable in variables():
        table.add_row(variable.name, escape(variable.default), escape(variable.description))
    Console().print(table)
