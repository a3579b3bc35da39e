"""A system as its users start it, and those who watch it: `litgo up` among stand-ins for the vendors, Prometheus, Alertmanager, a webhook.

What is done to it lives in the test.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from litgo_pipelines.settings import PROJECT_FOLDER, Settings
from litgo_pipelines_tests.watched import faster

if TYPE_CHECKING:
    from sqlalchemy import Engine

DEPLOY = PROJECT_FOLDER / "deploy"
PROGRAMS = ("prometheus", "prometheus-alertmanager")
PATIENCE = 240.0
"""Seconds until something that must come about is given up."""

_PORTS = ("LITGO_DAGSTER_PORT", "LITGO_MLFLOW_PORT", "LITGO_SERVE_PORT", "LITGO_METRICS_PORT", "prometheus", "alertmanager")
_SETTINGS = {
    "LITGO_LOG_FORMAT": "json",
    # Words stand in for the vendor's model; loading another one costs a minute and shows nothing more.
    "LOCAL_EMBEDDING_MODEL": "none",
    "LITGO_OPS_EMAILS": "ops@example.com",
    # Cases are offered to nobody else by themselves: lawyers are played here.
    "LITGO_NEXT_OFFER_DAYS": "0",
    # The history must not start a training in between.
    "MIN_REVIEWS_FOR_RETRAIN": "1000000",
}


class NotInTime(AssertionError):
    """Something that had to come about did not."""


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Webhook:
    """Receives what Alertmanager sends, by receiver."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.received.append((self.path.strip("/"), body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Webhook:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def told(self, alert: str) -> list[str]:
        """`firing` and `resolved`, in the order in which it was told of an alert."""
        return [one["status"] for _, body in list(self.received) for one in body["alerts"] if one["labels"]["alertname"] == alert]


@dataclass
class Watched:
    """The system and its watchers.

    Attributes:
        engine: acts under the role `litgo_simulator`, for the people who are played and for what is broken on purpose.
        owner: the same database as its owner.
        prometheus: speaks to Prometheus.
    """

    home: Path
    environment: Mapping[str, str]
    engine: Engine
    owner: Engine
    prometheus: httpx.Client
    service: httpx.Client
    webhook: Webhook
    logs: Path
    tell: Callable[[str], None]
    _begun: float = field(default_factory=time.monotonic)

    def litgo(self, *words: str) -> str:
        """What a command prints.

        Raises:
            AssertionError: it failed.
        """
        done = _litgo(self.environment, *words)
        assert done.returncode == 0, f"litgo {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *words: str) -> str:
        """What a command says that must not succeed."""
        done = _litgo(self.environment, *words)
        assert done.returncode != 0, f"litgo {' '.join(words)} succeeded: {done.stdout}"
        return done.stderr

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression, as written for a usual pace, gives at this moment.

        Raises:
            AssertionError: Prometheus refuses it.
        """
        told = self.prometheus.post("/api/v1/query", data={"query": faster.expression(expression)}).json()
        assert told["status"] == "success", f"{expression}: {told}"
        result = told["data"]["result"]
        return [{"metric": {}, "value": result}] if told["data"]["resultType"] in ("scalar", "string") else result

    def firing(self, alert: str) -> bool:
        """Whether an alert fires, by Prometheus."""
        return bool(self.query(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
        """Wait for something.

        Raises:
            NotInTime: it does not come about.
        """
        begun = time.monotonic()
        while not condition():
            if time.monotonic() - begun > seconds:
                fire = [one["metric"].get("alertname") for one in self.query('ALERTS{alertstate="firing"}')]
                raise NotInTime(f"{what}: not within {seconds:.0f} s; firing: {fire}; {_tail(self.logs / 'up.log')}")
            time.sleep(0.5)
        self.tell(f"{what}: {time.monotonic() - begun:.0f} s")


@contextmanager
def watched(home: Path, tell: Callable[[str], None] = lambda _told: None) -> Iterator[Watched]:
    """Start all of it in a home of its own, and end it.

    Args:
        home: an empty folder, which the database's own user may enter.
    """
    from litgo_pipelines.marketplace.database import SIMULATOR_ROLE, open_engine, services_for
    from litgo_pipelines.settings import load_settings

    ports = _free_ports()
    inherited = {name: value for name, value in os.environ.items() if name not in {field.upper() for field in Settings.model_fields}}
    environment = inherited | _SETTINGS | {"LITGO_HOME": str(home)}
    environment |= {name: str(port) for name, port in ports.items() if name.isupper()}
    logs = home / "logs"
    logs.mkdir(parents=True)
    with ExitStack() as stack:
        tell("a marketplace lives")
        done = _litgo(environment, "simulate", "--lawyers", "150", "--days", "40", "--seed", "12", "--utilisation", "0.6")
        assert done.returncode == 0, done.stderr
        stack.callback(lambda: _litgo(environment, "db", "stop"))
        tell("litgo up among the stand-ins")
        up = [sys.executable, "-m", "litgo_pipelines.cli", "chaos", "vendors", "--", "litgo", "up"]
        stack.enter_context(_process(up, environment, logs / "up.log", PROJECT_FOLDER))
        services = services_for(load_settings(litgo_home=home))
        engine, owner = open_engine(services.database, SIMULATOR_ROLE), open_engine(services.database, role=None)
        stack.callback(engine.dispose)
        stack.callback(owner.dispose)
        webhook = stack.enter_context(Webhook())
        addresses = {
            "litgo-collector": f"127.0.0.1:{ports['LITGO_METRICS_PORT']}",
            "litgo-serving": f"127.0.0.1:{ports['LITGO_SERVE_PORT']}",
            "prometheus": f"127.0.0.1:{ports['prometheus']}",
            "alertmanager": f"127.0.0.1:{ports['alertmanager']}",
        }
        service = stack.enter_context(httpx.Client(base_url=f"http://{addresses['litgo-serving']}", timeout=60))
        _wait_for(lambda: service.get("/readyz").status_code == 200, "the service", logs / "up.log")
        _wait_for(lambda: httpx.get(f"http://{addresses['litgo-collector']}/metrics").status_code == 200, "the collector", logs / "up.log")
        stack.enter_context(_watchers(home, addresses, webhook, environment, logs))
        prometheus = stack.enter_context(httpx.Client(base_url=f"http://{addresses['prometheus']}", timeout=30))
        _wait_for(lambda: prometheus.get("/-/ready").status_code == 200, "Prometheus", logs / "prometheus.log")
        yield Watched(home, environment, engine, owner, prometheus, service, webhook, logs, tell)


@contextmanager
def _watchers(home: Path, addresses: Mapping[str, str], webhook: Webhook, environment: Mapping[str, str], logs: Path) -> Iterator[None]:
    folder = home / "watchers"
    (folder / "rules").mkdir(parents=True)
    for name, content in faster.rules(DEPLOY / "prometheus" / "rules").items():
        _write(folder / "rules" / name, content)
    _write(folder / "prometheus.yml", faster.prometheus(DEPLOY / "prometheus" / "prometheus.yml", dict(addresses)))
    _write(folder / "alertmanager.yml", faster.alertmanager(DEPLOY / "alertmanager" / "alertmanager.yml", webhook.url))
    prometheus = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    alertmanager = ["prometheus-alertmanager", f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'alerts'}"]
    alertmanager += [f"--web.listen-address={addresses['alertmanager']}", "--cluster.listen-address="]
    with (
        _process(alertmanager, environment, logs / "alertmanager.log", folder),
        _process([*prometheus, f"--web.listen-address={addresses['prometheus']}"], environment, logs / "prometheus.log", folder),
    ):
        yield


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _free_ports() -> dict[str, int]:
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in _PORTS}
    found = {name: one.getsockname()[1] for name, one in sockets.items()}
    for one in sockets.values():
        one.close()
    return found


def _litgo(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "litgo_pipelines.cli", *words]
    return subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=300, cwd=PROJECT_FOLDER)


@contextmanager
def _process(command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> Iterator[None]:
    from litgo_pipelines.cli.processes import die_with_parent

    with log.open("wb") as lines:
        process = subprocess.Popen(
            command, env=dict(environment), stdout=lines, stderr=subprocess.STDOUT, cwd=folder, preexec_fn=die_with_parent
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(condition: Callable[[], bool], what: str, log: Path) -> None:
    until = time.monotonic() + 120
    while True:
        with suppress(httpx.TransportError):
            if condition():
                return
        if time.monotonic() > until:
            raise NotInTime(f"{what} does not answer: {_tail(log)}")
        time.sleep(0.3)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-3000:]
