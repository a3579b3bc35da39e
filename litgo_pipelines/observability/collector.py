"""The collector: asks its sources in threads of their own and shows what they said last, with its age.

A scrape asks nobody, so it costs no database time and cannot hang. What is asked for lives in the sources, names in `metrics`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, UnknownMetricFamily
from prometheus_client.registry import Collector as PrometheusCollector

from litgo_pipelines.observability.health import health_samples
from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.observability.metrics import METRICS, Metric
from litgo_pipelines.observability.sources import EVERY_SECONDS, Distribution, Sample, Source
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

LONGEST_SHOWN: Final = 60.0
"""Seconds for which the figures of a source that fails are still shown, with their age. After that they are withheld."""

# The end `_count` belongs to histograms; a gauge that has it all the same says nothing of its kind.
_KINDS: Final[dict[tuple[str, bool], Any]] = {
    ("counter", False): CounterMetricFamily,
    ("gauge", False): GaugeMetricFamily,
    ("gauge", True): UnknownMetricFamily,
}

LONGEST_ASKED: Final = 10.0
"""Seconds that a reading may take before its source counts as down."""

_log = get_logger(__name__)


class NotListed(LitgoError, ValueError):
    """A source said something that nobody can know: its metric or labels are not in the list."""


@dataclass
class _Reading:
    """What a source said last; `at` and `began` by the monotonic clock."""

    samples: Sequence[Sample | Distribution] = ()
    at: float | None = None
    began: float | None = None
    seconds: float | None = None
    up: bool = False

    def shown(self, now: float) -> Sequence[Sample | Distribution]:
        return self.samples if self.at is not None and now - self.at <= LONGEST_SHOWN else ()


@dataclass(eq=False)
class Collector(PrometheusCollector):
    """Shows the figures of all sources.

    Args:
        sources: have different names, and export different metrics.
        every: seconds between two readings of a source.
    """

    sources: Sequence[Source]
    every: float = EVERY_SECONDS
    _readings: dict[str, _Reading] = field(init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _threads: list[threading.Thread] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._readings = {source.name: _Reading() for source in self.sources}

    def start(self) -> None:
        """Read all sources from here on."""
        for source in self.sources:
            thread = threading.Thread(target=self._follow, args=(source,), name=f"litgo-{source.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def wait(self, seconds: float = 4.0) -> None:
        """Until every source was asked once, or the time is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(one.seconds is None for one in self._readings.values()):
            self._stop.wait(0.05)

    def stop(self, seconds: float = 10.0) -> None:
        """Stop reading; waits so long for readings that are under way."""
        self._stop.set()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def read(self, source: Source) -> bool:
        """Ask one source; whether it answered."""
        before = self._readings[source.name]
        began = time.monotonic()
        before.began = began
        try:
            samples = tuple(map(_listed, source.read()))
        except Exception as error:
            if before.up or before.seconds is None:
                # Another message than ours may hold what a statement was about.
                why = str(error) if isinstance(error, LitgoError) else None
                _log.warning("a source of figures is down", source=source.name, error=type(error).__name__, why=why)
            self._readings[source.name] = _Reading(before.samples, before.at, None, time.monotonic() - began, up=False)
            return False
        if not before.up and before.seconds is not None:
            _log.info("a source of figures is back", source=source.name)
        now = time.monotonic()
        self._readings[source.name] = _Reading(samples, now, None, now - began, up=True)
        return True

    def collect(self) -> Iterator[Family]:
        """All metrics, as `prometheus_client` wants them."""
        now = time.monotonic()
        readings = dict(self._readings)
        samples: list[Sample | Distribution] = [one for reading in readings.values() for one in reading.shown(now)]
        samples += [one for name, reading in readings.items() for one in _about(name, reading, now)]
        samples.append(Sample("build_info", 1.0, {"version": metadata.version("litgo-pipelines")}))
        samples += health_samples([one for one in samples if isinstance(one, Sample)], time.time())
        return families(samples)

    def _follow(self, source: Source) -> None:
        while not self._stop.is_set():
            self.read(source)
            self._stop.wait(self.every)


def _about(name: str, reading: _Reading, now: float) -> Iterator[Sample]:
    """What is known of a source itself. One that has been asked for long and has not answered is down."""
    labels = {"source": name}
    waiting = reading.began is not None and now - reading.began > LONGEST_ASKED
    yield Sample("collector_source_up", float(reading.up and not waiting), labels)
    if reading.at is not None:
        yield Sample("collector_source_age_seconds", now - reading.at, labels)
    if reading.seconds is not None:
        yield Sample("collector_source_duration_seconds", reading.seconds, labels)


def _listed(sample: Sample | Distribution) -> Sample | Distribution:
    """The sample, if it can be shown: one that cannot must cost its source alone.

    Raises:
        NotListed: its metric, or a label, is not in the list; or a label's value is no text.
    """
    metric = METRICS.get(sample.metric)
    if metric is None or sample.labels.keys() != set(metric.labels) or not all(isinstance(value, str) for value in sample.labels.values()):
        raise NotListed(f"{sample.metric} with the labels {sorted(sample.labels)} is not in observability.metrics")
    return sample


def families(samples: Iterable[Sample | Distribution]) -> Iterator[Family]:
    """Samples by metric, in the order of the list of metrics.

    Raises:
        KeyError: a metric, or a label of one, is not in that list.
    """
    by_metric: dict[str, list[Sample | Distribution]] = {}
    for sample in samples:
        by_metric.setdefault(sample.metric, []).append(sample)
    unknown = by_metric.keys() - METRICS.keys()
    if unknown:
        raise KeyError(f"unknown metrics: {', '.join(sorted(unknown))}")
    for metric in METRICS.values():
        if metric.name in by_metric:
            yield _family(metric, by_metric[metric.name])


def _family(metric: Metric, samples: Iterable[Any]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for one in samples:
            buckets = [("+Inf" if bound == float("inf") else repr(bound), count) for bound, count in one.cumulative(metric.bounds)]
            histogram.add_metric([one.labels[label] for label in metric.labels], buckets, one.total)
        return histogram
    family: Any = _KINDS[metric.kind, metric.name.endswith("_count")](metric.name, metric.help, labels=metric.labels)
    for one in samples:
        family.add_metric([one.labels[label] for label in metric.labels], one.value)
    found: Family = family
    return found
