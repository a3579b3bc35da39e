"""Thousands of messages, vendors that fail by chance, and a worker that is killed every few seconds: what became of every message.

`python -m litgo_pipelines_tests.casework.delivery_campaign --messages 10000` runs it on a PostgreSQL of its own and prints JSON. It ends
with 1 if a message was lost, told twice, or stands other than it went.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from litgo_pipelines.simulation.vendors.onesignal import APP_ID, OneSignalStandIn
from litgo_pipelines.simulation.vendors.onesignal import KEY as PUSH_KEY
from litgo_pipelines.simulation.vendors.sendgrid import KEY as MAIL_KEY
from litgo_pipelines.simulation.vendors.sendgrid import SendGridStandIn
from litgo_pipelines.simulation.vendors.server import Behaviour, Received, Reply, faulty_server
from litgo_pipelines_tests.casework.mishaps import Mishaps

if TYPE_CHECKING:
    from sqlalchemy import Engine

MOST_SECONDS = 1800.0
_LATENCY = 0.01
_CHILD = "litgo_pipelines_tests.casework.delivering_child"

# Six in ten lawyers have a device, three an address alone, and every tenth message is for the operators.
_ADD = """
INSERT INTO litgo.notifications (key, audience, recipient_id, channel, subject, body, created_at, due_at)
SELECT 'campaign:' || n, CASE WHEN n % 10 = 9 THEN 'ops' ELSE 'lawyer' END,
    CASE WHEN n % 10 < 9 THEN CAST('00000000-0000-0000-000' || n % 10 || '-' || lpad(CAST(n AS text), 12, '0') AS uuid) END,
    CASE WHEN n % 10 = 9 THEN 'email' ELSE 'push' END, 'Nova oferta de caso', 'Há um caso para você.', :at, :at
FROM generate_series(1, :messages) n
"""
_ADD_CONTACTS = """
INSERT INTO litgo.contacts (person_id, kind, email)
SELECT recipient_id, 'lawyer', 'l' || id || '@example.com' FROM litgo.notifications WHERE recipient_id IS NOT NULL
"""
_ENDED = "SELECT id, key, channel, status, vendor_id FROM litgo.notifications"


def has_device(person: str) -> bool:
    return UUID(person).bytes[9] & 15 < 6


@dataclass(frozen=True)
class Terms:
    """What a campaign is like.

    Attributes:
        kill_every: seconds that a worker may work.
        failures: share of the requests that fail before the vendor acts, and of the others whose answer is lost.
        speed: of the workers' clock, so that pauses need not be waited for.
    """

    messages: int
    kill_every: float = 3.0
    failures: float = 0.15
    speed: float = 20.0
    seed: int = 1


@dataclass(frozen=True)
class Figures:
    """What became of the messages.

    Attributes:
        ended: messages by status and channel.
        lost: messages that are gone, or have come to no end.
        pushed_twice, mailed_twice: messages that a person was told twice in the same way.
        pushed_and_mailed: messages of whose push nobody could learn whether it arrived, so that they were mailed as well.
        untrue: messages that stand as sent and were not told, or as failed and were.
        unknown_and_told: of the unknown ones, those that had been told.
    """

    messages: int
    seconds: float
    kills: int
    pushes: int
    mails: int
    requests: int
    ended: dict[str, int]
    lost: int
    pushed_twice: int
    mailed_twice: int
    pushed_and_mailed: int
    untrue: int
    unknown_and_told: int

    @property
    def flawless(self) -> bool:
        return not (self.lost or self.pushed_twice or self.mailed_twice or self.untrue)


def run(database: str, terms: Terms, tell: Callable[[str], None] = lambda _: None) -> Figures:
    """Queue the messages in an empty, migrated database, let workers deliver and die, and compare with what the vendors did."""
    from sqlalchemy import text

    from litgo_pipelines.marketplace.database import open_engine

    origin, engine = datetime.now(UTC), open_engine(database)
    with engine.begin() as connection:
        connection.execute(text(_ADD), {"messages": terms.messages, "at": origin})
        connection.execute(text(_ADD_CONTACTS))
    half = terms.failures / 2
    onesignal, sendgrid = OneSignalStandIn(subscribed=has_device), SendGridStandIn()
    lines = Mishaps(onesignal.answer, terms.seed, half, half), Mishaps(sendgrid.answer, terms.seed + 1, half, half)
    started = time.monotonic()
    with ExitStack() as stack:
        push, mail = (stack.enter_context(faulty_server(_slow(one))) for one in lines)
        settings = {
            "onesignal_base_url": push.url,
            "onesignal_app_id": APP_ID,
            "onesignal_api_key": PUSH_KEY,
            "onesignal_deadline": 2.0,
            "sendgrid_base_url": mail.url,
            "sendgrid_api_key": MAIL_KEY,
            "sendgrid_deadline": 2.0,
            "litgo_ops_emails": "ops@example.com",
            "litgo_breaker_failures": 50,
            "litgo_log_level": "error",
        }
        order = {"database": database, "settings": settings, "origin": origin.isoformat(), "speed": terms.speed}
        kills = _workers(json.dumps(order), terms, tell)
        requests = len(push.requests) + len(mail.requests)
    try:
        return _figures(engine, terms, onesignal, sendgrid, kills=kills, requests=requests, seconds=time.monotonic() - started)
    finally:
        engine.dispose()


def _slow(answer: Callable[[Received], Behaviour]) -> Callable[[Received], Behaviour]:
    """A vendor that takes a moment before it acts and one before it answers, so that workers die before, between and after."""

    def slowly(received: Received) -> Behaviour:
        time.sleep(_LATENCY)
        found = answer(received)
        return replace(found, latency=_LATENCY) if isinstance(found, Reply) else found

    return slowly


def _workers(order: str, terms: Terms, tell: Callable[[str], None]) -> int:
    """Let one worker after the other deliver and be killed, until one ends by itself; how many were killed."""
    drawn, kills, until = random.Random(terms.seed), 0, time.monotonic() + MOST_SECONDS
    while time.monotonic() < until:
        with subprocess.Popen([sys.executable, "-m", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(order + "\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == "ready\n"
            try:
                if worker.wait(terms.kill_every * drawn.uniform(0.5, 1.5)) != 0:
                    raise RuntimeError(f"a worker ended with {worker.returncode}")
                return kills
            except subprocess.TimeoutExpired:
                kills += 1
            finally:
                worker.kill()
        tell(f"{kills} workers killed")
    raise RuntimeError(f"the messages have come to no end within {MOST_SECONDS:.0f} s")


def _figures(engine: Engine, terms: Terms, onesignal: OneSignalStandIn, sendgrid: SendGridStandIn, **more: Any) -> Figures:
    from sqlalchemy import text

    with engine.connect() as connection:
        rows = connection.execute(text(_ENDED)).all()
    pushes = Counter(one.body["data"]["notification_id"] for one in onesignal.pushed)
    mails = Counter(int(one.marks["notification_id"]) for one in sendgrid.mailed)
    vendor_ids = {one.id for one in onesignal.pushed} | {one.id for one in sendgrid.mailed}
    told = {row.id: pushes[row.id] + mails[row.id] for row in rows}
    untrue = [
        row for row in rows if (row.status == "sent" and row.vendor_id not in vendor_ids) or (row.status == "failed" and told[row.id])
    ]
    ours = [row for row in rows if row.key.startswith("campaign:")]
    ended = Counter(f"{row.status} by {row.channel}" for row in ours)
    return Figures(
        messages=terms.messages,
        pushes=pushes.total(),
        mails=mails.total(),
        ended=dict(sorted(ended.items())),
        lost=terms.messages - sum(row.status in ("sent", "unknown", "failed") for row in ours),
        pushed_twice=sum(count > 1 for count in pushes.values()),
        mailed_twice=sum(count > 1 for count in mails.values()),
        pushed_and_mailed=len(pushes.keys() & mails.keys()),
        untrue=len(untrue),
        unknown_and_told=sum(row.status == "unknown" and told[row.id] > 0 for row in ours),
        **more,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    from rich.console import Console

    from litgo_pipelines_tests.bench.scratch import scratch

    parser = argparse.ArgumentParser(prog="python -m litgo_pipelines_tests.casework.delivery_campaign", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--kill-every", type=float, default=3.0, help="seconds that a worker may work, on average")
    parser.add_argument("--failures", type=float, default=0.3, help="share of the vendors' requests that go wrong")
    parser.add_argument("--speed", type=float, default=20.0, help="how much faster than others' the workers' clock runs")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args(arguments)
    progress = Console(stderr=True)
    with progress.status("starting") as shown, scratch(False, shown.update) as bench, bench.database("campaign") as url:
        found = run(url, Terms(**vars(wanted)), shown.update)
    print(json.dumps(asdict(found) | {"flawless": found.flawless}, indent=2))  # noqa: T201
    return 0 if found.flawless else 1


if __name__ == "__main__":
    sys.exit(main())
