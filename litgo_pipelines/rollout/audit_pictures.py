"""Pictures of the auditor's report, as PNG bytes, labelled in Portuguese. Where they stand on the page is decided in `audit_page`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from litgo_pipelines.equity.pictures import small_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _GREY = "#0072B2", "0.35"
_ZONE = ZoneInfo("America/Sao_Paulo")


@dataclass(frozen=True)
class Look:
    """An estimate with its interval, as shares, as it stood at one reading."""

    at: datetime
    estimate: float
    low: float
    high: float


def importance_picture(gains: Mapping[str, float]) -> bytes:
    """A bar for each criterion's share of the gain, the largest on top; PNG.

    Args:
        gains: share of the gain, 0..1, by the criterion's name as it is shown.
    """
    figure = _figure(7.2, 2.9)
    axes = figure.add_subplot()
    ordered = sorted(gains.items(), key=lambda one: one[1])
    bars = axes.barh([name for name, _ in ordered], [100 * share for _, share in ordered], color=_BLUE)
    axes.bar_label(bars, labels=[f"{100 * share:.1f}%".replace(".", ",") for _, share in ordered], padding=3, fontsize=8)
    axes.set_xlabel("parte do ganho total, em %")
    axes.set_xlim(0, 112)
    axes.tick_params(labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return small_png(figure)


def interval_picture(looks: Sequence[Look], label: str) -> bytes:
    """How estimate and interval of a relative difference, in percent, moved from reading to reading; no difference is a line. PNG."""
    from matplotlib.dates import DateFormatter, date2num

    figure = _figure(7.2, 2.9)
    axes = figure.add_subplot()
    times = [float(one) for one in date2num([look.at.astimezone(_ZONE).replace(tzinfo=None) for look in looks])]  # type: ignore[no-untyped-call]
    axes.fill_between(times, [100 * one.low for one in looks], [100 * one.high for one in looks], color=_BLUE, alpha=0.2, label="intervalo")
    axes.plot(times, [100 * one.estimate for one in looks], color=_BLUE, marker="o", markersize=3, linewidth=1.5, label="estimativa")
    axes.axhline(0, color=_GREY, linewidth=1, linestyle="--", label="nenhuma diferença")
    axes.set_ylabel(label, fontsize=9)
    axes.xaxis.set_major_formatter(DateFormatter("%d/%m\n%Hh"))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.3g}%".replace(".", ",").replace("-", "\N{MINUS SIGN}"))
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return small_png(figure)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")
