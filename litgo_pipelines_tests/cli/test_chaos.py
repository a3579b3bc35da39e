"""`litgo chaos`: stand-ins for as long as a command runs, and how they are told to fail meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ASK = """
import json, os, subprocess, sys, httpx
key = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
body = {"model": "text-embedding-3-small", "input": ["a"]}
ask = lambda: httpx.post(os.environ["OPENAI_BASE_URL"] + "/embeddings", headers=key, json=body).status_code
told = [ask()]
subprocess.run([sys.executable, "-m", "litgo_pipelines.cli", "chaos", "fault", "openai=none"], check=True, stdout=subprocess.DEVNULL)
told.append(ask())
names = [name for name in os.environ if name.startswith(("OPENAI_", "DOCUSIGN_", "ONESIGNAL_", "SENDGRID_"))]
print(json.dumps({"told": told, "names": len(names), "key": open(os.environ["DOCUSIGN_PRIVATE_KEY"]).readline()}))
sys.exit(7)
"""


def _litgo(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "litgo_pipelines.cli", "chaos", *words]
    return subprocess.run(command, env={**os.environ, "LITGO_HOME": str(home)}, capture_output=True, text=True, check=False, timeout=120)


def test_a_command_runs_among_vendors_that_fail_as_told(tmp_path: Path) -> None:
    """With settings that lead to all four; its exit code is ours; what fails can be changed meanwhile, and is told on stderr."""
    ended = _litgo(tmp_path, "vendors", "--fault", "openai=error", "--", sys.executable, "-c", _ASK)
    assert ended.returncode == 7, ended.stderr
    found = json.loads(ended.stdout)
    assert found["told"] == [500, 200]
    assert found["names"] >= 12
    assert found["key"].startswith("-----BEGIN PRIVATE KEY")
    lines = [line.split() for line in ended.stderr.splitlines() if line.startswith("openai")]
    assert lines == [["openai", "POST", "/v1/embeddings", "->", "error"], ["openai", "POST", "/v1/embeddings"]]


def test_without_stand_ins_nobody_can_be_told(tmp_path: Path) -> None:
    """One line that says how to start them; the kinds of faults are listed without."""
    ended = _litgo(tmp_path, "fault", "openai=hang")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "start them with `litgo chaos vendors`" in ended.stderr
    assert "never answers" in _litgo(tmp_path, "fault").stdout


@pytest.mark.parametrize(("words", "part"), [("openai", "VENDOR=KIND"), ("mailgun=hang", "openai, docusign"), ("openai=explode", "hang")])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, words: str, part: str) -> None:
    """Before anything is started."""
    ended = _litgo(tmp_path, "vendors", "--fault", words, "--", "false")
    assert ended.returncode == 2
    assert ended.stderr.startswith("litgo: ")
    assert part in ended.stderr


def test_litgo_is_this_one_and_a_program_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """As the documented example calls it, without anything on the PATH."""
    assert _litgo(tmp_path, "vendors", "--", "litgo", "chaos", "fault").stdout.startswith("none")
    ended = _litgo(tmp_path, "vendors", "--", "no-such-program")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "no-such-program" in ended.stderr
