"""The nightly equity figures, on PostgreSQL."""

from __future__ import annotations

import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text

from litgo_pipelines.casework import equity_run
from litgo_pipelines.casework.equity_run import EquityRun, as_of_partition, latest_partition, run_equity
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines_tests.casework.conftest import NOON, Town

if TYPE_CHECKING:
    from sqlalchemy import Engine

SECOND = timedelta(seconds=1)
MONTH = timedelta(days=30)


def _run(town: Town, as_of: datetime = NOON, new_lawyer_offers: int = 10) -> EquityRun:
    return run_equity(town.engine, as_of, new_lawyer_offers=new_lawyer_offers)


def _lawyer(town: Town, lawyer: UUID) -> Any:
    ((*row,),) = town.rows("SELECT cases_30d, capacidade_mensal, last_offered_at FROM litgo.lawyers WHERE id = :id", id=lawyer)
    return tuple(row)


def _snapshot(town: Town, as_of: datetime = NOON) -> dict[UUID, Any]:
    rows = town.rows("SELECT * FROM litgo.equity_snapshots WHERE as_of = :as_of", as_of=as_of)
    return {row.lawyer_id: row for row in rows}


def _places(town: Town) -> dict[UUID, Any]:
    """Where each lawyer's row lies and who wrote it: both change when it is rewritten."""
    return {row.id: (row.ctid, row.xmin) for row in town.rows("SELECT id, ctid::text AS ctid, xmin::text AS xmin FROM litgo.lawyers")}


def test_contracts_of_exactly_the_last_thirty_days_count(town: Town) -> None:
    """One made 30 days ago to the second is out, a second later it is in; one made at the moment itself is in, later ones are not."""
    lawyer = town.lawyer()
    town.contract(lawyer, NOON - MONTH)
    town.contract(lawyer, NOON + SECOND)
    assert _run(town).snapshot_rows == 1
    assert _lawyer(town, lawyer)[0] == 0
    town.contract(lawyer, NOON - MONTH + SECOND)
    town.contract(lawyer, NOON)
    _run(town)
    assert _lawyer(town, lawyer)[0] == 2


@pytest.mark.parametrize(("status", "counts"), [("requested", 1), ("pending-signature", 1), ("active", 1), ("closed", 1), ("canceled", 0)])
def test_only_cancelled_contracts_are_left_out(status: str, counts: int, town: Town) -> None:
    """Whatever else became of a contract, it was a case for its lawyer."""
    lawyer = town.lawyer()
    town.contract(lawyer, status=status)
    _run(town)
    assert _lawyer(town, lawyer)[0] == counts


def test_who_falls_to_zero_is_reset(town: Town) -> None:
    """A lawyer whose last contract left the window has a load of 0 again, not the one of yesterday."""
    lawyer = town.lawyer()
    town.contract(lawyer)
    _run(town)
    assert _lawyer(town, lawyer)[0] == 1
    assert _run(town, NOON + MONTH).rows_changed == 1
    assert _lawyer(town, lawyer)[0] == 0


def test_capacity_follows_the_profile(town: Town) -> None:
    """`capacidade_mensal` is computed anew, and utilisation is cases over it."""
    grand = town.lawyer(anos_experiencia=12, tipo_atuacao="escritorio_grande", success_rate=0.9)
    humble = town.lawyer(max_concurrent_cases=4)
    town.contract(humble)
    _run(town)
    assert (_lawyer(town, grand)[1], _lawyer(town, humble)[1]) == (28, 4)
    found = _snapshot(town)
    assert (found[grand].utilisation, found[humble].utilisation) == (0, 0.25)
    assert (found[grand].capacity_band, found[humble].capacity_band) == ("21-30", "1-10")


def test_nothing_is_rewritten_in_vain(town: Town) -> None:
    """Rows whose figures stay keep their place and their writer; only who changed is written."""
    busy, idle, later = town.lawyers(3)
    town.contract(busy)
    assert _run(town).rows_changed == 1
    before = _places(town)
    town.contract(later)
    again = _run(town)
    after = _places(town)
    assert (again.rows_read, again.rows_changed) == (3, 1)
    assert {one for one in before if before[one] != after[one]} == {later}
    assert _run(town).rows_changed == 0
    assert _places(town) == after
    assert idle in after


def test_last_offered_at_is_the_latest_offer_and_is_never_moved_back(town: Town) -> None:
    """An offer that was missed is caught up with; a later time that the product wrote already stays."""
    lawyer, other = town.lawyer(), town.lawyer(last_offered_at=NOON - SECOND)
    town.offer(lawyer, NOON - timedelta(days=3))
    town.offer(lawyer, NOON - timedelta(days=2), status="declined")
    town.offer(other, NOON - timedelta(days=2))
    _run(town)
    assert _lawyer(town, lawyer)[2] == NOON - timedelta(days=2)
    assert _lawyer(town, other)[2] == NOON - SECOND
    town.execute("UPDATE litgo.lawyers SET last_offered_at = :at WHERE id = :id", at=NOON + MONTH, id=lawyer)
    _run(town, NOON + timedelta(days=1))
    assert _lawyer(town, lawyer)[2] == NOON + MONTH
    assert _snapshot(town, NOON + timedelta(days=1))[lawyer].last_offered_at == NOON - timedelta(days=2)


def test_an_older_day_writes_its_snapshot_alone(town: Town) -> None:
    """Filling a gap tells of that day, and leaves the current columns to the newest run."""
    lawyer = town.lawyer()
    town.contract(lawyer, NOON - timedelta(days=40))
    newest = _run(town)
    before = _places(town)
    older = _run(town, NOON - timedelta(days=20))
    assert (newest.newest, older.newest, older.rows_changed, older.snapshot_rows) == (True, False, 0, 1)
    assert _snapshot(town, NOON - timedelta(days=20))[lawyer].cases_30d == 1
    assert _lawyer(town, lawyer)[0] == 0
    assert _places(town) == before


def test_running_twice_leaves_the_same_rows(town: Town) -> None:
    """A repeated run replaces its snapshot by an equal one."""
    lawyers = town.lawyers(4)
    town.contract(lawyers[0])
    town.offer(lawyers[1])
    _run(town)
    before = town.rows("SELECT * FROM litgo.equity_snapshots ORDER BY lawyer_id")
    _run(town)
    assert town.rows("SELECT * FROM litgo.equity_snapshots ORDER BY lawyer_id") == before
    assert len(before) == 4


def test_only_active_lawyers_are_in_the_snapshot(town: Town) -> None:
    """The figures of the others are kept up all the same; who came later than the moment is in neither."""
    active, inactive, suspended = (town.lawyer(status=status) for status in ("active", "inactive", "suspended"))
    town.lawyer(created_at=NOON + SECOND)
    town.contract(inactive)
    run = _run(town)
    assert set(_snapshot(town)) == {active}
    assert (run.rows_read, run.snapshot_rows) == (3, 1)
    assert _lawyer(town, inactive)[0] == 1
    assert _lawyer(town, suspended)[0] == 0


def test_a_lawyer_is_new_until_a_number_of_offers_was_received(town: Town) -> None:
    """The offers up to the moment count, of all times; who was established at the snapshot before stays so."""
    fresh, old = town.lawyers(2)
    for days in (1, 100, 200):
        town.offer(old, NOON - timedelta(days=days), status="expired")
    town.offer(fresh, NOON - timedelta(days=1), status="expired")
    town.offer(fresh, NOON + SECOND)
    _run(town, new_lawyer_offers=2)
    assert {one: row.is_new for one, row in _snapshot(town).items()} == {fresh: True, old: False}
    town.execute("DELETE FROM litgo.offers WHERE lawyer_id = :id", id=old)
    _run(town, NOON + timedelta(days=1), new_lawyer_offers=2)
    assert {one: row.is_new for one, row in _snapshot(town, NOON + timedelta(days=1)).items()} == {fresh: False, old: False}


def test_eligible_is_who_practises_an_area_with_demand(town: Town) -> None:
    """By the primary area or a further one; demand is a case of the last 30 days."""
    town.case(area="penal", created_at=NOON - timedelta(days=1))
    town.case(area="tributário", created_at=NOON - MONTH)
    primary = town.lawyer(primary_area="penal")
    further = town.lawyer(primary_area="ambiental", specialties=["penal"])
    nobody = town.lawyer(primary_area="tributário", specialties=["ambiental"])
    _run(town)
    assert {one: row.eligible for one, row in _snapshot(town).items()} == {primary: True, further: True, nobody: False}
    with town.engine.connect() as connection:
        assert equity_run.utilisation(connection, NOON).tolist() == [0, 0]


def test_without_any_case_nobody_is_eligible(town: Town) -> None:
    """No demand, no eligible lawyer, no error."""
    lawyer = town.lawyer()
    _run(town)
    assert not _snapshot(town)[lawyer].eligible
    with town.engine.connect() as connection:
        assert equity_run.utilisation(connection, NOON).shape == (0,)


def test_an_empty_marketplace_has_empty_figures(town: Town) -> None:
    """Nothing to count is no error."""
    run = _run(town)
    assert (run.rows_read, run.rows_changed, run.snapshot_rows, run.newest) == (0, 0, 0, True)


def test_a_moment_without_a_zone_is_refused(town: Town) -> None:
    """As of when must be certain."""
    with pytest.raises(ValueError, match="aware"):
        _run(town, datetime(2026, 3, 1))  # noqa: DTZ001


def test_a_days_figures_are_taken_at_two_in_the_next_morning_in_sao_paulo() -> None:
    """Which has been 05:00 UTC since summer time ended, and was 04:00 UTC in the summers before."""
    assert as_of_partition(date(2026, 1, 15)) == datetime(2026, 1, 16, 5, tzinfo=UTC)
    assert as_of_partition(date(2026, 7, 15)) == datetime(2026, 7, 16, 5, tzinfo=UTC)
    assert as_of_partition(date(2019, 1, 15)) == datetime(2019, 1, 16, 4, tzinfo=UTC)
    assert as_of_partition(date(2026, 12, 31)) == datetime(2027, 1, 1, 5, tzinfo=UTC)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_latest_partition_is_the_last_complete_one(at: datetime) -> None:
    """It was taken by then, and the next was not; days are 24 hours."""
    day = latest_partition(at)
    assert as_of_partition(day) <= at < as_of_partition(day + timedelta(days=1))
    assert as_of_partition(day + timedelta(days=1)) - as_of_partition(day) == timedelta(days=1)


def test_runs_at_once_take_turns(town: Town) -> None:
    """Two runs of the same moment and one of an older one, started together: no error, and the newest one's figures stand."""
    lawyers = town.lawyers(20)
    for one in lawyers[:10]:
        town.contract(one)
    moments = [NOON, NOON, NOON - timedelta(days=20)]
    barrier, errors = threading.Barrier(len(moments)), list[BaseException]()

    def run(as_of: datetime) -> None:
        barrier.wait()
        try:
            _run(town, as_of)
        except BaseException as error:
            errors.append(error)

    _in_threads([lambda as_of=as_of: run(as_of) for as_of in moments])
    assert errors == []
    assert sum(_lawyer(town, one)[0] for one in lawyers) == 10
    assert len(_snapshot(town)) == len(_snapshot(town, NOON - timedelta(days=20))) == 20


def _in_threads(actions: list[Any]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_deadlock_with_a_request_is_retried(town: Town, engine: Engine, database_url: str) -> None:
    """A request that locks lawyers in another order and a run that meets them: the run is repeated, and both end well."""
    first, second = sorted(town.lawyers(2))
    for one in (first, second):
        town.contract(one)
    locked = threading.Event()
    attempts: list[str] = []
    statement = "SELECT FROM litgo.lawyers WHERE id = :id FOR NO KEY UPDATE"

    def watch(_connection: Any, _cursor: Any, sent: str, *_rest: Any) -> None:
        if "figures AS MATERIALIZED" in sent:
            attempts.append(sent)

    def request() -> None:
        # The server looks for deadlocks after a second of waiting: who waited longer is the victim, and that is to be the run.
        with administrator.begin() as connection:
            connection.execute(text("SET LOCAL deadlock_timeout = '20s'"))
            connection.execute(text(statement), {"id": second})
            locked.set()
            _wait_until_blocked(town)
            connection.execute(text(statement), {"id": first})

    administrator = open_engine(database_url, role=None)
    town.execute("UPDATE litgo.lawyers SET updated_at = now() WHERE id = :id", id=second)
    event.listen(engine, "before_cursor_execute", watch)
    try:
        worker = threading.Thread(target=request)
        worker.start()
        assert locked.wait(10)
        run = _run(town)
        worker.join(30)
    finally:
        event.remove(engine, "before_cursor_execute", watch)
        administrator.dispose()
    assert not worker.is_alive()
    assert len(attempts) >= 2
    assert run.snapshot_rows == 2
    assert [_lawyer(town, one)[0] for one in (first, second)] == [1, 1]


def _wait_until_blocked(town: Town) -> None:
    """Until another connection waits for a lock."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if town.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            return
        time.sleep(0.05)
    raise AssertionError("nobody came to wait for the lock")


def test_faults_of_a_snapshot_are_counted_by_kind(town: Town) -> None:
    """A whole snapshot has none; an impossible capacity or load, or no row at all while there are lawyers, is named."""
    lawyer, other = town.lawyers(2)
    with town.engine.connect() as connection:
        assert equity_run.snapshot_faults(connection, None)["empty_snapshot"] == 1
    _run(town)
    with town.engine.connect() as connection:
        assert not any(equity_run.snapshot_faults(connection, None).values())
        assert equity_run.snapshot_faults(connection, [NOON - MONTH])["empty_snapshot"] == 1
    town.execute("UPDATE litgo.equity_snapshots SET capacidade_mensal = 31 WHERE lawyer_id = :id", id=lawyer)
    town.execute("UPDATE litgo.equity_snapshots SET cases_30d = -1 WHERE lawyer_id = :id", id=other)
    with town.engine.connect() as connection:
        faults = equity_run.snapshot_faults(connection, [NOON])
    assert faults == {"capacity_out_of_range": 1, "negative_load": 1, "lawyers_missing": 0, "lawyers_twice": 0, "empty_snapshot": 0}


def test_a_person_under_two_rows_is_counted(town: Town) -> None:
    """Whatever the spelling of the OAB number, as long as letters and digits are the same; who is inactive or has none is no double."""
    for oab in ("SP 123.456", "SP654321", "RJ123456", "", "--", None, None):
        town.lawyer(oab_number=oab)
    third = town.lawyer(oab_number="sp-123456", status="inactive")
    later = town.lawyer(oab_number="sp/654321", created_at=NOON + SECOND)

    def doubles() -> int:
        _run(town)
        with town.engine.connect() as connection:
            found = equity_run.snapshot_faults(connection, [NOON])
        assert sum(found.values()) == found["lawyers_twice"]
        return found["lawyers_twice"]

    assert doubles() == 0
    town.execute("UPDATE litgo.lawyers SET status = 'active' WHERE id = :id", id=third)
    town.lawyer(oab_number="Sp123456")
    assert doubles() == 2
    town.execute("UPDATE litgo.lawyers SET created_at = :at WHERE id = :id", at=NOON, id=later)
    assert doubles() == 3


def test_an_active_lawyer_who_is_missing_from_a_snapshot_is_counted(town: Town) -> None:
    """Those who are inactive, or came later, are not expected there."""
    lawyer, _ = town.lawyers(2)
    _run(town)
    town.execute("DELETE FROM litgo.equity_snapshots WHERE lawyer_id = :id", id=lawyer)
    with town.engine.connect() as connection:
        assert equity_run.snapshot_faults(connection, None)["lawyers_missing"] == 1
    town.execute("UPDATE litgo.lawyers SET status = 'inactive' WHERE id = :id", id=lawyer)
    with town.engine.connect() as connection:
        assert equity_run.snapshot_faults(connection, None)["lawyers_missing"] == 0
