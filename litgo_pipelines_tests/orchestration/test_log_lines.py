"""What the lines of a run say: run, job and step, and the ids of what it works on, in whatever thread."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.definitions.instigation_logger import InstigationLogger

from litgo_pipelines.observability.logs import configure_logging
from litgo_pipelines.orchestration.jobs import MOVE_OFFERS, PROCESS_CONTRACTS, READ_EXPERIMENT, WATCH_CHAMPION
from litgo_pipelines.settings import LitgoError, load_settings
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
    written: io.StringIO, location: Location, rollout: Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lines of libraries that are heard meanwhile carry the ids as well. Dagster tells where it failed, and keeps the message."""
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
    (step,), (run,) = lines(written, "STEP_FAILURE"), lines(written, "PIPELINE_FAILURE")
    assert (step["run_id"], step["job"], step["step"], step["level"]) == (result.run_id, MOVE_OFFERS, "offer_rounds", "error")
    assert "in broken" in step["exception"]
    assert "exception" not in run
    heard = written.getvalue() + "".join(capfd.readouterr())
    assert [one for one in ("Maria", "demitida", "529") if one in heard] == []
    kept = [str(entry.dagster_event) for entry in location.instance.all_logs(result.run_id)]
    assert any("demitida" in one for one in kept)


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


@dg.op
def _telling(context):  # type: ignore[no-untyped-def]  # Dagster reads annotations where it defines an op
    context.log.info("cliente CPF 529.982.247-25")
    context.log.debug("little")
    raise Unready("ask 529.982.247-25 again") from ValueError("Maria")


class Unready(LitgoError):
    """An error with a message for people."""


@dg.job
def _tells() -> None:
    _telling()


@pytest.mark.parametrize("config", [{}, {"loggers": {"console": {"config": {"log_level": "DEBUG"}}}}])
def test_what_is_told_to_dagster_is_masked_on_the_console(config: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """Whichever of its loggers a run has, and although nobody has set logging up; errors of ours keep their message."""
    assert not _tells.execute_in_process(config, raise_on_error=False).success
    out, err = capfd.readouterr()
    told = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [line["event"] for line in told] == ["cliente CPF [CPF]", "STEP_FAILURE", "PIPELINE_FAILURE"]
    assert told[1]["exception"].splitlines()[0] == "ValueError"
    assert told[1]["exception"].endswith("Unready: ask [CPF] again")
    assert "Maria" not in json.dumps([line | {"exception": ""} for line in told])


def test_what_a_sensor_tells_is_masked_too(capfd: pytest.CaptureFixture[str]) -> None:
    """Its logger is another."""
    with InstigationLogger(repository_name="here", instigator_name="offers_due") as log:
        log.info("cliente %s", "52998224725")
        try:
            raise ValueError("".join(("Ma", "ria")))
        except ValueError:
            log.exception("no tick")
    out, err = capfd.readouterr()
    first, second = map(json.loads, err.splitlines())
    assert (out, first["event"], first["tick_of"]) == ("", "cliente [CPF]", "offers_due")
    assert second["exception"].endswith("ValueError")
    assert "Maria" not in err


@pytest.mark.parametrize(
    ("job", "asset", "does"),
    [(READ_EXPERIMENT, "experiment_readout", "trials.read_experiment"), (WATCH_CHAMPION, "model_quality", "watching.watch_champion")],
)
def test_who_froze_the_models_is_told_to_dagster_alone(
    job: str,
    asset: str,
    does: str,
    written: io.StringIO,
    location: Location,
    rollout: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What was done stands in the asset's metadata."""
    module, _, name = does.partition(".")
    place = importlib.import_module(f"litgo_pipelines.rollout.{module}")
    real = getattr(place, name)
    monkeypatch.setattr(place, name, lambda *given, **named: replace(real(*given, **named), done=["frozen by Maria: Joana asked"]))
    result = location.execute(job)
    assert result.success
    (made,) = result.asset_materializations_for_node(asset)
    assert made.metadata["done"].value == "frozen by Maria: Joana asked"
    heard = written.getvalue() + "".join(capfd.readouterr())
    assert asset in heard
    assert [one for one in ("Maria", "Joana") if one in heard] == []


_PROGRAM = """
import logging, sys, warnings
from dagster._utils.log import configure_loggers
configure_loggers(formatter="json", log_level="INFO")
if "code server" in sys.argv:
    import litgo_pipelines.definitions
name = "".join(("Ma", "ria"))
log = logging.getLogger("dagster.daemon.SensorDaemon")
log.info("Checking for runs")
log.debug("no")
log.error("failed:\\n\\nValueError: %s\\n\\nStack Trace:\\n  File \\"x.py\\", line 3, in y\\n    y()\\n%s 52998224725", name, name)
warnings.warn(name)
try:
    raise ValueError(name)
except ValueError:
    log.exception("of 52998224725")
"""


@pytest.mark.parametrize("begun_by", ["litgo", "code server"])
def test_dagster_s_programs_write_lines_like_ours(begun_by: str, tmp_path: Path) -> None:
    """Those that `litgo up` runs from the first line on, and code servers from the moment when they have loaded the code."""
    (tmp_path / "a_program.py").write_text(_PROGRAM)
    command = ["-m", "litgo_pipelines.orchestration.console", "a_program"] if begun_by == "litgo" else ["a_program.py", begun_by]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    first, failed, warned, last = map(json.loads, done.stderr.splitlines())
    assert (first["event"], first["logger"], first["level"]) == ("Checking for runs", "dagster.daemon.SensorDaemon", "info")
    assert failed["event"].splitlines() == ["failed:", "ValueError", '  File "x.py", line 3, in y', "    y()"]
    assert warned["category"] == "UserWarning"
    assert (last["event"], last["exception"].splitlines()[-1]) == ("of [CPF]", "ValueError")
    assert [one for one in ("Maria", "52998224725") if one in done.stderr] == []


def test_a_process_that_dagster_began_writes_such_lines_too(
    location: Location, rollout: Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody has set logging up there before."""
    assert location.execute(MOVE_OFFERS).success
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert [line["step"] for line in told if line["event"] == "offers moved"] == ["offer_rounds"]
