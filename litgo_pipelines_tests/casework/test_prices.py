"""The price of load as a recorded fact: what is in force, what was, who may write, and what a freeze holds."""

from __future__ import annotations

import math
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from litgo_pipelines.casework.prices import (
    MOST_PRICE,
    Freeze,
    PriceInForce,
    PriceRefused,
    freeze,
    frozen,
    offer_rule,
    price_at,
    price_history,
    price_in_force,
    set_price,
    take_turn,
    unfreeze,
)
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace.database import SIMULATOR_ROLE, open_engine
from litgo_pipelines.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DEFAULT = 0.5


def put(connection: Connection, price: float, **changes: Any) -> PriceInForce:
    """Set a price with everything that is not said ordinary."""
    given: dict[str, Any] = {"actor": "ana", "reason": "because", "evidence": None, "run_id": None, "at": NOON, "default": DEFAULT}
    return set_price(connection, price, **(given | changes))


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as found:
        yield found


def test_without_a_recorded_price_the_default_is_in_force(connection: Connection) -> None:
    """It has no row, no date and nobody who set it, and it was in force at every moment."""
    assert price_in_force(connection, DEFAULT) == PriceInForce(None, DEFAULT, None, None)
    assert price_at(connection, NOON, DEFAULT) == DEFAULT
    assert price_history(connection, 5) == []


def test_the_price_recorded_last_is_in_force(connection: Connection) -> None:
    """With its row, its date and who set it; the default counts no more."""
    put(connection, 0.6)
    second = put(connection, 0.55, actor="equity_price", at=NOON + DAY)
    assert price_in_force(connection, 3.0) == second
    assert (second.price, second.since, second.actor) == (0.55, NOON + DAY, "equity_price")


def test_the_rule_of_those_who_decide_names_the_row_of_its_price(connection: Connection) -> None:
    """Bonus and exploration come from the settings, the price from there only while none is recorded."""
    given = load_settings(litgo_equity_price=0.4, litgo_new_lawyer_bonus=0.07, litgo_exploration=0.2)
    assert offer_rule(connection, given) == OfferRule(0.4, 0.07, 0.2, None)
    found = put(connection, 0.0)
    assert offer_rule(connection, given) == OfferRule(0.0, 0.07, 0.2, found.id)
    assert found.id is not None


def test_the_simulator_reads_the_same_rule(connection: Connection, database_url: str) -> None:
    """Its role may read prices, so that simulated requests are decided as real ones."""
    put(connection, 0.8)
    connection.commit()
    simulator = open_engine(database_url, SIMULATOR_ROLE)
    with simulator.connect() as other:
        assert other.execute(text("SELECT current_user")).scalar_one() == SIMULATOR_ROLE
        assert offer_rule(other, load_settings()).price == 0.8
    simulator.dispose()


def test_the_price_at_a_moment_is_the_one_decided_last_before_it(connection: Connection) -> None:
    """From the moment it was decided; before the first it is what the first one found, whatever the settings say by now."""
    put(connection, 0.6, at=NOON)
    put(connection, 0.7, at=NOON + 2 * DAY)
    moments = [NOON - DAY, NOON, NOON + DAY, NOON + 2 * DAY, NOON + 9 * DAY]
    assert [price_at(connection, moment, 9.0) for moment in moments] == [DEFAULT, 0.6, 0.6, 0.7, 0.7]


def test_history_tells_each_change_newest_first(connection: Connection) -> None:
    """Who, why, from what, on which evidence; no more rows than asked for."""
    evidence = {"curve": [{"price": 0.5, "gini": 0.29}], "target": 0.27}
    put(connection, 0.6, actor=" ana ", reason=" Gini above target ")
    put(connection, 0.65, actor="equity_price", reason="refit", evidence=evidence, run_id="r1", at=NOON + DAY)
    newest, oldest = price_history(connection, 10)
    assert (newest.price, newest.previous, newest.actor, newest.reason) == (0.65, 0.6, "equity_price", "refit")
    assert (newest.evidence, newest.dagster_run_id, newest.decided_at) == (evidence, "r1", NOON + DAY)
    assert (oldest.price, oldest.previous, oldest.actor, oldest.reason) == (0.6, DEFAULT, "ana", "Gini above target")
    assert (oldest.evidence, oldest.dagster_run_id, oldest.decided_at) == (None, None, NOON)
    assert newest.id > oldest.id
    assert price_history(connection, 1) == [newest]


def test_a_change_is_never_recorded_as_earlier_than_the_one_before(connection: Connection) -> None:
    """Clocks differ: what follows counts from the moment of what it follows at the earliest, so that each moment had one price."""
    put(connection, 0.6, at=NOON)
    late = put(connection, 0.7, at=NOON - DAY)
    assert late.since == NOON
    assert [price_at(connection, moment, 9.0) for moment in (NOON - DAY, NOON)] == [DEFAULT, 0.7]


def test_what_is_taken_back_was_never_in_force(engine: Engine) -> None:
    """A price is part of the caller's transaction."""
    with engine.connect() as connection:
        put(connection, 0.6)
        connection.rollback()
        assert price_in_force(connection, DEFAULT).id is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(price=st.floats(0, MOST_PRICE))
def test_every_price_in_range_is_kept_to_the_last_bit(connection: Connection, price: float) -> None:
    """What is in force is what was set, and the next one remembers it."""
    before = price_in_force(connection, DEFAULT).price
    assert put(connection, price).price == price
    assert price_in_force(connection, DEFAULT).price == price
    assert price_history(connection, 1)[0].previous == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(price=st.floats())
def test_no_price_out_of_range_is_recorded(connection: Connection, price: float) -> None:
    """Negative, infinite, not a number or absurd: the caller is told which are taken, and nothing is written."""
    assume(math.isnan(price) or not 0 <= price <= MOST_PRICE)
    with pytest.raises(PriceRefused, match="from 0 to 10"):
        put(connection, price)
    assert price_history(connection, 1) == []


@pytest.mark.parametrize("blank", ["", " \t\n"])
def test_nobody_changes_anything_without_a_name_and_a_reason(connection: Connection, blank: str) -> None:
    """Neither price nor freeze; the message says what is missing."""
    with pytest.raises(PriceRefused, match="say who"):
        put(connection, 0.6, actor=blank)
    with pytest.raises(PriceRefused, match="say why"):
        put(connection, 0.6, reason=blank)
    for change in (freeze, unfreeze):
        with pytest.raises(PriceRefused, match="say who"):
            change(connection, blank, "why", NOON)
        with pytest.raises(PriceRefused, match="say why"):
            change(connection, "ana", blank, NOON)
    assert price_history(connection, 1) == []
    assert frozen(connection) is None


def test_evidence_that_is_no_json_is_not_recorded(connection: Connection) -> None:
    """A curve with NaN in it is refused before anything is written, not kept as something that nobody can read."""
    with pytest.raises(ValueError, match="JSON"):
        put(connection, 0.6, evidence={"gini": float("nan")})
    assert price_history(connection, 1) == []


def test_the_database_keeps_negative_prices_out_by_itself(connection: Connection) -> None:
    """Whoever writes past `set_price` is stopped as well."""
    with pytest.raises(DBAPIError, match="ck_equity_prices_price"):
        connection.exec_driver_sql(
            "INSERT INTO litgo.equity_prices (price, previous, actor, reason, decided_at) VALUES (-0.1, 0, 'a', 'b', now())"
        )


def test_a_freeze_tells_who_and_why_until_it_is_lifted(connection: Connection) -> None:
    """Frozen again, the newer reason counts; what was lifted is told once."""
    assert frozen(connection) is None
    freeze(connection, "ana", "experiment", NOON)
    again = freeze(connection, " rui ", "second experiment", NOON + DAY)
    assert frozen(connection) == again == Freeze("rui", "second experiment", NOON + DAY)
    assert unfreeze(connection, "ana", "it is over", NOON + 2 * DAY) == again
    assert frozen(connection) is None
    assert unfreeze(connection, "ana", "it is over", NOON + 3 * DAY) is None
    ((*row,),) = connection.execute(text('SELECT name, "on", actor, reason, changed_at FROM litgo.switches'))
    assert row == ["equity_price", False, "ana", "it is over", NOON + 2 * DAY]


def test_a_person_may_set_the_price_while_it_is_frozen(connection: Connection) -> None:
    """A freeze holds the weekly refit alone, and stays."""
    held = freeze(connection, "ana", "experiment", NOON)
    assert put(connection, 0.9).price == price_in_force(connection, DEFAULT).price == 0.9
    assert frozen(connection) == held


def test_one_who_writes_waits_for_the_other_and_builds_on_its_price(engine: Engine) -> None:
    """The second writer reads what was in force only when the first is done: `previous` tells one line of prices."""
    second: list[PriceInForce] = []

    def write() -> None:
        with engine.begin() as other:
            second.append(put(other, 0.7, actor="rui"))

    thread = threading.Thread(target=write)
    with engine.begin() as connection:
        first = put(connection, 0.6)
        thread.start()
        while thread.is_alive() and not _somebody_waits(engine):
            time.sleep(0.01)
        assert thread.is_alive()
    thread.join(30)
    with engine.connect() as connection:
        newest, oldest = price_history(connection, 5)
    assert [newest.id, oldest.id] == [second[0].id, first.id]
    assert [oldest.previous, oldest.price, newest.previous, newest.price] == [DEFAULT, 0.6, 0.6, 0.7]


def test_whoever_looks_under_the_lock_sees_a_freeze_that_was_quicker(engine: Engine) -> None:
    """Freezing takes its turn with setting: a refit that took its own before it asks cannot move a price that is frozen."""
    seen: list[Freeze | None] = []

    def refit() -> None:
        with engine.begin() as other:
            take_turn(other)
            seen.append(frozen(other))

    thread = threading.Thread(target=refit)
    with engine.begin() as connection:
        held = freeze(connection, "ana", "experiment", NOON)
        thread.start()
        while thread.is_alive() and not _somebody_waits(engine):
            time.sleep(0.01)
    thread.join(30)
    assert seen == [held]


def _somebody_waits(engine: Engine) -> bool:
    """Whether a transaction in this database waits for another's advisory lock."""
    with engine.connect() as connection:
        waiting = (
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
        )
        return bool(connection.execute(text(waiting)).scalar_one())


def test_prices_are_not_written_on_an_old_reading(engine: Engine) -> None:
    """In a transaction of repeatable reads `previous` could be long past: the defect is named, and nothing is written."""
    with (
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
        pytest.raises(RuntimeError, match="committed"),
    ):
        put(connection, 0.6)
