"""Mailing through SendGrid: what is asked, what its answers mean, and that no mail is sent twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
from litgo_pipelines.integrations.sendgrid import Address, Mail, Mailed, SendGrid
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.settings import SettingsError, load_settings
from litgo_pipelines.simulation.vendors.sendgrid import KEY, SendGridStandIn
from litgo_pipelines.simulation.vendors.server import Behaviour, Cut, FaultyServer, Hang, Reply, Reset, faulty_server
from litgo_pipelines_tests.integrations.published import published

SLACK = 0.5
ANA = Address("ana@example.com", "Ana Souza")
LETTER = Mail([ANA], "Nova oferta\nde caso", "Há um caso para você.", {"notification_id": "7"})


@pytest.fixture
def vendor() -> SendGridStandIn:
    return SendGridStandIn()


@pytest.fixture
def server(vendor: SendGridStandIn) -> Iterator[FaultyServer]:
    with faulty_server(vendor.answer) as found:
        yield found


def sendgrid(server: FaultyServer, ledger: Any, **changes: Any) -> SendGrid:
    given = {"sendgrid_base_url": server.url, "sendgrid_api_key": KEY, "sendgrid_timeout": 0.6, "sendgrid_deadline": 2.0}
    found = SendGrid.of(load_settings(**(given | changes)), ledger)
    assert found is not None
    return found


def test_a_mail_goes_out_with_its_mark(server: FaultyServer, vendor: SendGridStandIn, ledger: PostgresCallLedger) -> None:
    """From us, in plain text, in one line of subject, untracked; SendGrid's id comes from the header."""
    found = sendgrid(server, ledger, litgo_controller_name="Justa").send(LETTER)
    assert found == Mailed(vendor.mailed[0].id)
    (received,) = server.requests
    assert (received.method, received.path, received.headers["Authorization"]) == ("POST", "/v3/mail/send", f"Bearer {KEY}")
    assert received.json() == {
        "personalizations": [{"to": [{"email": "ana@example.com", "name": "Ana Souza"}], "custom_args": {"notification_id": "7"}}],
        "from": {"email": "litgo@example.com", "name": "Justa"},
        "subject": "Nova oferta de caso",
        "content": [{"type": "text/plain", "value": "Há um caso para você."}],
        "tracking_settings": {"click_tracking": {"enable": False, "enable_text": False}, "open_tracking": {"enable": False}},
    }


def test_what_is_asked_is_what_sendgrid_published(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """Method, path, and every name in the body, with one reader and with several."""
    app = sendgrid(server, ledger)
    app.send(LETTER)
    app.send(Mail([ANA, Address("rui@example.com")], "Alerta", "Olhe."))
    for one in server.requests:
        published("sendgrid").check(one)


def test_nobody_is_named_twice(server: FaultyServer, vendor: SendGridStandIn, ledger: PostgresCallLedger) -> None:
    """SendGrid refuses a mail that does."""
    sendgrid(server, ledger).send(Mail([ANA, Address("ANA@example.com"), Address("rui@example.com")], "a", "b"))
    assert vendor.mailed[0].to == ("ANA@example.com", "rui@example.com")


def test_a_mail_without_an_id_was_taken_as_well(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """202 is what counts; the id is for looking it up."""
    server.fail(Reply(202, b""))
    assert sendgrid(server, ledger).send(LETTER) == Mailed(None)


@pytest.mark.parametrize("status", [200, 204])
def test_another_status_of_success_says_neither(status: int, server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """The sandbox looks at a mail and answers 200: nobody can tell that it was sent."""
    server.fail(Reply(status, b""))
    with pytest.raises(VendorUnavailable, match="malformed") as told:
        sendgrid(server, ledger).send(LETTER)
    assert told.value.maybe_taken


@pytest.mark.parametrize("lost", [Reset(), Cut(), Reply(500), Reply(503), Reply(408)], ids=["reset", "cut", "500", "503", "408"])
def test_what_may_have_been_sent_is_not_sent_again(
    lost: Behaviour, server: FaultyServer, vendor: SendGridStandIn, ledger: PostgresCallLedger
) -> None:
    """One request; the error says that nobody knows."""

    def lose(received: Any) -> Behaviour:
        vendor.answer(received)
        return lost

    server.answer = lose
    with pytest.raises(VendorUnavailable) as told:
        sendgrid(server, ledger).send(LETTER)
    assert (told.value.maybe_taken, len(server.requests), len(vendor.mailed)) == (True, 1, 1)


def test_what_certainly_was_not_sent_is_sent_again(server: FaultyServer, vendor: SendGridStandIn, ledger: PostgresCallLedger) -> None:
    """Within the same call, where SendGrid says when."""
    server.fail(Reply(429, headers={"Retry-After": "0"}))
    assert sendgrid(server, ledger).send(LETTER) == Mailed(vendor.mailed[0].id)
    assert (len(server.requests), len(vendor.mailed)) == (2, 1)


def test_a_sendgrid_that_is_not_there_has_taken_nothing(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """No connection, nothing sent."""
    with pytest.raises(VendorUnavailable, match="connect") as told:
        sendgrid(server, ledger, sendgrid_base_url="http://127.0.0.1:1").send(LETTER)
    assert (told.value.maybe_taken, told.value.requests) == (False, 3)


@pytest.mark.parametrize("fault", [Hang(), Reply(202, trickle=0.2, trickle_from="head")], ids=["hang", "trickle"])
def test_a_vendor_that_does_not_end_is_cut_off_in_time(fault: Behaviour, server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """Within the deadline, with one request."""
    server.answer = lambda _: fault
    started = time.monotonic()
    with pytest.raises(VendorUnavailable, match="timeout") as told:
        sendgrid(server, ledger).send(LETTER)
    assert time.monotonic() - started < 0.6 + SLACK
    assert (told.value.maybe_taken, len(server.requests)) == (True, 1)


def test_a_wrong_key_is_refused_and_not_told(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """In SendGrid's words for a program, in ours for people."""
    with pytest.raises(VendorRefused, match="sendgrid refused mail with 401: check its key") as told:
        sendgrid(server, ledger, sendgrid_api_key="SG.wrong").send(LETTER)
    assert "SG.wrong" not in str(told.value)
    assert "authorization" in told.value.body


def test_without_a_key_there_is_no_sendgrid(ledger: PostgresCallLedger) -> None:
    """The rest has defaults."""
    assert SendGrid.of(load_settings(), ledger) is None
    with pytest.raises(SettingsError, match="SENDGRID_API_KEY"):
        SendGrid.of(load_settings(sendgrid_api_key="SG.\x7f"), ledger)


@pytest.mark.parametrize("mail", [Mail([Address("nobody")], "a", "b"), Mail([], "a", "b"), Mail([ANA], "", "b"), Mail([ANA], "a", "")])
def test_the_stand_in_refuses_what_sendgrid_refuses(
    mail: Mail, server: FaultyServer, vendor: SendGridStandIn, ledger: PostgresCallLedger
) -> None:
    """With 400 and a list of errors, and mails nothing."""
    with pytest.raises(VendorRefused) as told:
        sendgrid(server, ledger).send(mail)
    assert (told.value.status, vendor.mailed) == (400, [])
    assert "errors" in told.value.body
