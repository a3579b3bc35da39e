"""Spans of rules and panels, divided by one number, and nothing else."""

from __future__ import annotations

import pytest

from litgo_pipelines_tests.watched.faster import PACE, expression


@pytest.mark.parametrize(
    ("written", "faster"),
    [
        ("rate(x_total[5m])", "rate(x_total[20000ms])"),
        ("avg_over_time(x[1h:30s])", "avg_over_time(x[240000ms:2000ms])"),
        ("x offset 15s", "x offset 1000ms"),
        ("x > 900 and y{job='5m'} == 1", "x > 900 and y{job='5m'} == 1"),
        (
            "histogram_quantile(0.95, sum by (le) (rate(x_bucket[1h30m])))",
            "histogram_quantile(0.95, sum by (le) (rate(x_bucket[360000ms])))",
        ),
        ("slo:errors:ratio_increase1h", "slo:errors:ratio_increase1h"),
    ],
)
def test_spans_of_an_expression_are_shortened(written: str, faster: str) -> None:
    """In brackets and behind offset; a name or a label that looks like a span is left alone."""
    assert PACE == 15
    assert expression(written) == faster
