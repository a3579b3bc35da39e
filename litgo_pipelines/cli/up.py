"""`litgo up`: Dagster's web server and daemon, MLflow, the matching service and the collector as one foreground program.

They live and end together: if one stops, the others are stopped, but for the collector, which only looks on and is started again. The
embedded database is kept running as long as this process lives. What a container platform would do better (restarts, limits, several hosts)
is left to it.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from litgo_pipelines.observability.logs import is_readable
from litgo_pipelines.settings import PROJECT_FOLDER, LitgoError, Settings, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.marketplace.database import Services

WORKSPACE = PROJECT_FOLDER / "workspace.yaml"
_LOOPBACK = "127.0.0.1"
_ANSWER_WITHIN = 180.0
_AGAIN_SECONDS = 5


@dataclass(frozen=True)
class Listener:
    """Where a program listens, and the variable that moves it elsewhere."""

    title: str
    setting: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """Where a person on this host finds it."""
        return f"http://{_LOOPBACK if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"


@dataclass(frozen=True)
class Program:
    """One of the programs that `up` runs, with the variables that it alone gets.

    Attributes:
        alone: whether the others go on when it dies; it is started again.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False

    @property
    def line(self) -> str:
        """As a shell runs it. What is told to stop ends with 0, and is not started again."""
        command = shlex.join(self.command)
        return f"until {command}; do sleep {_AGAIN_SECONDS}; done" if self.alone else f"exec {command}"


def listeners(settings: Settings) -> list[Listener]:
    """All that `up` will listen on. MLflow's server is left out where `MLFLOW_TRACKING_URI` names one that runs already."""
    found = [
        Listener("Dagster", "LITGO_DAGSTER_PORT", _LOOPBACK, settings.litgo_dagster_port),
        Listener("MLflow", "LITGO_MLFLOW_PORT", _LOOPBACK, settings.litgo_mlflow_port),
        Listener("Matching service", "LITGO_SERVE_PORT", settings.litgo_serve_host, settings.litgo_serve_port),
        Listener("Metrics", "LITGO_METRICS_PORT", settings.litgo_metrics_host, settings.litgo_metrics_port),
    ]
    given = settings.mlflow_tracking_uri
    return [each for each in found if each.title != "MLflow" or given is None or not _is_server(given.get_secret_value())]


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def programs(settings: Settings, services: Services) -> list[Program]:
    """What `up` runs; see `listeners`."""
    python = (sys.executable, "-m")
    console = (*python, "litgo_pipelines.orchestration.console")
    options = ("-w", str(WORKSPACE))
    form = {"LITGO_LOG_FORMAT": "console" if is_readable(settings, sys.stdout) else "json"}
    found = [
        Program("dagster", (*console, "dagster_webserver", "-h", _LOOPBACK, "-p", str(settings.litgo_dagster_port), *options), form),
        Program("daemon", (*console, "dagster._daemon", "run", *options), form),
        Program("serve", (*python, "litgo_pipelines.cli", "serve"), form),
        Program("metrics", (*python, "litgo_pipelines.cli", "metrics", "serve"), form, alone=True),
    ]
    return found if _is_server(services.mlflow) else [*found, _mlflow(settings, services)]


def _mlflow(settings: Settings, services: Services) -> Program:
    # By environment, because a command line with the database's password can be read by everybody.
    environment = {"MLFLOW_BACKEND_STORE_URI": services.mlflow, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # Its server writes an installation id below the user's home otherwise.
    environment["XDG_CONFIG_HOME"] = str(settings.litgo_home / "cache")
    if services.mlflow_artifacts is not None:
        root = services.mlflow_artifacts
        environment |= {"MLFLOW_DEFAULT_ARTIFACT_ROOT": root, "MLFLOW_ARTIFACTS_DESTINATION": root}
    address = ("--host", _LOOPBACK, "--port", str(settings.litgo_mlflow_port))
    return Program("mlflow", (sys.executable, "-m", "mlflow", "server", *address, "--workers", "1"), environment)


def owner(home: Path) -> int | None:
    """The pid of the `litgo up` that runs on this home; None if there is none."""
    from filelock import FileLock, Timeout

    if not _lock_file(home).exists():
        return None
    try:
        with FileLock(_lock_file(home), timeout=0):
            return None
    except Timeout:
        with suppress(FileNotFoundError, ValueError):
            return int(_pid_file(home).read_text())
        return None


def _lock_file(home: Path) -> Path:
    return home / "up.lock"


def _pid_file(home: Path) -> Path:
    return home / "up.pid"


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        home.mkdir(parents=True, exist_ok=True)
        # Who only asks for the owner holds the lock for a moment, too.
        with FileLock(_lock_file(home), timeout=1):
            _pid_file(home).write_text(str(os.getpid()))
            yield
    except Timeout:
        raise LitgoError(f"`litgo up` runs already on {home} (pid {owner(home)}): stop it, or set LITGO_HOME to another folder") from None


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind, protocol) as candidate:
        # As servers do it: connections of a former one that still linger are no obstacle.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(address)
        except OSError:
            return False
    return True


def _require_free_ports(wanted: Sequence[Listener]) -> None:
    taken: dict[int, str] = {}
    for listener in wanted:
        if listener.port in taken:
            raise LitgoError(f"{listener.setting} and {taken[listener.port]} are both {listener.port}: change one of them")
        taken[listener.port] = listener.setting
        if not is_free(listener.host, listener.port):
            raise LitgoError(f"port {listener.port} for {listener.title} is taken: set {listener.setting} to a free one")


def _announce(wanted: Sequence[Listener], stopped: threading.Event) -> None:
    """Print each address once it answers."""
    waiting = list(wanted)
    deadline = time.monotonic() + _ANSWER_WITHIN
    while waiting and not stopped.wait(0.5):
        for listener in [each for each in waiting if _answers(each.address)]:
            waiting.remove(listener)
            typer.echo(f"{listener.title:>18}  {listener.address}")
            if not waiting:
                typer.echo("Everything answers. Press Ctrl-C to stop.")
        if waiting and time.monotonic() > deadline:
            typer.echo(f"Does not answer yet: {', '.join(each.title for each in waiting)}. Its lines above may say why.")
            return


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _run_until_one_stops(wanted: Sequence[Program], announced: Sequence[Listener], environment: Mapping[str, str], folder: Path) -> int:
    """Run the programs; returns the exit code: 130 or 143 when told to stop, else 1 because one stopped by itself."""
    from litgo_pipelines.cli.processes import LeashedManager

    manager = LeashedManager()
    shared = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
    for program in wanted:
        manager.add_process(program.name, program.line, env={**shared, **program.environment}, cwd=str(folder))
    stopped = threading.Event()
    threading.Thread(target=_announce, args=(announced, stopped), daemon=True).start()
    try:
        manager.loop()
    finally:
        stopped.set()
    return manager.returncode if manager.returncode in (130, 143) else 1


def up() -> None:
    """Start Dagster, MLflow, the matching service and the collector of metrics, and keep them running until Ctrl-C.

    Example: `LITGO_DAGSTER_PORT=3101 litgo up`
    """
    from litgo_pipelines.cli.dagster import dagster_environment
    from litgo_pipelines.marketplace import database

    settings = get_settings()
    with _only_one(settings.litgo_home):
        announced = listeners(settings)
        _require_free_ports(announced)
        services = database.services_for(settings)
        database.upgrade(services.database)
        environment = dagster_environment(settings, services)
        _end_orphans(environment)
        raise typer.Exit(_run_until_one_stops(programs(settings, services), announced, environment, settings.dagster_home))


def _end_orphans(environment: Mapping[str, str]) -> None:
    from litgo_pipelines.orchestration.orphans import end_orphaned_runs_here

    os.environ.update(environment)
    ended = end_orphaned_runs_here()
    count = len(ended.failed) + len(ended.canceled)
    if count:
        typer.echo(f"{count} run{'s' if count > 1 else ''} that a crash left behind ended as failed or cancelled.")
