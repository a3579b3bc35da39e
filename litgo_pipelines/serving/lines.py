"""What the log lines of a request know of it: ids that are found out on the way, in the request's task or in its thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

_KNOWN: ContextVar[dict[str, str] | None] = ContextVar("litgo_known_of_the_request", default=None)


@contextmanager
def lines_of_a_request(request_id: object) -> Iterator[dict[str, str]]:
    """Let all lines of a request carry its id, and what `note` adds; the ids known by then, for the line about its end."""
    before = structlog.contextvars.get_contextvars()
    known: dict[str, str] = {}
    token = _KNOWN.set(known)
    structlog.contextvars.bind_contextvars(request_id=str(request_id))
    try:
        yield known
    finally:
        _KNOWN.reset(token)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**before)


def note(**ids: object) -> None:
    """Ids for the lines that follow, and for the one about the request's end; without a request, for none. None is not written."""
    known = _KNOWN.get()
    if known is None:
        return
    # A thread that works for a request has its context as a copy, in which the same dictionary lies.
    found = {name: str(value) for name, value in ids.items() if value is not None}
    known.update(found)
    structlog.contextvars.bind_contextvars(**found)
