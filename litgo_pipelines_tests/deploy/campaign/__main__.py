"""`python -m litgo_pipelines_tests.deploy.campaign`: healthy days and injected faults before the real alert rules, and what fired.

Example: `python -m litgo_pipelines_tests.deploy.campaign --only daemon --json`
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from litgo_pipelines_tests.deploy.campaign.conditions import CITY, MINUTE, TOWN
from litgo_pipelines_tests.deploy.campaign.faults import FAULTS
from litgo_pipelines_tests.deploy.campaign.judging import Verdict, healthy, judge
from litgo_pipelines_tests.deploy.campaign.promtool import Fired, alert_names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 if a page was sent without need, a fault was not noticed, or 5 % of the alerts were without a fault."""
    from rich.console import Console

    wanted = _parse(arguments)
    shown = Console(stderr=wanted.json)
    days = [] if wanted.only else [(size.name, healthy(size, wanted.seed)[0]) for size in (TOWN, CITY)]
    verdicts = []
    for fault in FAULTS:
        if not wanted.only or wanted.only in fault.name:
            verdicts.append(judge(fault, wanted.seed))
            if wanted.json:
                continue
            shown.print(_said(verdicts[-1]), highlight=False, markup=False)
    report = _report(days, verdicts)
    if wanted.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        shown.print_json(json.dumps(report["in all"]))
    return 0 if report["in all"]["good"] else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m litgo_pipelines_tests.deploy.campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--only", default="", help="faults whose name contains this, and no healthy day")
    parser.add_argument("--json", action="store_true", help="write JSON to stdout")
    return parser.parse_args(arguments)


def _said(one: Verdict) -> str:
    fired = ", ".join(f"{name} {_minutes(delay)}" for name, delay in one.delays.items())
    odd = ", ".join(_named(fired_one) for fired_one in one.without_fault)
    verdict = fired if one.detected else f"MISSED {fired}"
    return f"{one.fault.name:42} {verdict}; resolved {_minutes(one.resolved)}" + (f"; without a fault: {odd}" if odd else "")


def _minutes(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds / MINUTE:.0f} min"


def _named(one: Fired) -> str:
    rest = ",".join(f"{name}={value}" for name, value in one.rest.items())
    return f"{one.name}/{one.severity}{'{' + rest + '}' if rest else ''} {one.first / MINUTE:.0f}..{one.last / MINUTE:.0f} min"


def _report(days: Sequence[tuple[str, Sequence[Fired]]], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    alerts = sum(one.alerts - one.by_noise for one in verdicts)
    odd = sum(fired.episodes for one in verdicts for fired in one.without_fault)
    pages = sum(fired.severity == "page" for _, day in days for fired in day)
    caught = {name.split("/")[0] for one in verdicts for name, delay in one.delays.items() if delay is not None}
    missed = [one.fault.name for one in verdicts if not one.detected]
    share = odd / alerts if alerts else 0.0
    return {
        "healthy": {name: [_named(fired) for fired in day] for name, day in days},
        "faults": [
            {
                "fault": one.fault.name,
                "fired after seconds": one.delays,
                "resolved after seconds": one.resolved,
                "alerts": one.alerts,
                "of noise": one.by_noise,
                "without a fault": [_named(fired) for fired in one.without_fault],
            }
            for one in verdicts
        ],
        "in all": {
            "pages on healthy days": pages,
            "tickets on healthy days": dict(Counter(fired.name for _, day in days for fired in day if fired.severity == "ticket")),
            "faults": len(verdicts),
            "missed or late": missed,
            "not resolved": [one.fault.name for one in verdicts if one.resolved is None],
            "alerts": alerts,
            "of noise": sum(one.by_noise for one in verdicts),
            "without a fault": odd,
            "share": round(share, 4),
            "alerts that no fault tests": sorted(set(alert_names()) - caught - {"Watchdog"}),
            "good": not pages and not missed and share < 0.05,
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
