"""How a message may stand, and who may change that: workers, the next worker after a crash, and people."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litgo_pipelines.casework import contracts, notifications
from litgo_pipelines.casework.contract_signing import process
from litgo_pipelines.casework.notifications import Ending, Failed, Later, Mailed, Notification, Reach, Sent, Tidied, Unclear
from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines_tests.casework.conftest import Town
from litgo_pipelines_tests.casework.post import NOON, PostOffice, post  # noqa: F401 (a fixture)
from litgo_pipelines_tests.casework.signing import Desk, rsa_key, signing_desk  # noqa: F401 (fixtures)

EVERYWHERE = Reach(push=True, mail=True, ops=True, fallback=True)
HOURS = 24.0


def tidy(post: PostOffice, **reach: bool) -> Tidied:  # noqa: F811
    with post.engine.begin() as connection:
        return notifications.tidy(connection, Reach(**({**vars(EVERYWHERE), **reach})), post.clock(), HOURS)


def due(post: PostOffice, **reach: bool) -> tuple[int, int | None]:  # noqa: F811
    found = _due(post, **reach)
    return found.messages, found.newest


def _due(post: PostOffice, **reach: bool) -> notifications.Due:  # noqa: F811
    with post.engine.connect() as connection:
        return notifications.due(connection, Reach(**({**vars(EVERYWHERE), **reach})), post.clock(), HOURS)


def resend(post: PostOffice, number: int, **more: Any) -> Notification:  # noqa: F811
    with post.engine.begin() as connection:
        return notifications.resend(connection, number, by="ana", at=post.clock(), **more)


def settle(post: PostOffice, number: int, status: Any, reason: str = "told by phone") -> Notification:  # noqa: F811
    with post.engine.begin() as connection:
        return notifications.settle(connection, number, status, by="ana", reason=reason, at=post.clock())


ENDINGS: dict[str, tuple[Ending, dict[str, Any]]] = {
    "sent": (Sent("v-1"), {"status": "sent", "vendor_id": "v-1", "sent_at": NOON, "tries": 0, "trouble": None}),
    "later": (Later("away", NOON + timedelta(minutes=1)), {"status": "queued", "tries": 1, "trouble": "away", "channel": "push"}),
    "by mail": (Mailed("no device"), {"status": "queued", "tries": 0, "channel": "email", "due_at": NOON, "trouble": "no device"}),
    "unclear": (Unclear("broken"), {"status": "unknown", "tries": 1, "trouble": "broken"}),
    "failed": (Failed("400"), {"status": "failed", "tries": 1, "trouble": "400"}),
}


@pytest.mark.parametrize("what", ENDINGS)
def test_a_message_ends_as_its_worker_says(what: str, post: PostOffice) -> None:  # noqa: F811
    """Once: a second ending of the same claim changes nothing, unless the first left it open."""
    ending, expected = ENDINGS[what]
    number = post.tell(uuid4())
    (held,) = post.claim()
    assert post.stands(number) == ("sending", "push")
    assert post.finish(held, ending)
    found = vars(post.find(number))
    assert {name: found[name] for name in expected} == expected
    assert post.finish(held, Sent("v-2")) == (what == "unclear")


def test_what_is_due_is_taken_the_longest_due_first_and_by_one_worker(post: PostOffice) -> None:  # noqa: F811
    """Neither what is due later, nor what somebody else holds."""
    first = post.tell(uuid4())
    post.clock.turn(minutes=1)
    second, third = post.tell(uuid4()), post.tell()
    post.execute("UPDATE litgo.notifications SET due_at = due_at + interval '1 h' WHERE id = :id", id=third)
    assert [one.id for one in post.claim(1)] == [first]
    assert [one.id for one in post.claim(9)] == [second]
    assert post.claim(9) == []


def test_workers_do_not_wait_for_each_other(post: PostOffice) -> None:  # noqa: F811
    """What another worker is about to claim is left out, not waited for."""
    numbers = [post.tell(uuid4()) for _ in range(4)]
    with post.engine.connect() as one, one.begin():
        mine = notifications.claim(one, EVERYWHERE, NOON, NOON + timedelta(minutes=1), ("push",), 2)
        others: list[int] = []
        worker = threading.Thread(target=lambda: others.extend(held.id for held in post.claim(9)))
        worker.start()
        worker.join(10)
    assert ([held.id for held in mine], others) == (numbers[:2], numbers[2:])


def test_only_open_ways_are_taken(post: PostOffice) -> None:  # noqa: F811
    """A message on a channel that is not configured, or to nobody, is not claimed."""
    post.tell(uuid4())
    post.tell()
    assert post.claim(9, push=False, mail=False) == []
    assert post.claim(9, push=False, ops=False) == []
    assert [one.channel for one in post.claim(9, push=False)] == ["email"]
    assert [one.channel for one in post.claim(9, mail=False)] == ["push"]


def test_a_worker_that_never_came_back_leaves_pushes_to_the_next_and_mails_unknown(post: PostOffice) -> None:  # noqa: F811
    """Not before its claim has run out. OneSignal drops the second push, so it is made; of the mail nobody knows."""
    ana = post.person()
    pushed, mailed, alert = post.tell(ana), post.tell(ana), post.tell()
    post.execute("UPDATE litgo.notifications SET channel = 'email' WHERE id = :id", id=mailed)
    post.claim(9, seconds=60)
    post.clock.turn(seconds=59)
    assert (tidy(post), due(post)[0]) == (Tidied(0, 0, 0), 0)
    post.clock.turn(seconds=1)
    assert due(post)[0] == 3
    assert tidy(post) == Tidied(taken_up=1, unknown=2, failed=0)
    assert [post.stands(one)[0] for one in (pushed, mailed, alert)] == ["queued", "unknown", "unknown"]
    (again,) = [one for one in post.claim(9) if one.id == pushed]
    assert again.uncertain
    assert "never came back" in (post.find(mailed).trouble or "")


def test_a_worker_that_comes_back_late_still_knows_what_became_of_its_mail(post: PostOffice) -> None:  # noqa: F811
    """It takes `unknown` back; but not once a person has said what it was, or sent it again."""
    late, resent, settled = (post.tell() for _ in range(3))
    held = {one.id: one for one in post.claim(9, seconds=60)}
    post.clock.turn(seconds=60)
    assert tidy(post).unknown == 3
    resend(post, resent)
    settle(post, settled, "failed")
    assert [post.finish(held[one], Sent("v")) for one in (late, resent, settled)] == [True, False, False]
    assert [post.find(one).status for one in (late, resent, settled)] == ["sent", "queued", "failed"]


def test_a_late_worker_does_not_end_what_the_next_one_holds(post: PostOffice) -> None:  # noqa: F811
    """The claims differ, though the message is the same."""
    post.tell(uuid4())
    (first,) = post.claim(seconds=60)
    post.clock.turn(seconds=60)
    tidy(post)
    (second,) = post.claim()
    assert (first.id, post.finish(first, Failed("late")), post.finish(second, Sent("v"))) == (second.id, False, True)


def test_operators_are_told_once_an_hour_of_messages_that_did_not_arrive(post: PostOffice) -> None:  # noqa: F811
    """However many there are; never of a message to themselves."""

    def lose(count: int, to: Any) -> None:
        for _ in range(count):
            post.tell(to)
        for one in post.claim(99):
            post.finish(one, Unclear("broken"))

    lose(3, None)
    assert post.alerts() == ["Nova oferta de caso"] * 3
    post.execute("DELETE FROM litgo.notifications")
    lose(5, uuid4())
    assert len(post.alerts()) == 1
    post.clock.turn(minutes=30)
    lose(5, uuid4())
    assert len(post.alerts()) == 1
    post.clock.turn(minutes=30)
    lose(5, uuid4())
    assert len(post.alerts()) == 2


def test_the_alert_is_written_with_what_it_tells(post: PostOffice) -> None:  # noqa: F811
    """In one transaction: a crash leaves both or neither."""
    number = post.tell(uuid4())
    (held,) = post.claim()
    with post.engine.connect() as connection:
        notifications.finish(connection, held, Failed("400"), NOON)
        connection.rollback()
    assert (post.find(number).status, post.alerts()) == ("sending", [])


def test_what_can_be_sent_is_told_from_what_can_only_be_given_up(post: PostOffice) -> None:  # noqa: F811
    """What waits until somebody configures a vendor is neither, until a day has passed."""
    assert due(post) == (0, None)
    ops, lawyer = post.tell(), post.tell(uuid4())
    assert due(post) == (2, lawyer)
    assert due(post, push=False) == (1, ops)
    assert due(post, push=False, mail=False) == (0, None)
    assert due(post, push=False, ops=False) == (0, None)
    assert _due(post, push=False, mail=False).hopeless == 0
    post.clock.turn(hours=24)
    assert _due(post) == notifications.Due(2, lawyer, 0)
    assert _due(post, push=False) == notifications.Due(1, ops, 1)
    assert _due(post, push=False, mail=False) == notifications.Due(0, None, 2)
    assert tidy(post, push=False, mail=False).failed == 2
    assert _due(post, push=False, mail=False) == notifications.Due(0, None, 0)


def test_what_was_tried_in_vain_for_a_day_can_only_be_given_up(post: PostOffice) -> None:  # noqa: F811
    """Though the vendor is there: until its next try is due."""
    number = post.tell()
    (held,) = post.claim()
    post.finish(held, Later("away", NOON + timedelta(hours=24, minutes=5)))
    post.clock.turn(hours=24)
    assert _due(post) == notifications.Due(0, None, 1)
    post.clock.turn(minutes=5)
    assert _due(post) == notifications.Due(1, number, 0)


def test_a_lawyer_with_an_address_is_due_though_there_is_no_onesignal(post: PostOffice) -> None:  # noqa: F811
    """Unless mail may not take the place of a push; also where the push may have arrived, for nobody can learn that any more."""
    number = post.tell(post.person())
    assert due(post, push=False) == (1, number)
    assert due(post, push=False, fallback=False) == (0, None)
    (held,) = post.claim()
    post.finish(held, Later("lost", NOON, uncertain=True))
    assert due(post, push=False) == (1, number)
    assert due(post, push=False, fallback=False) == (0, None)


def test_a_person_sends_again_what_failed_or_is_unknown(post: PostOffice) -> None:  # noqa: F811
    """At once and with fresh tries, by the other channel if they say so; who did it is kept."""
    failed, unknown = post.tell(post.person()), post.tell(post.person())
    for held, ending in zip(post.claim(9), (Failed("400"), Unclear("broken")), strict=True):
        post.finish(held, ending)
    post.clock.turn(hours=30)
    again, other = resend(post, failed), resend(post, unknown, channel="email")
    assert (again.status, again.channel, again.tries, again.trouble, again.due_at) == ("queued", "push", 0, None, post.clock())
    assert other.channel == "email"
    (handled,) = again.details["delivery"]["handled"]
    assert (handled["action"], handled["by"]) == ("resend", "ana")
    # Though it is older than a day, it is not given up before it was tried.
    assert tidy(post).failed == 0
    assert sorted(one.id for one in post.claim(9)) == sorted([failed, unknown, *_alerts(post)])


def _alerts(post: PostOffice) -> list[int]:  # noqa: F811
    return [row.id for row in post.rows("SELECT id FROM litgo.notifications WHERE audience = 'ops'")]


def test_a_person_says_what_became_of_it(post: PostOffice) -> None:  # noqa: F811
    """Of one that is unknown, of one that failed and was told otherwise, and of one that need not be sent any more."""
    unknown, failed, queued = (post.tell(uuid4()) for _ in range(3))
    for held, ending in zip(post.claim(2), (Unclear("broken"), Failed("400")), strict=True):
        post.finish(held, ending)
    settle(post, unknown, "sent", "the lawyer answered it")
    settle(post, failed, "sent")
    settle(post, queued, "failed", "the case is closed")
    found = [post.find(one) for one in (unknown, failed, queued)]
    assert [one.status for one in found] == ["sent", "sent", "failed"]
    assert found[0].sent_at == NOON
    assert found[0].trouble == "settled as sent by ana: the lawyer answered it"


REFUSED = [("queued", "resend"), ("sending", "resend"), ("sending", "settle"), ("sent", "resend"), ("sent", "settle"), ("failed", "fail")]


@pytest.mark.parametrize(("status", "what"), REFUSED)
def test_what_is_not_possible_says_how_it_stands(status: str, what: str, post: PostOffice) -> None:  # noqa: F811
    """Nothing is written then."""
    number = post.tell(uuid4())
    if status != "queued":
        (held,) = post.claim()
        if status != "sending":
            post.finish(held, Sent("v") if status == "sent" else Failed("400"))
    before = post.rows("SELECT * FROM litgo.notifications ORDER BY id")
    with pytest.raises(NotAllowed, match=f"message {number} is {status}"):
        resend(post, number) if what == "resend" else settle(post, number, "failed" if what == "fail" else "sent")
    assert post.rows("SELECT * FROM litgo.notifications ORDER BY id") == before


def test_operators_are_not_pushed_to(post: PostOffice) -> None:  # noqa: F811
    """They have no app; whoever tries is told."""
    number = post.tell()
    (held,) = post.claim()
    post.finish(held, Failed("400"))
    with pytest.raises(NotAllowed, match="by mail alone"):
        resend(post, number, channel="push")


def test_a_message_that_is_not_there(post: PostOffice) -> None:  # noqa: F811
    """Is told with where to look."""
    with pytest.raises(Unknown, match="no message 17: see `litgo notification list`"):
        resend(post, 17)


def test_lists_and_counts_what_stands_where(post: PostOffice) -> None:  # noqa: F811
    """The newest first; counts leave out what was sent."""
    numbers = [post.tell(uuid4()) for _ in range(4)]
    for held, ending in zip(post.claim(3), (Sent("v"), Failed("400"), Unclear("broken")), strict=True):
        post.finish(held, ending)
    with post.engine.connect() as connection:
        assert [one.id for one in notifications.listed(connection, ("sent", "unknown"), 1)] == [numbers[2]]
        found = {(one.status, one.channel): (one.messages, one.oldest) for one in notifications.standing(connection)}
    assert found == {
        ("failed", "push"): (1, NOON),
        ("unknown", "push"): (1, NOON),
        ("queued", "push"): (1, NOON),
        ("queued", "email"): (1, NOON),
    }


_STEPS = st.lists(st.sampled_from([*["claim", "vanish", "tidy"] * 3, *ENDINGS, "resend", "settle", "old"]), min_size=3, max_size=12)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), _STEPS)
def test_whatever_happens_a_mail_is_tried_again_only_by_who_knows_that_it_did_not_leave(
    post: PostOffice,  # noqa: F811
    to_ops: bool,
    steps: list[str],
) -> None:
    """In any order of workers, crashes and people: no state the database refuses, `sent` stays, a mail left behind waits for a person."""
    post.clock.at = NOON
    post.execute("DELETE FROM litgo.notifications")
    number = post.tell(None if to_ops else post.person())
    held, in_doubt = None, False
    for step in steps:
        before = post.find(number)
        if step == "claim":
            mine = [one for one in post.claim(9) if one.id == number]
            assert not (mine and in_doubt)
            held = mine[0] if mine else held
        elif step in ENDINGS:
            if held is not None and not (to_ops and step == "by mail") and post.finish(held, ENDINGS[step][0]):
                in_doubt = step == "unclear" and held.channel == "email"
        elif step == "vanish":
            post.clock.turn(minutes=5)
        elif step == "old":
            post.clock.turn(hours=25)
        elif step == "tidy":
            tidy(post)
            left_behind = held is not None and before.status == "sending" and held.claimed_until <= post.clock()
            in_doubt = in_doubt or (left_behind and before.channel == "email")
        elif before.status in ("unknown", "failed"):
            resend(post, number) if step == "resend" else settle(post, number, "sent")
            in_doubt = False
        after = post.find(number)
        assert after.status == "sent" or before.status != "sent"
        assert (after.status == "unknown") or not in_doubt


def test_news_of_an_offer_that_is_over_are_not_sent(post: PostOffice) -> None:  # noqa: F811
    """Closed, answered or run out while a vendor was away: only the open offer's message leaves, and nobody is alerted of the others."""
    town, numbers = Town(post.engine), {}
    for status, hours in (("pending", 24), ("closed", 24), ("declined", 24), ("expired", 24), ("pending", 1)):
        offer = town.offer(town.lawyer(), at=NOON, status=status, hours=hours)
        numbers[status, hours] = post.tell(post.person(), key=f"offer:{offer}", details={"offer_id": str(offer)})
    post.clock.turn(hours=2)
    assert post.deliver().sent == {"push": 1}
    assert post.stands(numbers.pop(("pending", 24))) == ("sent", "push")
    assert {post.stands(one) for one in numbers.values()} == {("failed", "push")}
    assert "overtaken" in str(post.find(numbers["closed", 24]).trouble)
    assert post.alerts() == []


CONTRACTS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "by hand": ("manual", {"status": "pending-signature", "manual_since": NOON}, False),
    "taken back, and told nothing yet": ("manual", {"status": "requested", "manual_since": NOON}, False),
    "out at DocuSign after all": ("manual", {"status": "pending-signature"}, True),
    "signed by hand": ("manual", {"status": "active", "manual_since": NOON}, True),
    "canceled before it was signed by hand": ("manual", {"status": "canceled", "manual_since": NOON}, True),
    "at DocuSign": ("retaken", {"status": "pending-signature"}, False),
    "at DocuSign, for another envelope": ("retaken", {"status": "requested"}, False),
    "by hand after all": ("retaken", {"status": "pending-signature", "manual_since": NOON}, True),
    "signed at DocuSign": ("retaken", {"status": "active"}, True),
    "perhaps out": ("unclear", {"status": "requested", "envelope_id": "e-1"}, False),
    "out for sure": ("unclear", {"status": "pending-signature", "envelope_id": "e-1"}, True),
    "lost": ("lost", {"status": "pending-signature", "envelope_id": "e-1", "lost_at": NOON}, False),
    "perhaps lost, for DocuSign is away": ("lost", {"status": "pending-signature", "envelope_id": "e-1"}, False),
    "given up": ("lost", {"status": "requested"}, True),
    "given up for another one": ("lost", {"status": "pending-signature", "envelope_id": "e-2"}, True),
    "active": ("active", {"status": "active"}, False),
    "active and closed": ("active", {"status": "closed"}, False),
    "canceled": ("canceled", {"status": "canceled"}, False),
    "declined": ("declined", {"status": "canceled", "envelope_id": "e-1"}, False),
}


@pytest.mark.parametrize("how", CONTRACTS)
def test_what_a_contract_asked_for_is_sent_as_long_as_it_can_be_done(how: str, post: PostOffice) -> None:  # noqa: F811
    """And how it ended however late: nobody would be told of either again."""
    event, values, overtaken = CONTRACTS[how]
    town = Town(post.engine)
    made = town.contract(town.lawyer(), status=values["status"])
    given = {"manual_since": None, "envelope_id": None, "lost_at": None} | values
    statement = "UPDATE litgo.contracts SET manual_since = :manual_since, envelope_id = :envelope_id, lost_at = :lost_at WHERE id = :id"
    town.execute(statement, id=made, **{name: given[name] for name in ("manual_since", "envelope_id", "lost_at")})
    number = post.tell(key=f"contract-{made}-{event}-e-1-team", details={"contract_id": str(made)})
    assert tidy(post) == Tidied(0, 0, 0)
    found = post.find(number)
    assert (found.status, str(found.trouble).startswith("overtaken")) == ("failed" if overtaken else "queued", overtaken)


def test_who_was_to_sign_by_hand_hears_only_that_the_contract_is_canceled(post: PostOffice, desk: Desk) -> None:  # noqa: F811
    """Where no vendor took a message until then; nobody is alerted of those that are not sent."""
    made = desk.requested()
    process(post.engine, None, desk.settings, lambda: desk.now)
    with post.engine.begin() as connection:
        contracts.cancel(connection, made, reason="the client gave up", actor="ana", at=NOON)
    told = "SELECT split_part(key, '-', 7), audience, status FROM litgo.notifications ORDER BY 1, 2"
    assert {row[2] for row in post.rows(told)} == {"queued"}
    post.deliver()
    assert [tuple(row) for row in post.rows(told)] == [
        ("canceled", "client", "sent"),
        ("canceled", "lawyer", "sent"),
        ("manual", "client", "failed"),
        ("manual", "lawyer", "failed"),
        ("manual", "ops", "failed"),
    ]


def test_what_waits_can_be_hurried(post: PostOffice) -> None:  # noqa: F811
    """After keys were set a person need not wait for the pauses to end."""
    number = post.tell(post.person())
    (held,) = post.claim()
    post.finish(held, Later("away", NOON + timedelta(hours=3)))
    assert post.deliver().sent == {}
    with post.engine.begin() as connection:
        assert notifications.hurry(connection, post.clock()) == 1
    assert post.deliver().sent == {"push": 1}
    assert post.stands(number) == ("sent", "push")
