"""`litgo triage`: what it tells people and machines, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from litgo_pipelines.casework.triage_examples import COLUMNS, read_examples
from litgo_pipelines_tests.casework.test_triage import HELD_OUT
from litgo_pipelines_tests.casework.test_triage_recording import SURE, UNSURE, triaged
from litgo_pipelines_tests.cli.conftest import Litgo


@pytest.fixture
def triage(tmp_path: Path, verbs: Callable[..., Litgo]) -> Litgo:
    """Call `litgo triage` on a machine without any model, and without a database unless the test names one."""
    return verbs("triage", LOCAL_EMBEDDING_MODEL=str(tmp_path / "none"), LITGO_LOG_LEVEL="error")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, database_url: str, triage: Litgo) -> Litgo:
    """The same on the test's database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return triage


def test_a_telling_is_judged_without_database_and_model(triage: Litgo) -> None:
    """JSON has the area, how sure it is and the nearest examples; people get them as a table."""
    told = "Fui demitida e o patrão não pagou minha rescisão"
    done = triage("ask", told, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["area"], found["space"]) == (0, "trabalhista", "bm25")
    assert "is not on this machine" in done.stderr
    shown = triage("ask", told).stdout
    assert "trabalhista / rescisão" in shown
    assert found["nearest"][0]["example"] in shown
    assert "Not sure" in triage("ask", "bom dia").stdout
    assert triage("ask", " ").returncode == 2


def test_the_held_out_tellings_are_measured(triage: Litgo) -> None:
    """JSON has accuracy over all and by area; a file of examples, or without any area, is refused."""
    found = json.loads(triage("evaluate", str(HELD_OUT), "--json").stdout)
    tellings = [one for one in read_examples(HELD_OUT) if one.area]
    assert found["tellings"] == len(tellings) == sum(one["tellings"] for one in found["areas"])
    assert found["accuracy"] == pytest.approx(sum(one["right"] for one in found["areas"]) / len(tellings))
    assert "Worst pairs" in triage("evaluate", str(HELD_OUT)).stdout


def test_what_cannot_be_measured_is_refused(triage: Litgo, tmp_path: Path) -> None:
    """Tellings that the triage knows, and files without an area or a column, end with one line."""
    one = read_examples()[0]
    file = tmp_path / "known.csv"
    file.write_text(f'{",".join(COLUMNS)}\nx,{one.area},{one.subarea},24,LOW,"{one.text}"\n', encoding="utf-8")
    done = triage("evaluate", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert "telling x is a labelled example itself" in done.stderr
    file.write_text(f"{','.join(COLUMNS)}\nx,,,24,LOW,bom dia\n", encoding="utf-8")
    assert "no telling with an area" in triage("evaluate", str(file)).stderr
    file.write_text("id,text\nx,y\n", encoding="utf-8")
    assert "column area is missing" in triage("evaluate", str(file)).stderr


def test_a_person_decides_what_is_listed(here: Litgo, engine: Engine) -> None:
    """The undecided case is listed with the client's words, decided, and listed as decided afterwards."""
    assert "No case waits" in here("list", "--undecided").stdout
    case_id = triaged(engine, UNSURE)
    triaged(engine, SURE)
    (waiting,) = json.loads(here("list", "--undecided", "--json").stdout)
    assert (waiting["case_id"], waiting["likeliest"], waiting["summary"]) == (str(case_id), "família", "ele me deve")
    assert str(case_id) in here("list", "--undecided").stdout
    done = here("decide", str(case_id), "--area", "família", "--subarea", "divórcio", "--by", "Rita", "--reason", "fala do ex")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is of família / divórcio and open" in done.stdout
    assert json.loads(here("list", "--undecided", "--json").stdout) == []
    listed = {one["case_id"]: one for one in json.loads(here("list", "--json").stdout)}
    assert (listed[str(case_id)]["decided_by"], listed[str(case_id)]["status"]) == ("Rita", "open")
    assert len(listed) == 2


def test_a_decision_that_cannot_be_is_refused(here: Litgo, engine: Engine) -> None:
    """Unknown ids, subareas and cases that do not wait end with one line and change nothing."""
    waiting = str(triaged(engine, UNSURE))
    why = ("--by", "Rita", "--reason", "x")
    for arguments, told in (
        (("nonsense", "--area", "civil"), "is no id of a case"),
        ((str(uuid4()), "--area", "civil"), "there is no case"),
        ((waiting, "--area", "família", "--subarea", "cobrança"), "choose one of divórcio"),
        ((waiting, "--area", "culinária"), "there is no area"),
        ((str(triaged(engine, SURE)), "--area", "civil"), "only one in the state triage"),
    ):
        done = here("decide", *arguments, *why)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert told in done.stderr
    with engine.connect() as connection:
        assert connection.execute(text("SELECT status FROM litgo.cases WHERE id = :id"), {"id": waiting}).scalar_one() == "triage"
