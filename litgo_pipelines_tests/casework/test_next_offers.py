"""Cases whose offers came to nothing: which of them go to the next lawyers, to whom, and that each gets one round."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from pydantic import SecretStr

from litgo_pipelines.casework import contracts, next_offers, offers
from litgo_pipelines.casework.matching import decide, note_offers
from litgo_pipelines.casework.next_offers import TOLD_ONE_BY_ONE, CasesFailed, Rounds, Terms, Waiting, offer_next, tell_dropped, waiting
from litgo_pipelines.casework.offers import Answer
from litgo_pipelines.casework.recording import Recording, TooBusy, record
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines.ranking.text import SPACE
from litgo_pipelines.rollout import experiments
from litgo_pipelines.rollout.assignment import assign
from litgo_pipelines.rollout.experiment_rules import Ruling
from litgo_pipelines.rollout.registry import Registry
from litgo_pipelines.settings import Settings, load_settings
from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.casework.test_offers import lose_patience
from litgo_pipelines_tests.serving.conftest import register

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LATER = NOON + 25 * HOUR
"""When offers of noon have run out."""

SERVED = Recording(offer_lifetime=DAY, recorded_candidates=20, tell_lawyers=True)


@dataclass
class Square:
    """A town, a registry, and the settings of its rounds."""

    town: Town
    registry: Registry
    settings: Settings

    def ask(self, case: UUID, top_n: int = 1, at: datetime = NOON) -> list[UUID]:
        """A client's own request with offers, as serving answers it: to whom they went."""
        market = self.town.market(at)
        decision = decide(
            market,
            self.town.as_case(case),
            HandWeights(),
            OfferRule(exploration=0.0),
            request_id=uuid4(),
            at=at,
            top_n=top_n,
            new_lawyer_offers=10,
            exclude=frozenset(row.lawyer_id for row in self.offers(case)),
        )
        note_offers(market, decision)
        (written,) = record(self.town.engine, market, [decision], SERVED)
        return written.chosen_ids

    def case(self, at: datetime = NOON, **values: Any) -> UUID:
        """A case that one lawyer was offered."""
        case = self.town.case(created_at=at, **values)
        assert len(self.ask(case, at=at)) == 1
        return case

    def offers(self, case: UUID) -> list[Any]:
        return self.town.rows("SELECT * FROM litgo.offers WHERE case_id = :case ORDER BY sent_at, id", case=case)

    def answer(self, offer: UUID, answer: Answer, at: datetime) -> None:
        with self.town.engine.begin() as connection:
            offers.respond(connection, offer, answer, None, at)

    def run(self, at: datetime = LATER, **changes: Any) -> Rounds:
        """Let what is due run out, and offer on."""
        offers.expire_all(self.town.engine, at)
        return offer_next(self.town.engine, self.registry, self.settings.model_copy(update=changes), clock=lambda: at)

    def waiting(self, at: datetime = LATER, **changes: Any) -> Waiting:
        with self.town.engine.connect() as connection:
            return waiting(connection, at, Terms.of(self.settings.model_copy(update=changes)))

    def tell(self, at: datetime = LATER, **changes: Any) -> int:
        """Tell of the cases that dropped out."""
        with self.town.engine.begin() as connection:
            return tell_dropped(connection, at, Terms.of(self.settings.model_copy(update=changes)))

    def messages(self, audience: str) -> list[Any]:
        return self.town.rows("SELECT * FROM litgo.notifications WHERE audience = :one ORDER BY id", one=audience)


@pytest.fixture
def square(town: Town, mlflow_uri: str, tmp_path: Path) -> Square:
    """Nobody is champion: the hand weights answer."""
    return Square(town, Registry(mlflow_uri, tmp_path / "cache"), load_settings(litgo_exploration=0.0))


def test_a_case_without_a_live_offer_goes_to_the_next_lawyer(square: Square) -> None:
    """The request, its match, candidates and offer are recorded as any other's, and the lawyer is told."""
    best, second, third = (square.town.lawyer(cv_score=share) for share in (0.9, 0.8, 0.7))
    case = square.case()
    found = square.run()
    assert (found.cases, found.offers, found.model_version) == (Counter(offered=1), 1, "hand-weights")
    assert [(row.lawyer_id, row.status) for row in square.offers(case)] == [(best, "expired"), (second, "pending")]
    newest = square.offers(case)[1]
    assert (newest.sent_at, newest.expires_at) == (LATER, LATER + DAY)
    (request,) = square.town.rows("SELECT * FROM litgo.match_requests WHERE started_at = :at", at=LATER)
    assert (request.kind, request.status, request.case_id, request.model_version) == ("matching", "ok", case, "hand-weights")
    assert (request.eligible, request.exploration, request.variant) == (2, False, None)
    (match,) = square.town.rows("SELECT * FROM litgo.case_matches WHERE id = :id", id=newest.match_id)
    assert (match.request_id, match.lawyer_id, match.position) == (request.id, second, 1)
    seen = square.town.rows("SELECT lawyer_id, outcome FROM litgo.match_candidates WHERE request_id = :id", id=request.id)
    assert {(row.lawyer_id, row.outcome) for row in seen} == {(second, "shown"), (third, "not_shown")}
    assert square.town.value("SELECT last_offered_at FROM litgo.lawyers WHERE id = :id", id=second) == LATER


def test_lawyers_are_told_of_each_offer_once_and_of_nothing_of_the_client(square: Square) -> None:
    """One push message an offer, due at once, in the words of the area; no summary, place or name of the client travels."""
    square.town.lawyers(2)
    case = square.case(summary="meu vizinho José da Silva me deve", lat=-23.5, lng=-46.6, urgency_h=1)
    square.run()
    told = square.messages("lawyer")
    assert [row.key for row in told] == [f"offer:{offer.id}" for offer in square.offers(case)]
    for row, offer in zip(told, square.offers(case), strict=True):
        assert (row.recipient_id, row.channel, row.status) == (offer.lawyer_id, "push", "queued")
        assert row.created_at == row.due_at == offer.sent_at
        assert row.details == {"offer_id": str(offer.id), "case_id": str(case)}
        assert row.subject == "Nova oferta de caso: civil"
        assert f"{offer.expires_at - 3 * HOUR:%d/%m/%Y, %Hh%M}" in row.body
        assert "em até 1 hora." in row.body
        assert str(case)[:8] in row.body
        for secret in ("José", "vizinho", "23.5", "46.6", str(square.town.client)):
            assert secret not in row.subject + row.body


def test_offers_of_the_simulator_tell_nobody(square: Square) -> None:
    """Messages are written only where they are asked for."""
    square.town.lawyer()
    market = square.town.market()
    given: dict[str, Any] = {"request_id": uuid4(), "at": NOON, "top_n": 1, "new_lawyer_offers": 10}
    decision = decide(market, square.town.as_case(square.town.case()), HandWeights(), OfferRule(), **given)
    record(square.town.engine, market, [decision], Recording(DAY, 20))
    assert square.town.value("SELECT count(*) FROM litgo.offers") == 1
    assert square.messages("lawyer") == []


WAITING: dict[str, tuple[Callable[[Square, UUID], object], bool]] = {
    "its offer ran out, though nobody wrote so": (lambda _square, _case: None, True),
    "its offer was declined": (lambda square, case: square.answer(square.offers(case)[0].id, "declined", NOON + HOUR), True),
    "its lawyer is interested": (lambda square, case: square.answer(square.offers(case)[0].id, "interested", NOON + HOUR), False),
    "another offer is pending": (lambda square, case: square.ask(case, at=NOON + 2 * HOUR), False),
    "it is closed": (lambda square, _case: square.town.execute("UPDATE litgo.cases SET status = 'closed'"), False),
    "another system made a contract": (lambda square, case: square.town.contract(square.town.lawyer(), case=case), False),
    "that contract was canceled": (lambda square, case: square.town.contract(square.town.lawyer(), case=case, status="canceled"), True),
}


@pytest.mark.parametrize("what", WAITING)
def test_a_case_waits_while_nothing_of_it_is_live(square: Square, what: str) -> None:
    """Only then it is offered on, and only then a run is worth it."""
    square.town.lawyers(3)
    case = square.case()
    happens, waits = WAITING[what]
    happens(square, case)
    before = len(square.offers(case))
    assert square.waiting().cases == waits
    assert square.run().cases == (Counter(offered=1) if waits else Counter())
    assert len(square.offers(case)) == before + waits
    assert square.waiting().cases == 0


def test_a_case_that_never_had_an_offer_is_left_alone(square: Square) -> None:
    """Its client has not asked for offers."""
    square.town.lawyer()
    square.town.case()
    assert (square.waiting(), square.run()) == (Waiting(0, 0, ""), Rounds(Counter()))


def test_a_case_is_offered_on_for_so_many_days_and_rounds(square: Square) -> None:
    """The last moment and the last round are the settings'; no days mean never."""
    square.town.lawyers(9)
    case = square.case()
    assert square.waiting(litgo_next_offer_days=0.0).cases == 0
    assert square.waiting(NOON + 7 * DAY).cases == 0
    assert square.waiting(NOON + 7 * DAY - timedelta(microseconds=1)).cases == 1
    for number in (1, 2, 3):
        assert square.run(NOON + number * 25 * HOUR, litgo_next_offer_rounds=3).offers == 1
    assert square.run(NOON + 100 * HOUR, litgo_next_offer_rounds=3).cases == Counter()
    assert len(square.offers(case)) == 4
    assert square.run(NOON + 100 * HOUR, litgo_next_offer_rounds=4).offers == 1


def test_a_round_goes_to_several_lawyers_where_the_settings_say_so(square: Square) -> None:
    """Of whom none had an offer of the case before; a round of several is one round."""
    square.town.lawyers(6)
    case = square.case()
    assert square.run(litgo_next_offer_lawyers=3, litgo_next_offer_rounds=2).offers == 3
    assert square.run(LATER + 25 * HOUR, litgo_next_offer_lawyers=3, litgo_next_offer_rounds=2).offers == 2
    assert len({row.lawyer_id for row in square.offers(case)}) == 6


def test_each_round_follows_the_load_as_it_is_then(square: Square) -> None:
    """Lawyers with room for one offer each get one: the rounds of many cases see each other's offers."""
    square.town.lawyers(7)
    cases = [square.case() for _ in range(3)]
    square.town.execute("UPDATE litgo.lawyers SET capacidade_mensal = 1, max_concurrent_cases = 1")
    for lawyer in {row.lawyer_id for case in cases for row in square.offers(case)}:
        for _ in range(5):
            square.town.offer(lawyer, at=LATER - HOUR, case=square.town.case(status="open"))
    assert square.run().offers == 3
    shown = square.town.rows("SELECT lawyer_id FROM litgo.offers WHERE sent_at = :at", at=LATER)
    reasons = square.town.rows("SELECT reason FROM litgo.match_candidates WHERE outcome = 'shown'")
    assert max(Counter(row.lawyer_id for row in shown).values()) == 1
    assert {row.reason for row in reasons} == {"value"}


def test_where_nobody_is_left_the_operators_are_told_once(square: Square) -> None:
    """The request counts once; who joins later is offered the case."""
    square.town.lawyer()
    case = square.case()
    for number in range(3):
        assert square.run(LATER + number * HOUR).cases == {"nobody left": 1}
    (told,) = square.messages("ops")
    assert (told.key, told.channel, told.details) == (f"nobody-left:{case}", "email", {"case_id": str(case)})
    assert f"Case {case} is open, its 1 offers have all come to nothing" in told.body
    requests = square.town.rows("SELECT status, eligible FROM litgo.match_requests WHERE started_at >= :at", at=LATER)
    assert [tuple(row) for row in requests] == [("ok", 0)]
    found = square.waiting()
    assert (found.cases, found.in_vain, len(found.digest)) == (0, 1, 32)
    joined = square.town.lawyer()
    assert square.run(LATER + 9 * HOUR).cases == {"offered": 1}
    assert square.offers(case)[-1].lawyer_id == joined
    assert len(square.messages("ops")) == 1


def test_a_contract_that_is_canceled_lets_the_case_go_on(square: Square) -> None:
    """Its lawyer, and those who were turned away for it, are not asked again."""
    square.town.lawyers(4)
    case = square.town.case()
    square.ask(case, top_n=2)
    first, _ = square.offers(case)
    square.answer(first.id, "interested", NOON + HOUR)
    with square.town.engine.begin() as connection:
        fees = {"type": "success", "percent": 20}
        contract, _ = contracts.request_contract(connection, offer_id=first.id, fee_model=fees, at=NOON + 2 * HOUR)
    assert square.waiting().cases == 0
    with square.town.engine.begin() as connection:
        contracts.cancel(connection, contract.id, reason="o cliente desistiu", actor="ana", at=NOON + 3 * HOUR)
    assert square.run(NOON + 4 * HOUR).offers == 1
    had = [row.lawyer_id for row in square.offers(case)]
    assert (len(had), len(set(had))) == (3, 3)


def test_two_runs_at_once_give_each_case_one_round(square: Square) -> None:
    """Both see all cases wait before either writes; together they make one round a case."""
    square.town.lawyers(12)
    cases = [square.case() for _ in range(10)]
    together = threading.Barrier(2)

    def clock() -> datetime:
        # Asked for the first time after which nothing is read of the cases but under lock.
        if not getattr(local, "begun", False):
            local.begun = True
            return LATER
        if not getattr(local, "waited", False):
            local.waited = True
            together.wait(30)
        return LATER

    local = threading.local()
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(offer_next, square.town.engine, square.registry, square.settings, clock=clock) for _ in range(2)]
        found = [one.result() for one in runs]
    assert sum(one.offers for one in found) == 10
    assert sum((one.cases for one in found), Counter()) == {"offered": 10, "waits no more": 10}
    assert [len(square.offers(case)) for case in cases] == [2] * 10
    assert len(square.messages("lawyer")) == 20


def test_a_request_of_the_client_in_between_is_the_round(square: Square) -> None:
    """The run has seen the case wait; by the time it is the case's turn its client has asked again."""
    square.town.lawyers(4)
    case = square.case()
    asked = iter([False, True])

    def clock() -> datetime:
        if next(asked):
            square.ask(case, at=LATER)
        return LATER

    found = offer_next(square.town.engine, square.registry, square.settings, clock=clock)
    assert found.cases == {"waits no more": 1}
    assert len(square.offers(case)) == 2


def test_a_case_that_somebody_is_at_work_on_is_left_for_the_next_run(square: Square) -> None:
    """Nobody waits for a lock."""
    square.town.lawyers(3)
    case = square.case()
    lose_patience(square.town)
    with square.town.engine.begin() as connection:
        connection.exec_driver_sql("SELECT FROM litgo.cases WHERE id = %(id)s FOR NO KEY UPDATE", {"id": case})
        assert square.run().cases == {"waits no more": 1}
    assert square.run().cases == {"offered": 1}


def test_a_failure_with_one_case_holds_no_other_up(square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded as a failed request, and the run says so at its end; a busy one simply waits for the next run."""
    square.town.lawyers(9)
    cases = [square.case() for _ in range(3)]
    errors: dict[UUID, Exception] = {cases[0]: ZeroDivisionError("secret"), cases[1]: TooBusy("others were quicker")}
    recorded = next_offers.record

    def fragile(bind: Any, market: Any, decisions: Any, how: Any) -> Any:
        if decisions[0].case.id in errors:
            raise errors[decisions[0].case.id]
        return recorded(bind, market, decisions, how)

    monkeypatch.setattr(next_offers, "record", fragile)
    with pytest.raises(CasesFailed, match=r"^1 of 3 cases could not be offered on \(ZeroDivisionError\): see the log$"):
        square.run()
    failed = square.town.rows("SELECT case_id, error_class FROM litgo.match_requests WHERE status = 'error'")
    assert {tuple(row) for row in failed} == {(cases[0], "ZeroDivisionError"), (cases[1], "TooBusy")}
    assert [len(square.offers(case)) for case in cases] == [1, 1, 2]
    del errors[cases[0]]
    assert square.run().cases == {"offered": 1, "too busy": 1}


def test_a_client_is_answered_by_the_model_of_the_side(square: Square, tmp_path: Path) -> None:
    """Treatment by the challenger, control by the champion; the request tells the side, as serving's does."""
    qualification, soft_skill = 4, 7
    for name, favoured in (("first", qualification), ("second", soft_skill)):
        register(square.registry, tmp_path / name, favoured=favoured)
    square.registry.promote("1", None)
    learned = square.town.lawyer(cv_score=1.0, kpi_softskill=0.0)
    gentle = square.town.lawyer(cv_score=0.0, kpi_softskill=1.0)
    begun: dict[str, Any] = {"actor": "promotion", "at": NOON}
    with square.town.engine.begin() as connection:
        terms = experiments.Terms("ab", (0.5,), 28.0, "keep")
        queued = experiments.queue(connection, "2", "1", terms, reason="it passed", evidence={}, **begun)
        running = experiments.start(connection, queued, Ruling(verdict="start", reasons=["go"], evidence={}), "1", **begun)
    clients = [square.town.add("clients", created_at=NOON) for _ in range(12)]
    gone = square.town.lawyer(status="inactive")
    for client in clients:
        square.town.offer(gone, status="declined", case=square.town.case(client_id=client))
    assert square.run().cases == {"offered": 12}
    rows = square.town.rows(
        "SELECT k.client_id, r.variant, r.experiment_id, r.model_version, m.lawyer_id FROM litgo.match_requests r "
        "JOIN litgo.cases k ON k.id = r.case_id JOIN litgo.case_matches m ON m.request_id = r.id"
    )
    assert {row.client_id: row.variant for row in rows} == {client: assign(client, running.split) for client in clients}
    assert {(row.variant, row.model_version, row.lawyer_id) for row in rows} == {
        ("treatment", "2", gentle),
        ("control", "1", learned),
    }
    assert {row.experiment_id for row in rows} == {running.id}
    assert square.town.value("SELECT count(*) FROM litgo.exposures") == 12


def test_a_challenger_that_does_not_load_leaves_everybody_to_the_champion(square: Square, tmp_path: Path) -> None:
    """Nobody takes part, nobody is counted, and nobody waits."""
    register(square.registry, tmp_path / "first")
    register(square.registry, tmp_path / "spoilt", spoilt=True)
    square.registry.promote("1", None)
    square.town.lawyers(2)
    with square.town.engine.begin() as connection:
        terms = experiments.Terms("ab", (0.5,), 28.0, "keep")
        begun: dict[str, Any] = {"actor": "promotion", "at": NOON}
        queued = experiments.queue(connection, "2", "1", terms, reason="it passed", evidence={}, **begun)
        experiments.start(connection, queued, Ruling(verdict="start", reasons=["go"], evidence={}), "1", **begun)
    square.case()
    found = square.run()
    assert (found.cases, found.model_version) == ({"offered": 1}, "1")
    assert square.town.value("SELECT count(*) FROM litgo.exposures") == 0


def test_cases_are_compared_in_the_space_that_they_share_with_the_lawyers(square: Square) -> None:
    """A stored vector decides who is alike, a vendor's only where the vendor is configured, never that of a model which is gone."""
    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.integrations.embedders import Space
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
    from litgo_pipelines.marketplace.vectors import Vectors, put, register

    with_vendor = {"openai_api_key": SecretStr("a-key")}
    embedding = Embedding.of(square.settings.model_copy(update=with_vendor), PostgresCallLedger(square.town.engine))
    vendor, local = (one.space for one in embedding.embedders)
    first, near, far = (square.town.lawyer(cv_score=0.5) for _ in range(3))
    for lawyer in (first, near, far):
        square.town.contract(lawyer, at=NOON - 9 * DAY, case=square.town.case(status="closed", created_at=NOON - 9 * DAY))
    with_vector, without = (square.town.case() for _ in range(2))
    for case in (with_vector, without):
        square.town.offer(first, case=case, status="declined")
    gone = Space("a-model", "1", 2)
    with square.town.engine.begin() as connection:
        for space, others in ((local, (0, 1)), (vendor, (1, 0)), (gone, (1, 0))):
            register(connection, space)
            rows = np.eye(space.dim, dtype=np.float32)[[0, *others]]
            put(connection, "lawyer", [first, near, far], ["h"] * 3, Vectors(space.name, rows), NOON)
            put(connection, "case", [with_vector], ["h"], Vectors(space.name, rows[:1]), NOON)
    assert square.run().cases == {"offered": 2}
    told = square.town.rows(
        "SELECT r.case_id, r.embedding_space, m.lawyer_id FROM litgo.match_requests r JOIN litgo.case_matches m ON m.request_id = r.id"
    )
    found = {row.case_id: (row.embedding_space.rpartition("+")[2], row.lawyer_id) for row in told}
    assert found[with_vector] == (local.name, near)
    assert found[without][0] == SPACE
    square.town.execute("UPDATE litgo.offers SET status = 'declined', responded_at = sent_at")
    third = square.town.case()
    square.town.offer(first, case=third, status="declined")
    with square.town.engine.begin() as connection:
        put(connection, "case", [third], ["h"], Vectors(vendor.name, np.eye(1, vendor.dim, dtype=np.float32)), NOON)
    square.town.execute("UPDATE litgo.cases SET status = 'closed' WHERE id <> :id", id=third)
    square.run(LATER + HOUR, **with_vendor)
    (row,) = square.town.rows(
        "SELECT r.embedding_space, m.lawyer_id FROM litgo.match_requests r JOIN litgo.case_matches m ON m.request_id = r.id "
        "WHERE r.case_id = :id",
        id=third,
    )
    assert (row.embedding_space.rpartition("+")[2], row.lawyer_id) == (vendor.name, far)


def contract_of(square: Square, case: UUID, at: datetime) -> UUID:
    """A contract with the first lawyer of a case, who is interested an hour after the offer."""
    offer = square.offers(case)[0].id
    square.answer(offer, "interested", NOON + HOUR)
    with square.town.engine.begin() as connection:
        made, _ = contracts.request_contract(connection, offer_id=offer, fee_model={"type": "success", "percent": 20}, at=at)
    return made.id


def test_a_case_that_comes_back_from_a_contract_has_its_days_again(square: Square) -> None:
    """The contract is canceled when the case is long too old: its days count from there, to the last moment."""
    square.town.lawyers(3)
    case = square.case()
    contract = contract_of(square, case, NOON + DAY)
    ended = NOON + 30 * DAY
    with square.town.engine.begin() as connection:
        contracts.cancel(connection, contract, reason="o advogado recusou", actor="docusign", at=ended)
    assert square.waiting(ended + 7 * DAY - timedelta(microseconds=1)).cases == 1
    assert square.waiting(ended + 7 * DAY).cases == 0
    assert square.tell(ended + HOUR) == 0
    assert square.run(ended + HOUR).cases == {"offered": 1}
    assert len({row.lawyer_id for row in square.offers(case)}) == 2


def test_the_operators_are_told_once_of_a_case_that_grew_too_old(square: Square) -> None:
    """Not while an offer of it is live or it waits, and not of its client; never where cases are not offered on at all."""
    square.town.lawyers(2)
    case = square.case(summary="meu vizinho José")
    assert square.run(NOON + 6.5 * DAY).offers == 1
    assert [square.tell(at) for at in (NOON + 6.5 * DAY, NOON + 7.4 * DAY)] == [0, 0]
    late = NOON + 7.6 * DAY
    assert square.tell(late, litgo_next_offer_days=0.0) == 0
    assert [square.tell(late), square.tell(late + HOUR)] == [1, 0]
    (told,) = square.messages("ops")
    assert (told.key, told.details) == (f"dropped:{case}", {"case_id": str(case)})
    assert "LITGO_NEXT_OFFER_DAYS" in told.body
    assert f"Case {case} is open" in told.body
    assert "its 2 offers" in told.body
    assert "José" not in told.subject + told.body


def test_the_operators_are_told_of_a_case_whose_rounds_are_over(square: Square) -> None:
    """As soon as the last offer came to nothing; a case with a contract, or withdrawn, is none of that."""
    square.town.lawyers(9)
    cases = [square.case() for _ in range(3)]
    assert square.run(litgo_next_offer_rounds=1).offers == 3
    last = LATER + 2 * HOUR
    for case in cases:
        square.answer(square.offers(case)[-1].id, "declined", last)
    assert square.tell(last) == 0
    square.town.contract(square.town.lawyer(), case=cases[0])
    square.town.execute("UPDATE litgo.cases SET status = 'canceled' WHERE id = :id", id=cases[1])
    assert square.tell(last, litgo_next_offer_rounds=1) == 1
    (told,) = square.messages("ops")
    assert told.key == f"dropped:{cases[2]}"
    assert "LITGO_NEXT_OFFER_ROUNDS" in told.body


def test_a_case_that_comes_back_without_rounds_left_is_told(square: Square) -> None:
    """What counts as the end is the contract's, for the offer's own answer is long ago."""
    square.town.lawyers(3)
    case = square.case()
    contract = contract_of(square, case, NOON + DAY)
    with square.town.engine.begin() as connection:
        contracts.cancel(connection, contract, reason="desistiu", actor="ana", at=NOON + 30 * DAY)
    assert square.tell(NOON + 30 * DAY + HOUR, litgo_next_offer_rounds=0) == 1
    assert square.messages("ops")[0].key == f"dropped:{case}"


def test_history_is_not_told(square: Square) -> None:
    """Of a case that came to nothing more than a day ago nobody is told, however it did."""
    at = NOON + 40 * DAY
    for status, ended in (("expired", at - 2 * DAY), ("declined", at - 26 * HOUR), ("closed", at - 3 * DAY), ("pending", at - 2 * DAY)):
        square.town.offer(square.town.lawyer(), at=ended, status=status, case=square.town.case())
    assert square.tell(at) == 0
    assert square.tell(at - 12 * HOUR) == 3


def test_many_at_once_are_told_in_one_message(square: Square) -> None:
    """Which names all of them, so that none is told again; a few more come one by one, and many more within the hour wait for the next."""
    lawyer, at = square.town.lawyer(), NOON + 40 * DAY + HOUR / 2

    def drop(count: int) -> list[UUID]:
        cases = [square.town.case() for _ in range(count)]
        for case in cases:
            square.town.offer(lawyer, at=at - 25 * HOUR, status="expired", case=case)
        return cases

    many = drop(TOLD_ONE_BY_ONE + 1)
    assert [square.tell(at), square.tell(at + 5 * HOUR)] == [TOLD_ONE_BY_ONE + 1, 0]
    (told,) = square.messages("ops")
    assert told.subject == "21 cases are offered to nobody any more"
    assert set(told.details["case_ids"]) == {str(one) for one in many}
    assert "and 1 more" in told.body
    few = drop(2)
    assert square.tell(at) == 2
    assert {row.key for row in square.messages("ops")[1:]} == {f"dropped:{one}" for one in few}
    drop(30)
    assert [square.tell(at), square.tell(at + HOUR)] == [0, 30]
    assert len(square.messages("ops")) == 4
