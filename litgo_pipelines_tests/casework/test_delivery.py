"""Delivering the outbox: who is pushed to and who gets mail, and that nobody is told twice, whatever fails on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
import structlog.testing

from litgo_pipelines.casework.delivery import FIRST_PAUSE, LONGEST_PAUSE, Carriers, deliver, pause
from litgo_pipelines.casework.notifications import Later
from litgo_pipelines.integrations.attempts import PastRequest
from litgo_pipelines.integrations.onesignal import MOST_CHARACTERS
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.settings import load_settings
from litgo_pipelines.simulation.vendors.server import Behaviour, Cut, Hang, Received, Reply, Reset
from litgo_pipelines_tests.casework.post import NOON, PostOffice, post  # noqa: F401 (a fixture)

SLACK = 0.5
LOST: dict[str, Behaviour] = {"reset": Reset(), "cut": Cut(), "502": Reply(502), "late": Reply(latency=30)}


def test_a_lawyer_is_pushed_to_and_the_operators_get_mail(post: PostOffice) -> None:  # noqa: F811
    """One request each; the vendors' ids and the moment are kept, and the ledger has a row for each."""
    ana = post.person()
    to_ana, to_ops = post.tell(ana, details={"offer_id": "o-1"}), post.tell(subject="Version 2 is withdrawn", body="Version 1 answers.")
    found = post.deliver()
    assert (found.sent, found.ended, found.later) == ({"push": 1, "email": 1}, 2, 0)
    (pushed,), (mailed,) = post.onesignal.pushed, post.sendgrid.mailed
    assert (pushed.person, pushed.body["headings"]["pt"], pushed.body["contents"]["en"]) == (
        str(ana),
        "Nova oferta de caso",
        "Há um caso para você.",
    )
    assert pushed.body["data"] == {"offer_id": "o-1", "notification_id": to_ana}
    assert (mailed.to, mailed.body["subject"], mailed.body["content"][0]["value"], mailed.marks) == (
        ("ops@example.com",),
        "Version 2 is withdrawn",
        "Version 1 answers.",
        {"notification_id": str(to_ops)},
    )
    assert [(post.stands(one), post.find(one).vendor_id, post.find(one).sent_at) for one in (to_ana, to_ops)] == [
        (("sent", "push"), pushed.id, NOON),
        (("sent", "email"), mailed.id, NOON),
    ]
    calls = post.rows("SELECT service, operation, outcome FROM litgo.external_calls ORDER BY service")
    assert [tuple(one) for one in calls] == [("onesignal", "push", "ok"), ("sendgrid", "mail", "ok")]
    assert post.deliver().ended == 0
    assert len(post.push_server.requests) + len(post.mail_server.requests) == 2


def test_who_has_no_device_is_written_to(post: PostOffice) -> None:  # noqa: F811
    """OneSignal answers 200 with an empty id: that is not sent. The mail is in the person's name and says whom to ask about data."""
    post.onesignal.subscribed = lambda _person: False
    number = post.tell(post.person("bia@example.com"))
    found = post.deliver()
    assert (found.sent, found.mailed_instead) == ({"email": 1}, 1)
    (mailed,) = post.sendgrid.mailed
    assert mailed.body["personalizations"][0]["to"] == [{"email": "bia@example.com", "name": "Ana"}]
    assert "Há um caso para você." in mailed.body["content"][0]["value"]
    assert "encarregado@example.com" in mailed.body["content"][0]["value"]
    assert (post.stands(number), post.onesignal.pushed) == (("sent", "email"), [])


def test_without_onesignal_lawyers_get_mail(post: PostOffice) -> None:  # noqa: F811
    """Nothing is asked of OneSignal."""
    number = post.tell(post.person())
    assert post.deliver(onesignal_app_id=None).sent == {"email": 1}
    assert (post.stands(number), post.push_server.requests) == (("sent", "email"), [])


AWAY: dict[str, tuple[Behaviour, ...]] = {"wrong key": (Reply(401),), "refused": (Reply(400),), "elsewhere": (Reply(301),)}


@pytest.mark.parametrize("what", AWAY)
def test_who_certainly_was_not_pushed_to_gets_mail(what: str, post: PostOffice) -> None:  # noqa: F811
    """At once, in the same run."""
    number = post.tell(post.person())
    post.push_server.fail(*AWAY[what])
    assert post.deliver().sent == {"email": 1}
    assert (post.stands(number), len(post.sendgrid.mailed), post.onesignal.pushed) == (("sent", "email"), 1, [])


def test_a_onesignal_that_cannot_be_reached_or_is_left_alone_is_replaced_in_time(post: PostOffice) -> None:  # noqa: F811
    """The mail has left within OneSignal's deadline; once it is left alone nothing is asked of it."""
    nowhere = {"onesignal_base_url": "http://127.0.0.1:1", "litgo_breaker_failures": 2}
    post.tell(post.person())
    started = time.monotonic()
    assert post.deliver(**nowhere).sent == {"email": 1}
    assert time.monotonic() - started < 0.6 + SLACK
    asked = post.value("SELECT count(*) FROM litgo.external_calls WHERE service = 'onesignal' AND number > 0")
    post.tell(post.person())
    assert post.deliver(**nowhere).sent == {"email": 1}
    assert post.value("SELECT count(*) FROM litgo.external_calls WHERE service = 'onesignal' AND number > 0") == asked


def test_a_busy_onesignal_is_asked_again_before_anybody_gets_mail(post: PostOffice) -> None:  # noqa: F811
    """429 says that nothing was done and that it is there: two pauses, then mail."""
    post.push_server.answer = lambda _: Reply(429, headers={"Retry-After": "60"})
    number = post.tell(post.person())
    for _ in range(2):
        assert post.deliver().later == 1
        assert post.stands(number) == ("queued", "push")
        post.clock.turn(minutes=5)
    assert post.deliver().sent == {"email": 1}


def test_the_change_of_channel_is_written_before_the_mail_is_tried(post: PostOffice) -> None:  # noqa: F811
    """Whoever finds the message after a crash mails it, and does not push it."""
    post.onesignal.subscribed = lambda _person: False
    number, seen = post.tell(post.person()), []

    def look(received: Received) -> Behaviour:
        seen.append(post.stands(number))
        return post.sendgrid.answer(received)

    post.mail_server.answer = look
    post.deliver()
    assert seen == [("sending", "email")]


@pytest.mark.parametrize("what", LOST)
def test_a_push_whose_answer_was_lost_arrives_once_and_nobody_is_written_to(what: str, post: PostOffice) -> None:  # noqa: F811
    """It is pushed again within the call, under the same key, which OneSignal answers without pushing."""
    post.push_line.lose(LOST[what])
    number = post.tell(post.person())
    assert post.deliver(onesignal_timeout=0.3, onesignal_deadline=5.0).sent == {"push": 1}
    assert post.stands(number) == ("sent", "push")
    assert [one.id for one in post.onesignal.pushed] == [post.find(number).vendor_id]
    assert (len(post.push_server.requests), len({one.json()["idempotency_key"] for one in post.push_server.requests})) == (2, 1)
    assert post.sendgrid.mailed == []


@pytest.mark.parametrize("what", LOST)
def test_who_cannot_learn_whether_a_push_arrived_writes_a_mail(what: str, post: PostOffice) -> None:  # noqa: F811
    """Within one deadline: told by both is better than by none. No more than one push and one mail come of it."""
    post.push_line.lose(*[LOST[what]] * 3)
    number = post.tell(post.person())
    assert post.deliver().sent == {"email": 1}
    post.clock.turn(hours=1)
    assert post.deliver().ended == 0
    assert (post.stands(number), len(post.onesignal.pushed), len(post.sendgrid.mailed)) == (("sent", "email"), 1, 1)


@pytest.mark.parametrize("what", LOST)
def test_without_an_address_a_push_that_may_have_arrived_is_pushed_again(what: str, post: PostOffice) -> None:  # noqa: F811
    """Though the vendor is silent for whole runs, under the same key: one push comes of it."""
    post.push_line.lose(*[LOST[what]] * 3)
    number = post.tell(post.person(None))
    for _ in range(6):
        if post.deliver().sent:
            break
        post.clock.turn(minutes=20)
    assert post.stands(number) == ("sent", "push")
    assert [one.id for one in post.onesignal.pushed] == [post.find(number).vendor_id]
    assert len({one.json()["idempotency_key"] for one in post.push_server.requests}) == 1


def test_what_may_have_arrived_and_cannot_be_mailed_is_unknown_in_the_end(post: PostOffice) -> None:  # noqa: F811
    """Not failed, though OneSignal then refuses, is away or is not configured any more; the operators are told once."""
    post.push_line.lose(Reset(), Reset(), Reset())
    number = post.tell(post.person(None))
    assert post.deliver().later == 1
    post.push_server.answer = lambda _: Reply(403)
    post.clock.turn(hours=1)
    assert post.deliver().later == 1
    post.clock.turn(hours=1)
    assert post.deliver(onesignal_base_url="http://127.0.0.1:1").later == 1
    post.clock.turn(hours=1)
    assert post.deliver(onesignal_app_id=None).ended == 0
    assert (post.stands(number), post.sendgrid.mailed) == (("queued", "push"), [])
    post.clock.turn(hours=24)
    assert post.deliver().unknown == 1
    assert (post.stands(number), len(post.onesignal.pushed)) == (("unknown", "push"), 1)
    assert post.alerts() == ["Messages to lawyers or clients were not delivered"]


def test_what_became_certain_is_not_held_back_later(post: PostOffice) -> None:  # noqa: F811
    """A push that might have arrived, no device, and no address yet: once OneSignal is away there is nothing against a mail."""
    post.push_server.fail(Reset(), Reset(), Reset())
    post.onesignal.subscribed = lambda _person: False
    ana = post.person(None)
    post.tell(ana)
    for _ in range(2):
        assert post.deliver().later == 1
        post.clock.turn(hours=3)
    post.execute("INSERT INTO litgo.contacts (person_id, kind, email) VALUES (:id, 'lawyer', 'ana@example.com')", id=ana)
    assert post.deliver(onesignal_base_url="http://127.0.0.1:1").sent == {"email": 1}


@pytest.mark.parametrize("what", LOST)
def test_a_mail_whose_answer_was_lost_is_unknown_and_not_sent_again(what: str, post: PostOffice) -> None:  # noqa: F811
    """One request, one mail; the operators are told of a lawyer's message, a later run does nothing about it."""
    post.mail_line.lose(LOST[what])
    number = post.tell(post.person())
    found = post.deliver(onesignal_app_id=None)
    assert (found.unknown, found.sent) == (1, {"email": 1})
    for _ in range(2):
        post.clock.turn(hours=30)
        post.deliver(onesignal_app_id=None)
    assert post.stands(number) == ("unknown", "email")
    mine = [one for one in post.mail_server.requests if one.json()["personalizations"][0]["custom_args"]["notification_id"] == str(number)]
    assert (len(mine), [one.to for one in post.sendgrid.mailed]) == (1, [("ana@example.com",), ("ops@example.com",)])
    assert post.alerts() == ["Messages to lawyers or clients were not delivered"]


def test_a_mail_that_certainly_was_not_sent_is_sent_later(post: PostOffice) -> None:  # noqa: F811
    """Busy, unreachable or with a wrong key; after its pause, not before."""
    number = post.tell()
    post.mail_server.fail(Reply(429, headers={"Retry-After": "60"}), Reply(401))
    for trouble in ("http_429", "refused mail with 401"):
        assert post.deliver().later == 1
        assert trouble in (post.find(number).trouble or "")
        assert post.deliver().later == 0
        post.clock.turn(minutes=2)
    assert post.deliver(sendgrid_base_url="http://127.0.0.1:1").later == 1
    assert post.find(number).tries == 3
    post.clock.turn(minutes=2)
    assert post.deliver().sent == {"email": 1}
    assert len(post.sendgrid.mailed) == 1


def test_a_mail_that_sendgrid_will_never_take_has_failed(post: PostOffice) -> None:  # noqa: F811
    """A refusal of the message itself: it is not tried for a day, and the address is not in what is told."""
    number = post.tell(post.person("nobody@broken"))
    post.mail_server.fail(Reply.json({"errors": [{"message": "nobody@broken does not exist"}]}, 400))
    assert post.deliver(onesignal_app_id=None).failed == 1
    assert post.stands(number) == ("failed", "email")
    assert "400" in (post.find(number).trouble or "")
    assert "broken" not in (post.find(number).trouble or "")


def test_without_fallback_the_channel_does_not_change(post: PostOffice) -> None:  # noqa: F811
    """`FALLBACK_ENABLED=false`: no device, or no OneSignal, and the message waits with a reason until it is given up."""
    post.onesignal.subscribed = lambda _person: False
    numbers = [post.tell(post.person()) for _ in range(2)]
    assert post.deliver(fallback_enabled=False).later == 2
    post.clock.turn(hours=3)
    post.deliver(fallback_enabled=False, onesignal_app_id=None)
    troubles = [post.find(one).trouble for one in numbers]
    assert all("OneSignal is not configured" in (one or "") and "FALLBACK_ENABLED is false" in (one or "") for one in troubles)
    post.clock.turn(hours=24)
    assert post.deliver(fallback_enabled=False).failed == 2
    assert ([post.stands(one) for one in numbers], post.sendgrid.mailed[:-1]) == ([("failed", "push")] * 2, [])


UNREACHABLE = {
    "no address, no device": ({}, "no device"),
    "no address, no OneSignal": ({"onesignal_app_id": None}, "OneSignal is not configured"),
    "no SendGrid": ({"sendgrid_api_key": None}, "no device"),
    "nothing": ({"sendgrid_api_key": None, "onesignal_app_id": None}, "OneSignal is not configured"),
}


@pytest.mark.parametrize("what", UNREACHABLE)
def test_who_cannot_be_reached_is_not_forgotten_and_then_given_up(what: str, post: PostOffice) -> None:  # noqa: F811
    """The message waits with its reason; after `LITGO_NOTIFICATION_HOURS` it has failed, not before."""
    changes, reason = UNREACHABLE[what]
    post.onesignal.subscribed = lambda _person: False
    number = post.tell(post.person(None if "address" in what else "ana@example.com"))
    for hours in (0, 12, 11):
        post.clock.turn(hours=hours)
        post.deliver(**changes)
        assert post.find(number).status == "queued"
        assert reason in (post.find(number).trouble or "")
    post.clock.turn(hours=1)
    assert post.deliver(**changes).failed == 1
    assert (post.find(number).status, post.onesignal.pushed) == ("failed", [])


def test_who_becomes_reachable_is_told(post: PostOffice) -> None:  # noqa: F811
    """An address that is added within the day, and a device."""
    post.onesignal.subscribed = lambda _person: False
    bia, rui = post.person(None), post.person(None)
    to_bia, to_rui = post.tell(bia), post.tell(rui)
    post.deliver()
    post.execute("INSERT INTO litgo.contacts (person_id, kind, email) VALUES (:id, 'lawyer', 'bia@example.com')", id=bia)
    post.onesignal.subscribed = lambda person: person == str(rui)
    post.clock.turn(hours=3)
    assert post.deliver().sent == {"push": 1, "email": 1}
    assert (post.stands(to_bia), post.stands(to_rui)) == (("sent", "email"), ("sent", "push"))


def test_operators_without_an_address_are_told_of_by_the_messages_reason(post: PostOffice) -> None:  # noqa: F811
    """Nobody is asked to alert the operators of that, which could not arrive either."""
    number = post.tell()
    post.deliver(litgo_ops_emails="")
    assert post.find(number).trouble == "LITGO_OPS_EMAILS names nobody"
    post.clock.turn(hours=25)
    assert post.deliver(litgo_ops_emails="").failed == 1
    assert post.alerts() == ["Nova oferta de caso"]


def test_after_a_long_stop_what_waits_is_still_tried(post: PostOffice) -> None:  # noqa: F811
    """Messages are given up after tries in vain, not because nobody delivered anything for two days."""
    number = post.tell(post.person())
    post.clock.turn(hours=48)
    assert post.deliver().sent == {"push": 1}
    assert post.stands(number) == ("sent", "push")


def test_the_last_try_of_an_old_message_is_followed_by_its_end(post: PostOffice) -> None:  # noqa: F811
    """In the same run: no other is started to give it up."""
    number = post.tell()
    post.clock.turn(hours=25)
    found = post.deliver(sendgrid_base_url="http://127.0.0.1:1")
    assert (found.later, found.failed, post.stands(number)) == (1, 1, ("failed", "email"))


def test_a_vendor_that_is_left_alone_is_left_alone_for_the_rest_of_the_run(post: PostOffice) -> None:  # noqa: F811
    """Where there is no other way: a hundred messages do not make a hundred rows that say so."""
    for _ in range(100):
        post.tell()
    post.mail_server.answer = lambda _: Reply(429, headers={"Retry-After": "60"})
    found = post.deliver(litgo_breaker_failures=5)
    assert found.ended == 0
    assert post.value("SELECT count(*) FROM litgo.external_calls") <= 24
    assert post.value("SELECT count(*) FROM litgo.notifications WHERE status = 'queued'") == 100


def test_a_hanging_sendgrid_makes_few_messages_unclear(post: PostOffice) -> None:  # noqa: F811
    """Those that were on their way when it was found out; the others wait."""
    for _ in range(40):
        post.tell()
    post.mail_server.answer = lambda _: Hang()
    found = post.deliver(litgo_breaker_failures=5)
    assert 5 <= found.unknown <= 12
    assert post.value("SELECT count(*) FROM litgo.notifications WHERE status = 'queued'") == 40 - found.unknown


def test_a_run_that_has_no_more_time_begins_nothing(post: PostOffice) -> None:  # noqa: F811
    """What it claimed it ends; the rest waits for the next one."""
    for _ in range(30):
        post.tell(post.person())
    settings = post.settings()
    carriers = Carriers.of(settings, PostgresCallLedger(post.engine))
    assert deliver(post.engine, carriers, settings, clock=post.clock, seconds=0).ended == 0
    assert post.value("SELECT count(*) FROM litgo.notifications WHERE status = 'queued'") == 30
    assert post.deliver().sent == {"push": 30}


def test_two_runs_at_once_send_each_message_once(post: PostOffice) -> None:  # noqa: F811
    """They share the work; the second is not a second push nor a second mail."""
    ana = post.person()
    for n in range(60):
        post.tell(ana if n % 2 else None)
    found = []
    runs = [threading.Thread(target=lambda: found.append(post.deliver())) for _ in range(2)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    assert sum(one.ended for one in found) == 60
    assert (len(post.push_server.requests), len(post.mail_server.requests)) == (30, 30)


def test_a_worker_that_slept_until_its_claim_ran_out_sends_nothing(post: PostOffice) -> None:  # noqa: F811
    """Its message may be somebody else's by now: it puts it back, and only then takes it up again."""
    number = post.tell()
    # The moments of counting, tidying and claiming; then the machine was suspended for an hour.
    awake = iter([NOON, NOON, NOON])
    settings = post.settings()
    carriers = Carriers.of(settings, PostgresCallLedger(post.engine))
    deliver(post.engine, carriers, settings, clock=lambda: next(awake, NOON + timedelta(hours=1)))
    assert (post.stands(number), post.find(number).tries, len(post.sendgrid.mailed)) == (("sent", "email"), 1, 1)


def test_what_is_long_is_shortened_for_phones_alone(post: PostOffice) -> None:  # noqa: F811
    """A push must fit; the mail has all of it."""
    long = "a" * 5000
    post.tell(post.person(), body=long)
    post.tell(body=long)
    post.deliver()
    assert len(post.onesignal.pushed[0].body["contents"]["pt"]) == MOST_CHARACTERS
    assert post.sendgrid.mailed[0].body["content"][0]["value"] == long


def test_all_operators_are_in_one_mail(post: PostOffice) -> None:  # noqa: F811
    """Each once, however often they are named."""
    post.tell()
    post.deliver(litgo_ops_emails="ana@example.com, rui@example.com, Ana@example.com")
    assert [one.to for one in post.sendgrid.mailed] == [("Ana@example.com", "rui@example.com")]


def test_pauses_grow_up_to_a_quarter_of_an_hour() -> None:
    """A vendor that is away for a day is asked about a hundred times for a message, not once a minute."""
    assert [pause(one) for one in (1, 2, 3)] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pause(32_000) == LONGEST_PAUSE


class BrokenLedger(PostgresCallLedger):
    """Cannot say what became of earlier requests, the first few times: an error of ours in the middle of a call."""

    left = 2

    def recent(self, service: str, since: datetime, most: int) -> Sequence[PastRequest]:
        with _lock:
            self.left -= 1
            if self.left >= 0:
                raise ZeroDivisionError("ana@example.com")
        return super().recent(service, since, most)


_lock = threading.Lock()


@pytest.mark.parametrize(("channel", "ending"), [("push", ("queued", "push")), ("email", ("unknown", "email"))])
def test_an_error_of_ours_ends_its_message_alone(
    channel: str,
    ending: tuple[str, str],
    post: PostOffice,  # noqa: F811
) -> None:
    """A push is made again under the same key; of a mail nobody can tell. What is logged names the class of the error alone."""
    numbers = [post.tell(post.person() if channel == "push" else None) for _ in range(20)]
    settings, ledger = post.settings(), BrokenLedger(post.engine)
    with structlog.testing.capture_logs() as logged:
        found = deliver(post.engine, Carriers.of(settings, ledger), settings, clock=post.clock)
    assert (found.sent.total(), found.later + found.unknown) == (18, 2)
    assert sorted(post.stands(one) for one in numbers) == sorted([ending] * 2 + [("sent", channel)] * 18)
    told = [one for one in logged if "ZeroDivisionError" in str(one)]
    assert len(told) == 2
    assert "ana@example.com" not in str(logged)
    post.clock.turn(hours=1)
    assert post.deliver().sent.total() == (2 if channel == "push" else 0)
    assert len(post.onesignal.pushed) + len(post.sendgrid.mailed) == (20 if channel == "push" else 18)


def test_a_message_that_cannot_be_made_holds_up_no_other(post: PostOffice) -> None:  # noqa: F811
    """Operators have no phones: such a push is tried later until it is given up, and was certainly not sent."""
    wrong, right = post.tell(), post.tell(post.person())
    post.execute("UPDATE litgo.notifications SET channel = 'push' WHERE id = :id", id=wrong)
    found = post.deliver()
    assert (found.sent, found.later, post.stands(right)) == ({"push": 1}, 1, ("sent", "push"))
    assert (post.stands(wrong), post.find(wrong).trouble) == (("queued", "push"), "an error of ours: AssertionError")
    post.clock.turn(hours=25)
    assert post.deliver().failed == 1


def test_answers_that_nobody_can_read_stop_no_run(post: PostOffice) -> None:  # noqa: F811
    """However deep they are nested: the breaker counts them, pushes go by mail, and of mails nobody can tell."""
    for _ in range(10):
        post.tell(post.person())
    post.push_server.answer = lambda _: Reply(body=b"[" * 100_000)
    found = post.deliver(litgo_breaker_failures=5)
    assert (found.sent, post.value("SELECT count(*) FROM litgo.notifications WHERE status = 'sending'")) == ({"email": 10}, 0)
    asked = "SELECT DISTINCT outcome FROM litgo.external_calls WHERE service = 'onesignal' ORDER BY outcome"
    assert [one.outcome for one in post.rows(asked)][-1] == "malformed"


def test_no_connection_is_held_while_a_vendor_is_asked(post: PostOffice) -> None:  # noqa: F811
    """No transaction is open then: a slow vendor blocks nobody."""
    seen = []

    def look(received: Received) -> Behaviour:
        seen.append(post.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"))
        return post.onesignal.answer(received)

    post.push_server.answer = look
    post.tell(post.person())
    post.deliver()
    assert seen == [0]


def test_half_a_configuration_is_none(post: PostOffice) -> None:  # noqa: F811
    """An app without its key pushes to nobody."""
    ledger = PostgresCallLedger(post.engine)
    assert Carriers.of(load_settings(onesignal_app_id="app"), ledger) == Carriers(None, None)


def test_a_later_ending_keeps_what_is_unclear(post: PostOffice) -> None:  # noqa: F811
    """Once a push may have arrived, only an answer of OneSignal's takes that back."""
    number = post.tell(uuid4())
    (held,) = post.claim()
    assert post.finish(held, Later("lost", post.clock(), uncertain=True))
    (again,) = post.claim()
    assert again.uncertain
    assert not replace(again, details={}).uncertain
    assert post.find(number).tries == 1
