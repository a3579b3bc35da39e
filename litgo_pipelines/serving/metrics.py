"""What the service measures of itself: its latencies, its model, the age of what it holds in memory.

Counters of business facts come from the database and are exported elsewhere; none is counted twice here.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class ServingMetrics:
    """One registry of its own for each service."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.matching_seconds = Histogram(
            "matching_duration_seconds",
            "Time to decide and record a match request, of those that began.",
            ["status"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.triage_seconds = Histogram(
            "triage_duration_seconds",
            "Time to judge and record a triage request, of those that began.",
            ["status"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.request_seconds = Histogram(
            "serving_request_duration_seconds",
            "Time from a request's first byte to its answer's last.",
            ["method", "route", "status"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.model = Gauge("serving_model_info", "1 for the model that answers.", ["version", "source"], registry=registry)
        self.model_loaded = Gauge("serving_model_loaded_timestamp_seconds", "When that model began to answer.", registry=registry)
        self.model_checked = Gauge("serving_model_last_check_timestamp_seconds", "When the registry last answered.", registry=registry)
        self.model_stale = Gauge("serving_model_stale", "1 while another model should answer, or nobody knows.", registry=registry)
        self.model_errors = Counter(
            "serving_model_check_errors_total", "Looks at the registry that failed, by error.", ["error"], registry=registry
        )
        self.experiment = Gauge(
            "serving_experiment_share",
            "Share of all clients that the challenger answers; absent without an experiment.",
            ["experiment", "challenger", "mode"],
            registry=registry,
        )
        self.embedding_fallbacks = Counter(
            "serving_embedding_fallbacks_total", "Cases compared without the preferred model, which did not answer.", registry=registry
        )
        self.market_age = Gauge(
            "serving_market_age_seconds", "Age of lawyers and loads in memory; NaN before the first.", registry=registry
        )
        self.equity_price = Gauge(
            "serving_equity_price", "Price of load (a of the offer rule) that answers use; NaN before the first reading.", registry=registry
        )
        self.market_lawyers = Gauge("serving_market_lawyers", "Lawyers in memory.", registry=registry)
        self.market_seconds = Histogram(
            "serving_market_refresh_duration_seconds",
            "Time to read lawyers (`profiles`) or loads alone (`loads`).",
            ["what"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.market_errors = Counter("serving_market_refresh_errors_total", "Readings of lawyers and loads that failed.", registry=registry)

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
