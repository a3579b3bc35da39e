"""Dashboard `Rollout`: which model answers, the experiment against it, its quality, and what was decided."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from litgo_pipelines.observability.dashboards.board import ALERTS, Board, Events, Section
from litgo_pipelines.observability.dashboards.panels import (
    BAD,
    CARE,
    GOOD,
    THIRD,
    YES_IS_BAD,
    Column,
    Query,
    at_least,
    at_most,
    figure,
    graph,
    listing,
    model_latency,
    timeline,
)

_NO_EXPERIMENT = "no experiment runs"
_NO_WATCH = "the champion was not judged yet"

_DECISIONS = Events(
    "Decisions",
    # A series that begins is a decision, too, and no increase.
    "sum by (action, by, result) (increase(model_decisions_total[2m])) > 0"
    " or count by (action, by, result) (model_decisions_total unless model_decisions_total offset 2m)",
    "{{action}}: {{result}}",
    "blue",
    "by {{by}}; `litgo model history` has the evidence",
)


def rollout() -> Board:
    """The dashboard for whoever answers for the models."""
    return Board(
        "litgo-rollout",
        "Which model answers and since when, the experiment against it, its quality, and what was decided and by whom.",
        [
            Section("Which model answers", _versions()),
            Section("The experiment", _experiment()),
            Section("Quality of the champion", _quality()),
            Section("Decisions and freezes", _decisions()),
        ],
        since="now-7d",
        events=(_DECISIONS, ALERTS),
        variable=("metric", "Figure", "label_values(experiment_lift, metric)"),
    )


def _versions() -> list[Panel]:
    return [
        figure(
            "Champion",
            "The version that the registry's alias champion points to.",
            Query("max by (version) (champion_info)", "{{version}}"),
            empty="the registry was not looked at",
            words={1: ("champion", GOOD)},
        ),
        figure(
            "Served",
            "The version that answers; `hand weights` answer where there is no model.",
            Query("max by (version, source) (serving_model_info)", "{{version}} ({{source}})"),
            empty="the service is not scraped",
            words={1: ("answers", GOOD)},
        ),
        figure(
            "Another should answer",
            "Whether what is served is not what the alias says, or nobody knows.",
            "max(serving_model_stale)",
            empty="the service is not scraped",
            words=YES_IS_BAD,
        ),
        figure(
            "Champion for",
            "How long the alias has pointed there; without a champion the hand weights answer.",
            'time() - max(champion_since_timestamp_seconds) and on () max(champion_info{version!="nobody"}) == 1',
            empty="nobody is champion",
            unit="s",
        ),
        figure(
            "Registry last answered",
            "How long ago the service last heard which model should answer.",
            "time() - min(serving_model_last_check_timestamp_seconds)",
            empty="the service is not scraped",
            unit="s",
            steps=at_most(60, 900),
            decimals=0,
        ),
        figure(
            "Unexplained promotions",
            "Moves of the alias by hand that nobody has explained: `litgo model annotate`.",
            "unexplained_promotions_count",
            empty="the collector does not say",
            steps=at_most(1, 1),
        ),
        timeline(
            "Versions over time",
            "The version that was champion, and the one that answered.",
            Query("max by (version) (champion_info) == 1", "champion: {{version}}"),
            Query("max by (version) (serving_model_info) == 1", "served: {{version}}"),
            empty="the registry was not looked at",
            words={1: ("yes", "blue")},
            size=(24, 7),
        ),
        model_latency(),
    ]


def _experiment() -> list[Panel]:
    return [
        listing(
            "Experiment",
            "The candidate that is compared with the champion, and how.",
            {"experiment": "experiment", "champion": "champion", "challenger": "challenger", "mode": "mode", "status": "status"},
            Column("runs", "max by (experiment, champion, challenger, mode, status) (experiment_info)", words={1: ("yes", GOOD)}),
            empty=_NO_EXPERIMENT,
            sort="experiment",
            size=(12, 5),
        ),
        figure(
            "Share in treatment",
            "Share of all clients whom the candidate answers, as decided.",
            "max(experiment_share)",
            empty=_NO_EXPERIMENT,
            unit="percentunit",
            size=(4, 5),
        ),
        figure(
            "Share served",
            "The share by which the service divides the clients.",
            "max(serving_experiment_share)",
            empty=_NO_EXPERIMENT,
            unit="percentunit",
            size=(4, 5),
        ),
        figure(
            "Sample ratio",
            "Whether the groups' sizes differ from design by more than chance: then nothing may be read from the experiment.",
            "max(experiment_sample_ratio_broken)",
            empty=_NO_EXPERIMENT,
            words={0: ("as designed", GOOD), 1: ("broken", BAD)},
            size=(4, 5),
        ),
        graph(
            "Lift",
            "Relative difference of treatment in the figure chosen above, with its interval, which holds at any moment: the candidate is "
            "better where all of it lies above 0.",
            *(
                Query(f'max by (bound) (experiment_lift{{metric="$metric",bound="{bound}"}})', "{{bound}}")
                for bound in ("low", "estimate", "high")
            ),
            empty=_NO_EXPERIMENT,
            unit="percentunit",
            lowest=None,
            band=("low", "high"),
        ),
        listing(
            "Lift of all figures",
            "Relative difference of treatment, and its interval.",
            {"metric": "figure"},
            *(
                Column(title, f'max by (metric) (experiment_lift{{bound="{bound}"}})', "percentunit", at_least(0, 0.0001), decimals=2)
                for title, bound in (("low", "low"), ("estimate", "estimate"), ("high", "high"))
            ),
            empty=_NO_EXPERIMENT,
            sort="figure",
            descending=False,
        ),
        graph(
            "Clients in the experiment",
            "By group.",
            Query("sum by (variant) (experiment_units)", "{{variant}}"),
            empty=_NO_EXPERIMENT,
            size=THIRD,
        ),
        graph(
            "The figure by group",
            "Mean or rate of the figure chosen above.",
            Query('max by (variant) (experiment_metric{metric="$metric"})', "{{variant}}"),
            empty=_NO_EXPERIMENT,
            lowest=None,
            size=THIRD,
        ),
        graph(
            "Score and acceptance by group",
            "Mean over the last day: the score promised to a lawyer shown, and the share of ended offers that were accepted.",
            Query(
                "sum by (variant, metric) (increase(ab_test_metrics_sum[1d]))"
                " / (sum by (variant, metric) (increase(ab_test_metrics_count[1d])) > 0)",
                "{{variant}}: {{metric}}",
            ),
            empty=_NO_EXPERIMENT,
            unit="percentunit",
            size=THIRD,
        ),
        graph(
            "Requests by group",
            "Match requests a second, by how they ended.",
            Query("sum by (variant, status) (rate(ab_requests_total[$__rate_interval]))", "{{variant}} {{status}}"),
            empty=_NO_EXPERIMENT,
            unit="reqps",
        ),
        graph(
            "Time to decide by group",
            "95 of 100 requests of the last hour took no longer.",
            Query("histogram_quantile(0.95, sum by (le, variant) (rate(ab_request_duration_seconds_bucket[1h])))", "{{variant}}"),
            empty=_NO_EXPERIMENT,
            unit="s",
        ),
    ]


def _quality() -> list[Panel]:
    return [
        graph(
            "Quality",
            "Mean match score of the last window over that of the reference; below the dashed threshold the champion is degraded.",
            Query("max by (version) (model_quality_ratio)", "{{version}}"),
            Query("max(model_quality_threshold)", "threshold"),
            empty=_NO_WATCH,
            unit="percentunit",
            dashed=("threshold",),
            size=(16, 8),
        ),
        figure(
            "Degraded",
            "A degraded champion is withdrawn by itself unless models are frozen.",
            Query("max by (version) (model_degraded)", "{{version}}"),
            empty=_NO_WATCH,
            words=YES_IS_BAD,
            size=(4, 8),
        ),
        figure(
            "Last judged",
            "How long ago the champion was last judged; every DEGRADATION_WINDOW.",
            "time() - model_watch_timestamp_seconds",
            empty=_NO_WATCH,
            unit="s",
            steps=at_most(2 * 3600, 6 * 3600),
            size=(4, 8),
        ),
    ]


def _decisions() -> list[Panel]:
    return [
        graph(
            "Decisions a day",
            "What was decided about models over the 24 hours before each moment.",
            Query("sum by (action, by, result) (increase(model_decisions_total[1d])) > 0", "{{action}}: {{result}}, by {{by}}"),
            empty="nothing was decided",
            stacked=True,
        ),
        listing(
            "All decisions",
            "Since the marketplace began; `litgo model history` has each with its evidence.",
            {"action": "action", "result": "result", "by": "by"},
            Column(
                "times",
                "# lint: counter-without-rate because the counter is made of facts and never begins anew\n"
                "sum by (action, by, result) (model_decisions_total)",
                decimals=0,
            ),
            empty="nothing was decided yet",
            sort="times",
            size=(6, 8),
        ),
        timeline(
            "Frozen",
            "What people have frozen: it does not move by itself.",
            Query("max by (what) (frozen)", "{{what}}"),
            empty="nothing is frozen",
            words={1: ("frozen", CARE), 0: ("free", GOOD)},
            size=(6, 8),
        ),
    ]
