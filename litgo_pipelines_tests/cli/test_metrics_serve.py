"""`litgo metrics serve`: one process that shows all metrics, also while the database is away, and ends when told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from litgo_pipelines_tests.cli.conftest import NOWHERE, Litgo, refused


@contextmanager
def collector(home: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A collector on a free port, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {**os.environ, **NOWHERE, "LITGO_HOME": str(home), "LITGO_LOG_FORMAT": "json", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "litgo_pipelines.cli", "metrics", "serve", "--port", str(port)], env=told, stderr=subprocess.PIPE
    )
    try:
        yield process, f"http://127.0.0.1:{port}/metrics"
    finally:
        process.kill()
        process.wait()


def scraped(address: str) -> list[str]:
    """The lines of the first scrape that is answered."""
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return answer.read().decode().splitlines()
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def test_all_sources_are_shown_and_the_process_ends_when_told(database_url: str, dagster_url: str, tmp_path: Path) -> None:
    """The marketplace's figures and Dagster's, each source up; SIGTERM ends it with 0."""
    with collector(tmp_path, DATABASE_URL=database_url, DAGSTER_POSTGRES_URL=dagster_url) as (process, address):
        lines = scraped(address)
        up = {line for line in lines if line.startswith("collector_source_up")}
        assert up == {
            f'collector_source_up{{source="{name}"}} 1.0'
            for name in ("database", "events", "marketplace", "fairness", "rollout", "evidence", "vendors", "dagster", "disk")
        }
        assert 'triage_requests_total{status="error"} 0.0' in lines
        assert 'job_runs_total{job="retrain_ranker",status="failure"} 0.0' in lines
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_it_begins_without_a_database_and_says_so(tmp_path: Path) -> None:
    """What can be known is shown: that the database is away, and how full the disk is."""
    with collector(tmp_path) as (process, address):
        lines = scraped(address)
        assert "database_up 0.0" in lines
        assert 'collector_source_up{source="events"} 0.0' in lines
        assert 'collector_source_up{source="dagster"} 0.0' in lines
        assert any(line.startswith('disk_free_bytes{folder="home"}') for line in lines)
        assert not any(line.startswith("triage_requests_total{") for line in lines)
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert b"the database cannot be used yet" in errors
    assert b"Traceback" not in errors


def test_a_port_that_is_taken_is_named(litgo: Litgo, database_url: str, dagster_url: str, tmp_path: Path) -> None:
    """With the variable that moves it elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = litgo(
            "metrics",
            "serve",
            **NOWHERE | {"DATABASE_URL": database_url, "DAGSTER_POSTGRES_URL": dagster_url, "LITGO_METRICS_PORT": port},
            LITGO_HOME=str(tmp_path),
        )
    message = refused(told)
    assert port in message
    assert "LITGO_METRICS_PORT" in message


@pytest.mark.parametrize("word", ["--port", "LITGO_METRICS_PORT"])
def test_help_teaches(litgo: Litgo, word: str) -> None:
    """What it shows, to whom, and how to move it."""
    told = litgo("metrics", "serve", "--help").stdout
    assert word in told
    assert "/metrics" in told
