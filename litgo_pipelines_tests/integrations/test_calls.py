"""Calls to a server that fails: bounded in time, repeated where that is harmless, one row a request."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from litgo_pipelines.integrations.attempts import Attempt
from litgo_pipelines.integrations.breaker import Breaker
from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable, call
from litgo_pipelines.integrations.policies import Deadline, Policy, Repeat, policies_of
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.settings import load_settings
from litgo_pipelines.simulation.vendors.server import Behaviour, Cut, FaultyServer, Hang, Reply, Reset

SLACK = 0.5


def as_json(answer: httpx.Response) -> Any:
    return answer.json()


def ask(server: FaultyServer | str, policy: Policy, ledger: Any, **more: Any) -> Any:
    url = server if isinstance(server, str) else server.url
    return call(policy, "embed", httpx.Request("POST", f"{url}/v1", json={"input": "x"}), as_json, ledger=ledger, **more)


def rows(engine: Engine) -> list[tuple[str, int]]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT outcome, number FROM litgo.external_calls ORDER BY id"))
        return [(row.outcome, row.number) for row in found]


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_an_answer_comes_back_read_and_is_written_down(
    server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """One request, one row; its moment and its duration are those of the request."""
    server.fail(Reply.json({"vector": [1, 2]}, latency=0.1))
    before = datetime.now(UTC)
    assert ask(server, policy, ledger) == {"vector": [1, 2]}
    assert [(one.method, one.path, one.json()) for one in server.requests] == [("POST", "/v1", {"input": "x"})]
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM litgo.external_calls")).one()
    assert (row.service, row.operation, row.outcome, row.number, row.status, row.error_class) == ("vendor", "embed", "ok", 1, 200, None)
    assert before <= row.started_at <= datetime.now(UTC)
    assert 100 <= row.duration_ms <= (datetime.now(UTC) - before).total_seconds() * 1000


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Reset(), "broken"),
        (Cut(), "broken"),
        (Reply(500), "http_5xx"),
        (Reply(503), "http_5xx"),
        (Reply(429), "http_429"),
        (Reply(408), "http_408"),
        (Reply(429, headers={"Retry-After": "soon"}), "http_429"),
        (Reply(429, headers={"Retry-After": "-5"}), "http_429"),
    ],
)
def test_what_may_pass_is_tried_again(
    fault: Behaviour, outcome: str, server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """The whole request is sent again, body included, and each one has its row; a Retry-After that makes no sense changes nothing."""
    server.fail(fault)
    assert ask(server, policy, ledger) == {}
    assert [one.json() for one in server.requests] == [{"input": "x"}] * 2
    assert rows(engine) == [(outcome, 1), ("ok", 2)]


def test_a_vendor_that_stays_down_is_asked_as_often_as_the_policy_says(
    server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """Then a clear error tells how often and what the last one was."""
    server.answer = lambda _: Reply(500)
    with pytest.raises(VendorUnavailable, match=r"vendor gave no usable answer to embed .*3; the last: http_5xx") as told:
        ask(server, policy, ledger)
    assert (told.value.outcome, told.value.requests, told.value.maybe_taken) == ("http_5xx", 3, True)
    assert len(server.requests) == 3
    assert rows(engine) == [("http_5xx", 1), ("http_5xx", 2), ("http_5xx", 3)]


BOUNDED: dict[str, Behaviour] = {
    "hang": Hang(),
    "late": Reply(latency=30),
    "trickling body": Reply(body=b"x" * 60, trickle=0.2),
    "trickling head": Reply(trickle=0.2, trickle_from="head"),
}


@pytest.mark.parametrize("fault", BOUNDED)
def test_an_answer_that_does_not_end_is_cut_off_at_the_deadline(
    fault: str, server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """However it keeps the line busy: one request gets all the time there is, and no more."""
    server.answer = lambda _: BOUNDED[fault]
    started = time.monotonic()
    with pytest.raises(VendorUnavailable, match="timeout") as told:
        ask(server, replace(policy, deadline=0.8), ledger)
    assert 0.8 <= time.monotonic() - started < 0.8 + SLACK
    assert told.value.maybe_taken
    assert len(server.requests) == 1
    assert rows(engine) == [("timeout", 1)]


def test_each_request_has_its_own_bound_within_the_deadline(
    server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """A request that hangs is given up early enough to try again."""
    server.fail(Hang())
    started = time.monotonic()
    assert ask(server, replace(policy, timeout=0.3), ledger) == {}
    assert time.monotonic() - started < 0.3 + 0.5 + SLACK
    assert rows(engine) == [("timeout", 1), ("ok", 2)]


def test_repetitions_end_with_the_deadline_too(server: FaultyServer, policy: Policy, ledger: PostgresCallLedger) -> None:
    """Pauses count: no request begins after the deadline, and none is waited for in vain."""
    server.answer = lambda _: Reply(503)
    started = time.monotonic()
    with pytest.raises(VendorUnavailable):
        ask(server, replace(policy, deadline=1.5, attempts=100), ledger)
    assert time.monotonic() - started < 1.5 + SLACK
    assert 2 <= len(server.requests) <= 4


def test_calls_may_share_a_deadline(server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine) -> None:
    """The second has what the first left over; without any time left no request is made."""
    deadline = Deadline.after(0.5)
    ask(server, policy, ledger, deadline=deadline)
    server.answer = lambda _: Hang()
    started = time.monotonic()
    with pytest.raises(VendorUnavailable, match="timeout"):
        ask(server, policy, ledger, deadline=deadline)
    assert time.monotonic() - started < 0.5 + SLACK
    with pytest.raises(VendorUnavailable, match="no time was left") as told:
        ask(server, policy, ledger, deadline=deadline)
    assert (told.value.requests, told.value.maybe_taken) == (0, False)
    assert rows(engine) == [("ok", 1), ("timeout", 1), ("no_time", 0)]
    assert len(server.requests) == 2


@pytest.mark.parametrize("said", [lambda: "1", lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)])
def test_a_vendor_is_given_the_pause_it_asks_for(
    said: Callable[[], str], server: FaultyServer, policy: Policy, ledger: PostgresCallLedger
) -> None:
    """In seconds or as a date, where it fits into the time that is left."""
    arrived: list[float] = []

    def answer(_: object) -> Reply:
        arrived.append(time.monotonic())
        return Reply(429, headers={"Retry-After": said()}) if len(arrived) == 1 else Reply()

    server.answer = answer
    ask(server, policy, ledger)
    assert len(arrived) == 2
    assert 0.9 <= arrived[1] - arrived[0] < 3


@pytest.mark.parametrize("said", ["60", "999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_pause_that_does_not_fit_ends_the_call_at_once(
    said: str, server: FaultyServer, policy: Policy, ledger: PostgresCallLedger
) -> None:
    """Nobody waits for what cannot come in time; a number that nobody would wait for counts as none."""
    server.answer = lambda _: Reply(429, headers={"Retry-After": said})
    started = time.monotonic()
    with pytest.raises(VendorUnavailable) as told:
        ask(server, policy, ledger)
    assert not told.value.maybe_taken
    assert time.monotonic() - started < 2.5
    assert len(server.requests) == (3 if len(said) > 100 else 1)


@pytest.mark.parametrize(("status", "outcome"), [(400, "http_4xx"), (401, "http_4xx"), (404, "http_4xx"), (302, "http_3xx")])
def test_a_refusal_is_told_at_once(
    status: int, outcome: str, server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """Without another request, and without following a redirect; the answer's text is for programs alone."""
    server.answer = lambda _: Reply(status, b"the secret of Maria", {"Location": "/elsewhere"})
    with pytest.raises(VendorRefused, match=f"vendor refused embed with {status}") as told:
        ask(server, policy, ledger)
    assert (told.value.status, told.value.body) == (status, "the secret of Maria")
    assert "Maria" not in str(told.value)
    assert len(server.requests) == 1
    assert rows(engine) == [(outcome, 1)]


def test_a_refusal_tells_whether_an_earlier_attempt_may_have_been_taken(
    server: FaultyServer, policy: Policy, ledger: PostgresCallLedger
) -> None:
    """The refusal itself was none; the attempt before it may have been."""
    server.answer = lambda _: Reply(403)
    with pytest.raises(VendorRefused) as alone:
        ask(server, policy, ledger)
    server.fail(Reset())
    with pytest.raises(VendorRefused) as after_a_reset:
        ask(server, policy, ledger)
    server.fail(Reply(429))
    with pytest.raises(VendorRefused) as after_too_many:
        ask(server, policy, ledger)
    assert [one.value.maybe_taken for one in (alone, after_a_reset, after_too_many)] == [False, True, False]


@pytest.mark.parametrize("body", [b"<html>Maria</html>", b"", b"[1]", b"[" * 100_000, b'{"Maria": 1}', b'{"data": "\xff"}'])
def test_an_answer_of_another_shape_is_no_answer(
    body: bytes, server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """It is not asked for again, for it was done; what it said is not repeated in the error."""
    server.answer = lambda _: Reply(body=body)
    request = httpx.Request("GET", server.url)
    with pytest.raises(VendorUnavailable, match="malformed") as told:
        call(policy, "embed", request, lambda answer: answer.json()["data"], ledger=ledger)
    assert told.value.maybe_taken
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__
    assert "Maria" not in str(told.value)
    assert rows(engine) == [("malformed", 1)]


@pytest.mark.parametrize("error", [ZeroDivisionError, RecursionError, OverflowError, MemoryError, OSError])
def test_whatever_reading_raises_speaks_against_the_vendor(
    error: type[Exception], server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """Callers know two errors alone, and a breaker must open for a vendor whose answers nobody can read."""

    def read(_: httpx.Response) -> None:
        raise error("Maria")

    closes = replace(policy, breaker=Breaker(failures=2, seconds=60.0))
    for outcome in ("malformed", "malformed", "breaker_open"):
        with pytest.raises(VendorUnavailable) as told:
            call(closes, "embed", httpx.Request("GET", server.url), read, ledger=ledger)
        assert (told.value.outcome, "Maria" in str(told.value)) == (outcome, False)
    assert rows(engine) == [("malformed", 1), ("malformed", 1), ("breaker_open", 0)]


def test_an_answer_without_measure_is_no_answer(
    server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that says yes nor one that says no."""
    monkeypatch.setattr("litgo_pipelines.integrations.transport.MOST_BYTES", 100)
    server.fail(Reply(200, b'"%s"' % (b"x" * 100)), Reply(400, b"x" * 101))
    for _ in range(2):
        with pytest.raises(VendorUnavailable, match="malformed") as told:
            ask(server, policy, ledger)
        assert told.value.maybe_taken
    assert rows(engine) == [("malformed", 1), ("malformed", 1)]


@pytest.mark.parametrize(
    ("repeat", "fault", "requests"),
    [
        ("never", Reply(429), 1),
        ("never", Reply(500), 1),
        ("if not taken", Reply(429), 3),
        ("if not taken", Reply(500), 1),
        ("if not taken", Reply(408), 1),
        ("if not taken", Reset(), 1),
        ("if not taken", Cut(), 1),
        ("always", Reset(), 3),
    ],
)
def test_what_the_vendor_may_have_done_is_repeated_only_where_the_policy_allows(
    repeat: Repeat, fault: Behaviour, requests: int, server: FaultyServer, policy: Policy, ledger: PostgresCallLedger
) -> None:
    """And the error says whether it may have been done."""
    server.answer = lambda _: fault
    with pytest.raises(VendorUnavailable) as told:
        ask(server, replace(policy, repeat=repeat), ledger)
    assert len(server.requests) == told.value.requests == requests
    assert told.value.maybe_taken == (fault != Reply(429))


def test_a_vendor_that_cannot_be_reached_has_done_nothing(policy: Policy, ledger: PostgresCallLedger, engine: Engine) -> None:
    """A refused connection is tried again even where only untaken requests are, and the error says that nothing was done."""
    with pytest.raises(VendorUnavailable, match="connect") as told:
        ask(f"http://127.0.0.1:{closed_port()}", replace(policy, repeat="if not taken"), ledger)
    assert not told.value.maybe_taken
    assert rows(engine) == [("connect", 1), ("connect", 2), ("connect", 3)]


@pytest.mark.parametrize(
    ("url", "headers"), [("ftp://127.0.0.1", {}), ("127.0.0.1/x", {}), ("http://127.0.0.1", {"Authorization": "key-of-ours\n"})]
)
def test_a_request_that_cannot_be_sent_is_not_the_vendors_fault(
    url: str, headers: dict[str, str], policy: Policy, ledger: PostgresCallLedger, engine: Engine, server: FaultyServer
) -> None:
    """It is told at once, without the key in the message, and counts as no request."""
    request = httpx.Request("GET", url.replace("http://127.0.0.1", server.url), headers=headers)
    with pytest.raises(VendorRefused, match="cannot be sent to vendor") as told:
        call(policy, "embed", request, as_json, ledger=ledger)
    assert told.value.status is None
    assert "key-of-ours" not in str(told.value)
    assert rows(engine) == [("invalid", 0)]
    assert server.requests == []


def test_nothing_secret_reaches_the_ledger(server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, engine: Engine) -> None:
    """Not the key, the address's query, what was sent or what was answered, whether it went well or not."""
    server.fail(Reply(500, b"secret-answer"), Reply(200, b"secret-answer"), Reply(401, b"secret-answer"))
    for refused in (VendorUnavailable, VendorRefused):
        request = httpx.Request(
            "POST", f"{server.url}/secret-path?token=secret-query", json={"to": "secret-person"}, headers={"Authorization": "secret-key"}
        )
        with pytest.raises(refused) as told:
            call(policy, "send_mail", request, as_json, ledger=ledger)
        assert "secret" not in str(told.value)
    with engine.connect() as connection:
        found = [dict(row) for row in connection.execute(text("SELECT * FROM litgo.external_calls ORDER BY id")).mappings()]
    assert [row["outcome"] for row in found] == ["http_5xx", "malformed", "http_4xx"]
    assert "secret" not in json.dumps(found, default=str)
    assert set(found[0]) == {"id", "service", "operation", "outcome", "number", "started_at", "duration_ms", "status", "error_class"}


@pytest.mark.parametrize("operation", ["maria@example.com", "GET /v1/users?id=1", "", "11987654321"])
def test_an_operation_is_a_fixed_word(operation: str, server: FaultyServer, policy: Policy, ledger: PostgresCallLedger) -> None:
    """An address or a number in its place is refused before anything is sent."""
    with pytest.raises(ValueError, match="fixed word"):
        call(policy, operation, httpx.Request("GET", server.url), as_json, ledger=ledger)
    assert server.requests == []


def test_cookies_of_a_vendor_do_not_travel(server: FaultyServer, policy: Policy, ledger: PostgresCallLedger) -> None:
    """Calls know nothing of each other."""
    server.answer = lambda _: Reply(headers={"Set-Cookie": "session=1; Path=/"})
    for _ in range(2):
        ask(server, policy, ledger)
    assert [one.headers.get("Cookie") for one in server.requests] == [None, None]


class BrokenLedger(PostgresCallLedger):
    """Can be read, but not written."""

    def record(self, attempt: Any) -> None:
        raise RuntimeError(f"no room for {attempt}")


def test_an_answer_is_not_lost_with_its_row(server: FaultyServer, policy: Policy, engine: Engine) -> None:
    """A ledger that fails after the request would make a caller send again what was sent."""
    assert ask(server, policy, BrokenLedger(engine)) == {}
    assert len(server.requests) == 1


def test_policies_come_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each vendor has its own bounds; only embeddings, which change nothing, are repeated whatever happened."""
    monkeypatch.setenv("DOCUSIGN_TIMEOUT", "7")
    monkeypatch.setenv("SENDGRID_DEADLINE", "9")
    monkeypatch.setenv("LITGO_BREAKER_FAILURES", "2")
    found = policies_of(load_settings())
    assert {name: (one.timeout, one.deadline, one.repeat) for name, one in found.items()} == {
        "openai": (30, 25, "always"),
        "docusign": (7, 25, "if not taken"),
        "onesignal": (15, 25, "if not taken"),
        "sendgrid": (15, 9, "if not taken"),
    }
    assert all((one.service, one.breaker.failures, one.breaker.seconds) == (name, 2, 60) for name, one in found.items())


def test_the_database_keeps_rows_as_they_are(ledger: PostgresCallLedger, engine: Engine) -> None:
    """None is changed, none of the last 30 days is deleted; older ones may go."""
    now = datetime.now(UTC)
    ledger.record(Attempt("vendor", "embed", "ok", 1, now, 1.0))
    ledger.record(Attempt("vendor", "embed", "ok", 1, now - timedelta(days=31), 1.0))
    for statement in ("UPDATE litgo.external_calls SET outcome = 'timeout'", "DELETE FROM litgo.external_calls"):
        with pytest.raises(Exception, match="added, never changed"), engine.begin() as connection:
            connection.execute(text(statement))
    with engine.begin() as connection:
        old = connection.execute(text("DELETE FROM litgo.external_calls WHERE started_at < now() - interval '30 days'"))
        assert old.rowcount == 1
