"""Delivery of the outbox in Dagster: when a run is started, what it does, and what it shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from litgo_pipelines.casework.notifications import Unclear
from litgo_pipelines.orchestration.assets.notifications import OLD
from litgo_pipelines.orchestration.jobs import DELIVER_NOTIFICATIONS
from litgo_pipelines.orchestration.sensors.due import Asked
from litgo_pipelines.orchestration.sensors.notifications import Observed, plan
from litgo_pipelines_tests.casework.post import PostOffice, post  # noqa: F401 (a fixture)
from litgo_pipelines_tests.orchestration.conftest import Ticks

if TYPE_CHECKING:
    from litgo_pipelines_tests.orchestration.conftest import Location

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def asked(seconds: float, about: str = "7", repeats: int = 0) -> Asked:
    """A cursor after a run that was asked for some seconds ago."""
    return Asked(about=about, reason="messages are due", seen=1, at=NOW - timedelta(seconds=seconds), count=3, repeats=repeats)


TABLE: dict[str, tuple[Asked, Observed, bool]] = {
    "nothing": (Asked(), Observed(), False),
    "messages that nobody can be reached with": (Asked(), Observed(0, None, 0, 90), False),
    "the first one": (Asked(), Observed(1, 7, 0, 1), True),
    "another one, right after": (asked(1), Observed(1, 8, 0, 1), True),
    "an older one that is due again": (asked(1), Observed(1, 6, 0, 1), True),
    "the same one, right after": (asked(59), Observed(1, 7, 0, 1), False),
    "the same one, a minute later": (asked(60), Observed(1, 7, 0, 1), True),
    "the same one, for the fourth time": (asked(239, repeats=2), Observed(9, 7, 0, 9), False),
    "the same one, for days": (asked(600, repeats=99), Observed(9, 7, 0, 9), True),
    "one to give up, the first time": (Asked(), Observed(0, None, 1, 1), True),
    "one to give up, soon after a delivery": (asked(3599), Observed(0, None, 1, 1), False),
    "one to give up, an hour after a delivery": (asked(3600), Observed(0, None, 1, 1), True),
    "one to give up, and one to deliver": (asked(1), Observed(1, 8, 5, 6), True),
}


@pytest.mark.parametrize("what", TABLE)
def test_a_run_is_started_for_what_is_due(what: str) -> None:
    """At once for a message that is not the one of the last run; a run that fails is not repeated each tick."""
    cursor, observed, start = TABLE[what]
    found = plan(cursor, observed, NOW)
    assert found.start == start, found.reason
    assert found.reason
    assert found.cursor.count == cursor.count + start


def test_a_message_a_minute_that_nobody_can_carry_starts_a_run_an_hour() -> None:
    """For a day of an installation without vendors; what can be delivered does not wait for that hour."""
    cursor, runs, waiting = Asked(), 0, 0
    for minute in range(24 * 60):
        waiting += 1
        found = plan(cursor, Observed(hopeless=waiting, waiting=waiting), NOW + timedelta(minutes=minute))
        cursor, runs, waiting = found.cursor, runs + found.start, 0 if found.start else waiting
    assert runs == 24
    assert plan(cursor, Observed(1, 7, 3, 4), NOW + timedelta(days=1)).start


def vendors(office: PostOffice) -> dict[str, Any]:
    """The vendors as overrides of a code location, which holds plain values alone."""
    found = office.settings()
    names = ("onesignal_base_url", "onesignal_app_id", "sendgrid_base_url")
    given: dict[str, Any] = {name: getattr(found, name) for name in names}
    for name in ("onesignal_api_key", "sendgrid_api_key"):
        given[name] = getattr(found, name).get_secret_value()
    return given | {"litgo_ops_emails": "ops@example.com", "litgo_log_level": "error"}


@pytest.fixture
def office(post: PostOffice, location: Location, database_url: str) -> PostOffice:  # noqa: F811
    """A post office of today on the marketplace of `location`."""
    location.database = database_url
    post.clock.at = datetime.now(UTC)
    return post


def test_no_run_while_nothing_can_be_delivered(location: Location, office: PostOffice) -> None:
    """Neither for an empty outbox nor for messages that wait for a vendor; once it is configured, at once."""
    ticks = Ticks(location, "notifications_due")
    assert (ticks.tick(), ticks.told) == (None, "nothing waits")
    office.tell(office.person())
    office.tell()
    assert (ticks.tick(), ticks.told) == (None, "2 messages wait, none of them is due and can be delivered")
    configured = Ticks(location, "notifications_due", **vendors(office))
    request = configured.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "2 messages are due"


def test_what_was_delivered_starts_no_run(location: Location, office: PostOffice) -> None:
    """A new message does, at once."""
    ticks = Ticks(location, "notifications_due", **vendors(office))
    office.tell(office.person())
    assert ticks.tick() is not None
    assert location.execute(DELIVER_NOTIFICATIONS, **vendors(office)).success
    assert (ticks.tick(), ticks.told) == (None, "nothing waits")
    office.tell()
    assert ticks.tick() is not None


def test_a_worker_that_was_killed_starts_a_run_when_its_claim_has_run_out(location: Location, office: PostOffice) -> None:
    """Not before."""
    ticks = Ticks(location, "notifications_due", **vendors(office))
    office.tell(office.person())
    office.claim(seconds=60)
    assert (ticks.tick(), ticks.told) == (None, "1 messages wait, none of them is due and can be delivered")
    office.execute("UPDATE litgo.notifications SET claimed_until = now()")
    assert ticks.tick() is not None


def test_no_second_run_while_one_is_under_way(location: Location, office: PostOffice) -> None:
    """It would find nothing to claim."""
    from dagster._core.test_utils import create_run_for_test

    ticks = Ticks(location, "notifications_due", **vendors(office))
    office.tell()
    run = create_run_for_test(location.instance, DELIVER_NOTIFICATIONS, status=dg.DagsterRunStatus.STARTED)
    assert (ticks.tick(), ticks.told) == (None, "a delivery is under way")
    location.instance.report_run_failed(run, "the power failed")
    assert ticks.tick() is not None


def run(location: Location, office: PostOffice, without: str | None = None) -> tuple[dict[str, Any], dg.AssetCheckEvaluation]:
    """What a run shows: metadata and check."""
    given = {name: value for name, value in vendors(office).items() if name != without}
    done = location.execute(DELIVER_NOTIFICATIONS, **given)
    assert done.success
    (made,) = done.asset_materializations_for_node("notifications_delivered")
    (check,) = done.get_asset_check_evaluations()
    return {name: one.value for name, one in made.metadata.items()}, check


def test_a_run_shows_what_it_sent_and_what_is_left(location: Location, office: PostOffice) -> None:
    """By channel; how long the oldest has waited, where one waits."""
    office.tell(office.person())
    office.tell()
    shown, check = run(location, office)
    assert (shown["sent_push"], shown["sent_email"], "oldest_waiting_minutes" in shown) == (1, 1, False)
    assert check.passed
    office.onesignal.subscribed = lambda _person: False
    office.clock.turn(minutes=-30)
    office.tell(office.person(None))
    shown, check = run(location, office)
    assert (shown["tried_in_vain"], shown["sent_push"]) == (1, 0)
    assert 30 <= shown["oldest_waiting_minutes"] < 32
    assert check.passed


def test_what_nobody_can_tell_is_a_warning_until_somebody_does(location: Location, office: PostOffice) -> None:
    """The check names the command; it passes once the message is settled."""
    from litgo_pipelines.casework import notifications

    number = office.tell()
    (held,) = office.claim()
    office.finish(held, Unclear("broken"))
    _, check = run(location, office)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "litgo notification list --status unknown" in (check.description or "")
    with office.engine.begin() as connection:
        notifications.settle(connection, number, "sent", by="ana", reason="seen", at=office.clock())
    assert run(location, office)[1].passed


def test_what_waits_for_long_is_a_warning(location: Location, office: PostOffice) -> None:
    """Such as alerts that no vendor can carry."""
    office.clock.turn(seconds=-OLD.total_seconds() - 1)
    office.tell()
    _, check = run(location, office, without="sendgrid_api_key")
    assert not check.passed
    assert "one has waited since" in (check.description or "")
