"""A program whose children begin to move the alias and are killed on the way. Not a test.

It imports once what is slow to import, and makes no connection and no thread of its own. For each line of JSON that it reads it starts
a child process, which goes through the steps of a move up to the one that is named, and then kills itself with SIGKILL. How the child
ended is answered as a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm  # noqa: F401  (imported once, for all children)
import mlflow.lightgbm  # noqa: F401
import psycopg  # noqa: F401

from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.rollout.registry import Registry
from litgo_pipelines.rollout.transitions import promotion_steps, rollback_steps


def move(order: dict[str, Any]) -> None:
    """Take the steps, and die after the one that is named."""
    engine, registry = open_engine(order["database"]), Registry(order["mlflow"], Path(order["cache"]))
    at = datetime.fromisoformat(order["at"])
    given: dict[str, Any] = {"clock": lambda: at, **order["given"]}
    if order["action"] == "promotion":
        steps = promotion_steps(engine, registry, order["version"], order["expected"], **given)
    else:
        steps = rollback_steps(engine, registry, version=order["version"], cooldown=timedelta(hours=24), **given)
    for step in steps:
        if step == order["die_after"]:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                move(json.loads(line))
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
