"""Explanations: every reason and category, told from what the product itself recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.casework.explanations import (
    AmbiguousLawyer,
    UnknownCase,
    UnknownLawyer,
    explain_case,
    explain_decision,
    explain_lawyer,
    find_lawyer,
    is_absent,
)
from litgo_pipelines.casework.findings import Decision, Finding, LawyerExplanation, band_of
from litgo_pipelines.casework.market import Loads, Market, micros
from litgo_pipelines.casework.matching import Decision as Decided
from litgo_pipelines.casework.matching import decide, note_offers
from litgo_pipelines.casework.recording import Recording, record
from litgo_pipelines.equity.allocation import BAND, OfferRule
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines_tests.casework.conftest import NOON, Town

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RULE = OfferRule(exploration=0.0)
OFFERING = Recording(offer_lifetime=DAY, recorded_candidates=20)
SHOWING = replace(OFFERING, offer_lifetime=None)


def matched(town: Town, case: UUID | None = None, *, how: Recording = OFFERING, rule: OfferRule = RULE, **options: Any) -> Decided:
    """Decide about a case and record it, as serving does."""
    given: dict[str, Any] = {"request_id": uuid4(), "at": NOON, "top_n": 1, "new_lawyer_offers": 0}
    case = town.case() if case is None else case
    market = town.market()
    decision = decide(market, town.as_case(case), HandWeights(), rule, **(given | options))
    note_offers(market, decision)
    (written,) = record(town.engine, market, [decision], how)
    return written


def explained(town: Town, lawyer: UUID, *, days: float = 30, until: datetime = NOON + HOUR, least_peers: int = 30) -> LawyerExplanation:
    with town.engine.connect() as connection:
        return explain_lawyer(connection, lawyer, until - timedelta(days=days), until, least_peers=least_peers)


def only(found: LawyerExplanation) -> Decision:
    (decision,) = found.decisions
    return decision


def test_whoever_was_offered_a_case_is_told_place_numbers_and_criteria(town: Town) -> None:
    """The numbers are those of the decision, and add up; unknown criteria stay unknown."""
    best = town.lawyer(cv_score=1.0, avaliacao_media=5.0)
    town.lawyer(cv_score=0.5)
    town.offer(best, NOON - HOUR)
    decided = matched(town, new_lawyer_offers=10)
    found = only(explained(town, best))
    assert (found.finding, found.reason, found.position) == (Finding.OFFERED, "value", 1)
    assert found.offer is not None
    assert (found.offer.status, found.offer.sent_at) == ("pending", NOON)
    assert found.numbers is not None
    assert found.numbers.score == pytest.approx(decided.candidates.score[decided.allocation.chosen[0]], abs=1e-6)
    assert found.numbers.load == pytest.approx(0.02, abs=0.005)
    assert found.numbers.discount == pytest.approx(0.5 * found.numbers.load)
    assert found.numbers.bonus == pytest.approx(0.05, abs=1e-6)
    assert found.numbers.value == pytest.approx(found.numbers.score - found.numbers.discount + found.numbers.bonus, abs=1e-6)
    assert found.features is not None
    assert (found.features["qualification"], found.features["reviews"], found.features["area_match"]) == (1.0, 1.0, 1.0)
    assert found.features["proximity"] is None
    assert (found.request.eligible, found.request.recorded, found.request.offers_made, found.request.price) == (2, 2, 1, 0.5)


def test_a_lower_result_is_told_with_the_numbers_of_both(town: Town) -> None:
    """`below_cutoff`: the own result, and that of the last one shown."""
    town.lawyer(cv_score=1.0)
    other = town.lawyer(cv_score=0.1)
    matched(town)
    found = only(explained(town, other))
    assert (found.finding, found.reason, found.position, found.offer, found.features) == (
        Finding.NOT_SHOWN,
        "below_cutoff",
        None,
        None,
        None,
    )
    assert found.numbers is not None
    assert found.numbers.value is not None
    assert found.request.cutoff is not None
    assert band_of(found.numbers.value) < band_of(found.request.cutoff)
    assert found.numbers.bonus == 0.0


def test_a_lost_turn_is_not_a_lower_result(town: Town) -> None:
    """`waited_less`: the same band as the last one shown."""
    town.lawyer(last_offered_at=NOON - 2 * DAY)
    later = town.lawyer(last_offered_at=NOON - DAY)
    matched(town)
    found = only(explained(town, later))
    assert (found.finding, found.reason) == (Finding.NOT_SHOWN, "waited_less")
    assert found.numbers is not None
    assert found.numbers.value is not None
    assert found.request.cutoff is not None
    assert band_of(found.numbers.value) == band_of(found.request.cutoff)


@pytest.mark.parametrize("last", [None, NOON - DAY])
def test_whoever_waited_as_long_is_not_told_that_others_waited_longer(last: datetime | None, town: Town) -> None:
    """`tied`: offered the same earlier case, or never any; `waited_less` only for whoever was offered one later than the last chosen."""
    first = town.lawyer(last_offered_at=NOON - 3 * DAY if last else None)
    lawyers = {first, *town.lawyers(2, last_offered_at=last)}
    later = town.lawyer(last_offered_at=NOON - HOUR)
    shown = set(matched(town, top_n=2).chosen_ids)
    (tied,) = lawyers - shown
    assert last is None or first in shown
    assert [only(explained(town, one)).reason for one in (tied, later)] == ["tied", "waited_less"]


def test_a_drawn_order_is_told_as_such(town: Town) -> None:
    """`explored` for whoever was drawn, `not_drawn` for the others, and the request says that it explored."""
    lawyers = town.lawyers(2)
    (shown,) = matched(town, rule=replace(RULE, exploration=1.0)).chosen_ids
    (other,) = set(lawyers) - {shown}
    assert only(explained(town, shown)).reason == "explored"
    found = only(explained(town, other))
    assert (found.finding, found.reason, found.request.exploration) == (Finding.NOT_SHOWN, "not_drawn", True)


def test_the_full_are_told_that_they_are_full(town: Town) -> None:
    """`full`: although the result may be the best."""
    busy = town.lawyer(cv_score=1.0, capacidade_mensal=1)
    town.lawyer(cv_score=0.0)
    for _ in range(5):
        town.offer(busy, NOON - HOUR)
    matched(town, rule=replace(RULE, price=0.0))
    found = only(explained(town, busy))
    assert (found.finding, found.reason) == (Finding.NOT_SHOWN, "full")
    assert found.numbers is not None
    assert found.numbers.value is not None
    assert found.numbers.value > (found.request.cutoff or 0)


def test_the_full_who_fill_up_a_list_are_told_so(town: Town) -> None:
    """`filled`: shown because nobody else had room; where nobody had there is no last one with room."""
    busy = town.lawyer(capacidade_mensal=1)
    for _ in range(5):
        town.offer(busy, NOON - HOUR)
    matched(town)
    found = only(explained(town, busy))
    assert (found.finding, found.reason, found.request.cutoff) == (Finding.OFFERED, "filled", None)


def test_being_shown_to_the_client_is_not_an_offer(town: Town) -> None:
    """A request that makes no offers: shown or not shown, and neither counts among offers made or missed."""
    best, other = town.lawyer(cv_score=1.0), town.lawyer(cv_score=0.1)
    matched(town, how=SHOWING)
    shown = explained(town, best)
    assert (only(shown).finding, only(shown).offer, only(shown).request.offers_made) == (Finding.SHOWN, None, 0)
    assert only(explained(town, other)).finding is Finding.NOT_SHOWN
    assert (shown.summary.compared, shown.summary.compared_for_offers, shown.summary.offered_share) == (1, 0, None)


def test_an_offer_is_told_by_the_request_that_made_it(town: Town) -> None:
    """Shown first, offered later: two requests, two findings; after that the lawyer is not compared for the case again."""
    lawyer, case = town.lawyer(cv_score=1.0), town.case()
    town.lawyers(3, cv_score=0.1)
    matched(town, case, how=SHOWING)
    matched(town, case, at=NOON + HOUR)
    matched(town, case, at=NOON + 2 * HOUR, exclude=frozenset({lawyer}))
    found = explained(town, lawyer, until=NOON + DAY)
    assert [one.finding for one in found.decisions] == [Finding.ALREADY_OFFERED, Finding.OFFERED, Finding.SHOWN]
    assert found.decisions[0].offer == found.decisions[1].offer
    assert found.decisions[0].offer is not None


def test_an_offer_of_a_request_that_was_quicker_counts_as_earlier(town: Town) -> None:
    """It began later but was written first, while the other was still worked on: that one could not choose the lawyer any more."""
    lawyer, case = town.lawyer(cv_score=1.0), town.case()
    town.lawyer(cv_score=0.1)
    matched(town, case, at=NOON + timedelta(seconds=1))
    slow = matched(town, case, at=NOON, exclude=frozenset({lawyer}))
    town.execute("UPDATE litgo.match_requests SET duration_ms = 2000 WHERE id = :id", id=slow.request_id)
    assert [one.finding for one in explained(town, lawyer).decisions] == [Finding.OFFERED, Finding.ALREADY_OFFERED]


def test_beyond_the_record_there_is_a_bound(town: Town) -> None:
    """Compared but not among the best recorded: no numbers are made up, and the least recorded value bounds the result."""
    town.lawyer(cv_score=1.0)
    near, far = town.lawyer(cv_score=0.5), town.lawyer(cv_score=0.1)
    decided = matched(town, how=replace(OFFERING, recorded_candidates=2))
    assert only(explained(town, near)).finding is Finding.NOT_SHOWN
    found = explained(town, far)
    decision = only(found)
    assert (decision.finding, decision.numbers, decision.reason) == (Finding.BEYOND_RECORD, None, None)
    value = float(decided.allocation.value[[decided.names[one] for one in decided.candidates.members].index(far)])
    assert decision.request.least_recorded is not None
    assert value <= decision.request.least_recorded
    assert decision.request.beyond_are_lower
    assert (found.summary.compared, found.summary.compared_recorded, found.summary.offered_share) == (1, 0, 0.0)


def test_a_bound_above_the_last_one_shown_proves_nothing(town: Town) -> None:
    """Where the recorded others are full and have better results, those beyond may have been full as well."""
    best = town.lawyers(3, cv_score=1.0, capacidade_mensal=1)
    for lawyer in best:
        for _ in range(5):
            town.offer(lawyer, NOON - HOUR)
    town.lawyer(cv_score=0.0)
    matched(town, how=replace(OFFERING, recorded_candidates=2), rule=replace(RULE, price=0.0))
    findings = [only(explained(town, lawyer)) for lawyer in best]
    assert sorted(one.finding for one in findings) == [Finding.BEYOND_RECORD, Finding.BEYOND_RECORD, Finding.NOT_SHOWN]
    assert not any(one.request.beyond_are_lower for one in findings)


@pytest.mark.parametrize(
    ("profile", "finding"),
    [
        ({"status": "inactive"}, Finding.INACTIVE),
        ({"status": "suspended"}, Finding.INACTIVE),
        ({"available_until": NOON - DAY}, Finding.ABSENT),
        ({"created_at": NOON + timedelta(minutes=1)}, Finding.JOINED_LATER),
    ],
)
def test_whoever_was_not_compared_is_told_why(profile: dict[str, Any], finding: Finding, town: Town) -> None:
    """By today's register; nothing of it counts as a comparison."""
    town.lawyer()
    matched(town)
    found = explained(town, town.lawyer(**profile))
    assert only(found).finding is finding
    assert found.summary.by_finding[finding] == 1
    assert (found.summary.compared, found.summary.offered_share) == (0, None)


def test_cases_of_other_areas_are_counted_and_not_listed(town: Town) -> None:
    """A further specialty is an area of one's own."""
    lawyer = town.lawyer(primary_area="penal", specialties=["família"])
    town.lawyers(2)
    town.lawyer(primary_area="família")
    for _ in range(3):
        matched(town)
    matched(town, town.case(area="família"))
    found = explained(town, lawyer)
    assert [one.request.area for one in found.decisions] == ["família"]
    assert (found.summary.requests, found.summary.by_finding["other_area"], found.summary.compared) == (4, 3, 1)


def test_a_recorded_decision_outlives_a_change_of_areas(town: Town) -> None:
    """What was recorded is told, whatever the register says today."""
    lawyer = town.lawyer()
    matched(town)
    town.execute("UPDATE litgo.lawyers SET primary_area = 'penal', status = 'inactive' WHERE id = :id", id=lawyer)
    assert only(explained(town, lawyer)).finding is Finding.OFFERED


def test_what_todays_register_cannot_tell_is_not_guessed(town: Town) -> None:
    """Active today, but not among those compared, who all are recorded."""
    lawyer = town.lawyer(status="inactive")
    town.lawyer()
    matched(town)
    town.execute("UPDATE litgo.lawyers SET status = 'active' WHERE id = :id", id=lawyer)
    assert only(explained(town, lawyer)).finding is Finding.NOT_COMPARED


def test_an_expired_record_leaves_what_was_shown(town: Town) -> None:
    """After the log of candidates is gone, whoever was shown is still known, and of the others nothing is."""
    best, other, case = town.lawyer(cv_score=1.0), town.lawyer(cv_score=0.1), town.case()
    matched(town, case)
    town.execute("DELETE FROM litgo.match_candidates")
    shown = only(explained(town, best))
    assert (shown.finding, shown.reason, shown.position) == (Finding.OFFERED, None, 1)
    assert shown.numbers is not None
    assert (shown.numbers.load, shown.numbers.bonus) == (None, pytest.approx(0, abs=1e-6))
    assert only(explained(town, other)).finding is Finding.NO_RECORD
    with town.engine.connect() as connection:
        (request,) = explain_case(connection, case).requests
    assert [(one.lawyer_id, one.outcome, one.reason) for one in request.candidates] == [(best, "shown", None)]
    assert request.beyond is None


def test_records_from_before_values_were_kept_stay_incomplete(town: Town) -> None:
    """A candidate without value gets none; for those shown the match tells it. Nothing is recomputed with today's price."""
    best, other = town.lawyer(cv_score=1.0), town.lawyer(cv_score=0.1)
    matched(town)
    town.execute("UPDATE litgo.match_candidates SET fair_score = NULL, is_new = NULL")
    town.execute("UPDATE litgo.match_requests SET equity_price = NULL")
    missed, shown = only(explained(town, other)).numbers, only(explained(town, best)).numbers
    assert missed is not None
    assert (missed.discount, missed.bonus, missed.value, missed.is_new) == (None, None, None, None)
    assert (missed.score, missed.load) == (pytest.approx(0.7, abs=0.02), 0)
    assert shown is not None
    assert shown.value == pytest.approx(shown.score, abs=1e-6)


def test_only_answered_requests_of_the_period_count(town: Town) -> None:
    """Neither failed ones nor those before or after it; the first moment belongs to the period before."""
    lawyer = town.lawyer()
    for at in (NOON - 2 * DAY, NOON - DAY, NOON, NOON + HOUR):
        matched(town, at=at)
    failed = matched(town, at=NOON - HOUR)
    town.execute("UPDATE litgo.match_requests SET status = 'error', error_class = 'X' WHERE id = :id", id=failed.request_id)
    found = explained(town, lawyer, days=1, until=NOON)
    assert [one.request.at for one in found.decisions] == [NOON]
    assert found.summary.requests == 1
    assert found.record_since == NOON - 2 * DAY


def test_an_empty_record_is_an_answer(town: Town) -> None:
    """No request at all: nothing, and no beginning of the record."""
    found = explained(town, town.lawyer())
    assert (found.decisions, found.load, found.record_since, found.summary.compared) == ((), (), None, 0)


def test_counts_by_reason_are_those_of_the_record(town: Town) -> None:
    """Reasons of shown and not shown ones apart; the share is over requests that made offers."""
    lawyer = town.lawyer(cv_score=1.0)
    town.lawyer(cv_score=0.0)
    for _ in range(2):
        matched(town)
    matched(town, top_n=2, how=SHOWING)
    town.execute("UPDATE litgo.lawyers SET cv_score = 1 - cv_score")
    matched(town)
    summary = explained(town, lawyer).summary
    assert summary.by_reason == {"not_shown:below_cutoff": 1, "shown:value": 3}
    assert (summary.compared, summary.compared_for_offers, summary.offered) == (4, 3, 2)
    assert summary.offered_share == pytest.approx(2 / 3)


def test_load_and_medians_come_from_the_nightly_figures(town: Town) -> None:
    """The lawyer's own nights, and medians over the area on the last of them; too few lawyers have none."""
    lawyers = town.lawyers(3, max_concurrent_cases=4)
    town.lawyer(primary_area="penal")
    for index, lawyer in enumerate(lawyers):
        for _ in range(index + 1):
            town.contract(lawyer, NOON - 3 * DAY)
            town.offer(lawyer, NOON - 3 * DAY)
    for at in (NOON - 40 * DAY, NOON - 2 * DAY, NOON - DAY):
        run_equity(town.engine, at, new_lawyer_offers=10)
    found = explained(town, lawyers[2], least_peers=3)
    assert [(one.as_of, one.cases_30d, one.utilisation) for one in found.load] == [(NOON - 2 * DAY, 3, 0.75), (NOON - DAY, 3, 0.75)]
    assert (found.peers.area, found.peers.lawyers, found.peers.utilisation, found.peers.offers) == ("civil", 3, 0.5, 2)
    few = explained(town, lawyers[2], least_peers=4).peers
    assert (few.lawyers, few.utilisation, few.offers) == (3, None, None)


def test_one_decision_is_found_however_old(town: Town) -> None:
    """For one case all its requests are told, with the load of the days before; also where the area is another."""
    lawyer, stranger, case = town.lawyer(), town.lawyer(primary_area="penal"), town.case()
    run_equity(town.engine, NOON - DAY, new_lawyer_offers=10)
    matched(town, case)
    matched(town)
    with town.engine.connect() as connection:
        found = explain_decision(connection, lawyer, case, NOON + 400 * DAY, least_peers=30)
        other = explain_decision(connection, stranger, case, NOON, least_peers=30)
        never = explain_decision(connection, lawyer, town.case(), NOON, least_peers=30)
    assert [(one.request.case_id, one.finding) for one in found.decisions] == [(case, Finding.OFFERED)]
    assert [one.as_of for one in found.load] == [NOON - DAY]
    assert only(other).finding is Finding.OTHER_AREA
    assert never.decisions == ()


def test_a_case_is_explained_with_everybody_recorded(town: Town) -> None:
    """Shown ones first, then by value; who was compared beyond is counted; who is gone has no name."""
    lawyers = [town.lawyer(name=f"Nome {share}", cv_score=share / 4) for share in range(5)]
    case = town.case()
    matched(town, case, how=replace(OFFERING, recorded_candidates=3))
    matched(town, case, how=SHOWING, at=NOON + HOUR, top_n=2, exclude=frozenset({lawyers[4]}))
    town.execute("UPDATE litgo.match_candidates SET lawyer_id = :gone WHERE lawyer_id = :id", gone=uuid4(), id=lawyers[2])
    with town.engine.connect() as connection:
        found = explain_case(connection, case)
    newest, first = found.requests
    assert [(one.name, one.outcome, one.reason) for one in first.candidates] == [
        ("Nome 4", "shown", "value"),
        ("Nome 3", "not_shown", "below_cutoff"),
        (None, "not_shown", "below_cutoff"),
    ]
    assert (first.beyond, newest.beyond) == (2, 0)
    assert first.candidates[0].offer is not None
    assert newest.candidates[0].offer is None
    assert (newest.request.offers_made, newest.request.at) == (0, NOON + HOUR)


def test_a_case_that_nobody_was_compared_for_has_an_empty_request(town: Town) -> None:
    """The request is told, with nobody; a case without requests has none."""
    case = town.case(area="espacial")
    matched(town, case)
    with town.engine.connect() as connection:
        (request,) = explain_case(connection, case).requests
        assert (request.candidates, request.beyond) == ((), 0)
        assert explain_case(connection, town.case()).requests == ()


def test_who_or_what_is_not_there_is_an_error(town: Town) -> None:
    """One line each."""
    lawyer = town.lawyer()
    with town.engine.connect() as connection:
        with pytest.raises(UnknownLawyer):
            explain_lawyer(connection, uuid4(), NOON - DAY, NOON, least_peers=30)
        with pytest.raises(UnknownCase):
            explain_decision(connection, lawyer, uuid4(), NOON, least_peers=30)
        with pytest.raises(UnknownCase):
            explain_case(connection, uuid4())


def test_a_lawyer_is_found_by_oab_number_however_it_is_spelled(town: Town) -> None:
    """On both sides; the suffix and the section are heeded, and the state stands in for a missing section."""
    main, further, elsewhere = (town.lawyer(oab_number=one) for one in ("OAB/SP 123.456", "SP123456-A", "123456/RJ"))
    bare = town.lawyer(oab_number="777", state="MG")
    town.lawyer(oab_number="sem número")
    town.lawyer()
    with town.engine.connect() as connection:
        for spelling, lawyer in {
            "sp123456": main,
            "123456 SP": main,
            "OAB/SP 123.456-A": further,
            "123.456-A": further,
            "RJ 0123456": elsewhere,
            "MG 777": bare,
            "777": bare,
        }.items():
            assert find_lawyer(connection, spelling) == lawyer, spelling
        for unknown in ("MG 123456", "SP 777", "SP 123456-B", "12345"):
            with pytest.raises(UnknownLawyer, match="--lawyer"):
                find_lawyer(connection, unknown)
        with pytest.raises(UnknownLawyer, match="no OAB number"):
            find_lawyer(connection, "sem número")
        with pytest.raises(AmbiguousLawyer, match=str(elsewhere)):
            find_lawyer(connection, "123456")


_MOMENTS = st.none() | st.integers(0, 6).map(lambda days: NOON + timedelta(days=days))


@given(until=_MOMENTS, since=_MOMENTS, at=st.integers(0, 6).map(lambda days: NOON + timedelta(days=days)))
def test_absence_is_what_matching_takes_it_for(until: datetime | None, since: datetime | None, at: datetime) -> None:
    """The same rule as `Market.available`, whatever was declared."""
    none = np.zeros(1)
    far, never = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    loads = Loads(
        active=np.array([True]),
        until=np.array([far if until is None else micros(until)]),
        since=np.array([never if since is None else micros(since)]),
        capacity=none,
        last_offered=none.astype(np.int64),
        cases=none,
        in_flight=none,
        p_win=0.2,
    )
    moment = micros(at)
    assert moment is not None
    (available,) = Market(None, loads, NOON).available(np.array([0]), moment)  # type: ignore[arg-type]  # profiles are not looked at
    assert is_absent(until, since, at) == (not available)


@given(st.integers(-300, 100), st.integers(0, 50), st.sampled_from([0.0, 0.0025, 0.005, 0.01, 0.0199]))
def test_a_value_on_the_edge_keeps_its_band_through_the_record(band: int, load: int, above: float) -> None:
    """Single precision, in which values are recorded, may put an edge a little below itself; and no value is moved a band up."""
    value = (band * BAND + above + load / 50) - load / 50
    assert band_of(float(np.float32(value))) == np.floor(value / BAND + 1e-9) == band


@given(st.floats(-2, 2))
def test_bands_are_those_of_the_offer_rule(value: float) -> None:
    """A recorded value lies in the band that `allocate` counted it in."""
    assert band_of(value) == np.floor(value / BAND + 1e-9)
