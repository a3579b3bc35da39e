"""The loop that requests run in: shared by threads, not by forked processes."""

from __future__ import annotations

import gzip
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from litgo_pipelines.integrations import transport
from litgo_pipelines.simulation.vendors.server import FaultyServer, Hang, Reply


def status(url: str) -> int | None:
    found = transport.exchange(httpx.Request("GET", url), 3.0)
    return found.answer.status_code if found.answer else None


def test_a_forked_process_has_a_loop_of_its_own(server: FaultyServer) -> None:
    """Its parent's thread is not there; waiting for it would last for ever."""
    assert status(server.url) == 200
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(status, (server.url,)).get(timeout=20) == 200


def test_one_that_hangs_holds_nobody_up(server: FaultyServer) -> None:
    """Requests of many threads run side by side."""
    server.fail(*[Hang()] * 4)
    with ThreadPoolExecutor(4) as pool:
        hanging = [pool.submit(transport.exchange, httpx.Request("GET", server.url), 1.5) for _ in range(4)]
        until = time.monotonic() + 1
        while len(server.requests) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        assert status(server.url) == 200
        assert not any(one.done() for one in hanging)
        assert all(one.result().sent and one.result().answer is None for one in hanging)


def test_a_name_that_is_not_there_is_never_sent_to() -> None:
    """The error is kept, for its class is written down."""
    found = transport.exchange(httpx.Request("GET", "http://nobody.invalid"), 3.0)
    assert (found.answer, found.sent) == (None, False)
    assert found.error is not None


def test_an_answer_in_many_parts_is_whole(server: FaultyServer) -> None:
    """It is read to its end, also where it comes slowly."""
    server.fail(Reply(body=b"abcdef", trickle=0.02))
    found = transport.exchange(httpx.Request("GET", server.url), 3.0)
    assert found.answer is not None
    assert found.answer.content == b"abcdef"


def test_an_answer_is_read_up_to_a_bound(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it no more is read, though it would come for minutes."""
    monkeypatch.setattr(transport, "MOST_BYTES", 6)
    server.fail(Reply(body=b"abcdef"), Reply(body=b"x" * 2000, trickle=0.05))
    whole, long = (transport.exchange(httpx.Request("GET", server.url), 5.0) for _ in range(2))
    assert (whole.answer and whole.answer.content, whole.error) == (b"abcdef", None)
    assert (long.answer, type(long.error), long.sent) == (None, transport.CannotDecode, True)
    assert status(server.url) == 200


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br"])
def test_what_unpacks_to_more_than_fits_is_refused(encoding: str, server: FaultyServer) -> None:
    """A short answer may hold gigabytes; of those that were packed more than once nothing is unpacked."""
    packed = gzip.compress(bytes(transport.MOST_BYTES + 1), 1)
    assert len(packed) < transport.MOST_BYTES / 100
    server.fail(Reply(body=gzip.compress(packed) if "," in encoding else packed, headers={"Content-Encoding": encoding}))
    found = transport.exchange(httpx.Request("GET", server.url), 5.0)
    assert (found.answer, type(found.error)) == (None, transport.CannotDecode)


def test_a_packed_answer_is_unpacked(server: FaultyServer) -> None:
    """What it says of itself holds for the body that comes with it."""
    headers = {"Content-Encoding": "GZIP", "Content-Type": "text/plain; charset=latin-1", "X-Message-Id": "m-1"}
    server.fail(Reply(202, gzip.compress("ação".encode("latin-1")), headers))
    found = transport.exchange(httpx.Request("GET", server.url), 3.0).answer
    assert found is not None
    assert (found.status_code, found.text, found.headers["X-Message-Id"]) == (202, "ação", "m-1")
