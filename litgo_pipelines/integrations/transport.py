"""One HTTP request within a hard bound of time: name look-up, connection, headers and a trickling body included.

httpx bounds single reads, not the whole, and a thread that waits cannot be stopped. So requests run in an event loop of their own,
in which whatever has not ended in time is cancelled and its connection closed. What an answer means is not known here.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of an answer's body, once it is decompressed. 2,048 vectors of OpenAI's largest model take a little more than half of it."""

# Encodings upon encodings, and those that pack more than a thousand bytes into one, would unpack beyond any bound at once.
_ENCODINGS = ("", "identity", "gzip", "deflate")
_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")

# TimeoutError is an OSError; a host name that cannot be encoded is a ValueError.
_ERRORS = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)


class CannotDecode(httpx.DecodingError):
    """An answer of which no more is read: it is too long, or encoded as nobody asked for."""


@dataclass(frozen=True)
class Exchange:
    """How a request went: an answer that was read to its end, or an error.

    Attributes:
        sent: whether anything of the request may have left this machine.
    """

    answer: httpx.Response | None
    error: Exception | None
    sent: bool


class _Loop:
    """An event loop in a thread, and the client that lives in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Vendors' cookies would travel from one call to the next.
        self._client = httpx.AsyncClient(cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])))
        threading.Thread(target=self._loop.run_forever, name="litgo-calls", daemon=True).start()

    def exchange(self, request: httpx.Request, limit: float) -> Exchange:
        running: Future[Exchange] = asyncio.run_coroutine_threadsafe(_exchange(self._client, request, limit), self._loop)
        try:
            return running.result()
        finally:
            running.cancel()


async def _exchange(client: httpx.AsyncClient, request: httpx.Request, limit: float) -> Exchange:
    sent = False

    async def trace(event: str, _info: dict[str, Any]) -> None:
        nonlocal sent
        sent = sent or event.endswith("send_request_headers.started")

    request.extensions = {**request.extensions, "timeout": httpx.Timeout(limit).as_dict(), "trace": trace}
    try:
        async with asyncio.timeout(limit):
            return Exchange(await _whole(await client.send(request, stream=True)), None, sent=True)
    except _ERRORS as error:
        return Exchange(None, error, sent)


async def _whole(answer: httpx.Response) -> httpx.Response:
    """The answer with its body, read to its end.

    Raises:
        httpx.HTTPError: there is no end, or the body cannot be used.
    """
    try:
        if answer.headers.get("Content-Encoding", "").strip().lower() not in _ENCODINGS:
            raise CannotDecode("an encoding that was not asked for", request=answer.request)
        body = bytearray()
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise CannotDecode("longer than any answer may be", request=answer.request)
    finally:
        await answer.aclose()
    headers = [(name, value) for name, value in answer.headers.raw if name.decode("latin-1").lower() not in _OF_THE_WIRE]
    return httpx.Response(answer.status_code, headers=headers, content=bytes(body), request=answer.request)


_lock = threading.Lock()
_loop: _Loop | None = None


def exchange(request: httpx.Request, limit: float) -> Exchange:
    """Send a request whose body is in memory and read the whole answer, in `limit` seconds at most; redirects are not followed."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = _Loop()
        loop = _loop
    return loop.exchange(request, limit)


def _forget() -> None:
    """A forked process has neither the thread nor a use for its parent's connections."""
    global _lock, _loop
    _lock, _loop = threading.Lock(), None


os.register_at_fork(after_in_child=_forget)
