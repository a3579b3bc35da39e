"""What a source says, by the name and labels under which Prometheus has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines.observability.sources import Sample


def shown(samples: Iterable[Any]) -> dict[str, float]:
    """Values by series, as `name` or `name{value,value}` in the order of the list of metrics; each series once, with the labels listed."""
    found: dict[str, float] = {}
    for one in samples:
        assert isinstance(one, Sample)
        labels = METRICS[one.metric].labels
        assert set(one.labels) == set(labels), one
        series = one.metric + (f"{{{','.join(one.labels[label] for label in labels)}}}" if labels else "")
        assert series not in found, series
        found[series] = one.value
    return found
