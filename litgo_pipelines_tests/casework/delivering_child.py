"""A worker that delivers the outbox until all of it has come to an end, or until it is killed. Not a test.

It is told what it needs as one line of JSON, says `ready` when it begins, and lives by a clock that may run faster than others'.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from litgo_pipelines.casework import notifications
from litgo_pipelines.casework.delivery import Carriers, deliver
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.settings import load_settings


def faster(origin: datetime, speed: float) -> Callable[[], datetime]:
    """A clock that showed the right time at `origin` and has run `speed` times as fast since."""
    return lambda: origin + (datetime.now(UTC) - origin) * speed


def main() -> None:
    order = json.loads(sys.stdin.readline())
    engine, settings = open_engine(order["database"]), load_settings(**order["settings"])
    carriers = Carriers.of(settings, PostgresCallLedger(engine))
    clock = faster(datetime.fromisoformat(order["origin"]), order["speed"])
    print("ready", flush=True)  # noqa: T201
    while True:
        deliver(engine, carriers, settings, clock=clock)
        with engine.connect() as connection:
            if not any(one.status in ("queued", "sending") for one in notifications.standing(connection)):
                return
        time.sleep(0.05)


if __name__ == "__main__":
    main()
