"""Pictures of prices of load, as PNG bytes: what a price buys and costs. Where they are shown is decided by those who ask for them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.equity.pricing import TradeOff

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by everybody.
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "0.45"


def trade_off_picture(
    curve: Sequence[TradeOff], *, target_gini: float, most_gap: float, before: float, after: float | None = None
) -> bytes:
    """Gini and greatest gap above, relevance, share offered and fill below, by price; the price in force and the chosen one marked. PNG."""
    figure = _figure(6.2, 5.2)
    fairness, quality = figure.subplots(2, 1, sharex=True)
    prices = [one.price for one in curve]
    _line(fairness, prices, [one.gini_utilisation for one in curve], _BLUE, "Gini of utilisation", "o")
    _line(fairness, prices, [one.gap for one in curve], _ORANGE, "greatest gap between groups", "s")
    fairness.axhline(target_gini, color=_BLUE, linewidth=1, linestyle="--", label=f"target Gini {target_gini:g}")
    fairness.axhline(most_gap, color=_ORANGE, linewidth=1, linestyle="--", label=f"limit of gaps {most_gap:g}")
    fairness.set_ylabel("less is fairer")
    _line(quality, prices, [one.mean_relevance for one in curve], _GREEN, "mean P(accept) of offers", "o")
    _line(quality, prices, [one.share_offered for one in curve], _RED, "share of lawyers offered", "s")
    _line(quality, prices, [one.fill_rate for one in curve], _GREY, "places filled by lawyers with room", "^")
    quality.set(xlabel="price of load (a)", ylabel="more is better")
    for axes in (fairness, quality):
        axes.axvline(before, color="black", linewidth=1, label=f"in force {before:g}")
        if after is not None and after != before:
            axes.axvline(after, color="black", linewidth=1.5, linestyle=":", label=f"chosen {after:g}")
        axes.grid(alpha=0.25)
    fairness.set_ylim(bottom=0)
    fairness.set_title("What a price of load buys and costs, replayed over 30 days", fontsize=10, loc="left")
    fairness.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    quality.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return small_png(figure)


def comparison_picture(in_force: tuple[TradeOff, NDArray[np.float64]], asked: tuple[TradeOff, NDArray[np.float64]]) -> bytes:
    """How utilisation would have spread under two prices, as histograms side by side, and their figures as bars. PNG.

    Args:
        in_force, asked: figures, and utilisation of shape (n,), of each price.
    """
    figure = _figure(8.4, 3.4)
    spread, bars = figure.subplots(1, 2, width_ratios=[1.25, 1])
    told = ((in_force, _GREY, "in force"), (asked, _BLUE, "asked about"))
    edges = np.linspace(0, max(1.5, *(float(np.quantile(used, 0.99)) for (_, used), _, _ in told if used.size)), 25)
    for (one, used), colour, what in told:
        spread.hist(
            np.minimum(used, edges[-1]),
            edges,
            alpha=0.55,
            color=colour,
            label=f"{one.price:g} ({what}): Gini {_shown(one.gini_utilisation)}",
        )
    spread.axvline(1, color="black", linewidth=1, linestyle="--")
    spread.set(xlabel="utilisation (cases over capacity; dashed: full)", ylabel="lawyers")
    spread.legend(frameon=False, fontsize=8)
    names = ("Gini (use)", "Gini (offers)", "greatest gap", "share offered", "P(accept)", "filled")
    places = np.arange(len(names))
    for at, ((one, _), colour, _what) in zip((-0.2, 0.2), told, strict=True):
        values = (one.gini_utilisation, one.gini_offers, one.gap, one.share_offered, one.mean_relevance, one.fill_rate)
        bars.barh(places + at, [np.nan if value is None else value for value in values], 0.36, color=colour, alpha=0.8)
    bars.set_yticks(places, names)
    bars.invert_yaxis()
    bars.set_xlim(0, 1)
    bars.grid(axis="x", alpha=0.25)
    return small_png(figure)


def _line(axes: Axes, prices: list[float], values: Sequence[float | None], colour: str, label: str, marker: str) -> None:
    shown = [np.nan if value is None else value for value in values]
    axes.plot(prices, shown, color=colour, marker=marker, markersize=4, linewidth=1.5, label=label)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    # Built without pyplot: its figures are process-wide and ask for a display.
    return Figure(figsize=(width, height), dpi=80, layout="constrained")


def small_png(figure: Figure) -> bytes:
    """The figure in at most 256 colours, rare ones kept: a third of the bytes, which an event log can bear however restless the lines."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(small, format="PNG", optimize=True)
    return small.getvalue()
