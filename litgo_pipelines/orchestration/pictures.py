"""Pictures in the Dagster UI: small PNGs inside markdown metadata. They land in the event log, so they stay below 50 KiB."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MOST_BYTES = 50 * 1024


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
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
