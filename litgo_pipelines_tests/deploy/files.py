"""Prometheus' and Alertmanager's files as the tests read them, and the programs that check them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
PROMETHEUS = PROJECT / "deploy" / "prometheus"
ALERTMANAGER = PROJECT / "deploy" / "alertmanager" / "alertmanager.yml"
RUNBOOKS = PROJECT / "docs" / "runbooks"


@dataclass(frozen=True)
class Alert:
    """A rule that alerts; several may have one name and differ in their labels."""

    name: str
    expression: str
    labels: dict[str, str]
    annotations: dict[str, str]


@cache
def alerts() -> tuple[Alert, ...]:
    """All of them, by file."""
    return tuple(
        Alert(rule["alert"], rule["expr"], rule.get("labels", {}), rule.get("annotations", {}))
        for path in sorted((PROMETHEUS / "rules").glob("*.yaml"))
        for group in _read(path)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    )


@cache
def cases() -> tuple[tuple[str, bool, list[dict[str, str]]], ...]:
    """Name, whether there is any data, and the labels that are expected, of each test of an alert."""
    return tuple(
        (case["alertname"], bool(test.get("input_series")), [one["exp_labels"] for one in case["exp_alerts"]])
        for path in sorted((PROMETHEUS / "tests").glob("*.yaml"))
        for test in _read(path)["tests"]
        for case in test.get("alert_rule_test", ())
    )


def alertmanager() -> dict[str, Any]:
    """Alertmanager's configuration."""
    return _read(ALERTMANAGER)


def run(program: str, *arguments: str | Path) -> str:
    """What a program of Prometheus says; skips where it is missing, fails where it finds fault."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is missing: apt-get install prometheus prometheus-alertmanager")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _read(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
