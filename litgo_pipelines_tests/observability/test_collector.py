"""The collector: what sources said last, with its age; honest and prompt while one of them is away or hangs."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import Metric as Family

from litgo_pipelines.observability import collector as module
from litgo_pipelines.observability.collector import Collector, families
from litgo_pipelines.observability.sources import Distribution, Sample


@dataclass
class Scripted:
    """A source that says what a test tells it to."""

    says: Sequence[Sample | Distribution] = ()
    trouble: Exception | None = None
    name: str = "marketplace"
    asked: int = field(default=0, init=False)

    def read(self) -> Sequence[Sample | Distribution]:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        return self.says


def shown(found: Collector) -> dict[str, float]:
    """Samples by `name{values}`."""
    return {
        sample.name + (f"{{{','.join(sample.labels.values())}}}" if sample.labels else ""): sample.value
        for family in found.collect()
        for sample in family.samples
    }


def test_a_source_that_answers_is_shown_with_its_age() -> None:
    """And with how long it took."""
    source = Scripted([Sample("active_offers_count", 7)])
    collector = Collector([source])
    assert "active_offers_count" not in shown(collector)
    assert shown(collector)["collector_source_up{marketplace}"] == 0
    assert collector.read(source)
    found = shown(collector)
    assert found["active_offers_count"] == 7
    assert found["collector_source_up{marketplace}"] == 1
    assert 0 <= found["collector_source_age_seconds{marketplace}"] < 60
    assert "collector_source_duration_seconds{marketplace}" in found


def test_a_source_that_fails_is_shown_for_a_while_and_then_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its age grows meanwhile; old figures never pass for those of the moment, and other sources go on."""
    source, other = Scripted([Sample("active_offers_count", 7)]), Scripted([Sample("disk_free_bytes", 5, {"folder": "home"})], name="disk")
    collector = Collector([source, other])
    assert collector.read(source)
    assert collector.read(other)
    source.trouble = ConnectionError("away")
    assert not collector.read(source)
    found = shown(collector)
    assert found["active_offers_count"] == 7
    assert found["collector_source_up{marketplace}"] == 0
    monkeypatch.setattr(module, "LONGEST_SHOWN", -1.0)
    found = shown(collector)
    assert "active_offers_count" not in found
    assert found["collector_source_age_seconds{marketplace}"] >= 0
    monkeypatch.setattr(module, "LONGEST_SHOWN", 60.0)
    source.trouble = None
    assert collector.read(source)
    assert shown(collector)["active_offers_count"] == 7
    assert shown(collector)["disk_free_bytes{home}"] == 5


def test_a_source_that_hangs_delays_neither_a_scrape_nor_another_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape answers while a reading is under way, and says in the end that the source is down."""
    free, inside = threading.Event(), threading.Event()

    class Hanging:
        name = "dagster"

        def read(self) -> Sequence[Sample]:
            inside.set()
            free.wait(30)
            return []

    other = Scripted([Sample("active_offers_count", 1)])
    collector = Collector([Hanging(), other], every=0.01)
    registry = CollectorRegistry()
    collector.start()
    try:
        assert inside.wait(10)
        while not other.asked:
            pass
        registry.register(collector)
        server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            body = answer.read().decode()
        assert "active_offers_count 1.0" in body
        assert 'collector_source_up{source="dagster"} 0.0' in body
        server.shutdown()
        server.server_close()
        thread.join()
    finally:
        free.set()
        collector.stop()


def test_a_source_that_answered_once_and_hangs_then_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last answer does not make it look well."""
    free, inside = threading.Event(), threading.Event()

    class Slow:
        name = "dagster"
        asked = 0

        def read(self) -> Sequence[Sample]:
            self.asked += 1
            if self.asked > 1:
                inside.set()
                free.wait(30)
            return [Sample("job_queue_length", 3)]

    collector = Collector([Slow()], every=0.01)
    collector.start()
    try:
        assert inside.wait(10)
        assert shown(collector)["collector_source_up{dagster}"] == 1
        monkeypatch.setattr(module, "LONGEST_ASKED", 0.0)
        found = shown(collector)
        assert found["collector_source_up{dagster}"] == 0
        assert found["job_queue_length"] == 3
        monkeypatch.setattr(module, "LONGEST_SHOWN", 0.0)
        assert "job_queue_length" not in shown(collector)
    finally:
        free.set()
        collector.stop()


def test_every_listed_metric_of_the_collector_itself_is_shown() -> None:
    """Which version it is, how its sources do, and how well the whole is."""
    source = Scripted([Sample("database_up", 1)], name="database")
    collector = Collector([source])
    collector.read(source)
    names = {name.partition("{")[0] for name in shown(collector)}
    own = ("build_info", "collector_source_up", "collector_source_age_seconds", "collector_source_duration_seconds", "system_health_score")
    assert names >= {*own, "system_health_component", "system_health_weight", "system_health_known_ratio"}


def test_a_histogram_is_cumulative_over_the_bounds_of_the_list() -> None:
    """A bucket that was kept with another bound counts from the next bound on; nothing is lost."""
    counts = {0.05: 2.0, 0.07: 1.0, 45.0: 3.0, float("inf"): 4.0}
    (family,) = families([Distribution("external_call_duration_seconds", counts, 100.0, {"service": "openai"})])
    found = {(sample.name, sample.labels.get("le")): sample.value for sample in family.samples}
    name = "external_call_duration_seconds"
    assert found[f"{name}_bucket", "0.05"] == 2
    assert found[f"{name}_bucket", "0.1"] == 3
    assert found[f"{name}_bucket", "45.0"] == 6
    assert found[f"{name}_bucket", "+Inf"] == found[f"{name}_count", None] == 10
    assert found[f"{name}_sum", None] == 100


def test_a_metric_that_is_not_listed_is_refused() -> None:
    """Nothing is shown that rules and dashboards cannot know."""
    with pytest.raises(KeyError, match="unheard_of"):
        list(families([Sample("unheard_of", 1)]))


@pytest.mark.parametrize(
    "odd",
    [
        Sample("unheard_of", 1),
        Sample("job_overdue", 1, {"name": "x"}),
        Sample("job_overdue", 1, {"job": None}),  # type: ignore[dict-item]
        Distribution("time_to_contract_seconds", {}, 0.0, {"job": "x"}),
    ],
)
def test_a_source_that_says_something_odd_costs_itself_alone(odd: Sample | Distribution) -> None:
    """It is down, and everything else can still be scraped."""
    source, other = Scripted([odd]), Scripted([Sample("disk_free_bytes", 5, {"folder": "home"})], name="disk")
    collector = Collector([source, other])
    assert not collector.read(source)
    assert collector.read(other)
    registry = CollectorRegistry()
    registry.register(collector)
    told = generate_latest(registry).decode()
    assert 'collector_source_up{source="marketplace"} 0.0' in told
    assert 'disk_free_bytes{folder="home"} 5.0' in told


def test_an_unlisted_label_is_refused() -> None:
    """Nor under other labels."""
    with pytest.raises(KeyError):
        _all(families([Sample("job_overdue", 1, {"name": "x"})]))


def _all(found: object) -> list[Family]:
    assert hasattr(found, "__iter__")
    return list(found)
