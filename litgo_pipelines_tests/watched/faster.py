"""The project's own Prometheus and Alertmanager set-up, made to look many times as often and as far back in so much less time.

Every span of rules, of panels and of notifications is divided by the same number, and so is the interval of scrapes; an hour of a
system that runs at its usual pace is a few minutes of one that has as much to do in them. Nothing else of the files changes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

PACE = 15
"""How many times as fast: Prometheus scrapes each second."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+)(ms|[smhdw])")
_SPAN = re.compile(rf"(?:{_PART.pattern})+")
# In an expression spans stand in brackets, around a colon, and behind `offset`.
_IN_EXPRESSION = re.compile(r"\[[^\]]*\]|offset\s+\d+(?:ms|[smhdw])")


def span(written: str) -> str:
    """A span such as 1h30m, so much shorter, in milliseconds."""
    return f"{max(1, round(1000 * sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(written)) / PACE))}ms"


def expression(written: str) -> str:
    """PromQL with all its spans so much shorter."""
    return _IN_EXPRESSION.sub(lambda found: _SPAN.sub(lambda one: span(one.group()), found.group()), written)


def rules(folder: Path) -> dict[str, Any]:
    """Files of rules by name."""
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for group in content["groups"]:
            if "interval" in group:
                group["interval"] = span(group["interval"])
            for rule in group["rules"]:
                rule["expr"] = expression(rule["expr"])
                if "for" in rule:
                    rule["for"] = span(rule["for"])
        found[file.name] = content
    return found


def prometheus(file: Path, targets: dict[str, str]) -> dict[str, Any]:
    """The configuration, with the addresses of scrape jobs and of Alertmanager put in.

    Args:
        targets: address by scrape job.
    """
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    found["global"] |= {name: span(found["global"][name]) for name in ("scrape_interval", "evaluation_interval")}
    found["global"]["scrape_timeout"] = found["global"]["scrape_interval"]
    for job in found["scrape_configs"]:
        job.pop("file_sd_configs")
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    found["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [targets["alertmanager"]]}]}]
    return found


def alertmanager(file: Path, webhook: str) -> dict[str, Any]:
    """The routes and what they hold back, with one webhook in the place of each receiver."""
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    found["global"] = {"resolve_timeout": "5m"}
    found.pop("templates", None)
    found["receivers"] = [
        {"name": one["name"], "webhook_configs": [{"url": f"{webhook}/{one['name']}", "send_resolved": True}]} for one in found["receivers"]
    ]
    _hurry(found["route"])
    return found


def _hurry(route: dict[str, Any]) -> None:
    for name in ("group_wait", "group_interval", "repeat_interval"):
        if name in route:
            # A repetition would look like a second notification of the same.
            route[name] = "24h" if name == "repeat_interval" else span(route[name])
    for below in route.get("routes", []):
        _hurry(below)
