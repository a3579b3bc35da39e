"""`litgo notification`: what a person sees of messages, and what they may do about one that did not arrive."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from litgo_pipelines.casework.notifications import Failed, Sent, Unclear
from litgo_pipelines.simulation.vendors.onesignal import APP_ID
from litgo_pipelines.simulation.vendors.onesignal import KEY as PUSH_KEY
from litgo_pipelines.simulation.vendors.sendgrid import KEY as MAIL_KEY
from litgo_pipelines_tests.casework.post import NOON, PostOffice, post  # noqa: F401 (a fixture)
from litgo_pipelines_tests.cli.conftest import Litgo, refused, said


@pytest.fixture
def verb(database_url: str, post: PostOffice, verbs: Callable[..., Litgo]) -> Litgo:  # noqa: F811
    """Call `litgo notification` on the test's outbox and vendors."""
    return verbs(
        "notification",
        DATABASE_URL=database_url,
        COLUMNS="160",
        ONESIGNAL_BASE_URL=post.push_server.url,
        ONESIGNAL_APP_ID=APP_ID,
        ONESIGNAL_API_KEY=PUSH_KEY,
        SENDGRID_BASE_URL=post.mail_server.url,
        SENDGRID_API_KEY=MAIL_KEY,
        LITGO_OPS_EMAILS="ops@example.com",
        LITGO_LOG_LEVEL="error",
    )


def ended(post: PostOffice) -> tuple[int, int, int]:  # noqa: F811
    """One message that was sent, one that failed, and one that is unknown."""
    numbers = tuple(post.tell(post.person(), subject=f"Oferta {n} [a]") for n in range(3))
    for held, ending in zip(post.claim(3), (Sent("v-1"), Failed("refused with 400"), Unclear("broken")), strict=True):
        post.finish(held, ending)
    first, second, third = numbers
    return first, second, third


def test_nothing_waits(verb: Litgo) -> None:
    """Said in words, and as JSON without words."""
    assert said(verb("list")) == "Every message was sent.\n"
    assert said(verb("list", "--status", "failed")) == "There are no such messages.\n"
    assert json.loads(said(verb("list", "--json"))) == {"messages": []}
    assert refused(verb("list", "--status", "lost")) == "no message is 'lost': --status takes queued, sending, sent, unknown, failed\n"


def test_what_was_not_sent_is_listed_with_its_reason(verb: Litgo, post: PostOffice) -> None:  # noqa: F811
    """The newest first, what was sent left out; brackets in a subject are shown as they are."""
    _, failed, unknown = ended(post)
    found = json.loads(said(verb("list", "--json")))["messages"]
    assert [(one["id"], one["status"], one["audience"]) for one in found][-2:] == [
        (unknown, "unknown", "lawyer"),
        (failed, "failed", "lawyer"),
    ]
    told = said(verb("list", "--status", "failed"))
    assert "Oferta 1 [a]" in told
    assert "refused with 400" in told
    assert "Oferta 2" not in told
    assert "Oferta 2" in said(verb("list", "--status", "failed", "--status", "unknown"))


def test_one_is_shown_with_its_text(verb: Litgo, post: PostOffice) -> None:  # noqa: F811
    """For people a line a fact, for machines one object."""
    sent, failed, _ = ended(post)
    told = said(verb("show", str(sent)))
    assert told.splitlines()[0] == f"Message {sent}: sent"
    assert "vendor id v-1" in told
    assert told.rstrip().endswith("Há um caso para você.")
    found = json.loads(said(verb("show", str(failed), "--json")))
    assert (found["trouble"], found["tries"], found["created_at"]) == ("refused with 400", 1, NOON.isoformat())
    assert "see `litgo notification list`" in refused(verb("show", "999"))


def test_what_is_due_is_delivered_now(verb: Litgo, post: PostOffice) -> None:  # noqa: F811
    """With a bar on stderr; stdout says what was done and what is left."""
    post.onesignal.subscribed = lambda _person: False
    post.clock.at = datetime.now(UTC)
    post.tell(post.person())
    post.tell(post.person(None))
    done = verb("send")
    assert done.returncode == 0
    assert "Delivering" in done.stderr
    assert done.stdout.splitlines() == [
        "Sent 0 by push and 1 by mail; 1 tries in vain.",
        "Left: 1 queued (push).",
        "See why: litgo notification list",
    ]
    post.tell()
    found = json.loads(verb("send", "--json").stdout)
    assert (found["run"]["sent"], [one["messages"] for one in found["left"]]) == ({"email": 1}, [1])


def test_a_person_sends_again(verb: Litgo, post: PostOffice) -> None:  # noqa: F811
    """By the other channel if they say so; it leaves with the next delivery, and shows who wanted it."""
    _, failed, unknown = ended(post)
    assert "is queued again, by push" in said(verb("resend", str(failed), "--by", "ana"))
    assert json.loads(said(verb("resend", str(unknown), "--channel", "email", "--by", "ana", "--json")))["channel"] == "email"
    verb("send")
    assert [post.stands(one) for one in (failed, unknown)] == [("sent", "push"), ("sent", "email")]
    assert "handled   resend by ana" in said(verb("show", str(unknown)))
    assert f"message {failed} is sent" in refused(verb("resend", str(failed)))


def test_a_person_says_what_became_of_it(verb: Litgo, post: PostOffice) -> None:  # noqa: F811
    """One of the two, with a reason."""
    sent, _, unknown = ended(post)
    assert refused(verb("settle", str(unknown), "--reason", "r")) == "say one of --sent and --failed\n"
    assert refused(verb("settle", str(unknown), "--sent", "--failed", "--reason", "r")) == "say one of --sent and --failed\n"
    assert verb("settle", str(unknown), "--sent").returncode == 2
    told = said(verb("settle", str(unknown), "--sent", "--reason", "she called", "--by", "ana"))
    assert told == f"Message {unknown} is sent: settled as sent by ana: she called\n"
    assert "There is nothing left to do" in refused(verb("settle", str(sent), "--failed", "--reason", "r"))
