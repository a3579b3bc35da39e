"""The breaker: what the ledger's rows say, seen by all threads and processes alike."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import httpx
import pytest
from sqlalchemy import Engine, text

from litgo_pipelines.integrations.attempts import FAILURES, NO_REQUEST, NOT_TAKEN, REPEATABLE, Attempt, Outcome
from litgo_pipelines.integrations.breaker import Breaker, passage
from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable, call
from litgo_pipelines.integrations.policies import Policy
from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.settings import PROJECT_FOLDER
from litgo_pipelines.simulation.vendors.server import FaultyServer, Reply

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
BREAKER = Breaker(failures=3, seconds=60)


@dataclass(frozen=True)
class Past:
    outcome: str
    ended_at: datetime


@pytest.mark.parametrize(
    ("newest_first", "after", "state"),
    [
        ("", 0, "closed"),
        ("ff", 0, "closed"),
        ("fff", 0, "open"),
        ("fff", 59, "open"),
        ("fff", 60, "half-open"),
        ("fff", 9999, "half-open"),
        ("sfff", 0, "closed"),
        ("fsff", 0, "closed"),
        ("ffsf", 0, "closed"),
        ("fffs", 0, "open"),
        ("rff", 0, "closed"),
    ],
)
def test_the_newest_requests_decide(newest_first: str, after: float, state: str) -> None:
    """So many failures in a row open it, time half-opens it, one success or refusal closes it."""
    outcome = {"f": "timeout", "s": "ok", "r": "http_4xx"}
    past = [Past(outcome[one], NOON - timedelta(seconds=number)) for number, one in enumerate(newest_first)]
    assert BREAKER.state(past, NOON + timedelta(seconds=after)) == state


def test_it_stays_open_from_the_end_of_the_last_failure() -> None:
    """A request that started first may end last."""
    past = [Past("timeout", NOON - timedelta(seconds=20)), Past("timeout", NOON), Past("timeout", NOON - timedelta(seconds=30))]
    assert BREAKER.state(past, NOON + timedelta(seconds=50)) == "open"


class Overtaken:
    """A ledger in which another probe fails between reading and holding."""

    def __init__(self) -> None:
        self.past = {"vendor": [Past("timeout", datetime.now(UTC) - timedelta(minutes=5))] * 3}

    def record(self, attempt: Attempt) -> None:
        raise AssertionError(attempt)

    def recent(self, service: str, since: datetime, most: int) -> list[Past]:
        return [one for one in self.past[service] if one.ended_at >= since][:most]

    @contextmanager
    def probe(self, service: str) -> Iterator[bool]:
        self.past[service].insert(0, Past("timeout", datetime.now(UTC)))
        yield True


def test_a_probe_that_was_overtaken_is_not_made() -> None:
    """Who waited for another's probe learns from it, instead of asking the vendor right after it."""
    with passage(BREAKER, Overtaken(), "vendor") as state:
        assert state == "open"


def test_the_database_and_the_code_know_the_same_outcomes() -> None:
    """Each outcome can be stored, and each group holds outcomes that there are."""
    every = set(get_args(Outcome))
    checks = {one.name: str(one.sqltext) for one in tables.external_calls.constraints if hasattr(one, "sqltext")}  # type: ignore[attr-defined]
    assert set(checks["ck_external_calls_outcome"].split("'")[1::2]) == every
    assert set(checks["ck_external_calls_number"].split("'")[1::2]) == NO_REQUEST
    assert every >= FAILURES | NOT_TAKEN | REPEATABLE


@pytest.fixture
def brittle(policy: Policy) -> Policy:
    """Opens after two failures, for as long as a test sets; one request a call."""
    return replace(policy, attempts=1, breaker=Breaker(failures=2, seconds=60))


def ask(server: FaultyServer, policy: Policy, ledger: PostgresCallLedger) -> object:
    return call(policy, "embed", httpx.Request("GET", server.url), lambda answer: answer.json(), ledger=ledger)


def fail(server: FaultyServer, policy: Policy, ledger: PostgresCallLedger, times: int) -> None:
    server.fail(*[Reply(500)] * times)
    for _ in range(times):
        with pytest.raises(VendorUnavailable, match="http_5xx"):
            ask(server, policy, ledger)


def failed(ledger: PostgresCallLedger, ago: timedelta) -> None:
    """Two requests failed so long ago."""
    for _ in range(2):
        ledger.record(Attempt("vendor", "embed", "timeout", 1, datetime.now(UTC) - ago, 0.0))


def outcomes(engine: Engine) -> list[tuple[str, int]]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT outcome, number FROM litgo.external_calls ORDER BY id"))
        return [(row.outcome, row.number) for row in found]


def test_a_vendor_that_fails_is_left_alone(server: FaultyServer, brittle: Policy, ledger: PostgresCallLedger, engine: Engine) -> None:
    """No request is made, which the row says; other vendors are asked as before."""
    fail(server, brittle, ledger, 2)
    with pytest.raises(VendorUnavailable, match="vendor is left alone for up to 60 s") as told:
        ask(server, brittle, ledger)
    assert (told.value.outcome, told.value.requests, told.value.maybe_taken) == ("breaker_open", 0, False)
    assert len(server.requests) == 2
    assert ask(server, replace(brittle, service="other"), ledger) == {}
    assert outcomes(engine) == [("http_5xx", 1), ("http_5xx", 1), ("breaker_open", 0), ("ok", 1)]


def test_it_opens_within_a_call_too(server: FaultyServer, brittle: Policy, ledger: PostgresCallLedger) -> None:
    """The third request of a call is not made once two have failed, and the error tells that there were two."""
    server.answer = lambda _: Reply(500)
    with pytest.raises(VendorUnavailable, match="left alone") as told:
        ask(server, replace(brittle, attempts=3), ledger)
    assert (told.value.requests, told.value.maybe_taken) == (2, True)
    assert len(server.requests) == 2


def test_being_left_alone_does_not_prolong_itself(server: FaultyServer, brittle: Policy, ledger: PostgresCallLedger) -> None:
    """Rows without a request are no failures: the time runs from the last request, however often somebody asked since."""
    failed(ledger, timedelta(seconds=30))
    for _ in range(5):
        with pytest.raises(VendorUnavailable, match="left alone"):
            ask(server, brittle, ledger)
    assert server.requests == []
    assert ask(server, replace(brittle, breaker=Breaker(failures=2, seconds=20)), ledger) == {}
    assert ask(server, brittle, ledger) == {}


def test_a_refusal_closes_it(server: FaultyServer, brittle: Policy, ledger: PostgresCallLedger) -> None:
    """Who says no is there."""
    failed(ledger, timedelta(minutes=5))
    server.fail(Reply(404))
    with pytest.raises(VendorRefused):
        ask(server, brittle, ledger)
    assert ask(server, brittle, ledger) == {}


def test_a_probe_that_fails_opens_it_again_at_once(server: FaultyServer, brittle: Policy, ledger: PostgresCallLedger) -> None:
    """It is a single request, however many the policy allows; the time starts anew."""
    failed(ledger, timedelta(minutes=5))
    server.answer = lambda _: Reply(500)
    with pytest.raises(VendorUnavailable, match="http_5xx"):
        ask(server, replace(brittle, attempts=3), ledger)
    with pytest.raises(VendorUnavailable, match="left alone"):
        ask(server, brittle, ledger)
    assert len(server.requests) == 1


def test_one_probe_at_a_time(server: FaultyServer, brittle: Policy, ledger: PostgresCallLedger) -> None:
    """Of eight that come together one is let through, seven are told to wait; afterwards all are welcome."""
    failed(ledger, timedelta(minutes=5))
    server.fail(Reply(latency=1.0))
    together = threading.Barrier(8)

    def come() -> str:
        together.wait()
        try:
            ask(server, brittle, ledger)
        except VendorUnavailable as error:
            return error.outcome
        return "ok"

    with ThreadPoolExecutor(8) as pool:
        found = sorted(one.result() for one in [pool.submit(come) for _ in range(8)])
    assert found == ["breaker_open"] * 7 + ["ok"]
    assert len(server.requests) == 1
    assert ask(server, brittle, ledger) == {}


_IN_ANOTHER_PROCESS = """
import json, sys, httpx
from litgo_pipelines.integrations.breaker import Breaker
from litgo_pipelines.integrations.calls import VendorUnavailable, call
from litgo_pipelines.integrations.policies import Policy
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.marketplace.database import open_engine
policy = Policy("vendor", 3.0, 4.0, 1, "always", Breaker(2, 60.0))
try:
    ledger = PostgresCallLedger(open_engine(sys.argv[2]))
    call(policy, "embed", httpx.Request("GET", sys.argv[1]), lambda answer: answer.json(), ledger=ledger)
    print("ok")
except VendorUnavailable as error:
    print(json.dumps([error.outcome, error.requests]))
"""


def test_another_process_sees_it_open(server: FaultyServer, brittle: Policy, ledger: PostgresCallLedger, database_url: str) -> None:
    """One that has never asked the vendor leaves it alone as well."""
    fail(server, brittle, ledger, 2)
    command = [sys.executable, "-c", _IN_ANOTHER_PROCESS, server.url, database_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=PROJECT_FOLDER, check=True)
    assert json.loads(done.stdout) == ["breaker_open", 0]
    assert len(server.requests) == 2


def test_a_probe_whose_holder_dies_lets_go(ledger: PostgresCallLedger, engine: Engine, database_url: str) -> None:
    """Its lock goes with its connection."""
    code = (
        "import sys, os\nfrom litgo_pipelines.marketplace.call_ledger import PostgresCallLedger\n"
        "from litgo_pipelines.marketplace.database import open_engine\n"
        "with PostgresCallLedger(open_engine(sys.argv[1])).probe('vendor') as mine:\n"
        "    print(mine, flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT_FOLDER
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with ledger.probe("vendor") as mine, ledger.probe("other") as others:
        assert (mine, others) == (False, True)
    holder.kill()
    holder.communicate()
    for _ in range(100):
        with ledger.probe("vendor") as mine:
            if mine:
                break
        threading.Event().wait(0.05)
    assert mine
