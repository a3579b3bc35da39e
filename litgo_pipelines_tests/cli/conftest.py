"""The `litgo` command, as a process of its own and within the test's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from litgo_pipelines.settings import get_settings

Litgo = Callable[..., "subprocess.CompletedProcess[str]"]

NOWHERE = {
    "DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
    "DAGSTER_POSTGRES_URL": "postgresql+psycopg2://nobody@127.0.0.1:1/none",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
}
"""Services that are not there."""


@pytest.fixture
def litgo(tmp_path: Path) -> Litgo:
    """Call `litgo` with arguments and environment variables, from a folder that has nothing to do with the project."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "litgo_pipelines.cli", *arguments],
            env={**os.environ, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return call


@pytest.fixture
def services(database_url: str, tmp_path: Path) -> dict[str, str]:
    """Environment variables of services that are a test's own, of which the marketplace alone is there."""
    return NOWHERE | {"DATABASE_URL": database_url, "LITGO_HOME": str(tmp_path / "home")}


@pytest.fixture
def verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Litgo]]:
    """Name a group and environment variables, and get what calls its verbs in this process; services that are not named are not there."""
    from litgo_pipelines.cli import main

    def of(group: str, **environment: str) -> Litgo:
        for name, value in (NOWHERE | {"LITGO_HOME": str(tmp_path / "home")} | environment).items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()

        def call(*arguments: str) -> subprocess.CompletedProcess[str]:
            with pytest.raises(SystemExit) as ended:
                main([group, *arguments])
            return subprocess.CompletedProcess([group, *arguments], int(ended.value.code or 0), *capsys.readouterr())

        return call

    yield of
    get_settings.cache_clear()


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a call that succeeded told."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a call was refused with."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("litgo: ")
