"""`litgo embeddings status` and `backfill`, with the real local model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.cli.conftest import Litgo


@pytest.fixture
def embeddings(litgo: Litgo, services: dict[str, str]) -> Litgo:
    """Call `litgo embeddings` on the test's database."""
    return lambda *arguments, **environment: litgo("embeddings", *arguments, **(services | environment))


def test_a_backfill_covers_everything_and_the_status_says_so(embeddings: Litgo, engine: Engine) -> None:
    """Cases and lawyers are missing before and covered after; a second backfill has nothing to do."""
    town = Town(engine)
    town.case(summary="não recebi as horas extras")
    town.contract(town.lawyer(), NOON, case=town.case(summary="quero me divorciar"))
    before = json.loads(embeddings("status", "--json").stdout)
    (cases, lawyers) = before["coverage"]
    assert (cases["wanted"], cases["missing"], cases["share"]) == (2, 2, 0.0)
    assert cases["space"].startswith("all-MiniLM-L6-v2@")
    # Lawyers count from the first case with a vector.
    assert (lawyers["wanted"], lawyers["share"]) == (0, None)
    done = embeddings("backfill", "--json")
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)
    assert [(one["new"], one["outdated"], one["trouble"]) for one in written["cases"] + written["lawyers"]] == [(2, 0, None), (1, 0, None)]
    shown = embeddings("status", COLUMNS="160")
    assert shown.returncode == 0
    assert shown.stdout.count("100%") == 2
    again = json.loads(embeddings("backfill", "--json").stdout)
    assert [one["new"] + one["outdated"] for one in again["cases"] + again["lawyers"]] == [0, 0]


def test_without_any_model_a_backfill_is_refused(embeddings: Litgo, tmp_path: Path) -> None:
    """In one line that names what was looked for; the status tells it as well."""
    nowhere = str(tmp_path / "nowhere")
    done = embeddings("backfill", LOCAL_EMBEDDING_MODEL=nowhere)
    assert done.returncode == 2
    assert nowhere in done.stderr.splitlines()[-1]
    shown = embeddings("status", LOCAL_EMBEDDING_MODEL=nowhere)
    assert shown.returncode == 0
    assert nowhere in shown.stdout.replace("\n", "")


def test_a_search_finds_what_is_alike(embeddings: Litgo, engine: Engine) -> None:
    """The nearest case comes first, with what it is about; a space that the text has no vector in is refused with those it has."""
    town = Town(engine)
    overtime = town.case(summary="meu patrão não pagou as horas extras", area="trabalhista")
    town.case(summary="quero me divorciar e ficar com a guarda", area="família")
    empty = embeddings("search", "horas extras")
    assert "litgo embeddings backfill" in empty.stdout + empty.stderr
    assert embeddings("backfill").returncode == 0
    found = json.loads(embeddings("search", "não recebi minhas horas extras", "--json").stdout)
    assert (found["found"][0]["id"], found["found"][0]["area"]) == (str(overtime), "trabalhista")
    assert found["found"][0]["cosine"] > found["found"][1]["cosine"]
    shown = embeddings("search", "horas extras", "--limit", "1", COLUMNS="160")
    assert str(overtime) in shown.stdout
    refused = embeddings("search", "horas", "--space", "another@1:3")
    assert (refused.returncode, found["space"] in refused.stderr) == (2, True)
