"""Pictures of a trained ranker, as PNG bytes. Where they are kept is decided in `rollout`."""

from __future__ import annotations

import io
from collections.abc import Mapping


def importance_picture(gains: Mapping[str, float]) -> bytes:
    """A bar for each feature's share of the gain, largest on top; PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Built without pyplot: its figures are process-wide and ask for a display.
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    ordered = sorted(gains.items(), key=lambda one: one[1])
    axes.barh([name.upper() for name, _ in ordered], [share for _, share in ordered])
    axes.set_xlabel("share of gain")
    axes.set_xlim(0, 1)
    target = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(target, format="png")
    return target.getvalue()
