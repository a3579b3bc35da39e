"""How an experiment's lift and its interval moved from look to look, as PNG bytes. What the looks saw is kept in `readings`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from litgo_pipelines.rollout.readings import PastReading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS: Final = {"accepted": "#0072B2", "contract": "#D55E00", "preference": "#009E73"}
_WIDEST: Final = 2.0


def interval_picture(past: Sequence[PastReading]) -> bytes | None:
    """Lift of the metrics that decide, with their anytime-valid intervals, from look to look; PNG. None where nothing can be drawn yet."""
    import numpy as np
    from matplotlib.figure import Figure

    from litgo_pipelines.equity.pictures import small_png

    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for one in past:
        for figure in one.figures["figures"]:
            low, high = figure["low"], figure["high"]
            if figure["metric"] in _COLOURS and figure["lift"] is not None and low is not None and high is not None:
                lines.setdefault(figure["metric"], []).append(
                    ((one.read_at - past[0].read_at).total_seconds() / 86400, figure["lift"], low, high)
                )
    if not lines:
        return None
    picture: Figure = Figure(figsize=(7.2, 3.2), dpi=100, layout="constrained")
    axes = picture.add_subplot()
    axes.axhline(0, color="0.35", linewidth=1)
    for metric, points in lines.items():
        at, lift, low, high = (
            np.clip(column, -_WIDEST, _WIDEST) if i else np.array(column) for i, column in enumerate(zip(*points, strict=True))
        )
        axes.fill_between(at, low, high, color=_COLOURS[metric], alpha=0.15, step="post")
        axes.plot(at, lift, color=_COLOURS[metric], drawstyle="steps-post", marker="." if len(points) < 20 else None, label=metric)
    axes.set_xlabel("days since the first look")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
    axes.set_ylabel("lift of the challenger")
    axes.set_title("Lift with its interval, valid at every look", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    return small_png(picture)
