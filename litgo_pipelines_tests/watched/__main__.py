"""`python -m litgo_pipelines_tests.watched`: runs a system and its watchers for some minutes and tells what they saw."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from litgo_pipelines_tests.watched import scenarios
from litgo_pipelines_tests.watched.system import missing, watched


def main() -> int:
    """0 if all went as it should."""
    if missing():
        print(f"not installed: {', '.join(missing())} (Debian: prometheus, prometheus-alertmanager)", file=sys.stderr)  # noqa: T201
        return 2
    begun = time.monotonic()

    def tell(told: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {told}", file=sys.stderr, flush=True)  # noqa: T201

    home = Path(tempfile.mkdtemp(prefix="litgo-watched-"))
    trouble: list[str] = []
    try:
        with watched(home, tell) as world, scenarios.traffic(world):
            scenarios.warm_up(world)
            for fault in (scenarios.a_job_fails, scenarios.a_vendor_is_away, scenarios.work_is_spread_unevenly):
                told = fault(world)
                if told != ["firing", "resolved"]:
                    trouble.append(f"{fault.__name__}: people were told {told}")
            for what in (scenarios.empty_panels, scenarios.empty_records, scenarios.rules_in_trouble):
                trouble += [f"{what.__name__}: {one}" for one in what(world)]
            alerts = sorted({one["labels"]["alertname"] for _, body in world.webhook.received for one in body["alerts"]})
            tell(f"people were told of: {', '.join(alerts)}")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for one in trouble:
        tell(one)
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
