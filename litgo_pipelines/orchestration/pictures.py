"""Pictures in the Dagster UI: small PNGs inside markdown metadata. They land in the event log, so they stay below 50 KiB.

What they show is computed elsewhere. Colours can be told apart by the colour-blind (Okabe and Ito), and lines by their style too.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from litgo_pipelines.casework.distribution import Report
    from litgo_pipelines.casework.regions import Meeting
    from litgo_pipelines.equity.promises import Limits

MOST_BYTES = 50 * 1024
MOST_AREAS, MOST_REGIONS = 12, 16
"""Rows and columns of the map of demand and supply at most: those with most cases."""

_BLUE, _ORANGE, _GREEN, _RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"


def inline_png(png: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """A PNG as metadata that the UI shows.

    Raises:
        ValueError: it is too large for the event log: log it as an MLflow artifact.
    """
    if len(png) > MOST_BYTES:
        raise ValueError(f"a picture of {len(png)} bytes does not belong in the event log: log it as an artifact")
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")


def lorenz_png(utilisation: NDArray[np.float64]) -> bytes:
    """Lorenz curve of utilisation against the diagonal of perfect equality. Input of shape (n,), n >= 1."""
    from matplotlib.figure import Figure

    from litgo_pipelines.equity.inequality import gini, lorenz_curve

    people, share = lorenz_curve(utilisation)
    figure = Figure(figsize=(4.4, 3.8), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="all equally used")
    axes.plot(people, share, color="#1f5fa8", linewidth=2, label=f"Gini {gini(utilisation):.3f}")
    axes.fill_between(people, share, people, color="#1f5fa8", alpha=0.12)
    axes.set(xlabel="share of lawyers, least used first", ylabel="share of utilisation", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"Utilisation of {len(utilisation):,} lawyers", fontsize=10)
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    return _small(figure)


def utilisation_png(utilisation: NDArray[np.float64]) -> bytes:
    """Histogram of utilisation in steps of 10 points, whatever lies above 200 % in the last one. Input of shape (n,), n >= 1."""
    import numpy as np
    from matplotlib.figure import Figure

    percent = 100 * utilisation
    figure = Figure(figsize=(4.8, 3.4), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    # Half a step to the left, so that whole tenths do not lie on an edge.
    axes.hist(np.minimum(percent, 200), bins=list(np.arange(-5, 215, 10)), color=_BLUE, alpha=0.6, edgecolor="white", linewidth=0.5)
    low, high = np.percentile(percent, [5, 95])
    axes.axvline(percent.mean(), color="black", linewidth=1.5, label=f"mean {percent.mean():.0f} %")
    axes.axvline(low, color=_RED, linewidth=1.2, linestyle="--", label=f"P5 {low:.0f} %, P95 {high:.0f} %")
    axes.axvline(high, color=_RED, linewidth=1.2, linestyle="--")
    axes.set(
        xlabel="cases of 30 days over monthly capacity, % (200: or more)",
        ylabel="lawyers",
        xlim=(-5, max(105, min(percent.max(), 200) + 5)),
    )
    axes.set_title(f"Utilisation of {len(percent):,} lawyers", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    return _small(figure)


def trend_png(reports: Sequence[Report], limits: Limits) -> bytes:
    """Gini, share of lawyers with an offer, and gaps of successive reports, with their limits dashed. At least one report."""
    from matplotlib.figure import Figure

    from litgo_pipelines.casework.equity_run import TIMEZONE

    def drawn(axes: Any, figure: str, scale: float, label: str, colour: str, style: str) -> None:
        values = [getattr(report.distribution, figure) for report in reports]
        known = [float("nan") if value is None else scale * value for value in values]
        axes.plot(days, known, color=colour, linestyle=style, marker=".", markersize=4, linewidth=1.4, label=label)

    days = [report.as_of.astimezone(TIMEZONE) for report in reports]
    figure = Figure(figsize=(5.4, 5.8), dpi=90, layout="constrained")
    inequality, offered, gaps = figure.subplots(3, 1, sharex=True, height_ratios=[1, 1, 1.3])
    drawn(inequality, "gini_utilisation", 1, "of utilisation", _BLUE, "-")
    drawn(inequality, "gini_offers", 1, "of offers over capacity", _ORANGE, ":")
    drawn(offered, "share_offered", 100, "with an offer", _BLUE, "-")
    drawn(gaps, "gap_area", 100, "between primary areas", _BLUE, "-")
    drawn(gaps, "gap_capacity", 100, "between capacity bands", _ORANGE, ":")
    drawn(gaps, "gap_new", 100, "newcomers and established", _GREEN, "-.")
    for axes, limit, title, unit in (
        (inequality, limits.max_gini, f"Inequality; of utilisation it must stay below {limits.max_gini:.2f}", "Gini, 0 to 1"),
        (offered, 100 * limits.min_offered, f"Lawyers with an offer in 30 days; more than {100 * limits.min_offered:.0f} % wanted", "%"),
        (gaps, 100 * limits.max_gap, f"Gaps in mean utilisation; at most {100 * limits.max_gap:.0f} points wanted", "percentage points"),
    ):
        axes.axhline(limit, color="0.3", linestyle="--", linewidth=1)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_ylabel(unit, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.set_ylim(bottom=0)
    offered.set_ylim(0, 105)
    for axes in (inequality, gaps):
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    ticks = days[:: -max(1, len(days) // 6)]
    gaps.set_xticks(ticks, [f"{day:%d/%m}" for day in ticks])
    return _small(figure)


def meetings_png(meetings: Sequence[Meeting]) -> bytes:
    """Contracts expected over capacity by area and region, as a map of numbers. At least one meeting."""
    import numpy as np
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    areas = _with_most_cases([(one.area, one.cases) for one in meetings], MOST_AREAS)
    regions = _with_most_cases([(one.region, one.cases) for one in meetings], MOST_REGIONS)
    found = {(one.area, one.region): one for one in meetings}
    ratio = np.full((len(areas), len(regions)), np.nan)
    norm = LogNorm(0.25, 4, clip=True)
    figure = Figure(figsize=(max(5.0, 2.6 + 0.42 * len(regions)), max(2.4, 1.5 + 0.3 * len(areas))), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    for row, area in enumerate(areas):
        for column, region in enumerate(regions):
            one = found.get((area, region))
            if one is not None:
                ratio[row, column] = norm.vmax if one.ratio is None else one.ratio
            dark = abs(norm(ratio[row, column]) - 0.5) > 0.3
            axes.text(column, row, _cell(one), ha="center", va="center", fontsize=7, color="white" if dark else "black")
    # Purple to orange, with 1 in the middle: both sides can be told apart by everybody.
    shown = axes.imshow(ratio, norm=norm, cmap="PuOr_r", aspect="auto")
    axes.set_facecolor("0.93")
    axes.set_xticks(range(len(regions)), regions, fontsize=8)
    axes.set_yticks(range(len(areas)), [area[:24] for area in areas], fontsize=8)
    axes.set_title("Contracts expected over capacity, by area and state", fontsize=9)
    left_out = {one.area for one in meetings} - set(areas) or {one.region for one in meetings} - set(regions)
    axes.set_xlabel("state   (x: cases, no lawyers" + ("; those with most cases are shown)" if left_out else ")"), fontsize=8)
    bar = figure.colorbar(shown, ax=axes, ticks=[0.25, 0.5, 1, 2, 4])
    bar.ax.set_yticklabels(["≤ ¼", "½", "1", "2", "≥ 4"], fontsize=8)
    bar.ax.minorticks_off()
    return _small(figure)


def _cell(one: Meeting | None) -> str:
    if one is None:
        return ""
    if not one.cases:
        return "0"
    return "x" if one.ratio is None else f"{one.ratio:.1f}"


def _with_most_cases(counts: Sequence[tuple[str, int]], most: int) -> list[str]:
    """The `most` names with the greatest sums, in the order of the alphabet."""
    sums: dict[str, int] = {}
    for name, count in counts:
        sums[name] = sums.get(name, 0) + count
    return sorted(sorted(sums, key=lambda name: (-sums[name], name))[:most])


def _small(figure: Figure) -> bytes:
    from litgo_pipelines.equity.pictures import small_png

    return small_png(figure)
