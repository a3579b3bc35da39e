"""What the service measures of itself: its latencies, its model, the age of what it holds in memory.

Names, labels, meanings and buckets stand in `observability.metrics`. Counters of business facts come from the database and are exported
elsewhere; none is counted twice here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from litgo_pipelines.observability.metrics import METRICS, Metric

_Instrument = TypeVar("_Instrument", Counter, Gauge, Histogram)


def instrument(kind: type[_Instrument], metric: Metric, registry: CollectorRegistry) -> _Instrument:
    """What measures a metric of the list.

    Raises:
        ValueError: the list has it as another kind.
    """
    if metric.kind != kind.__name__.lower():
        raise ValueError(f"{metric.name} is a {metric.kind}")
    buckets: dict[str, Any] = {"buckets": metric.bounds} if metric.bounds else {}
    return kind(metric.name, metric.help, metric.labels, registry=registry, **buckets)


_EXPECTED = ("200", "201", "500", "503")


class ServingMetrics:
    """One registry of its own for each service."""

    def __init__(self) -> None:
        # Metrics of their own in the text format, one for each counter and histogram, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.matching_seconds = self._made(Histogram, "matching_duration_seconds")
        self.triage_seconds = self._made(Histogram, "triage_duration_seconds")
        self.model_seconds = self._made(Histogram, "model_matching_duration_seconds")
        for ended in ("ok", "error"):
            self.matching_seconds.labels(ended)
            self.triage_seconds.labels(ended)
        self.request_seconds = self._made(Histogram, "serving_request_duration_seconds")
        self.model = self._made(Gauge, "serving_model_info")
        self.model_loaded = self._made(Gauge, "serving_model_loaded_timestamp_seconds")
        self.model_checked = self._made(Gauge, "serving_model_last_check_timestamp_seconds")
        self.model_stale = self._made(Gauge, "serving_model_stale")
        self.model_errors = self._made(Counter, "serving_model_check_errors_total")
        self.experiment = self._made(Gauge, "serving_experiment_share")
        self._fallbacks = self._made(Counter, "serving_embedding_fallbacks_total")
        self._in_fallback = self._made(Gauge, "serving_embedding_fallback")
        self._in_fallback.set(float("nan"))
        self.market_age = self._made(Gauge, "serving_market_age_seconds")
        self.equity_price = self._made(Gauge, "serving_equity_price")
        self.market_lawyers = self._made(Gauge, "serving_market_lawyers")
        self.market_seconds = self._made(Histogram, "serving_market_refresh_duration_seconds")
        self.market_errors = self._made(Counter, "serving_market_refresh_errors_total")

    def expect(self, routes: Iterable[tuple[str, str]]) -> None:
        """Let the answers of these routes (method and template) be counted from 0 on: a series that begins with its first answer has no
        increase by it.

        Known before are the answers that most requests get, and those that people are called for; others begin with the first.
        """
        for method, route in routes:
            for status in _EXPECTED:
                self.request_seconds.labels(method, route, status)

    def embedded(self, *, in_fallback: bool) -> None:
        """Note whether the preferred model answered when a text was to be embedded."""
        if in_fallback:
            self._fallbacks.inc()
        self._in_fallback.set(in_fallback)

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    def _made(self, kind: type[_Instrument], name: str) -> _Instrument:
        return instrument(kind, METRICS[name], self.registry)
