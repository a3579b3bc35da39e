"""Every metric that the project exports: name, kind, labels, what it says, and who exports it. Nothing is measured here.

The collector, the service, the lint of rules and dashboards, and `litgo metrics list` all go by this list. Names of counters end in
`_total`, of durations in `_seconds`. A counter or histogram of the collector is made of facts in the database, so it survives every
process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Exporter = Literal["collector", "serving"]

SERVICES: Final = ("openai", "docusign", "onesignal", "sendgrid")
_OUTCOMES: Final = (
    *("ok", "connect", "timeout", "broken", "http_3xx", "http_408", "http_429", "http_4xx", "http_5xx", "malformed"),
    *("breaker_open", "no_time", "invalid"),
)
_ENDED: Final = ("ok", "error")
_RUNS: Final = ("success", "failure", "retried", "canceled")
_TICKS: Final = ("success", "skipped", "failure")
_KINDS: Final = ("schedule", "sensor")
_GAPS: Final = ("areas", "capacity", "newcomers")
_PROMISES: Final = ("gini", "offered", *(f"gap_{groups}" for groups in _GAPS))

_ANSWER: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_CALL: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 25.0, 45.0)
_DELIVERY: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
_RUN: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
_DAYS: Final = tuple(3600.0 * hours for hours in (1, 4, 12, 24, 48, 72, 120, 168, 336, 720))
_SHARES: Final = tuple(tenth / 10 for tenth in range(1, 11))


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        labels: their names, in the order in which they are shown.
        known: values that a label can take, where all are known; series of which every label's are begin at 0, so that the first event
            counts as an increase.
        bounds: upper bounds of a histogram's buckets but the last, ascending, in the unit of the name.
        exporter: `collector` (`litgo metrics serve`) or `serving` (`litgo serve`).
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    exporter: Exporter = "collector"

    def beginnings(self) -> Iterator[dict[str, str]]:
        """Labels of the series that are there before anything happened; none where a label's values are not known before."""
        if set(self.known) != set(self.labels):
            return
        for values in product(*(self.known[label] for label in self.labels)):
            yield dict(zip(self.labels, values, strict=True))

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Names under which its samples are stored."""
        return tuple(self.name + end for end in ("_bucket", "_sum", "_count")) if self.kind == "histogram" else (self.name,)


def _counter(name: str, what: str, *labels: str, exporter: Exporter = "collector", **known: tuple[str, ...]) -> Metric:
    return Metric(name, "counter", what, (*labels, *known), known, exporter=exporter)


def _gauge(name: str, what: str, *labels: str, exporter: Exporter = "collector", **known: tuple[str, ...]) -> Metric:
    return Metric(name, "gauge", what, (*labels, *known), known, exporter=exporter)


def _histogram(
    name: str, what: str, *labels: str, bounds: tuple[float, ...], exporter: Exporter = "collector", **known: tuple[str, ...]
) -> Metric:
    return Metric(name, "histogram", what, (*labels, *known), known, bounds, exporter)


COUNTED: Final = (
    _counter("triage_requests_total", "Triage requests that ended.", status=_ENDED),
    _counter("matching_requests_total", "Match requests that ended.", status=_ENDED),
    _counter("matches_found_total", "Lawyers who were shown for a case."),
    _counter("cases_created_total", "Cases that came in."),
    _counter("offers_created_total", "Offers sent to lawyers."),
    _counter(
        "offers_ended_total",
        "Offers that stopped waiting for an answer: by the lawyer (interested, declined), by time (expired), or with their case (closed).",
        status=("interested", "declined", "expired", "closed"),
    ),
    _histogram("offer_response_seconds", "Time from an offer to the lawyer's answer.", bounds=_DAYS, status=("interested", "declined")),
    _counter("contracts_created_total", "Contracts that a client asked for."),
    _counter("contract_creation_method_total", "Contracts that went out for signature, by how.", method=("docusign", "manual")),
    _counter("contracts_signed_total", "Contracts that both sides signed.", method=("docusign", "manual")),
    _counter("contracts_canceled_total", "Contracts that were canceled."),
    _histogram("time_to_contract_seconds", "Time from a case to its signed contract.", bounds=_DAYS),
    _counter("reviews_total", "Reviews by clients.", outcome=("won", "lost", "settled", "ongoing")),
    _counter("notifications_created_total", "Messages put into the outbox.", audience=("ops", "lawyer", "client"), type=("push", "email")),
    _counter(
        "notifications_sent_total",
        "Messages that were settled: sent, failed, overtaken by events, or unknown whether they arrived.",
        type=("push", "email"),
        status=("sent", "failed", "overtaken", "unknown"),
    ),
    _histogram("notification_duration_seconds", "Time from a message to its delivery.", bounds=_DELIVERY, type=("push", "email")),
    _counter("external_calls_total", "Requests to vendors, and calls that made none, by outcome.", service=SERVICES, outcome=_OUTCOMES),
    _histogram("external_call_duration_seconds", "Time of a request to a vendor.", bounds=_CALL, service=SERVICES),
    _counter("api_timeouts_total", "Requests to vendors that did not answer in time.", service=SERVICES),
    _counter("api_retries_total", "Requests to vendors that repeated an earlier one of the same call.", service=SERVICES),
    _counter(
        "service_operations_total",
        "Pieces of work for which there is a vendor, done through it (primary) or without it (fallback; always so where it is not "
        "configured): texts compared (openai), contracts sent for signature (docusign), messages for a device (onesignal).",
        service=("openai", "docusign", "onesignal"),
        mode=("primary", "fallback"),
    ),
    _counter("embedding_source_total", "Vectors stored, by the model that made them.", source=("openai", "local")),
    _counter("model_decisions_total", "What was decided about models, by action, kind of actor and result.", "action", "by", "result"),
    _counter("ab_requests_total", "Match requests in an experiment that ended.", "experiment", "variant", status=_ENDED),
    _histogram(
        "ab_test_metrics",
        "What was measured in an experiment by group, each between 0 and 1: `score` promised to a lawyer shown, `accepted` of an offer "
        "that ended (1 or 0).",
        "experiment",
        "variant",
        "metric",
        bounds=_SHARES,
    ),
    _histogram("ab_request_duration_seconds", "Time of match requests in an experiment.", "experiment", "variant", bounds=_ANSWER),
    _counter("job_runs_total", "Runs of jobs that ended; `retried` failed and is tried again by itself.", "job", status=_RUNS),
    _histogram("job_duration_seconds", "Time of a run from start to end.", "job", bounds=_RUN),
    _counter("jobs_due_total", "Moments at which a schedule was due, judged after its grace.", "job"),
    _counter("jobs_executed_total", "Those of them for which a run succeeded in time.", "job"),
    _counter("ticks_total", "Ticks of schedules and sensors.", "name", kind=_KINDS, status=_TICKS),
)
"""Made of events; see `marketplace.event_log`."""

GAUGES: Final = (
    _gauge("active_offers_count", "Offers that wait for an answer."),
    _gauge("pending_contracts_count", "Contracts that are not signed yet.", status=("requested", "pending-signature")),
    _gauge("pending_contract_oldest_age_seconds", "Age of the oldest of them; 0 where there is none."),
    _gauge("open_cases_count", "Cases that have no contract yet."),
    _gauge("requests_last_hour", "Requests that began within the last hour.", "kind", "status"),
    _gauge("undecided_triages_count", "Triages that wait for a person."),
    _gauge("active_lawyers_count", "Lawyers who are active."),
    _gauge("outbox_messages", "Messages in the outbox that are not delivered.", status=("queued", "sending", "unknown")),
    _gauge("outbox_oldest_due_age_seconds", "Age of the oldest message that is due, or was tried in vain; 0 where there is none."),
    _gauge("fairness_gini", "Gini of utilisation over lawyers who count."),
    _gauge("fairness_gini_week_change", "That less the one of a week before."),
    _gauge("fairness_offered_ratio", "Share of lawyers who count that received an offer in 30 days."),
    _gauge("fairness_offered_ratio_week_change", "That less the one of a week before."),
    _gauge("fairness_gap_ratio", "Largest difference of mean utilisation between groups.", between=_GAPS),
    _gauge("fairness_gap_week_change", "That less the one of a week before.", between=_GAPS),
    _gauge("fairness_limit", "What the figure must stay below (offered: above).", promise=("gini", "offered", "gap")),
    _gauge("fairness_kept", "1 where a promise is kept, 0 where it is broken; absent without a verdict.", promise=_PROMISES),
    _gauge("fairness_report_timestamp_seconds", "Moment that the newest figures speak of."),
    _gauge("equity_price", "Price of load (a of the offer rule) in force."),
    _gauge("champion_info", "1 for the version that the alias champion was last seen to point to; `nobody` for none.", "version"),
    _gauge("champion_since_timestamp_seconds", "Since when it has pointed there."),
    _gauge("model_quality_ratio", "Mean match score of the last window over the reference's.", "version"),
    _gauge("model_quality_threshold", "Ratio that counts as degraded."),
    _gauge("model_degraded", "1 where the champion is degraded, 0 where it is healthy; absent without a verdict.", "version"),
    _gauge("model_watch_timestamp_seconds", "When the collector last judged the champion; absent where nobody is watched."),
    _gauge("unexplained_promotions_count", "Moves of the alias champion by hand that nobody has explained."),
    _gauge("frozen", "1 for what people have frozen, 0 for what they had; absent for what they never had.", "what"),
    _gauge(
        "experiment_info", "1 for the experiment that runs or waits for approval.", "experiment", "champion", "challenger", "mode", "status"
    ),
    _gauge("experiment_share", "Share of all clients in treatment.", "experiment"),
    _gauge("experiment_units", "Clients in the experiment.", "experiment", "variant"),
    _gauge("experiment_metric", "Mean or rate of a group, as the last reading saw it.", "experiment", "variant", "metric"),
    _gauge(
        "experiment_lift",
        "Relative difference of treatment and its anytime-valid interval: low, estimate, high.",
        "experiment",
        "metric",
        "bound",
    ),
    _gauge("experiment_sample_ratio_broken", "1 where the groups' sizes differ from design by more than chance.", "experiment"),
    _gauge("vendor_configured", "1 where a vendor is configured.", service=SERVICES),
    _gauge("breaker_open", "1 while a vendor is left alone: from too many failed requests in a row until one succeeds.", "service"),
    _gauge("fallback_active", "1 where the newest piece of work of the last hour was done without its vendor.", "service"),
    _gauge("job_runs_in_progress", "Runs that are queued or under way.", "job", "status"),
    _gauge("job_queue_length", "Runs that wait for their turn."),
    _gauge("job_queue_oldest_age_seconds", "How long the oldest of them has waited; 0 where there is none."),
    _gauge("job_last_success_timestamp_seconds", "When a run of the job last succeeded.", "job"),
    _gauge("job_last_end_timestamp_seconds", "When a run of the job last ended.", "job", "status"),
    _gauge("job_due_timestamp_seconds", "When the job's schedule was last due.", "job"),
    _gauge("job_overdue", "1 where no run succeeded since the job was last due and its grace is over.", "job"),
    _gauge("tick_timestamp_seconds", "When a schedule or sensor last ticked.", "name", kind=_KINDS),
    _gauge("tick_due_timestamp_seconds", "By when it should have ticked again.", "name", kind=_KINDS),
    _gauge("tick_failed", "1 where its last tick failed.", "name", kind=_KINDS),
    _gauge("daemon_heartbeat_timestamp_seconds", "Last heartbeat of a part of Dagster's daemon.", "daemon"),
    _gauge("database_up", "1 where the marketplace's database answers."),
    _gauge("database_size_bytes", "Size of the marketplace's database."),
    _gauge("disk_size_bytes", "Size of the disk that holds a folder.", "folder"),
    _gauge("disk_free_bytes", "Free space there.", "folder"),
    _gauge("system_health_score", "0 to 100: weighted mean of what is known of the components."),
    _gauge("system_health_component", "Each component between 0 and 1; absent where nothing is known of it.", "component"),
    _gauge("system_health_weight", "Its weight; the weights add up to 100.", "component"),
    _gauge("system_health_known_ratio", "Share of the weight of components of which something is known."),
    _gauge("build_info", "1 for the version of the collector.", "version"),
    _gauge("collector_source_up", "1 where the source's last reading succeeded.", "source"),
    _gauge("collector_source_age_seconds", "Age of the figures shown of a source; absent before the first.", "source"),
    _gauge("collector_source_duration_seconds", "Time that its last reading took.", "source"),
    _gauge("collector_events_unread_age_seconds", "Age of the oldest event that is not counted yet; 0 where there is none."),
    _gauge("collector_events_uncountable", "Events that this version knows no metric for, or other labels of."),
)

SERVING: Final = (
    _histogram(
        "matching_duration_seconds",
        "Time to decide and record a match request, of those that began.",
        "status",
        bounds=_ANSWER,
        exporter="serving",
    ),
    _histogram(
        "triage_duration_seconds",
        "Time to judge and record a triage request, of those that began.",
        "status",
        bounds=_ANSWER,
        exporter="serving",
    ),
    _histogram(
        "serving_request_duration_seconds",
        "Time from a request's first byte to its answer's last.",
        *("method", "route", "status"),
        bounds=_ANSWER,
        exporter="serving",
    ),
    _histogram(
        "model_matching_duration_seconds",
        "Time to decide and record a match request that was answered, by the version that answered.",
        "version",
        bounds=_ANSWER,
        exporter="serving",
    ),
    _gauge("serving_model_info", "1 for the model that answers.", "version", "source", exporter="serving"),
    _gauge("serving_model_loaded_timestamp_seconds", "When that model began to answer.", exporter="serving"),
    _gauge("serving_model_last_check_timestamp_seconds", "When the registry last answered.", exporter="serving"),
    _gauge("serving_model_stale", "1 while another model should answer, or nobody knows.", exporter="serving"),
    _counter("serving_model_check_errors_total", "Looks at the registry that failed, by error.", "error", exporter="serving"),
    _gauge(
        "serving_experiment_share",
        "Share of all clients that the challenger answers; absent without an experiment.",
        *("experiment", "challenger", "mode"),
        exporter="serving",
    ),
    _counter("serving_embedding_fallbacks_total", "Cases compared without the preferred model, which did not answer.", exporter="serving"),
    _gauge(
        "serving_embedding_fallback",
        "1 where the preferred model did not answer when a text was last embedded, 0 where it did; NaN before the first.",
        exporter="serving",
    ),
    _gauge("serving_market_age_seconds", "Age of lawyers and loads in memory; NaN before the first.", exporter="serving"),
    _gauge(
        "serving_equity_price", "Price of load (a of the offer rule) that answers use; NaN before the first reading.", exporter="serving"
    ),
    _gauge("serving_market_lawyers", "Lawyers in memory.", exporter="serving"),
    _histogram(
        "serving_market_refresh_duration_seconds",
        "Time to read lawyers (`profiles`) or loads alone (`loads`).",
        "what",
        bounds=_ANSWER,
        exporter="serving",
    ),
    _counter("serving_market_refresh_errors_total", "Readings of lawyers and loads that failed.", exporter="serving"),
)

METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in (*COUNTED, *GAUGES, *SERVING)}
BOUNDS: Final[Mapping[str, tuple[float, ...]]] = {metric.name: metric.bounds for metric in COUNTED if metric.kind == "histogram"}
"""Upper bounds of the histograms that are made of events."""
