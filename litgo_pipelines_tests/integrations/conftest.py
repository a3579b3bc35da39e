"""A faulty server, the real ledger, and a policy with bounds short enough to wait for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from litgo_pipelines.integrations.breaker import Breaker
from litgo_pipelines.integrations.policies import Policy
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.simulation.vendors.server import FaultyServer, faulty_server


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as found:
        yield found


@pytest.fixture
def ledger(engine: Engine) -> PostgresCallLedger:
    return PostgresCallLedger(engine)


@pytest.fixture
def policy() -> Policy:
    """Repeats whatever failed, up to three requests in four seconds; the breaker stays out of the way."""
    return Policy("vendor", timeout=3.0, deadline=4.0, attempts=3, repeat="always", breaker=Breaker(failures=50, seconds=60.0))
