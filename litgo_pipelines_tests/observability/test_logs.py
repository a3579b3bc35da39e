"""How log lines look."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from litgo_pipelines.observability.logs import bound, configure_logging, get_logger
from litgo_pipelines.settings import load_settings


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_machine_gets_one_json_object_a_line() -> None:
    """Away from a terminal a line holds the time in UTC, the level, the logger, the event and what was bound."""
    stream = io.StringIO()
    configure_logging(load_settings(), stream)
    get_logger("litgo_pipelines.casework").bind(case="42").info("offer sent", area="Família")
    (line,) = _lines(stream)
    at = datetime.fromisoformat(str(line.pop("timestamp")))
    assert line == {"event": "offer sent", "level": "info", "logger": "litgo_pipelines.casework", "case": "42", "area": "Família"}
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)


def test_an_exception_stays_on_its_line() -> None:
    """A traceback is part of the JSON object, not lines of its own."""
    stream = io.StringIO()
    configure_logging(load_settings(), stream)
    try:
        raise ValueError("broken")
    except ValueError:
        get_logger("litgo_pipelines").exception("could not")
    (line,) = _lines(stream)
    assert str(line["exception"]).endswith("ValueError")


def test_a_person_gets_readable_lines() -> None:
    """On a terminal the line is text, and `LITGO_LOG_FORMAT` overrules what the stream is."""
    terminal, forced = _Terminal(), _Terminal()
    configure_logging(load_settings(), terminal)
    get_logger("litgo_pipelines").info("offer sent")
    assert not terminal.getvalue().startswith("{")
    configure_logging(load_settings(litgo_log_format="json"), forced)
    get_logger("litgo_pipelines").info("offer sent")
    assert _lines(forced)[0]["event"] == "offer sent"


def test_levels_below_the_setting_are_left_out() -> None:
    """`LITGO_LOG_LEVEL` is the least severe level that is written."""
    stream = io.StringIO()
    configure_logging(load_settings(litgo_log_level="warning"), stream)
    get_logger("litgo_pipelines").info("no")
    get_logger("litgo_pipelines").warning("yes")
    assert [line["event"] for line in _lines(stream)] == ["yes"]


def test_libraries_are_heard_from_warning_on() -> None:
    """What a library tells about itself at level info is left out unless one debugs; its warnings look like ours."""
    stream, debugging = io.StringIO(), io.StringIO()
    configure_logging(load_settings(), stream)
    logging.getLogger("somelibrary").info("plugin")
    logging.getLogger("somelibrary").warning("careful with %s", "this")
    assert [(line["logger"], line["event"]) for line in _lines(stream)] == [("somelibrary", "careful with this")]
    configure_logging(load_settings(litgo_log_level="debug"), debugging)
    logging.getLogger("somelibrary").info("plugin")
    assert [line["event"] for line in _lines(debugging)] == ["plugin"]


def test_what_is_bound_is_on_every_line_until_the_block_ends() -> None:
    """Those of libraries, too; a function is asked for each line, an unknown value is left out, and what was bound before comes back."""
    stream, steps = io.StringIO(), iter(("first", None))
    configure_logging(load_settings(), stream)
    with bound(run_id="outer"):
        with bound(run_id="r", step=lambda: next(steps), case_id=None):
            get_logger("litgo_pipelines").info("one")
            logging.getLogger("somelibrary").warning("two")
        get_logger("litgo_pipelines").info("three")
    get_logger("litgo_pipelines").info("four")
    found = [{name: line[name] for name in ("run_id", "step", "case_id") if name in line} for line in _lines(stream)]
    assert found == [{"run_id": "r", "step": "first"}, {"run_id": "r"}, {"run_id": "outer"}, {}]


def test_a_machine_s_line_begins_with_when_how_bad_who_and_what() -> None:
    """So that it can be read without a tool."""
    stream = io.StringIO()
    configure_logging(load_settings(), stream)
    with bound(run_id="r"):
        get_logger("litgo_pipelines").info("done", count=3)
    (line,) = _lines(stream)
    assert list(line)[:4] == ["timestamp", "level", "logger", "event"]
    assert set(list(line)[4:]) == {"run_id", "count"}


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_holds_what_belongs_to_a_person(form: Literal["json", "console"]) -> None:
    """Ours or a library's, in the event, in a value, or in what was raised; for a machine as on a terminal."""
    stream = io.StringIO()
    configure_logging(load_settings(litgo_log_format=form), stream)
    message = " ".join(("Maria", "52998224725"))
    try:
        raise ValueError(message)
    except ValueError:
        get_logger("litgo_pipelines").exception("could not", email="maria@example.com", told="call (11) 98765-4321")
        logging.getLogger("somelibrary").exception("neither %s", "52998224725")
        logging.getLogger("somelibrary").warning("odd", exc_info=True)
    written = stream.getvalue()
    assert written.count("raise ValueError(message)") == 3
    assert [one for one in ("52998224725", "maria@", "98765", "Maria") if one in written] == []


def test_other_handlers_see_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """A line is clean before it reaches any of them."""
    configure_logging(load_settings(), io.StringIO())
    logging.getLogger().addHandler(caplog.handler)
    caplog.clear()
    get_logger("litgo_pipelines").warning("told", text="Maria", about="52998224725")
    assert "told" in caplog.text
    assert [one for one in ("Maria", "52998224725") if one in caplog.text] == []


def test_a_line_that_cannot_be_made_is_told_of_without_its_content() -> None:
    """A library that gives other arguments than its message has places for."""
    stream = io.StringIO()
    configure_logging(load_settings(), stream)
    logging.getLogger("somelibrary").warning("%d cases", "Maria")
    assert _lines(stream) == [{"level": "error", "logger": "somelibrary", "event": "a log line could not be written", "error": "TypeError"}]


def _fail() -> None:
    raise ValueError(" ".join(("Maria", "52998224725")))


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_nobody_catches_is_a_line_without_its_message(form: Literal["json", "console"], capfd: pytest.CaptureFixture[str]) -> None:
    """In a thread, in the main one, and where Python cannot raise it; with the way it came."""

    class Odd:
        def __del__(self) -> None:
            _fail()

    stream = io.StringIO()
    configure_logging(load_settings(litgo_log_format=form), stream)
    thread = threading.Thread(target=_fail, name="worker")
    thread.start()
    thread.join()
    Odd()
    try:
        _fail()
    except ValueError:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    written = stream.getvalue() + "".join(capfd.readouterr())
    assert written.count("in _fail") == 3
    assert [one for one in ("52998224725", "Maria ") if one in written] == []
    assert "worker" in written


def test_whoever_stops_a_program_or_a_thread_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C shows as ever, and a thread may end itself."""
    stream = io.StringIO()
    configure_logging(load_settings(), stream)
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert stream.getvalue() == ""
    assert capfd.readouterr().err.strip() == "KeyboardInterrupt"


def test_a_warning_is_a_line_without_what_it_quotes(capfd: pytest.CaptureFixture[str]) -> None:
    """Where it was and of what kind it is; one that is meant for a file goes there."""
    stream, other = io.StringIO(), io.StringIO()
    configure_logging(load_settings(), stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # Within the block Python shows them its own way, unless it is told otherwise.
        configure_logging(load_settings(), stream)
        warnings.warn("Maria", UserWarning, stacklevel=1)
        warnings.warn("use 'x'", FutureWarning, stacklevel=1)
    first, second = _lines(stream)
    assert (first["level"], first["logger"], first["category"]) == ("warning", "py.warnings", "UserWarning")
    assert str(first["where"]).partition(":")[0] == __file__
    assert (second["category"], second["message"]) == ("FutureWarning", "use 'x'")
    warnings.showwarning("Maria", UserWarning, "x.py", 1, other)
    assert "Maria" in other.getvalue()
    assert "Maria" not in stream.getvalue() + "".join(capfd.readouterr())


_VERB = """
from litgo_pipelines.cli import app, main
from litgo_pipelines.settings import LitgoError

def broken() -> None:
    raise {error}(" ".join(("Maria", "asks")))

app._find = lambda place: broken
main(["serve"])
"""


@pytest.mark.parametrize(("error", "code"), [("ValueError", 1), ("LitgoError", 2)])
def test_a_verb_that_fails_says_why_as_ever(error: str, code: int) -> None:
    """In one line where a person can mend it; of a defect the trace is logged."""
    done = subprocess.run([sys.executable, "-c", _VERB.format(error=error)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    if code == 2:
        assert done.stderr == "litgo: Maria asks\n"
    else:
        line = json.loads(done.stderr)
        assert line["level"] == "critical"
        assert "in broken" in line["exception"]
        assert line["exception"].endswith("ValueError")
