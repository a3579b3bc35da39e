"""Panels that may be empty while all is well, and why. All others show something as soon as the system runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_NO_REPORT: Final = "the first report of the distribution is made at night"
_NO_EXPERIMENT: Final = "no experiment runs"
_NO_WATCH: Final = "there is no champion, or it has not decided enough to be judged"
_NO_REQUESTS: Final = "nobody asked within the window"
_NO_CALLS: Final = "no vendor was asked within the window"
_NO_WORK: Final = "no work was done for which a vendor is configured"
_NOTHING_DUE: Final = "no schedule was due since the marketplace began"
_NO_RUNS: Final = "no run has ended yet"

EMPTY_IS_GOOD: Final[Mapping[str, Mapping[str, str]]] = {
    "litgo-overview": {
        "Firing alerts": "no alert fires",
        "Alerts over time": "no alert fired",
        "Jobs overdue": _NOTHING_DUE,
        "Time to resolve": "no alert fired in 30 days",
        "Time to resolve by alert": "no alert fired in 30 days",
        "Jobs as scheduled": _NOTHING_DUE,
        "Time in fallback": _NO_WORK,
        "Timeouts": _NO_CALLS,
        "Gini of utilisation": _NO_REPORT,
        "Lawyers offered": _NO_REPORT,
        "Largest gap": _NO_REPORT,
        "Objectives": "an objective without events is neither kept nor broken",
        "Burn of the error budget": "an objective without events is neither kept nor broken",
        "Error budget left": "an objective without events is neither kept nor broken",
    },
    "litgo-business": {
        "Acceptance": "no offer ended within a day",
        "Time to answer": "no lawyer answered within 7 days",
        "Time to contract": "no contract was signed within 7 days",
        "Time to deliver": "no message was delivered within the window",
        "Gini": _NO_REPORT,
        "Gini, change in a week": "there is no report of a week ago",
        "Lawyers offered": _NO_REPORT,
        "Lawyers offered, change in a week": "there is no report of a week ago",
        "Age of the report": _NO_REPORT,
        "Promises": "a promise without enough cases has no verdict",
        "Gaps between groups": "no groups are large enough to compare",
        "Gini, offered and gap over time": _NO_REPORT,
        "Price of load": "no price was recorded: LITGO_EQUITY_PRICE is in force",
    },
    "litgo-technical": {
        "Time to decide by version": _NO_REQUESTS,
        **{f"{kind}: {what}": _NO_REQUESTS for kind in ("Matching", "Triage") for what in ("errors", "time to decide")},
        "Requests by status": _NO_REQUESTS,
        "Duration by route": _NO_REQUESTS,
        "Each route": _NO_REQUESTS,
        "Each vendor": "the columns of a vendor that was not asked within the hour are empty",
        "Calls by outcome": _NO_CALLS,
        "Time that vendors take": _NO_CALLS,
        "Timeouts": _NO_CALLS,
        "Retries": _NO_CALLS,
        "Share of time in fallback": _NO_WORK,
        "Share of work in fallback": _NO_WORK,
        "In fallback": _NO_WORK,
        "Price of load": "no price was recorded: LITGO_EQUITY_PRICE is in force",
        "Reading the market": "the window holds no reading",
        "Readings that failed": "no reading failed; errors have no series before the first of their kind",
    },
    "litgo-jobs": {
        "Executed as scheduled, 30 d": _NOTHING_DUE,
        "Runs that succeeded, 1 d": _NO_RUNS,
        "Overdue": _NOTHING_DUE,
        "Scheduled jobs": _NOTHING_DUE,
        "Jobs": "columns of what has not happened to a job are empty",
        "Runs an hour": _NO_RUNS,
        "Failures by job": "no run failed",
        "Duration by job": _NO_RUNS,
        "Runs under way": "no run is under way",
        "Since the last end": _NO_RUNS,
        "Deliveries that failed": "no message was settled within the hour",
    },
    "litgo-rollout": {
        "Time to decide by version": _NO_REQUESTS,
        "Champion for": "nobody is champion: hand weights answer",
        **dict.fromkeys(
            ("Experiment", "Share in treatment", "Share served", "Sample ratio", "Lift", "Lift of all figures"), _NO_EXPERIMENT
        ),
        **dict.fromkeys(("Clients in the experiment", "The figure by group", "Score and acceptance by group"), _NO_EXPERIMENT),
        **dict.fromkeys(("Requests by group", "Time to decide by group"), _NO_EXPERIMENT),
        "Quality": _NO_WATCH,
        "Degraded": _NO_WATCH,
        "Last judged": _NO_WATCH,
        "Decisions a day": "nothing was decided within a day",
        "All decisions": "nothing was decided yet",
        "Frozen": "nothing was ever frozen",
    },
}
"""Reasons by the dashboard's uid and the panel's title."""

EMPTY_EVENTS: Final[Mapping[str, str]] = {"Alerts": "no alert fired", "Decisions": "nothing was decided within the time shown"}
"""Reasons by the annotation's name."""

EMPTY_VARIABLES: Final[Mapping[str, str]] = {"metric": _NO_EXPERIMENT}
"""Reasons by the variable's name."""
