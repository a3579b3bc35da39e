"""What becomes of an offer: answers, refusals of answers, running out, and the capacity that comes free."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from litgo_pipelines.casework import contracts, offers
from litgo_pipelines.casework.offers import Answer, DeclineReason, Offer
from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.serving.conftest import wait_until

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FORTNIGHT = 14 * DAY
FEES = {"type": "fixed", "value": 1500}


def respond(town: Town, offer: UUID, answer: Answer, reason: DeclineReason | None = None, after: timedelta = HOUR) -> Offer:
    with town.engine.begin() as connection:
        return offers.respond(connection, offer, answer, reason, NOON + after)


def lose_patience(town: Town) -> None:
    """Let whoever waits for a lock fail after five seconds instead of for ever."""
    from sqlalchemy import event

    @event.listens_for(town.engine, "connect")
    def _limit(connection: Any, _record: Any) -> None:
        connection.execute("SET lock_timeout = '5s'")
        connection.commit()

    town.engine.dispose()


def state(town: Town, offer: UUID) -> tuple[Any, ...]:
    ((*found,),) = town.rows("SELECT status, decline_reason, responded_at FROM litgo.offers WHERE id = :id", id=offer)
    return tuple(found)


@pytest.mark.parametrize(("answer", "reason"), [("interested", None), ("declined", "fee"), ("declined", None)])
def test_an_answer_is_written_with_its_time(town: Town, answer: Answer, reason: DeclineReason | None) -> None:
    """What is returned is what is recorded."""
    offer = town.offer(town.lawyer())
    found = respond(town, offer, answer, reason)
    assert (found.status, found.decline_reason, found.responded_at) == state(town, offer) == (answer, reason, NOON + HOUR)
    with town.engine.connect() as connection:
        assert offers.read(connection, offer) == found


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (("interested", None), ("interested", None)),
        (("declined", "fee"), ("declined", "fee")),
        (("declined", "fee"), ("declined", None)),
        (("declined", None), ("declined", None)),
    ],
)
def test_the_same_answer_again_changes_nothing(town: Town, first: Any, again: Any) -> None:
    """Neither its time nor its reason, however late it comes."""
    offer = town.offer(town.lawyer())
    before = respond(town, offer, *first)
    assert respond(town, offer, *again, after=30 * HOUR) == before
    assert state(town, offer) == (before.status, before.decline_reason, NOON + HOUR)


def test_a_lawyer_may_take_interest_back_until_there_is_a_contract(town: Town) -> None:
    """Before it, the refusal stands; with a contract of the case the interest does; and no refusal becomes interest."""
    case, lawyers = town.case(), town.lawyers(2)
    first, second = (town.offer(one, case=case) for one in lawyers)
    respond(town, first, "interested")
    assert respond(town, first, "declined", "conflict", 2 * HOUR).decline_reason == "conflict"
    with pytest.raises(NotAllowed, match=r"was declined \(conflict\), and stays so"):
        respond(town, first, "interested")
    with pytest.raises(NotAllowed, match=r"was declined \(conflict\), and stays so"):
        respond(town, first, "declined", "fee")
    respond(town, second, "interested")
    with town.engine.begin() as connection:
        contracts.request_contract(connection, offer_id=second, fee_model=FEES, at=NOON + 2 * HOUR)
    before = state(town, second)
    with pytest.raises(NotAllowed, match="is interested and stays so: its case is contracted"):
        respond(town, second, "declined", None, 3 * HOUR)
    assert respond(town, second, "interested", None, 3 * HOUR).status == "interested"
    assert state(town, second) == before


def test_an_offer_of_a_case_with_a_contract_takes_no_answer(town: Town) -> None:
    """Also where the other system that made the contract left the case open."""
    case = town.case()
    offer = town.offer(town.lawyer(), case=case)
    town.contract(town.lawyer(), case=case)
    with pytest.raises(NotAllowed, match="its case has a contract and takes no more answers"):
        respond(town, offer, "interested")
    town.execute("UPDATE litgo.contracts SET status = 'canceled'")
    assert respond(town, offer, "interested").status == "interested"


@pytest.mark.parametrize("status", ["contracted", "closed", "canceled"])
def test_an_offer_of_a_case_that_is_not_open_takes_no_answer(town: Town, status: str) -> None:
    """Nothing is changed, and the message says how the case stands."""
    offer = town.offer(town.lawyer(), case=town.case(status=status))
    with pytest.raises(NotAllowed, match=f"its case is {status}"):
        respond(town, offer, "declined")
    assert state(town, offer) == ("pending", None, None)


def test_an_offer_past_its_time_takes_no_answer(town: Town) -> None:
    """From its last moment on, whether or not somebody has written so; the message says when that was."""
    offer = town.offer(town.lawyer(), hours=2)
    with pytest.raises(NotAllowed, match=r"ran out at 2026-03-10 14:00:00 UTC: it cannot be answered"):
        respond(town, offer, "interested", after=2 * HOUR)
    with town.engine.begin() as connection:
        assert offers.read(connection, offer).status_at(NOON + 2 * HOUR) == "expired"
        assert offers.read(connection, offer).status_at(NOON + 2 * HOUR - timedelta(microseconds=1)) == "pending"
        assert offers.expire(connection, NOON + 2 * HOUR) == 1
    with pytest.raises(NotAllowed, match="ran out"):
        respond(town, offer, "declined")
    assert state(town, offer) == ("expired", None, None)


def test_a_closed_offer_takes_no_answer(town: Town) -> None:
    """Whoever closed it ended the search."""
    offer = town.offer(town.lawyer(), status="closed")
    with pytest.raises(NotAllowed, match="is closed, because the search for a lawyer has ended"):
        respond(town, offer, "interested")


def test_what_is_not_there_or_means_nothing_is_refused(town: Town) -> None:
    """An unknown id, and interest with a reason to decline."""
    with pytest.raises(Unknown, match="there is no offer"):
        respond(town, uuid4(), "interested")
    with town.engine.connect() as connection, pytest.raises(Unknown, match="there is no offer"):
        offers.read(connection, uuid4())
    with pytest.raises(ValueError, match="only a refusal has a reason"):
        respond(town, town.offer(town.lawyer()), "interested", "fee")


def test_of_two_contrary_answers_at_once_one_decides(town: Town) -> None:
    """Refused and interested, twenty times: the refusal stands afterwards, and interest is told of it where it came second."""
    every = [town.offer(one) for one in town.lawyers(20)]

    def answers(offer: UUID) -> str:
        together = threading.Barrier(2)

        def one(answer: Answer) -> str:
            together.wait(10)
            try:
                return respond(town, offer, answer).status
            except NotAllowed:
                return "refused"

        with ThreadPoolExecutor(2) as pool:
            interested, declined = pool.map(one, ("interested", "declined"))
        assert declined == "declined"
        return interested

    assert {answers(offer) for offer in every} <= {"interested", "refused"}
    assert [state(town, offer)[0] for offer in every] == ["declined"] * 20


def test_an_answer_that_waited_while_the_offer_ran_out_came_too_late(town: Town) -> None:
    """It was asked in time, but whoever let the offer run out was first."""
    offer = town.offer(town.lawyer(), hours=2)
    with ThreadPoolExecutor(1) as pool:
        with town.engine.begin() as connection:
            assert offers.expire(connection, NOON + 2 * HOUR) == 1
            answer = pool.submit(respond, town, offer, "interested")
            blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            wait_until(lambda: bool(town.value(blocked)), 10, "the answer waits")
        with pytest.raises(NotAllowed, match="ran out"):
            answer.result(10)
    assert state(town, offer) == ("expired", None, None)


def test_only_pending_offers_whose_time_is_up_run_out(town: Town) -> None:
    """Those with time left, and those that were answered or closed, stay as they are; a second time there is nothing to do."""
    due = [town.offer(town.lawyer(), hours=hours) for hours in (1, 2)]
    stay = [town.offer(town.lawyer(), hours=3)]
    stay += [town.offer(town.lawyer(), status=status, hours=1) for status in ("interested", "declined", "closed", "expired")]
    before = [state(town, one) for one in stay]
    assert offers.expire_all(town.engine, NOON + 2 * HOUR) == 2
    assert [state(town, one) for one in due] == [("expired", None, None)] * 2
    assert [state(town, one) for one in stay] == before
    assert offers.expire_all(town.engine, NOON + 2 * HOUR) == 0


def test_many_run_out_in_batches_the_longest_overdue_first(town: Town) -> None:
    """Each batch is one transaction; all of them together leave nothing."""
    every = [town.offer(town.lawyer(), hours=hours) for hours in (5, 1, 4, 2, 3)]
    with town.engine.begin() as connection:
        assert offers.expire(connection, NOON + 9 * HOUR, most=2) == 2
    assert [state(town, one)[0] for one in every] == ["pending", "expired", "pending", "expired", "pending"]
    assert offers.expire_all(town.engine, NOON + 9 * HOUR, at_once=2) == 3


def test_running_out_waits_for_nobody(town: Town) -> None:
    """An offer that somebody is at work on is left for the next time; the others run out meanwhile."""
    held, free = (town.offer(town.lawyer(), hours=1) for _ in range(2))
    lose_patience(town)
    with town.engine.begin() as connection:
        connection.exec_driver_sql("SELECT FROM litgo.offers WHERE id = %(id)s FOR NO KEY UPDATE", {"id": held})
        assert offers.expire_all(town.engine, NOON + 2 * HOUR) == 1
    assert [state(town, one)[0] for one in (held, free)] == ["pending", "expired"]
    assert offers.expire_all(town.engine, NOON + 2 * HOUR) == 1


def test_capacity_is_free_once_an_offer_has_run_out_or_was_declined(town: Town) -> None:
    """The effective load counts live offers alone, by the clock even before it is written, and stays so once it is."""
    lawyer = town.lawyer(capacidade_mensal=10)
    lapsing, declined, interested = (town.offer(lawyer, hours=hours) for hours in (1, 24, 24))
    respond(town, interested, "interested", after=timedelta())

    def load(after: timedelta) -> float:
        market = town.market(NOON + after)
        return float(market.u_eff(market.profiles.pools["civil"].members)[0] / market.loads.p_win * 10)

    assert load(timedelta()) == pytest.approx(3)
    assert load(HOUR) == pytest.approx(2)
    offers.expire_all(town.engine, NOON + HOUR)
    assert load(HOUR) == pytest.approx(2)
    # Seen from before it ran out it would count as live again, were it still pending.
    assert load(timedelta()) == pytest.approx(2)
    respond(town, declined, "declined", "capacity")
    assert load(HOUR) == pytest.approx(1)
    assert state(town, lapsing)[0] == "expired"


def test_interest_that_no_contract_follows_lapses_and_frees_its_lawyer(town: Town) -> None:
    """From its last moment on, whatever became of the offer's own time; a lawyer with room for one case can be offered another."""
    lawyer = town.lawyer(capacidade_mensal=1)
    offer = town.offer(lawyer)
    respond(town, offer, "interested")
    end = NOON + HOUR + FORTNIGHT

    def load() -> float:
        market = town.market(end)
        return float(market.u_eff(market.profiles.pools["civil"].members)[0] / market.loads.p_win)

    assert load() == pytest.approx(1)
    assert offers.lapse_all(town.engine, end - timedelta(microseconds=1), FORTNIGHT) == 0
    with town.engine.connect() as connection:
        assert offers.lapsed(connection, end - timedelta(microseconds=1), FORTNIGHT) == offers.Overdue(0, None)
        assert offers.lapsed(connection, end, FORTNIGHT) == offers.Overdue(1, end)
    assert offers.lapse_all(town.engine, end, FORTNIGHT) == 1
    assert state(town, offer) == ("closed", None, NOON + HOUR)
    assert load() == 0
    assert offers.lapse_all(town.engine, end, FORTNIGHT) == 0
    with pytest.raises(NotAllowed, match="is closed, because the search has ended, or the interest has lapsed"):
        respond(town, offer, "interested", after=FORTNIGHT + 2 * HOUR)


def test_only_interest_of_open_cases_without_a_contract_lapses(town: Town) -> None:
    """A contract holds it however it came about, until it is canceled; other answers, and other cases, stay as they are."""
    held, reopened = (town.offer(town.lawyer(), status="interested") for _ in range(2))
    contracted = town.offer(town.lawyer())
    respond(town, contracted, "interested")
    with town.engine.begin() as connection:
        contracts.request_contract(connection, offer_id=contracted, fee_model=FEES, at=NOON + HOUR)
    stay = [held, contracted, *(town.offer(town.lawyer(), status=status) for status in ("pending", "declined", "expired", "closed"))]
    stay += [town.offer(town.lawyer(), status="interested", case=town.case(status=one)) for one in ("contracted", "closed", "canceled")]
    for offer, status in ((held, "active"), (reopened, "canceled")):
        town.contract(town.lawyer(), status=status, case=town.value("SELECT case_id FROM litgo.offers WHERE id = :id", id=offer))
    before = [state(town, one) for one in stay]
    assert offers.lapse_all(town.engine, NOON + 99 * DAY, FORTNIGHT) == 1
    assert state(town, reopened)[0] == "closed"
    assert [state(town, one) for one in stay] == before


def test_much_interest_lapses_in_batches_and_waits_for_nobody(town: Town) -> None:
    """The oldest first; offers whose case or who themselves are held by somebody are left for the next time."""
    every = [town.offer(town.lawyer(), at=NOON + number * HOUR, status="interested") for number in (4, 0, 3, 1, 2)]
    with town.engine.begin() as connection:
        assert offers.lapse(connection, NOON + 99 * DAY, FORTNIGHT, most=2) == 2
    assert [state(town, one)[0] for one in every] == ["interested", "closed", "interested", "closed", "interested"]
    lose_patience(town)
    with town.engine.begin() as connection:
        connection.exec_driver_sql("SELECT FROM litgo.offers WHERE id = %(id)s FOR NO KEY UPDATE", {"id": every[0]})
        case = town.value("SELECT case_id FROM litgo.offers WHERE id = :id", id=every[2])
        connection.exec_driver_sql("SELECT FROM litgo.cases WHERE id = %(id)s FOR NO KEY UPDATE", {"id": case})
        assert offers.lapse_all(town.engine, NOON + 99 * DAY, FORTNIGHT, at_once=1) == 1
    assert offers.lapse_all(town.engine, NOON + 99 * DAY, FORTNIGHT, at_once=1) == 2


def test_interest_of_a_case_whose_contract_is_being_requested_does_not_lapse(town: Town) -> None:
    """The contract cannot be seen yet, but its case is held: the offer it is made of stays its lawyer's."""
    offer = town.offer(town.lawyer(), status="interested")
    lose_patience(town)
    with town.engine.begin() as connection:
        contracts.request_contract(connection, offer_id=offer, fee_model=FEES, at=NOON)
        assert offers.lapse_all(town.engine, NOON + 99 * DAY, FORTNIGHT) == 0
    assert offers.lapse_all(town.engine, NOON + 99 * DAY, FORTNIGHT) == 0
    assert state(town, offer)[0] == "interested"
