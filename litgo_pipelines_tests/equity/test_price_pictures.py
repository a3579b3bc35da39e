"""Pictures of prices of load: drawn whatever is unknown, and small enough for the event log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from litgo_pipelines.equity.pictures import comparison_picture, trade_off_picture
from litgo_pipelines.equity.pricing import PRICES, TradeOff, reachable

PNG = b"\x89PNG\r\n\x1a\n"
MOST_BYTES = 50 * 1024
UNKNOWN = TradeOff(0.5, None, None, None, None, None, None)


def restless(prices: list[float]) -> list[TradeOff]:
    """Lines that cross one another all the time: what costs most bytes."""
    rng = np.random.default_rng(3)
    return [TradeOff(price, *(float(one) for one in rng.random(6))) for price in prices]


def drawn(curve: list[TradeOff], before: float = 0.5, after: float | None = 0.4567) -> bytes:
    return trade_off_picture(curve, target_gini=0.27, most_gap=0.2, before=before, after=after)


def test_the_curve_of_a_refit_is_small_enough_for_the_event_log() -> None:
    """All prices that are ever replayed at once, at their worst; base64 adds a third."""
    png = drawn(restless(sorted({*PRICES, *reachable(0.6173, 0.25), 9.8765})))
    assert png.startswith(PNG)
    assert len(png) * 4 / 3 < MOST_BYTES


def test_figures_that_are_unknown_are_left_out_of_the_curve() -> None:
    """A price without a case, or none at all, is no error; what is known is drawn."""
    rows = restless([0.1, 0.5, 1.0])
    assert drawn([UNKNOWN]).startswith(PNG)
    assert drawn([rows[0], UNKNOWN, rows[2]]) not in {drawn(rows), drawn([UNKNOWN])}


def test_a_chosen_price_that_is_in_force_already_is_marked_once() -> None:
    """Another one is marked beside it; the same curve gives the same picture."""
    rows = restless([0.1, 0.5, 1.0])
    assert drawn(rows, after=0.5) == drawn(rows, after=None) == drawn(rows, after=0.5)
    assert drawn(rows, after=0.1) != drawn(rows, after=None)


@pytest.mark.parametrize("used", [np.zeros(0), np.zeros(5), np.array([0.2, 0.9, 40.0])])
def test_two_prices_are_compared_whoever_there_is(used: np.ndarray) -> None:
    """Nobody, nobody with a case, or somebody far beyond capacity; figures may be unknown."""
    one = replace(UNKNOWN, price=0.8)
    png = comparison_picture((UNKNOWN, np.array([0.1, 0.5])), (one, used))
    assert png.startswith(PNG)
    assert len(png) < 100 * 1024
