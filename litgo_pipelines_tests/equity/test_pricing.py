"""Which price of load is put in force: within reach, the smallest that keeps what is promised."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from litgo_pipelines.equity.pricing import LEAST_PRICE, PRICES, TradeOff, choose, reachable

TARGET, MOST_GAP = 0.27, 0.2
_ALIKE = 0.005


def curve(*rows: tuple[float, float, float | None]) -> list[TradeOff]:
    """Price, Gini and greatest gap of each."""
    return [TradeOff(price, gini, 0.3, 0.9, gap, 0.6, 1.0) for price, gini, gap in rows]


def chosen(rows: list[TradeOff], *allowed: float) -> float:
    return choose(rows, allowed or [one.price for one in rows], target_gini=TARGET, most_gap=MOST_GAP).price


@given(st.floats(0, 20), st.floats(0.001, 0.99), st.floats(0.1, 20))
def test_no_price_is_further_away_than_the_share(base: float, most_move: float, most_price: float) -> None:
    """Neither by rounding; only prices too small to be moved by a share, or too great to be meant, are left by more."""
    prices = reachable(base, most_move, most_price)
    assert list(prices) == sorted(set(prices))
    assert all(LEAST_PRICE <= price <= most_price for price in prices)
    anchor = min(max(base, LEAST_PRICE), most_price)
    assert anchor in prices
    if base <= most_price:
        assert all(anchor * (1 - most_move) - 1e-9 <= price <= anchor * (1 + most_move) + 1e-9 for price in prices)


@given(st.floats(LEAST_PRICE * 1.5, 20), st.floats(0.05, 0.9))
def test_both_ends_of_the_reach_can_be_chosen(base: float, most_move: float) -> None:
    """To the fourth decimal, and something between them, so that a price need not jump."""
    prices = reachable(base, most_move)
    assert prices[-1] == pytest.approx(base * (1 + most_move), abs=1e-4)
    assert prices[0] == pytest.approx(max(LEAST_PRICE, base * (1 - most_move)), abs=1e-4)
    assert len(prices) >= 4


def test_the_price_in_force_stays_as_it_is_written() -> None:
    """One with many digits can be kept; what is near it is rounded to four."""
    assert reachable(0.123456, 0.25) == (0.0926, 0.1081, 0.123456, 0.1388, 0.1543)
    assert reachable(0.5, 0.25) == (0.375, 0.4375, 0.5, 0.5625, 0.625)


@given(st.floats(0, LEAST_PRICE), st.floats(0.02, 0.9))
def test_no_price_is_too_small_to_find_its_way_back(base: float, most_move: float) -> None:
    """From 0 on, week by week, any price of the curve comes within reach; the first step is from the least price that can be moved."""
    assert reachable(0.0, 0.25) == (0.05, 0.0562, 0.0625)
    weeks = 0
    while base < PRICES[-1]:
        following = reachable(base, most_move)[-1]
        assert following > base
        base, weeks = following, weeks + 1
        assert weeks < 500


def test_the_smallest_price_that_keeps_all_is_chosen() -> None:
    """A greater one would keep more, and cost relevance."""
    rows = curve((0.3, 0.29, 0.1), (0.4, 0.27, 0.2), (0.5, 0.25, 0.1), (0.6, 0.2, 0.05))
    choice = choose(rows, [0.5, 0.6, 0.3, 0.4], target_gini=TARGET, most_gap=MOST_GAP)
    assert choice.price == 0.4
    assert "0.4 is the smallest price within reach that keeps Gini (0.270) and gaps" in choice.reason


def test_a_gap_that_a_price_closes_is_closed() -> None:
    """Even where a smaller price would keep the Gini."""
    assert chosen(curve((0.3, 0.2, 0.3), (0.4, 0.2, 0.21), (0.5, 0.2, 0.2), (0.6, 0.2, 0.1))) == 0.5


def test_a_gap_that_no_price_closes_costs_no_more_than_it_gains() -> None:
    """Of the prices that keep the Gini, the smallest with the least gap, noise left aside."""
    rows = curve((0.3, 0.28, 0.3), (0.4, 0.26, 0.4), (0.5, 0.26, 0.354), (0.6, 0.26, 0.35), (0.7, 0.26, 0.36))
    choice = choose(rows, [one.price for one in rows], target_gini=TARGET, most_gap=MOST_GAP)
    assert choice.price == 0.5
    assert "no price within reach closes a gap of 0.354" in choice.reason


def test_where_no_price_keeps_the_gini_the_one_that_comes_closest_is_chosen() -> None:
    """The smallest of those that are alike, and it is said that the target is missed."""
    rows = curve((0.3, 0.4, 0.1), (0.4, 0.354, 0.1), (0.5, 0.35, 0.1), (0.6, 0.36, 0.1))
    choice = choose(rows, [one.price for one in rows], target_gini=TARGET, most_gap=MOST_GAP)
    assert choice.price == 0.4
    assert "no price within reach keeps the Gini at 0.27: 0.4 comes closest (0.354)" in choice.reason


def test_groups_too_small_to_compare_have_no_gap_to_close() -> None:
    """Unknown is no violation."""
    assert chosen(curve((0.3, 0.26, None), (0.4, 0.2, 0.1))) == 0.3


def test_a_price_that_was_not_replayed_cannot_be_chosen() -> None:
    """Nor one of which nothing could be measured, nor none at all."""
    rows = curve((0.3, 0.26, 0.1))
    for measured, allowed in ((rows, [0.3, 0.4]), ([replace(rows[0], gini_utilisation=None)], [0.3]), (rows, [])):
        with pytest.raises(ValueError, match="must have been replayed"):
            choose(measured, allowed, target_gini=TARGET, most_gap=MOST_GAP)


_SHARES = st.integers(0, 60).map(lambda hundredths: hundredths / 100)
_CURVES = st.lists(
    st.builds(TradeOff, st.sampled_from(PRICES), _SHARES, _SHARES, _SHARES, st.none() | _SHARES, _SHARES, _SHARES),
    min_size=1,
    unique_by=lambda one: one.price,
)


@given(_CURVES, st.data())
def test_no_smaller_price_within_reach_would_have_kept_as_much(rows: list[TradeOff], data: st.DataObject) -> None:
    """Whatever the curve looks like, and whatever lies beyond reach."""
    allowed = data.draw(st.lists(st.sampled_from([one.price for one in rows]), min_size=1, unique=True))
    price = chosen(rows, *allowed)
    assert price in allowed
    within = [one for one in rows if one.price in allowed]
    best = next(one for one in within if one.price == price)
    smaller = [one for one in within if one.price < price]
    if any(_fair(one) and _narrow(one) for one in within):
        assert _fair(best)
        assert _narrow(best)
        assert not any(_fair(one) and _narrow(one) for one in smaller)
    elif any(_fair(one) for one in within):
        least = min(one.gap or 0.0 for one in within if _fair(one))
        assert _fair(best)
        assert best.gap is not None
        assert best.gap <= least + _ALIKE
        assert not any(_fair(one) and (one.gap or 0.0) <= least + _ALIKE for one in smaller)
    else:
        least = min(one.gini_utilisation or 0.0 for one in within)
        assert (best.gini_utilisation or 0.0) <= least + _ALIKE
        assert not any((one.gini_utilisation or 0.0) <= least + _ALIKE for one in smaller)


@given(_CURVES)
def test_a_looser_target_never_costs_a_greater_price(rows: list[TradeOff]) -> None:
    """Where gaps are not in question: what kept the tighter target keeps the looser one."""
    rows = [replace(one, gap=None) for one in rows]
    tight, loose = (choose(rows, [one.price for one in rows], target_gini=at, most_gap=MOST_GAP).price for at in (0.2, 0.3))
    assume(any((one.gini_utilisation or 0.0) <= 0.2 for one in rows))
    assert loose <= tight


def _fair(one: TradeOff) -> bool:
    return one.gini_utilisation is not None and one.gini_utilisation <= TARGET


def _narrow(one: TradeOff) -> bool:
    return one.gap is None or one.gap <= MOST_GAP
