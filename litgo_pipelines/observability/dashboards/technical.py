"""Dashboard `Technical performance`: requests, latencies and errors of the service, and what the vendors answer."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from litgo_pipelines.observability.dashboards.board import Board, Section
from litgo_pipelines.observability.dashboards.panels import (
    BAD,
    CARE,
    GOOD,
    THIRD,
    WIDE,
    YES_IS_BAD,
    Column,
    Query,
    at_most,
    figure,
    graph,
    listing,
    model_latency,
    of_configured,
    timeline,
)

_NO_REQUESTS = "no requests"
_NO_CALLS = "no vendor was asked"
_EIGHTH = (3, 4)
_NOT_SCRAPED = "the service is not scraped"


def technical() -> Board:
    """The dashboard for slow or failing answers."""
    return Board(
        "litgo-technical",
        "Rate, errors and duration of what the service answers and of what the vendors answer, and what replaces them.",
        [
            Section("Matching and triage", _requests()),
            Section("Routes", _routes()),
            Section("Vendors", _vendors()),
            Section("Without the vendor", _fallbacks()),
            Section("What answers are made of", _state()),
        ],
        since="now-6h",
    )


def _requests() -> list[Panel]:
    last_hour = graph(
        "Requests of the last hour",
        "How many began, by how they ended; of the database, so requests that failed count, too.",
        Query("sum by (kind, status) (requests_last_hour)", "{{kind}} {{status}}"),
        empty="the collector does not say",
        size=WIDE,
    )
    return [*(panel for kind in ("matching", "triage") for panel in _of(kind)), last_hour]


def _of(kind: str) -> list[Panel]:
    title = kind.capitalize()
    # A match request is promised within 150 ms at the 95th percentile; a triage waits for a vendor.
    limits = at_most(0.15, 1) if kind == "matching" else at_most(2.5, 5)
    return [
        graph(
            f"{title}: requests",
            "Requests that ended, a second.",
            Query(f"sum by (status) (rate({kind}_requests_total[$__rate_interval]))", "{{status}}"),
            empty=_NO_REQUESTS,
            unit="reqps",
            stacked=True,
            size=THIRD,
        ),
        graph(
            f"{title}: errors",
            "Share of the last ten minutes' requests that failed.",
            Query(f"{kind}:errors:ratio_increase10m", "errors"),
            empty=_NO_REQUESTS,
            unit="percentunit",
            steps=at_most(0.01, 0.05),
            size=THIRD,
        ),
        graph(
            f"{title}: time to decide",
            "Of 100 requests of the last ten minutes, 50, 95 and 99 took no longer.",
            *(Query(f"{kind}:duration_seconds:p{level}_10m", f"{level} of 100") for level in (50, 95, 99)),
            empty=_NO_REQUESTS,
            unit="s",
            steps=limits,
            size=THIRD,
        ),
    ]


def _routes() -> list[Panel]:
    mean = (
        "sum by (route) (rate(serving_request_duration_seconds_sum[$__rate_interval]))"
        " / (sum by (route) (rate(serving_request_duration_seconds_count[$__rate_interval])) > 0)"
    )
    failed = 'sum by (route) (route:serving_requests:rate5m{status=~"5.."})'
    all_of = "sum by (route) (route:serving_requests:rate5m)"
    return [
        graph(
            "Requests by status",
            "Answers a second over all routes, probes and scrapes left out.",
            Query("sum by (status) (route:serving_requests:rate5m)", "{{status}}"),
            Query("serving:requests:rate5m", "without probes and scrapes"),
            empty=_NO_REQUESTS,
            unit="reqps",
            size=THIRD,
        ),
        graph(
            "Duration by route",
            "95 of 100 answers took no longer: from a request's first byte to its answer's last.",
            Query("route:serving_request_duration_seconds:p95_5m", "{{route}}"),
            empty=_NO_REQUESTS,
            unit="s",
            size=THIRD,
        ),
        listing(
            "Each route",
            "Over the last five minutes, the busiest first.",
            {"route": "route"},
            Column("requests", all_of, "reqps", decimals=2),
            Column("failed", f"{failed} / ({all_of} > 0)", "percentunit", at_most(0.001, 0.01), decimals=2),
            Column("mean", mean.replace("$__rate_interval", "5m"), "s"),
            Column("95 of 100", "route:serving_request_duration_seconds:p95_5m", "s"),
            empty=_NO_REQUESTS,
            sort="requests",
            size=THIRD,
        ),
    ]


def _vendors() -> list[Panel]:
    answered = "sum by (service) (increase(external_call_duration_seconds_sum[1h]))"
    return [
        listing(
            "Each vendor",
            "Over the last hour. Retries and timeouts are shares of the requests to it; fallback is shown where it is configured.",
            {"service": "vendor"},
            Column("configured", "max by (service) (vendor_configured)", words={1: ("yes", GOOD), 0: ("no", CARE)}),
            Column("left alone", "max by (service) (breaker_open)", words=YES_IS_BAD),
            Column("requests", "service:requests:increase1h", decimals=0),
            Column("mean time", f"{answered} / (service:requests:increase1h > 0)", "s", decimals=2),
            Column("retries", "service:retries:ratio_increase1h", "percentunit", at_most(0.05, 0.2), decimals=1),
            Column("timeouts", "service:timeouts:ratio_increase1h", "percentunit", at_most(0.005, 0.01), decimals=2),
            Column("fallback", of_configured("service:fallback:ratio_increase1h"), "percentunit", at_most(0.05, 0.1), decimals=1),
            Column("time in fallback, 1 d", of_configured("service:fallback_active:avg1d"), "percentunit", at_most(0.05, 0.1), decimals=1),
            empty="the collector shows no vendors",
            sort="vendor",
            descending=False,
            size=(24, 6),
        ),
        graph(
            "Calls by outcome",
            "Requests to vendors and calls that made none, over the hour before each moment. breaker_open and no_time asked nobody.",
            Query("sum by (service, outcome) (increase(external_calls_total[1h])) > 0", "{{service}} {{outcome}}"),
            empty=_NO_CALLS,
            stacked=True,
        ),
        graph(
            "Time that vendors take",
            "95 of 100 requests of the last hour took no longer.",
            Query("histogram_quantile(0.95, sum by (le, service) (rate(external_call_duration_seconds_bucket[1h])))", "{{service}}"),
            empty=_NO_CALLS,
            unit="s",
        ),
        graph(
            "Timeouts",
            "Share of the requests of the last hour that were not answered in time. Promised: less than 1 %.",
            Query("service:timeouts:ratio_increase1h", "{{service}}"),
            empty=_NO_CALLS,
            unit="percentunit",
            steps=at_most(0.005, 0.01),
            size=THIRD,
        ),
        graph(
            "Retries",
            "Requests of the last hour that repeated an earlier one, a share of all.",
            Query("service:retries:ratio_increase1h", "{{service}}"),
            empty=_NO_CALLS,
            unit="percentunit",
            steps=at_most(0.05, 0.2),
            size=THIRD,
        ),
        timeline(
            "Vendors left alone",
            "When a vendor was not asked because it had failed too often.",
            Query("max by (service) (breaker_open)", "{{service}}"),
            empty="the collector shows no vendors",
            words={1: ("left alone", BAD), 0: ("asked", GOOD)},
            size=THIRD,
        ),
    ]


def _fallbacks() -> list[Panel]:
    return [
        graph(
            "Share of time in fallback",
            "Share of the day before each moment in which a vendor that is configured was replaced. Promised: less than 10 %.",
            Query(of_configured("service:fallback_active:avg1d"), "{{service}}"),
            empty="no work for a vendor that is configured",
            unit="percentunit",
            steps=at_most(0.05, 0.1),
            size=THIRD,
        ),
        graph(
            "Share of work in fallback",
            "Pieces of work of the last hour that were done without their vendor, where it is configured.",
            Query(of_configured("service:fallback:ratio_increase1h"), "{{service}}"),
            empty="no work for a vendor that is configured",
            unit="percentunit",
            steps=at_most(0.05, 0.1),
            size=THIRD,
        ),
        timeline(
            "In fallback",
            "Whether the newest piece of work of the last hour was done without its vendor; always so where it is not configured.",
            Query("max by (service) (fallback_active)", "{{service}}"),
            empty="no work in the last hour",
            words={1: ("fallback", CARE), 0: ("vendor", GOOD)},
            size=THIRD,
        ),
        graph(
            "Work an hour",
            "Pieces of work for which a vendor is there, done through it (primary) or without it (fallback).",
            Query("sum by (service, mode) (increase(service_operations_total[1h]))", "{{service}} {{mode}}"),
            empty="no work in the last hour",
            stacked=True,
        ),
        graph(
            "Vectors an hour",
            "Vectors stored by the model that made them, and cases that serving compared without the preferred model.",
            Query("sum by (source) (increase(embedding_source_total[1h]))", "{{source}}"),
            Query("sum(increase(serving_embedding_fallbacks_total[1h]))", "cases compared without it"),
            empty="no vectors were stored",
        ),
    ]


def _state() -> list[Panel]:
    return [
        figure(
            "Model that answers",
            "The version in the service's memory and where it comes from.",
            Query("max by (version, source) (serving_model_info)", "{{version}} ({{source}})"),
            empty=_NOT_SCRAPED,
            words={1: ("answers", GOOD)},
            size=(6, 4),
        ),
        figure(
            "Answers for",
            "How long that model has answered.",
            "time() - max(serving_model_loaded_timestamp_seconds)",
            empty=_NOT_SCRAPED,
            unit="s",
            size=_EIGHTH,
        ),
        figure(
            "Another should answer",
            "Whether the registry names another model, or cannot be asked.",
            "max(serving_model_stale)",
            empty=_NOT_SCRAPED,
            words=YES_IS_BAD,
            size=_EIGHTH,
        ),
        figure(
            "Registry last answered",
            "How long ago the service last heard which model should answer.",
            "time() - min(serving_model_last_check_timestamp_seconds)",
            empty=_NOT_SCRAPED,
            unit="s",
            steps=at_most(60, 900),
            decimals=0,
            size=_EIGHTH,
        ),
        figure(
            "Age of the market",
            "Age of lawyers and loads in the service's memory.",
            "max(serving_market_age_seconds)",
            empty=_NOT_SCRAPED,
            unit="s",
            steps=at_most(30, 120),
            decimals=0,
            size=_EIGHTH,
        ),
        figure(
            "Lawyers in memory",
            "Those that the service chooses from.",
            "max(serving_market_lawyers)",
            empty=_NOT_SCRAPED,
            decimals=0,
            size=_EIGHTH,
        ),
        figure(
            "Texts compared",
            "Whether the last case was compared with the preferred model.",
            "max(serving_embedding_fallback)",
            empty=_NOT_SCRAPED,
            words={0: ("as preferred", GOOD), 1: ("fallback", CARE)},
            size=_EIGHTH,
        ),
        model_latency(),
        graph(
            "Price of load",
            "What the service answers with, and what is in force: they differ for LITGO_REFRESH_SECONDS at most.",
            Query("max(serving_equity_price)", "answers"),
            Query("max(equity_price)", "in force"),
            empty="no price in force",
            size=THIRD,
        ),
        graph(
            "Reading the market",
            "95 of 100 readings of lawyers (profiles) and loads took no longer.",
            Query(
                "histogram_quantile(0.95, sum by (le, what) (rate(serving_market_refresh_duration_seconds_bucket[$__rate_interval])))",
                "{{what}}",
            ),
            empty=_NOT_SCRAPED,
            unit="s",
            size=THIRD,
        ),
        graph(
            "Readings that failed",
            "Of the market and of the registry, over the hour before each moment.",
            Query("sum(increase(serving_market_refresh_errors_total[1h]))", "market"),
            Query("sum by (error) (increase(serving_model_check_errors_total[1h]))", "registry: {{error}}"),
            empty=_NOT_SCRAPED,
            size=THIRD,
        ),
    ]
