"""When offers are moved: the plain decision, the sensor and the asset on a real instance and database."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.orchestration.jobs import MOVE_OFFERS
from litgo_pipelines.orchestration.sensors.due import AGAIN, LONGEST, Asked
from litgo_pipelines.orchestration.sensors.offers import EVERY, Observed, plan
from litgo_pipelines_tests.casework.conftest import Town
from litgo_pipelines_tests.orchestration.conftest import Ticks

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines_tests.orchestration.conftest import Location

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TICK = timedelta(seconds=30)
LATE = Observed(overdue=3, digest="a")
VAIN = Observed(in_vain=2, digest="v")


def asked(minutes: float, observed: Observed, repeats: int = 0) -> Asked:
    """A cursor after a run that was asked for some minutes ago, for what was observed then."""
    first = plan(Asked(), observed, NOW - timedelta(minutes=minutes))
    assert first.start
    return first.cursor.model_copy(update={"repeats": repeats, "count": 3})


TABLE: dict[str, tuple[Asked, Observed, bool]] = {
    "nothing at all": (Asked(), Observed(), False),
    "nothing any more": (asked(60, LATE), Observed(), False),
    "offers past their time": (Asked(), LATE, True),
    "a case dropped out": (Asked(), Observed(dropped=1, digest="a"), True),
    "a case waits": (Asked(), Observed(waiting=1, digest="a"), True),
    "nobody is left for a case": (Asked(), VAIN, True),
    "other offers, a minute later": (asked(1, LATE), Observed(overdue=3, digest="b"), False),
    "other offers, two minutes later": (asked(2, LATE), Observed(overdue=3, digest="b"), True),
    "the same, which the run did not bring about": (asked(1, LATE), LATE, False),
    "the same, two minutes later": (asked(2, LATE), LATE, True),
    "the same for the fourth time": (asked(7.9, LATE, repeats=3), LATE, False),
    "the same for the fourth time, eight minutes later": (asked(8, LATE, repeats=3), LATE, True),
    "the same since days": (asked(10, LATE, repeats=99), LATE, True),
    "a case waits for whom nobody was left": (asked(9.9, VAIN), VAIN, False),
    "it waits for ten minutes": (asked(10, VAIN), VAIN, True),
    "it waits, and an offer runs out": (asked(2, VAIN, repeats=9), Observed(overdue=1, in_vain=2, digest="v"), True),
}


@pytest.mark.parametrize("what", TABLE)
def test_offers_are_moved_when_there_is_something_to_move(what: str) -> None:
    """Soon where something is new, ever more rarely where runs change nothing."""
    cursor, observed, start = TABLE[what]
    found = plan(cursor, observed, NOW)
    assert found.start == start, found.reason
    assert found.reason
    if start:
        assert (found.cursor.about, found.cursor.at, found.cursor.count) == (observed.digest, NOW, cursor.count + 1)
    else:
        assert found.cursor == cursor


@given(st.lists(st.builds(Observed, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.sampled_from("abc")), min_size=1))
def test_there_are_never_two_runs_within_two_minutes(seen: list[Observed]) -> None:
    """Whatever changes from tick to tick; and where nothing is due none is asked for."""
    cursor, last = Asked(), None
    for tick, observed in enumerate(seen):
        now = NOW + tick * TICK
        found = plan(cursor, observed, now)
        if found.start:
            assert observed.overdue + observed.waiting + observed.in_vain > 0
            assert last is None or now - last >= EVERY
            last = now
        cursor = found.cursor


def test_what_runs_do_not_change_is_tried_ever_more_rarely() -> None:
    """Late offers at most every ten minutes, a case nobody is left for at most once a day; whatever is new interrupts the pause."""
    for observed, longest, most in ((LATE, AGAIN, 150), (VAIN, LONGEST, 9)):
        cursor, starts = Asked(), []
        for tick in range(24 * 60 * 2):
            found = plan(cursor, observed, NOW + tick * TICK)
            cursor = found.cursor
            if found.start:
                starts.append(NOW + tick * TICK)
        pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
        assert pauses == sorted(pauses)
        assert pauses[-1] <= longest
        assert len(starts) <= most
    found = plan(asked(2, VAIN, repeats=9), Observed(waiting=1, in_vain=2, digest="new"), NOW)
    assert (found.start, found.cursor.repeats) == (True, 0)


def test_an_offer_past_its_time_runs_out_within_five_minutes_however_many_do() -> None:
    """Offers lapse all the time; each is seen by a run that is asked for in time to start and end."""
    lapses = [NOW + timedelta(seconds=7 * n) for n in range(600)]
    cursor, done, waited = Asked(), 0, timedelta()
    for tick in range(200):
        now = NOW + tick * TICK
        late = [one for one in lapses[done:] if one <= now]
        found = plan(cursor, Observed(overdue=len(late), digest=str(late[:1])), now)
        cursor = found.cursor
        if found.start:
            # A minute until the run has done its work.
            waited = max(waited, now + MINUTE - late[0])
            done += len(late)
    assert done > 500
    assert waited <= 5 * MINUTE


@pytest.fixture
def town(rollout: Engine) -> Town:
    """A town with two versions in its registry, of which nobody is champion."""
    return Town(rollout)


def late_offer(town: Town, lawyer: UUID, late: timedelta = HOUR) -> UUID:
    """An offer of a case of yesterday whose time was up some time ago; the case."""
    now = datetime.now(UTC)
    case = town.case(created_at=now - 25 * HOUR)
    town.offer(lawyer, at=now - 24 * HOUR - late, case=case)
    return case


def move(location: Location, **changes: Any) -> dict[str, Any]:
    """The metadata of a green run."""
    result = location.execute(MOVE_OFFERS, **changes)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_a_run_lets_offers_run_out_and_offers_cases_on(location: Location, town: Town) -> None:
    """What was expired and offered is told; repeated, a run finds nothing to do."""
    first, second = town.lawyers(2)
    case = late_offer(town, first)
    town.offer(second, at=datetime.now(UTC) - 30 * HOUR, case=town.case(status="closed"))
    assert move(location) == {
        "offers_expired": 2,
        "interests_lapsed": 0,
        "cases_that_dropped_out": 0,
        "cases_offered_on": 1,
        "offers_made": 1,
        "cases_nobody_is_left_for": 0,
        "cases_that_wait_no_more": 0,
        "cases_left_for_the_next_run": 0,
        "model_version": "hand-weights",
    }
    rows = town.rows("SELECT lawyer_id, status FROM litgo.offers WHERE case_id = :case ORDER BY sent_at", case=case)
    assert [tuple(row) for row in rows] == [(first, "expired"), (second, "pending")]
    again = move(location)
    assert (again["offers_expired"], again["offers_made"], again["model_version"]) == (0, 0, "nobody had to be answered")


def test_a_lawyer_who_waits_in_vain_is_free_again_and_the_operators_hear_of_the_case(location: Location, town: Town) -> None:
    """The sensor sees the old interest, one run closes it and tells of the case that is too old to go on; then nothing is due."""
    ticks = Ticks(location, "offers_due")
    answered = datetime.now(UTC) - timedelta(days=14, hours=1)
    old, young = (town.case(created_at=answered - HOUR) for _ in range(2))
    for case, at in ((old, answered), (young, answered + timedelta(days=2))):
        town.offer(town.lawyer(), at=at - HOUR, case=case, status="interested")
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "1 offers are past their time"
    found = move(location)
    assert (found["interests_lapsed"], found["cases_that_dropped_out"], found["offers_made"]) == (1, 1, 0)
    rows = town.rows("SELECT case_id, status FROM litgo.offers")
    assert {tuple(row) for row in rows} == {(old, "closed"), (young, "interested")}
    assert town.value("SELECT key FROM litgo.notifications") == f"dropped:{old}"
    ticks.pass_by(hours=1)
    assert (ticks.tick(), ticks.told) == (None, "no offer is past its time, and no case waits")


def test_a_lapsed_case_that_is_young_enough_goes_on(location: Location, town: Town) -> None:
    """To the next lawyer, in the same run; the terms are the settings'."""
    first, second = town.lawyers(2)
    at = datetime.now(UTC) - timedelta(days=3)
    case = town.case(created_at=at)
    town.offer(first, at=at, case=case, status="interested")
    assert move(location)["interests_lapsed"] == 0
    found = move(location, litgo_interest_days=2.0)
    assert (found["interests_lapsed"], found["cases_that_dropped_out"], found["offers_made"]) == (1, 0, 1)
    rows = town.rows("SELECT lawyer_id, status FROM litgo.offers")
    assert {tuple(row) for row in rows} == {(first, "closed"), (second, "pending")}


def test_the_sensor_sees_a_case_that_dropped_out(location: Location, town: Town) -> None:
    """A refusal in an old case starts a run by itself, which tells of it; once."""
    ticks = Ticks(location, "offers_due")
    now = datetime.now(UTC)
    case = town.case(created_at=now - timedelta(days=8))
    town.offer(town.lawyer(), at=now - 2 * HOUR, case=case, status="declined")
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "1 cases dropped out"
    assert move(location)["cases_that_dropped_out"] == 1
    ticks.pass_by(hours=1)
    assert ticks.tick() is None
    assert move(location)["cases_that_dropped_out"] == 0


def test_the_champion_answers_and_the_settings_count(location: Location, town: Town) -> None:
    """The version of the alias decides; with no days for it, offers run out and nobody is asked."""
    location.project().registry().promote("1", None)
    first, *_ = town.lawyers(4)
    late_offer(town, first)
    found = move(location, litgo_next_offer_days=0.0)
    assert (found["offers_expired"], found["offers_made"]) == (1, 0)
    found = move(location, litgo_next_offer_lawyers=3)
    assert (found["offers_made"], found["model_version"]) == (3, "1")
    assert town.value("SELECT model_version FROM litgo.match_requests") == "1"


def test_offers_run_out_even_where_the_registry_is_away(location: Location, town: Town) -> None:
    """The run fails, and says so, only after their lawyers' capacity is free."""
    first, _ = town.lawyers(2)
    late_offer(town, first)
    result = location.execute(MOVE_OFFERS, mlflow_tracking_uri="http://127.0.0.1:9")
    assert not result.success
    assert town.value("SELECT status FROM litgo.offers") == "expired"


def test_the_sensor_asks_for_a_run_only_while_something_is_due(location: Location, town: Town) -> None:
    """Nothing at first; once for an offer past its time; and once the run has moved all, nothing again."""
    ticks = Ticks(location, "offers_due")
    first, _ = town.lawyers(2)
    case = late_offer(town, first, late=-HOUR)
    assert (ticks.tick(), ticks.told) == (None, "no offer is past its time, and no case waits")
    town.execute("UPDATE litgo.offers SET expires_at = sent_at + interval '2 hours' WHERE case_id = :case", case=case)
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "1 offers are past their time, 1 cases wait for the next lawyers"
    assert ticks.tick() is None
    assert ticks.told is not None
    assert "asked for once, again at" in ticks.told
    move(location)
    ticks.pass_by(hours=1)
    assert (ticks.tick(), ticks.told) == (None, "no offer is past its time, and no case waits")


def test_the_sensor_tries_a_case_in_vain_ever_more_rarely(location: Location, town: Town) -> None:
    """Nobody is left: the next run is ten minutes later, the one after that twenty; a new case is not kept waiting by it."""
    ticks = Ticks(location, "offers_due")
    late_offer(town, town.lawyer())
    assert ticks.tick() is not None
    assert move(location)["cases_nobody_is_left_for"] == 1
    ticks.pass_by(minutes=2)
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "nobody was left for 1 cases"
    for minutes in (10, 20):
        assert move(location)["cases_nobody_is_left_for"] == 1
        ticks.pass_by(minutes=minutes - 1)
        assert ticks.tick() is None
        ticks.pass_by(minutes=1)
        assert ticks.tick() is not None
    late_offer(town, town.lawyer())
    ticks.pass_by(minutes=2)
    assert ticks.tick() is not None


def test_the_sensor_waits_for_the_run_under_way(location: Location, town: Town) -> None:
    """And keeps its cursor; a run that failed is asked for again."""
    from dagster._core.test_utils import create_run_for_test

    ticks = Ticks(location, "offers_due")
    late_offer(town, town.lawyer())
    assert ticks.tick() is not None
    run = create_run_for_test(location.instance, MOVE_OFFERS, status=dg.DagsterRunStatus.STARTED)
    ticks.pass_by(minutes=30)
    assert (ticks.tick(), ticks.told) == (None, "offers are being moved")
    location.instance.report_run_failed(run, "the power failed")
    assert ticks.tick() is not None
