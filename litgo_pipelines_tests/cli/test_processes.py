"""Child processes of the command: real ones, with real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

CHILD = """
import signal, sys, time
def end(number, frame): sys.exit(40 + number)
signal.signal(signal.SIGTERM, end); signal.signal(signal.SIGINT, end)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = f"""
import sys
from litgo_pipelines.cli.processes import run_child
sys.exit(run_child([sys.executable, "-c", {CHILD!r}], {{}}))
"""
# A program that ignores gentle signals and has a child in its own process group, as Dagster's servers do.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
print("pids", child.pid, flush=True)
time.sleep(60)
"""
MANAGER = f"""
import os, shlex, sys
from litgo_pipelines.cli.processes import LeashedManager
manager = LeashedManager()
manager.add_process("stubborn", "exec " + shlex.join([sys.executable, "-c", {STUBBORN!r}]), env=dict(os.environ))
manager.loop()
sys.exit(manager.returncode)
"""

_ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux alone")
PAIR = """
import sys
from pathlib import Path
from litgo_pipelines.cli.up import Program, _run_until_one_stops
lasting = Program("lasting", (sys.executable, "-c", "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"))
brief = Program("brief", (sys.executable, "-c", "import time; time.sleep(1)"))
sys.exit(_run_until_one_stops([lasting, brief], [], {}, Path.cwd()))
"""


def _start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def _wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert any(word in line for line in process.stdout)


def _gone(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _below(process: subprocess.Popen[str]) -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_exit_code_returned(number: signal.Signals) -> None:
    """Who stops us stops the program we run, and learns how that ended."""
    parent = _start(PARENT)
    _wait_for(parent, "ready")
    parent.send_signal(number)
    assert parent.wait(10) == 40 + number


def test_a_child_killed_by_a_signal_is_reported_as_a_shell_would() -> None:
    """A program that dies of signal N counts as exit code 128 + N."""
    parent = _start("import sys; from litgo_pipelines.cli.processes import run_child; sys.exit(run_child(['sh', '-c', 'kill -9 $$'], {}))")
    assert parent.wait(10) == 128 + signal.SIGKILL


def test_variables_and_folder_reach_the_child(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The program sees the added variables and starts in the given folder."""
    from litgo_pipelines.cli.processes import run_child

    assert run_child(["sh", "-c", "echo $LITGO_TEST; pwd"], {"LITGO_TEST": "seen"}, tmp_path) == 0
    assert capfd.readouterr().out.split() == ["seen", os.path.realpath(tmp_path)]


@_ON_LINUX
def test_a_child_does_not_outlive_a_killed_parent() -> None:
    """Even kill -9 leaves no program behind."""
    parent = _start(PARENT)
    _wait_for(parent, "ready")
    below = _below(parent)
    parent.kill()
    parent.wait()
    assert below
    assert _gone(below, 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=_ON_LINUX)])
def test_managed_programs_end_with_all_their_children(number: signal.Signals) -> None:
    """Whether we are told to stop or are killed, programs that ignore it end too, and so do the programs they started."""
    manager = _start(MANAGER)
    _wait_for(manager, "pids")
    below = _below(manager)
    manager.send_signal(number)
    manager.wait(15)
    assert len(below) >= 3
    assert _gone(below, 10)


def test_when_one_program_ends_the_others_are_ended() -> None:
    """Half a marketplace is not left running, and an end that nobody asked for is an error."""
    pair = _start(PAIR)
    _wait_for(pair, "pid ")
    below = _below(pair)
    assert pair.wait(15) == 1
    assert below
    assert _gone(below, 5)


def test_a_program_that_only_looks_on_is_started_again_when_it_dies(tmp_path: Path) -> None:
    """The others go on meanwhile; once it is told to stop, it is not started again."""
    marks = tmp_path / "marks"
    code = f"from pathlib import Path; p = Path({str(marks)!r}); p.open('a').write('x'); import sys; sys.exit(len(p.read_text()) < 3)"
    pair = _start(
        "import sys\n"
        "from pathlib import Path\n"
        "from litgo_pipelines.cli import up\n"
        "up._AGAIN_SECONDS = 0.1\n"
        f"looking = up.Program('looking', (sys.executable, '-c', {code!r}), alone=True)\n"
        "sys.exit(up._run_until_one_stops([looking], [], {}, Path.cwd()))\n"
    )
    pair.communicate(timeout=30)
    assert marks.read_text() == "xxx"


def test_a_manager_whose_programs_have_ended_is_not_ended_by_its_own_alarm() -> None:
    """The alarm that would kill deaf programs does not ring while the manager's own process exits."""
    manager = _start(
        "import os, signal, sys\n"
        "from litgo_pipelines.cli.processes import LeashedManager\n"
        "manager = LeashedManager()\n"
        "manager.add_process('brief', 'true', env=dict(os.environ))\n"
        "manager.loop()\n"
        "print('seconds left:', signal.alarm(0))\n"
    )
    told, _ = manager.communicate(timeout=30)
    assert "seconds left: 0\n" in told
