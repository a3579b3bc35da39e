"""What Dagster writes to the console, as lines like ours: of an error the class and the way, no message; of an event its kind and its ids.

What goes to Dagster's storage stays as it is. Dagster has settings for more loggers, but none for those that it makes by itself, so the
functions that make them are replaced. `python -m litgo_pipelines.orchestration.console dagster._daemon run …` is one of Dagster's programs
with that done; where Dagster has begun the process, loading the code location does it.
"""

from __future__ import annotations

import logging
import re
import runpy
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from litgo_pipelines.observability.redaction import masked
from litgo_pipelines.settings import LitgoError, get_settings

if TYPE_CHECKING:
    from dagster import DagsterEvent
    from dagster_shared.error import SerializableErrorInfo

_OF_PROCESSES: Final = ("dagster", "dagit", "dagster-webserver")
"""The loggers that Dagster's programs give a handler on stdout."""

_FRAME = re.compile(r"\s+File \"[^\"]*\", line \d+")
_KIND = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Failure|Interrupt|Exit|Timeout|Warning))(?=:|\s*$)")


def tidy() -> None:
    """Have this process write what Dagster tells on the console as lines of ours. Reads no settings before there is a line to write."""
    import dagster._loggers
    from dagster._core.definitions import instigation_logger
    from dagster._utils import log

    for module in (log, dagster._loggers, instigation_logger):
        if not callable(getattr(module, "create_console_logger", None)):
            raise RuntimeError(f"{module.__name__} makes its console logger in another way: adapt {__name__}")
        module.create_console_logger = _console_logger  # type: ignore[attr-defined]
    log.configure_loggers = _configure_loggers
    if logging.getLogger("dagster").handlers:
        # One of Dagster's programs loads the code location, and has set this up before.
        _take_over()


def _console_logger(name: str, level: str | int) -> logging.Logger:
    """What `dagster._utils.log.create_console_logger` gives."""
    logger = logging.Logger(name, level)
    logger.addHandler(_Console())
    return logger


def _configure_loggers(*_handler: Any, log_level: str | int = "INFO", **_formatter: Any) -> None:
    """What `dagster._utils.log.configure_loggers` does, in our format."""
    for name in _OF_PROCESSES:
        logging.getLogger(name).setLevel(log_level)
    _take_over()


def _take_over() -> None:
    for name in _OF_PROCESSES:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Console()], False
    # Dagster would write them through its logger, as text.
    warnings.showwarning = _warned  # type: ignore[assignment]  # hands on what it is given


def _warned(*told: Any) -> None:
    from litgo_pipelines.observability.logs import warned

    _set_up()
    warned(*told)


def _set_up() -> None:
    """Set logging up where nobody has."""
    from litgo_pipelines.observability.logs import configure_logging, is_configured

    if not is_configured():
        configure_logging(get_settings())


class _Console(logging.Handler):
    """Writes records of Dagster as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        from litgo_pipelines.observability.logs import get_logger, hand_on

        _set_up()
        told = getattr(record, "dagster_meta", None)
        if told is not None:
            fields = fields_of(told)
            get_logger(__name__).log(record.levelno, fields.pop("event"), exc_info=record.exc_info or None, **fields)
        else:
            hand_on(logging.makeLogRecord(record.__dict__ | {"msg": without_messages(record.getMessage()), "args": ()}))


def fields_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a line about what a run, a sensor or a schedule told Dagster (its `dagster_meta`); None is for what is not known.

    An event is told by its kind, for its text may quote anything. What was told in words keeps them.
    """
    event = told.get("dagster_event")
    fields = {"run_id": told.get("run_id"), "job": told.get("job_name"), "step": told.get("step_key"), "tick_of": told.get("name")}
    words = without_messages(told["orig_message"]) if event is None else event.event_type_value
    return {"event": words, **{key: value for key, value in fields.items() if value is not None}, **_of_event(event)}


def _of_event(event: DagsterEvent | None) -> dict[str, Any]:
    if event is None:
        return {}
    data = event.event_specific_data
    found = {"asset": None if event.asset_key is None else event.asset_key.to_user_string(), "check": getattr(data, "check_name", None)}
    told = {key: value for key, value in found.items() if value is not None}
    error = getattr(data, "error", None)
    if error is None:
        return told
    # What Dagster itself raised around it tells nothing more.
    error = error.cause or error
    told["error"] = str(error.cls_name)
    # A run that fails because a step did repeats what was told of that.
    return told if getattr(data, "first_step_failure_event", None) is not None else told | {"exception": "\n".join(_trace(error))}


def _trace(error: SerializableErrorInfo) -> Iterator[str]:
    """As `redaction.trace_of` tells an error, of one that Dagster has noted down."""
    before = error.cause or error.context
    if before is not None:
        yield from _trace(before)
        yield "which led to" if error.cause is not None else "in whose handling came"
    if error.stack:
        yield "Traceback (most recent call last):"
        yield "".join(error.stack).rstrip()
    kind, _, message = error.message.strip().partition(": ")
    ours = kind in {f"{one.__module__}.{one.__qualname__}" for one in _all(LitgoError)}
    yield f"{kind}: {masked(message)}" if ours else (kind if _KIND.fullmatch(kind) else str(error.cls_name))


def _all(kind: type[LitgoError]) -> Iterator[type[LitgoError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _all(below)


def without_messages(text: str) -> str:
    """A text of Dagster's with the errors that it quotes below its first line told by their classes and ways."""
    first, *rest = text.splitlines() or [""]
    kept, source = [first], False
    for line in rest:
        if _FRAME.match(line) or (source and line[:1].isspace()):
            kept.append(line)
        elif found := _KIND.match(line):
            kept.append(found[1])
        source = _FRAME.match(line) is not None
    return "\n".join(kept)


def main() -> None:
    """Run one of Dagster's modules, named by the first argument, with the others."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m litgo_pipelines.orchestration.console MODULE ARGUMENTS")
    tidy()
    _set_up()
    module = sys.argv[1]
    if module == "dagster_webserver":
        _quieten_uvicorn()
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _quieten_uvicorn() -> None:
    """Let its lines go the way of all others."""
    import uvicorn.config

    uvicorn.config.LOGGING_CONFIG.update(handlers={}, loggers={})


if __name__ == "__main__":
    main()
