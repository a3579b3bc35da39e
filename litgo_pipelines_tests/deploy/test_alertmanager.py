"""Where alerts go, and which are held back because another one tells the cause."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from litgo_pipelines.observability.lint import known_names
from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines.observability.series import Recorded
from litgo_pipelines_tests.deploy.files import ALERTMANAGER, PROMETHEUS, Alert, alertmanager, alerts, run

PROGRAM = "prometheus-alertmanager" if shutil.which("prometheus-alertmanager") else "alertmanager"


def test_alertmanager_takes_its_configuration() -> None:
    """With its templates."""
    assert "1 templates" in run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "Watchdog", "severity": "info", "team": "platform"}, "dead-mans-switch"),
        ({"alertname": "DatabaseDown", "severity": "page", "team": "platform"}, "on-call"),
        ({"alertname": "ModelDegraded", "severity": "page", "team": "data"}, "on-call"),
        ({"alertname": "ModelDegraded", "severity": "ticket", "team": "data"}, "data"),
        ({"alertname": "TriagesUndecided", "severity": "ticket", "team": "legal-ops"}, "legal-ops"),
        ({"alertname": "DiskFilling", "severity": "ticket", "team": "platform"}, "platform"),
        ({"alertname": "EventsUncountable", "severity": "info", "team": "platform"}, "platform"),
        ({"alertname": "SomebodysOwn"}, "platform"),
    ],
)
def test_an_alert_goes_to_whom_it_concerns(labels: dict[str, str], receiver: str) -> None:
    """Pages to whoever is on call, the rest to its team, what bears no labels to the platform's team."""
    said = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *(f"{key}={value}" for key, value in labels.items()))
    assert said.strip() == receiver


def test_secrets_are_files() -> None:
    """No key stands in the configuration, and people are told when something is over."""
    receivers = alertmanager()["receivers"]
    assert alertmanager()["global"]["smtp_auth_password_file"].startswith("/run/secrets/")
    assert not re.search(r"(password|credentials|token|api_key|secret): ", ALERTMANAGER.read_text())
    sent = [one for each in receivers for kind in ("email_configs", "webhook_configs") for one in each.get(kind, ())]
    assert [one["send_resolved"] for one in sent].count(False) == 1


def test_every_alert_that_is_held_back_exists() -> None:
    """A name that is not there holds back nothing."""
    names = {one.name for one in alerts()}
    matchers = [text for rule in alertmanager()["inhibit_rules"] for text in (*rule["source_matchers"], *rule["target_matchers"])]
    named = {name for text in matchers if text.startswith("alertname") for name in re.search(r'"(.*)"', text)[1].split("|")}  # type: ignore[index]
    assert named <= names


def test_a_silent_collector_holds_back_all_that_needs_it() -> None:
    """And nothing that does not."""
    (rule,) = [one for one in alertmanager()["inhibit_rules"] if one["source_matchers"] == ['alertname="CollectorSilent"']]
    spared = set(re.fullmatch(r'alertname!~"(.*)"', rule["target_matchers"][0])[1].split("|"))  # type: ignore[index]
    recorded = known_names(sorted((PROMETHEUS / "rules").glob("*.yaml"))).recorded
    assert spared == {one.name for one in alerts() if not _needs_collector(one, recorded)}


def _needs_collector(alert: Alert, recorded: Mapping[str, Sequence[Recorded]]) -> bool:
    """Whether its expression, or a rule that it uses, reads what the collector exports."""
    if alert.labels.get("team") == "platform" and 'slo="serving"' in alert.expression:
        # The rules of both error budgets bear one name.
        return False
    words = _words(alert.expression)
    words |= {word for name in words & recorded.keys() for rule in recorded[name] for word in _words(str(rule.expression))}
    return bool(words & {name for metric in METRICS.values() if metric.exporter == "collector" for name in metric.sample_names})


def _words(expression: str) -> set[str]:
    return set(re.findall(r"[a-z_:][a-z0-9_:]+", expression))


@dataclass
class Inbox:
    """What a webhook received: the path, which names the receiver, and the message."""

    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, path: str, message: dict[str, Any]) -> None:
        with self.changed:
            self.received.append((path.strip("/"), message))
            self.changed.notify_all()

    def groups(self, status: str) -> Counter[tuple[str, str]]:
        """How often each group came to each receiver."""
        return Counter((who, message["groupLabels"]["alertname"]) for who, message in self.received if message["status"] == status)

    def wait(self, status: str, groups: set[tuple[str, str]]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: groups <= self.groups(status).keys(), timeout=30), self.groups(status)


@contextmanager
def inbox() -> Iterator[tuple[Inbox, int]]:
    """A webhook on loopback, and its port."""
    held = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            held.add(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield held, server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _hasty(route: dict[str, Any]) -> dict[str, Any]:
    """The same routes without the waiting."""
    quick = {"group_wait": "1s", "group_interval": "1s"}
    return route | quick | ({"routes": [_hasty(one) for one in route["routes"]]} if "routes" in route else {})


@contextmanager
def running(folder: Path, webhook: int) -> Iterator[str]:
    """Alertmanager with the project's routes and inhibition; each receiver is the webhook, under its own path."""
    found = alertmanager()
    receivers = [
        {"name": one["name"], "webhook_configs": [{"url": f"http://127.0.0.1:{webhook}/{one['name']}", "send_resolved": True}]}
        for one in found["receivers"]
    ]
    config = {"route": _hasty(found["route"]), "inhibit_rules": found["inhibit_rules"], "receivers": receivers}
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = [f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data", "--cluster.listen-address="]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, *options, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        _wait_until_ready(f"http://{address}/-/ready", process)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while True:
        assert process.poll() is None, "Alertmanager ended"
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < until, "Alertmanager does not answer"
            time.sleep(0.1)


def post(url: str, *labels: dict[str, str], over: bool = False) -> None:
    """Tell Alertmanager of alerts, as Prometheus would."""
    now = datetime.now(UTC)
    ends = now if over else now + timedelta(minutes=5)
    # One that began longer ago than its group waits is told at once, before what inhibits it is known.
    told = [{"labels": one, "startsAt": now.isoformat(), "endsAt": ends.isoformat()} for one in labels]
    request = urllib.request.Request(f"{url}/api/v2/alerts", json.dumps(told).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


def fired(name: str, index: int = 0, **labels: str) -> dict[str, str]:
    """An alert of the rules with its own labels: the first of that name, or another one."""
    rule = [one for one in alerts() if one.name == name][index]
    return {"alertname": name, **rule.labels, **labels}


def _text(labels: dict[str, str]) -> str:
    return json.dumps(labels, sort_keys=True)


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="Alertmanager is missing: apt-get install prometheus-alertmanager")
def test_each_cause_is_told_once_and_what_follows_is_held_back(tmp_path: Path) -> None:
    """A group arrives once at its receiver, an inhibited alert nowhere, and the end is told."""
    unsigned, down = fired("ContractUnsigned"), fired("DatabaseDown")
    told = [
        fired("Watchdog"),
        *(fired("NotificationsUnknown"), unsigned, down),
        *(fired("DiskFilling", 1, folder="home"), fired("DiskFilling", folder="other")),
        *(fired("BreakerOpen", service="openai"), fired("FallbackHigh", service="docusign"), fired("FallbackHigh", service="onesignal")),
    ]
    held_back = [
        *(fired("MatchingErrors"), fired("ServingErrorBudgetBurn", slo="serving"), fired("DaemonSilent", daemon="SENSOR")),
        fired("JobFailed", job="move_offers"),
        *(fired("DiskFilling", folder="home"), fired("FallbackHigh", service="openai"), fired("VendorTimeouts", service="openai")),
    ]
    with inbox() as (held, port), running(tmp_path, port) as url:
        post(url, *told, *held_back)
        expected = {
            *(("dead-mans-switch", "Watchdog"), ("on-call", "DatabaseDown"), ("on-call", "DiskFilling"), ("platform", "DiskFilling")),
            *(("legal-ops", "NotificationsUnknown"), ("legal-ops", "ContractUnsigned")),
            *(("platform", "BreakerOpen"), ("platform", "FallbackHigh")),
        }
        held.wait("firing", expected)
        post(url, unsigned, over=True)
        held.wait("resolved", {("legal-ops", "ContractUnsigned")})
    assert held.groups("firing") == dict.fromkeys(expected, 1)
    arrived = [one["labels"] for _, message in held.received if message["status"] == "firing" for one in message["alerts"]]
    assert sorted(arrived, key=_text) == sorted(told, key=_text)
    assert held.groups("resolved") == {("legal-ops", "ContractUnsigned"): 1}


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="Alertmanager is missing: apt-get install prometheus-alertmanager")
def test_the_fastest_burn_of_a_budget_is_told_alone(tmp_path: Path) -> None:
    """Of four windows one arrives, and of another budget its own."""
    serving = [fired("ServingErrorBudgetBurn", index, slo="serving") for index in range(4)]
    jobs = [fired("JobsErrorBudgetBurn", index, slo="jobs") for index in range(1, 4)]
    with inbox() as (held, port), running(tmp_path, port) as url:
        post(url, *serving, *jobs)
        held.wait("firing", {("on-call", "ServingErrorBudgetBurn"), ("data", "JobsErrorBudgetBurn")})
    windows = [(who, one["labels"]["window"]) for who, message in held.received for one in message["alerts"]]
    assert sorted(windows) == [("data", "6h"), ("on-call", "1h")]
