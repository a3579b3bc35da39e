"""The `litgo` command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

Litgo = Callable[..., "subprocess.CompletedProcess[str]"]
Verb = Callable[..., "Done"]


@dataclass(frozen=True)
class Done:
    """What a call of the command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


def call_here(group: str, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Call a group of verbs in this process, whose environment names the services."""
    from litgo_pipelines.cli import main

    def call(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main([group, *arguments])
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return call


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
