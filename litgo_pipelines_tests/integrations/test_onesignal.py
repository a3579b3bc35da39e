"""Pushing through OneSignal: what is asked, what its answers mean, and that the same message arrives once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
from litgo_pipelines.integrations.onesignal import NoSubscriber, OneSignal, Pushed, PushMessage
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.settings import SettingsError, load_settings
from litgo_pipelines.simulation.vendors.onesignal import APP_ID, KEY, OneSignalStandIn
from litgo_pipelines.simulation.vendors.server import Behaviour, Cut, FaultyServer, Hang, Reply, Reset, faulty_server
from litgo_pipelines_tests.integrations.published import published

SLACK = 0.5
ANA = UUID("00000000-0000-0000-0000-00000000000a")
SAME = UUID("00000000-0000-0000-0000-0000000000ff")
OFFER = PushMessage(ANA, "Nova oferta de caso", "Há um caso trabalhista para você.", SAME, {"offer_id": "o-1"})


@pytest.fixture
def vendor() -> OneSignalStandIn:
    return OneSignalStandIn()


@pytest.fixture
def server(vendor: OneSignalStandIn) -> Iterator[FaultyServer]:
    with faulty_server(vendor.answer) as found:
        yield found


def onesignal(server: FaultyServer, ledger: Any, **changes: Any) -> OneSignal:
    given = {"onesignal_base_url": server.url, "onesignal_app_id": APP_ID, "onesignal_api_key": KEY, "onesignal_timeout": 0.6}
    found = OneSignal.of(load_settings(**({**given, "onesignal_deadline": 2.0} | changes)), ledger)
    assert found is not None
    return found


def test_a_person_is_pushed_to_by_the_id_we_know(server: FaultyServer, vendor: OneSignalStandIn, ledger: PostgresCallLedger) -> None:
    """In Portuguese, whatever the phone is set to; the key is in the header alone."""
    found = onesignal(server, ledger).push(OFFER)
    assert found == Pushed(vendor.pushed[0].id)
    (received,) = server.requests
    assert (received.method, received.path, received.headers["Authorization"]) == ("POST", "/notifications", f"Bearer {KEY}")
    words = "Há um caso trabalhista para você."
    assert received.json() == {
        "app_id": APP_ID,
        "include_aliases": {"external_id": [str(ANA)]},
        "target_channel": "push",
        "headings": {"en": "Nova oferta de caso", "pt": "Nova oferta de caso"},
        "contents": {"en": words, "pt": words},
        "idempotency_key": str(SAME),
        "data": {"offer_id": "o-1"},
    }


def test_what_is_asked_is_what_onesignal_published(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """Method, path, and every name in the body."""
    onesignal(server, ledger).push(OFFER)
    published("onesignal").check(server.requests[0])


NOBODY: dict[str, Any] = {
    "empty id": {"id": "", "errors": ["All included players are not subscribed"]},
    "empty id alone": {"id": ""},
    "no id": {"errors": {"invalid_aliases": {"external_id": [str(ANA)]}}},
}


@pytest.mark.parametrize("what", NOBODY)
def test_200_without_an_id_is_not_sent(what: str, server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """OneSignal says 200 where it made no message."""
    server.fail(Reply.json(NOBODY[what]))
    assert onesignal(server, ledger).push(OFFER) == NoSubscriber()


def test_the_stand_in_knows_people_without_a_device(server: FaultyServer, vendor: OneSignalStandIn, ledger: PostgresCallLedger) -> None:
    """And makes no message for them; a later push under the same key is a first one."""
    vendor.subscribed = lambda _person: False
    assert onesignal(server, ledger).push(OFFER) == NoSubscriber()
    vendor.subscribed = lambda _person: True
    assert onesignal(server, ledger).push(OFFER) == Pushed(vendor.pushed[0].id)


UNREADABLE = {"broken JSON": b'{"id": "x', "a list": b"[]", "a number": b'{"id": 7}', "nothing": b""}


@pytest.mark.parametrize("what", UNREADABLE)
def test_an_answer_that_cannot_be_read_says_neither(what: str, server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """Neither sent nor not sent."""
    server.fail(Reply(body=UNREADABLE[what]))
    with pytest.raises(VendorUnavailable, match="malformed") as told:
        onesignal(server, ledger).push(OFFER)
    assert told.value.maybe_taken


@pytest.mark.parametrize("lost", [Reset(), Cut(), Reply(502)], ids=["reset", "cut", "502"])
def test_a_lost_answer_is_asked_for_again_and_one_push_arrives(
    lost: Behaviour, server: FaultyServer, vendor: OneSignalStandIn, ledger: PostgresCallLedger
) -> None:
    """The second request is the first one's, and is answered with its id."""
    first = iter([lost])

    def lose_one(received: Any) -> Behaviour:
        answer = vendor.answer(received)
        return next(first, answer)

    server.answer = lose_one
    assert onesignal(server, ledger).push(OFFER) == Pushed(vendor.pushed[0].id)
    assert (len(vendor.pushed), [one.json() for one in server.requests]) == (1, [server.requests[0].json()] * 2)


def test_other_messages_are_not_dropped(server: FaultyServer, vendor: OneSignalStandIn, ledger: PostgresCallLedger) -> None:
    """The key is the message's, not the person's."""
    app = onesignal(server, ledger)
    ids = {app.push(PushMessage(ANA, "a", "b", uuid4())), app.push(PushMessage(ANA, "a", "b", uuid4()))}
    assert (len(ids), len(vendor.pushed)) == (2, 2)


@pytest.mark.parametrize("fault", [Hang(), Reply(trickle=0.2, body=b"x" * 90)], ids=["hang", "trickle"])
def test_a_vendor_that_does_not_end_is_cut_off_in_time(
    fault: Behaviour, server: FaultyServer, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """Within the deadline, with one request where one takes all the time there is."""
    server.answer = lambda _: fault
    started = time.monotonic()
    with pytest.raises(VendorUnavailable, match="timeout") as told:
        onesignal(server, ledger, onesignal_deadline=0.6).push(OFFER)
    assert time.monotonic() - started < 0.6 + SLACK
    assert (told.value.maybe_taken, len(server.requests)) == (True, 1)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT service, operation, outcome FROM litgo.external_calls")).all()
    assert [tuple(one) for one in rows] == [("onesignal", "push", "timeout")]


def test_a_wrong_key_is_refused_and_not_told(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """The stand-in answers as OneSignal; the error says what to check and holds no key."""
    with pytest.raises(VendorRefused, match="onesignal refused push with 401: check its key") as told:
        onesignal(server, ledger, onesignal_api_key="os_wrong").push(OFFER)
    assert "os_wrong" not in str(told.value)


def test_without_app_or_key_there_is_no_onesignal(ledger: PostgresCallLedger) -> None:
    """Both are needed."""
    assert OneSignal.of(load_settings(), ledger) is None
    assert OneSignal.of(load_settings(onesignal_app_id=APP_ID), ledger) is None
    assert OneSignal.of(load_settings(onesignal_api_key=KEY), ledger) is None


@pytest.mark.parametrize("key", ["os_é", "os_\n"])
def test_a_key_that_cannot_be_one_is_refused_before_anything_is_sent(key: str, ledger: PostgresCallLedger) -> None:
    """By the variable's name, without the key."""
    with pytest.raises(SettingsError, match="ONESIGNAL_API_KEY") as told:
        OneSignal.of(load_settings(onesignal_app_id=APP_ID, onesignal_api_key=key), ledger)
    assert "os_" not in str(told.value)


BAD: dict[str, dict[str, Any]] = {
    "another app": {"app_id": "x"},
    "no English": {"contents": {"pt": "a"}},
    "nobody": {"include_aliases": {}},
    "no channel": {"target_channel": None},
    "a key of another kind": {"idempotency_key": "7"},
}


@pytest.mark.parametrize("what", BAD)
def test_the_stand_in_refuses_what_onesignal_refuses(what: str, server: FaultyServer, vendor: OneSignalStandIn) -> None:
    """With 400 and a list of errors, and pushes nothing."""
    import httpx

    proper = {"app_id": APP_ID, "contents": {"en": "a"}, "include_aliases": {"external_id": ["x"]}, "target_channel": "push"}
    answer = httpx.post(f"{server.url}/notifications", headers={"Authorization": f"Key {KEY}"}, json=proper | BAD[what])
    assert (answer.status_code, list(answer.json()), vendor.pushed) == (400, ["errors"], [])
    assert httpx.get(f"{server.url}/apps").status_code == 404
