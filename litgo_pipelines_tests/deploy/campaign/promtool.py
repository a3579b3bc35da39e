"""Real Prometheus' rules on modelled series: writes a test file for `promtool test rules`, and reads what it says of alerts.

`promtool` tells what an expression gave where it was expected to give nothing. `Watchdog` fires always, so something is always told.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from litgo_pipelines.observability.deployment import RULES
from litgo_pipelines_tests.deploy.campaign.figures import Line

FIRING: Final = 'ALERTS{alertstate="firing"}'
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_TOLD: Final = re.compile(r'\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\} (\S+?)(?:, (?=\{)|$)')
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SECONDS: Final = 300


@dataclass(frozen=True)
class Fired:
    """One alert that fired, by its labels.

    Attributes:
        first: seconds from the first scrape at which it fired first; `last` likewise.
        seconds: for which it fired in all.
        episodes: how often it began to.
    """

    labels: tuple[tuple[str, str], ...]
    first: float
    last: float
    seconds: float
    episodes: int

    @property
    def name(self) -> str:
        """Of the alert."""
        return dict(self.labels)["alertname"]

    @property
    def severity(self) -> str:
        """Who is told."""
        return dict(self.labels)["severity"]

    @property
    def rest(self) -> dict[str, str]:
        """What else tells it from others of its name."""
        return {name: value for name, value in self.labels if name not in ("alertname", "alertstate", "severity", "team")}


def alert_names() -> list[str]:
    """All alerts there are rules for."""
    return list(dict.fromkeys(rule["alert"] for _, rules in _groups() for rule in rules if "alert" in rule))


def needed_rules() -> dict[str, Any]:
    """All rules of alerts, and the recording rules that they need; those for dashboards alone are left out."""
    groups = _groups()
    recorded = {rule["record"] for _, rules in groups for rule in rules if "record" in rule}
    wanted: set[str] = set()
    found = {name for _, rules in groups for rule in rules if "alert" in rule for name in _NAME.findall(rule["expr"])} & recorded
    while found:
        wanted |= found
        used = {name for _, rules in groups for rule in rules if rule.get("record") in found for name in _NAME.findall(rule["expr"])}
        found = (used & recorded) - wanted
    kept = [{"name": name, "rules": [rule for rule in rules if "alert" in rule or rule["record"] in wanted]} for name, rules in groups]
    kept = [group for group in kept if group["rules"]]
    return {"groups": sorted(kept, key=lambda group: any("alert" in rule for rule in group["rules"]))}


def evaluate(lines: Iterable[Line], step: float, ends: float, folder: Path) -> list[Fired]:
    """What fires from the first scrape to the last.

    Args:
        step: seconds between two scrapes, and between two evaluations.
        folder: for rules and series.

    Raises:
        RuntimeError: promtool does not take them, or says nothing.
    """
    rules = needed_rules()
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules, sort_keys=False, width=1000), encoding="utf-8")
    names = {name for group in rules["groups"] for rule in group["rules"] for name in _NAME.findall(rule["expr"])}
    test = folder / "campaign.yaml"
    test.write_text(_test_file([line for line in lines if line.name in names], [group["name"] for group in rules["groups"]], step, ends))
    done = subprocess.run(["promtool", "test", "rules", str(test)], capture_output=True, text=True, timeout=_SECONDS, check=False)
    said = _said(done.stdout + done.stderr)
    if "Watchdog" not in done.stdout + done.stderr or len(said) != len(_questions(step, ends)):
        raise RuntimeError(f"promtool says nothing of alerts: {(done.stdout + done.stderr)[-2000:]}")
    firsts, lasts, counts, episodes = said
    return [
        Fired(labels, firsts[labels], lasts[labels], counts[labels] * step, int(episodes.get(labels, 1)))
        for labels in firsts
        if dict(labels)["alertname"] != "Watchdog"
    ]


def _groups() -> list[tuple[str, list[dict[str, Any]]]]:
    files = sorted(RULES.glob("*.yaml"))
    return [(group["name"], group["rules"]) for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]


def _questions(step: float, ends: float) -> list[str]:
    span, each = f"{int(ends) + 1}s", f"{int(step)}s"
    return [
        f"min_over_time(timestamp({FIRING})[{span}:{each}])",
        f"max_over_time(timestamp({FIRING})[{span}:{each}])",
        f"count_over_time({FIRING}[{span}])",
        f"count_over_time(({FIRING} unless {FIRING} offset {each})[{span}:{each}])",
    ]


def _test_file(lines: Sequence[Line], groups: Sequence[str], step: float, ends: float) -> str:
    """By hand, for a writer of YAML would take longer than Prometheus."""
    head = [
        "rule_files: [rules.yaml]",
        f"evaluation_interval: {int(step)}s",
        f"group_eval_order: [{', '.join(groups)}]",
        "tests:",
        f"  - interval: {int(step)}s",
        '    external_labels: {runbooks: "https://docs.test", grafana: "https://grafana.test"}',
        "    input_series:",
    ]
    for line in lines:
        labels = ",".join(f'{name}="{value}"' for name, value in line.labels.items())
        head += [f"      - series: '{line.name}{{{labels}}}'", f"        values: '{' '.join(_written(line))}'"]
    head.append("    promql_expr_test:")
    for question in _questions(step, ends):
        head += [f"      - expr: '{question}'", f"        eval_time: {int(ends)}s"]
    return "\n".join(head) + "\n"


def _written(line: Line) -> Iterator[str]:
    """Values as promtool reads them; equal ones in a row as one."""
    values = np.round(line.values, 4)
    starts = np.flatnonzero(np.concatenate([[True], (values[1:] != values[:-1]) & ~(np.isnan(values[1:]) & np.isnan(values[:-1]))]))
    if line.nan is not None:
        starts = np.unique(np.concatenate([starts, np.flatnonzero(np.diff(line.nan.astype(int), prepend=0))]))
    seen = False
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(values)], strict=True):
        many = end - start
        if np.isnan(values[start]):
            ends_here = seen and line.ended[start]
            if ends_here:
                yield "stale"
            if many - ends_here:
                yield f"_x{many - ends_here}" if many - ends_here > 1 else "_"
            seen = False if ends_here else seen
        elif line.nan is not None and line.nan[start]:
            yield from ["NaN"] * many
            seen = True
        else:
            text = f"{values[start]:.4f}".rstrip("0").rstrip(".")
            yield text if many == 1 else f"{text}+0x{many - 1}"
            seen = True


def _said(output: str) -> list[dict[tuple[tuple[str, str], ...], float]]:
    return [
        {tuple(sorted(_LABEL.findall(labels))): float(value) for labels, value in _TOLD.findall(line.strip()[len("got:") :].strip())}
        for line in output.splitlines()
        if line.strip().startswith("got:")
    ]
