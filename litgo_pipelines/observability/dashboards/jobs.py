"""Dashboard `Jobs & health`: jobs and their schedules, queues, the daemon, the collector, database and disk."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from litgo_pipelines.observability.dashboards.board import Board, Section
from litgo_pipelines.observability.dashboards.panels import (
    BAD,
    GOOD,
    HALF,
    THIRD,
    YES_IS_BAD,
    YES_IS_GOOD,
    Column,
    Query,
    at_least,
    at_most,
    figure,
    graph,
    listing,
    timeline,
)

_NO_RUNS = "no run ended"
_SILENT = "the collector does not say"


def jobs() -> Board:
    """The dashboard for what should have run and did not."""
    return Board(
        "litgo-jobs",
        "What runs by itself: jobs and their schedules, queues, the daemon, and whether what measures all this is well.",
        [
            Section("As scheduled", _scheduled()),
            Section("Runs", _runs()),
            Section("What waits", _queues()),
            Section("Schedules, sensors and the daemon", _daemon()),
            Section("What measures", _measuring()),
            Section("Database and disk", _stores()),
        ],
    )


def _scheduled() -> list[Panel]:
    return [
        figure(
            "Executed as scheduled, 30 d",
            "Share of the moments at which a schedule was due for which a run succeeded in time. Promised: 99.9 %.",
            '1 - slo:errors:ratio_increase30d{slo="schedule"}',
            empty="no schedule was due yet",
            unit="percentunit",
            steps=at_least(0.999, 1),
            decimals=2,
            size=(6, 4),
        ),
        figure(
            "Runs that succeeded, 1 d",
            "Of those that succeeded or failed for good.",
            '1 - slo:errors:ratio_increase1d{slo="jobs"}',
            empty=_NO_RUNS,
            unit="percentunit",
            steps=at_least(0.997, 0.999),
            decimals=1,
            size=(6, 4),
        ),
        figure(
            "Overdue",
            "Jobs for which no run succeeded since they were due.",
            "sum(job_overdue)",
            empty="no schedule was due yet",
            steps=at_most(1, 1),
        ),
        figure("Runs waiting", "Runs that wait for their turn.", "job_queue_length", empty=_SILENT, steps=at_most(5, 20)),
        figure(
            "Oldest waiting run",
            "How long the oldest of them has waited.",
            "job_queue_oldest_age_seconds",
            empty=_SILENT,
            unit="s",
            steps=at_most(600, 1800),
        ),
        listing(
            "Scheduled jobs",
            "Each job with a schedule: when it was last due, and whether a run has succeeded since.",
            {"job": "job"},
            Column("overdue", "max by (job) (job_overdue)", words=YES_IS_BAD),
            Column("last due", "time() - max by (job) (job_due_timestamp_seconds)", "s", decimals=0),
            Column("due, 30 d", "sum by (job) (increase(jobs_due_total[30d]))", decimals=0),
            Column("executed, 30 d", "sum by (job) (increase(jobs_executed_total[30d]))", decimals=0),
            empty="no schedule was due yet",
            sort="overdue",
            size=HALF,
        ),
        listing(
            "Jobs",
            "Each job that ever ran: how long ago a run last succeeded, and the runs of the last day.",
            {"job": "job"},
            Column("last success", "time() - max by (job) (job_last_success_timestamp_seconds)", "s", decimals=0),
            Column("succeeded, 1 d", 'sum by (job) (increase(job_runs_total{status="success"}[1d]))', decimals=0),
            Column("failed, 1 d", 'sum by (job) (increase(job_runs_total{status="failure"}[1d]))', steps=at_most(0.5, 2.5), decimals=0),
            Column("retried, 1 d", 'sum by (job) (increase(job_runs_total{status="retried"}[1d]))', steps=at_most(0.5, 5.5), decimals=0),
            Column("95 of 100 within, 7 d", "histogram_quantile(0.95, sum by (le, job) (rate(job_duration_seconds_bucket[7d])))", "s"),
            empty=_NO_RUNS,
            sort="failed, 1 d",
            size=HALF,
        ),
    ]


def _runs() -> list[Panel]:
    return [
        graph(
            "Runs an hour",
            "By how they ended, over the hour before each moment.",
            Query("sum by (status) (increase(job_runs_total[1h]))", "{{status}}"),
            empty=_NO_RUNS,
            stacked=True,
            size=THIRD,
        ),
        graph(
            "Failures by job",
            "Runs that failed for good, over the hour before each moment.",
            Query('sum by (job) (increase(job_runs_total{status="failure"}[1h])) > 0', "{{job}}"),
            empty="no run failed",
            stacked=True,
            size=THIRD,
        ),
        graph(
            "Duration by job",
            "Mean time of the runs of the last hour, from start to end.",
            Query(
                "sum by (job) (increase(job_duration_seconds_sum[1h])) / (sum by (job) (increase(job_duration_seconds_count[1h])) > 0)",
                "{{job}}",
            ),
            empty=_NO_RUNS,
            unit="s",
            size=THIRD,
        ),
        graph(
            "Runs under way",
            "Queued or running.",
            Query("sum by (job, status) (job_runs_in_progress) > 0", "{{job}} {{status}}"),
            empty="no run is under way",
            stacked=True,
        ),
        graph(
            "Since the last end",
            "How long ago a run of each job last ended, by how.",
            Query("time() - max by (job, status) (job_last_end_timestamp_seconds)", "{{job}} {{status}}"),
            empty=_NO_RUNS,
            unit="s",
        ),
    ]


def _queues() -> list[Panel]:
    return [
        graph(
            "Runs that wait",
            "Length of Dagster's queue.",
            Query("job_queue_length", "runs"),
            empty=_SILENT,
            size=(6, 8),
        ),
        graph(
            "Outbox",
            "Messages that are not delivered. Unknown ones wait for a person: `litgo notification settle`.",
            Query("sum by (status) (outbox_messages)", "{{status}}"),
            empty=_SILENT,
            stacked=True,
            size=(6, 8),
        ),
        graph(
            "Age of what waits",
            "How long the oldest run has waited, and for how long the oldest message could have gone out. "
            "Alerts come from 15 minutes (message) and 30 (run) on.",
            Query("job_queue_oldest_age_seconds", "run"),
            Query("outbox_oldest_due_age_seconds", "message"),
            empty=_SILENT,
            unit="s",
            steps=at_most(300, 900),
            size=(6, 8),
        ),
        graph(
            "Deliveries that failed",
            "Share of the last hour's messages that could not be delivered, where any was settled.",
            Query("notifications:failed:ratio_increase1h", "failed"),
            empty="no message was settled",
            unit="percentunit",
            steps=at_most(0.02, 0.1),
            size=(6, 8),
        ),
    ]


def _daemon() -> list[Panel]:
    return [
        listing(
            "Daemon",
            "Last heartbeat of each part of Dagster's daemon. Without it nothing starts by itself, while the web server looks well.",
            {"daemon": "part"},
            Column("last heartbeat", "time() - max by (daemon) (daemon_heartbeat_timestamp_seconds)", "s", at_most(120, 300), decimals=0),
            empty="no heartbeat was ever seen",
            sort="last heartbeat",
            size=(6, 8),
        ),
        listing(
            "Schedules and sensors",
            "The latest first: late is how long ago it should have ticked again, below 0 means that it still has time.",
            {"name": "name", "kind": "kind"},
            Column("late", "time() - max by (name, kind) (tick_due_timestamp_seconds)", "s", at_most(60, 600), decimals=0),
            Column("last tick", "time() - max by (name, kind) (tick_timestamp_seconds)", "s", decimals=0),
            Column("last tick failed", "max by (name, kind) (tick_failed)", words=YES_IS_BAD),
            empty="nothing has ticked yet",
            sort="late",
            size=(10, 8),
        ),
        graph(
            "Ticks an hour",
            "By how they ended, over the hour before each moment; skipped means that there was nothing to do.",
            Query("sum by (status) (increase(ticks_total[1h]))", "{{status}}"),
            empty="nothing has ticked yet",
            stacked=True,
            size=THIRD,
        ),
    ]


def _measuring() -> list[Panel]:
    return [
        timeline(
            "Scrapes",
            "Whether Prometheus could read each process.",
            Query("max by (job, instance) (up)", "{{job}} {{instance}}"),
            empty="Prometheus scrapes nothing",
            words={1: ("up", GOOD), 0: ("down", BAD)},
            size=THIRD,
        ),
        graph(
            "Time of a scrape",
            "A scrape of the collector is promised within 250 ms.",
            Query("max by (job) (scrape_duration_seconds)", "{{job}}"),
            empty="Prometheus scrapes nothing",
            unit="s",
            steps=at_most(0.25, 1),
            size=THIRD,
        ),
        listing(
            "Sources of the collector",
            "Where its figures come from. Figures of a source that has failed for a minute are withheld.",
            {"source": "source"},
            Column("answered", "min by (source) (collector_source_up)", words=YES_IS_GOOD),
            Column("age", "max by (source) (collector_source_age_seconds)", "s", at_most(30, 120), decimals=0),
            Column("time of a reading", "max by (source) (collector_source_duration_seconds)", "s", at_most(1, 3)),
            empty="the collector shows nothing",
            sort="age",
            size=THIRD,
        ),
        graph(
            "Events not counted yet",
            "Age of the oldest event that the counters do not contain.",
            Query("collector_events_unread_age_seconds", "age"),
            empty=_SILENT,
            unit="s",
            steps=at_most(60, 300),
            size=THIRD,
        ),
        figure(
            "Events of no metric",
            "Events that this version of the collector cannot count: it is older than what wrote them.",
            "collector_events_uncountable",
            empty=_SILENT,
            steps=at_most(1, 1000),
            size=(4, 8),
        ),
        figure(
            "Version",
            "Of the collector.",
            Query("max by (version) (build_info)", "{{version}}"),
            empty=_SILENT,
            words={1: ("runs", GOOD)},
            size=(4, 8),
        ),
        graph(
            "Samples in Prometheus",
            "Series that it holds, and samples that it takes in a second.",
            Query("prometheus_tsdb_head_series", "series"),
            Query("rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval])", "samples a second"),
            empty="Prometheus does not scrape itself",
            size=THIRD,
        ),
    ]


def _stores() -> list[Panel]:
    return [
        timeline(
            "Database",
            "Whether the marketplace's database answered the collector.",
            Query("min(database_up)", "database"),
            empty=_SILENT,
            words={1: ("up", GOOD), 0: ("down", BAD)},
            size=(6, 8),
        ),
        graph(
            "Size of the database",
            "As PostgreSQL tells it.",
            Query("database_size_bytes", "database"),
            empty=_SILENT,
            unit="bytes",
            size=(6, 8),
        ),
        graph(
            "Free disk",
            "Share of each disk that is free. An alert comes below 15 % where less than 20 GB are free as well, "
            "and somebody is called below 5 % and 5 GB.",
            Query("disk_free_bytes / disk_size_bytes", "{{folder}}"),
            empty=_SILENT,
            unit="percentunit",
            steps=at_least(0.15, 0.25),
            highest=1,
            size=(6, 8),
        ),
        graph(
            "Free bytes",
            "What is free of each disk; an alert needs this and the share to be low.",
            Query("disk_free_bytes", "{{folder}}"),
            empty=_SILENT,
            unit="decbytes",
            steps=at_least(20e9, 40e9),
            size=(6, 8),
        ),
    ]
