"""Dashboard `Business`: what becomes of cases, offers and contracts, whom messages reach, and how fairly work is spread."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from litgo_pipelines.observability.dashboards.board import Board, Section
from litgo_pipelines.observability.dashboards.panels import (
    PLAIN,
    THIRD,
    YES_IS_GOOD,
    Column,
    Query,
    Steps,
    at_least,
    at_most,
    bars,
    figure,
    graph,
    listing,
)

_NO_OFFERS = "no offer ended"
_NO_CONTRACTS = "no contract was signed"
_NO_MESSAGES = "no message was sent"
_NO_REPORT = "no report of the distribution yet"
_FUNNEL = (
    ("cases", "cases_created_total"),
    ("lawyers shown", "matches_found_total"),
    ("offers", "offers_created_total"),
    ("lawyers interested", 'offers_ended_total{status="interested"}'),
    ("contracts asked for", "contracts_created_total"),
    ("contracts signed", "contracts_signed_total"),
    ("contracts canceled", "contracts_canceled_total"),
    ("reviews", "reviews_total"),
)


def business() -> Board:
    """The dashboard for whoever answers for the marketplace and its fairness."""
    return Board(
        "litgo-business",
        "What becomes of cases, offers and contracts, whom messages reach, and how fairly work is spread over the lawyers.",
        [
            Section("At this moment", _standing()),
            Section("From case to contract", _funnel()),
            Section("Offers", _offers()),
            Section("Contracts", _contracts()),
            Section("Messages", _messages()),
            Section("Fairness", _fairness()),
        ],
        since="now-7d",
    )


def _standing() -> list[Panel]:
    def now(title: str, what: str, expr: str, steps: Steps = ((None, PLAIN),)) -> Panel:
        return figure(title, what, expr, empty="the collector does not say", steps=steps, decimals=0)

    return [
        now("Open cases", "Cases that have no contract yet.", "open_cases_count"),
        now("Active offers", "Offers that wait for a lawyer's answer.", "active_offers_count"),
        now("Pending contracts", "Contracts that a party has still to sign.", "sum(pending_contracts_count)"),
        now("Undecided triages", "Triages that wait for a person: `litgo triage list`.", "undecided_triages_count", at_most(1, 21)),
        now("Active lawyers", "Lawyers who can be offered cases.", "active_lawyers_count"),
        figure(
            "Oldest pending contract",
            "Age of the contract that has waited longest for its signatures.",
            "pending_contract_oldest_age_seconds",
            empty="the collector does not say",
            unit="s",
            steps=at_most(7 * 86400, 14 * 86400),
        ),
    ]


def _funnel() -> list[Panel]:
    return [
        bars(
            "Funnel",
            "What happened in the time shown, step by step. A contract signed may belong to a case from before it.",
            *(Query(f"sum(increase({metric}[$__range]))", name) for name, metric in _FUNNEL),
            empty="nothing happened",
            decimals=0,
        ),
        graph(
            "Cases and contracts a day",
            "Over the 24 hours before each moment.",
            Query("sum(increase(cases_created_total[1d]))", "cases"),
            Query("sum(increase(offers_created_total[1d]))", "offers"),
            Query("sum(increase(contracts_created_total[1d]))", "contracts asked for"),
            Query("sum(increase(contracts_signed_total[1d]))", "contracts signed"),
            empty="nothing happened",
        ),
    ]


def _offers() -> list[Panel]:
    return [
        graph(
            "Acceptance",
            "Of the offers that a lawyer or time ended in 24 hours: how many interested the lawyer, and how many expired.",
            Query("offers:accepted:ratio_increase1d", "interested"),
            Query("offers:expired:ratio_increase1d", "expired"),
            empty=_NO_OFFERS,
            unit="percentunit",
            highest=1,
            size=THIRD,
        ),
        graph(
            "Offers ended a day",
            "By how they ended, over the 24 hours before each moment; closed means that the case ended first.",
            Query("sum by (status) (increase(offers_ended_total[1d]))", "{{status}}"),
            empty=_NO_OFFERS,
            stacked=True,
            size=THIRD,
        ),
        graph(
            "Time to answer",
            "From an offer to the lawyer's answer, over 7 days.",
            Query("histogram_quantile(0.5, sum by (le, status) (rate(offer_response_seconds_bucket[7d])))", "{{status}}, half within"),
            Query("histogram_quantile(0.9, sum by (le, status) (rate(offer_response_seconds_bucket[7d])))", "{{status}}, 9 of 10 within"),
            empty="no lawyer answered",
            unit="s",
            size=THIRD,
        ),
    ]


def _contracts() -> list[Panel]:
    return [
        graph(
            "Time to contract",
            "From a case to its signed contract, over 7 days.",
            Query("contracts:time_to_contract_seconds:p50_7d", "half within"),
            Query("histogram_quantile(0.9, sum by (le) (rate(time_to_contract_seconds_bucket[7d])))", "9 of 10 within"),
            empty=_NO_CONTRACTS,
            unit="s",
            size=THIRD,
        ),
        graph(
            "How contracts are signed, a day",
            "Sent out for signature and signed, at DocuSign or by hand, over the 24 hours before each moment.",
            Query("sum by (method) (increase(contract_creation_method_total[1d]))", "sent out: {{method}}"),
            Query("sum by (method) (increase(contracts_signed_total[1d]))", "signed: {{method}}"),
            empty="no contract went out",
            size=THIRD,
        ),
        graph(
            "Pending by status",
            "Contracts that are not signed yet, by what they wait for.",
            Query("sum by (status) (pending_contracts_count)", "{{status}}"),
            empty="the collector does not say",
            stacked=True,
            size=(4, 8),
        ),
        graph(
            "Reviews a day",
            "By how the case ended, over the 24 hours before each moment.",
            Query("sum by (outcome) (increase(reviews_total[1d]))", "{{outcome}}"),
            empty="no reviews",
            stacked=True,
            size=(4, 8),
        ),
    ]


def _messages() -> list[Panel]:
    return [
        graph(
            "Delivery a day",
            "Messages settled over the 24 hours before each moment; unknown means that nobody can tell whether it arrived.",
            Query("sum by (type, status) (increase(notifications_sent_total[1d]))", "{{type}} {{status}}"),
            empty=_NO_MESSAGES,
            stacked=True,
            size=THIRD,
        ),
        graph(
            "Messages written a day",
            "To whom, over the 24 hours before each moment.",
            Query("sum by (audience, type) (increase(notifications_created_total[1d]))", "{{audience}}: {{type}}"),
            empty="no message was written",
            stacked=True,
            size=THIRD,
        ),
        graph(
            "Time to deliver",
            "From a message to its delivery.",
            Query("notifications:duration_seconds:p95_1h", "95 of 100 within, last hour"),
            Query(
                "histogram_quantile(0.5, sum by (le, type) (rate(notification_duration_seconds_bucket[1d])))",
                "{{type}}, half within, last day",
            ),
            empty=_NO_MESSAGES,
            unit="s",
            steps=at_most(300, 900),
            size=THIRD,
        ),
    ]


def _fairness() -> list[Panel]:
    return [
        figure(
            "Gini",
            "Gini of utilisation over the lawyers who count.",
            "fairness_gini",
            empty=_NO_REPORT,
            steps=at_most(0.27, 0.3),
            decimals=3,
        ),
        figure(
            "Gini, change in a week",
            "Today's less the one of a week before; below 0 is better.",
            "fairness_gini_week_change",
            empty="no report of a week ago",
            steps=at_most(0.01, 0.03),
            decimals=3,
        ),
        figure(
            "Lawyers offered",
            "Share of lawyers who count that received an offer in 30 days.",
            "fairness_offered_ratio",
            empty=_NO_REPORT,
            unit="percentunit",
            steps=at_least(0.8, 0.85),
            decimals=1,
        ),
        figure(
            "Lawyers offered, change in a week",
            "Today's share less the one of a week before; above 0 is better.",
            "fairness_offered_ratio_week_change",
            empty="no report of a week ago",
            unit="percentunit",
            steps=at_least(-0.05, -0.01),
            decimals=1,
        ),
        figure(
            "Price of load",
            "What a fully used month costs a lawyer in the offer rule.",
            "equity_price",
            empty="no price in force",
            decimals=3,
        ),
        figure(
            "Age of the report",
            "How long ago the moment was that the figures speak of; a report is made each night.",
            "time() - fairness_report_timestamp_seconds",
            empty=_NO_REPORT,
            unit="s",
            steps=at_most(26 * 3600, 36 * 3600),
        ),
        listing(
            "Promises",
            "What each figure must stay below (offered: above), what it is, how it has changed in a week, and whether the promise is kept.",
            {"promise": "promise"},
            Column("limit", _limits(), decimals=3),
            Column("figure", _by_promise("fairness_gini", "fairness_offered_ratio", "fairness_gap_ratio"), decimals=3),
            Column(
                "change, 1 week",
                _by_promise("fairness_gini_week_change", "fairness_offered_ratio_week_change", "fairness_gap_week_change"),
                decimals=3,
            ),
            Column("kept", "max by (promise) (fairness_kept)", words=YES_IS_GOOD),
            empty=_NO_REPORT,
            sort="promise",
            descending=False,
            size=(10, 8),
        ),
        bars(
            "Gaps between groups",
            "Largest difference of mean utilisation between groups of lawyers, by what tells the groups apart.",
            Query("sort_desc(max by (between) (fairness_gap_ratio))", "{{between}}"),
            empty="no groups large enough to compare",
            unit="percentunit",
            steps=at_most(0.15, 0.2),
            decimals=1,
            size=(5, 8),
        ),
        graph(
            "Gini, offered and gap over time",
            "With their limits, dashed.",
            Query("fairness_gini", "Gini"),
            Query("fairness_offered_ratio", "offered"),
            Query("max(fairness_gap_ratio)", "largest gap"),
            Query("max by (promise) (fairness_limit)", "limit: {{promise}}"),
            empty=_NO_REPORT,
            unit="percentunit",
            dashed=("limit: gini", "limit: offered", "limit: gap"),
            highest=1,
            size=(9, 8),
        ),
    ]


def _limits() -> str:
    """The limit of each promise: one limit holds for the gaps between all kinds of groups."""
    gaps = (_called('max(fairness_limit{promise="gap"})', f"gap_{groups}") for groups in ("areas", "capacity", "newcomers"))
    return " or ".join(['max by (promise) (fairness_limit{promise!="gap"})', *gaps])


def _by_promise(gini: str, offered: str, gap: str) -> str:
    """Figures by the name of the promise that is about them."""
    gaps = f'max by (promise) (label_replace({gap}, "promise", "gap_$1", "between", "(.*)"))'
    return " or ".join((_called(f"max({gini})", "gini"), _called(f"max({offered})", "offered"), gaps))


def _called(expr: str, promise: str) -> str:
    return f'label_replace({expr}, "promise", "{promise}", "", "")'
