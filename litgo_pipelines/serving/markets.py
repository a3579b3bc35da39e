"""Lawyers, loads and the offer rule in memory, read again every few seconds. What is done with them lives in `matches`."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from litgo_pipelines.casework.market import Market, read_market, refresh_loads
from litgo_pipelines.casework.prices import offer_rule
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.serving.metrics import ServingMetrics
from litgo_pipelines.serving.periodic import Periodic

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.settings import Settings

PROFILES_SECONDS = 60.0
_LOADS_TIMEOUT_MS, _PROFILES_TIMEOUT_MS = 10_000, 120_000
_log = get_logger(__name__)


class MarketKeeper:
    """Keeps a `Market` and the offer rule fresh: loads and price with every reading, profiles when lawyers came or went and every minute.

    A reading that fails leaves the last one in place, loads and price alike; its age tells.
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: ServingMetrics) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._market: Market | None = None
        self._rule: OfferRule | None = None
        self._profiles_read = float("-inf")
        self._failing = False
        self._reading = threading.Lock()
        self._thread = Periodic("market", self.refresh, settings.litgo_refresh_seconds)
        metrics.market_age.set_function(lambda: float("nan") if self.age is None else self.age)
        metrics.equity_price.set_function(lambda: float("nan") if self.rule is None else self.rule.price)

    @property
    def current(self) -> Market | None:
        """What was read last; None before the first reading."""
        return self._market

    @property
    def rule(self) -> OfferRule | None:
        """The offer rule with the price that was in force at that reading; None before the first."""
        return self._rule

    @property
    def age(self) -> float | None:
        """Seconds since the reading in memory was begun."""
        market = self._market
        return None if market is None else max(0.0, (datetime.now(UTC) - market.as_of).total_seconds())

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()

    def refresh(self) -> None:
        """Read once; an error is logged and counted."""
        with self._reading:
            self._refresh()

    def _refresh(self) -> None:
        begun = time.monotonic()
        try:
            # The rule first: whoever sees a market finds a rule.
            self._rule, self._market, what = self._read(begun)
        except Exception as error:
            # Whatever it is, answering with the last reading is better than a dead thread.
            self._metrics.market_errors.inc()
            if not self._failing:
                _log.error("lawyers and loads cannot be read: answering with the last reading", error=type(error).__name__)
            self._failing = True
            return
        self._metrics.market_seconds.labels(what).observe(time.monotonic() - begun)
        self._metrics.market_lawyers.set(len(self._market.profiles.ids))
        if self._failing:
            _log.info("lawyers and loads can be read again")
        self._failing = False

    def _read(self, now: float) -> tuple[OfferRule, Market, str]:
        known = self._market
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
            _limit(connection, _LOADS_TIMEOUT_MS)
            rule = offer_rule(connection, self._settings)
            if known is not None and now - self._profiles_read < PROFILES_SECONDS:
                found = refresh_loads(connection, known, datetime.now(UTC))
                if found is not None:
                    return rule, found, "loads"
            _limit(connection, _PROFILES_TIMEOUT_MS)
            market = read_market(connection, datetime.now(UTC), None if known is None else known.profiles, with_meanings=True)
        self._profiles_read = now
        return rule, market, "profiles"


def _limit(connection: Connection, milliseconds: int) -> None:
    from sqlalchemy import text

    connection.execute(text("SELECT set_config('statement_timeout', :value, true)"), {"value": str(milliseconds)})
