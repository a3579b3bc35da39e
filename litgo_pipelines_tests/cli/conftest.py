"""The `litgo` command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Litgo = Callable[..., "subprocess.CompletedProcess[str]"]


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
