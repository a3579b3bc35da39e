"""How log lines look: JSON lines for machines, readable ones for a terminal, always on stderr and in UTC.

What is logged is the callers' business.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from litgo_pipelines.settings import Settings


def is_readable(settings: Settings, stream: TextIO) -> bool:
    """Whether lines on this stream are meant for a person."""
    return settings.litgo_log_format == "console" or (settings.litgo_log_format == "auto" and stream.isatty())


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send this process's log lines, those of the standard library included, to `stream` (default: stderr).

    A JSON line has the keys `timestamp` (ISO 8601, UTC), `level`, `logger`, `event` and what the caller bound.
    Libraries are heard from level warning on, below that with `LITGO_LOG_LEVEL=debug` alone.
    """
    level = getattr(logging, settings.litgo_log_level.upper())
    stream = sys.stderr if stream is None else stream
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    rendering: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if is_readable(settings, stream)
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # What libraries tell at level info is about themselves.
    root.setLevel("DEBUG" if settings.litgo_log_level == "debug" else max(logging.WARNING, level))
    logging.getLogger("litgo_pipelines").setLevel(level)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module; `name` is its `__name__`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
