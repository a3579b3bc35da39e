"""What the collector shows of vendors: which are configured, which are left alone, and where something stands in for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from litgo_pipelines.integrations.breaker import LOOK_BACK
from litgo_pipelines.integrations.policies import Service, configured, policies_of
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.observability.sources import Sample
from litgo_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

STANDING_FOR: Final = timedelta(hours=1)
"""How long a piece of work tells how things stand."""

_LAST_WORK = """
SELECT labels ->> 'service', bool_or(labels ->> 'mode' = 'fallback') FROM (
    SELECT labels, last_at, max(last_at) OVER (PARTITION BY labels ->> 'service') AS newest
    FROM litgo.metric_rollups WHERE metric = 'service_operations_total'
) work
WHERE last_at = newest AND last_at > :since GROUP BY 1
"""


@dataclass
class VendorFigures:
    """How things stand with the vendors.

    Args:
        engine: on the marketplace's database.
        clock: the time, as an aware datetime.
    """

    engine: Engine
    settings: Settings
    clock: Callable[[], datetime]
    name: str = field(default="vendors", init=False)

    def read(self) -> list[Sample]:
        """Each vendor as of now."""
        now, wanted = self.clock(), configured(self.settings)
        ledger = PostgresCallLedger(self.engine)
        found = []
        for service, policy in policies_of(self.settings).items():
            past = ledger.recent(service, now - LOOK_BACK, policy.breaker.failures)
            found.append(Sample("vendor_configured", float(service in wanted), {"service": service}))
            # Half open, one request at a time may try, and all others are refused until it succeeds.
            found.append(Sample("breaker_open", float(policy.breaker.state(past, now) != "closed"), {"service": service}))
        with self.engine.connect() as connection:
            return [*found, *_fallbacks(connection, wanted, now)]


def _fallbacks(connection: Connection, wanted: frozenset[Service], now: datetime) -> Iterator[Sample]:
    """Whether the newest piece of work of the last hour was done without its vendor; nothing of a vendor that nobody wanted."""
    from sqlalchemy import text

    for service, fallback in connection.execute(text(_LAST_WORK), {"since": now - STANDING_FOR}):
        if service in wanted:
            yield Sample("fallback_active", float(fallback), {"service": service})
