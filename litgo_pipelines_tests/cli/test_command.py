"""The command as a whole: its help, its exit codes, and how errors reach a person."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from litgo_pipelines.cli import app, main
from litgo_pipelines.marketplace.embedded import EmbeddedServerError
from litgo_pipelines.settings import LitgoError

VERBS = ("demo", "up", "doctor", "simulate", "import-history", "run", "serve", "db", "settings")
HEAVY = ("dagster", "fastapi", "lightgbm", "matplotlib", "mlflow", "pandas", "pyarrow", "scipy", "sklearn", "sqlalchemy", "torch")


def _exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    code = stopped.value.code
    assert isinstance(code, int)
    return code


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks for help sees all verbs."""
    assert _exit_code("--help") == 0
    words = capsys.readouterr().out.split()
    assert {*VERBS, "dagster"} <= set(words)


@pytest.mark.parametrize("verb", [*[verb for verb in VERBS if verb != "db"], "db upgrade", "db status", "db url", "db stop"])
def test_every_verb_teaches_by_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A verb's help holds a line that can be copied."""
    assert _exit_code(*verb.split(), "--help") == 0
    assert f"litgo {verb}" in capsys.readouterr().out.partition("Example:")[2]


def test_help_imports_nothing_heavy() -> None:
    """Building the whole command loads none of the packages that take long to import."""
    code = f"import sys; from litgo_pipelines.cli.app import build_app; build_app(); print(sorted(sys.modules.keys() & {set(HEAVY)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _failing(error: BaseException) -> Callable[[], Callable[..., NoReturn]]:
    def run(**_arguments: Any) -> NoReturn:
        raise error

    return lambda: run


@pytest.mark.parametrize("kind", [LitgoError, EmbeddedServerError])
def test_what_a_person_can_mend_is_one_line(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our own errors become one line on stderr and exit code 2, even if their message has several lines."""
    monkeypatch.setattr(app, "build_app", _failing(kind("first\n  second")))
    assert _exit_code() == 2
    assert capsys.readouterr() == ("", "litgo: first second\n")


def test_ctrl_c_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupted command says nothing and exits with 130."""
    monkeypatch.setattr(app, "build_app", _failing(KeyboardInterrupt()))
    assert _exit_code() == 130
    assert capsys.readouterr() == ("", "")


def test_a_defect_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not ours is not dressed up."""
    monkeypatch.setattr(app, "build_app", _failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main([])


def test_a_wrong_variable_is_named(litgo: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """A setting that cannot be used ends any verb with one line that names the variable."""
    done = litgo("db", "status", LITGO_SERVE_PORT="many")
    assert done.returncode == 2
    assert done.stderr.startswith("litgo: ")
    assert "LITGO_SERVE_PORT" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_needs_no_settings(litgo: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """With a wrong variable one can still read what each may hold."""
    assert litgo("settings", LITGO_SERVE_PORT="many").returncode == 0
    assert litgo("db", "upgrade", "--help", LITGO_SERVE_PORT="many").returncode == 0
