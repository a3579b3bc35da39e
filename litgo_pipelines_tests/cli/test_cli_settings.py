"""The table of environment variables and the documents that hold it."""

from __future__ import annotations

from pathlib import Path

import pytest

from litgo_pipelines.cli.settings import DOCUMENTS, markdown, variables, with_table
from litgo_pipelines.settings import LitgoError, Settings


def test_every_variable_is_described() -> None:
    """The table holds each setting once, under its environment name, with a sentence."""
    found = variables()
    assert [variable.name for variable in found] == [name.upper() for name in Settings.model_fields]
    assert all(variable.description.endswith(".") for variable in found)


def test_defaults_are_written_as_one_would_set_them() -> None:
    """A default can be copied from the table: folders relative to the project, JSON where JSON is read, nothing for none."""
    defaults = {variable.name: variable.default for variable in variables()}
    assert defaults["LITGO_HOME"] == ".litgo"
    assert defaults["LITGO_LABELS"] == '{"lost": 0, "declined": 1, "accepted": 2, "won": 3}'
    assert defaults["DATABASE_URL"] == ""
    assert defaults["LITGO_DAGSTER_PORT"] == "3001"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_documents_hold_the_table_as_it_is(document: Path) -> None:
    """README and docs/environment.md are in step with the settings; `litgo settings --write` renews them."""
    text = document.read_text(encoding="utf-8")
    assert with_table(text) == text


def test_only_what_lies_between_the_markers_is_renewed() -> None:
    """Renewing a document leaves what a person wrote around the table."""
    text = "above\n<!-- environment -->\nold\n<!-- /environment -->\nbelow\n"
    assert with_table(text) == f"above\n<!-- environment -->\n{markdown()}<!-- /environment -->\nbelow\n"


def test_a_document_without_markers_is_refused() -> None:
    """Nothing is appended to a document that has no place for the table."""
    with pytest.raises(LitgoError, match="lacks the markers"):
        with_table("no place\n")
