"""How log lines look: JSON lines for machines, readable ones for a terminal, always on stderr and in UTC, and without personal data.

Warnings, and errors that nobody catches, are lines as well.
What is logged is the callers' business; what may be written of it is decided in `redaction`. The keys are told in `docs/logs.md`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog

from litgo_pipelines.observability.redaction import redacted, trace_of, warning_of

if TYPE_CHECKING:
    from litgo_pipelines.settings import Settings

_FIRST: Final = ("timestamp", "level", "logger", "event")


def is_readable(settings: Settings, stream: TextIO) -> bool:
    """Whether lines on this stream are meant for a person."""
    return settings.litgo_log_format == "console" or (settings.litgo_log_format == "auto" and stream.isatty())


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send this process's log lines, those of the standard library included, to `stream` (default: stderr).

    So are warnings and errors that nobody catches, in whatever thread.

    A JSON line has the keys `timestamp` (ISO 8601, UTC), `level`, `logger`, `event`, what was bound, and what the caller told.
    Libraries are heard from level warning on, below that with `LITGO_LOG_LEVEL=debug` alone.
    """
    level = getattr(logging, settings.litgo_log_level.upper())
    stream = sys.stderr if stream is None else stream
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _asked,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # What others have hung into `logging` gets to see no more of what is told here.
    cleaning: list[Any] = [_traced, _redacted]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *cleaning,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    rendering: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if is_readable(settings, stream)
        else [_ordered, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
    )
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, *cleaning], processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # What libraries tell at level info is about themselves.
    root.setLevel("DEBUG" if settings.litgo_log_level == "debug" else max(logging.WARNING, level))
    logging.getLogger("litgo_pipelines").setLevel(level)
    warnings.showwarning = warned
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def is_configured() -> bool:
    """Whether this process's lines are as `configure_logging` makes them."""
    return any(isinstance(one, _Handler) for one in logging.getLogger().handlers)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module; `name` is its `__name__`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def bound(**known: Any) -> Iterator[None]:
    """Let every line of this thread, or task, carry what is known, until the block ends. None is not written.

    A value may be a function without arguments: it is asked when a line is written.
    """
    known = {name: value for name, value in known.items() if value is not None}
    before = structlog.contextvars.get_contextvars()
    structlog.contextvars.bind_contextvars(**known)
    try:
        yield
    finally:
        # A block in a generator may be left in another context than it was entered in, so no token of one is kept.
        structlog.contextvars.unbind_contextvars(*known)
        structlog.contextvars.bind_contextvars(**{name: before[name] for name in known if name in before})


def hand_on(record: logging.LogRecord) -> None:
    """Write what a logger received that does not hand its records on itself."""
    for handler in logging.getLogger().handlers:
        handler.handle(record)


def warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """A warning as a line; takes what `warnings.showwarning` takes."""
    if file is not None:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))
        return
    get_logger("py.warnings").warning("a warning", **warning_of(message, category), where=f"{filename}:{lineno}")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        get_logger(__name__).critical("an error that nobody caught", exc_info=error.with_traceback(trace))


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    error = found.exc_type() if found.exc_value is None else found.exc_value
    if isinstance(error, SystemExit):
        return
    thread = None if found.thread is None else found.thread.name
    get_logger(__name__).critical("an error that nobody caught", thread=thread, exc_info=error.with_traceback(found.exc_traceback))


def _unraisable(found: Any) -> None:
    """What was raised where Python can raise nothing, as at the end of an object."""
    if found.exc_value is not None:
        get_logger(__name__).error("an error that nobody can catch", exc_info=found.exc_value)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines. One that cannot be made is told of without what it was made of."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        error = sys.exc_info()[0]
        told = {"level": "error", "logger": record.name, "event": "a log line could not be written"}
        self.stream.write(json.dumps(told | {"error": None if error is None else error.__name__}) + "\n")


def _asked(_logger: Any, _method: str, fields: dict[str, Any]) -> dict[str, Any]:
    """What was bound as a function, and nothing of what is not known."""
    values = {key: value() if callable(value) else value for key, value in fields.items()}
    return {key: value for key, value in values.items() if value is not None or key == "event"}


def _traced(_logger: Any, _method: str, fields: dict[str, Any]) -> dict[str, Any]:
    """`exception` in place of what was raised."""
    raised = fields.pop("exc_info", None)
    if raised and not isinstance(raised, BaseException):
        raised = raised[1] if isinstance(raised, tuple) else sys.exc_info()[1]
    return fields | {"exception": trace_of(raised)} if raised else fields


def _redacted(_logger: Any, _method: str, fields: dict[str, Any]) -> dict[str, Any]:
    return redacted(fields)


def _ordered(_logger: Any, _method: str, fields: dict[str, Any]) -> dict[str, Any]:
    """What every line has first, so that lines can be read without a tool, too."""
    return {key: fields[key] for key in _FIRST if key in fields} | fields
