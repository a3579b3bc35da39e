"""How log lines look."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime, timedelta

from litgo_pipelines.observability.logs import configure_logging, get_logger
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
    get_logger("litgo_pipelines.casework").bind(case="42").info("offer sent", lawyer="Zoë")
    (line,) = _lines(stream)
    at = datetime.fromisoformat(str(line.pop("timestamp")))
    assert line == {"event": "offer sent", "level": "info", "logger": "litgo_pipelines.casework", "case": "42", "lawyer": "Zoë"}
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
