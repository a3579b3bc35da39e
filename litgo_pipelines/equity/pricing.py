"""Which price of load to put in force, given what a replay shows of each. Pure; replaying is `casework.price_replay`'s."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PRICES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)
"""The curve that people see: from load costing nothing to load costing more than any match can be worth."""

LEAST_PRICE = 0.05
"""Below that a share of a price is no step any more: the refit would never find its way back."""

_STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
_ALIKE = 0.005
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TradeOff:
    """What a price buys and costs in a replay; figures are None where there was nothing to measure.

    Attributes:
        gini_utilisation, gini_offers: inequality of load over capacity, and of offers over capacity.
        share_offered: of the eligible lawyers.
        gap: the greatest of the gaps in mean utilisation between areas, between capacity bands, between newcomers and established.
        mean_relevance: mean P(accept) of the offers made.
        fill_rate: share of places in the lists that went to lawyers with room.
    """

    price: float
    gini_utilisation: float | None
    gini_offers: float | None
    share_offered: float | None
    gap: float | None
    mean_relevance: float | None
    fill_rate: float | None


@dataclass(frozen=True)
class Choice:
    """The price chosen, and why in one sentence."""

    price: float
    reason: str


def reachable(base: float, most_move: float, most_price: float = math.inf) -> tuple[float, ...]:
    """The prices that a refit may choose from: `base`, which it moves from, and up to `most_move` of it to either side, ascending.

    None is below `LEAST_PRICE` or above `most_price`. All but `base` have four decimals at most, rounded towards it.
    """
    anchor = max(base, LEAST_PRICE)
    steps = (_four_decimals(anchor * (1 + step * most_move), anchor) for step in _STEPS)
    return tuple(sorted({min(max(LEAST_PRICE, price), most_price) for price in steps}))


def _four_decimals(price: float, towards: float) -> float:
    """A price rounded so that it comes no further from `towards`, which stays as it is."""
    if price == towards:
        return price
    return math.floor(price * 1e4 + _ROUNDING) / 1e4 if price > towards else math.ceil(price * 1e4 - _ROUNDING) / 1e4


def choose(curve: Sequence[TradeOff], allowed: Sequence[float], *, target_gini: float, most_gap: float) -> Choice:
    """The smallest allowed price that keeps the Gini within the target, and the gaps within their limit where a price can.

    Where no allowed price keeps the Gini, the smallest of those that come closest. Gaps that no allowed price closes are
    narrowed no further than costs nothing: among prices that keep the Gini, the smallest of those with the least gap.
    Figures within .005 of one another count as alike, so that noise moves nothing.

    Args:
        curve: what was replayed; each allowed price must be in it, with a Gini.
        allowed: prices to choose from, at least one.

    Raises:
        ValueError: an allowed price was not replayed.
    """
    measured = {one.price: one for one in curve}
    if not allowed or any(price not in measured or measured[price].gini_utilisation is None for price in allowed):
        raise ValueError("every allowed price must have been replayed")
    among = [measured[price] for price in sorted(allowed)]
    fair = [one for one in among if _gini(one) <= target_gini]
    if not fair:
        least = min(map(_gini, among))
        best = next(one for one in among if _gini(one) <= least + _ALIKE)
        told = f"no price within reach keeps the Gini at {target_gini:.2f}"
        return Choice(best.price, f"{told}: {best.price:g} comes closest ({_gini(best):.3f})")
    narrow = [one for one in fair if one.gap is None or one.gap <= most_gap]
    if narrow:
        best = narrow[0]
        return Choice(best.price, f"{best.price:g} is the smallest price within reach that keeps Gini ({_gini(best):.3f}) and gaps")
    least_gap = min(one.gap for one in fair if one.gap is not None)
    best = next(one for one in fair if one.gap is not None and one.gap <= least_gap + _ALIKE)
    return Choice(best.price, f"{best.price:g} keeps the Gini ({_gini(best):.3f}); no price within reach closes a gap of {best.gap:.3f}")


def _gini(one: TradeOff) -> float:
    assert one.gini_utilisation is not None
    return one.gini_utilisation
