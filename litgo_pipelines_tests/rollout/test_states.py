"""What is known of versions, and which changes of it are possible."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from litgo_pipelines.rollout import states
from litgo_pipelines_tests.rollout.conftest import NOON

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

HOUR = timedelta(hours=1)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as found:
        yield found


def test_an_unknown_version_is_unproven(connection: Connection) -> None:
    """Nothing is recorded of it, and nothing cools down."""
    assert states.states(connection) == {}
    assert states.proof_of(connection, "1") == "unproven"
    assert states.cooldown_until(connection) is None


def test_a_blocked_version_is_not_made_proven(connection: Connection) -> None:
    """However healthy the watch finds it afterwards."""
    states.block(connection, "1", "harm", NOON, NOON + HOUR)
    assert states.mark_proven(connection, "1", "healthy", NOON) is False
    assert (states.states(connection)["1"].state, states.states(connection)["1"].reason) == ("blocked", "harm")


def test_a_version_is_made_proven_once(connection: Connection) -> None:
    """The second time the reason and the date of the first stay."""
    assert states.mark_proven(connection, "1", "won", NOON) is True
    assert states.mark_proven(connection, "1", "healthy", NOON + HOUR) is False
    assert states.states(connection)["1"] == states.State("1", "proven", "won", NOON, None, None, None)


def test_only_a_blocked_version_is_overridden(connection: Connection) -> None:
    """Its block becomes unproven, its cool-down stays; a proven one loses nothing."""
    states.mark_proven(connection, "1", "won", NOON)
    states.block(connection, "2", "harm", NOON, NOON + HOUR)
    assert states.override(connection, "1", "ana", NOON) is False
    assert states.override(connection, "3", "ana", NOON) is False
    assert states.override(connection, "2", "ana", NOON + HOUR) is True
    found = states.states(connection)
    assert (found["1"].state, found["2"].state, found["2"].reason, "3" in found) == ("proven", "unproven", "ana", False)
    assert states.cooldown_until(connection) == NOON + HOUR


def test_that_a_version_was_blocked_is_not_forgotten(connection: Connection) -> None:
    """Neither when a person lets it answer again nor when it is proven afterwards; who never was is not."""
    states.block(connection, "1", "harm", NOON, NOON)
    states.mark_proven(connection, "2", "won", NOON)
    assert [states.states(connection)[one].was_blocked for one in "12"] == [True, False]
    states.override(connection, "1", "ana", NOON + HOUR)
    states.mark_proven(connection, "1", "healthy", NOON + HOUR)
    assert states.states(connection)["1"].was_blocked


def test_the_longest_cool_down_counts(connection: Connection) -> None:
    """Of several rollbacks the one that ends last; blocked once more, a version does not cool down sooner."""
    states.block(connection, "1", "harm", NOON, NOON + 5 * HOUR)
    states.block(connection, "2", "harm", NOON, NOON + 2 * HOUR)
    assert states.cooldown_until(connection) == NOON + 5 * HOUR
    states.block(connection, "1", "harm again", NOON, NOON + HOUR)
    assert states.cooldown_until(connection) == NOON + 5 * HOUR
    assert states.states(connection)["1"].reason == "harm again"


def test_a_watch_that_goes_on_keeps_its_reference(connection: Connection) -> None:
    """Started again for the version that is watched, nothing changes; for another one, and back, the time begins anew."""
    states.start_watch(connection, "1", NOON)
    assert states.set_reference(connection, "1", {"mean": 0.5}) is True
    states.start_watch(connection, "1", NOON + HOUR)
    found = states.states(connection)["1"]
    assert (found.watched_since, found.reference) == (NOON, {"mean": 0.5})
    states.start_watch(connection, "2", NOON + HOUR)
    assert states.states(connection)["1"].watched_since is None
    states.start_watch(connection, "1", NOON + 2 * HOUR)
    found = states.states(connection)["1"]
    assert (found.watched_since, found.reference) == (NOON + 2 * HOUR, {"mean": 0.5})


def test_the_hand_weights_are_not_watched(connection: Connection) -> None:
    """Where they answer, nothing is watched, and a reference that comes late is not noted."""
    states.start_watch(connection, "1", NOON)
    states.start_watch(connection, None, NOON + HOUR)
    assert states.states(connection)["1"].watched_since is None
    assert states.set_reference(connection, "1", {"mean": 0.5}) is False
    assert states.states(connection)["1"].reference is None


def test_a_watch_does_not_touch_what_is_proven(connection: Connection) -> None:
    """Watched again after a rollback to it, a proven version stays proven."""
    states.mark_proven(connection, "1", "won", NOON)
    states.start_watch(connection, "1", NOON + HOUR)
    found = states.states(connection)["1"]
    assert (found.state, found.changed_at, found.watched_since) == ("proven", NOON, NOON + HOUR)
