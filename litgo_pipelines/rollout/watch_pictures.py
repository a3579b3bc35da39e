"""Pictures of the watch over the champion and of drift, as PNG bytes. Where they are shown is decided by those who ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from litgo_pipelines.equity.pictures import small_png
from litgo_pipelines.rollout.drift import DRIFTED_FROM, STABLE_BELOW, DriftResult
from litgo_pipelines.rollout.watch import FALLS, Floats, Reference, answer_statistics, score_statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by everybody.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_BLUE, _ORANGE, _RED, _GREY = "#0072B2", "#E69F00", "#D55E00", "0.6"
_MOST_SHOWN = 1.5
_COLOUR_OF = {"drifted": _RED, "moderate": _ORANGE, "stable": _BLUE, "insufficient data": _GREY}


def watch_picture(
    hours: ArrayLike,
    scores: ArrayLike,
    reference: Reference,
    threshold: float,
    *,
    answer_hours: ArrayLike = (),
    promised: ArrayLike = (),
    accepted: ArrayLike = (),
) -> bytes:
    """Ratio to the reference hour by hour above; below it, how near each statistic came to its boundary within the hour. PNG.

    Args:
        hours: hours since the watch began, at least 0, of n decisions in their order.
        scores: their match scores.
        reference, threshold: as for `watch.score_statistics`.
        answer_hours, promised, accepted: the same of answered offers; drawn where there are any, and the reference knows acceptance.

    Raises:
        WatchError: scores that are no probabilities.
    """
    at, found = np.asarray(hours, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    answered = np.asarray(promised, dtype=np.float64)
    with_answers = bool(answered.size and reference.accepted_ratio)
    figure = _figure(7.6, 4.6)
    ratios, shares = figure.subplots(2, 1, sharex=True)
    _hourly(ratios, at, found / reference.mean, np.ones(found.size), _BLUE, "match score")
    _shares(shares, at, score_statistics(found, reference, threshold), threshold, "-", "")
    if with_answers and reference.accepted_ratio:
        moments = np.asarray(answer_hours, dtype=np.float64)
        kept = np.asarray(accepted, dtype=np.float64) / reference.accepted_ratio
        _hourly(ratios, moments, kept, answered, _GREY, "accepted / promised")
        _shares(shares, moments, answer_statistics(answered, accepted, reference, threshold), threshold, ":", "answers: ")
    ratios.axhline(threshold, color=_RED, linewidth=1, linestyle="--", label=f"degraded below {threshold:g}")
    ratios.set_ylabel("ratio to the reference")
    ratios.set_ylim(bottom=min(0.6, ratios.get_ylim()[0]))
    shares.axhline(1, color=_RED, linewidth=1, linestyle="--", label="alarm")
    shares.set(xlabel="hours of watch", ylabel="share of the boundary", ylim=(0, _MOST_SHOWN))
    for axes in (ratios, shares):
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return small_png(figure)


def drift_picture(result: DriftResult) -> bytes:
    """A bar for each feature's PSI with the limits of *stable* and *drifted*; a feature with too few rows has none. PNG."""
    figure = _figure(5.6, 3.2)
    axes = figure.subplots()
    names = [one.feature.upper() for one in result.features]
    values = [one.psi for one in result.features]
    axes.barh(names, [value or 0.0 for value in values], color=[_COLOUR_OF[one.verdict] for one in result.features])
    for row, value in enumerate(values):
        axes.annotate(
            "-" if value is None else f"{value:.3f}", (value or 0.0, row), (3, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.axvline(STABLE_BELOW, color=_GREY, linewidth=1, linestyle="--", label=f"stable below {STABLE_BELOW:g}")
    axes.axvline(DRIFTED_FROM, color=_RED, linewidth=1, linestyle="--", label=f"drifted from {DRIFTED_FROM:g}")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(DRIFTED_FROM * 1.2, *(value or 0.0 for value in values)))
    axes.set_xlabel("population stability index")
    axes.set_title(f"{result.verdict}: {result.recent_rows:,} recent rows, {result.reference_rows:,} before", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8)
    return small_png(figure)


def _hourly(axes: Axes, hours: Floats, values: Floats, weights: Floats, colour: str, label: str) -> None:
    """Sum of `values` over sum of `weights` in each hour; an hour without any is a gap."""
    if not hours.size:
        return
    number = np.floor(hours).astype(np.int64)
    totals = np.bincount(number, weights)
    means = np.divide(np.bincount(number, values), totals, out=np.full(totals.size, np.nan), where=totals > 0)
    axes.plot(np.arange(totals.size) + 0.5, means, color=colour, marker=".", markersize=4, linewidth=1, label=label)


def _shares(axes: Axes, hours: Floats, statistics: NDArray[np.float64], threshold: float, style: str, label: str) -> None:
    """The highest of each statistic within each hour, cut off where it has long alarmed."""
    if not hours.size:
        return
    number = np.floor(hours).astype(np.int64)
    for fall, colour, row in zip(FALLS, _COLOURS, statistics, strict=True):
        highest = np.full(number.max() + 1, np.nan)
        np.fmax.at(highest, number, np.minimum(row, _MOST_SHOWN))
        axes.plot(
            np.arange(highest.size) + 0.5,
            highest,
            color=colour,
            linestyle=style,
            linewidth=1.2,
            label=f"{label}fall to {threshold * fall.of_threshold:.0%}",
        )


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    # Built without pyplot: its figures are process-wide and ask for a display.
    return Figure(figsize=(width, height), dpi=80, layout="constrained")
