"""What the record says of how offers are answered, and what is estimated from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litgo_pipelines.casework.market import micros
from litgo_pipelines.casework.matching import Decision, decide_among
from litgo_pipelines.casework.rehearsal import WINDOW
from litgo_pipelines.casework.responses import Answers, ResponseModel, TooLittleRecorded, fit_responses, read_answers
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS
from litgo_pipelines_tests.casework import hamlet
from litgo_pipelines_tests.casework.conftest import NOON, Town

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SECOND = timedelta(seconds=1)
SENT = NOON - 10 * DAY
MODEL = "7"


def request(town: Town, case: UUID, at: datetime = SENT, model: str = MODEL) -> UUID:
    return town.add("match_requests", kind="matching", case_id=case, status="ok", started_at=at, model_version=model)


def shown(
    town: Town,
    asked: UUID,
    case: UUID,
    position: int,
    status: str = "expired",
    at: datetime = SENT,
    u_eff: float | None = 0.5,
    **offer: Any,
) -> UUID:
    """A lawyer shown at a position with score position / 10, and the offer that was made; the lawyer."""
    lawyer = town.lawyer()
    features = dict.fromkeys(FEATURE_COLUMNS, 0.5)
    numbers = {"raw_score": 0.0, "score": position / 10, "equity_price": 0.0, "fair_score": 0.0, "propensity": 1.0}
    match = town.add(
        "case_matches", request_id=asked, case_id=case, lawyer_id=lawyer, position=position, created_at=at, **features, **numbers
    )
    if u_eff is not None:
        seen = {"score": position / 10, "u_eff": u_eff, "outcome": "shown", "reason": "value"}
        town.execute(
            "INSERT INTO litgo.match_candidates (request_id, lawyer_id, score, u_eff, outcome, reason) "
            "VALUES (:request, :lawyer, :score, :u_eff, :outcome, :reason)",
            request=asked,
            lawyer=lawyer,
            **seen,
        )
    given = {"sent_at": at, "expires_at": at + DAY, "responded_at": at + 2 * HOUR if status in {"interested", "declined"} else None}
    town.add("offers", case_id=case, lawyer_id=lawyer, match_id=match, status=status, **(given | offer))
    return lawyer


def read(town: Town, as_of: datetime = NOON, model: str = MODEL) -> Answers:
    with town.engine.connect() as connection:
        return read_answers(connection, as_of, model)


def test_each_status_says_whether_the_lawyer_was_interested(town: Town) -> None:
    """Whoever answered that before the case was closed was; silence, however it ended, and refusals of any kind were not. What may
    still be answered, and what nobody was matched for, says nothing."""
    case = town.case(created_at=SENT)
    asked = request(town, case)
    told: list[tuple[dict[str, Any], bool]] = [
        ({"status": "closed", "responded_at": SENT + 4 * HOUR}, True),
        ({"status": "closed"}, False),
        ({"status": "expired"}, False),
        ({"status": "declined", "decline_reason": "capacity"}, False),
        ({"status": "declined", "decline_reason": "fee"}, False),
        ({"status": "pending"}, False),
        ({"status": "interested"}, True),
    ]
    for place, (offer, _) in enumerate(told, start=1):
        shown(town, asked, case, place, **offer)
    shown(town, asked, case, len(told) + 1, status="pending", expires_at=NOON + SECOND)
    town.offer(town.lawyer(), SENT, status="interested")
    found = read(town)
    assert found.position.tolist() == list(range(1, len(told) + 1))
    assert found.accepted.tolist() == [accepted for _, accepted in told]
    assert not found.won.any()
    np.testing.assert_allclose(found.score, np.arange(1, 8) / 10, rtol=1e-6)
    hours = [4, np.nan, np.nan, 2, 2, np.nan, 2]
    np.testing.assert_allclose(found.answer_us / 3.6e9, hours)
    assert np.isnan(found.sign_us).all()


def test_who_got_the_contract_was_interested_whatever_the_offer_says(town: Town) -> None:
    """The offer of a decided case is closed, with or without the moment of the answer; a contract of later is not known yet."""
    case = town.case(created_at=SENT)
    asked = request(town, case)
    silent, answered, later = (
        shown(town, asked, case, 1, "closed"),
        shown(town, asked, case, 2, "closed", responded_at=SENT + HOUR),
        shown(town, asked, case, 3, "closed"),
    )
    town.contract(silent, SENT + 30 * HOUR, case=case, status="closed")
    town.contract(later, NOON + SECOND, case=case, status="canceled")
    town.contract(answered, SENT + HOUR)
    found = read(town)
    assert found.accepted.tolist() == [True, True, False]
    assert found.won.tolist() == [True, False, False]
    np.testing.assert_allclose(found.sign_us / 3.6e9, [30, np.nan, np.nan])
    assert not found.canceled.any()


def test_a_canceled_contract_was_won_and_did_not_last(town: Town) -> None:
    """Signed anew by the same lawyer it is one offer still, which came to a contract that lasts; by another, both won."""
    again, other = town.case(created_at=SENT), town.case(created_at=SENT + HOUR)
    same = shown(town, request(town, again), again, 1, "closed")
    town.contract(same, SENT + 20 * HOUR, "canceled", again)
    town.contract(same, SENT + 60 * HOUR, "active", again)
    asked = request(town, other, SENT + HOUR)
    first, second = (shown(town, asked, other, place, "closed", SENT + HOUR) for place in (1, 2))
    town.contract(first, SENT + 20 * HOUR, "canceled", other)
    town.contract(second, SENT + 60 * HOUR, "active", other)
    found = read(town)
    assert found.case.tolist() == [0, 0, 1]
    assert found.won.tolist() == [True, True, True]
    assert found.canceled.tolist() == [True, False, False]
    np.testing.assert_allclose(found.sign_us / 3.6e9, [19, 59, 60])


def test_two_requests_of_a_case_are_one_case(town: Town) -> None:
    """A client who asks again is shown others, from the first place on; in between, others asked."""
    case, other = town.case(created_at=SENT), town.case(created_at=SENT)
    first, between, second = request(town, case), request(town, other, SENT + HOUR), request(town, case, SENT + 2 * HOUR)
    for place in (1, 2):
        shown(town, first, case, place)
        shown(town, between, other, place, at=SENT + HOUR)
        shown(town, second, case, place, at=SENT + 2 * HOUR)
    found = read(town)
    assert found.position.tolist() == [1, 2] * 3
    assert found.case.tolist() == [0, 0, 1, 1, 0, 0]


def test_offers_of_three_to_thirty_three_days_ago_are_read(town: Town) -> None:
    """What was sent later may not be settled; the newest come first."""
    moments = [NOON - 33 * DAY, NOON - 33 * DAY + SECOND, NOON - 3 * DAY, NOON - 3 * DAY + SECOND]
    for place, at in enumerate(moments, start=1):
        case = town.case(created_at=at)
        shown(town, request(town, case, at), case, place, at=at)
    assert read(town).position.tolist() == [3, 2]


def test_promises_are_comparable_with_those_of_the_same_ranker_alone(town: Town) -> None:
    """And loads are known where they were recorded."""
    for place, (model, u_eff) in enumerate([(MODEL, 0.25), ("6", 0.5), (MODEL, None)], start=1):
        case = town.case(created_at=SENT)
        shown(town, request(town, case, SENT - place * HOUR, model), case, place, at=SENT - place * HOUR, u_eff=u_eff)
    found = read(town)
    assert found.comparable.tolist() == [True, False, True]
    np.testing.assert_equal(found.u_eff, [0.25, 0.5, np.nan])


def test_nothing_recorded_is_too_little(town: Town) -> None:
    """Said with numbers, and what would be enough."""
    with pytest.raises(TooLittleRecorded, match="0 settled offers and 0 contracts in 30 days; 200 and 50 are needed"):
        fit_responses(read(town))


TRUE = ResponseModel(intercept=-0.4, slope=1.6, load=-0.9, liking=2.0, first=0.7, signs=0.8, answer_us=5, sign_us=7)


def made_by(model: ResponseModel, cases: int, offers: int = 6, seed: int = 1, comparable: bool = True) -> Answers:
    """A record in which lawyers and clients answer as a model says."""
    rng = np.random.default_rng(seed)
    score, u_eff = rng.uniform(0.1, 0.9, (cases, offers)), rng.uniform(0, 1.2, (cases, offers))
    accepted = rng.random((cases, offers)) < model.acceptance(score, u_eff)
    weight = model.liking * score - model.first * np.log(np.arange(1, offers + 1)) + rng.gumbel(size=(cases, offers))
    best = np.argmax(np.where(accepted, weight, -np.inf), axis=1)
    won = (np.arange(offers) == best[:, None]) & accepted & (rng.random(cases) < model.signs)[:, None]
    return Answers(
        case=np.repeat(np.arange(cases), offers),
        position=np.tile(np.arange(1, offers + 1), cases),
        score=score.ravel(),
        comparable=np.full(cases * offers, comparable),
        u_eff=u_eff.ravel(),
        accepted=accepted.ravel(),
        won=won.ravel(),
        answer_us=np.where(accepted, float(model.answer_us), np.nan).ravel(),
        sign_us=np.where(won, float(model.sign_us), np.nan).ravel(),
        canceled=np.zeros(cases * offers, dtype=bool),
    )


def test_what_made_a_record_is_found_in_it() -> None:
    """Acceptance by score and load, choice by score and place, share of cases that are signed, and how long it takes."""
    found = fit_responses(made_by(TRUE, 2500))
    assert found.intercept == pytest.approx(TRUE.intercept, abs=0.12)
    assert found.slope == pytest.approx(TRUE.slope, abs=0.12)
    assert found.load == pytest.approx(TRUE.load, abs=0.15)
    assert found.liking == pytest.approx(TRUE.liking, abs=0.35)
    assert found.first == pytest.approx(TRUE.first, abs=0.12)
    assert found.signs == pytest.approx(TRUE.signs, abs=0.03)
    assert (found.answer_us, found.sign_us) == (5, 7)


def test_contracts_that_were_canceled_do_not_last() -> None:
    """They are part of what clients chose, and not of what comes of a case."""
    record = made_by(TRUE, 2500)
    half = record.won & (record.case % 2 == 0)
    found = fit_responses(replace(record, canceled=half))
    assert found.signs == pytest.approx(TRUE.signs / 2, abs=0.03)
    assert found.first == fit_responses(record).first


def test_as_many_contracts_are_expected_as_there_were() -> None:
    """Though lawyers are drawn one by one, and some cases please nobody: what is left of interest is signed less often."""
    record = made_by(replace(TRUE, load=0.0), 1500)
    pleasing = record.case % 3 > 0
    lived = replace(record, accepted=record.accepted & pleasing, won=record.won & pleasing)
    found = fit_responses(lived)
    refused = 1 - found.acceptance(lived.score, lived.u_eff).reshape(-1, 6)
    assert found.signs * np.sum(1 - refused.prod(axis=1)) == pytest.approx(lived.won.sum(), rel=0.01)
    assert found.signs < TRUE.signs - 0.05


def test_the_scores_of_another_ranker_say_nothing_of_liking_and_acceptance() -> None:
    """The ranker's promises are then taken as they are; that clients look at who stands first is known all the same."""
    found = fit_responses(made_by(TRUE, 800, comparable=False))
    assert (found.intercept, found.slope, found.load, found.liking) == (0.0, 1.0, 0.0, 0.0)
    assert found.first == pytest.approx(TRUE.first, abs=0.25)


def test_few_own_scores_are_not_generalised_from() -> None:
    """Below 500 offers with a recorded load, promises are taken as they are."""
    record = made_by(TRUE, 100)
    few = np.arange(600) < 499
    assert fit_responses(replace(record, u_eff=np.where(few, record.u_eff, np.nan))).slope == 1.0
    assert fit_responses(replace(record, u_eff=np.where(np.arange(600) < 500, record.u_eff, np.nan))).slope != 1.0


def test_too_few_offers_or_contracts_are_refused() -> None:
    """Each for itself: 200 offers and 50 contracts suffice."""
    record = made_by(replace(TRUE, intercept=3.0, signs=1.0), 50, 4)
    assert int(record.won.sum()) == 50
    fit_responses(record)
    with pytest.raises(TooLittleRecorded, match="200 settled offers and 49 contracts"):
        fit_responses(replace(record, won=record.won & (record.case > 0)))
    fewer = {name: values[1:] for name, values in vars(record).items()}
    with pytest.raises(TooLittleRecorded, match="199 settled offers"):
        fit_responses(Answers(**fewer))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(60, 120), st.floats(-1, 1), st.floats(-1, 2))
def test_estimates_stay_within_reason_whatever_was_recorded(seed: int, cases: int, intercept: float, load: float) -> None:
    """Finite; a better score never repels, load never attracts, and the share of cases signed is a share."""
    record = made_by(ResponseModel(intercept=intercept + 2, slope=-1.0, load=load, signs=1.0), cases, 5, seed)
    found = fit_responses(record)
    assert np.isfinite(list(vars(found).values())).all()
    assert found.slope >= 0 >= found.load
    assert abs(found.liking) <= 10
    assert abs(found.first) <= 5
    assert 0 < found.signs <= 1


def decide(number: int, count: int = 5, score: float = 0.5, cases: float = 0.0) -> Decision:
    market = hamlet.hamlet(count, cases=cases)
    case = hamlet.a_case(number)
    rule = OfferRule(exploration=0.0)
    given: dict[str, Any] = {"request_id": case.id, "at": NOON, "top_n": count, "new_lawyer_offers": 0}
    return decide_among(market, case, hamlet.all_of(market, score), MODEL, rule, **given)


NOBODY, EVERYBODY = ResponseModel(intercept=-50.0), ResponseModel(intercept=50.0, signs=1.0)
UNUSED = np.zeros(5)


def test_refused_offers_are_free_after_an_answer_accepted_ones_when_the_client_has_chosen() -> None:
    """The contract is signed at that moment, and counts for 30 days."""
    sent = micros(NOON)
    refused = NOBODY(decide(1), UNUSED)
    assert refused.contract is None
    assert refused.free_at.tolist() == [sent + NOBODY.answer_us] * 5
    accepted = EVERYBODY(decide(1), UNUSED)
    assert accepted.free_at.tolist() == [sent + EVERYBODY.sign_us] * 5
    assert accepted.contract is not None
    assert accepted.contract.lawyer in decide(1).chosen
    assert accepted.contract[1:] == (sent + EVERYBODY.sign_us, sent + EVERYBODY.sign_us + WINDOW)
    assert replace(EVERYBODY, signs=0.0)(decide(1), UNUSED).contract is None


def test_offers_are_answered_as_often_as_the_model_says() -> None:
    """Over many cases the shares of accepted offers and of signed cases are those of the model, at the load of the decision."""
    model = ResponseModel(intercept=0.3, slope=1.2, load=-1.0, signs=0.6)
    found = [(one, model(one, UNUSED)) for one in (decide(number, score=0.4, cases=5.0) for number in range(1500))]
    accepted = [bool(free > micros(NOON) + model.answer_us) for _, reaction in found for free in reaction.free_at]
    expected = model.acceptance(np.array([0.4]), np.array([0.5]))[0]
    assert np.mean(accepted) == pytest.approx(expected, abs=0.02)
    signed = [reaction.contract is not None for _, reaction in found]
    assert np.mean(signed) == pytest.approx(0.6 * (1 - (1 - expected) ** 5), abs=0.04)


def test_clients_choose_by_place_as_the_model_says() -> None:
    """Among five equal lawyers who are all interested, the place decides in proportion to 1 / place^first."""
    model = replace(EVERYBODY, first=1.0)
    places = np.zeros(5)
    for number in range(1500):
        decision = decide(number)
        contract = model(decision, UNUSED).contract
        assert contract is not None
        places[decision.chosen.tolist().index(contract.lawyer)] += 1
    weight = 1 / np.arange(1, 6)
    np.testing.assert_allclose(places / 1500, weight / weight.sum(), atol=0.04)


@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(-3, 3), st.floats(0, 3))
def test_a_lawyer_is_in_the_same_mood_whoever_else_is_shown(number: int, count: int, intercept: float, more: float) -> None:
    """Whether a lawyer accepts a case follows from both alone; where all are readier, who accepted still does."""
    model = ResponseModel(intercept=intercept)

    def accepting(given: ResponseModel, shown: int) -> set[int]:
        decision = decide(number, shown)
        free_at = given(decision, UNUSED).free_at
        return {int(who) for who, free in zip(decision.chosen, free_at, strict=True) if free > micros(NOON) + given.answer_us}

    alone, together = accepting(model, count), accepting(model, 5)
    assert alone == {who for who in together if who < count}
    assert together <= accepting(replace(model, intercept=intercept + more), 5)
