"""`litgo fairness explain`: the answer on the terminal, as JSON, as a letter in a file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from litgo_pipelines.casework import wording as say
from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.casework.matching import decide, note_offers
from litgo_pipelines.casework.recording import Recording, record
from litgo_pipelines.cli.fairness.explain import CannotExplain, explain
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines_tests.casework.conftest import Town
from litgo_pipelines_tests.cli.conftest import Litgo

ONE = "7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11"


@pytest.fixture
def services(services: dict[str, str]) -> dict[str, str]:
    """The same, of a controller with a name."""
    return services | {"LITGO_CONTROLLER_NAME": "Acordo Certo Ltda.", "COLUMNS": "100"}


@pytest.fixture
def market(database_url: str) -> dict[str, UUID]:
    """A case of an hour ago that one lawyer was offered and another was not, and the figures of one night."""
    engine = open_engine(database_url)
    town, at = Town(engine), datetime.now(UTC) - timedelta(hours=1)
    best = town.lawyer(name="Ana [bold]Lima[/]", oab_number="OAB/SP 123.456", cv_score=1.0)
    other = town.lawyer(name="Bento Reis", oab_number="654321/RJ", cv_score=0.1)
    case = town.case()
    market = town.market(at)
    question: dict[str, Any] = {"request_id": uuid4(), "at": at, "top_n": 1, "new_lawyer_offers": 0}
    decision = decide(market, town.as_case(case), HandWeights(), OfferRule(exploration=0.0), **question)
    note_offers(market, decision)
    record(engine, market, [decision], Recording(timedelta(days=1), 20))
    run_equity(engine, at, new_lawyer_offers=10)
    engine.dispose()
    return {"best": best, "other": other, "case": case}


def test_a_lawyer_is_answered_on_the_terminal(litgo: Litgo, services: dict[str, str], market: dict[str, UUID]) -> None:
    """In Portuguese, by OAB number, without words of the code or others' exact results; what looks like markup in a name stays as it is."""
    done = litgo("fairness", "explain", "--oab", "rj 654.321", **services)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "Bento Reis (OAB/RJ 654.321)" in told
    assert "casos oferecidos, entre os pedidos com ofertas 0 de 1 (0,0%)" in told
    assert "Casos não oferecidos: resultado abaixo do obtido pelo último incluído (1)" in told
    assert "(carga de 0%) = resultado" in told
    assert "O registro começa em" in told
    assert not [word for word in ("u_eff", "score", "cutoff", "below_cutoff") if word in told]
    assert told.count("Carga em") == 1
    found = json.loads(litgo("fairness", "explain", "--lawyer", str(market["other"]), "--json", **services).stdout)
    cutoff = found["decisions"][0]["request"]["cutoff"]
    assert f"último incluído na faixa {say.band(cutoff)}" in told
    assert say.points(cutoff) not in told
    best = litgo("fairness", "explain", "--lawyer", str(market["best"]), "--case", str(market["case"]), **services)
    assert "Ana [bold]Lima[/]" in best.stdout
    assert "1º lugar na lista; oferta: aguardando resposta" in best.stdout
    assert "Bento" not in best.stdout


def test_a_case_is_answered_with_everybody(litgo: Litgo, services: dict[str, str], market: dict[str, UUID]) -> None:
    """Names and reasons, as many as `--limit` allows, and that it is not for lawyers."""
    told = litgo("fairness", "explain", "--case", str(market["case"]), "--limit", "1", **services).stdout
    assert "uso interno" in told
    assert "Ana [bold]Lima[/], OAB/SP 123.456" in told
    assert "Bento" not in told
    assert "e mais 1: veja com --limit" in told


def test_json_has_all_under_stable_keys(litgo: Litgo, services: dict[str, str], market: dict[str, UUID]) -> None:
    """Stdout is JSON alone; numbers are those of the record."""
    done = litgo("fairness", "explain", "--lawyer", str(market["other"]), "--days", "7", "--json", **services)
    found = json.loads(done.stdout)
    assert set(found) == {"lawyer", "case_id", "since", "until", "record_since", "summary", "load", "peers", "decisions"}
    assert set(found["summary"]) == {
        *("requests", "compared", "compared_recorded", "compared_for_offers", "offered", "offered_share", "by_finding", "by_reason")
    }
    (decision,) = found["decisions"]
    assert set(decision) == {"request", "finding", "reason", "position", "numbers", "features", "offer"}
    assert (decision["finding"], decision["reason"]) == ("not_shown", "below_cutoff")
    assert set(decision["numbers"]) == {"score", "load", "discount", "bonus", "value", "is_new"}
    assert decision["request"]["case_id"] == str(market["case"])
    assert decision["numbers"]["value"] < decision["request"]["cutoff"]
    assert datetime.fromisoformat(found["until"]) - datetime.fromisoformat(found["since"]) == timedelta(days=7)
    case = json.loads(litgo("fairness", "explain", "--case", str(market["case"]), "--json", **services).stdout)
    (request,) = case["requests"]
    assert [one["lawyer_id"] for one in request["candidates"]] == [str(market["best"]), str(market["other"])]


def test_a_letter_goes_to_a_file_and_overwrites_none(
    litgo: Litgo, services: dict[str, str], market: dict[str, UUID], tmp_path: Path
) -> None:
    """Written once, refused the second time, written over with `--force`; without a file it is printed."""
    question = ("fairness", "explain", "--oab", "123456/SP", "--letter")
    out = tmp_path / "resposta.md"
    done = litgo(*question, "--out", str(out), **services)
    assert done.returncode == 0, done.stderr
    written = out.read_text(encoding="utf-8")
    assert "Acordo Certo Ltda." in written
    assert str(out) in done.stdout
    out.write_text("outra", encoding="utf-8")
    refused = litgo(*question, "--out", str(out), **services)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--force" in refused.stderr
    assert out.read_text(encoding="utf-8") == "outra"
    litgo(*question, "--out", str(out), "--force", **services)
    assert out.read_text(encoding="utf-8").splitlines()[0] == litgo(*question, **services).stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "--lawyer ID, --oab NUMBER or --case ID"),
        ({"lawyer": ONE, "oab": "SP1"}, "give one of them"),
        ({"case": ONE, "days": 3}, "leave --days out"),
        ({"case": ONE, "letter": True}, "needs an addressee"),
        ({"lawyer": ONE, "letter": True, "as_json": True}, "one at a time"),
        ({"lawyer": ONE, "out": Path("x.md")}, "add --letter"),
        ({"lawyer": ONE, "letter": True, "force": True}, "name it"),
        ({"lawyer": ONE, "letter": True, "out": Path("/nowhere/x.md")}, "does not exist"),
        ({"lawyer": ONE, "letter": True, "out": Path()}, "is a folder"),
        ({"lawyer": "12"}, "is no id"),
        ({"case": "12"}, "is no id"),
    ],
)
def test_what_does_not_go_together_is_one_line(given: dict[str, Any], reason: str) -> None:
    """Before any database is looked for."""
    asked: dict[str, Any] = {"lawyer": None, "oab": None, "case": None, "days": None, "letter": False, "out": None, "force": False}
    with pytest.raises(CannotExplain, match=reason) as caught:
        explain(**(asked | {"as_json": False, "limit": 20} | given))
    assert "\n" not in str(caught.value)


def test_a_period_longer_than_the_record_is_wrong_usage(litgo: Litgo) -> None:
    """1 to 180 days."""
    for days in ("0", "181"):
        assert litgo("fairness", "explain", "--lawyer", ONE, "--days", days).returncode == 2


def test_somebody_unknown_is_one_line(litgo: Litgo, services: dict[str, str]) -> None:
    """With what to do next."""
    done = litgo("fairness", "explain", "--oab", "SP 999", **services)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("litgo: no lawyer has the number OAB/SP 999")
