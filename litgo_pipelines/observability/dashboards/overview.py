"""Dashboard `Overview`: whether all is well, what was promised, and what is wrong."""

from __future__ import annotations

from typing import Final

import yaml
from grafana_foundation_sdk.models.dashboard import Panel

from litgo_pipelines.observability.dashboards.board import Board, Section
from litgo_pipelines.observability.dashboards.panels import (
    BAD,
    GOOD,
    WIDE,
    Column,
    Query,
    Steps,
    at_least,
    at_most,
    bars,
    figure,
    graph,
    listing,
    of_configured,
    timeline,
)
from litgo_pipelines.observability.deployment import DEPLOY

_FIRING = 'ALERTS{alertstate="firing",alertname!="Watchdog"}'
_ACTIVE_FOR = f'time() - (ALERTS_FOR_STATE{{alertname!="Watchdog"}} and ignoring (alertstate) {_FIRING})'
_TOLD_BY: Final = {
    "alertname": "alert",
    "severity": "severity",
    **{label: label for label in ("job", "service", "source", "daemon", "version", "slo", "folder", "between", "name", "kind")},
    **{label: label for label in ("experiment", "by", "integration", "alertmanager", "rule_group", "window", "team")},
}
"""Columns of the table of alerts: all labels that an alert may bear but the instance."""
_EIGHTH = (3, 4)
_QUIET = "nothing was asked for"


def overview() -> Board:
    """The dashboard that whoever is called looks at first."""
    return Board(
        "litgo-overview",
        "Is all well? What fires, what was promised and how it is kept, and where to look next.",
        [
            Section("Right now", _now()),
            Section("What is wrong", _wrong()),
            Section("What was promised, over 30 days", _promises()),
            Section("Service level objectives", _objectives()),
            Section("Health", _health()),
        ],
    )


def _now() -> list[Panel]:
    def firing(title: str, severity: str, what: str, steps: Steps) -> Panel:
        # The Watchdog fires always: where it does not, no rules are evaluated, and nothing is known.
        expr = f'count(count by (alertname) ({_FIRING[:-1]},severity="{severity}"}})) or 0 * count(ALERTS{{alertname="Watchdog"}})'
        return figure(title, what, expr, empty="Prometheus evaluates no rules", steps=steps, size=_EIGHTH)

    return [
        firing(
            "Pages",
            "page",
            "Alerts that somebody is called for, which fire, each counted once whatever it fires for. What they are is below.",
            at_most(1, 1),
        ),
        firing("Tickets", "ticket", "Alerts that fire and can wait until working hours, each counted once.", at_most(1, 5)),
        figure(
            "Health score",
            "0 to 100: weighted mean of the components that something is known of; they are shown at the bottom.",
            "system_health_score",
            empty="the collector shows no score",
            steps=at_least(70, 90),
            decimals=0,
            size=_EIGHTH,
        ),
        figure(
            "Service",
            "Whether the matching service answered Prometheus' last scrape.",
            "serving:up:max",
            empty="never scraped",
            words={1: ("up", GOOD), 0: ("down", BAD)},
            size=_EIGHTH,
        ),
        figure(
            "Database",
            "Whether the marketplace's database answered the collector.",
            "min(database_up)",
            empty="the collector does not say",
            words={1: ("up", GOOD), 0: ("down", BAD)},
            size=_EIGHTH,
        ),
        figure(
            "Jobs overdue",
            "Jobs for which no run succeeded since they were last due.",
            "sum(job_overdue)",
            empty="no schedule was due yet",
            steps=at_most(1, 1),
            size=_EIGHTH,
        ),
        figure(
            "Waits for people",
            "Triages to decide, messages that may or may not have arrived, and promotions that nobody has explained.",
            'sum(undecided_triages_count) + (sum(outbox_messages{status="unknown"}) or vector(0))'
            " + (sum(unexplained_promotions_count) or vector(0))",
            empty="the collector does not say",
            steps=at_most(1, 21),
            size=_EIGHTH,
        ),
        figure(
            "Age of the figures",
            "Age of the oldest figures that the collector shows. Beyond a minute it withholds them.",
            "max(collector_source_age_seconds)",
            empty="the collector shows nothing",
            unit="s",
            steps=at_most(60, 120),
            decimals=0,
            size=_EIGHTH,
        ),
    ]


def _wrong() -> list[Panel]:
    return [
        listing(
            "Firing alerts",
            "Each alert that fires and what it is about, the longest first. A click on its name leads to its runbook, "
            "docs/runbooks/NAME.md; the value is in Alertmanager's summary of it, for Prometheus does not store it.",
            _TOLD_BY,
            Column("for", f"max without (instance) ({_ACTIVE_FOR})", unit="s", decimals=0),
            empty="No alert fires.",
            sort="for",
            links={"alert": ("Runbook", f"{_runbooks()}/${{__value.raw}}.md")},
        ),
        timeline(
            "Alerts over time",
            "When each alert fired.",
            Query(f"max by (alertname) ({_FIRING})", "{{alertname}}"),
            empty="No alert fired.",
            words={1: ("firing", BAD)},
            size=WIDE,
        ),
    ]


def _runbooks() -> str:
    """Where runbooks can be read, as Prometheus puts it into alerts: its external labels are not known to a query."""
    return str(yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["global"]["external_labels"]["runbooks"])


def _promises() -> list[Panel]:
    return [
        figure(
            "Uptime",
            "Share of the time in which the service answered scrapes. Promised: more than 99.9 %.",
            "serving:up:avg30d",
            empty="never scraped",
            unit="percentunit",
            steps=at_least(0.999, 0.9995),
            decimals=2,
            size=_EIGHTH,
        ),
        figure(
            "Time to resolve",
            "Mean time for which an alert fired. Promised: less than 15 minutes.",
            "sum(alert:firing_seconds:sum30d) / (sum(alert:episodes:sum30d) > 0)",
            empty="no alert fired",
            unit="s",
            steps=at_most(600, 900),
            decimals=0,
            size=_EIGHTH,
        ),
        figure(
            "Jobs as scheduled",
            "Share of the moments at which a job was due for which a run succeeded in time. Promised: 99.9 %.",
            '1 - slo:errors:ratio_increase30d{slo="schedule"}',
            empty="no schedule was due yet",
            unit="percentunit",
            steps=at_least(0.999, 1),
            decimals=2,
            size=_EIGHTH,
        ),
        figure(
            "Time in fallback",
            "Share of the last day that the vendor most often away spent replaced, of those configured. Promised: less than 10 %.",
            f"max({of_configured('service:fallback_active:avg1d')})",
            empty="no work for a vendor that is configured",
            unit="percentunit",
            steps=at_most(0.05, 0.1),
            decimals=1,
            size=_EIGHTH,
        ),
        figure(
            "Timeouts",
            "Share of the last hour's requests to vendors that were not answered in time. Promised: less than 1 %.",
            "sum(service:timeouts:increase1h) / (sum(service:requests:increase1h) > 0)",
            empty="no vendor was asked",
            unit="percentunit",
            steps=at_most(0.005, 0.01),
            decimals=2,
            size=_EIGHTH,
        ),
        figure(
            "Gini of utilisation",
            "How unequally work is spread over the lawyers: 0 is even. Promised: less than 0.3.",
            "fairness_gini",
            empty="no report yet",
            steps=at_most(0.27, 0.3),
            decimals=3,
            size=_EIGHTH,
        ),
        figure(
            "Lawyers offered",
            "Share of lawyers who received an offer in 30 days. Promised: more than 80 %.",
            "fairness_offered_ratio",
            empty="no report yet",
            unit="percentunit",
            steps=at_least(0.8, 0.85),
            decimals=1,
            size=_EIGHTH,
        ),
        figure(
            "Largest gap",
            "Largest difference of mean utilisation between groups of lawyers. Promised: less than 20 points.",
            "max(fairness_gap_ratio)",
            empty="no report yet",
            unit="percentunit",
            steps=at_most(0.15, 0.2),
            decimals=1,
            size=_EIGHTH,
        ),
    ]


def _objectives() -> list[Panel]:
    return [
        listing(
            "Objectives",
            "What each promises and how it stands. Burn is how fast the budget of errors goes: at 1 it is spent after 30 days, at 14.4 "
            "after two. Runs are answers of the service, ends of runs, or moments at which a schedule was due.",
            {"slo": "objective of"},
            Column("target", "slo:objective:ratio", "percentunit", decimals=2),
            Column("kept, 30 d", "1 - slo:errors:ratio_increase30d", "percentunit", at_least(0.999, 0.9995), decimals=3),
            Column("budget left, 30 d", "slo:error_budget_left:ratio_increase30d", "percentunit", at_least(0, 0.25), decimals=0),
            Column("burn, 1 h", _burn("1h"), steps=at_most(6, 14.4), decimals=1),
            Column("burn, 6 h", _burn("6h"), steps=at_most(3, 6), decimals=1),
            Column("burn, 1 d", _burn("1d"), steps=at_most(1, 3), decimals=1),
            Column("counted, 30 d", "slo:events:increase30d", decimals=0),
            empty=_QUIET,
            sort="budget left, 30 d",
            descending=False,
            size=(24, 6),
        ),
        graph(
            "Burn of the error budget",
            "Over the last hour, by objective. For serving somebody is called from 14.4 on, and from 6 on if it lasts for six hours; "
            "jobs and schedule open tickets and never call anybody.",
            Query(_burn("1h"), "{{slo}}"),
            empty=_QUIET,
            steps=at_most(6, 14.4),
        ),
        graph(
            "Error budget left",
            "Share of the errors that 30 days may have that is not spent; below 0 the objective is broken.",
            Query("slo:error_budget_left:ratio_increase30d", "{{slo}}"),
            empty=_QUIET,
            unit="percentunit",
            steps=at_least(0, 0.25),
            lowest=None,
            highest=1,
        ),
        listing(
            "Time to resolve by alert",
            "How often each alert fired in 30 days and how long on average.",
            {"alertname": "alert", "severity": "severity", "team": "team"},
            Column("mean time", "alert:time_to_resolve_seconds:avg30d", "s", at_most(600, 900), decimals=0),
            Column("times", "alert:episodes:sum30d", decimals=0),
            empty="No alert fired in 30 days.",
            sort="mean time",
            size=WIDE,
        ),
    ]


def _burn(window: str) -> str:
    return f"slo:errors:ratio_increase{window} / on (slo) (1 - slo:objective:ratio)"


def _health() -> list[Panel]:
    return [
        bars(
            "Components of the health score",
            "Each between 0 (nothing works) and 1. One of which nothing is known is left out and does not count.",
            Query("sort(system_health_component)", "{{component}}"),
            empty="the collector shows no components",
            unit="percentunit",
            steps=at_least(0.7, 0.9),
            highest=1,
            size=(8, 8),
        ),
        listing(
            "Weights",
            "What each component counts for in the score.",
            {"component": "component"},
            Column("weight", "max by (component) (system_health_weight)", decimals=0),
            empty="the collector shows no weights",
            sort="weight",
            size=(4, 8),
        ),
        graph(
            "Health score over time",
            "The score, and the share of its weight of which something is known, in hundredths.",
            Query("system_health_score", "score"),
            Query("100 * system_health_known_ratio", "known"),
            empty="the collector shows no score",
            steps=at_least(70, 90),
            highest=100,
        ),
    ]
