"""What the lines of a run say: run, job and step, and the ids of what it works on, in whatever thread."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from litgo_pipelines.observability.logs import configure_logging
from litgo_pipelines.orchestration.jobs import MOVE_OFFERS, PROCESS_CONTRACTS
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.casework.conftest import Town
from litgo_pipelines_tests.casework.signing import Desk, rsa_key, signing_desk  # noqa: F401 (fixtures)
from litgo_pipelines_tests.orchestration.conftest import Ticks
from litgo_pipelines_tests.orchestration.test_contracts import account

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines_tests.orchestration.conftest import Location


@pytest.fixture
def written() -> io.StringIO:
    """What is logged while a test runs."""
    stream = io.StringIO()
    configure_logging(load_settings(litgo_log_format="json"), stream)
    return stream


def lines(written: io.StringIO, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, written.getvalue().splitlines()) if line["event"] == event]


def test_a_step_s_lines_carry_run_job_and_step(written: io.StringIO, location: Location, rollout: Engine) -> None:
    """And what is logged after the run does not."""
    result = location.execute(MOVE_OFFERS)
    assert result.success
    (line,) = lines(written, "offers moved")
    assert (line["run_id"], line["job"], line["step"]) == (result.run_id, MOVE_OFFERS, "offer_rounds")
    logging.getLogger("litgo_pipelines").info("later")
    (later,) = lines(written, "later")
    assert not {"run_id", "job", "step"} & later.keys()


def test_a_step_that_fails_tells_the_case_and_nothing_that_was_written_in_it(
    written: io.StringIO, location: Location, rollout: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of libraries that are heard meanwhile carry the ids as well."""
    from litgo_pipelines.casework import next_offers

    town = Town(rollout)
    now = datetime.now(UTC)
    case = town.case(created_at=now - timedelta(hours=2), summary="Maria, CPF 529.982.247-25, foi demitida")
    town.offer(town.lawyer(), now - timedelta(hours=2), status="declined", case=case)
    town.lawyer()

    def broken(_connection: Any, _state: Any, one: Any, *_: Any) -> Any:
        logging.getLogger("somelibrary").warning("odd: %s", "52998224725")
        raise ValueError(one.case.summary)

    monkeypatch.setattr(next_offers, "_decided", broken)
    result = location.execute(MOVE_OFFERS)
    assert not result.success
    (failed,), (odd,) = lines(written, "a case could not be offered on"), lines(written, "odd: [CPF]")
    for line in (failed, odd):
        assert (line["run_id"], line["job"], line["step"]) == (result.run_id, MOVE_OFFERS, "offer_rounds")
        assert (line["case_id"], line["model_version"]) == (str(case), "hand-weights")
    assert [one for one in ("Maria", "demitida", "529") if one in written.getvalue()] == []


def test_threads_of_a_step_carry_its_ids(
    written: io.StringIO, location: Location, desk: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contracts are processed in several; each line has its own contract and case."""
    from litgo_pipelines.casework import contract_signing

    location.database = database_url
    desk.now = datetime.now(UTC) - timedelta(seconds=5)
    contracts = {str(one): str(desk.contract(one).case_id) for one in (desk.requested(), desk.requested())}

    name = "".join(("Ma", "ria"))

    def broken(*_: Any) -> Any:
        raise RuntimeError(name)

    monkeypatch.setattr(contract_signing, "document_of", broken)
    result = location.execute(PROCESS_CONTRACTS, **account(desk))
    found = lines(written, "contract not processed")
    assert {line["contract_id"]: line["case_id"] for line in found} == contracts
    assert {(line["run_id"], line["job"], line["step"]) for line in found} == {(result.run_id, PROCESS_CONTRACTS, "contract_signatures")}
    assert "Maria" not in written.getvalue()


def test_contracts_that_go_on_by_hand_are_named(written: io.StringIO, location: Location, desk: Desk, database_url: str) -> None:
    """In the line about the run."""
    location.database = database_url
    desk.now = datetime.now(UTC) - timedelta(seconds=5)
    contract = desk.requested()
    assert location.execute(PROCESS_CONTRACTS).success
    (line,) = lines(written, "contracts processed")
    assert line["signed_by_hand"] == [str(contract)]


def test_each_decision_about_models_leaves_one_line(written: io.StringIO, location: Location, rollout: Engine) -> None:
    """With its versions, and without the name and the words of whoever took it."""
    from litgo_pipelines.rollout import decisions

    with rollout.begin() as connection:
        given: dict[str, Any] = {"at": datetime.now(UTC), "from_version": "2", "to_version": "1"}
        decisions.record(connection, "promotion", actor="Maria", reason="Joana asked for it", result="done", **given)
        made = decisions.record(connection, "rollback", actor=decisions.WATCH, reason="it fell", result="done", run_id="r-1", **given)
    ticks = Ticks(location, "registry_changes")
    ticks.evaluate()
    ticks.evaluate()
    by_hand, by_itself = lines(written, "decided")
    assert (by_hand["action"], by_hand["by"]) == ("promotion", "person")
    shown = {name: by_itself[name] for name in ("decision", "action", "by", "result", "from_version", "to_version", "run_id")}
    assert shown == {
        "decision": made.id,
        "action": "rollback",
        "by": "model_quality",
        "result": "done",
        "from_version": "2",
        "to_version": "1",
        "run_id": "r-1",
    }
    assert [one for one in ("Maria", "Joana") if one in written.getvalue()] == []


def test_a_process_that_dagster_began_writes_such_lines_too(
    location: Location, rollout: Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody has set logging up there before."""
    assert location.execute(MOVE_OFFERS).success
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert [line["step"] for line in told if line["event"] == "offers moved"] == ["offer_rounds"]
