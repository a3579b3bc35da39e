"""The health score: one figure between 0 and 100 of what the collector knows. Pure.

Each component lies between 0 and 1 and has a weight; the score is the weighted mean over the components of which something is known. A
component of which nothing is known counts neither for nor against it, and `system_health_known_ratio` tells how much that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from litgo_pipelines.observability.sources import Sample

WEIGHTS: Final[Mapping[str, float]] = {
    "database": 20,
    "requests": 20,
    "daemons": 15,
    "jobs": 15,
    "delivery": 10,
    "vendors": 10,
    "model": 5,
    "fairness": 5,
}
"""Weights of the components; they add up to 100."""

HEARTBEAT_SECONDS: Final = 120.0
"""A part of the daemon that was not heard of for longer is silent; Dagster's own limit is 1,800 s."""
LATE_SECONDS: Final = 900.0
"""A message that could have gone out for so long makes delivery worth nothing."""

_OF_A_CHAMPION: Final = ("promotion", "rollback", "alias moved", "version deleted")
"""Decisions after which there has been a champion."""

_Values = Sequence[Sample]


def health_samples(samples: Iterable[Sample], now: float) -> list[Sample]:
    """The score, its components and their weights.

    Args:
        samples: what the sources said.
        now: Unix time in seconds.
    """
    by_metric: dict[str, list[Sample]] = {}
    for sample in samples:
        by_metric.setdefault(sample.metric, []).append(sample)
    known = {name: value for name, value in _components(by_metric, now).items() if value is not None}
    found = [Sample("system_health_weight", weight, {"component": name}) for name, weight in WEIGHTS.items()]
    found += [Sample("system_health_component", value, {"component": name}) for name, value in known.items()]
    weight = sum(WEIGHTS[name] for name in known)
    found.append(Sample("system_health_known_ratio", weight / sum(WEIGHTS.values())))
    if weight:
        found.append(Sample("system_health_score", 100 * sum(WEIGHTS[name] * value for name, value in known.items()) / weight))
    return found


def _components(by_metric: Mapping[str, _Values], now: float) -> dict[str, float | None]:
    def of(metric: str) -> _Values:
        return by_metric.get(metric, ())

    return {
        "database": _share(of("database_up"), lambda one: one.value == 1),
        "requests": _answered(of("requests_last_hour")),
        "daemons": _share(of("daemon_heartbeat_timestamp_seconds"), lambda one: now - one.value <= HEARTBEAT_SECONDS),
        "jobs": _jobs(of("job_overdue"), of("job_last_end_timestamp_seconds")),
        "delivery": _delivery(of("outbox_oldest_due_age_seconds"), of("vendor_configured")),
        "vendors": _vendors(of("vendor_configured"), of("breaker_open"), of("fallback_active")),
        "model": _model(of("champion_info"), of("model_degraded"), of("model_decisions_total")),
        "fairness": _share(of("fairness_kept"), lambda one: one.value == 1),
    }


def _share(samples: _Values, good: Callable[[Sample], bool]) -> float | None:
    """Share of the samples that are good; None where there are none."""
    return sum(map(good, samples)) / len(samples) if samples else None


def _answered(requests: _Values) -> float | None:
    """Share of the last hour's requests that were answered; None where none ended."""
    count = {status: sum(one.value for one in requests if one.labels["status"] == status) for status in ("ok", "error")}
    ended = sum(count.values())
    return count["ok"] / ended if ended else None


def _jobs(overdue: _Values, ends: _Values) -> float | None:
    """Share of the jobs that are not overdue and whose last run did not fail."""
    newest: dict[str, Sample] = {}
    for end in ends:
        job = end.labels["job"]
        if job not in newest or end.value > newest[job].value:
            newest[job] = end
    bad = {one.labels["job"] for one in overdue if one.value} | {job for job, end in newest.items() if end.labels["status"] == "failure"}
    jobs = {one.labels["job"] for one in overdue} | newest.keys()
    return 1 - len(bad) / len(jobs) if jobs else None


def _vendors(configured: _Values, *trouble: _Values) -> float | None:
    """Share of the configured vendors through which work is done."""
    wanted = {one.labels["service"] for one in configured if one.value}
    away = {one.labels["service"] for samples in trouble for one in samples if one.value} & wanted
    return 1 - len(away) / len(wanted) if wanted else None


def _delivery(ages: _Values, configured: _Values) -> float | None:
    """Whether nothing has waited for long; None where no mail can leave, so that messages wait as they must."""
    if any(one.labels["service"] == "sendgrid" and not one.value for one in configured):
        return None
    return _share(ages, lambda one: one.value <= LATE_SECONDS)


def _model(champion: _Values, degraded: _Values, decisions: _Values) -> float | None:
    """1 for a champion that is not degraded, 0 for one that is, or for none; None before there was one."""
    if not champion:
        return None
    if champion[0].labels["version"] == "nobody":
        return 0.0 if any(one.value and one.labels["action"] in _OF_A_CHAMPION for one in decisions) else None
    return float(not any(one.value for one in degraded))
