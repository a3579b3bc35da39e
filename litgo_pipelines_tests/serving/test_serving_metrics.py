"""What the service exposes is what the list of metrics says, and what Prometheus reads without a complaint."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from litgo_pipelines.observability.metrics import METRICS, SERVING, Metric
from litgo_pipelines.serving.metrics import ServingMetrics, instrument

if TYPE_CHECKING:
    from litgo_pipelines_tests.serving.conftest import Marketplace, Served


def _exposed(text: str) -> dict[str, Metric]:
    """The metrics of a text in Prometheus' format, with the labels of their samples; those without a sample have none."""
    found = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for one in family.samples for label in one.labels} - {"le"}
        bounds = {float(one.labels["le"]) for one in family.samples if "le" in one.labels} - {float("inf")}
        found[name] = Metric(name, family.type, family.documentation, tuple(sorted(labels)), {}, tuple(sorted(bounds)), "serving")
    return found


def _listed() -> dict[str, Metric]:
    return {one.name: Metric(one.name, one.kind, one.help, tuple(sorted(one.labels)), {}, one.bounds, "serving") for one in SERVING}


def test_the_service_measures_just_what_is_listed() -> None:
    """Names, kinds, meanings, labels and buckets."""
    metrics = ServingMetrics()
    for one in vars(metrics).values():
        if isinstance(one, Counter | Gauge | Histogram) and one._labelnames:
            one.labels(*("x" for _ in one._labelnames))
    assert _exposed(metrics.render().decode()) == _listed()


def test_a_metric_is_made_of_the_kind_that_it_is_listed_as() -> None:
    """A gauge that is shown as a counter would be read wrongly by every rule."""
    with pytest.raises(ValueError, match="is a counter"):
        instrument(Gauge, METRICS["serving_market_refresh_errors_total"], CollectorRegistry())


def test_whether_the_last_text_was_embedded_in_fallback_is_told() -> None:
    """Unknown before the first text; each fallback counts, and the gauge tells of the last text alone."""
    metrics = ServingMetrics()

    def shown() -> tuple[str, str]:
        lines = dict(line.rsplit(" ", 1) for line in metrics.render().decode().splitlines() if not line.startswith("#"))
        return lines["serving_embedding_fallbacks_total"], lines["serving_embedding_fallback"]

    assert shown() == ("0.0", "NaN")
    metrics.embedded(in_fallback=True)
    assert shown() == ("1.0", "1.0")
    metrics.embedded(in_fallback=False)
    assert shown() == ("1.0", "0.0")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)")
def test_prometheus_reads_what_a_service_shows(served: Served, marketplace: Marketplace) -> None:
    """After real requests, one of which failed; nothing that is not listed, no label that is not, and no complaint of promtool's."""
    served.ask({"case_id": str(marketplace.case())})
    served.ask({"case_id": "none"})
    with served.client() as client:
        text = client.get("/metrics").text
    listed = _listed()
    for name, metric in _exposed(text).items():
        assert (metric.kind, metric.help) == (listed[name].kind, listed[name].help)
        assert metric.labels in ((), listed[name].labels)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
