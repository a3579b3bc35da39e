"""The weekly refit: what it puts in force, how far it may go, and when it leaves the price alone."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from litgo_pipelines.casework.prices import PriceInForce, freeze, price_history, price_in_force, set_price
from litgo_pipelines.casework.refit import ACTOR, LastMonth, Refit, refit_price
from litgo_pipelines.casework.responses import TooLittleRecorded
from litgo_pipelines.equity.pricing import PRICES, reachable
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS
from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION, HandWeights
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.casework.conftest import NOON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litgo_pipelines_tests.conftest import Databases

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
WEEK = 7 * DAY
CASES, OFFERS = 64, 4

_MONTH = f"""
WITH people AS (
    INSERT INTO litgo.lawyers (id, name, primary_area, cv_score, created_at)
    SELECT md5('lawyer' || n)::uuid, 'L' || n, 'civil', n / 12.0, :noon - interval '400 days' FROM generate_series(0, 11) n
), client AS (
    INSERT INTO litgo.clients (id, created_at) VALUES (md5('client')::uuid, :noon - interval '30 days')
), moments AS (
    SELECT n, :noon - interval '29 days' + n * interval '26 days' / {CASES} AS at FROM generate_series(0, {CASES - 1}) n
), asked AS (
    INSERT INTO litgo.cases (id, client_id, area, urgency_h, summary, status, created_at)
    SELECT md5('case' || n)::uuid, md5('client')::uuid, 'civil', 48, 'cobrança indevida', 'closed', at FROM moments
), requests AS (
    INSERT INTO litgo.match_requests (id, kind, case_id, status, started_at, model_version)
    SELECT md5('request' || n)::uuid, 'matching', md5('case' || n)::uuid, 'ok', at, '{HAND_WEIGHTS_VERSION}' FROM moments
), shown AS (
    SELECT n, at, p, md5('lawyer' || (5 * n + p) % 12)::uuid AS lawyer FROM moments, generate_series(1, {OFFERS}) p
), matches AS (
    INSERT INTO litgo.case_matches (id, request_id, case_id, lawyer_id, position, raw_score, score, equity_price, fair_score, propensity,
                                    created_at, {", ".join(FEATURE_COLUMNS)})
    SELECT md5('match' || n || '.' || p)::uuid, md5('request' || n)::uuid, md5('case' || n)::uuid, lawyer, p, 0, 0.5, 0, 0, 1, at,
           {", ".join("0.5" for _ in FEATURE_COLUMNS)}
    FROM shown
), offered AS (
    INSERT INTO litgo.offers (id, case_id, lawyer_id, match_id, status, sent_at, expires_at, responded_at)
    SELECT md5('offer' || n || '.' || p)::uuid, md5('case' || n)::uuid, lawyer, md5('match' || n || '.' || p)::uuid,
           CASE WHEN p = 1 THEN 'closed' ELSE 'declined' END, at, at + interval '1 day', at + interval '3 hours'
    FROM shown
)
INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, status, created_at)
SELECT md5('contract' || n)::uuid, md5('case' || n)::uuid, lawyer, md5('client')::uuid, 'active', at + interval '20 hours'
FROM shown WHERE p = 1
"""


@pytest.fixture(scope="module")
def _month(databases: Databases, _migrated: str) -> Iterator[str]:
    """A database in which 64 cases of a month were offered to 4 of 12 lawyers each, and signed by the first."""
    with databases.fresh(_migrated) as name:
        engine = open_engine(databases.server.url(name))
        with engine.begin() as connection:
            connection.execute(text(_MONTH), {"noon": NOON})
        engine.dispose()
        yield name


@pytest.fixture
def engine(databases: Databases, _month: str) -> Iterator[Engine]:
    """An engine on a database of a month's matching that is the test's own."""
    with databases.fresh(_month) as name:
        found = open_engine(databases.server.url(name))
        yield found
        found.dispose()


def refit(engine: Engine, as_of: datetime = NOON, target: float = 0.99, rehearse: bool = False, **changes: Any) -> Refit:
    """Refit; by default every price keeps all, so that the smallest within reach is right."""
    settings = load_settings(litgo_equity_target_gini=target, **{name: changes.pop(name) for name in list(changes) if name[:5] == "litgo"})
    return refit_price(engine, HandWeights(), settings, as_of, run_id="r1", rehearse=rehearse, **changes)


def put(engine: Engine, price: float, at: datetime) -> PriceInForce:
    with engine.begin() as connection:
        return set_price(connection, price, actor="ana", reason="by hand", evidence=None, run_id=None, at=at, default=0.5)


def in_force(engine: Engine) -> PriceInForce:
    with engine.connect() as connection:
        return price_in_force(connection, 0.5)


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(price_history(connection, 100))


def test_the_smallest_price_within_reach_is_put_in_force_with_its_evidence(engine: Engine) -> None:
    """Who, why, from what, in which run, as of when, and the whole curve that it was chosen from."""
    found = refit(engine)
    assert (found.verdict, found.before, found.base, found.after) == ("moved", 0.5, 0.5, 0.375)
    with engine.connect() as connection:
        (row,) = price_history(connection, 5)
    assert (row.id, row.price, row.previous, row.actor, row.dagster_run_id, row.decided_at) == (
        found.price_id,
        0.375,
        0.5,
        ACTOR,
        "r1",
        NOON,
    )
    assert row.reason == found.reason
    assert "0.375 is the smallest price within reach" in row.reason
    assert row.evidence == {"base": 0.5, "cases": CASES, "share": 1.0, "curve": [asdict(one) for one in found.curve]}
    assert [one.price for one in found.curve] == sorted({*PRICES, 0.375, 0.4375, 0.5, 0.5625, 0.625})


def test_the_price_that_is_right_is_the_smallest_whose_replay_keeps_the_gini(engine: Engine) -> None:
    """Told by the curve itself: for any target, nothing smaller within reach keeps it, whatever prices beyond reach would do."""
    curve = {one.price: one.gini_utilisation or 0.0 for one in refit(engine, rehearse=True).curve}
    allowed = reachable(0.5, 0.25)
    assert max(curve.values()) - min(curve.values()) > 0.02
    keeping = {target: [price for price in allowed if curve[price] <= target] for target in (curve[price] + 1e-9 for price in allowed)}
    assert len({prices[0] for prices in keeping.values()}) > 1
    for target, prices in keeping.items():
        assert f"{prices[0]:g} is the smallest price" in refit(engine, target=target, rehearse=True).reason


def test_what_is_right_already_is_kept_without_another_row(engine: Engine) -> None:
    """A fortnight at the least price: nothing is smaller."""
    put(engine, 0.05, NOON - 2 * WEEK)
    found = refit(engine)
    assert (found.verdict, found.before, found.after, found.price_id) == ("kept", 0.05, 0.05, None)
    assert rows(engine) == 1


def test_within_a_week_the_price_moves_by_the_share_however_often_it_is_refitted(engine: Engine) -> None:
    """From what was in force a week ago, not from what an hour ago was; a week later it goes on, though the run begins a little sooner."""
    moved = refit(engine)
    for later in (SECOND, HOUR, DAY, WEEK - 2 * HOUR):
        again = refit(engine, NOON + later)
        assert (again.verdict, again.base, again.after) == ("kept", 0.5, 0.375)
    following = refit(engine, NOON + WEEK - 90 * SECOND)
    assert (following.verdict, following.base, following.before) == ("moved", 0.375, moved.after)
    assert following.after == pytest.approx(0.375 * 0.75, abs=1e-4)
    assert following.after >= 0.375 * 0.75


def test_how_far_the_price_may_move_is_a_setting(engine: Engine) -> None:
    """A tenth, here."""
    assert refit(engine, litgo_equity_max_move=0.1).after == 0.45


def test_a_frozen_price_is_replayed_and_left_alone(engine: Engine) -> None:
    """It is told who froze it, why, and what would have been chosen."""
    with engine.begin() as connection:
        freeze(connection, "rui", "experiment", NOON)
    found = refit(engine)
    assert (found.verdict, found.before, found.after, found.price_id) == ("frozen", 0.5, 0.5, None)
    assert "frozen by rui (experiment); 0.375 would have been chosen" in found.reason
    assert found.curve
    assert rows(engine) == 0


@pytest.mark.parametrize("was_set", [False, True])
def test_a_price_that_somebody_sets_meanwhile_stays(engine: Engine, was_set: bool) -> None:
    """Even if it is the same number as before: who set it meant it."""
    if was_set:
        put(engine, 0.5, NOON - 2 * WEEK)

    def meanwhile(done: int, of: int) -> None:
        if done == of:
            put(engine, 0.5, NOON + SECOND)

    found = refit(engine, on_progress=meanwhile)
    assert (found.verdict, found.before, found.after, found.price_id) == ("superseded", 0.5, 0.5, None)
    assert "ana set 0.5 while this was replayed; 0.375 would have been chosen" in found.reason
    assert in_force(engine).actor == "ana"


def test_a_freeze_that_comes_meanwhile_holds(engine: Engine) -> None:
    """It is looked for when the price is written, not when the replay begins."""

    def meanwhile(done: int, of: int) -> None:
        if done == of:
            with engine.begin() as connection:
                freeze(connection, "rui", "experiment", NOON)

    assert refit(engine, on_progress=meanwhile).verdict == "frozen"
    assert rows(engine) == 0


def test_a_freeze_that_is_being_written_is_waited_for(engine: Engine) -> None:
    """Whoever took the turn first is heard: the refit looks for a freeze only when it may write."""
    helpers: list[threading.Thread] = []

    def hold(connection: Connection) -> None:
        until = time.monotonic() + 30
        while not somebody_waits(engine) and time.monotonic() < until:
            time.sleep(0.01)
        connection.commit()
        connection.close()

    def meanwhile(done: int, of: int) -> None:
        if done == of:
            connection = engine.connect()
            freeze(connection, "rui", "experiment", NOON)
            helpers.append(threading.Thread(target=hold, args=(connection,)))
            helpers[0].start()

    assert refit(engine, on_progress=meanwhile).verdict == "frozen"
    helpers[0].join(30)
    assert rows(engine) == 0


def somebody_waits(engine: Engine) -> bool:
    """Whether a transaction in this database waits for another's advisory lock."""
    with engine.connect() as connection:
        waiting = (
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
        )
        return bool(connection.execute(text(waiting)).scalar_one())


def test_of_two_refits_at_once_one_moves_the_price(engine: Engine) -> None:
    """The other one is superseded, and says by whom."""
    other: list[Refit] = []

    def meanwhile(done: int, of: int) -> None:
        if done == of:
            other.append(refit(engine))

    first = refit(engine, on_progress=meanwhile)
    assert (first.verdict, other[0].verdict) == ("superseded", "moved")
    assert f"{ACTOR} set 0.375" in first.reason
    assert rows(engine) == 1


def test_a_rehearsal_puts_nothing_in_force(engine: Engine) -> None:
    """It tells what would have been chosen, frozen or not."""
    found = refit(engine, NOON - HOUR, rehearse=True)
    assert (found.verdict, found.before, found.after, found.price_id) == ("rehearsed", 0.5, 0.5, None)
    assert "nothing was put in force: 0.375 is the smallest" in found.reason
    assert rows(engine) == 0


def test_as_of_an_earlier_moment_the_price_of_a_week_before_it_is_the_base(engine: Engine) -> None:
    """What was set since does not count, and the price told is the one of then."""
    put(engine, 0.8, NOON - 2 * DAY - WEEK)
    put(engine, 2.0, NOON)
    found = refit(engine, NOON - DAY, rehearse=True)
    assert (found.base, found.before, found.after) == (0.8, 0.8, 0.8)
    assert "0.6 is the smallest" in found.reason
    assert 0.8 in [one.price for one in found.curve]
    assert in_force(engine).price == 2.0


def test_what_a_person_set_this_week_is_what_the_price_moves_from(engine: Engine) -> None:
    """Not thrown back to last week's: from 2 it goes to 1.5 at most, however often it is refitted."""
    put(engine, 2.0, NOON - HOUR)
    first, again = refit(engine), refit(engine, NOON + DAY)
    assert (first.verdict, first.base, first.before, first.after) == ("moved", 2.0, 2.0, 1.5)
    assert (again.verdict, again.base, again.after) == ("kept", 2.0, 1.5)


def test_a_replay_far_from_what_was_observed_moves_nothing(engine: Engine) -> None:
    """Here the snapshot says that one lawyer has everything, which no replay of this month comes to."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO litgo.equity_snapshots (as_of, lawyer_id, cases_30d, capacidade_mensal, utilisation, area, capacity_band, "
                "is_new, eligible) SELECT :at, id, CASE WHEN cv_score = 0 THEN 9 ELSE 0 END, 10, 0, 'civil', '1-10', false, true "
                "FROM litgo.lawyers"
            ),
            {"at": NOON - HOUR},
        )
    found = refit(engine)
    assert (found.verdict, found.before, found.after, found.price_id) == ("implausible", 0.5, 0.5, None)
    assert "but 0.917 was observed" in found.reason
    assert rows(engine) == 0


def test_too_little_recorded_is_a_verdict_that_moves_nothing(engine: Engine) -> None:
    """After a month without a case, there is nothing to go by; and what is missing is told."""
    found = refit(engine, NOON + 40 * DAY)
    assert (found.verdict, found.before, found.after, found.curve, found.price_id) == ("insufficient data", 0.5, 0.5, (), None)
    assert "0 settled offers and 0 contracts" in found.reason
    assert rows(engine) == 0


def test_an_empty_marketplace_is_no_error(database_url: str) -> None:
    """Nobody, and nothing offered."""
    empty = open_engine(database_url)
    assert refit(empty).verdict == "insufficient data"
    with empty.connect() as connection, pytest.raises(TooLittleRecorded):
        LastMonth.read(connection, NOON, HandWeights(), load_settings())
    empty.dispose()


def test_a_month_without_a_case_is_too_little(engine: Engine) -> None:
    """Offers of cases that were first offered before tell how they are answered, and leave nothing to offer again."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO litgo.offers (id, case_id, lawyer_id, status, sent_at, expires_at) "
                "SELECT md5('early' || k.id)::uuid, k.id, l.id, 'expired', CAST(:noon AS timestamptz) - interval '31 days', :noon "
                "FROM litgo.cases k CROSS JOIN LATERAL (SELECT id FROM litgo.lawyers l WHERE NOT EXISTS "
                "(SELECT FROM litgo.offers o WHERE o.case_id = k.id AND o.lawyer_id = l.id) ORDER BY id LIMIT 1) l"
            ),
            {"noon": NOON},
        )
    found = refit(engine)
    assert (found.verdict, found.reason) == ("insufficient data", "no case was offered for the first time within 30 days")


def test_a_month_whose_lawyers_all_left_is_too_little(engine: Engine) -> None:
    """No case becomes a contract in the replay: there is no inequality, which is not perfect equality."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE litgo.lawyers SET status = 'inactive'"))
    found = refit(engine)
    assert found.verdict == "insufficient data"
    assert "no replayed case became a contract" in found.reason
    assert rows(engine) == 0


@examples(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=st.sampled_from([0.0, 0.01, 0.05, 0.123456, 0.5, 7.0, 9.99, 10.0]), target=st.sampled_from([0.01, 0.99]))
def test_from_any_price_the_next_one_is_within_reach(engine: Engine, base: float, target: float) -> None:
    """One that can be recorded, no further away than the share; from 0 the way up begins."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM litgo.equity_prices"))
    put(engine, base, NOON - 2 * WEEK)
    found = refit(engine, target=target)
    assert found.verdict in {"moved", "kept"}
    assert in_force(engine).price == found.after
    anchor = max(base, 0.05)
    assert anchor * 0.75 - 1e-9 <= found.after <= anchor * 1.25 + 1e-9 or found.after == 0.05
    assert 0.05 <= found.after <= max(one.price for one in found.curve) <= 10
    if target > 0.9:
        assert found.after == pytest.approx(max(0.05, anchor * 0.75), abs=1e-4)


def test_bonus_is_that_of_the_settings_and_nothing_is_explored(engine: Engine) -> None:
    """Every price meets the same chance; the number of offers is that of the record."""
    put(engine, 0.7, NOON - DAY)
    with engine.connect() as connection:
        month = LastMonth.read(connection, NOON, HandWeights(), load_settings(litgo_new_lawyer_bonus=0.2, litgo_exploration=0.9))
    assert (month.rule.price, month.rule.bonus, month.rule.exploration, month.top_n) == (0.7, 0.2, 0.0, OFFERS)
    assert len(month.past.cases) == CASES
