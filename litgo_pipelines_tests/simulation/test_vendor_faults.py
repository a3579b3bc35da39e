"""Faults by name: what becomes of a request, and whether the vendor acted."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.simulation.vendors.faults import CONTROL, TOLD, Fault, Kind, NoSuchFault, Troubled
from litgo_pipelines.simulation.vendors.server import Behaviour, FaultyServer, Received, Reply, faulty_server


class Vendor:
    """Counts what it did."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, received: Received) -> Behaviour:
        self.done += 1
        return Reply.json({"done": self.done, "path": received.path})


def _ask(server: FaultyServer, timeout: float = 5.0) -> httpx.Response:
    return httpx.post(f"{server.url}/things", json={}, timeout=timeout)


@pytest.mark.parametrize(
    ("kind", "acts"),
    [
        ("cut", True),
        ("lost", True),
        ("malformed", True),
        ("empty", True),
        ("reset", False),
        ("hang", False),
        ("error", False),
        ("rate-limit", False),
    ],
)
def test_each_fault_is_what_it_is_called(kind: Kind, acts: bool) -> None:
    """The caller gets no proper answer; whether the vendor acted is told by its name."""
    vendor = Vendor()
    troubled = Troubled(vendor)
    with faulty_server(troubled) as server:
        assert _ask(server).json() == {"done": 1, "path": "/things"}
        troubled.fault = Fault(kind)
        try:
            answer = _ask(server, timeout=0.5)
        except httpx.TransportError:
            answer = None
        expected = {"error": 500, "rate-limit": 429, "malformed": 200, "empty": 200}
        assert (None if answer is None else answer.status_code) == expected.get(kind)
        if answer is not None and kind != "error":
            assert answer.headers.get("Retry-After") == ("2" if kind == "rate-limit" else None)
        if kind in ("malformed", "empty"):
            assert answer is not None
            with pytest.raises(json.JSONDecodeError):
                answer.json()
        assert vendor.done == 1 + acts
        troubled.fault = Fault()
        assert _ask(server).status_code == 200


@pytest.mark.parametrize("kind", ["latency", "trickle"])
def test_a_late_answer_is_the_proper_one(kind: Kind) -> None:
    """It comes, after the seconds that were told."""
    troubled = Troubled(Vendor())
    troubled.fault = Fault(kind, seconds=0.01)
    with faulty_server(troubled) as server:
        assert _ask(server).json()["done"] == 1
        troubled.fault = Fault("latency", seconds=30)
        with pytest.raises(httpx.ReadTimeout):
            _ask(server, timeout=0.2)


def test_a_share_of_the_requests_meets_it_the_same_for_the_same_seed() -> None:
    """Drawn for each request; another seed draws others."""

    def met(seed: int) -> list[bool]:
        seen: list[bool] = []
        troubled = Troubled(Vendor(), seed, lambda _received, fault: seen.append(fault.kind == "error"))
        troubled.fault = Fault("error", 0.3)
        for _ in range(400):
            troubled(Received("POST", "/things", {}, b"{}"))
        return seen

    assert met(1) == met(1) != met(2)
    assert 80 < sum(met(1)) < 160


def test_a_running_vendor_is_told_how_to_fail() -> None:
    """By PUT, which is no request to the vendor; what cannot be read is refused and changes nothing."""
    vendor = Vendor()
    troubled = Troubled(vendor)
    with faulty_server(troubled) as server:
        told = httpx.put(f"{server.url}{CONTROL}", json={"fault": "error:0.5:3"})
        assert (told.status_code, troubled.fault) == (200, Fault("error", 0.5, 3.0))
        for wrong in ({"fault": "explode"}, {"fault": "error:2"}, {"foult": "error"}, []):
            assert httpx.put(f"{server.url}{CONTROL}", json=wrong).status_code == 422
        assert (troubled.fault, vendor.done) == (Fault("error", 0.5, 3.0), 0)


@given(st.sampled_from(sorted(TOLD)), st.floats(0, 1), st.floats(0, 600))
def test_a_fault_is_read_as_it_is_written(kind: Kind, share: float, seconds: float) -> None:
    """Kind alone, with a share, with seconds."""
    assert Fault.parsed(f"{kind}:{share}:{seconds}") == Fault(kind, share, seconds)
    assert Fault.parsed(kind) == Fault(kind)


@pytest.mark.parametrize(
    "words", ["", "hangs", "hang:x", "hang:1.5", "hang:-1", "latency:1:x", "latency:1:-2", "latency:1:9999", "hang:nan"]
)
def test_what_is_no_fault_is_told_with_those_there_are(words: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(NoSuchFault):
        Fault.parsed(words)
