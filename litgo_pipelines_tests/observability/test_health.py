"""The health score: a weighted mean of what is known."""

from __future__ import annotations

import pytest

from litgo_pipelines.observability.health import WEIGHTS, health_samples
from litgo_pipelines.observability.sources import Sample

NOW = 1_800_000_000.0


def health(*samples: Sample) -> tuple[float | None, dict[str, float], float]:
    """The score, the components and the share that is known."""
    found = health_samples(samples, NOW)
    by_name = {one.metric: one.value for one in found if not one.labels}
    components = {one.labels["component"]: one.value for one in found if one.metric == "system_health_component"}
    return by_name.get("system_health_score"), components, by_name["system_health_known_ratio"]


def test_the_weights_add_up_to_100() -> None:
    """So that the score of a system of which all is known needs no division."""
    assert sum(WEIGHTS.values()) == 100


def test_nothing_known_is_no_score() -> None:
    """It is neither 0 nor 100."""
    assert health() == (None, {}, 0.0)


def test_a_database_that_is_away_is_all_that_is_known() -> None:
    """What cannot be asked for counts neither way."""
    score, components, known = health(Sample("database_up", 0))
    assert (score, components, known) == (0.0, {"database": 0.0}, pytest.approx(0.2))


EVERYTHING_WELL = (
    Sample("database_up", 1),
    Sample("requests_last_hour", 99, {"kind": "matching", "status": "ok"}),
    Sample("requests_last_hour", 5, {"kind": "matching", "status": "started"}),
    Sample("daemon_heartbeat_timestamp_seconds", NOW - 30, {"daemon": "SENSOR"}),
    Sample("job_overdue", 0, {"job": "a"}),
    Sample("job_last_end_timestamp_seconds", NOW - 100, {"job": "a", "status": "failure"}),
    Sample("job_last_end_timestamp_seconds", NOW - 50, {"job": "a", "status": "success"}),
    Sample("outbox_oldest_due_age_seconds", 3),
    Sample("vendor_configured", 1, {"service": "openai"}),
    Sample("vendor_configured", 0, {"service": "docusign"}),
    Sample("breaker_open", 0, {"service": "openai"}),
    Sample("champion_info", 1, {"version": "3"}),
    Sample("model_degraded", 0, {"version": "3"}),
    Sample("fairness_kept", 1, {"promise": "gini"}),
)


def test_all_well_is_100() -> None:
    """A failure that a later run made good, a vendor that nobody uses and a request that has not ended are no fault."""
    score, components, known = health(*EVERYTHING_WELL)
    assert score == 100
    assert set(components) == set(WEIGHTS)
    assert known == 1


@pytest.mark.parametrize(
    ("sample", "component", "value"),
    [
        (Sample("requests_last_hour", 1, {"kind": "triage", "status": "error"}), "requests", 0.99),
        (Sample("daemon_heartbeat_timestamp_seconds", NOW - 300, {"daemon": "SCHEDULER"}), "daemons", 0.5),
        (Sample("job_overdue", 1, {"job": "b"}), "jobs", 0.5),
        (Sample("job_last_end_timestamp_seconds", NOW - 10, {"job": "b", "status": "failure"}), "jobs", 0.5),
        (Sample("outbox_oldest_due_age_seconds", 1000), "delivery", 0.5),
        (Sample("fallback_active", 1, {"service": "openai"}), "vendors", 0.0),
        (Sample("model_degraded", 1, {"version": "3"}), "model", 0.0),
        (Sample("fairness_kept", 0, {"promise": "offered"}), "fairness", 0.5),
    ],
)
def test_each_trouble_costs_its_component(sample: Sample, component: str, value: float) -> None:
    """And the score what the component weighs."""
    score, components, _ = health(*EVERYTHING_WELL, sample)
    assert components[component] == pytest.approx(value)
    assert score == pytest.approx(100 - WEIGHTS[component] * (1 - value))


def test_an_alias_that_points_to_nobody_is_no_model() -> None:
    """Before the first champion there is nothing to miss."""
    nobody = Sample("champion_info", 1, {"version": "nobody"})
    assert health(nobody)[1] == {}
    gate = Sample("model_decisions_total", 3, {"action": "gate", "by": "system", "result": "fail"})
    assert health(nobody, gate)[1] == {}
    promoted = Sample("model_decisions_total", 1, {"action": "promotion", "by": "system", "result": "done"})
    assert health(nobody, gate, promoted)[1] == {"model": 0.0}


def test_messages_wait_as_they_must_where_no_mail_can_leave() -> None:
    """Delivery is neither well nor ill then."""
    waiting = Sample("outbox_oldest_due_age_seconds", 100_000)
    assert health(waiting)[1] == {"delivery": 0.0}
    assert health(waiting, Sample("vendor_configured", 0, {"service": "sendgrid"}))[1] == {}
    assert health(waiting, Sample("vendor_configured", 1, {"service": "sendgrid"}))[1]["delivery"] == 0.0
