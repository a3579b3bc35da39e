"""Cases that are withdrawn: what ends with them, what stands against it, and what happens at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from litgo_pipelines.casework import cases, contracts, offers
from litgo_pipelines.casework.cases import Case
from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines.settings import LitgoError
from litgo_pipelines_tests.casework.conftest import NOON, Town

HOUR = timedelta(hours=1)
FEES = {"type": "fixed", "value": 1500}


def withdraw(town: Town, case: UUID, reason: str = "fez um acordo", after: timedelta = HOUR) -> Case:
    with town.engine.begin() as connection:
        return cases.withdraw(connection, case, reason, NOON + after)


def everything(town: Town) -> list[Any]:
    return [sorted(map(repr, town.rows(f"SELECT * FROM litgo.{table}"))) for table in ("cases", "offers", "contracts", "notifications")]


@pytest.mark.parametrize("status", ["open", "triage"])
def test_a_case_that_looks_for_a_lawyer_is_withdrawn(town: Town, status: str) -> None:
    """Its live offers are closed and take no answer any more; those that had ended stay, and so do other cases."""
    case, other = town.case(status=status), town.offer(town.lawyer())
    every = {one: town.offer(town.lawyer(), case=case, status=one) for one in ("pending", "interested", "declined", "expired", "closed")}
    assert withdraw(town, case, " fez um acordo ") == Case(case, "canceled", NOON + HOUR)
    row = town.rows("SELECT status, withdrawn_at, withdrawn_because FROM litgo.cases WHERE id = :id", id=case)
    assert [tuple(one) for one in row] == [("canceled", NOON + HOUR, "fez um acordo")]
    found = {row.id: row.status for row in town.rows("SELECT id, status FROM litgo.offers")}
    ended = {"pending": "closed", "interested": "closed"}
    assert found == {other: "pending"} | {offer: ended.get(was, was) for was, offer in every.items()}
    with town.engine.begin() as connection, pytest.raises(NotAllowed, match="is closed"):
        offers.respond(connection, every["pending"], "interested", None, NOON + HOUR)


def test_the_lawyers_of_a_withdrawn_case_are_free(town: Town) -> None:
    """Whether they were interested or had not answered."""
    case = town.case()
    for status in ("pending", "interested"):
        town.offer(town.lawyer(), case=case, status=status)
    assert town.market().loads.in_flight.tolist() == [1, 1]
    withdraw(town, case)
    assert town.market().loads.in_flight.tolist() == [0, 0]


def test_a_case_is_withdrawn_once(town: Town) -> None:
    """Again, and with other words, it stays as it was, and so it does where somebody else canceled it."""
    case = town.case()
    first = withdraw(town, case)
    before = everything(town)
    assert withdraw(town, case, after=9 * HOUR) == withdraw(town, case, "outro motivo", 9 * HOUR) == first
    assert everything(town) == before
    canceled = town.case(status="canceled")
    assert withdraw(town, canceled) == Case(canceled, "canceled", None)


@pytest.mark.parametrize(
    ("case_status", "contract", "why"),
    [
        ("contracted", "requested", "which is requested: cancel it first"),
        ("contracted", "pending-signature", "which is pending-signature: cancel it first"),
        ("contracted", "active", "which is active: it is signed by both parties"),
        ("open", "active", "which is active: it is signed by both parties"),
        ("open", "closed", "has a contract that is closed: only one that looks for a lawyer"),
        ("closed", "closed", "has a contract that is closed: only one that looks for a lawyer"),
        ("closed", None, "is closed: only one that looks for a lawyer"),
        ("contracted", None, "is contracted: only one that looks for a lawyer"),
    ],
)
def test_a_case_with_a_contract_or_an_end_is_not_withdrawn(town: Town, case_status: str, contract: str | None, why: str) -> None:
    """The message says what stands against it; nothing is changed."""
    lawyer = town.lawyer()
    case = town.case(status=case_status)
    town.offer(lawyer, case=case, status="interested")
    if contract is not None:
        town.contract(lawyer, status=contract, case=case)
    before = everything(town)
    with pytest.raises(NotAllowed, match=why):
        withdraw(town, case)
    assert everything(town) == before


def test_a_case_whose_contract_was_canceled_can_be_withdrawn(town: Town) -> None:
    """It looks for a lawyer again."""
    case = town.case()
    town.contract(town.lawyer(), status="canceled", case=case)
    assert withdraw(town, case).status == "canceled"


def test_what_is_not_there_or_has_no_reason_is_refused(town: Town) -> None:
    """An unknown id, and a reason of blanks."""
    with pytest.raises(Unknown, match="there is no case"):
        withdraw(town, uuid4())
    case = town.case()
    with pytest.raises(LitgoError, match="needs a reason"):
        withdraw(town, case, "  ")
    assert town.value("SELECT status FROM litgo.cases") == "open"


def test_a_withdrawn_telling_waits_for_no_decision(town: Town) -> None:
    """Whoever decides what triage was not sure of is not shown it any more."""
    from litgo_pipelines.casework.triage_recording import undecided

    case = town.case(status="triage")
    request = town.add("match_requests", kind="triage", status="ok", started_at=NOON, case_id=case)
    told = {"urgency_h": 48, "complexity": "LOW", "confidence": 0.1, "space": "words", "created_at": NOON}
    town.execute(
        "INSERT INTO litgo.triages (case_id, request_id, urgency_h, complexity, confidence, space, nearest, created_at) "
        "VALUES (:case, :request, :urgency_h, :complexity, :confidence, :space, '[]', :created_at)",
        case=case,
        request=request,
        **told,
    )
    with town.engine.connect() as connection:
        assert [one.case_id for one in undecided(connection, 9)] == [case]
    withdraw(town, case)
    with town.engine.connect() as connection:
        assert undecided(connection, 9) == []


def test_of_a_withdrawal_and_a_contract_at_once_one_decides(town: Town) -> None:
    """Twenty times: the case has either ended without a contract, or has one and goes on."""
    for lawyer in town.lawyers(20):
        case = town.case()
        offer = town.offer(lawyer, case=case, status="interested")
        together = threading.Barrier(2)

        def request(offer: UUID = offer, together: threading.Barrier = together) -> None:
            together.wait(10)
            with town.engine.begin() as connection:
                contracts.request_contract(connection, offer_id=offer, fee_model=FEES, at=NOON)

        def end(case: UUID = case, together: threading.Barrier = together) -> None:
            together.wait(10)
            withdraw(town, case)

        with ThreadPoolExecutor(2) as pool:
            errors = [one.exception() for one in (pool.submit(request), pool.submit(end))]
        assert sorted(type(one).__name__ for one in errors) == ["NoneType", "NotAllowed"]
        made = town.value("SELECT count(*) FROM litgo.contracts WHERE case_id = :case", case=case)
        status = town.value("SELECT status FROM litgo.cases WHERE id = :case", case=case)
        assert (status, made) in {("contracted", 1), ("canceled", 0)}
