"""The signing queue: one place to sign for each contract, whatever DocuSign does, and whoever gets in between."""

from __future__ import annotations

import base64
import io
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, repeat
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from pypdf import PdfReader
from sqlalchemy import text

from litgo_pipelines.casework import contract_queue, contracts
from litgo_pipelines.casework.contract_documents import made_of, parties_of
from litgo_pipelines.casework.contract_signing import IN_FLIGHT, process
from litgo_pipelines.casework.contracts import Contract
from litgo_pipelines.integrations.docusign import DocuSign
from litgo_pipelines.simulation.vendors.server import Behaviour, Cut, Hang, Received, Reply, Reset
from litgo_pipelines_tests.casework.conftest import NOON
from litgo_pipelines_tests.casework.signing import FEES, Desk, rsa_key, signing_desk  # noqa: F401 (fixtures)

MINUTE = timedelta(minutes=1)
DEADLINE = 0.8
BY_HAND, AT_DOCUSIGN, MAY_BE_OUT = ("pending-signature", "manual"), ("pending-signature", "docusign"), ("requested", "docusign")
LOST = [Reset(), Reply(500), Cut()]
LOST_NAMES = ["reset", "500", "cut"]


def test_a_requested_contract_is_sent_and_becomes_active_when_both_have_signed(desk: Desk) -> None:
    """Drafted and sent at once; looked at again after a quarter of an hour; the signatures bear DocuSign's moments."""
    contract = desk.requested()
    assert desk.process().outcomes == {"sent": 1}
    found = desk.contract(contract)
    assert (found.status, found.signing_method, found.envelope_id) == ("pending-signature", "docusign", desk.envelope.id)
    assert (desk.envelope.status, desk.envelope.sendings) == ("sent", 1)
    assert found.due_at == NOON + 15 * MINUTE
    desk.stand_in.clock = lambda: NOON + 7 * MINUTE
    desk.stand_in.sign(desk.envelope.id)
    desk.now += 14 * MINUTE
    assert desk.process().outcomes == {}
    desk.now += MINUTE
    assert desk.process().outcomes == {"active": 1}
    done = desk.contract(contract)
    assert (done.status, done.due_at) == ("active", None)
    assert done.signed_client == done.signed_lawyer == NOON + 7 * MINUTE
    assert [tuple(row) for row in desk.town.rows("SELECT party, method, actor FROM litgo.contract_signatures ORDER BY 1")] == [
        ("client", "docusign", "docusign"),
        ("lawyer", "docusign", "docusign"),
    ]
    assert desk.told() == {"client": 1, "lawyer": 1}


def test_one_signature_is_not_enough(desk: Desk) -> None:
    """The contract waits, and is looked at ever more rarely."""
    contract = desk.requested()
    desk.process()
    desk.stand_in.sign(desk.envelope.id, "client")
    looks = 0
    while desk.now < NOON + timedelta(days=3):
        desk.now = max(desk.contract(contract).due_at or desk.now, desk.now)
        assert desk.process().outcomes == {"out": 1}
        looks += 1
    assert looks < 40
    assert desk.state(contract) == ("pending-signature", "docusign")


def test_who_declines_ends_the_contract(desk: Desk) -> None:
    """The case is open again, the parties and the team are told, and nothing stays due."""
    contract = desk.requested()
    desk.process()
    desk.stand_in.decline(desk.envelope.id, "client", "too expensive")
    desk.now += 15 * MINUTE
    assert desk.process().outcomes == {"declined": 1}
    found = desk.contract(contract)
    assert (found.status, found.due_at, found.claimed_until) == ("canceled", None, None)
    assert found.ended_because == "declined at DocuSign: too expensive (docusign)"
    assert desk.town.value("SELECT status FROM litgo.cases WHERE id = :id", id=found.case_id) == "open"
    assert desk.told() == {"client": 1, "lawyer": 1, "ops": 1}


def test_what_was_voided_at_docusign_is_sent_anew(desk: Desk) -> None:
    """In another envelope; the one that was voided can be signed by nobody."""
    contract = desk.requested()
    desk.process()
    first = desk.envelope.id
    desk.stand_in.void(first)
    desk.now += 15 * MINUTE
    assert desk.process().outcomes == {"anew": 1, "sent": 1}
    assert [one.id for one in desk.stand_in.out()] == [desk.contract(contract).envelope_id] != [first]


@pytest.mark.parametrize("lost", LOST, ids=LOST_NAMES)
def test_a_draft_whose_answer_was_lost_is_the_one_that_is_sent(desk: Desk, lost: Behaviour) -> None:
    """One envelope, found by its transaction, sent once."""
    contract = desk.requested()
    desk.stand_in.lose["create"] = [lost]
    assert desk.process().outcomes == {"sent": 1}
    assert (desk.envelope.status, desk.envelope.sendings) == ("sent", 1)
    assert desk.contract(contract).envelope_id == desk.envelope.id


@pytest.mark.parametrize("lost", LOST, ids=LOST_NAMES)
def test_a_sending_whose_answer_was_lost_is_looked_up(desk: Desk, lost: Behaviour) -> None:
    """The envelope is out: the contract waits for it, sent once, and nothing is signed by hand."""
    contract = desk.requested()
    desk.stand_in.lose["send"] = [lost]
    assert desk.process().outcomes == {"sent": 1}
    assert (desk.envelope.status, desk.envelope.sendings) == ("sent", 1)
    assert desk.state(contract) == ("pending-signature", "docusign")


def test_what_may_have_been_sent_is_not_signed_by_hand(desk: Desk) -> None:
    """Nobody says whether it is out: it waits with growing pauses, the team is told once, and goes on where DocuSign says so."""
    contract = desk.requested()
    desk.stand_in.lose["send"] = [Reset()]
    desk.stand_in.refuse["read"] = Reply(500)
    assert desk.process().outcomes == {"unclear": 1}
    waits = []
    for _ in range(4):
        found = desk.contract(contract)
        assert (found.status, found.signing_method, found.envelope_id) == ("requested", "docusign", desk.envelope.id)
        assert found.trouble is not None
        assert found.due_at is not None
        waits.append(found.due_at - desk.now)
        desk.now = found.due_at
        desk.process()
    assert waits == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE]
    assert desk.told() == {"ops": 1}
    desk.stand_in.refuse.clear()
    desk.now += timedelta(hours=1)
    assert desk.process().outcomes == {"out": 1}
    assert (desk.state(contract), desk.envelope.sendings) == (("pending-signature", "docusign"), 1)
    assert desk.contract(contract).trouble is None


def test_what_may_have_been_sent_but_was_not_is_sent_later(desk: Desk) -> None:
    """DocuSign says that it is still a draft: the very same is sent."""
    contract = desk.requested()
    desk.stand_in.refuse["send"] = Reset()
    assert desk.process().outcomes == {"unclear": 1}
    desk.stand_in.refuse.clear()
    desk.now += MINUTE
    assert desk.process().outcomes == {"sent": 1}
    assert (desk.contract(contract).envelope_id, desk.envelope.sendings) == (desk.envelope.id, 1)


AWAY: dict[str, Behaviour] = {"429": Reply(429), "503": Reply(503), "reset": Reset(), "refused": Reply(400)}


@pytest.mark.parametrize("fault", AWAY)
@pytest.mark.parametrize("operation", ["token", "create"])
def test_without_docusign_a_contract_is_signed_by_hand(desk: Desk, operation: Any, fault: str) -> None:
    """At once, with its document; team and both parties are told what to do, and why."""
    contract = desk.requested()
    desk.stand_in.refuse[operation] = AWAY[fault]
    assert desk.process().outcomes == {"manual": 1}
    found = desk.contract(contract)
    assert (found.status, found.signing_method, found.envelope_id, found.due_at) == ("pending-signature", "manual", None, None)
    assert found.trouble is not None
    assert desk.told() == {"client": 1, "lawyer": 1, "ops": 1}
    bodies = {row[0]: (row[1], row[2]) for row in desk.town.rows("SELECT audience, subject || body, recipient_id FROM litgo.notifications")}
    assert all(found.reference in said for said, _ in bodies.values())
    assert bodies["ops"][0].count(f"litgo contract sign {contract}") == 1
    assert found.trouble in bodies["ops"][0]
    assert (bodies["client"][1], bodies["lawyer"][1]) == (found.client_id, found.lawyer_id)
    reference, pdf = desk.town.rows("SELECT reference, pdf FROM litgo.contract_documents")[0]
    assert reference == found.reference
    assert bytes(pdf).startswith(b"%PDF")
    assert desk.stand_in.out() == []


@pytest.mark.parametrize("fault", ["429", "refused"])
def test_a_draft_that_was_certainly_not_sent_stays_unsent(desk: Desk, fault: str) -> None:
    """The contract is signed by hand, and its draft by nobody, whatever comes after."""
    contract = desk.requested()
    desk.stand_in.refuse["send"] = AWAY[fault]
    assert desk.process().outcomes == {"manual": 1}
    desk.stand_in.refuse.clear()
    desk.now += timedelta(days=30)
    assert desk.process().outcomes == {}
    assert (desk.envelope.status, desk.state(contract)) == ("created", ("pending-signature", "manual"))


def test_a_contract_waits_for_docusign_as_long_as_it_may(desk: Desk) -> None:
    """Retried with growing pauses until `CONTRACT_MANUAL_AFTER`, then signed by hand."""
    contract = desk.requested()
    desk.stand_in.refuse["create"] = Reply(503)
    waits = []
    while desk.state(contract) == ("requested", None):
        waits.append(desk.now - NOON)
        desk.process(contract_manual_after=60.0)
        desk.now = desk.contract(contract).due_at or desk.now
    assert [one // MINUTE for one in waits] == [0, 1, 3, 7, 15, 31, 63]
    assert desk.state(contract) == ("pending-signature", "manual")


def test_a_draft_that_waits_for_docusign_is_the_one_that_is_sent(desk: Desk) -> None:
    """What could be drafted, but not sent, is no second envelope later."""
    contract = desk.requested()
    desk.stand_in.refuse["send"] = Reply(429)
    assert desk.process(contract_manual_after=60.0).outcomes == {"again": 1}
    assert desk.contract(contract).signing_method is None
    desk.now += MINUTE
    desk.stand_in.refuse = {"read": Reply(503)}
    assert desk.process(contract_manual_after=60.0).outcomes == {"again": 1}
    desk.now += 2 * MINUTE
    desk.stand_in.refuse = {}
    assert desk.process(contract_manual_after=60.0).outcomes == {"sent": 1}
    assert (desk.envelope.status, desk.envelope.sendings) == ("sent", 1)


def test_without_the_fallback_a_contract_waits(desk: Desk) -> None:
    """`FALLBACK_ENABLED=false`: it stays requested, its trouble can be seen, and nobody is told to sign by hand."""
    contract = desk.requested()
    desk.stand_in.refuse["create"] = Reply(503)
    assert desk.process(fallback_enabled=False).outcomes == {"again": 1}
    found = desk.contract(contract)
    assert (found.status, found.tries) == ("requested", 1)
    assert "docusign gave no usable answer to create_draft" in (found.trouble or "")
    assert desk.told() == {}


def test_without_an_account_all_is_signed_by_hand(desk: Desk) -> None:
    """Not a fault, so also where the fallback is switched off."""
    contract = desk.requested()
    settings = desk.settings.model_copy(update={"fallback_enabled": False, "contract_manual_after": 60.0})
    assert process(desk.town.engine, None, settings, lambda: NOON).outcomes == {"manual": 1}
    assert desk.state(contract) == ("pending-signature", "manual")


def test_without_an_address_a_contract_is_signed_by_hand(desk: Desk) -> None:
    """DocuSign reaches people by e-mail; what is missing is said."""
    contract = desk.requested(email=False)
    assert desk.process(contract_manual_after=60.0).outcomes == {"manual": 1}
    assert "the client's e-mail address" in (desk.contract(contract).trouble or "")
    assert desk.stand_in.envelopes == {}


def test_an_account_that_was_taken_away_leaves_what_is_out_alone(desk: Desk) -> None:
    """An envelope that is out stays the one place to sign."""
    contract = desk.requested()
    desk.process()
    desk.now += 15 * MINUTE
    assert process(desk.town.engine, None, desk.settings, lambda: desk.now).outcomes == {"again": 1}
    assert desk.state(contract) == ("pending-signature", "docusign")


def test_a_key_that_cannot_be_used_does_not_stop_contracts(desk: Desk) -> None:
    """It shows when it is first used, and is no better than a vendor out of reach."""
    contract = desk.requested()
    broken = SecretStr("-----BEGIN PRIVATE KEY-----\n")
    assert desk.process(docusign_private_key=broken).outcomes == {"manual": 1}
    assert "DOCUSIGN_PRIVATE_KEY" in (desk.contract(contract).trouble or "")


WRONG = "DOCUSIGN_PRIVATE_KEY is neither a key in PEM nor the path of a file that can be read"


@pytest.mark.parametrize("fallback", [True, False])
def test_settings_that_name_no_account_do_not_stop_contracts(desk: Desk, fallback: bool) -> None:
    """They are signed by hand, or wait where that is not allowed; what is wrong is their trouble, and the team is told once a day."""
    made = [desk.requested(), desk.requested()]
    settings = desk.settings.model_copy(update={"fallback_enabled": fallback})
    for _ in range(2):
        process(desk.town.engine, None, settings, lambda: desk.now, unusable=WRONG)
        desk.now += timedelta(minutes=5)
    assert {desk.state(one) for one in made} == {BY_HAND if fallback else ("requested", None)}
    assert {desk.contract(one).trouble for one in made} == {WRONG}
    told = "SELECT count(*) FROM litgo.notifications WHERE subject = 'DocuSign cannot be used as it is set'"
    assert desk.town.value(told) == 1
    desk.now += timedelta(days=1)
    desk.requested()
    process(desk.town.engine, None, settings, lambda: desk.now, unusable=WRONG)
    assert desk.town.value(told) == 2


def lost(desk: Desk) -> Contract:
    """A contract that is out, and whose envelope DocuSign does not know any more."""
    contract = desk.requested()
    desk.process()
    desk.stand_in.envelopes.clear()
    desk.now += 15 * MINUTE
    desk.process()
    return desk.contract(contract)


def looked(desk: Desk, contract: Contract, minutes: int) -> Contract:
    """The contract after one more look, so long after the last one."""
    desk.now += minutes * MINUTE
    with desk.town.engine.begin() as connection:
        contracts.look_now(connection, contract.id, at=desk.now)
    desk.process()
    return desk.contract(contract.id)


@pytest.mark.parametrize(("minutes", "is_lost"), [([60], False), ([1, 58], False), ([1, 59], True), ([20, 20, 20], True)])
def test_an_envelope_is_lost_after_three_looks_in_an_hour(desk: Desk, minutes: list[int], is_lost: bool) -> None:
    """Fewer looks, or a shorter while, are not enough; then the team is told once, and one may take the contract back."""
    contract = lost(desk)
    assert "DocuSign is asked again" in contract.possible
    for pause in minutes:
        contract = looked(desk, contract, pause)
    assert (contract.lost, desk.told()["ops"]) == (is_lost, is_lost)
    if not is_lost:
        with pytest.raises(contracts.NotAllowed, match="DocuSign is asked again"), desk.town.engine.begin() as connection:
            contracts.retake(connection, contract.id, at=desk.now)
        return
    contract = looked(desk, contract, 60)
    assert (contract.lost, desk.told()["ops"]) == (True, 1)
    assert "litgo contract retake" in contract.possible
    with desk.town.engine.begin() as connection:
        assert contract_queue.lost(connection) == 1
        contracts.retake(connection, contract.id, at=desk.now)
        assert contract_queue.lost(connection) == 0
    assert desk.process().outcomes == {"sent": 1}
    found = desk.contract(contract.id)
    assert (found.status, found.envelope_id, found.trouble) == ("pending-signature", desk.envelope.id, None)
    assert found.envelope_id != contract.envelope_id
    assert desk.told() == {"ops": 1}


def test_looks_in_a_row_start_anew_where_docusign_said_something_else(desk: Desk) -> None:
    """A vendor that was away in between has not said three times that it does not know the envelope."""
    contract = looked(desk, lost(desk), 40)
    desk.stand_in.refuse["read"] = Reply(503)
    assert looked(desk, contract, 10).unknown_since is None
    desk.stand_in.refuse.clear()
    for _ in range(2):
        contract = looked(desk, contract, 20)
    assert (contract.lost, contract.tries) == (False, 2)


def test_a_worker_has_no_say_in_an_envelope_that_was_given_up(desk: Desk) -> None:
    """It had claimed the contract when a person took it back."""
    contract = lost(desk)
    for pause in (20, 20, 20):
        contract = looked(desk, contract, pause)
    desk.now += timedelta(hours=1)
    with desk.town.engine.begin() as connection:
        (claimed,) = contract_queue.claim(connection, at=desk.now, most=5)
    with desk.town.engine.begin() as connection:
        contracts.retake(connection, contract.id, at=desk.now)
    with pytest.raises(contract_queue.Left), desk.town.engine.begin() as connection:
        contract_queue.out(connection, claimed, desk.now)


def test_a_draft_that_is_gone_is_made_anew(desk: Desk) -> None:
    """It was certainly never sent: nobody has to wait for it."""
    contract = desk.requested()
    desk.stand_in.refuse["send"] = Reply(429)
    assert desk.process(contract_manual_after=60.0).outcomes == {"again": 1}
    desk.stand_in.refuse.clear()
    desk.stand_in.envelopes.clear()
    desk.now += MINUTE
    assert desk.process().outcomes == {"sent": 1}
    assert (desk.envelope.sendings, desk.contract(contract).envelope_id) == (1, desk.envelope.id)


def taken_back(desk: Desk, contract: UUID) -> None:
    """As a person does, a minute later; then a run."""
    desk.now += MINUTE
    with desk.town.engine.begin() as connection:
        contracts.retake(connection, contract, at=desk.now)
    desk.now += MINUTE
    desk.process()


def test_parties_are_told_again_only_of_what_changed(desk: Desk) -> None:
    """Not where it comes back to hand as it was; where the document says something else; where it is out at DocuSign, once."""
    contract = desk.requested()
    desk.stand_in.refuse["create"] = Reply(503)
    desk.process()

    def subjects() -> list[str]:
        rows = desk.town.rows("SELECT subject FROM litgo.notifications WHERE audience = 'client' ORDER BY created_at")
        return [" ".join(row[0].split()[-2:]) for row in rows]

    taken_back(desk, contract)
    assert (desk.state(contract), subjects()) == (BY_HAND, ["para assinatura"])
    renamed(desk, contract, "Maria da Conceição")
    taken_back(desk, contract)
    assert (desk.state(contract), subjects()) == (BY_HAND, ["para assinatura"] * 2)
    taken_back(desk, contract)
    assert subjects() == ["para assinatura"] * 2
    desk.stand_in.refuse.clear()
    taken_back(desk, contract)
    desk.now += timedelta(hours=1)
    desk.process()
    assert (desk.state(contract), subjects()) == (AT_DOCUSIGN, ["para assinatura"] * 2 + ["será eletrônica"])


def test_the_fallback_comes_within_the_deadline(desk: Desk) -> None:
    """A vendor that hangs costs one deadline a contract, for all that is asked of it."""
    contract = desk.requested()
    docusign = desk.docusign(desk.settings.model_copy(update={"docusign_deadline": 0.6}))
    docusign.read(["a first call, which fetches the token"])
    desk.server.fail(Hang(), Hang(), Hang())
    began = monotonic()
    process(desk.town.engine, docusign, desk.settings, lambda: NOON)
    assert monotonic() - began < 0.6 + 0.5
    assert desk.state(contract) == ("pending-signature", "manual")


def test_canceling_what_is_out_voids_it(desk: Desk) -> None:
    """Nobody can sign what was called off; nothing is due after that."""
    contract = desk.requested()
    desk.process()
    desk.cancel(contract)
    assert desk.process().outcomes == {"voided": 1}
    assert desk.envelope.status == "voided"
    assert (desk.contract(contract).status, desk.contract(contract).due_at) == ("canceled", None)


def test_voiding_goes_on_until_docusign_has_done_it(desk: Desk) -> None:
    """A vendor that is away when a contract is canceled hears of it later."""
    contract = desk.requested()
    desk.process()
    desk.cancel(contract)
    desk.stand_in.refuse["void"] = Reply(503)
    assert desk.process().outcomes == {"again": 1}
    desk.stand_in.refuse.clear()
    desk.stand_in.lose["void"] = [Reset()]
    desk.now += MINUTE
    assert desk.process().outcomes == {"again": 1}
    desk.now += 2 * MINUTE
    assert desk.process().outcomes == {"voided": 1}
    assert (desk.envelope.status, desk.contract(contract).due_at) == ("voided", None)


def test_what_was_signed_after_it_was_canceled_is_told(desk: Desk) -> None:
    """A person has to speak with the parties; the contract stays canceled."""
    contract = desk.requested()
    desk.process()
    desk.cancel(contract)
    desk.stand_in.sign(desk.envelope.id)
    desk.process()
    found = desk.contract(contract)
    assert (found.status, found.due_at) == ("canceled", None)
    assert "signed at DocuSign" in (found.trouble or "")
    assert desk.told()["ops"] == 1


def cancel_when_asked(desk: Desk, contract: UUID, operation: str) -> None:
    """Let a person cancel in the very moment in which DocuSign is asked for something."""
    answer = desk.server.answer

    def canceling(received: Any) -> Behaviour:
        asked = (received.method, b'"sent"' in received.body)
        if asked == {"create": ("POST", False), "send": ("PUT", True)}[operation] and "oauth" not in received.path:
            desk.cancel(contract)
        return answer(received)

    desk.server.answer = canceling


@pytest.mark.parametrize("operation", ["create", "send"])
def test_canceling_in_the_middle_leaves_nothing_to_sign(desk: Desk, operation: str) -> None:
    """Whether the draft is under way or the sending: in the end nobody can sign."""
    contract = desk.requested()
    cancel_when_asked(desk, contract, operation)
    outcomes = desk.process().outcomes
    assert outcomes["left"] == 1
    assert desk.stand_in.out() == []
    assert desk.envelope.sendings == (1 if operation == "send" else 0)
    assert desk.contract(contract).status == "canceled"
    assert desk.contract(contract).due_at is None


@dataclass
class Killed(BaseException):
    """What ends a worker without any of its words."""


@pytest.mark.parametrize("when", ["drafted", "kept", "sent"])
def test_a_killed_worker_is_followed_by_one_that_takes_up_what_it_left(desk: Desk, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between draft and id, between id and sending, and after it: one envelope, sent once."""
    contract = desk.requested()

    def die(*_args: Any, **_more: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        # A process that is killed gives nothing back.
        patch.setattr(contract_queue, "release", lambda *_args: None)
        if when == "drafted":
            patch.setattr(contract_queue, "keep_draft", die)
        elif when == "kept":
            patch.setattr(DocuSign, "send", die)
        else:
            patch.setattr(contract_queue, "out", die)
        with pytest.raises(Killed):
            desk.process()
    assert desk.process().outcomes == {}
    desk.now += contract_queue.CLAIM
    assert desk.process().outcomes.total() == 1
    assert (desk.envelope.status, desk.envelope.sendings) == ("sent", 1)
    assert desk.state(contract) == ("pending-signature", "docusign")


def test_an_error_of_ours_holds_up_one_contract_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as that contract's trouble; the others go on."""
    broken, fine = desk.requested(), desk.requested()
    from litgo_pipelines.casework import contract_signing

    original = contract_signing.document_of

    def document_of(connection: Any, contract: Contract, *more: Any) -> Any:
        if contract.id == broken:
            raise ZeroDivisionError
        return original(connection, contract, *more)

    monkeypatch.setattr(contract_signing, "document_of", document_of)
    assert desk.process().outcomes == {"again": 1, "sent": 1}
    assert "ZeroDivisionError" in (desk.contract(broken).trouble or "")
    assert desk.state(fine) == ("pending-signature", "docusign")


def test_a_pass_takes_no_more_than_it_is_told_to(desk: Desk) -> None:
    """The rest stays due for the next one."""
    for _ in range(3):
        desk.requested()
    assert desk.process(limit=2).outcomes == {"sent": 2}
    assert desk.process(limit=2).outcomes == {"sent": 1}


def test_a_contract_taken_back_is_sent_and_not_signed_by_hand(desk: Desk) -> None:
    """After `retake` there is one place to sign again: DocuSign."""
    contract = desk.requested()
    desk.stand_in.refuse["create"] = Reply(503)
    desk.process()
    desk.stand_in.refuse.clear()
    with desk.town.engine.begin() as connection:
        contracts.retake(connection, contract, at=desk.now)
    assert desk.process().outcomes == {"sent": 1}
    with pytest.raises(contracts.NotAllowed), desk.town.engine.begin() as connection:
        contracts.sign(connection, contract, "client", evidence=contracts.Evidence("a", b"b"), actor="ana", at=desk.now)


MANY = 1000
_MANY = """
WITH n AS (SELECT generate_series(1, :count) AS i),
     people AS (INSERT INTO litgo.clients (id) SELECT gen_random_uuid() FROM n RETURNING id),
     known AS (INSERT INTO litgo.contacts (person_id, kind, name, email)
               SELECT id, 'client', 'Maria Conceição', id || '@example.com' FROM people RETURNING person_id),
     made AS (INSERT INTO litgo.cases (id, client_id, area, urgency_h, summary, status)
              SELECT gen_random_uuid(), id, 'civil', 48, 'cobrança', 'contracted' FROM people RETURNING id, client_id),
     asked AS (INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, created_at, due_at)
               SELECT gen_random_uuid(), id, :lawyer, client_id, :at, :at FROM made RETURNING id)
SELECT count(*) FROM asked
"""
_DOCUMENTS = """
INSERT INTO litgo.contract_documents (contract_id, reference, made_of, sha256, pdf, created_at)
VALUES (:id, :reference, :of, '', '%PDF-', :at)
"""


def _with_documents(desk: Desk) -> None:
    """Documents that say what is known, as far as anybody looks: making a thousand of them takes a while."""
    with desk.town.engine.begin() as connection:
        found = contracts.listed(connection, most=MANY)
        parties = parties_of(connection, [one.id for one in found])
        of = {one.id: made_of(one, parties[one.id], desk.settings) for one in found}
        connection.execute(text(_DOCUMENTS), [{"id": one.id, "reference": one.reference, "of": of[one.id], "at": NOON} for one in found])


def test_a_thousand_contracts_are_each_signable_once_while_docusign_fails_at_random(desk: Desk) -> None:
    """Three requests in ten fail, half of them after DocuSign acted; two workers at once. None is lost, none can be signed twice."""
    lawyer = desk.town.lawyer(name="Ana Gonçalves")
    desk.town.execute("INSERT INTO litgo.contacts (person_id, kind, email) VALUES (:id, 'lawyer', 'ana@example.com')", id=lawyer)
    desk.town.execute(_MANY, count=MANY, lawyer=lawyer, at=NOON)
    _with_documents(desk)
    desk.stand_in.failing = 0.3
    outcomes: Counter[str] = Counter()

    def work() -> None:
        found = desk.process()
        outcomes.update(found.outcomes)

    for _ in range(60):
        workers = [threading.Thread(target=work) for _ in range(2)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        due = desk.town.value("SELECT min(due_at) FROM litgo.contracts WHERE status = 'requested'")
        if due is None:
            break
        desk.now = due
    rows = desk.town.rows("SELECT id, status, signing_method, envelope_id FROM litgo.contracts")
    assert len(rows) == MANY
    assert {row.status for row in rows} == {"pending-signature"}
    out = {one.id for one in desk.stand_in.out()}
    assert {row.envelope_id for row in rows if row.signing_method == "docusign"} == out
    assert all(one.sendings == (one.id in out) for one in desk.stand_in.envelopes.values())
    by_hand = [row.id for row in rows if row.signing_method == "manual"]
    assert len(out) + len(by_hand) == MANY
    assert min(len(out), len(by_hand)) > 50, outcomes
    told = Counter(row[0] for row in desk.town.rows("SELECT details ->> 'contract_id' FROM litgo.notifications WHERE subject LIKE '%hand'"))
    assert told == Counter(str(one) for one in by_hand)


def test_the_queue_is_claimed_by_one_worker_at_a_time(desk: Desk) -> None:
    """What one has claimed the other does not see, until the claim has ended."""
    contract = desk.requested()
    with desk.town.engine.begin() as connection:
        (first,) = contract_queue.claim(connection, at=NOON, most=5)
    with desk.town.engine.begin() as connection:
        assert contract_queue.claim(connection, at=NOON, most=5) == []
        assert contract_queue.due(connection, NOON) == (0, None)
    with desk.town.engine.begin() as connection:
        (second,) = contract_queue.claim(connection, at=NOON + contract_queue.CLAIM, most=5)
    assert (first.contract.id, second.contract.id) == (contract, contract)
    with pytest.raises(contract_queue.Left), desk.town.engine.begin() as connection:
        contract_queue.out(connection, first, NOON)
    assert desk.state(contract) == ("requested", None)


def test_looks_grow_apart_and_fall_together() -> None:
    """Never sooner than DocuSign allows, never rarer than every six hours or so, at moments that many contracts share."""
    ages = [timedelta(minutes=n) for n in range(0, 60 * 24 * 5, 7)]
    looks = [contract_queue.next_look(NOON - age, NOON + timedelta(seconds=13)) - NOON for age in ages]
    assert all(15 * MINUTE <= one <= timedelta(hours=6, minutes=6) for one in looks)
    assert looks == sorted(looks)
    assert all(one % (5 * MINUTE) == timedelta() for one in looks)


def test_two_at_once_get_one_contract(desk: Desk) -> None:
    """Two requests for the same offer, and two signatures of the two parties, at the same moment: one contract, which is active."""
    lawyer, case = desk.town.lawyer(), desk.town.case()
    offer = desk.town.offer(lawyer, status="interested", case=case)
    found: list[tuple[Contract, bool]] = []

    def ask() -> None:
        with desk.town.engine.begin() as connection:
            found.append(contracts.request_contract(connection, offer_id=offer, fee_model=FEES, at=NOON))

    _together(ask, ask, ask)
    assert len({one.id for one, _ in found}) == 1
    assert sorted(new for _, new in found) == [False, False, True]
    contract = found[0][0].id
    process(desk.town.engine, None, desk.settings, lambda: NOON)

    def sign(party: contracts.Party) -> Callable[[], None]:
        def run() -> None:
            with desk.town.engine.begin() as connection:
                contracts.sign(connection, contract, party, evidence=contracts.Evidence("a", b"b"), actor="ana", at=NOON)

        return run

    _together(sign("client"), sign("lawyer"), sign("client"))
    assert desk.contract(contract).status == "active"
    with desk.town.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM litgo.contract_signatures")).scalar_one() == 2


def _together(*callers: Callable[[], None]) -> None:
    threads = [threading.Thread(target=one) for one in callers]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def renamed(desk: Desk, contract: UUID, name: str | None) -> None:
    """The client's name as it is known by now, with an address."""
    who = desk.contract(contract).client_id
    desk.town.execute("UPDATE litgo.contacts SET name = :name, email = 'maria@example.com' WHERE person_id = :id", name=name, id=who)


def sent_text(envelope: Any) -> str:
    """What an envelope's signers read."""
    (document,) = envelope.definition["documents"]
    pages = PdfReader(io.BytesIO(base64.b64decode(document["documentBase64"]))).pages
    return " ".join(" ".join(one.extract_text().split()) for one in pages)


@pytest.mark.parametrize("name", [None, "  "])
def test_a_name_that_is_learnt_is_in_what_goes_to_docusign(desk: Desk, name: str | None) -> None:
    """By hand first, for a name was missing; taken back, the envelope holds a document that names the client."""
    contract = desk.requested()
    renamed(desk, contract, name)
    assert desk.process().outcomes == {"manual": 1}
    assert desk.contract(contract).trouble == "DocuSign cannot be used: the client's name is not known (table contacts)"
    renamed(desk, contract, "Maria Conceição")
    with desk.town.engine.begin() as connection:
        contracts.retake(connection, contract, at=desk.now)
    assert desk.process().outcomes == {"sent": 1}
    assert "CONTRATANTE: Maria Conceição, cuja" in sent_text(desk.envelope)
    ((reference, pdf),) = desk.town.rows("SELECT reference, pdf FROM litgo.contract_documents")
    assert reference == desk.contract(contract).reference
    assert base64.b64encode(pdf).decode() == desk.envelope.definition["documents"][0]["documentBase64"]


def test_whatever_leads_to_signing_by_hand_what_is_not_known_is_told(desk: Desk) -> None:
    """Somebody has to fill it in."""
    contract = desk.requested()
    renamed(desk, contract, None)
    process(desk.town.engine, None, desk.settings, lambda: NOON)
    assert desk.contract(contract).trouble == "DocuSign is not configured; the client's name is not known (table contacts)"


@pytest.mark.parametrize("operation", ["create", "send"])
def test_a_draft_of_what_no_longer_holds_is_left_unsent(desk: Desk, operation: Any) -> None:
    """Whether its id is known or its answer was lost: what is sent is another one, which says what is known by now."""
    contract = desk.requested()
    desk.stand_in.refuse |= {"find": Reply(503)}
    if operation == "create":
        desk.stand_in.lose["create"] = [Reset()]
    else:
        desk.stand_in.refuse["send"] = Reply(429)
    assert desk.process(contract_manual_after=60.0).outcomes == {"again": 1}
    desk.stand_in.refuse.clear()
    renamed(desk, contract, "Maria da Conceição")
    desk.now += MINUTE
    assert desk.process().outcomes == {"sent": 1}
    old, new = desk.stand_in.envelopes.values()
    assert (old.status, old.sendings, new.sendings, desk.contract(contract).envelope_id) == ("created", 0, 1, new.id)
    assert "CONTRATANTE: Maria da Conceição, cuja" in sent_text(new)


def test_a_worker_that_ran_out_of_time_forgets_no_draft(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One dies after the draft, the next gives back what it had no time to look at, and sends the one there is when it claims it again."""
    contract = desk.requested()

    def die(*_args: Any, **_more: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(contract_queue, "release", lambda *_args: None)
        patch.setattr(contract_queue, "keep_draft", die)
        with pytest.raises(Killed):
            desk.process()
    desk.now += contract_queue.CLAIM
    moments = chain([desk.now], repeat(desk.now + contract_queue.CLAIM))
    assert process(desk.town.engine, desk.docusign(), desk.settings, lambda: next(moments)).outcomes == {"sent": 1}
    assert (desk.envelope.sendings, desk.contract(contract).envelope_id) == (1, desk.envelope.id)


def test_declined_and_canceled_at_once_take_their_locks_in_one_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the case is somebody else's, a worker that waits for it holds no contract that the other may want next."""
    contract = desk.requested()
    with monkeypatch.context() as patch:
        patch.setattr(contract_queue, "keep_draft", lambda *_args: (_ for _ in ()).throw(ZeroDivisionError))
        desk.process()
    desk.stand_in.decline(desk.envelope.id, "client", "too expensive")
    desk.now += MINUTE
    worker = threading.Thread(target=desk.process)
    with desk.town.engine.begin() as connection:
        connection.execute(text("SELECT FROM litgo.cases FOR NO KEY UPDATE"))
        worker.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not connection.execute(text(waiting)).scalar_one():
            assert worker.is_alive()
        assert connection.execute(text("SELECT FROM litgo.contracts FOR NO KEY UPDATE SKIP LOCKED")).rowcount == 1
    worker.join()
    assert desk.contract(contract).status == "canceled"


def mixed(desk: Desk, fresh: int) -> dict[str, list[UUID]]:
    """Contracts of every kind that fall due together: out, canceled while out, perhaps drafted, and fresh ones."""
    found = {"out": [desk.requested() for _ in range(3)], "canceled": [desk.requested()]}
    desk.process()
    found["drafted"] = [desk.requested() for _ in range(2)]
    desk.stand_in.lose["create"], desk.stand_in.refuse["find"] = [Reset(), Reset()], Reply(503)
    assert desk.process(contract_manual_after=60.0).outcomes["again"] == 2
    desk.stand_in.refuse.clear()
    desk.cancel(found["canceled"][0])
    desk.town.execute(
        "UPDATE litgo.contracts SET due_at = :at WHERE id = ANY(:ids)", at=desk.now, ids=[one for ids in found.values() for one in ids]
    )
    found["fresh"] = [desk.requested() for _ in range(fresh)]
    return found


HANGING: dict[str, Callable[[Received], bool]] = {
    "all": lambda received: received.path.startswith("/restapi"),
    "look-ups": lambda received: received.method == "GET",
    "drafts": lambda received: received.method == "POST" and received.path.startswith("/restapi"),
    "sendings": lambda received: received.method == "PUT",
}


THERE = {"look-ups": {AT_DOCUSIGN}, "sendings": {MAY_BE_OUT}}


@pytest.mark.parametrize("what", HANGING)
def test_what_was_requested_can_be_signed_within_the_deadline_whatever_else_is_due(desk: Desk, what: str) -> None:
    """Look-ups, drafts and sendings that hang cost one deadline together, though no breaker opens."""

    def answer(received: Received) -> Behaviour:
        return Hang() if HANGING[what](received) else desk.stand_in.answer(received)

    def taken() -> float:
        desk.server.answer = desk.stand_in.answer
        due = mixed(desk, fresh=IN_FLIGHT + 2)
        desk.server.answer = answer
        began = monotonic()
        desk.process(docusign_deadline=DEADLINE)
        seconds = monotonic() - began
        assert {desk.state(one) for one in due["fresh"]} <= {BY_HAND} | THERE.get(what, set())
        return seconds

    # A busy machine takes its time now and then, not again and again.
    assert any(taken() < DEADLINE + 0.5 for _ in range(3))


def test_fresh_contracts_do_not_wait_for_what_is_looked_up(desk: Desk) -> None:
    """DocuSign tells of old envelopes only when the fresh contract is out: it would wait for ever the other way round."""
    due = mixed(desk, fresh=1)
    sent = threading.Event()
    in_time = []

    def answer(received: Received) -> Behaviour:
        if received.method == "GET":
            in_time.append(sent.wait(10))
        found = desk.stand_in.answer(received)
        if received.method == "PUT":
            sent.set()
        return found

    desk.server.answer = answer
    outcomes = desk.process(docusign_timeout=20, docusign_deadline=20).outcomes
    assert in_time == [True, True]
    assert outcomes == {"sent": 3, "out": 3, "voided": 1}
    assert desk.state(due["fresh"][0]) == AT_DOCUSIGN


def test_one_envelope_that_docusign_minds_holds_up_no_other(desk: Desk) -> None:
    """A refusal of many is asked by halves: the one it is about has its trouble, the others go on."""
    made = [desk.requested() for _ in range(9)]
    desk.process()
    desk.now += 15 * MINUTE
    bad = desk.contract(made[5])

    def answer(received: Received) -> Behaviour:
        minds = received.method == "GET" and str(bad.envelope_id) in received.path
        return Reply(400) if minds else desk.stand_in.answer(received)

    desk.server.answer = answer
    assert desk.process().outcomes == {"out": 8, "again": 1}
    assert "refused read_envelopes with 400" in (desk.contract(bad.id).trouble or "")
    assert [desk.contract(one).trouble for one in made if one != bad.id] == [None] * 8


def test_a_refusal_that_is_about_the_account_is_asked_once(desk: Desk) -> None:
    """No half of the envelopes would fare better."""
    for _ in range(3):
        desk.requested()
    desk.process()
    desk.now += 15 * MINUTE
    desk.stand_in.refuse["read"] = Reply(403)
    before = len(desk.server.requests)
    assert desk.process().outcomes == {"again": 3}
    assert [one.method for one in desk.server.requests[before:]] == ["POST", "GET"]


@pytest.mark.parametrize("statement", ["_CLAIM", "_COUNT_DUE"])
def test_what_is_due_is_found_by_its_index(desk: Desk, statement: str) -> None:
    """By that one alone, however many contracts have been signed by then."""
    with desk.town.engine.begin() as connection:
        for other in ("seqscan", "bitmapscan"):
            connection.execute(text(f"SET LOCAL enable_{other} = off"))
        query = text(f"EXPLAIN {getattr(contract_queue, statement)}")
        plan = connection.execute(query, {"at": NOON, "until": NOON, "most": 5}).scalars().all()
    assert any("ix_contracts_due" in line for line in plan), plan


@pytest.mark.parametrize(("silent", "most"), [("/oauth/token", 1), ("/restapi", IN_FLIGHT + 1)])
def test_a_silent_vendor_holds_up_a_batch_no_longer_than_one_contract(desk: Desk, silent: str, most: int) -> None:
    """The first contracts wait for it together; the others find it left alone. All are signed by hand in the same run."""
    contracts = [desk.requested() for _ in range(15)]

    def answer(received: Received) -> Behaviour:
        return Hang() if received.path.startswith(silent) else desk.stand_in.answer(received)

    desk.server.answer = answer
    done = desk.process(docusign_timeout=0.4, docusign_deadline=0.4, litgo_breaker_failures=3)
    assert done.outcomes == {"manual": 15}
    assert {desk.state(one) for one in contracts} == {("pending-signature", "manual")}
    assert len(desk.server.requests) <= most
