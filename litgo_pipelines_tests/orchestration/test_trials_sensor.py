"""When an experiment is read: the plain decision, and the sensor on a real instance and database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.orchestration.sensors.due import AGAIN, Asked
from litgo_pipelines.orchestration.sensors.trials import Observed, plan
from litgo_pipelines.rollout import experiments, freezes, states
from litgo_pipelines.rollout.outcomes import MarketGini
from litgo_pipelines.rollout.trials import read_experiment
from litgo_pipelines_tests.orchestration.conftest import Ticks, begin
from litgo_pipelines_tests.rollout.facts import Unit, write, yes

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.rollout.experiments import Experiment
    from litgo_pipelines_tests.orchestration.conftest import Location

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
BEGINS, APPROVED, OVER = "the experiment in line may begin", "the promotion was approved", "its time is up"


RIPENED = "outcomes have ripened"


def asked(minutes: float, about: str = "a", reason: str = RIPENED, repeats: int = 0) -> Asked:
    """A cursor after a run that was asked for some minutes ago."""
    return Asked(about=about, reason=reason, at=NOW - timedelta(minutes=minutes), count=3, repeats=repeats)


def seen(ripe: int, read: int, minutes: float, **more: Any) -> Observed:
    """Of experiment `a` so many have ripened, of which a reading saw some, that many minutes ago."""
    return Observed(running="a", ripe=ripe, read=read, read_at=NOW - timedelta(minutes=minutes), **more)


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
    "new outcomes within the hour": (asked(59), seen(9, 1, 58), False),
    "new outcomes after the hour": (asked(60), seen(9, 1, 59), True),
    "nothing new for a week": (asked(7 * 24 * 60), seen(9, 9, 7 * 24 * 60 - 1), False),
    "read by hand, and nothing new": (Asked(), seen(9, 9, 5), False),
    "another experiment was read": (asked(1, about="b"), Observed(running="a", ripe=1), True),
    "the first outcome of what was asked to begin": (asked(1, reason=BEGINS), Observed(running="a", ripe=1), True),
    "the run was lost": (asked(9), Observed(running="a", ripe=1), False),
    "the run was lost, ten minutes later": (asked(10), Observed(running="a", ripe=1), True),
    "the run was lost after an earlier one": (asked(10), seen(9, 1, 70), True),
    "the run was lost for the third time": (asked(39, repeats=2), seen(9, 1, 700), False),
    "the run was lost for the third time, forty minutes later": (asked(40, repeats=2), seen(9, 1, 700), True),
    "approved": (asked(1), seen(9, 9, 0, approved=True), True),
    "approved, and asked for": (asked(9, reason=APPROVED), seen(9, 9, 8, approved=True), False),
    "approved, and still not carried out": (asked(10, reason=APPROVED), seen(9, 9, 9, approved=True), True),
    "approved, and refused twice": (asked(19, reason=APPROVED, repeats=1), seen(9, 9, 18, approved=True), False),
    "approved, and refused since days": (asked(1439, reason=APPROVED, repeats=90), seen(9, 9, 1438, approved=True), False),
    "approved, and refused since days, a day later": (asked(1440, reason=APPROVED, repeats=90), seen(9, 9, 1439, approved=True), True),
    "its time is up": (asked(1), seen(9, 9, 0, over=True), True),
    "its time is up before anything ripened": (Asked(), Observed(running="a", over=True), True),
    "its time is up, and asked for": (asked(9, reason=OVER), seen(90, 9, 8, over=True), False),
    "its time is up, held, and outcomes ripen that may show harm": (
        asked(60, reason=f"{OVER}, but frozen by ana", repeats=9),
        seen(90, 9, 59, over=True, held="frozen by ana"),
        True,
    ),
    "its time is up, held, and no run reads what ripened": (
        asked(60, reason=f"{OVER}, but frozen by ana", repeats=9),
        seen(90, 9, 61, over=True, held="frozen by ana"),
        False,
    ),
    "its time is up, and nothing holds it any more": (
        asked(1, reason=f"{OVER}, but frozen by ana", repeats=9),
        seen(9, 9, 0, over=True),
        True,
    ),
    "the run died between the verdict and what follows from it": (asked(1), seen(9, 9, 0, undone="harm"), True),
    "frozen, and still read": (asked(60), seen(9, 1, 59, held="frozen by ana"), True),
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
        assert (found.cursor.about, found.cursor.at, found.cursor.count) == (about, NOW, cursor.count + 1)
        assert found.reason.endswith(found.cursor.reason)
    else:
        assert found.cursor == cursor


@given(
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", RIPENED, BEGINS, APPROVED, OVER]),
    st.integers(0, 200),
    st.integers(0, 12),
    st.builds(
        Observed,
        running=st.sampled_from([None, "a", "b"]),
        approved=st.booleans(),
        over=st.booleans(),
        ripe=st.integers(0, 50),
        read=st.integers(0, 50),
        read_at=st.none() | st.integers(0, 240).map(lambda ago: NOW - timedelta(minutes=ago)),
        undone=st.sampled_from([None, "harm", "promote"]),
        waiting=st.sampled_from([None, "a", "b"]),
        held=st.sampled_from([None, "frozen by ana"]),
    ),
)
def test_no_run_is_asked_for_twice_within_ten_minutes_for_the_same(
    about: str, reason: str, minutes: int, repeats: int, observed: Observed
) -> None:
    """Whatever is observed: right after a run was asked for, the same observation asks for none, and after ten minutes at most once."""
    first = plan(asked(minutes, about, reason, repeats), observed, NOW, HOUR)
    again = plan(first.cursor, observed, NOW + AGAIN - timedelta(seconds=1), HOUR)
    assert not (first.start and again.start)
    if observed == Observed():
        assert not first.start


@pytest.mark.parametrize(
    "observed",
    [
        seen(9, 9, 0, over=True, held="frozen by ana"),
        seen(9, 9, 0, approved=True),
        seen(9, 9, 0, undone="promote", held="frozen by ana"),
        Observed(waiting="a"),
        Observed(running="a", ripe=9),
    ],
    ids=["won and frozen past its time", "approved and refused", "won and frozen", "cannot begin", "every run fails"],
)
def test_what_cannot_be_brought_about_is_tried_ever_more_rarely(observed: Observed) -> None:
    """A week of ticks, two a minute, asks for no more than fifteen runs, the last pauses a day long; the first two within ten minutes."""
    cursor, asked_at = Asked(), []
    for tick in range(7 * 24 * 60 * 2):
        found = plan(cursor, observed, NOW + tick * timedelta(seconds=30), HOUR)
        cursor = found.cursor
        if found.start:
            asked_at.append(tick / 2)
    assert asked_at[:4] == [0, 10, 30, 70]
    assert len(asked_at) <= 15
    assert asked_at[-1] - asked_at[-2] == 24 * 60


def test_one_that_is_read_each_hour_is_no_repetition() -> None:
    """Outcomes that ripen all the time are read every hour for a week: a reading that came about does not make the next one rarer."""
    cursor, runs = Asked(), 0
    for hour in range(7 * 24):
        now = NOW + hour * HOUR
        found = plan(cursor, Observed(running="a", ripe=hour + 1, read=hour, read_at=cursor.at), now, HOUR)
        cursor, runs = found.cursor, runs + found.start
    assert runs == 7 * 24


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
    read(location, rollout)
    ticks.pass_by(hours=2)
    assert (ticks.tick(), ticks.told) == (None, "nothing has ripened since 2 outcomes")
    read_before_the_newest_outcome(rollout, one)
    assert ticks.tick() is not None
    read(location, rollout)
    # A shorter time ago, so that this reading saw the outcome that the one before did not.
    read_before_the_newest_outcome(rollout, one, seconds=10)
    ticks.pass_by(minutes=59)
    assert (ticks.tick(), ticks.told) == (None, "1 outcomes have ripened; read every 1:00:00")
    ticks.pass_by(minutes=1)
    assert ticks.tick() is not None


def read(location: Location, engine: Engine) -> None:
    """What the run does that the sensor asks for."""
    project = location.project()
    read_experiment(engine, project.registry(), project.settings, gini=MarketGini(), clock=lambda: datetime.now(UTC))


def read_before_the_newest_outcome(engine: Engine, one: Experiment, seconds: int = 60) -> None:
    """Let the newest reading have been so much earlier, and an outcome have ripened half of that time later."""
    with engine.begin() as connection:
        read_at = connection.exec_driver_sql("SELECT max(read_at) FROM litgo.experiment_readouts").scalar_one()
        connection.exec_driver_sql(f"UPDATE litgo.experiment_readouts SET read_at = read_at - interval '{seconds} s'")
    write(engine, [Unit(read_at - timedelta(days=1, seconds=seconds / 2), "control")], one.id)


def test_a_reading_whose_run_fails_is_asked_for_again(location: Location, rollout: Engine) -> None:
    """Though nothing else ripens: after ten minutes, then after twenty; once it is read, no more."""
    from dagster._core.test_utils import create_run_for_test

    ticks = Ticks(location, "experiment_due")
    one = begin(rollout, ago=timedelta(days=3))
    write(rollout, [Unit(datetime.now(UTC) - timedelta(days=2), "control")], one.id)
    assert ticks.tick() is not None
    run = create_run_for_test(location.instance, "read_experiment", status=dg.DagsterRunStatus.STARTED)
    location.instance.report_run_failed(run, "the power failed")
    ticks.pass_by(minutes=9)
    assert ticks.tick() is None
    assert ticks.told is not None
    assert ticks.told.startswith("1 outcomes have ripened: asked for once, again at ")
    ticks.pass_by(minutes=1)
    assert ticks.tick() is not None
    ticks.pass_by(minutes=19)
    assert ticks.tick() is None
    ticks.pass_by(minutes=1)
    assert ticks.tick() is not None
    read(location, rollout)
    ticks.pass_by(days=3)
    assert (ticks.tick(), ticks.told) == (None, "nothing has ripened since 1 outcomes")


def test_a_verdict_that_was_read_but_not_carried_out_is_asked_for_again(location: Location, rollout: Engine) -> None:
    """The run died in between, or the models are frozen; once they no longer are, at once."""
    ticks = Ticks(location, "experiment_due")
    one = begin(rollout, ago=timedelta(days=3))
    with rollout.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO litgo.experiment_readouts VALUES ('{one.id}', now(), '{{\"verdict\": \"promote\"}}')")
        freezes.freeze(connection, actor="ana", reason="release", at=datetime.now(UTC))
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "the verdict promote was not carried out, but frozen by ana"
    assert ticks.tick() is None
    with rollout.begin() as connection:
        freezes.unfreeze(connection, actor="ana", reason="over", at=datetime.now(UTC))
    assert ticks.tick() is not None
    with rollout.begin() as connection:
        experiments.ask_approval(connection, one)
    ticks.pass_by(days=2)
    assert ticks.tick() is None


def test_how_often_is_a_setting(location: Location, rollout: Engine) -> None:
    """With `LITGO_READOUT_MINUTES=5` new outcomes are read after five minutes."""
    ticks = Ticks(location, "experiment_due", litgo_readout_minutes=5)
    one = begin(rollout, ago=timedelta(days=3))
    long_ago = datetime.now(UTC) - timedelta(days=2)
    write(rollout, [Unit(long_ago, "control")], one.id)
    assert ticks.tick() is not None
    read(location, rollout)
    read_before_the_newest_outcome(rollout, one)
    ticks.pass_by(minutes=4)
    assert ticks.tick() is None
    ticks.pass_by(minutes=1)
    assert ticks.tick() is not None


def test_no_second_reading_while_one_is_under_way(location: Location, rollout: Engine) -> None:
    """It would judge the same facts; when it has failed, what is due at once is asked for again, each time after a longer pause."""
    from dagster._core.test_utils import create_run_for_test

    ticks = Ticks(location, "experiment_due")
    begin(rollout, started=False)
    assert ticks.tick() is not None
    run = create_run_for_test(location.instance, "read_experiment", status=dg.DagsterRunStatus.STARTED)
    ticks.pass_by(hours=1)
    assert (ticks.tick(), ticks.told) == (None, "a reading is under way")
    location.instance.report_run_failed(run, "the power failed")
    assert ticks.tick() is not None
    ticks.pass_by(minutes=19)
    assert ticks.tick() is None
    ticks.pass_by(minutes=1)
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


def test_what_a_person_put_in_line_begins_though_models_are_frozen(location: Location, rollout: Engine) -> None:
    """As the run lets it; what the gate put in line waits."""
    ticks = Ticks(location, "experiment_due")
    begin(rollout, started=False)
    with rollout.begin() as connection:
        connection.exec_driver_sql("UPDATE litgo.experiments SET actor = 'rui'")
        freezes.freeze(connection, actor="ana", reason="release", at=datetime.now(UTC))
    assert ticks.tick() is not None


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
