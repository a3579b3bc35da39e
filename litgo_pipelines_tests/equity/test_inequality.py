"""How unequal a distribution is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.equity.inequality import gini, lorenz_curve

HELD = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5], 0.0),
        ([3, 3, 3], 0.0),
        ([0, 0, 0], 0.0),
        ([0, 1], 0.5),
        ([0, 0, 0, 8], 0.75),
        ([1, 2, 3, 4], 0.25),
        ([1, 1, 2], 1 / 6),
    ],
)
def test_known_distributions_have_their_gini(values: list[float], expected: float) -> None:
    """Equal holdings give 0, a single holder among n gives 1 - 1/n, and small examples what one computes by hand."""
    assert gini(values) == pytest.approx(expected)


@given(HELD)
def test_gini_is_half_the_relative_mean_difference(values: list[float]) -> None:
    """The area under the curve says the same as the mean absolute difference between two holders over twice the mean."""
    held = np.array(values)
    mean = held.mean()
    expected = np.abs(held[:, None] - held[None, :]).mean() / (2 * mean) if mean > 0 else 0.0
    assert gini(values) == pytest.approx(expected, abs=1e-9)
    assert -1e-12 <= gini(values) <= 1 - 1 / len(values) + 1e-9


@given(HELD, st.randoms(use_true_random=False), st.floats(0.01, 100))
def test_gini_knows_neither_order_nor_unit_nor_size(values: list[float], random: object, factor: float) -> None:
    """Shuffling holders, measuring in another unit, or doubling the whole population changes nothing."""
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert gini(shuffled) == pytest.approx(gini(values), abs=1e-9)
    assert gini([factor * one for one in values]) == pytest.approx(gini(values), abs=1e-9)
    assert gini(values + values) == pytest.approx(gini(values), abs=1e-9)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30), st.data())
def test_taking_from_the_rich_for_the_poor_never_raises_inequality(values: list[int], data: st.DataObject) -> None:
    """The transfer principle: a gift that leaves the giver no poorer than the taker was lowers the Gini, or leaves it."""
    poor, rich = int(np.argmin(values)), int(np.argmax(values))
    gift = data.draw(st.integers(0, (values[rich] - values[poor]) // 2))
    moved = list(values)
    moved[poor] += gift
    moved[rich] -= gift
    assert gini(moved) <= gini(values) + 1e-12


@given(HELD)
def test_the_lorenz_curve_runs_from_nothing_to_all_below_the_diagonal(values: list[float]) -> None:
    """It begins at 0, ends at 1, never falls, is convex, and lies nowhere above equality."""
    people, share = lorenz_curve(values)
    assert people.shape == share.shape == (len(values) + 1,)
    assert (people[0], share[0]) == (0, 0)
    assert (people[-1], share[-1]) == (1, pytest.approx(1))
    assert np.all(np.diff(share) >= 0)
    assert np.all(np.diff(share, n=2) >= -1e-9)
    assert np.all(share <= people + 1e-9)


def test_no_values_are_no_equality() -> None:
    """Nobody to compare is NaN for the Gini and an error for the curve, never 0."""
    assert math.isnan(gini([]))
    with pytest.raises(ValueError, match="at least one"):
        lorenz_curve([])


@pytest.mark.parametrize("values", [[1.0, -0.1], [1.0, math.nan]])
def test_what_cannot_be_held_is_refused(values: list[float]) -> None:
    """Negative and unknown holdings are errors."""
    with pytest.raises(ValueError, match="non-negative"):
        gini(values)


def test_a_table_of_values_is_refused() -> None:
    """A distribution has one dimension."""
    with pytest.raises(ValueError, match="at least one value"):
        gini([[1.0, 2.0], [3.0, 4.0]])
