"""`litgo up`: what it refuses to start with, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from litgo_pipelines.cli.up import is_free, listeners, owner, programs
from litgo_pipelines.marketplace import embedded
from litgo_pipelines.marketplace.database import Services
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.cli.conftest import Litgo

SERVICES = Services(
    "postgresql+psycopg://somebody:secret@localhost/litgo",
    "postgresql+psycopg2://somebody:secret@localhost/dagster",
    "postgresql+psycopg2://somebody:secret@localhost/mlflow",
    "file:///artifacts",
)


@pytest.fixture
def home() -> Iterator[Path]:
    """A LITGO_HOME of its own, where the server's OS user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="litgo-test-home-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ports() -> dict[str, str]:
    """Variables that put the programs on ports that are free now."""
    names = ("LITGO_DAGSTER_PORT", "LITGO_MLFLOW_PORT", "LITGO_SERVE_PORT", "LITGO_METRICS_PORT")
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    found = {name: str(each.getsockname()[1]) for name, each in zip(names, sockets, strict=True)}
    for each in sockets:
        each.close()
    return found


def _refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("litgo: ")


def _start(home: Path, ports: dict[str, str]) -> subprocess.Popen[str]:
    environment = {**os.environ, **ports, "LITGO_HOME": str(home)}
    command = [sys.executable, "-m", "litgo_pipelines.cli", "up"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def _wait_until_everything_answers(up: subprocess.Popen[str]) -> None:
    assert up.stdout is not None
    seen = []
    for line in up.stdout:
        seen.append(line)
        if "Everything answers" in line:
            # Somebody must go on reading, or the programs wait for room to write.
            threading.Thread(target=up.stdout.read, daemon=True).start()
            return
    pytest.fail(f"it ended before everything answered:\n{''.join(seen)}")


def test_ctrl_c_leaves_no_process_behind(home: Path, ports: dict[str, str], litgo: Litgo) -> None:
    """From a fresh home everything comes to answer, others see who runs it, and Ctrl-C ends every process and the database."""
    up = _start(home, ports)
    # Reading below blocks for as long as the programs say nothing.
    guard = threading.Timer(90, up.kill)
    guard.start()
    try:
        _wait_until_everything_answers(up)
        below = psutil.Process(up.pid).children(recursive=True)
        commands = [" ".join(process.cmdline()) for process in below]
        assert owner(home) == up.pid
        found = {each["check"]: each for each in json.loads(litgo("doctor", "--json", **ports, LITGO_HOME=str(home)).stdout)["findings"]}
        assert found["ports"]["text"].endswith(f"(pid {up.pid}) and holds 4 of them")
        assert str(up.pid) in _refused(litgo("up", **ports, LITGO_HOME=str(home)))
        up.send_signal(signal.SIGINT)
        assert up.wait(30) == 130
    finally:
        guard.cancel()
        up.kill()
    ours = ("litgo_pipelines.cli serve", "litgo_pipelines.cli metrics serve")
    for part in ("dagster_webserver", "dagster._daemon", "mlflow server", "dagster api grpc", *ours):
        assert any(part in command for command in commands), (part, commands)
    assert not [process for process in below if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not embedded.status(home).running
    assert owner(home) is None


def test_a_taken_port_is_named_with_its_variable(home: Path, ports: dict[str, str], litgo: Litgo) -> None:
    """Nothing is started when a port is taken; the line says which variable to change."""
    with socket.create_server(("127.0.0.1", int(ports["LITGO_MLFLOW_PORT"]))):
        message = _refused(litgo("up", **ports, LITGO_HOME=str(home)))
    assert ports["LITGO_MLFLOW_PORT"] in message
    assert "LITGO_MLFLOW_PORT" in message


def test_two_programs_on_one_port_are_refused(home: Path, ports: dict[str, str], litgo: Litgo) -> None:
    """The same number for two programs is a mistake in the settings, and both variables are named."""
    message = _refused(litgo("up", **{**ports, "LITGO_SERVE_PORT": ports["LITGO_DAGSTER_PORT"]}, LITGO_HOME=str(home)))
    assert "LITGO_SERVE_PORT" in message
    assert "LITGO_DAGSTER_PORT" in message


def test_a_lingering_connection_does_not_take_a_port() -> None:
    """A port is free as soon as its server is gone, although connections to it are still winding down."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        assert not is_free("127.0.0.1", port)
    accepted.close()
    client.close()
    assert is_free("127.0.0.1", port)


def test_a_given_mlflow_server_is_not_started_again() -> None:
    """With MLFLOW_TRACKING_URI at a server, `up` neither runs one nor wants its port."""
    address = "http://mlflow.internal:5000"
    given, own = load_settings(mlflow_tracking_uri=address), load_settings()
    services = Services(SERVICES.database, SERVICES.dagster, address, None)
    assert {program.name for program in programs(own, SERVICES)} - {program.name for program in programs(given, services)} == {"mlflow"}
    assert {each.title for each in listeners(own)} - {each.title for each in listeners(given)} == {"MLflow"}


def test_no_password_is_on_a_command_line() -> None:
    """What everybody on the host can read in the process list holds no secret."""
    assert not any("secret" in word for program in programs(load_settings(), SERVICES) for word in program.command)


def test_dagster_s_programs_write_lines_like_ours() -> None:
    """Begun in Dagster's own way they would print the messages of errors."""
    begun = {program.name: program.command[1:4] for program in programs(load_settings(), SERVICES)}
    console = "litgo_pipelines.orchestration.console"
    assert begun["dagster"] == ("-m", console, "dagster_webserver")
    assert begun["daemon"] == ("-m", console, "dagster._daemon")


def test_mlflow_serves_the_root_that_experiments_write_to() -> None:
    """The server and those who write to the database directly agree on where artifacts are, and the server runs no jobs."""
    (mlflow,) = [program for program in programs(load_settings(), SERVICES) if program.name == "mlflow"]
    assert mlflow.environment["MLFLOW_BACKEND_STORE_URI"] == SERVICES.mlflow
    assert mlflow.environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == mlflow.environment["MLFLOW_ARTIFACTS_DESTINATION"] == "file:///artifacts"
    assert mlflow.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
