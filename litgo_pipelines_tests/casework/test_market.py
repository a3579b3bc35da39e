"""The lawyers in memory: who is there, how busy, and for how long a reading holds."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.casework.market import Market, micros, read_market, read_p_win, refresh_loads
from litgo_pipelines.equity.allocation import never
from litgo_pipelines.ranking.features import PRIMARY_AREA_MATCH, SPECIALTY_AREA_MATCH
from litgo_pipelines.ranking.text import vectorise
from litgo_pipelines_tests.casework.conftest import AREA, NOON, Town

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MONTH = timedelta(days=30)


def _available(market: Market, at: datetime) -> list[bool]:
    moment = micros(at)
    assert moment is not None
    found: list[bool] = market.available(np.arange(len(market.profiles.ids)), moment).tolist()
    return found


ABSENCES = list(itertools.product([None, -1, 0, 1], [None, -1, 0, 1]))


@pytest.mark.parametrize(("until", "since"), ABSENCES)
def test_an_absence_is_what_was_declared(until: int | None, since: int | None, town: Town) -> None:
    """Until says from when a lawyer is away, from says from when again there; either may be missing, from before until means not yet."""
    town.lawyer(
        available_until=None if until is None else NOON + until * HOUR, available_from=None if since is None else NOON + since * HOUR
    )
    if until is None:
        expected = since is None or since <= 0
    elif since is None or since <= until:
        # Whoever came back before leaving is there between the two.
        expected = until > 0 and (since is None or since <= 0)
    else:
        expected = not until <= 0 < since
    assert _available(town.market(), NOON) == [expected]


def test_only_the_active_are_available(town: Town) -> None:
    """Inactive and suspended lawyers are not eligible."""
    ids = [town.lawyer(status=status) for status in ("active", "inactive", "suspended")]
    market = town.market()
    found = dict(zip(market.profiles.uuids, _available(market, NOON), strict=True))
    assert [found[one] for one in ids] == [True, False, False]


def test_load_is_the_nightly_count_and_what_was_signed_since(town: Town) -> None:
    """A contract of today counts at once, one that the night counted does not count twice, cancelled and later ones not at all."""
    lawyer = town.lawyer()
    town.contract(lawyer, NOON - 2 * DAY)
    run_equity(town.engine, NOON - DAY, new_lawyer_offers=10)
    town.contract(lawyer, NOON - HOUR)
    town.contract(lawyer, NOON, status="canceled")
    town.contract(lawyer, NOON + HOUR)
    assert town.market().loads.cases.tolist() == [2]
    assert town.market(NOON + HOUR).loads.cases.tolist() == [3]


def test_without_any_night_the_last_thirty_days_are_counted(town: Town) -> None:
    """A marketplace that has no snapshot yet does not believe the column's default."""
    lawyer = town.lawyer(cases_30d=7)
    town.contract(lawyer, NOON - MONTH + HOUR)
    town.contract(lawyer, NOON - MONTH - HOUR)
    assert town.market().loads.cases.tolist() == [1]


FLIGHTS: dict[str, tuple[dict[str, Any], int]] = {
    "pending": ({"status": "pending", "hours": 24}, 1),
    "pending but run out": ({"status": "pending", "hours": 1}, 0),
    "interested": ({"status": "interested", "hours": 24}, 1),
    "interested after it would have run out": ({"status": "interested", "hours": 1}, 1),
    "declined": ({"status": "declined"}, 0),
    "expired": ({"status": "expired"}, 0),
    "closed": ({"status": "closed"}, 0),
}


@pytest.mark.parametrize("what", FLIGHTS)
def test_an_offer_in_flight_is_one_that_can_still_become_a_case(what: str, town: Town) -> None:
    """Pending within its time, or interested; not one that ran out or was answered with no."""
    given, expected = FLIGHTS[what]
    town.offer(town.lawyer(), NOON - 2 * HOUR, **given)
    assert town.market().loads.in_flight.tolist() == [expected]


def test_an_offer_for_a_case_that_has_a_contract_is_not_in_flight(town: Town) -> None:
    """Whoever got the case, the other offers for it cannot become one; after a cancellation they can again."""
    lawyer, winner = town.lawyers(2)
    case = town.case()
    town.offer(lawyer, NOON - HOUR, status="interested", case=case)
    contract = town.contract(winner, case=case)
    assert town.market().loads.in_flight.sum() == 0
    town.execute("UPDATE litgo.contracts SET status = 'canceled' WHERE id = :id", id=contract)
    assert town.market().loads.in_flight.sum() == 1


def test_p_win_is_contracts_per_offer_drawn_towards_one_in_five(town: Town) -> None:
    """With nothing to go by it is .2; facts of the last month move it; it never exceeds 1."""
    with town.engine.connect() as connection:
        assert read_p_win(connection, NOON) == pytest.approx(0.2)
    lawyers = town.lawyers(3)
    for one in lawyers:
        town.offer(one, NOON - 2 * DAY, status="declined")
    town.offer(lawyers[0], NOON - HOUR)
    town.contract(lawyers[0], NOON - DAY)
    town.contract(lawyers[1], NOON - DAY, status="canceled")
    with town.engine.connect() as connection:
        assert read_p_win(connection, NOON) == pytest.approx(21 / 103)
    for _ in range(90):
        town.contract(lawyers[2], NOON - DAY)
    with town.engine.connect() as connection:
        assert read_p_win(connection, NOON) == 1.0


def test_profiles_say_what_is_known_and_that_the_rest_is_not(town: Town) -> None:
    """Unknown numbers are NaN; never offered is before every time; ids ascend."""
    ids = town.lawyers(5)
    known = town.lawyer(lat=-23.5, lng=-46.6, cv_score=0.5, tempo_resposta_h=3, avaliacao_media=4, kpi_softskill=0.25, last_offered_at=NOON)
    market = town.market()
    profiles = market.profiles
    assert profiles.uuids == sorted([*ids, known])
    assert profiles.ids.tobytes() == b"".join(one.bytes for one in profiles.uuids)
    row = profiles.row[known.bytes]
    columns = (profiles.lat, profiles.lng, profiles.qualification, profiles.response_h, profiles.rating, profiles.soft_skill)
    assert [column[row] for column in columns] == [-23.5, -46.6, 0.5, 3, 4, 0.25]
    assert all(np.isnan(np.delete(column, row)).all() for column in columns)
    assert market.loads.last_offered[row] == micros(NOON)
    assert np.all(np.delete(market.loads.last_offered, row) == never())


def test_a_track_record_is_the_reviews_up_to_the_moment(town: Town) -> None:
    """Won and lost count, settled does not; offers received are counted; later facts are not seen."""
    lawyer, other = town.lawyers(2)
    for outcome, at in (("won", NOON), ("won", NOON - DAY), ("lost", NOON), ("settled", NOON), ("won", NOON + HOUR)):
        town.review(town.contract(lawyer, NOON - 9 * DAY, status="closed"), lawyer, outcome, at)
    town.offer(lawyer, NOON)
    town.offer(lawyer, NOON + HOUR)
    profiles = town.market().profiles
    row, empty = profiles.row[lawyer.bytes], profiles.row[other.bytes]
    assert (profiles.won[row], profiles.lost[row], profiles.received[row]) == (2, 1, 1)
    assert (profiles.won[empty], profiles.lost[empty], profiles.received[empty]) == (0, 0, 0)


def test_a_lawyer_is_described_by_the_cases_handled_lately(town: Town) -> None:
    """The sum of their texts' vectors, the newest twenty, without cancelled ones; who handled none has nothing."""
    lawyer, other = town.lawyers(2)
    for at in range(25):
        town.contract(lawyer, NOON - at * HOUR, case=town.case(summary=f"assunto número{at}"))
    town.contract(lawyer, NOON, status="canceled", case=town.case(summary="cancelado"))
    profiles = town.market().profiles
    expected = vectorise([f"assunto número{at}" for at in range(20)]).sum(axis=0)
    np.testing.assert_allclose(profiles.texts[profiles.row[lawyer.bytes]], expected, rtol=1e-5)
    assert not profiles.texts[profiles.row[other.bytes]].any()


def test_texts_are_read_again_only_where_they_changed(town: Town) -> None:
    """An earlier reading gives the same result as none, also for who got a case since and for who joined."""
    first, second = town.lawyers(2)
    town.contract(first, NOON - DAY, case=town.case(summary="aluguel atrasado"))
    town.contract(second, NOON - DAY, case=town.case(summary="voo cancelado"))
    before = town.market()
    assert before.profiles.handled.keys() == {first.bytes, second.bytes}
    town.contract(second, NOON, case=town.case(summary="mala extraviada"))
    town.contract(town.lawyer(), NOON, case=town.case(summary="divórcio"))
    with town.engine.connect() as connection:
        known, fresh = read_market(connection, NOON, before.profiles), read_market(connection, NOON)
    assert known.profiles.handled == fresh.profiles.handled
    np.testing.assert_allclose(known.profiles.texts, fresh.profiles.texts, rtol=1e-6)


def test_an_area_is_practised_by_whoever_names_it(town: Town) -> None:
    """The primary area counts fully, a further one less, and once for who names it twice."""
    primary = town.lawyer(primary_area="penal", specialties=["penal", "civil"])
    further = town.lawyer(primary_area=AREA, specialties=["penal"])
    profiles = town.market().profiles
    pool = profiles.pools["penal"]
    found = {profiles.uuids[member]: match for member, match in zip(pool.members.tolist(), pool.match.tolist(), strict=True)}
    assert found == {primary: PRIMARY_AREA_MATCH, further: SPECIALTY_AREA_MATCH}
    assert "ambiental" not in profiles.pools


def test_loads_are_refreshed_while_the_lawyers_are_the_same(town: Town) -> None:
    """A cheap reading suffices until somebody joins; then all must be read."""
    lawyer = town.lawyer()
    market = town.market()
    town.offer(lawyer, NOON)
    with town.engine.connect() as connection:
        refreshed = refresh_loads(connection, market, NOON)
    assert refreshed is not None
    assert refreshed.loads.in_flight.tolist() == [1]
    assert refreshed.profiles is market.profiles
    town.lawyer()
    with town.engine.connect() as connection:
        assert refresh_loads(connection, market, NOON) is None


def test_offers_are_noted_before_the_next_reading(town: Town) -> None:
    """Load, offers received and last offer follow at once, and never go back in time; a copy of one's own hides it from others."""
    town.lawyers(2)
    market = town.market()
    own = market.with_own_loads()
    members = np.array([1])
    before = market.u_eff(np.arange(2)).tolist()
    own.note_offers(members, 50)
    own.note_offers(members, 20)
    assert own.loads.in_flight.tolist() == [0, 2]
    assert own.profiles.received.tolist() == [0, 2]
    assert own.loads.last_offered.tolist() == [never(), 50]
    assert own.u_eff(members)[0] == pytest.approx(2 * own.loads.p_win / 10)
    assert market.u_eff(np.arange(2)).tolist() == before
    assert market.profiles.received.tolist() == [0, 0]


def test_an_empty_marketplace_can_be_read(town: Town) -> None:
    """No lawyers is a market of nobody, not an error."""
    market = town.market()
    assert market.profiles.uuids == []
    assert market.profiles.pools == {}
    assert market.loads.capacity.shape == (0,)
