"""`litgo contract`: what its verbs tell, what they write, and what they refuse."""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from litgo_pipelines.casework.contract_signing import process
from litgo_pipelines.settings import get_settings
from litgo_pipelines.simulation.vendors.server import Reply
from litgo_pipelines_tests.casework.signing import Desk, rsa_key, signing_desk  # noqa: F401 (fixtures)
from litgo_pipelines_tests.cli.conftest import Litgo, refused, said


@pytest.fixture
def contract(desk: Desk, database_url: str, verbs: Callable[..., Litgo]) -> Litgo:
    """Call `litgo contract` on the desk's marketplace."""
    return verbs("contract", DATABASE_URL=database_url, COLUMNS="200")


def by_hand(desk: Desk) -> UUID:
    """A contract that waits for manual signatures."""
    made = desk.requested()
    process(desk.town.engine, None, desk.settings, lambda: desk.now)
    return made


def with_account(desk: Desk, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """Let the verbs have the desk's account."""
    for name in type(desk.settings).model_fields:
        value = getattr(desk.settings, name)
        if name.startswith("docusign_"):
            monkeypatch.setenv(name.upper(), str(value.get_secret_value() if isinstance(value, SecretStr) else value))
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()


def test_a_person_takes_a_contract_from_the_list_to_active(contract: Litgo, desk: Desk, tmp_path: Path) -> None:
    """List, fetch the document, record both signatures: the way of the runbook, word for word."""
    made, scan = by_hand(desk), tmp_path / "scan.pdf"
    listed = said(contract("list", "--unsigned"))
    assert str(made) in listed
    assert "by hand" in listed
    pdf = tmp_path / "contrato.pdf"
    assert desk.contract(made).reference in said(contract("document", str(made), "--output", str(pdf)))
    assert pdf.read_bytes().startswith(b"%PDF")
    scan.write_bytes(b"signed")
    assert "the lawyer has still to sign" in said(contract("sign", str(made), "--party", "client", "--evidence", str(scan)))
    assert "signed by both" in said(contract("sign", str(made), "--party", "lawyer", "--evidence", str(scan)))
    assert said(contract("list", "--unsigned")) == "There are no such contracts.\n"
    shown = said(contract("show", str(made)))
    assert f"recorded by {getpass.getuser()}" in shown
    assert hashlib.sha256(b"signed").hexdigest() in shown
    assert "closed" in said(contract("close", str(made)))


def test_json_is_all_that_machines_get(contract: Litgo, desk: Desk, tmp_path: Path) -> None:
    """Every verb prints one JSON value, with ids, state and reference."""
    made = by_hand(desk)
    (listed,) = json.loads(said(contract("list", "--json")))["contracts"]
    assert (listed["id"], listed["status"], listed["reference"]) == (str(made), "pending-signature", desk.contract(made).reference)
    assert json.loads(said(contract("show", str(made), "--json")))["signatures"] == []
    document = json.loads(said(contract("document", str(made), "-o", str(tmp_path / "a.pdf"), "--json")))
    assert document["sha256"] == hashlib.sha256((tmp_path / "a.pdf").read_bytes()).hexdigest()
    canceled = json.loads(said(contract("cancel", str(made), "--reason", "the client gave up", "--by", "ana", "--json")))
    assert (canceled["status"], canceled["ended_because"]) == ("canceled", "the client gave up (ana)")


def test_contracts_are_listed_by_state(contract: Litgo, desk: Desk) -> None:
    """Those that have ended only where one asks for them."""
    ended, waiting = by_hand(desk), by_hand(desk)
    desk.cancel(ended)
    assert [one["id"] for one in json.loads(said(contract("list", "--json")))["contracts"]] == [str(waiting)]
    asked = json.loads(said(contract("list", "--status", "canceled", "--status", "active", "--json")))["contracts"]
    assert [one["id"] for one in asked] == [str(ended)]
    assert "--status takes requested, pending-signature" in refused(contract("list", "--status", "signed"))


def test_contracts_are_taken_back_to_docusign(contract: Litgo, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that nobody has signed, or one; without an account that can be used it is said before anything is written."""
    first, second, signed = by_hand(desk), by_hand(desk), by_hand(desk)
    assert "DOCUSIGN_ACCOUNT_ID" in refused(contract("retake", "--all"))
    assert desk.state(first) == ("pending-signature", "manual")
    monkeypatch.setenv("DOCUSIGN_ACCOUNT_ID", "acc")
    get_settings.cache_clear()
    assert "DOCUSIGN_ACCOUNT_ID is set, but not DOCUSIGN_INTEGRATION_KEY" in refused(contract("retake", "--all"))
    with_account(desk, monkeypatch)
    desk.stand_in.refuse["find"] = Reply(400)
    assert "refused find_envelopes with 400" in refused(contract("retake", "--all"))
    assert desk.state(first) == ("pending-signature", "manual")
    desk.stand_in.refuse.clear()
    (tmp_path / "scan.pdf").write_bytes(b"signed")
    contract("sign", str(signed), "--party", "client", "--evidence", str(tmp_path / "scan.pdf"))
    assert "1 contract." in said(contract("retake", str(second)))
    assert "1 contract." in said(contract("retake", "--all"))
    assert "has signed" in refused(contract("retake", str(signed)))
    assert [desk.contract(one).status for one in (first, second, signed)] == ["requested", "requested", "pending-signature"]
    assert "say which" in refused(contract("retake"))


def test_nothing_is_taken_back_while_docusign_is_left_alone(contract: Litgo, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its breaker is open: the next run would only put it back to hand. Who wants that all the same says so."""
    made = by_hand(desk)
    with_account(desk, monkeypatch, LITGO_BREAKER_FAILURES="1")
    desk.town.execute(
        "INSERT INTO litgo.external_calls (service, operation, outcome, number, started_at, duration_ms) "
        "VALUES ('docusign', 'create_draft', 'timeout', 1, now(), 1)"
    )
    assert "nothing is taken back, for DocuSign cannot be used: " in refused(contract("retake", "--all"))
    assert desk.state(made) == ("pending-signature", "manual")
    assert desk.server.requests == []
    assert "1 contract." in said(contract("retake", "--all", "--force"))
    assert desk.state(made) == ("requested", None)


def test_a_contract_is_looked_at_without_waiting(contract: Litgo, desk: Desk) -> None:
    """One, or all that DocuSign is asked about; what is signed by hand is not."""
    by, out = by_hand(desk), desk.requested()
    desk.process()
    later = desk.contract(out).due_at
    assert later is not None
    assert later > desk.now
    assert "DocuSign is not asked" in refused(contract("check", str(by)))
    desk.town.execute("UPDATE litgo.contracts SET due_at = now() + interval '3 h' WHERE id = :id", id=out)
    for which in ([str(out)], []):
        desk.town.execute("UPDATE litgo.contracts SET due_at = now() + interval '3 h' WHERE id = :id", id=out)
        assert said(contract("check", *which)) == "Due at once: 1 contract. Next: litgo run process_contracts\n"
        assert desk.town.value("SELECT due_at <= now() FROM litgo.contracts WHERE id = :id", id=out)
    assert desk.contract(by).due_at is None


def test_mistakes_are_told_in_one_line(contract: Litgo, desk: Desk, tmp_path: Path) -> None:
    """An id that is none, a contract that is not there, a file that is missing, empty or in the way, a second signature."""
    made, unknown = by_hand(desk), str(uuid4())
    scan = tmp_path / "scan.pdf"
    assert "is no id of a contract" in refused(contract("show", "12"))
    assert f"there is no contract {unknown}" in refused(contract("show", unknown))
    assert "cannot be read" in refused(contract("sign", str(made), "--party", "client", "--evidence", str(scan)))
    scan.write_bytes(b"")
    assert "is empty" in refused(contract("sign", str(made), "--party", "client", "--evidence", str(scan)))
    assert "exists" in refused(contract("document", str(made), "--output", str(scan)))
    assert "cannot be written" in refused(contract("document", str(made), "--output", str(tmp_path / "none" / "a.pdf")))
    scan.write_bytes(b"one")
    contract("sign", str(made), "--party", "client", "--evidence", str(scan))
    scan.write_bytes(b"two")
    assert "nobody signs twice" in refused(contract("sign", str(made), "--party", "client", "--evidence", str(scan)))
    assert "is pending-signature" in refused(contract("close", str(made)))
