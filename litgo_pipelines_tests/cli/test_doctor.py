"""`litgo doctor`: each thing that can be wrong is found, told with the next step, and hides nothing else."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from litgo_pipelines.cli import doctor
from litgo_pipelines.cli.doctor import Check, Finding, Level
from litgo_pipelines.marketplace.database import Services, open_engine
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.casework.test_triage_recording import UNSURE, triaged
from litgo_pipelines_tests.cli.conftest import Litgo


@pytest.fixture
def given(database_url: str, dagster_url: str, mlflow_uri: str, tmp_path: Path) -> dict[str, str]:
    """Variables that name fresh services."""
    return {
        "DATABASE_URL": database_url,
        "DAGSTER_POSTGRES_URL": dagster_url,
        "MLFLOW_TRACKING_URI": mlflow_uri,
        "LITGO_HOME": str(tmp_path / "home"),
    }


def _examined(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    answer = json.loads(done.stdout)
    levels = [finding["level"] for finding in answer["findings"]]
    assert answer["faults"] == levels.count("fault")
    assert done.returncode == (1 if answer["faults"] else 0)
    return {finding["check"]: finding for finding in answer["findings"]}


def test_a_fresh_project_has_no_fault_but_next_steps(litgo: Litgo, given: dict[str, str]) -> None:
    """Before the first training and without a daemon there are warnings that say what to run, and the exit code is 0."""
    found = _examined(litgo("doctor", "--json", **given))
    assert {name: finding["level"] for name, finding in found.items() if name not in {"disk", "ports"}} == {
        "settings": "ok",
        "server": "ok",
        "vendors": "warning",
        "embeddings": "ok",
        "database": "ok",
        "notifications": "ok",
        "triage": "ok",
        "dagster": "warning",
        "definitions": "ok",
        "champion": "warning",
    }
    assert "litgo up" in found["dagster"]["advice"]
    assert "litgo run retrain_ranker" in found["champion"]["advice"]
    assert "pgvector" in found["database"]["text"]


def test_what_is_away_does_not_hide_the_rest(litgo: Litgo, given: dict[str, str]) -> None:
    """With a database, a storage and a registry that nobody serves, each is a fault, and everything else is still looked at."""
    away = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/litgo",
        "DAGSTER_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/dagster",
        "MLFLOW_TRACKING_URI": "postgresql+psycopg2://nobody@127.0.0.1:1/mlflow",
    }
    found = _examined(litgo("doctor", "--json", **{**given, **away}))
    assert {name for name, finding in found.items() if finding["level"] == "fault"} == {
        "database",
        "notifications",
        "triage",
        "dagster",
        "champion",
    }
    assert all(variable in found[name]["advice"] for name, variable in zip(("database", "dagster", "champion"), away, strict=True))
    assert found["definitions"]["level"] == "ok"


def test_an_empty_database_and_a_model_that_cannot_be_loaded_are_told(
    litgo: Litgo, given: dict[str, str], empty_database_url: str, tmp_path: Path
) -> None:
    """Missing migrations come with the command that makes them; a champion that serving would refuse is a fault."""
    from mlflow import MlflowClient

    client = MlflowClient(given["MLFLOW_TRACKING_URI"], given["MLFLOW_TRACKING_URI"])
    client.create_registered_model("litgo-ranker")
    client.create_model_version("litgo-ranker", tmp_path.as_uri())
    client.set_registered_model_alias("litgo-ranker", "champion", "1")
    found = _examined(litgo("doctor", "--json", **{**given, "DATABASE_URL": empty_database_url}))
    assert (found["database"]["level"], found["database"]["advice"]) == ("warning", "run `litgo db upgrade`")
    assert found["champion"]["level"] == "fault"
    assert "alias" in found["champion"]["advice"]


VENDORS: dict[str, tuple[dict[str, str], Level, list[str], str]] = {
    "none": ({}, Level.WARNING, ["contracts are signed by hand", "no mail leaves"], "SENDGRID_API_KEY"),
    "half of one": (
        {"onesignal_app_id": "x", "sendgrid_api_key": "x"},
        Level.WARNING,
        ["told by mail"],
        "OneSignal also needs ONESIGNAL_API_KEY",
    ),
    "nobody to tell": ({"sendgrid_api_key": "x"}, Level.WARNING, ["SendGrid is configured", "names nobody"], "LITGO_OPS_EMAILS"),
    "a key that is nowhere": (
        {
            "docusign_account_id": "a",
            "docusign_integration_key": "b",
            "docusign_user_id": "c",
            "docusign_private_key": "/nonexistent",
            "sendgrid_api_key": "x",
            "litgo_ops_emails": "a@example.com",
        },
        Level.WARNING,
        ["DocuSign cannot be used as it is set", "DOCUSIGN_PRIVATE_KEY is neither a key in PEM nor the path"],
        "manual-signature.md",
    ),
    "a key that is none": (
        {
            "docusign_account_id": "a",
            "docusign_integration_key": "b",
            "docusign_user_id": "c",
            "docusign_private_key": "-----BEGIN PRIVATE KEY-----",
            "sendgrid_api_key": "x",
            "litgo_ops_emails": "a@example.com",
        },
        Level.WARNING,
        ["DOCUSIGN_PRIVATE_KEY is no RSA key in PEM"],
        "manual-signature.md",
    ),
    "mail": ({"sendgrid_api_key": "x", "litgo_ops_emails": "a@example.com"}, Level.OK, ["without OneSignal", "local model"], ""),
}


@pytest.mark.parametrize("what", VENDORS)
def test_what_happens_without_a_vendor_is_told(what: str) -> None:
    """Which are configured, what takes the place of the others, and what is missing of one that is half configured."""
    given, level, words, advice = VENDORS[what]
    found = doctor._vendors(load_settings(**given))
    assert found.level is level
    assert all(one in found.text for one in words)
    assert advice in (found.advice or "")


MESSAGES = {
    "none": ("", Level.OK, "every message was sent"),
    "one that waits": ("'queued', now() - interval '5 min', NULL", Level.OK, "1 queued; the oldest of those that wait is 5 min old"),
    "one that waits for long": ("'queued', now() - interval '90 min', NULL", Level.WARNING, "is 90 min old"),
    "one that is unknown": ("'unknown', now(), NULL", Level.WARNING, "1 unknown"),
    "one that was sent": ("'sent', now(), now()", Level.OK, "every message was sent"),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_messages_that_did_not_arrive_are_told(what: str, database_url: str) -> None:
    """How many stand where, and how long the oldest has waited."""
    values, level, words = MESSAGES[what]
    engine = open_engine(database_url)
    with engine.begin() as connection:
        if values:
            columns = "key, audience, subject, body, status, created_at, sent_at"
            connection.exec_driver_sql(f"INSERT INTO litgo.notifications ({columns}) VALUES ('k', 'ops', 's', 'b', {values})")
    engine.dispose()
    found = doctor._notifications(Services(database_url, "", "", None))
    assert (found.level, words in found.text) == (level, True)


UNDECIDED = {
    "none": ([], Level.OK, "no case waits"),
    "in time": ([1, 40], Level.OK, "2 undecided cases; the most urgent one has 8 h left"),
    "one too late": ([1, 50], Level.WARNING, "2 undecided cases, 1 of them too late, by up to 2 h"),
}


@pytest.mark.parametrize("what", UNDECIDED)
def test_cases_that_wait_for_a_person_are_told(what: str, database_url: str) -> None:
    """How many there are, and whether one has waited for longer than its 48 hours."""
    ages, level, words = UNDECIDED[what]
    engine = open_engine(database_url)
    for hours in ages:
        triaged(engine, UNSURE, at=datetime.now(UTC) - timedelta(hours=hours))
    engine.dispose()
    found = doctor._triage(Services(database_url, "", "", None))
    assert (found.level, words in found.text) == (level, True), found.text
    assert bool(found.advice) == bool(ages)


def test_wrong_settings_are_a_finding(litgo: Litgo) -> None:
    """A variable that cannot be used is reported like any other fault."""
    found = _examined(litgo("doctor", "--json", LITGO_SERVE_PORT="many"))
    assert list(found) == ["settings"]
    assert "LITGO_SERVE_PORT" in found["settings"]["text"]


def test_a_strangers_port_is_named_with_its_variable() -> None:
    """A port that another program holds is told before `litgo up` stumbles over it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = doctor._ports(load_settings(litgo_mlflow_port=port))
    assert found.level is Level.WARNING
    assert f"{port} (LITGO_MLFLOW_PORT)" in found.text


@pytest.mark.parametrize(("free", "level"), [(2**29, Level.FAULT), (2**31, Level.WARNING), (2**36, Level.OK)])
def test_little_space_is_told_before_it_is_gone(free: int, level: Level, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Below 5 GiB is a warning, below 1 GiB a fault; a home that does not exist yet is judged by the disk it will be on."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": free if folder == tmp_path else -1})())
    assert doctor._disk(load_settings(litgo_home=tmp_path / "not" / "yet")).level is level


def test_a_check_that_hangs_is_a_fault_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No check can keep the command from ending."""
    monkeypatch.setattr(doctor, "_CHECK_SECONDS", 0.1)
    released = threading.Event()

    def hang() -> Finding:
        released.wait(30)
        raise AssertionError

    found = doctor._bounded(Check("slow", hang, "wait"))
    released.set()
    assert (found.check, found.level, found.advice) == ("slow", Level.FAULT, "wait")


def test_a_check_that_raises_is_a_fault_with_its_reason() -> None:
    """What a library raises is told on one line, with what to do."""

    def fail() -> Finding:
        raise OSError("first\nsecond")

    assert doctor._bounded(Check("broken", fail, "mend")) == Finding("broken", Level.FAULT, "OSError: first second", "mend")


def test_a_person_reads_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Each finding is a row with its level, the next step is below it, and brackets in a message are shown as they are."""
    doctor._print_table([Finding("disk", Level.OK, "enough"), Finding("broken", Level.FAULT, "array[1] is [red]", "mend it")])
    first, second, third = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (first, second, third) == (["ok", "disk", "enough"], ["fault", "broken", "array[1]", "is", "[red]"], ["Next:", "mend", "it"])
