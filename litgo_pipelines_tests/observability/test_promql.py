"""The lint of one expression: each defect is found, and the right way to write it is left alone."""

from __future__ import annotations

from collections.abc import Sequence

import promql_parser as ql
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litgo_pipelines.observability.faults import RULES, Rule
from litgo_pipelines.observability.metrics import METRICS, Metric
from litgo_pipelines.observability.promql import check, without_variables
from litgo_pipelines.observability.series import Names, Recorded, alert_series, exported


def _names() -> Names:
    recorded = {
        "triage:errors:ratio": [_recorded('sum(rate(triage_requests_total{status="error"}[1h])) / sum(rate(triage_requests_total[1h]))')],
        "triage:requests:increase1h": [_recorded("sum(increase(triage_requests_total[1h]))")],
        "service:calls:rate5m": [_recorded("sum by (service) (rate(external_calls_total[5m]))")],
        "triage:buckets:rate5m": [_recorded("sum by (le) (rate(triage_duration_seconds_bucket[5m]))")],
        "service:calls:increase1h": [_recorded("sum by (service) (increase(external_calls_total[1h]))")],
        "triage:by_status:rate5m": [_recorded("sum by (status) (rate(triage_requests_total[5m]))")],
        "triage:errors_by_status:rate5m": [_recorded('sum by (status) (rate(triage_requests_total{status="error"}[5m]))')],
        "triage:fail": [_recorded("triage:errors:ratio > 0.1 and on () triage:requests:increase1h >= 20")],
        "part:events": [
            _recorded("sum(increase(triage_requests_total[1h]))", part="triage"),
            _recorded("sum(increase(matching_requests_total[1h]))", part="matching"),
        ],
        "part:errors": [
            _recorded('sum(increase(triage_requests_total{status="error"}[1h]))', part="triage"),
            _recorded('sum(increase(matching_requests_total{status="error"}[1h]))', part="matching"),
        ],
        "part:ratio": [_recorded("part:errors / (part:events > 0)")],
        "slo:objective": [_recorded("vector(0.999)", slo="serving"), _recorded("vector(0.99)", slo="jobs")],
        "unreadable": [Recorded(None)],
        "itself": [_recorded("itself / 2")],
    }
    names = Names(exported(), recorded)
    alerts = {
        "ServiceDown": [_recorded('up{job="litgo-serving"} == 0', severity="page")],
        "BreakerOpen": [_recorded("breaker_open == 1", severity="ticket")],
    }
    return Names(exported(), recorded, alert_series(alerts, names))


def _recorded(expression: str, **labels: str) -> Recorded:
    return Recorded(ql.parse(expression), labels)


NAMES = _names()


def rules(expression: str, *, alert: bool = False) -> list[Rule]:
    """The rules that an expression breaks."""
    return [fault.rule for fault in check(expression, NAMES, alert=alert)]


PLANNED = Names(
    exported(
        [
            Metric("triage_requests_total", "counter", "As the plan has it: without a label."),
            Metric("triage_duration_seconds", "histogram", "As the plan has it.", bounds=(0.1, 1.0)),
        ]
    )
)


@pytest.mark.parametrize(
    ("expression", "broken"),
    [
        ('rate(triage_requests_total{status="error"}[5m]) > 0.1', {"unknown-label", "bare-rate"}),
        ("increase(celery_task_failures_total[5m]) > 0", {"unknown-metric"}),
        ("histogram_quantile(0.95, triage_duration_seconds_bucket) > 5", {"quantile"}),
        ("rate(triage_requests_total[1m]) < 0.001", set()),
    ],
)
def test_the_defects_of_the_plan_are_found(expression: str, broken: set[Rule]) -> None:
    """A label that does not exist, a bare rate as ratio, a metric of a system that is not there, a quantile without rate and le."""
    assert {fault.rule for fault in check(expression, PLANNED, alert=True)} == broken


DEFECTS: Sequence[tuple[Rule, str]] = [
    ("parse", "rate(triage_requests_total[5m]"),
    ("parse", ""),
    ("parse", "rate(triage_requests_total)"),
    ("parse", 'rate(triage_requests_total{status="ok" or status="error"}[5m])'),
    ("unknown-metric", "open_case_count"),
    ("unknown-metric", "rate(triage_duration_seconds[5m])"),
    ("unknown-metric", "sum(rate(matching_latency_seconds_bucket[5m]))"),
    ("unknown-metric", '{job="litgo-serving"}'),
    ("unknown-metric", '{__name__="open_case_count"}'),
    ("unknown-metric", "process_resident_memori_bytes > 1"),
    ("unknown-metric", "rate(prometheus_no_such_thing_total[5m])"),
    ("unknown-label", "sum by (service) (rate(prometheus_notifications_errors_total[5m]))"),
    ("unknown-label", 'rate(triage_requests_total{outcome="error"}[5m])'),
    ("unknown-label", "sum by (vendor) (rate(external_calls_total[5m]))"),
    ("unknown-label", "sum without (vendor) (rate(external_calls_total[5m]))"),
    ("unknown-label", "sum by (outcome) (service:calls:rate5m)"),
    ("unknown-label", "sum by (status) (sum by (job) (job_runs_in_progress))"),
    ("unknown-label", "breaker_open and on (vendor) vendor_configured"),
    ("unknown-label", "breaker_open and on (service) (sum(vendor_configured) == 1)"),
    ("unknown-label", "breaker_open - ignoring (vendor) vendor_configured"),
    ("unknown-label", "breaker_open * on (service) group_left (version) vendor_configured"),
    ("unknown-label", 'label_replace(breaker_open, "vendor", "$1", "servce", "(.*)")'),
    ("unknown-label", 'up{service="openai"}'),
    ("unknown-label", "sum by (vendor) (ALERTS)"),
    ("impossible-value", 'rate(triage_requests_total{status="failed"}[5m])'),
    ("impossible-value", 'rate(triage_requests_total{status!="failed"}[5m])'),
    ("impossible-value", 'rate(external_calls_total{outcome=~"timeout|conect"}[5m])'),
    ("impossible-value", 'rate(external_calls_total{outcome=~"http_9.."}[5m])'),
    ("impossible-value", 'rate(triage_duration_seconds_bucket{le="0.15000"}[5m])'),
    ("impossible-value", 'rate(triage_duration_seconds_bucket{le="1"}[5m])'),
    ("impossible-value", 'slo:objective{slo="service"}'),
    ("impossible-value", 'ALERTS{alertname="ServerDown"}'),
    ("impossible-value", 'ALERTS{severity="critical"}'),
    ("unmatched-labels", "sum by (service) (rate(external_calls_total[5m])) / sum(rate(external_calls_total[5m]))"),
    ("unmatched-labels", "breaker_open == 1 and frozen == 1"),
    ("one-sided-filter", 'rate(triage_requests_total{status="error"}[5m]) / rate(triage_requests_total[5m])'),
    ("one-sided-filter", 'rate(triage_requests_total{status!="ok"}[5m]) / rate(triage_requests_total[5m])'),
    ("one-sided-filter", 'rate(triage_requests_total{status="error"}[5m]) / rate(triage_requests_total{status="ok"}[5m])'),
    ("one-sided-filter", 'rate(triage_requests_total{status="error"}[5m]) > 0.1 * rate(triage_requests_total[5m])'),
    (
        "one-sided-filter",
        'sum by (service, outcome) (rate(external_calls_total{outcome="timeout"}[5m]))'
        " / on (service, outcome) sum by (service, outcome) (rate(external_calls_total[5m]))",
    ),
    ("one-sided-filter", "triage:errors_by_status:rate5m / triage:by_status:rate5m"),
    ("counter-without-rate", "triage_requests_total > 100"),
    ("counter-without-rate", "sum(offers_created_total)"),
    ("counter-without-rate", "triage_duration_seconds_sum / triage_duration_seconds_count"),
    ("counter-without-rate", "avg_over_time(offers_created_total[1h])"),
    ("counter-without-rate", "delta(offers_created_total[1h])"),
    ("counter-without-rate", "prometheus_notifications_errors_total"),
    ("rate-of-gauge", "rate(active_offers_count[5m])"),
    ("rate-of-gauge", "increase(service:calls:rate5m[5m])"),
    ("rate-of-gauge", "rate(sum(rate(offers_created_total[5m]))[1h:])"),
    ("quantile", "histogram_quantile(0.95, sum(rate(triage_duration_seconds_bucket[5m])))"),
    ("quantile", "histogram_quantile(0.95, sum by (status) (rate(triage_duration_seconds_bucket[5m])))"),
    ("quantile", "histogram_quantile(0.95, sum by (le) (triage_duration_seconds_bucket))"),
    ("quantile", "histogram_quantile(0.95, rate(triage_requests_total[5m]))"),
    ("quantile", "histogram_quantile(95, sum by (le) (rate(triage_duration_seconds_bucket[5m])))"),
    ("short-window", "rate(offers_created_total[30s])"),
    ("short-window", "increase(offers_created_total[59s])"),
]


@pytest.mark.parametrize(("rule", "expression"), DEFECTS)
def test_a_defect_is_found_once(rule: Rule, expression: str) -> None:
    """Each breaks the rule that is meant, and no other."""
    assert set(rules(expression)) == {rule}


@pytest.mark.parametrize(
    "expression",
    [
        "sum by (status) (rate(triage_requests_total[5m]))",
        'sum(rate(triage_requests_total{status="error"}[5m])) / sum(rate(triage_requests_total[5m]))',
        'rate(external_calls_total{outcome=~"http_5..|timeout"}[5m])',
        'rate(external_calls_total{service!~"openai"}[5m])',
        'rate(triage_duration_seconds_bucket{le="0.15"}[5m])',
        'rate(triage_duration_seconds_bucket{le="+Inf"}[5m])',
        "absent(triage_requests_total)",
        "count(offers_created_total)",
        "resets(offers_created_total[1h])",
        "timestamp(offers_created_total)",
        "count by (action) (model_decisions_total unless model_decisions_total offset 5m)",
        "breaker_open == 1 and on (service) external_calls_total",
        "histogram_quantile(0.95, sum by (le, status) (rate(triage_duration_seconds_bucket[5m])))",
        "histogram_quantile(0.95, rate(triage_duration_seconds_bucket[5m]))",
        "histogram_quantile(0.95, sum by (le) (increase(triage_duration_seconds_bucket[1h])))",
        "histogram_quantile(0.95, triage:buckets:rate5m)",
        "rate(triage_duration_seconds_sum[5m]) / rate(triage_duration_seconds_count[5m])",
        'sum by (service) (rate(external_calls_total{outcome="timeout"}[5m])) / sum by (service) (rate(external_calls_total[5m]))',
        'rate(triage_requests_total{status="error"}[5m]) / ignoring (status) sum without (status) (rate(triage_requests_total[5m]))',
        'rate(triage_requests_total{status="error"}[5m]) / rate(triage_requests_total{status="error"}[5m] offset 1d)',
        'rate(triage_requests_total{status="error"}[5m]) / rate(triage_requests_total[5m] offset 1d)',
        'rate(triage_requests_total[5m]) and rate(triage_requests_total{status="error"}[5m]) > 1',
        'slo:objective{slo="jobs"} - on () slo:objective{slo="serving"}',
        "deriv(disk_free_bytes[1h])",
        "max_over_time(active_offers_count[1h])",
        "max_over_time(sum(rate(offers_created_total[5m]))[1h:])",
        "min(up) by (job, instance)",
        'slo:objective{slo="jobs"}',
        'ALERTS{alertstate="firing",severity="page",service="openai"}',
        "ALERTS_FOR_STATE and ignoring (alertstate) ALERTS",
        "prometheus_tsdb_head_series",
        "scrape_duration_seconds",
        "process_resident_memory_bytes",
        "unreadable",
        "itself",
        "breaker_open * on (service) group_left () vendor_configured",
        'sum by (vendor) (label_replace(breaker_open, "vendor", "$1", "service", "(.*)"))',
        "disk_free_bytes / disk_size_bytes",
        "time() - max by (job) (job_last_success_timestamp_seconds)",
        "sum(open_cases_count) or vector(0)",
        "rate(offers_created_total[1m])",
        'absent(up{job="litgo-collector"}) == 1',
    ],
)
def test_what_is_right_passes(expression: str) -> None:
    """Expressions as they should be written have no fault."""
    assert check(expression, NAMES) == []


RATIO = 'sum(rate(triage_requests_total{status="error"}[5m])) / sum(rate(triage_requests_total[5m])) > 0.1'


@pytest.mark.parametrize(
    ("expression", "broken"),
    [
        (RATIO, ["ratio-without-guard"]),
        ("triage:errors:ratio > 0.1", ["ratio-without-guard"]),
        (f"{RATIO} and on () active_offers_count > 3", ["ratio-without-guard"]),
        (f"{RATIO} and on () sum(increase(triage_requests_total[5m])) > 0", ["ratio-without-guard"]),
        (f"{RATIO} and on () triage:errors:ratio > 2", ["ratio-without-guard"]),
        (f"{RATIO} or sum(increase(triage_requests_total[5m])) > 20", ["ratio-without-guard"]),
        (f"({RATIO} and on () sum(increase(triage_requests_total[5m])) > 20) or triage:errors:ratio > 0.5", ["ratio-without-guard"]),
        (f"{RATIO} unless on () triage:requests:increase1h > 20", ["ratio-without-guard"]),
        (f"{RATIO} and sum(increase(triage_requests_total[5m])) > 20", []),
        (f"{RATIO} and on () triage:requests:increase1h >= 20", []),
        (f"triage:requests:increase1h >= 20 and {RATIO}", []),
        (f"{RATIO} and on () 4 * 5 <= triage:requests:increase1h", []),
        (f"{RATIO} unless on () triage:requests:increase1h < 20", []),
        (f"({RATIO} and triage:errors:ratio > 0.1) and on () sum(rate(triage_requests_total[5m])) > 0.05", []),
        ("disk_free_bytes / disk_size_bytes < 0.1", []),
        ('rate(external_calls_total{outcome="timeout"}[5m]) > 2 * 0.5', ["bare-rate"]),
        ("0.5 < sum(rate(api_timeouts_total[5m]))", ["bare-rate"]),
        ("sum(rate(api_timeouts_total[5m])) > 0", []),
        ('increase(triage_requests_total{status="error"}[1h]) > 5', []),
        ("sum(rate(cases_created_total[1h])) < 0.001", []),
    ],
)
def test_an_alert_needs_enough_events_and_ratios(expression: str, broken: list[Rule]) -> None:
    """What divides needs a minimum of events beside it, and errors a second are no share; a dashboard may show either."""
    assert rules(expression, alert=True) == broken
    assert rules(expression) == []


@pytest.mark.parametrize(
    "expression",
    [
        "job_overdue",
        "sum(triage:by_status:rate5m)",
        "sum(rate(triage_requests_total[5m]))",
        "active_offers_count > bool 5",
        "clamp_max(job_overdue, 1)",
        "vector(1)",
        "vector(1) == 1",
        "vector(scalar(active_offers_count > 5))",
        "job_overdue == job_overdue",
        "sum(rate(triage_requests_total[5m])) >= 0",
        "-1 < sum(increase(triage_requests_total[5m]))",
        "(active_offers_count > bool 5) >= 0",
        "(max(active_offers_count) > 5) or vector(0)",
        "max(job_overdue) and on () max(frozen)",
        "disk_free_bytes / (disk_size_bytes > 0)",
        "sum(triage:requests:increase1h)",
    ],
)
def test_an_alert_that_nothing_decides_is_found(expression: str) -> None:
    """It fires for whatever is there; a dashboard may show all of it."""
    assert rules(expression, alert=True) == ["always-fires"]
    assert rules(expression) == []


@pytest.mark.parametrize(
    "expression",
    [
        "job_overdue == 1",
        "absent(job_overdue)",
        'absent_over_time(up{job="litgo-serving"}[5m])',
        "(active_offers_count > bool 5) == 1",
        "clamp_max(job_overdue == 1, 1)",
        "count by (job) (job_overdue > 0)",
        "max(fairness_gini) and on () min(fairness_kept) == 0",
        "max by (version) (serving_model_info) unless on (version) max by (version) (champion_info)",
        "(sum(up) or vector(0)) == 0",
        "max(job_overdue) == 1 or max(tick_failed) == 1",
        "triage:fail",
        'ALERTS{alertname="BreakerOpen",alertstate="firing"}',
        "fairness_gini_week_change >= 0",
        "hour() > 8",
        "sum(rate(triage_requests_total[5m])) <= 0",
        "sum(increase(cases_created_total[1h])) - sum(increase(contracts_created_total[1h])) >= 0",
    ],
)
def test_an_alert_that_something_decides_passes(expression: str) -> None:
    """A comparison, also within or in a recording rule; what must be missing; another alert."""
    assert rules(expression, alert=True) == []


BY_SERVICE = (
    'sum by (service) (rate(external_calls_total{outcome="timeout"}[1h])) / sum by (service) (rate(external_calls_total[1h])) > 0.1'
)
SHARES = 'sum(rate(triage_requests_total{status="error"}[5m])) > 0.1 * sum(rate(triage_requests_total[5m]))'
ENOUGH = "sum(increase(triage_requests_total[1h])) > 20"


@pytest.mark.parametrize(
    ("expression", "is_guarded"),
    [
        (f"{RATIO} and sum(increase(cases_created_total[1h])) > 20", False),
        (f"{RATIO} and on () service:calls:increase1h > 20", False),
        (f'{RATIO} and sum(increase(triage_requests_total{{status="error"}}[1h])) > 5', True),
        (f"triage:errors:ratio > 0.1 and {ENOUGH}", True),
        (f"avg_over_time(triage:errors:ratio[1h]) > 0.1 and {ENOUGH}", True),
        (f"triage:errors:ratio > 0.1 and {ENOUGH.replace('>', '> bool')}", False),
        (f"triage:errors:ratio > 0.1 unless on () ({ENOUGH.replace('>', '<')} or frozen == 1)", True),
        (f"triage:errors:ratio > 0.1 unless on () ({ENOUGH.replace('>', '<')} and on () frozen == 1)", False),
        ("triage:fail", True),
        (f"({RATIO} and {ENOUGH}) and sum(rate(api_retries_total[5m])) / sum(rate(external_calls_total[5m])) > 0.1", False),
        (f"count({RATIO} and {ENOUGH}) > 0", True),
        ('sum(increase(triage_requests_total{status="error"}[1h])) / (sum(increase(triage_requests_total[1h])) >= 20) > 0.1', True),
        (f"{BY_SERVICE} and on () sum(increase(external_calls_total[1h])) > 20", False),
        (f"{BY_SERVICE} and on (service) service:calls:increase1h > 20", True),
        (
            f"{BY_SERVICE.replace('[1h]))  >', '>')} and on (service) sum by (service, outcome) (increase(external_calls_total[1h])) > 20",
            True,
        ),
        ('part:ratio{part="triage"} > 0.1 and part:events{part="triage"} >= 20', True),
        ('part:ratio{part="triage"} > 0.1 and part:errors{part="triage"} >= 5', True),
        ('part:ratio{part="triage"} > 0.1 and on () part:events{part="matching"} >= 20', False),
        (
            'sum(rate(api_timeouts_total{service="openai"}[1h])) / sum(rate(external_calls_total{service="openai"}[1h]))'
            " > 0.1 and sum(increase(external_calls_total[1h])) > 20",
            False,
        ),
        (SHARES, False),
        (f"{SHARES} and {ENOUGH}", True),
        (f"{SHARES} and sum(increase(cases_created_total[1h])) > 20", False),
        ("0.1 * sum(triage:by_status:rate5m) < sum(triage:errors_by_status:rate5m)", False),
        (f"{SHARES.replace('> 0.1', '- 0.1')} > 0", False),
        (f"{SHARES} + 0.001", False),
        ("sum(offers_active) > 2 * sum(increase(cases_created_total[1h]))".replace("offers_active", "active_offers_count"), False),
        ("sum(active_offers_count) > 2 * sum(increase(cases_created_total[1h])) + 3", True),
        (
            "sum(jobs_due) - sum(done) > 0".replace("jobs_due", "triage:by_status:rate5m").replace(
                "done", "triage:by_status:rate5m offset 1d"
            ),
            True,
        ),
    ],
)
def test_a_guard_is_of_what_the_ratio_is_a_share_of(expression: str, is_guarded: bool) -> None:
    """Of the same metric and as fine, also through recording rules; what compares two volumes is a ratio as well."""
    assert rules(expression, alert=True) == ([] if is_guarded else ["ratio-without-guard"])


@pytest.mark.parametrize(
    ("metric", "matcher", "is_of_errors"),
    [
        ("serving_request_duration_seconds_count", 'status=~"5.."', True),
        ("serving_request_duration_seconds_count", 'status=~"5\\\\d\\\\d"', True),
        ("serving_request_duration_seconds_count", 'status=~"5[0-9]{2}|429"', True),
        ("serving_request_duration_seconds_count", 'status="5xx"', True),
        ("serving_request_duration_seconds_count", 'status="500"', True),
        ("serving_request_duration_seconds_count", 'status!="ok"', True),
        ("serving_request_duration_seconds_count", 'status!~"2..|3.."', True),
        ("serving_request_duration_seconds_count", 'status!~"5.."', False),
        ("serving_request_duration_seconds_count", 'status!="404"', False),
        ("serving_request_duration_seconds_count", 'status=~"2..|5.."', False),
        ("serving_request_duration_seconds_count", 'status="200"', False),
        ("serving_request_duration_seconds_count", 'route="/v1/errors"', False),
        ("triage_requests_total", 'status!="ok"', True),
        ("external_calls_total", 'outcome!="ok"', True),
        ("external_calls_total", 'outcome=~"http_.*"', True),
        ("external_calls_total", 'outcome=~"ok|timeout"', False),
        ("job_runs_total", 'status=~"success|failure"', False),
        ("service_operations_total", 'mode!="primary"', True),
        ("offers_created_total", "", False),
        ("api_timeouts_total", "", True),
    ],
)
def test_errors_are_told_by_names_and_by_how_it_ended(metric: str, matcher: str, is_of_errors: bool) -> None:
    """Codes in any writing, and what leaves out what ended well; not what takes good and bad."""
    broken = [one for one in rules(f"sum(rate({metric}{{{matcher}}}[5m])) > 0.1", alert=True) if one != "impossible-value"]
    assert broken == (["bare-rate"] if is_of_errors else [])


def test_a_bare_rate_is_found_behind_a_recording_rule() -> None:
    """What is recorded is as bare as what is written."""
    assert rules("sum(triage:errors_by_status:rate5m) > vector(0.1)", alert=True) == ["bare-rate"]
    assert rules("sum(triage:by_status:rate5m) > 0.1", alert=True) == []


def test_a_finding_says_what_to_write() -> None:
    """It names the part that is meant, and the nearest right name."""
    (fault,) = check('sum(rate(triage_requests_total{stauts="error"}[5m]))', NAMES)
    assert (fault.part, fault.wrong, fault.instead) == ('triage_requests_total{stauts="error"}', "there is no label stauts", "status")
    (fault,) = check("offers_create_total", NAMES)
    assert fault.instead == "offers_created_total, if that is meant"


def test_an_exception_needs_a_reason_and_an_offence() -> None:
    """A comment in the expression excepts one rule, by name and with a reason; one that excepts nothing is an offence itself."""
    counter = "sum(model_decisions_total)"
    assert rules(f"# lint: counter-without-rate because it never begins anew\n{counter}") == []
    assert rules(f"{counter} # lint: counter-without-rate because it never begins anew") == []
    assert rules(f"# lint: counter-without-rate\n{counter}") == ["counter-without-rate", "exception"]
    assert rules(f"# lint: quantile because I say so\n{counter}") == ["counter-without-rate", "exception"]
    assert rules(f"# lint: everything because I say so\n{counter}") == ["counter-without-rate", "exception"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("rate(offers_created_total[$__rate_interval])", "rate(offers_created_total[5m])"),
        ("rate(offers_created_total[${__rate_interval}])", "rate(offers_created_total[5m])"),
        ("rate(offers_created_total[$window])", "rate(offers_created_total[5m])"),
        ("max_over_time(sum(up)[$window:])", "max_over_time(sum(up)[5m:])"),
        ("increase(offers_created_total[$__range])", "increase(offers_created_total[1h])"),
        ('up{job=~"${job:regex}"}', 'up{job=~"__variable__"}'),
        ('label_replace(up, "a", "$1", "job", "(.*)")', 'label_replace(up, "a", "$1", "job", "(.*)")'),
    ],
)
def test_variables_of_grafana_are_filled_in(written: str, read: str) -> None:
    """What is left parses, and no rule takes a variable for a value."""
    assert without_variables(written) == read
    assert check(read, NAMES) == []


def test_a_variable_is_no_value_or_label() -> None:
    """A value and a label that people choose may be any; a window of one step is too short."""
    assert rules(without_variables('sum by ($by) (rate(triage_requests_total{status="$status"}[5m]))')) == []
    assert rules(without_variables("rate(offers_created_total[$__interval])")) == ["short-window"]


TOKENS = (
    *(
        "sum",
        "rate",
        "histogram_quantile",
        "label_replace",
        "absent",
        "by",
        "on",
        "ignoring",
        "group_left",
        "and",
        "or",
        "unless",
        "offset",
    ),
    *(
        "(",
        ")",
        "{",
        "}",
        "[5m]",
        "[1h:]",
        "[",
        ",",
        "=",
        '=~"(|"',
        '="error"',
        ">",
        "/",
        "-",
        "0.95",
        "1e400",
        '"',
        "#",
        "# lint:",
        "\n",
        "$x",
    ),
    *("triage_requests_total", "triage_duration_seconds_bucket", "up", "itself", "ALERTS", "status", "le", "\0", "é", "😀"),
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join)), st.booleans())
def test_no_text_raises(expression: str, alert: bool) -> None:
    """Whatever is written, findings come back, each with a rule, a reason and a way out."""
    for fault in check(expression, NAMES, alert=alert) + check(without_variables(expression), NAMES, alert=alert):
        assert fault.rule in RULES
        assert fault.wrong
        assert fault.instead


@pytest.mark.parametrize("deep", ["(" * 1900 + "up" + ")" * 1900, "-" * 3900 + "up", "up" + " + up" * 700, "abs(" * 700 + "up" + ")" * 700])
def test_what_is_nested_too_deep_or_too_long_is_a_finding(deep: str) -> None:
    """Neither Python's stack nor the parser's runs over."""
    assert rules(deep, alert=True) == ["parse"]
    assert rules(deep * 3) == ["parse"]


@given(st.sampled_from(sorted(METRICS)), st.data())
def test_every_metric_can_be_shown_by_its_labels(name: str, data: st.DataObject) -> None:
    """Whatever the registry holds can be summed by any of its labels and asked for any of its known values."""
    metric = METRICS[name]
    labels = data.draw(st.lists(st.sampled_from(metric.labels), unique=True)) if metric.labels else []
    asked = ", ".join(f'{label}="{data.draw(st.sampled_from(metric.known[label]))}"' for label in labels if label in metric.known)
    for stored in metric.sample_names:
        selector = f"{stored}{{{asked}}}"
        value = selector if metric.kind == "gauge" else f"rate({selector}[5m])"
        assert check(f"sum by ({', '.join(labels)}) ({value})", NAMES) == []


@pytest.mark.parametrize(
    ("divisor", "right"),
    [
        ("open_cases_count", False),
        ("sum(increase(triage_requests_total[1h]))", False),
        ("(open_cases_count > 0)", True),
        ("(open_cases_count != 0)", True),
        ("(open_cases_count >= 5)", True),
        ("(0 < open_cases_count)", True),
        ("sum(open_cases_count > 0)", True),
        ("(open_cases_count >= 0)", False),
        ("(open_cases_count > -1)", False),
        ("(open_cases_count != 5)", False),
        ("(open_cases_count > bool 0)", False),
        ("(5 > open_cases_count)", False),
        ("(open_cases_count and open_cases_count > 0)", True),
        ("(open_cases_count and active_lawyers_count > 0)", False),
        ("(open_cases_count > 0 or vector(0))", False),
        ("(open_cases_count > 0 or vector(1))", True),
        ("clamp_min(open_cases_count, 1)", True),
        ("clamp_min(open_cases_count, 0)", False),
        ("(sum(increase(triage_requests_total[1h])) + 1)", True),
        ("(open_cases_count - 1)", False),
        ("count(open_cases_count)", True),
        ("disk_size_bytes", True),
        ("disk_free_bytes", False),
        ("60", True),
        ("0", False),
        ("sum(slo:objective)", True),
        ("sum(1 - slo:objective)", True),
        ("sum(part:events)", False),
        ("sum(itself)", False),
    ],
)
def test_what_a_dashboard_divides_by_is_never_zero(divisor: str, right: bool) -> None:
    """Guards, sizes and numbers are taken; what may be 0 is found wherever it stands in the expression."""
    expression = f"sort(1 + sum(active_lawyers_count) / on () {divisor})" if right else f"sort(sum(active_lawyers_count) / {divisor})"
    expression = expression.replace("on () ", "") if divisor.isdigit() else expression
    found = [fault for fault in check(expression, NAMES, shown=True) if fault.rule == "ratio-without-guard"]
    assert bool(found) is not right
    assert "ratio-without-guard" not in rules(expression)
