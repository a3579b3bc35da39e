"""What runbooks tell people to do can be done: commands, statements, queries and links are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from litgo_pipelines.cli.app import build_app
from litgo_pipelines.observability.lint import deployed, known_names
from litgo_pipelines.observability.promql import check
from litgo_pipelines_tests.deploy.files import RUNBOOKS

PAGES = sorted(path for path in RUNBOOKS.glob("*.md"))
_CODE = re.compile(r"```(\w*)\n(.*?)```|`([^`\n]+)`", re.DOTALL)
LITGO = get_command(build_app())
_FOR_THE_READER = ("litgo dagster", "litgo chaos")
"""Handed on to other programs, which have options of their own."""
_LINK = re.compile(r"\]\(([^)#]+)\)")


def _blocks(path: Path, language: str) -> Iterator[str]:
    return (body.strip() for said, body, _ in _CODE.findall(path.read_text()) if said == language and body)


def _commands(path: Path) -> Iterator[str]:
    """Whatever is written as code and begins with `litgo`."""
    for _, body, inline in _CODE.findall(path.read_text()):
        lines = [inline] if inline else body.splitlines()
        yield from (line.split("#")[0].strip() for line in lines if line.startswith("litgo "))


_CASE = "0b0e9c1e-3a55-4b8e-9d4e-0f6f0a4c7d11"
_STANDS_FOR = {"VERSION": "3", "DECISION": "12", "CASE": _CASE, "PRICE": "0.6", "TEXT": "why", "AREA": "família", "JOB": "move_offers"}


def _parsed(line: str) -> None:
    """Parse a line as the command line would, without doing anything.

    Raises:
        LookupError, TyperException: there is no such command or option, or something that it needs is missing.
    """
    words = [_STANDS_FOR.get(word, word) for word in shlex.split(line)[1:]]
    words = ["12" if word == "ID" and words[0] == "notification" else _CASE if word == "ID" else word for word in words]
    command = LITGO
    while isinstance(command, TyperGroup):
        if not words or words[0] not in command.commands:
            raise LookupError(f"{line}: there is no such command")
        command = command.commands[words.pop(0)]
    command.make_context(line, words)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_commands_of_a_runbook_can_be_given(path: Path) -> None:
    """With their options, and with all that they require."""
    for line in _commands(path):
        if not line.startswith(_FOR_THE_READER):
            _parsed(line)


def test_a_command_that_is_not_there_is_found() -> None:
    """So is one that lacks what it requires."""
    for line in ("litgo model unrollback", "litgo model rollback", "litgo model list --all"):
        with pytest.raises((TyperException, LookupError)):
            _parsed(line)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_queries_of_a_runbook_name_what_is_measured(path: Path) -> None:
    """As strictly as rules and dashboards."""
    names = known_names([one for one in deployed() if one.suffix == ".yaml"])
    for query in _blocks(path, "promql"):
        assert [fault.wrong for fault in check(query, names)] == [], query


def test_statements_of_runbooks_can_be_run(engine: Engine) -> None:
    """On the schema as it is."""
    statements = [(path.name, statement) for path in PAGES for statement in _blocks(path, "sql")]
    assert len(statements) > 10
    with engine.connect() as connection:
        for _, statement in statements:
            connection.execute(text(statement.replace(":", r"\:"))).all()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_of_a_runbook_lead_somewhere(path: Path) -> None:
    """To pages that are there."""
    for link in _LINK.findall(path.read_text()):
        assert link.startswith("http") or (path.parent / link).exists(), link
