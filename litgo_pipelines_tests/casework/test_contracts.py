"""The states of a contract: which step leads where, what each changes besides, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from litgo_pipelines.casework import contracts
from litgo_pipelines.casework.contract_fees import BadFees
from litgo_pipelines.casework.contracts import BadEvidence, Contract, Evidence
from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines_tests.casework.conftest import NOON, Town

FEES = {"type": "success", "percent": 20}
SCAN = Evidence("scan.pdf", b"signed by hand")
OTHER_SCAN = Evidence("scan.pdf", b"signed by hand, again")
LATER = NOON + timedelta(hours=2)


def offered(town: Town, others: int = 2) -> tuple[UUID, UUID, UUID]:
    """An interested lawyer's offer of a case that was offered to others as well: case, lawyer, offer."""
    case, lawyer = town.case(), town.lawyer()
    offer = town.offer(lawyer, status="interested", case=case)
    for status in ("pending", "interested")[:others]:
        town.offer(town.lawyer(), status=status, case=case)
    return case, lawyer, offer


def request(town: Town, offer: UUID, fees: dict[str, Any] = FEES) -> tuple[Contract, bool]:
    with town.engine.begin() as connection:
        return contracts.request_contract(connection, offer_id=offer, fee_model=fees, at=NOON)


def requested(town: Town) -> Contract:
    return request(town, offered(town)[2])[0]


def manual(town: Town) -> Contract:
    """A contract that waits for manual signatures."""
    made = requested(town)
    by_hand = "status = 'pending-signature', signing_method = 'manual', manual_since = :at, due_at = NULL"
    town.execute(f"UPDATE litgo.contracts SET {by_hand} WHERE id = :id", id=made.id, at=NOON)
    return found(town, made.id)


def found(town: Town, contract: UUID) -> Contract:
    with town.engine.connect() as connection:
        return contracts.read(connection, contract)


def sign(town: Town, contract: UUID, party: contracts.Party, evidence: Evidence = SCAN) -> Contract:
    with town.engine.begin() as connection:
        return contracts.sign(connection, contract, party, evidence=evidence, actor="ana", at=LATER)


def cancel(town: Town, contract: UUID) -> Contract:
    with town.engine.begin() as connection:
        return contracts.cancel(connection, contract, reason="changed their mind", actor="ana", at=LATER)


def close(town: Town, contract: UUID) -> Contract:
    with town.engine.begin() as connection:
        return contracts.close(connection, contract, at=LATER)


def retake(town: Town, contract: UUID) -> Contract:
    with town.engine.begin() as connection:
        return contracts.retake(connection, contract, at=LATER)


def test_a_request_contracts_the_case_and_frees_everybody_else(town: Town) -> None:
    """The chosen lawyer's offer stays as it was answered; the other live ones are closed, and the signing queue finds the contract due."""
    case, lawyer, offer = offered(town)
    declined = town.offer(town.lawyer(), status="declined", case=case)
    made, new = request(town, offer)
    assert new
    assert (made.status, made.lawyer_id, made.client_id, made.due_at) == ("requested", lawyer, town.client, NOON)
    assert made.fee_model == FEES
    assert town.value("SELECT status FROM litgo.cases WHERE id = :id", id=case) == "contracted"
    offers = dict(town.rows("SELECT id, status FROM litgo.offers WHERE case_id = :id", id=case))
    assert offers.pop(offer) == "interested"
    assert offers.pop(declined) == "declined"
    assert set(offers.values()) == {"closed"}


def test_the_same_request_again_returns_the_contract_that_is_there(town: Town) -> None:
    """Whoever repeats a request is answered alike; other fees are another contract, which the case cannot have."""
    offer = offered(town)[2]
    first, _ = request(town, offer)
    assert request(town, offer, {"percent": 20.0, "type": "success"}) == (first, False)
    with pytest.raises(NotAllowed, match="has a contract already"):
        request(town, offer, {"type": "success", "percent": 21})
    assert town.value("SELECT count(*) FROM litgo.contracts") == 1


@pytest.mark.parametrize("status", ["pending", "declined", "expired", "closed"])
def test_only_an_interested_lawyer_is_contracted(town: Town, status: str) -> None:
    """Every other state of the offer is refused, and nothing is written."""
    case = town.case()
    offer = town.offer(town.lawyer(), status=status, case=case)
    with pytest.raises(NotAllowed, match=f"offer {offer} is {status}"):
        request(town, offer)
    assert town.value("SELECT status FROM litgo.cases WHERE id = :id", id=case) == "open"
    assert town.rows("SELECT FROM litgo.contracts") == []


def test_a_case_that_is_not_open_gets_no_contract(town: Town) -> None:
    """A client who withdrew is not contracted by a lawyer who answered late."""
    case = town.case(status="canceled")
    with pytest.raises(NotAllowed, match=f"case {case} is canceled"):
        request(town, town.offer(town.lawyer(), status="interested", case=case))


@pytest.mark.parametrize(
    "fees",
    [
        {},
        {"type": "barter", "value": 3},
        {"type": "fixed"},
        {"type": "fixed", "value": 100, "percent": 3},
        {"type": "fixed", "value": "100"},
        {"type": "fixed", "value": True},
        {"type": "hourly", "rate": 0},
        {"type": "hourly", "rate": float("nan")},
        {"type": "success", "percent": 50.5},
        {"type": "mixed", "value": 10.001, "percent": 20},
    ],
)
def test_fees_of_which_no_contract_can_be_made_are_refused(town: Town, fees: dict[str, Any]) -> None:
    """Before anything is locked or written."""
    with pytest.raises(BadFees):
        request(town, offered(town)[2], fees)


def test_both_signatures_make_a_contract_active(town: Town) -> None:
    """In either order; each leaves its evidence with who recorded it, and both parties are told at the end."""
    contract = manual(town)
    assert sign(town, contract.id, "lawyer").status == "pending-signature"
    active = sign(town, contract.id, "client", OTHER_SCAN)
    assert (active.status, active.signed_client, active.signed_lawyer) == ("active", LATER, LATER)
    rows = town.rows("SELECT party, method, actor, evidence_sha256, evidence FROM litgo.contract_signatures ORDER BY party")
    assert [tuple(row) for row in rows] == [
        ("client", "manual", "ana", OTHER_SCAN.sha256, OTHER_SCAN.content),
        ("lawyer", "manual", "ana", SCAN.sha256, SCAN.content),
    ]
    told = town.rows("SELECT audience, recipient_id FROM litgo.notifications ORDER BY audience")
    assert [tuple(row) for row in told] == [("client", contract.client_id), ("lawyer", contract.lawyer_id)]


def test_a_party_signs_once(town: Town) -> None:
    """The same evidence again is the answer to a lost one; other evidence is refused, also when the contract has gone on."""
    contract = manual(town)
    sign(town, contract.id, "client")
    assert sign(town, contract.id, "client").signed_client == LATER
    with pytest.raises(NotAllowed, match="nobody signs twice"):
        sign(town, contract.id, "client", OTHER_SCAN)
    sign(town, contract.id, "lawyer")
    assert sign(town, contract.id, "lawyer").status == "active"
    with pytest.raises(NotAllowed, match="nobody signs twice"):
        sign(town, contract.id, "lawyer", OTHER_SCAN)
    assert town.value("SELECT count(*) FROM litgo.contract_signatures") == 2


def test_nobody_signs_before_there_is_a_contract(town: Town) -> None:
    """A moment before its request is refused with both moments; that of the request itself is not."""
    contract = manual(town)

    def at(moment: datetime) -> Contract:
        with town.engine.begin() as connection:
            return contracts.sign(connection, contract.id, "client", evidence=SCAN, actor="ana", at=LATER, signed_at=moment)

    with pytest.raises(NotAllowed, match=r"requested at 2026-\S+: nobody can have signed it at 2016-01-02T03:00:00\+00:00"):
        at(datetime(2016, 1, 2, 3, tzinfo=UTC))
    assert found(town, contract.id).signed_client is None
    assert at(contract.created_at).signed_client == contract.created_at


def test_what_is_out_at_docusign_is_not_signed_by_hand(town: Town) -> None:
    """Otherwise the same party could sign twice, in two places."""
    contract = requested(town)
    town.execute(
        "UPDATE litgo.contracts SET status = 'pending-signature', signing_method = 'docusign', envelope_id = 'e' WHERE id = :id",
        id=contract.id,
    )
    with pytest.raises(NotAllowed, match="at DocuSign"):
        sign(town, contract.id, "client")


def test_a_canceled_contract_leaves_an_open_case_without_a_live_offer(town: Town) -> None:
    """So that the next lawyer can be offered it; the canceled one is offered to nobody twice, and may not be contracted again."""
    case, _, offer = offered(town)
    contract, _ = request(town, offer)
    canceled = cancel(town, contract.id)
    assert (canceled.status, canceled.ended_at, canceled.due_at) == ("canceled", LATER, None)
    assert canceled.ended_because == "changed their mind (ana)"
    assert town.value("SELECT status FROM litgo.cases WHERE id = :id", id=case) == "open"
    assert {row[0] for row in town.rows("SELECT status FROM litgo.offers WHERE case_id = :id", id=case)} == {"closed"}
    with pytest.raises(NotAllowed, match="is closed"):
        request(town, offer)


def test_canceling_what_may_be_out_for_signature_leaves_work_to_do(town: Town) -> None:
    """The envelope has to be voided, so the contract falls due at once."""
    contract = requested(town)
    town.execute("UPDATE litgo.contracts SET envelope_id = 'e', due_at = :at WHERE id = :id", id=contract.id, at=NOON + timedelta(days=9))
    assert cancel(town, contract.id).due_at == LATER


def test_closing_ends_the_case_as_well(town: Town) -> None:
    """An active contract that ended is worked on no more."""
    contract = manual(town)
    sign(town, contract.id, "client")
    sign(town, contract.id, "lawyer")
    assert close(town, contract.id).ended_at == LATER
    assert town.value("SELECT status FROM litgo.cases WHERE id = :id", id=contract.case_id) == "closed"


def test_a_contract_is_taken_back_to_docusign_while_nobody_has_signed(town: Town) -> None:
    """It is requested once more and due at once; one signature by hand is enough to keep it. Nobody is told before it is out."""
    contract = manual(town)
    back = retake(town, contract.id)
    assert (back.status, back.signing_method, back.due_at) == ("requested", None, LATER)
    assert town.rows("SELECT FROM litgo.notifications") == []
    half = manual(town)
    sign(town, half.id, "client")
    with pytest.raises(NotAllowed, match="has signed"):
        retake(town, half.id)


STEPS: dict[str, Callable[[Town, UUID], Contract]] = {
    "sign": lambda town, contract: sign(town, contract, "client"),
    "cancel": cancel,
    "close": close,
    "retake": retake,
}
LEADS = {
    ("requested", "cancel"): "canceled",
    ("pending-signature", "sign"): "pending-signature",
    ("pending-signature", "cancel"): "canceled",
    ("pending-signature", "retake"): "requested",
    ("active", "close"): "closed",
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", contracts.STATUSES)
def test_every_step_from_every_state_leads_where_it_should_or_is_refused(town: Town, status: str, step: str) -> None:
    """A refused step says the state, and writes nothing."""
    contract = manual(town)
    town.execute(
        "UPDATE litgo.contracts SET status = :status, signing_method = CASE WHEN :status = 'requested' THEN NULL ELSE signing_method END",
        status=status,
    )
    before = found(town, contract.id)
    if (status, step) in LEADS:
        assert STEPS[step](town, contract.id).status == LEADS[status, step]
        return
    with pytest.raises(NotAllowed, match=status):
        STEPS[step](town, contract.id)
    assert found(town, contract.id) == before


@pytest.mark.parametrize("step", STEPS)
def test_an_unknown_contract_is_said_to_be_unknown(town: Town, step: str) -> None:
    """It is neither an error of ours nor a state."""
    with pytest.raises(Unknown):
        STEPS[step](town, uuid4())


def test_an_unknown_offer_is_said_to_be_unknown(town: Town) -> None:
    """It is neither an error of ours nor a state."""
    with pytest.raises(Unknown):
        request(town, uuid4())


@pytest.mark.parametrize(("name", "content"), [("", b"x"), ("scan.pdf", b""), ("scan.pdf", bytes(contracts.MOST_EVIDENCE + 1))])
def test_evidence_is_a_file_with_something_in_it(name: str, content: bytes) -> None:
    """An empty upload proves nothing, and a huge one does not belong into a table."""
    with pytest.raises(BadEvidence):
        Evidence(name, content)
