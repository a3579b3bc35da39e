"""When an experiment is read: the plain decision, and the sensor on a real instance and database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.orchestration.sensors.due import AGAIN, Asked
from litgo_pipelines.orchestration.sensors.trials import Observed, plan
from litgo_pipelines.rollout import experiments, freezes, states
from litgo_pipelines_tests.orchestration.conftest import Ticks, begin
from litgo_pipelines_tests.rollout.facts import Unit, write, yes

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines_tests.orchestration.conftest import Location

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
BEGINS, APPROVED, OVER = "the experiment in line may begin", "the promotion was approved", "its time is up"


def asked(minutes: float, about: str = "a", seen: int = 0, reason: str = "outcomes") -> Asked:
    """A cursor after a run that was asked for some minutes ago."""
    return Asked(about=about, reason=reason, seen=seen, at=NOW - timedelta(minutes=minutes), count=3)


TABLE: dict[str, tuple[Asked, Observed, bool]] = {
    "nothing at all": (Asked(), Observed(), False),
    "one in line and nothing against it": (Asked(), Observed(waiting="a"), True),
    "one in line, held": (Asked(), Observed(waiting="a", held="frozen by ana"), False),
    "one in line that did not begin when asked to": (asked(9, reason=BEGINS), Observed(waiting="a"), False),
    "one in line that did not begin, ten minutes later": (asked(10, reason=BEGINS), Observed(waiting="a"), True),
    "another one in line": (asked(1, reason=BEGINS), Observed(waiting="b"), True),
    "one in line behind another": (Asked(), Observed(running="a", waiting="b"), False),
    "running, nothing ripe": (Asked(), Observed(running="a"), False),
    "the first outcome": (Asked(), Observed(running="a", ripe=1), True),
    "new outcomes within the hour": (asked(59, seen=1), Observed(running="a", ripe=9), False),
    "new outcomes after the hour": (asked(60, seen=1), Observed(running="a", ripe=9), True),
    "nothing new for a week": (asked(7 * 24 * 60, seen=9), Observed(running="a", ripe=9), False),
    "the outcomes of another experiment were seen": (asked(1, about="b", seen=500), Observed(running="a", ripe=1), True),
    "approved": (asked(1, seen=9), Observed(running="a", ripe=9, approved=True), True),
    "approved, and asked for": (asked(9, seen=9, reason=APPROVED), Observed(running="a", ripe=9, approved=True), False),
    "approved, and still not carried out": (asked(10, seen=9, reason=APPROVED), Observed(running="a", ripe=9, approved=True), True),
    "its time is up": (asked(1, seen=9), Observed(running="a", ripe=9, over=True), True),
    "its time is up before anything ripened": (Asked(), Observed(running="a", over=True), True),
    "its time is up, and asked for": (asked(9, seen=9, reason=OVER), Observed(running="a", ripe=90, over=True), False),
    "frozen, and still read": (asked(60, seen=1), Observed(running="a", ripe=9, held="frozen by ana"), True),
}


@pytest.mark.parametrize("what", TABLE)
def test_an_experiment_is_read_when_there_is_something_to_read_or_to_do(what: str) -> None:
    """At once what a person approved, what is over and what may begin; otherwise every hour, if anything ripened."""
    cursor, observed, start = TABLE[what]
    found = plan(cursor, observed, NOW, HOUR)
    assert found.start == start, found.reason
    assert found.reason
    if start:
        about = observed.running or observed.waiting
        assert found.cursor == Asked(about=about, reason=found.reason, seen=observed.ripe, at=NOW, count=cursor.count + 1)
    else:
        assert found.cursor == cursor


@given(
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "outcomes", BEGINS, APPROVED, OVER]),
    st.integers(0, 50),
    st.integers(0, 200),
    st.builds(
        Observed,
        running=st.sampled_from([None, "a", "b"]),
        approved=st.booleans(),
        over=st.booleans(),
        ripe=st.integers(0, 50),
        waiting=st.sampled_from([None, "a", "b"]),
        held=st.sampled_from([None, "frozen by ana"]),
    ),
)
def test_no_run_is_asked_for_twice_within_ten_minutes_for_the_same(
    about: str, reason: str, seen: int, minutes: int, observed: Observed
) -> None:
    """Whatever is observed: right after a run was asked for, the same observation asks for none, and after ten minutes at most once."""
    first = plan(asked(minutes, about, seen, reason), observed, NOW, HOUR)
    again = plan(first.cursor, observed, NOW + AGAIN - timedelta(seconds=1), HOUR)
    assert not (first.start and again.start)
    if observed.running is None and observed.waiting is None and not observed.approved:
        assert not first.start


def test_nothing_is_asked_for_where_nothing_runs_or_waits(location: Location, rollout: Engine) -> None:
    """An empty database, and one whose experiment has ended."""
    ticks = Ticks(location, "experiment_due")
    assert (ticks.tick(), ticks.told) == (None, "nothing runs and nothing waits")
    one = begin(rollout)
    with rollout.begin() as connection:
        experiments.end(connection, one.id, verdict="stopped", conclusion="a test", actor="ana", at=datetime.now(UTC))
    assert (ticks.tick(), ticks.told) == (None, "nothing runs and nothing waits")


def test_a_running_experiment_is_read_once_for_what_has_ripened(location: Location, rollout: Engine) -> None:
    """Outcomes that are a day old start one run; the same ones start none, however long ago that was; new ones wait for the hour."""
    ticks = Ticks(location, "experiment_due")
    one = begin(rollout, ago=timedelta(days=3))
    now = datetime.now(UTC)
    write(rollout, [Unit(now - HOUR, "control"), Unit(now - HOUR, "treatment")], one.id)
    assert ticks.tick() is None
    assert ticks.told == "nothing has ripened since 0 outcomes"
    write(rollout, [Unit(now - timedelta(days=2), "control", (yes(),)), Unit(now - timedelta(days=2), "treatment")], one.id)
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "2 outcomes have ripened"
    assert ticks.tick() is None
    ticks.pass_by(hours=2)
    assert ticks.tick() is None
    write(rollout, [Unit(now - timedelta(days=2), "control")], one.id)
    assert ticks.tick() is not None
    write(rollout, [Unit(now - timedelta(days=2), "control")], one.id)
    assert ticks.tick() is None
    ticks.pass_by(hours=1)
    assert ticks.tick() is not None


def test_how_often_is_a_setting(location: Location, rollout: Engine) -> None:
    """With `LITGO_READOUT_MINUTES=5` new outcomes are read after five minutes."""
    ticks = Ticks(location, "experiment_due", litgo_readout_minutes=5)
    one = begin(rollout, ago=timedelta(days=3))
    long_ago = datetime.now(UTC) - timedelta(days=2)
    write(rollout, [Unit(long_ago, "control")], one.id)
    assert ticks.tick() is not None
    write(rollout, [Unit(long_ago, "control")], one.id)
    ticks.pass_by(minutes=4)
    assert ticks.tick() is None
    ticks.pass_by(minutes=1)
    assert ticks.tick() is not None


def test_no_second_reading_while_one_is_under_way(location: Location, rollout: Engine) -> None:
    """It would judge the same facts; when it has failed, what is due at once is asked for again after ten minutes."""
    from dagster._core.test_utils import create_run_for_test

    ticks = Ticks(location, "experiment_due")
    begin(rollout, started=False)
    assert ticks.tick() is not None
    run = create_run_for_test(location.instance, "read_experiment", status=dg.DagsterRunStatus.STARTED)
    ticks.pass_by(hours=1)
    assert (ticks.tick(), ticks.told) == (None, "a reading is under way")
    location.instance.report_run_failed(run, "the power failed")
    assert ticks.tick() is not None
    assert ticks.tick() is None
    ticks.pass_by(minutes=10)
    assert ticks.tick() is not None


def test_one_in_line_begins_when_nothing_holds_it(location: Location, rollout: Engine) -> None:
    """Neither while models are frozen nor while they cool down; the reason is told."""
    ticks = Ticks(location, "experiment_due")
    begin(rollout, started=False)
    now = datetime.now(UTC)
    with rollout.begin() as connection:
        freezes.freeze(connection, actor="ana", reason="release", at=now)
    assert (ticks.tick(), ticks.told) == (None, "in line, but frozen by ana")
    with rollout.begin() as connection:
        freezes.unfreeze(connection, actor="ana", reason="over", at=now)
        states.block(connection, "7", "rolled back", now, now + timedelta(hours=3))
    assert ticks.tick() is None
    assert ticks.told is not None
    assert ticks.told.startswith("in line, but cooling down until")
    with rollout.begin() as connection:
        connection.exec_driver_sql("UPDATE litgo.model_states SET cooldown_until = changed_at")
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == BEGINS


def test_an_experiment_whose_time_is_up_is_read_at_once(location: Location, rollout: Engine) -> None:
    """Though nothing ripened."""
    ticks = Ticks(location, "experiment_due")
    begin(rollout, ago=timedelta(days=2), max_days=2.5)
    assert ticks.tick() is None
    with rollout.begin() as connection:
        connection.exec_driver_sql("UPDATE litgo.experiments SET max_days = 1.5")
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == OVER


def test_a_winner_waits_for_its_approval_quietly(location: Location, rollout: Engine) -> None:
    """While a person has it in hand no run is asked for every ten minutes, not even when its time is up; the approval starts one."""
    ticks = Ticks(location, "experiment_due")
    one = begin(rollout, ago=timedelta(days=30))
    with rollout.begin() as connection:
        assert experiments.ask_approval(connection, one)
    assert ticks.tick() is None
    with rollout.begin() as connection:
        experiments.approve(connection, by="ana", reason="looks good", at=datetime.now(UTC))
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == APPROVED
    assert ticks.tick() is None


@pytest.mark.parametrize("sensor", ["experiment_due", "champion_watch"])
@pytest.mark.parametrize("cursor", ["nonsense", "17", '{"seen": "many"}'])
def test_a_cursor_of_somebody_else_is_an_error_that_says_what_to_do(cursor: str, sensor: str, location: Location, rollout: Engine) -> None:
    """It is not taken for a fresh start."""
    ticks = Ticks(location, sensor)
    ticks.cursor = cursor
    with pytest.raises(ValueError, match="reset it in the UI"):
        ticks.tick()
