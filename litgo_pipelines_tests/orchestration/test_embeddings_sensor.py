"""When texts are embedded without anybody asking."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from litgo_pipelines.orchestration.sensors.due import parsed
from litgo_pipelines.orchestration.sensors.embeddings import COUNTED_FOR, LATE, Cursor, Observed, observe, plan

NOW = datetime(2026, 3, 10, 15, tzinfo=UTC)
LOCAL, VENDOR = "local@1:4", "vendor@1:4"
MINUTE = timedelta(minutes=1)


def test_nothing_is_started_while_every_vector_is_there() -> None:
    """Nor where no model is configured."""
    for observed in ({LOCAL: Observed(0, NOW)}, {}):
        found = plan(Cursor(), observed, NOW)
        assert (found.start, found.reason) == (False, "every vector is there")


def test_what_is_missing_is_made_at_once_and_then_every_ten_minutes() -> None:
    """A stream of new cases is no reason for a run a minute."""
    cursor, started = Cursor(), []
    for minute in range(60):
        now = NOW + minute * MINUTE
        newest = NOW + started[-1] * MINUTE + timedelta(seconds=20) if started else None
        found = plan(cursor, {LOCAL: Observed(3, newest)}, now)
        cursor = found.cursor
        if found.start:
            started.append(minute)
            assert found.reason == "3 in local@1:4 are due"
    assert started == [0, 10, 20, 30, 40, 50]


def test_a_vendor_that_is_away_is_tried_ever_more_rarely_and_holds_up_nobody() -> None:
    """Its pauses double up to a day, while new cases are embedded by the local model every ten minutes as before."""
    cursor, started = Cursor(), []
    for minute in range(0, 60 * 24 * 4, 5):
        found = plan(cursor, {LOCAL: Observed(0, NOW), VENDOR: Observed(40)}, NOW + minute * MINUTE)
        cursor = found.cursor
        if found.start:
            started.append(minute)
    pauses = [after - before for before, after in itertools.pairwise(started)]
    assert pauses[:8] == [10, 20, 40, 80, 160, 320, 640, 1280]
    assert set(pauses[8:]) == {1440}
    later = NOW + (started[-1] + 15) * MINUTE
    found = plan(cursor, {LOCAL: Observed(2, NOW), VENDOR: Observed(42)}, later)
    assert found.start
    assert found.reason == "2 in local@1:4, 42 in vendor@1:4 are due"


def test_once_the_vendor_answers_again_its_pauses_are_forgotten() -> None:
    """One vector made since the last run shows that it is back."""
    cursor = Cursor()
    for minute in (0, 10, 30, 70):
        found = plan(cursor, {VENDOR: Observed(40)}, NOW + minute * MINUTE)
        assert found.start
        cursor = found.cursor
    waiting = plan(cursor, {VENDOR: Observed(40)}, NOW + 90 * MINUTE)
    assert not waiting.start
    assert "asked for 4 times" in waiting.reason
    back = plan(cursor, {VENDOR: Observed(30, NOW + 71 * MINUTE)}, NOW + 90 * MINUTE)
    assert back.start
    assert back.cursor.spaces[VENDOR].repeats == 0


class Place:
    """A marketplace with one space: what is due in all of it, and of what came lately.

    Attributes:
        looked: since when each look was; None: everything.
    """

    def __init__(self, everything: int, lately: int) -> None:
        self.everything, self.lately = everything, lately
        self.looked: list[datetime | None] = []
        self.cursor = Cursor()

    def tick(self, minute: int) -> bool:
        """Whether a run is started, as the sensor has it."""
        now = NOW + minute * MINUTE
        found = plan(*observe(self.cursor, [LOCAL], self.look, now), now)
        self.cursor = parsed(Cursor, found.cursor.model_dump_json())
        return found.start

    def look(self, since: datetime | None) -> dict[str, Observed]:
        self.looked.append(since)
        return {LOCAL: Observed(self.everything if since is None else self.lately)}


def test_everything_is_counted_once_an_hour() -> None:
    """In between only what came since the last count is looked at, what was written late included, and starts a run as well."""
    place = Place(0, 0)
    assert not any(place.tick(minute) for minute in range(150))
    full = [minute for minute, since in enumerate(place.looked) if since is None]
    assert full == [0, 60, 120]
    assert place.looked[59] == NOW - LATE
    assert place.looked[119] == NOW + COUNTED_FOR - LATE
    place.lately = 2
    assert place.tick(150)
    assert None not in place.looked[121:]


def test_what_a_count_found_stays_due_until_a_run_was_there_for_it() -> None:
    """Old vectors that are missing start one run, and the count after it tells whether it helped."""
    place = Place(5000, 0)
    assert place.tick(0)
    place.everything = 0
    assert not any(place.tick(minute) for minute in range(1, 30))
    assert place.looked.count(None) == 2
    stuck = Place(5000, 0)
    started = [minute for minute in range(180) if stuck.tick(minute)]
    assert started == [0, 10, 30, 70, 150]
    assert stuck.looked.count(None) <= len(started) + 4


def test_models_of_another_space_are_counted_at_once() -> None:
    """A vendor that is configured has vectors for nothing."""
    place = Place(0, 0)
    place.tick(0)
    cursor, found = observe(place.cursor, [LOCAL, VENDOR], lambda _since: {LOCAL: Observed(0), VENDOR: Observed(7)}, NOW + MINUTE)
    assert plan(cursor, found, NOW + MINUTE).reason == "7 in vendor@1:4 are due"


def test_somebody_elses_cursor_is_told() -> None:
    """Instead of being overwritten."""
    with pytest.raises(ValueError, match="none of ours: reset it in the UI"):
        parsed(Cursor, '{"shown": "x", "spaces": 3}')
