"""A real HTTP server on loopback that answers as told and fails as told. What a vendor's answers look like is given by whoever starts it.

Faults are queued and used up one a request; a request that finds none queued is answered by `answer`.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

PATIENCE = 60.0


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        latency: seconds before it begins.
        trickle: seconds before each of its bytes, from the part named on.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float = 0.0
    trickle: float = 0.0
    trickle_from: Literal["head", "body"] = "body"

    @classmethod
    def json(cls, value: object, status: int = 200, **more: Any) -> Reply:
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json"}, **more)


@dataclass(frozen=True)
class Reset:
    """The connection is reset after the request was read."""


@dataclass(frozen=True)
class Hang:
    """Nothing is answered for as long as the server lives."""


@dataclass(frozen=True)
class Cut:
    """The answer ends in the middle of its body."""


Behaviour = Reply | Reset | Hang | Cut


class FaultyServer:
    """Attributes:
    requests: all that arrived, in order, those that were met with a fault included.
    answer: what answers where no fault is queued.
    """

    def __init__(self, answer: Callable[[Received], Behaviour], remembers: bool = True) -> None:
        self.answer = answer
        self.requests: list[Received] = []
        self._remembers = remembers
        self.closing = threading.Event()
        self._faults: deque[Behaviour] = deque()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.faulty = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, *faults: Behaviour) -> None:
        """Queue what the next requests meet."""
        with self._lock:
            self._faults.extend(faults)

    def next(self, received: Received) -> Behaviour:
        with self._lock:
            if self._remembers:
                self.requests.append(received)
            if self._faults:
                return self._faults.popleft()
        return self.answer(received)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def faulty_server(answer: Callable[[Received], Behaviour] = lambda _received: Reply(), *, remembers: bool = True) -> Iterator[FaultyServer]:
    """A server that lives as long as the block; one that does not remember its requests may live for days."""
    server = FaultyServer(answer, remembers)
    try:
        yield server
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    faulty: FaultyServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that left in the middle are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        behaviour = self.server.faulty.next(Received(self.command, self.path, dict(self.headers), body))
        match behaviour:
            case Reply():
                self._reply(behaviour)
            case Cut():
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                self.close_connection = True
            case Reset():
                self._reset()
            case Hang():
                self.server.faulty.closing.wait(PATIENCE)
                self.close_connection = True

    # The standard library looks for these names.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _reply(self, reply: Reply) -> None:
        self.server.faulty.closing.wait(reply.latency)
        lines = [f"HTTP/1.1 {reply.status} Said", f"Content-Length: {len(reply.body)}", *(f"{k}: {v}" for k, v in reply.headers.items())]
        head = "\r\n".join([*lines, "", ""]).encode()
        if not reply.trickle:
            self.wfile.write(head + reply.body)
        elif reply.trickle_from == "head":
            self._trickle(head + reply.body, reply.trickle)
        else:
            self.wfile.write(head)
            self._trickle(reply.body, reply.trickle)

    def _trickle(self, what: bytes, seconds: float) -> None:
        until = time.monotonic() + PATIENCE
        for byte in _bytes(what):
            if self.server.faulty.closing.wait(seconds) or time.monotonic() > until:
                self.close_connection = True
                return
            self.wfile.write(byte)

    def _reset(self) -> None:
        self.close_connection = True
        lonely = socket.socket(fileno=self.connection.detach())
        lonely.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        lonely.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is written to stderr."""


def _bytes(what: bytes) -> Iterable[bytes]:
    return (bytes([one]) for one in what)
