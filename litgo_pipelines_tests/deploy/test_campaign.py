"""The alert rules before modelled days: silent while all is well, and in time when something is not."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest

from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines_tests.deploy.campaign.conditions import CITY, HOUR, MINUTE, TOWN, Conditions, Size
from litgo_pipelines_tests.deploy.campaign.faults import FAULTS, Fault
from litgo_pipelines_tests.deploy.campaign.figures import View
from litgo_pipelines_tests.deploy.campaign.happening import happening
from litgo_pipelines_tests.deploy.campaign.judging import BY_NOISE, healthy, judge
from litgo_pipelines_tests.deploy.campaign.promtool import alert_names

SEED = 2
"""With it all three matches of a town's night fail, which a ratio without a guard would wake somebody for."""
OF_THREE = 0
"""Which third of the shorter faults is injected; `python -m litgo_pipelines_tests.deploy.campaign` injects all."""

NOT_MODELLED = {"Watchdog", "AlertsNotDelivered", "PrometheusNotAlerting", "RulesFailing"}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")


@needs_promtool
@pytest.mark.parametrize(("size", "step"), [(TOWN, 60.0), (CITY, 120.0)], ids=["town", "city"])
def test_nobody_is_called_on_a_healthy_day(size: Size, step: float) -> None:
    """24 hours with noise, a deploy, restarts and lost scrapes: no page, and no ticket without something for a person to do."""
    fired, happened = healthy(size, SEED, step=step)
    failed = happened.requests["matching", "error"]
    assert ((failed > HOUR) & (failed < 4 * HOUR)).sum() >= 2
    assert [one for one in fired if one.severity == "page"] == []
    assert {one.name for one in fired} <= set(BY_NOISE)


@needs_promtool
def test_faults_are_noticed_and_hardly_anything_else() -> None:
    """A third of the faults: each fires its alerts in time, they resolve, and under 5 % of all alerts are without a fault."""
    short = [fault for fault in FAULTS if fault.ends + fault.after < 5 * HOUR]
    random.Random(SEED).shuffle(short)
    verdicts = [judge(fault, SEED) for fault in short[OF_THREE::3]]
    assert [one.fault.name for one in verdicts if not one.detected or one.resolved is None] == []
    odd = [fired for one in verdicts for fired in one.without_fault]
    assert sum(one.episodes for one in odd) < 0.05 * sum(one.alerts - one.by_noise for one in verdicts), odd


@needs_promtool
def test_what_a_fault_does_not_explain_is_counted_against_the_rules() -> None:
    """A full disk, of which the campaign is told that nothing may fire."""
    silent = Fault("disk nearly full", (("disk_used", 0.385),), {}, lasts=20 * MINUTE, begins=10 * MINUTE, after=5 * MINUTE, size=TOWN)
    found = judge(silent, SEED)
    assert {one.name for one in found.without_fault} == {"DiskFilling"}
    assert found.alerts == 2


@needs_promtool
def test_an_alert_that_comes_too_late_is_a_fault_not_noticed() -> None:
    """Half an hour after the collector went there is a page, but not within one minute."""
    late = Fault(
        "collector down", (("collector", 0),), {"CollectorSilent": MINUTE}, lasts=15 * MINUTE, begins=10 * MINUTE, after=10 * MINUTE
    )
    assert not judge(late, SEED).detected


def test_every_alert_has_a_fault_that_must_fire_it() -> None:
    """But the one that fires always, and those about Prometheus and Alertmanager, whose own figures are not modelled."""
    assert {name.split("/")[0] for fault in FAULTS for name in fault.must} == set(alert_names()) - NOT_MODELLED


def test_every_metric_is_modelled_with_its_labels() -> None:
    """A metric that joins the list without a model would be absent for every rule that uses it."""
    happened = happening(TOWN, Conditions(hour=9.0, ends=2 * HOUR), SEED)
    lines = View(happened, 300.0, seed=SEED).series()
    labels = {line.name: set(line.labels) - {"instance", "le"} for line in lines}
    wanted = {name: metric for metric in METRICS.values() for name in metric.sample_names}
    assert wanted.keys() <= labels.keys()
    assert {name: labels[name] - {"job"} for name in wanted} == {name: set(metric.labels) - {"job"} for name, metric in wanted.items()}


def test_counters_of_the_service_begin_anew_with_its_process() -> None:
    """And those of the database do not, whatever is restarted."""
    happened = happening(CITY, Conditions(hour=12.0, ends=2 * HOUR), SEED)
    lines = View(happened, 60.0, restarts=(HOUR,), seed=SEED).series(with_health=False)
    served = next(one for one in lines if one.name == "matching_duration_seconds_count" and one.labels["status"] == "ok")
    stored = next(one for one in lines if one.name == "matching_requests_total" and one.labels["status"] == "ok")
    assert np.nanmin(np.diff(served.values[~np.isnan(served.values)])) < 0
    assert np.nanmin(np.diff(stored.values[~np.isnan(stored.values)])) >= 0


def test_figures_of_a_source_that_is_down_are_withheld_after_a_minute() -> None:
    """They are the last ones until then, with their age."""
    conditions = Conditions(hour=12.0, ends=HOUR)
    conditions.set("source:fairness", 0, 10 * MINUTE, 20 * MINUTE)
    lines = View(happening(TOWN, conditions, SEED), 15.0, seed=SEED).series(with_health=False)
    gini = next(one.values for one in lines if one.name == "fairness_gini")
    age = next(one.values for one in lines if one.name == "collector_source_age_seconds" and one.labels["source"] == "fairness")
    assert np.isnan(gini[age > 60]).all()
    assert not np.isnan(gini[age < 59]).any()
    assert 590 < np.nanmax(age) < 620


def test_the_same_seed_models_the_same_day() -> None:
    """So that what a run finds can be looked at again."""
    first, second = (
        View(happening(TOWN, Conditions(hour=9.0, ends=HOUR), SEED), 60.0, seed=SEED).series(with_health=False) for _ in range(2)
    )
    assert all(
        one.labels == other.labels and np.array_equal(one.values, other.values, equal_nan=True)
        for one, other in zip(first, second, strict=True)
    )
