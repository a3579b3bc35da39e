"""When the champion is looked at: the plain decision, and the sensor on a real instance and database."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.orchestration.sensors.due import Asked
from litgo_pipelines.orchestration.sensors.quality import Observed, plan
from litgo_pipelines.ranking.text import NO_SPACE
from litgo_pipelines_tests.orchestration.conftest import Ticks
from litgo_pipelines_tests.rollout.facts import Unit, write

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines_tests.orchestration.conftest import Decided, Location

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
WINDOW = timedelta(hours=1)


def asked(minutes: float, about: str = "1", seen: int = 0, reason: str = "new decisions", repeats: int = 0) -> Asked:
    """A cursor after a run that was asked for some minutes ago."""
    return Asked(about=about, reason=reason, seen=seen, at=NOW - timedelta(minutes=minutes), count=3, repeats=repeats)


FROZEN = "degraded, but frozen by ana"

TABLE: dict[str, tuple[Asked, Observed, bool]] = {
    "nobody is champion": (Asked(), Observed(None), False),
    "nobody is champion any more": (asked(600), Observed(None), False),
    "a champion that has decided nothing": (Asked(), Observed("1"), False),
    "its first decisions": (Asked(), Observed("1", 3, "insufficient data"), True),
    "new decisions within the window": (asked(59, seen=3), Observed("1", 900, "healthy"), False),
    "new decisions after the window": (asked(60, seen=3), Observed("1", 900, "healthy"), True),
    "nothing new for a week": (asked(7 * 24 * 60, seen=900), Observed("1", 900, "healthy"), False),
    "another champion": (asked(1, seen=900), Observed("2", 3, "insufficient data"), True),
    "degraded": (asked(1, seen=900), Observed("1", 901, "degraded"), True),
    "degraded without anything new": (asked(1, seen=900), Observed("1", 900, "degraded"), True),
    "degraded, and asked for": (asked(0, seen=900, reason="degraded"), Observed("1", 990, "degraded"), False),
    "degraded, and still champion": (asked(1, seen=900, reason="degraded"), Observed("1", 900, "degraded"), True),
    "degraded, and still champion after three runs": (asked(3, reason="degraded", repeats=2), Observed("1", 990, "degraded"), False),
    "degraded, and still champion for days": (asked(10, reason="degraded", repeats=99), Observed("1", 900, "degraded"), True),
    "degraded, frozen, and asked for": (asked(9, reason=FROZEN), Observed("1", 990, "degraded", "frozen by ana"), False),
    "degraded, frozen, and still champion": (asked(10, reason=FROZEN), Observed("1", 990, "degraded", "frozen by ana"), True),
    "degraded, frozen, for days": (asked(1439, reason=FROZEN, repeats=99), Observed("1", 990, "degraded", "frozen by ana"), False),
    "degraded, and no longer frozen": (
        asked(1, reason=FROZEN, repeats=9),
        Observed("1", 900, "degraded"),
        True,
    ),
    "another champion is degraded too": (asked(1, seen=900, reason="degraded"), Observed("2", 600, "degraded"), True),
    "healthy again": (asked(60, seen=900, reason="degraded"), Observed("1", 990, "healthy"), True),
}


@pytest.mark.parametrize("what", TABLE)
def test_a_champion_is_looked_at_every_window_and_at_once_when_degraded(what: str) -> None:
    """Only if it decided anything; a degraded one again after a minute, at least every ten, in case the run could not withdraw it."""
    cursor, observed, start = TABLE[what]
    found = plan(cursor, observed, NOW, WINDOW)
    assert found.start == start, found.reason
    assert found.reason
    if start:
        now = found.cursor
        assert (now.about, now.seen, now.at, now.count) == (observed.version, observed.decisions, NOW, cursor.count + 1)
        assert found.reason.endswith(now.reason)
    else:
        assert found.cursor == cursor


@given(
    st.sampled_from(["", "1", "2"]),
    st.sampled_from(["", "new decisions", "degraded"]),
    st.integers(0, 50),
    st.integers(0, 200),
    st.builds(
        Observed, st.sampled_from([None, "1", "2"]), st.integers(0, 50), st.sampled_from(["healthy", "degraded", "insufficient data"])
    ),
)
def test_no_run_is_asked_for_twice_within_a_minute_for_the_same(
    about: str, reason: str, seen: int, minutes: int, observed: Observed
) -> None:
    """Right after a run was asked for, the same observation asks for none."""
    first = plan(asked(minutes, about, seen, reason), observed, NOW, WINDOW)
    again = plan(first.cursor, observed, NOW + timedelta(seconds=59), WINDOW)
    assert not (first.start and again.start)


def test_a_rollback_that_fails_is_tried_at_least_every_ten_minutes() -> None:
    """MLflow is away for six hours: the first try after that comes within ten minutes, and there were not hundreds before."""
    cursor, asked_at = Asked(), []
    for tick in range(7 * 60 * 2):
        found = plan(cursor, Observed("1", 900 + tick, "degraded"), NOW + tick * timedelta(seconds=30), WINDOW)
        cursor = found.cursor
        if found.start:
            asked_at.append(tick / 2)
    assert asked_at[:5] == [0, 1, 3, 7, 15]
    assert all(after - before <= 10 for before, after in itertools.pairwise(asked_at))
    assert len(asked_at) < 60


def test_a_degraded_champion_that_is_held_is_tried_ever_more_rarely() -> None:
    """Frozen for a week, in which it goes on deciding: two ticks a minute ask for no more than fifteen runs; lifted, for one at once."""
    cursor, asked_at = Asked(), []
    for tick in range(7 * 24 * 60 * 2):
        found = plan(cursor, Observed("1", 900 + tick, "degraded", "frozen by ana"), NOW + tick * timedelta(seconds=30), WINDOW)
        cursor = found.cursor
        if found.start:
            asked_at.append(tick / 2)
    assert asked_at[:4] == [0, 10, 30, 70]
    assert len(asked_at) <= 15
    assert plan(cursor, Observed("1", 50_000, "degraded"), NOW + timedelta(days=7), WINDOW).start


@pytest.fixture
def ticks(location: Location) -> Ticks:
    return Ticks(location, "champion_watch", litgo_reference_decisions=100)


def test_without_a_champion_nothing_is_asked_for(rollout: Engine, ticks: Ticks) -> None:
    """The hand weights are not watched, whatever they decide."""
    write(rollout, [Unit(datetime.now(UTC) - timedelta(hours=1), version="hand-weights")])
    assert (ticks.tick(), ticks.told) == (None, "nothing is watched: no version is champion")


def test_a_healthy_champion_is_looked_at_once_a_window(decided: Decided, ticks: Ticks) -> None:
    """With its first decisions, then every hour if there are new ones; those of other versions are none of its own."""
    decided.cases(130, 0.6)
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "130 new decisions"
    assert ticks.tick() is None
    decided.cases(50, 0.1, version="2")
    ticks.pass_by(hours=2)
    assert (ticks.tick(), ticks.told) == (None, "version 1 has decided nothing new")
    decided.cases(40, 0.6)
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "40 new decisions"
    decided.cases(10, 0.6)
    ticks.pass_by(minutes=59)
    assert ticks.tick() is None
    assert ticks.told is not None
    assert ticks.told.startswith("version 1: healthy, 10 new decisions")


def test_the_window_is_a_setting(location: Location, decided: Decided) -> None:
    """With `DEGRADATION_WINDOW=0.25` new decisions are looked at after a quarter of an hour."""
    ticks = Ticks(location, "champion_watch", litgo_reference_decisions=100, degradation_window=0.25)
    decided.cases(130, 0.6)
    assert ticks.tick() is not None
    decided.cases(10, 0.6)
    ticks.pass_by(minutes=14)
    assert ticks.tick() is None
    ticks.pass_by(minutes=1)
    assert ticks.tick() is not None


def test_a_degraded_champion_is_looked_at_at_once(decided: Decided, ticks: Ticks) -> None:
    """A minute after the last look; while the run is under way no second one; after it failed, ten minutes later."""
    from dagster._core.test_utils import create_run_for_test

    decided.cases(120, 0.6)
    assert ticks.tick() is not None
    decided.cases(150, 0.3)
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "degraded"
    run = create_run_for_test(ticks.location.instance, "watch_champion", status=dg.DagsterRunStatus.STARTED)
    ticks.pass_by(minutes=30)
    assert (ticks.tick(), ticks.told) == (None, "a look is under way")
    ticks.location.instance.report_run_failed(run, "the power failed")
    assert ticks.tick() is not None
    assert ticks.tick() is None
    assert ticks.told is not None
    assert ticks.told.startswith("version 1 is degraded: asked for 2 times, again at ")


def test_decisions_in_fallback_degrade_nobody(decided: Decided, ticks: Ticks) -> None:
    """Answers without a vector of the text may score as low as they like."""
    decided.cases(120, 0.6)
    assert ticks.tick() is not None
    decided.cases(150, 0.1, space=NO_SPACE)
    assert ticks.tick() is None
    assert ticks.told is not None
    assert "degraded" not in ticks.told
