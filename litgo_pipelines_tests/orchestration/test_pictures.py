"""Pictures in the UI: small enough for the event log."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from litgo_pipelines.orchestration.pictures import MOST_BYTES, inline_png, lorenz_png

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("count", [1, 50, 5000])
def test_a_lorenz_curve_is_a_small_png(count: int) -> None:
    """Whatever the number of lawyers, it stays below what the event log can bear."""
    png = lorenz_png(np.random.default_rng(0).random(count))
    assert png.startswith(PNG)
    assert len(png) <= MOST_BYTES


def test_another_distribution_is_another_picture() -> None:
    """The curve shows what it is given; the same gives the same."""
    even, uneven = np.ones(50), np.r_[np.zeros(49), 1.0]
    assert lorenz_png(even) == lorenz_png(even)
    assert lorenz_png(even) != lorenz_png(uneven)


def test_nobody_holding_anything_can_be_drawn() -> None:
    """A first night without a case is no error."""
    assert lorenz_png(np.zeros(5)).startswith(PNG)


def test_a_picture_is_shown_inline() -> None:
    """As markdown with the bytes in it."""
    found = inline_png(PNG, "a curve")
    assert found.value == f"![a curve](data:image/png;base64,{base64.b64encode(PNG).decode()})"


def test_a_large_picture_does_not_get_into_the_event_log() -> None:
    """It is refused with what to do instead."""
    inline_png(b"x" * MOST_BYTES, "fits")
    with pytest.raises(ValueError, match="log it as an artifact"):
        inline_png(b"x" * (MOST_BYTES + 1), "too large")
