"""Deciding and recording: `decide` is pure, and what `record` writes is whole, once, and true to the loads of the moment."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError

from litgo_pipelines.casework import recording
from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.casework.market import Market, micros
from litgo_pipelines.casework.matching import (
    Decision,
    decide,
    decide_among,
    decide_anew,
    derived_id,
    note_offers,
    score_candidates,
    score_many,
)
from litgo_pipelines.casework.recording import CaseNotOpen, Recording, RequestGivenUp, TooBusy, fail_request, open_request, record
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.equity.policies import POLICIES
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION, HandWeights
from litgo_pipelines.ranking.text import vectorise
from litgo_pipelines_tests.casework.conftest import AREA, NOON, Town

RULE = OfferRule(exploration=0.0)
DAY = timedelta(days=1)
OFFERING = Recording(offer_lifetime=DAY, recorded_candidates=20)
FACTS = ("match_requests", "case_matches", "match_candidates", "offers")


def ask(town: Town, market: Market, case: UUID, *, top_n: int = 3, rule: OfferRule = RULE, **options: Any) -> Decision:
    """Decide and note, as every caller of `record` does."""
    given: dict[str, Any] = {"request_id": uuid4(), "at": NOON, "top_n": top_n, "new_lawyer_offers": 10}
    decision = decide(market, town.as_case(case), HandWeights(), rule, **(given | options))
    note_offers(market, decision)
    return decision


def counts(town: Town) -> dict[str, int]:
    return {table: town.value(f"SELECT count(*) FROM litgo.{table}") for table in FACTS}


def offered(town: Town, case: UUID) -> list[UUID]:
    return [row.lawyer_id for row in town.rows("SELECT lawyer_id FROM litgo.offers WHERE case_id = :case", case=case)]


def fill(town: Town, lawyer: UUID, offers: int) -> None:
    """Give a lawyer offers in flight for other cases."""
    for _ in range(offers):
        town.offer(lawyer, NOON)


def test_only_eligible_lawyers_are_candidates(town: Town) -> None:
    """Active, there at the moment, practising the area, not excluded."""
    good, further = town.lawyer(), town.lawyer(primary_area="penal", specialties=[AREA])
    excluded = town.lawyer()
    town.lawyer(status="inactive")
    town.lawyer(status="suspended")
    town.lawyer(available_until=NOON - DAY)
    town.lawyer(available_from=NOON + DAY)
    town.lawyer(primary_area="penal")
    decision = ask(town, town.market(), town.case(), top_n=10, exclude=frozenset({excluded, uuid4()}))
    assert set(decision.chosen_ids) == {good, further}


def test_an_area_that_nobody_practises_has_no_candidates(town: Town) -> None:
    """An empty answer, recorded as such, not an error."""
    town.lawyer()
    case = town.case(area="espacial")
    decision = ask(town, town.market(), case)
    assert decision.chosen_ids == []
    record(town.engine, town.market(), [decision], OFFERING)
    ((status, eligible, cutoff),) = town.rows("SELECT status, eligible, cutoff FROM litgo.match_requests")
    assert (status, eligible, cutoff) == ("ok", 0, None)


def test_deciding_changes_nothing_and_depends_on_nothing_else(town: Town) -> None:
    """The same question gets the same answer, and neither market nor case is touched."""
    town.lawyers(12)
    market, case = town.market(), town.as_case(town.case())
    before = copy.deepcopy(market)
    question: dict[str, Any] = {"request_id": UUID(int=5), "at": NOON, "top_n": 4, "new_lawyer_offers": 10}
    first = decide(market, case, HandWeights(), OfferRule(exploration=0.5), **question)
    second = decide(copy.deepcopy(before), case, HandWeights(), OfferRule(exploration=0.5), **question)
    assert first.chosen_ids == second.chosen_ids
    np.testing.assert_array_equal(first.allocation.value, second.allocation.value)
    for part in ("profiles", "loads"):
        for name, value in vars(getattr(before, part)).items():
            assert _same(getattr(getattr(market, part), name), value), name


def _same(now: Any, before: Any) -> bool:
    return bool(now.tobytes() == before.tobytes()) if isinstance(now, np.ndarray) else str(now) == str(before)


def test_many_cases_are_scored_as_each_alone(town: Town) -> None:
    """Each by those who are eligible for it at its time, in its place; a case without candidates stands among the others."""
    for share in range(9):
        place = {"lat": -23.5 + share / 50, "lng": -46.6} if share % 3 else {}
        town.lawyer(**place, cv_score=share / 9, tempo_resposta_h=4.0 * share, specialties=["penal"] if share % 2 else [])
    away = town.lawyer(available_until=NOON, available_from=NOON + DAY)
    town.contract(away, NOON - DAY)
    market = town.market()
    cases = [
        (town.as_case(town.case(lat=-23.5, lng=-46.6)), NOON),
        (town.as_case(town.case(area="espacial")), NOON),
        (town.as_case(town.case(area="penal", urgency_h=6, summary="preso em flagrante")), NOON),
        (town.as_case(town.case(lat=-23.4, lng=-46.6, summary="fui demitido")), NOON + DAY),
    ]
    together = score_many(market, cases, HandWeights())
    given = score_many(market, cases, HandWeights(), vectorise([case.summary for case, _ in cases]))
    assert [len(found.members) for found in together] == [9, 0, 4, 10]
    for (case, at), found, also in zip(cases, together, given, strict=True):
        alone = score_candidates(market, case, HandWeights(), at)
        for name, values in vars(alone).items():
            # A matrix product of more rows may sum in another order.
            np.testing.assert_allclose(getattr(found, name), values, rtol=1e-12, err_msg=name)
            np.testing.assert_array_equal(getattr(also, name), getattr(found, name), err_msg=name)
    assert score_many(market, [], HandWeights()) == []
    (nobody,) = score_many(market, cases[1:2], HandWeights())
    assert (len(nobody.members), nobody.features.shape, len(nobody.score)) == (0, (0, 8), 0)


def test_candidates_scored_beforehand_are_decided_as_by_deciding(town: Town) -> None:
    """The offer rule unless another policy is named, with the same request, exploring or not."""
    for share in range(8):
        town.lawyer(cv_score=share / 8)
    market, case = town.market(), town.as_case(town.case())
    scored = score_candidates(market, case, HandWeights(), NOON)
    for rule in (RULE, OfferRule(exploration=1.0)):
        question: dict[str, Any] = {"request_id": UUID(int=8), "at": NOON, "top_n": 3, "new_lawyer_offers": 10}
        whole = decide(market, case, HandWeights(), rule, **question)
        among = decide_among(market, case, scored, HAND_WEIGHTS_VERSION, rule, **question)
        assert among.ask == whole.ask
        assert among.chosen_ids == whole.chosen_ids
        assert among.allocation.explored == whole.allocation.explored == (rule.exploration == 1)


def test_another_policy_decides_anew_as_it_decided(town: Town) -> None:
    """By relevance the best are shown although they are full, also when it is decided again by fresh loads; by the rule they are not."""
    lawyers = [town.lawyer(cv_score=share / 6, capacidade_mensal=1) for share in range(6)]
    for best in lawyers[4:]:
        town.contract(best, NOON - DAY)
    market, case = town.market(), town.as_case(town.case())
    scored = score_candidates(market, case, HandWeights(), NOON)
    question: dict[str, Any] = {"request_id": UUID(int=8), "at": NOON, "top_n": 2, "new_lawyer_offers": 10}
    shown = {
        name: decide_among(market, case, scored, HAND_WEIGHTS_VERSION, RULE, policy=policy, **question) for name, policy in POLICIES.items()
    }
    assert shown["relevance"].chosen_ids == lawyers[5:3:-1]
    assert shown["relevance_cap"].chosen_ids == lawyers[3:1:-1]
    assert set(shown["price"].chosen_ids).isdisjoint(lawyers[4:])
    town.contract(lawyers[3], NOON)
    fresh = town.market()
    assert decide_anew(fresh, shown["relevance"]).chosen_ids == lawyers[5:3:-1]
    assert decide_anew(fresh, shown["relevance_cap"]).chosen_ids == lawyers[2:0:-1]


def test_whether_a_request_explores_follows_from_its_id(town: Town) -> None:
    """About the configured share of requests explores, always the same ones, and they say so."""
    town.lawyers(6)
    market, case = town.market(), town.as_case(town.case())

    def explored(number: int, share: float) -> bool:
        question: dict[str, Any] = {"request_id": UUID(int=number), "at": NOON, "top_n": 3, "new_lawyer_offers": 10}
        return decide(market, case, HandWeights(), OfferRule(exploration=share), **question).allocation.explored

    found = [explored(number, 0.2) for number in range(600)]
    assert found == [explored(number, 0.2) for number in range(600)]
    assert 0.12 < np.mean(found) < 0.28
    assert not any(explored(number, 0.0) for number in range(50))
    assert all(explored(number, 1.0) for number in range(50))


def test_what_was_decided_is_what_is_written(town: Town) -> None:
    """Request, matches, candidates and offers tell of the same decision, with its numbers."""
    near = {"lat": -23.5, "lng": -46.6}
    lawyers = [town.lawyer(**near, cv_score=share / 5, tempo_resposta_h=5.0, avaliacao_media=4.0) for share in range(6)]
    case = town.case(**near)
    market = town.market()
    decision = ask(town, market, case)
    (written,) = record(town.engine, market, [decision], replace(OFFERING, recorded_candidates=5))
    assert written is decision
    ((*request,),) = town.rows(
        "SELECT id, kind, case_id, status, started_at, model_version, eligible, exploration FROM litgo.match_requests"
    )
    assert request == [decision.request_id, "matching", case, "ok", NOON, HAND_WEIGHTS_VERSION, 6, False]
    matches = town.rows("SELECT * FROM litgo.case_matches ORDER BY position")
    allocation, chosen = decision.allocation, decision.allocation.chosen
    assert [row.lawyer_id for row in matches] == decision.chosen_ids == [lawyers[5], lawyers[4], lawyers[3]]
    assert [row.id for row in matches] == [decision.match_id(position) for position in (1, 2, 3)]
    assert [row.fair_score for row in matches] == pytest.approx(allocation.value[chosen].tolist(), abs=1e-6)
    assert [row.score for row in matches] == pytest.approx(decision.candidates.score[chosen].tolist(), abs=1e-6)
    assert [row.propensity for row in matches] == [1, 1, 1]
    logged = [[getattr(row, f"feature_{name}") for name in "astgqurc"] for row in matches]
    np.testing.assert_array_equal(np.array(logged, dtype=np.float32), decision.candidates.features[chosen])
    assert logged[0][1] is None
    offers = town.rows("SELECT id, lawyer_id, match_id, status, sent_at, expires_at FROM litgo.offers")
    assert {tuple(row) for row in offers} == {
        (decision.offer_id(at), one, decision.match_id(at), "pending", NOON, NOON + DAY) for at, one in enumerate(decision.chosen_ids, 1)
    }
    candidates = town.rows("SELECT lawyer_id, outcome, reason FROM litgo.match_candidates")
    assert {row.lawyer_id: (row.outcome, row.reason) for row in candidates} == {
        **dict.fromkeys(lawyers[3:], ("shown", "value")),
        **dict.fromkeys(lawyers[1:3], ("not_shown", "below_cutoff")),
    }
    touched = town.rows("SELECT id FROM litgo.lawyers WHERE last_offered_at = :at", at=NOON)
    assert {row.id for row in touched} == set(decision.chosen_ids)


def test_showing_without_offering_leaves_lawyers_alone(town: Town) -> None:
    """Without a time to answer nothing is offered and nobody's last offer moves; what was shown is logged."""
    town.lawyers(3)
    case = town.case(status="closed")
    market = town.market()
    record(town.engine, market, [ask(town, market, case)], replace(OFFERING, offer_lifetime=None))
    assert counts(town) == {"match_requests": 1, "case_matches": 3, "match_candidates": 3, "offers": 0}
    assert town.value("SELECT count(last_offered_at) FROM litgo.lawyers") == 0


def test_all_is_written_or_nothing(town: Town) -> None:
    """Of many decisions one that breaks a constraint takes the others and its own first rows with it."""
    town.lawyers(4)
    market = town.market()
    decisions = [ask(town, market, town.case()) for _ in range(3)]
    stranger = replace(decisions[2], ask=replace(decisions[2].ask, request_id=decisions[0].request_id))
    with pytest.raises(IntegrityError):
        record(town.engine, market, [*decisions[:2], stranger], OFFERING)
    assert set(counts(town).values()) == {0}
    assert town.value("SELECT count(last_offered_at) FROM litgo.lawyers") == 0


def test_a_failure_after_the_matches_leaves_none_of_them(town: Town) -> None:
    """Also where it comes last, with the offers: an answer time of nothing breaks their check."""
    town.lawyers(4)
    market = town.market()
    decision = ask(town, market, town.case())
    with pytest.raises(IntegrityError, match="expires_after_sent"):
        record(town.engine, market, [decision], replace(OFFERING, offer_lifetime=timedelta(0)))
    assert set(counts(town).values()) == {0}


@pytest.mark.parametrize("status", ["contracted", "closed", "canceled"])
def test_a_case_that_is_not_open_takes_no_offers(status: str, town: Town) -> None:
    """The caller is told, and nothing is written."""
    town.lawyers(3)
    market, case = town.market(), town.case()
    decision = ask(town, market, case)
    town.execute("UPDATE litgo.cases SET status = :status WHERE id = :id", status=status, id=case)
    with pytest.raises(CaseNotOpen, match=status):
        record(town.engine, market, [decision], OFFERING)
    assert set(counts(town).values()) == {0}


def test_nobody_is_offered_a_case_twice(town: Town) -> None:
    """A second request for the case, decided in ignorance of the first, is given to others."""
    town.lawyers(5)
    case = town.case()
    one, other = town.market(), town.market()
    first, second = ask(town, one, case), ask(town, other, case)
    assert first.chosen_ids == second.chosen_ids
    record(town.engine, one, [first], OFFERING)
    (anew,) = record(town.engine, other, [second], OFFERING)
    assert set(anew.chosen_ids).isdisjoint(first.chosen_ids)
    assert len(anew.chosen_ids) == 2
    assert len(offered(town, case)) == len(set(offered(town, case))) == 5


def test_two_requests_for_a_case_in_one_recording_share_its_lawyers(town: Town) -> None:
    """Decisions that are written together follow one another."""
    town.lawyers(6)
    case = town.case()
    market = town.market()
    decisions = [ask(town, market, case, top_n=2) for _ in range(2)]
    written = record(town.engine, market, decisions, OFFERING)
    assert len({one for decision in written for one in decision.chosen_ids}) == 4


def test_a_lawyer_whom_others_filled_meanwhile_is_noticed(town: Town, database_url: str) -> None:
    """Another process gives the best lawyer all that fits between decision and recording: the case goes to the next ones."""
    best, second, third = (town.lawyer(cv_score=share, max_concurrent_cases=2, capacidade_mensal=2) for share in (1.0, 0.9, 0.8))
    case = town.case()
    market = town.market()
    decision = ask(town, market, case, top_n=2)
    assert decision.chosen_ids == [best, second]
    elsewhere = open_engine(database_url)
    fill(Town(elsewhere), best, 10)
    elsewhere.dispose()
    (written,) = record(town.engine, market, [decision], OFFERING)
    assert written.chosen_ids == [second, third]
    assert sorted(offered(town, case)) == sorted([second, third])
    assert market.loads.in_flight[market.profiles.row[best.bytes]] == 10


def test_a_lawyer_who_left_meanwhile_is_not_offered(town: Town) -> None:
    """Suspended between decision and recording: somebody else is asked."""
    best, second = town.lawyer(cv_score=1.0), town.lawyer(cv_score=0.5)
    market = town.market()
    decision = ask(town, market, town.case(), top_n=1)
    town.execute("UPDATE litgo.lawyers SET status = 'suspended' WHERE id = :id", id=best)
    (written,) = record(town.engine, market, [decision], OFFERING)
    assert written.chosen_ids == [second]


def test_a_list_that_was_filled_up_is_decided_anew_when_somebody_became_free(town: Town) -> None:
    """The full are asked only while nobody else is free, by the database's word."""
    busy, freed = town.lawyer(cv_score=1.0, capacidade_mensal=1), town.lawyer(cv_score=0.1, capacidade_mensal=1)
    fill(town, busy, 5)
    fill(town, freed, 6)
    market = town.market()
    decision = ask(town, market, town.case(), top_n=1)
    assert decision.chosen_ids == [busy]
    assert decision.allocation.filled.tolist() == [True]
    town.execute("UPDATE litgo.offers SET status = 'expired' WHERE lawyer_id = :id", id=freed)
    (written,) = record(town.engine, market, [decision], OFFERING)
    assert written.chosen_ids == [freed]


def test_where_all_are_full_the_list_is_filled_up_all_the_same(town: Town) -> None:
    """The client gets the least loaded ones, marked as such."""
    lawyers = town.lawyers(3, capacidade_mensal=1)
    for at, one in enumerate(lawyers):
        fill(town, one, 5 + at)
    market = town.market()
    (written,) = record(town.engine, market, [ask(town, market, town.case(), top_n=2)], OFFERING)
    assert written.chosen_ids == lawyers[:2]
    reasons = town.rows("SELECT outcome, reason FROM litgo.match_candidates ORDER BY outcome DESC")
    assert [tuple(row) for row in reasons] == [("shown", "filled"), ("shown", "filled"), ("not_shown", "full")]


def test_recording_becomes_part_of_the_callers_transaction(town: Town, engine: Engine) -> None:
    """Given a connection, nothing stays when the caller takes everything back."""
    town.lawyers(3)
    market = town.market()
    decision = ask(town, market, town.case())
    with engine.connect() as connection, connection.begin() as transaction:
        record(connection, market, [decision], OFFERING)
        assert connection.execute(text("SELECT count(*) FROM litgo.offers")).scalar_one() == 3
        transaction.rollback()
    assert set(counts(town).values()) == {0}


def test_last_offered_at_is_not_moved_back_by_a_late_recording(town: Town) -> None:
    """An offer that was decided earlier but written later does not undo the later one's time."""
    lawyer = town.lawyer(last_offered_at=NOON + DAY)
    market = town.market()
    record(town.engine, market, [ask(town, market, town.case())], OFFERING)
    assert town.value("SELECT last_offered_at FROM litgo.lawyers WHERE id = :id", id=lawyer) == NOON + DAY


def test_an_opened_request_is_completed(town: Town, engine: Engine) -> None:
    """Its row exists before the work begins, and says afterwards how long it took and what was answered."""
    town.lawyers(3)
    case, request = town.case(), uuid4()
    with engine.begin() as connection:
        open_request(connection, request_id=request, case_id=case, at=NOON, key="k", request_hash="h")
    assert town.value("SELECT status FROM litgo.match_requests") == "started"
    market = town.market()
    how = Recording(DAY, 20, opened=True, clock=lambda: NOON + timedelta(milliseconds=250), answer=lambda d: f'{{"n": {len(d.chosen)}}}')
    record(engine, market, [ask(town, market, case, request_id=request)], how)
    ((*row,),) = town.rows("SELECT status, duration_ms, answer, idempotency_key, model_version FROM litgo.match_requests")
    assert row == ["ok", 250.0, {"n": 3}, "k", HAND_WEIGHTS_VERSION]


def test_a_failed_request_counts_and_frees_its_key(town: Town, engine: Engine) -> None:
    """The row stays with the error's name; the key can be used again; an answer that comes too late is refused whole."""
    town.lawyers(3)
    case, request = town.case(), uuid4()
    with engine.begin() as connection:
        open_request(connection, request_id=request, case_id=case, at=NOON, key="k", request_hash="h")
    with engine.begin() as connection:
        fail_request(connection, request, TimeoutError("slow"), timedelta(seconds=2))
    ((*row,),) = town.rows("SELECT status, error_class, duration_ms, idempotency_key FROM litgo.match_requests")
    assert row == ["error", "TimeoutError", 2000.0, None]
    market = town.market()
    with pytest.raises(RequestGivenUp):
        record(engine, market, [ask(town, market, case, request_id=request)], replace(OFFERING, opened=True))
    assert counts(town) == {"match_requests": 1, "case_matches": 0, "match_candidates": 0, "offers": 0}


def test_an_answered_request_cannot_fail_afterwards(town: Town, engine: Engine) -> None:
    """What was answered stays answered."""
    town.lawyers(1)
    market = town.market()
    decision = ask(town, market, town.case())
    record(engine, market, [decision], OFFERING)
    with engine.begin() as connection:
        fail_request(connection, decision.request_id, TimeoutError(), timedelta(0))
    assert town.value("SELECT status FROM litgo.match_requests") == "ok"


def test_ids_of_what_follows_are_stable_and_distinct() -> None:
    """Matches, offers and contracts are found again from what they belong to."""
    origin = UUID(int=1)
    assert derived_id(origin, "match 1") == derived_id(origin, "match 1")
    assert len({derived_id(origin, "match 1"), derived_id(origin, "offer 1"), derived_id(UUID(int=2), "match 1")}) == 3


def together(actions: Sequence[Callable[[], object]]) -> list[BaseException]:
    """Start all at once, each in a thread, and wait for them; the errors they ended with."""
    barrier, errors = threading.Barrier(len(actions)), list[BaseException]()

    def run(action: Callable[[], object]) -> None:
        barrier.wait()
        try:
            action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    return errors


def test_sixteen_at_once_never_carry_a_lawyer_above_capacity_while_others_are_free(town: Town, engine: Engine) -> None:
    """Sixteen callers with the same old reading want the same few lawyers: each ends with offers, nobody above capacity, no pair twice."""
    lawyers = town.lawyers(6, max_concurrent_cases=2, capacidade_mensal=2) + town.lawyers(6, capacidade_mensal=30)
    run_equity(engine, NOON - DAY, new_lawyer_offers=10)
    cases = [town.case() for _ in range(16)]
    stale = town.market()
    own = [stale.with_own_loads() for _ in cases]
    decisions = [ask(town, market, case, top_n=3) for market, case in zip(own, cases, strict=True)]
    wide = open_engine(str(engine.url.render_as_string(hide_password=False)), pool_size=16)
    actions = [partial(record, wide, mine, [decision], OFFERING) for mine, decision in zip(own, decisions, strict=True)]
    errors = together(actions)
    wide.dispose()
    assert errors == []
    assert counts(town)["offers"] == 3 * 16
    assert town.value("SELECT count(*) FROM (SELECT FROM litgo.offers GROUP BY case_id, lawyer_id HAVING count(*) > 1) twice") == 0
    fresh = town.market()
    load = fresh.u_eff(np.array([fresh.profiles.row[one.bytes] for one in lawyers]))
    assert load.max() <= 1.0


def test_a_nightly_run_amid_requests_ends_well(town: Town, engine: Engine) -> None:
    """Requests and the equity run lock the same lawyers in different orders; deadlocks are retried on both sides."""
    town.lawyers(12, capacidade_mensal=10)
    cases = [town.case() for _ in range(8)]
    market = town.market()
    own = [market.with_own_loads() for _ in cases]
    decisions = [ask(town, mine, case) for mine, case in zip(own, cases, strict=True)]
    for one in town.rows("SELECT id FROM litgo.lawyers"):
        town.contract(one.id, NOON - DAY)
    actions: list[Callable[[], object]] = [
        partial(record, engine, mine, [decision], OFFERING) for mine, decision in zip(own, decisions, strict=True)
    ]
    actions += [partial(run_equity, engine, NOON - days * DAY, new_lawyer_offers=10) for days in range(2)]
    assert together(actions) == []
    assert counts(town)["offers"] == 24
    assert town.value("SELECT min(cases_30d) FROM litgo.lawyers") == 1


def test_a_deadlock_while_recording_is_retried(town: Town, engine: Engine) -> None:
    """The server ends one of two transactions: the recording is done again, and the caller notices nothing."""
    from psycopg import errors
    from sqlalchemy.exc import OperationalError

    town.lawyers(3)
    market = town.market()
    decision = ask(town, market, town.case())
    broken: list[str] = []

    def fail_once(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "FOR NO KEY UPDATE" in statement and not broken:
            broken.append(statement)
            raise OperationalError(statement, None, errors.DeadlockDetected("deadlock detected"))

    event.listen(engine, "before_cursor_execute", fail_once)
    try:
        record(engine, market, [decision], OFFERING)
    finally:
        event.remove(engine, "before_cursor_execute", fail_once)
    assert len(broken) == 1
    assert counts(town)["offers"] == 3


def test_whoever_never_gets_through_is_told_that_asking_again_is_safe(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last attempt nothing is written and the error says so."""
    lawyers = town.lawyers(4)
    market = town.market()
    decision = ask(town, market, town.case())
    stubborn = recording._fits

    def never_fits(*arguments: Any) -> bool:
        stubborn(*arguments)
        return False

    monkeypatch.setattr(recording, "_fits", never_fits)
    monkeypatch.setattr(recording, "_OPTIMISTIC_ATTEMPTS", 99)
    with pytest.raises(TooBusy, match="nothing was written"):
        record(town.engine, market, [decision], OFFERING)
    assert set(counts(town).values()) == {0}
    assert len(lawyers) == 4


def test_the_moment_of_an_offer_is_what_was_noted(town: Town) -> None:
    """In memory and in the database the chosen lawyers were last offered a case at the same time."""
    town.lawyers(2)
    later: datetime = NOON + timedelta(hours=3)
    market = town.market()
    decision = ask(town, market, town.case(), at=later)
    record(town.engine, market, [decision], OFFERING)
    assert market.loads.last_offered.tolist() == [micros(later)] * 2 == town.market(later).loads.last_offered.tolist()
    np.testing.assert_array_equal(market.loads.in_flight, town.market(later).loads.in_flight)
