"""The Makefile, as far as it can be told without installing anything."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from litgo_pipelines.settings import PROJECT_FOLDER

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")

TARGETS = {"help", "setup", "demo", "up", "test", "lint", "bench", "constraints", "clean"}


def _make(*arguments: str, folder: Path = PROJECT_FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def test_make_alone_lists_every_target() -> None:
    """Who types `make` learns what there is, and nothing is done."""
    assert set(re.findall(r"^  make ([a-z]+) +\S", _make().stdout, re.MULTILINE)) == TARGETS


@pytest.mark.parametrize(("program", "reason"), [("no-such-python", "is missing"), ("./old", "Python 3.9.1 is too old")])
def test_an_unfit_python_is_named(program: str, reason: str, tmp_path: Path) -> None:
    """Without Python 3.11 or later, setup ends at once and says what to do."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT_FOLDER / name, tmp_path)
    (tmp_path / "old").write_text("#!/bin/sh\n[ $1 = --version ] && echo Python 3.9.1\n")
    (tmp_path / "old").chmod(0o755)
    done = _make("setup", f"PYTHON={program}", folder=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_no_version_is_bound_to_one_machine() -> None:
    """Constraints name plain versions: no local builds, no folders, no addresses."""
    lines = (PROJECT_FOLDER / "constraints.txt").read_text().splitlines()
    assert lines
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line) for line in lines)
