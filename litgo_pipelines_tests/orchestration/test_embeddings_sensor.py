"""When texts are embedded without anybody asking."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from litgo_pipelines.orchestration.sensors.embeddings import Cursor, Observed, plan

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


def test_somebody_elses_cursor_is_told() -> None:
    """Instead of being overwritten."""
    with pytest.raises(ValueError, match="none of ours: reset it in the UI"):
        Cursor.parsed('{"shown": "x", "spaces": 3}')
