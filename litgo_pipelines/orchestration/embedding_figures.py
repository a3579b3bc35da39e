"""Embeddings as Dagster shows them: what a run wrote, and how far each space is. Both are computed in `casework.embedding`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from litgo_pipelines.casework.embedding import Coverage, Embedding, Refreshed
    from litgo_pipelines.casework.embedding_quality import Quality

_COLUMNS = ("wanted", "current", "outdated", "missing")


def refresh_metadata(embedding: Embedding, refreshed: Sequence[Refreshed], covered: Sequence[Coverage]) -> dict[str, Any]:
    """What was written in all spaces together, and each space's coverage as number, table and picture. What is unknown is left out."""
    trouble = [embedding.trouble, *(f"{one.space}: {one.trouble}" for one in refreshed if one.trouble is not None)]
    shown: dict[str, Any] = {
        "new": sum(one.new for one in refreshed),
        "outdated": sum(one.outdated for one in refreshed),
        "spaces": ", ".join(embedding.spaces) or "none",
        "in_fallback": embedding.local is None or any(one.trouble is not None for one in refreshed),
        **{f"coverage of {one.space}": one.share for one in covered if one.share is not None},
    }
    if any(trouble):
        shown["trouble"] = "; ".join(one for one in trouble if one is not None)
    if covered:
        shown["coverage"] = _table(covered)
        shown["picture"] = _picture(covered)
    return shown


def quality_metadata(found: Quality) -> dict[str, Any]:
    """The figures of every scorer, and what stands against the fallback."""
    records = [
        dg.TableRecord({"scorer": one.scorer, **{name: round(getattr(one, name), 4) for name in ("ndcg_at_10", "low", "high")}})
        for one in found.scored
    ]
    columns = [dg.TableColumn("scorer"), *(dg.TableColumn(name, "float") for name in ("ndcg_at_10", "low", "high"))]
    shown: dict[str, Any] = {"fallback": found.fallback, "scorers": dg.MetadataValue.table(records, dg.TableSchema(columns))}
    if found.share is not None:
        shown["share_of_primary"] = found.share
    if found.trouble is not None:
        shown["trouble"] = found.trouble
    return shown


def _table(covered: Sequence[Coverage]) -> dg.TableMetadataValue:
    records = [dg.TableRecord({"space": one.space, **{name: getattr(one, name) for name in _COLUMNS}}) for one in covered]
    schema = dg.TableSchema([dg.TableColumn("space"), *(dg.TableColumn(name, "int") for name in _COLUMNS)])
    return dg.MetadataValue.table(records, schema)


def _picture(covered: Sequence[Coverage]) -> dg.MarkdownMetadataValue:
    from matplotlib.figure import Figure

    from litgo_pipelines.equity.pictures import small_png
    from litgo_pipelines.orchestration.pictures import inline_png

    figure = Figure(figsize=(5.6, 0.9 + 0.45 * len(covered)), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    names, left = [one.space for one in covered], [0.0] * len(covered)
    for part, colour in (("current", "#009e73"), ("outdated", "#e69f00"), ("missing", "0.85")):
        share = [100 * getattr(one, part) / one.wanted if one.wanted else 0.0 for one in covered]
        axes.barh(names, share, left=left, color=colour, height=0.6, label=part)
        left = [before + more for before, more in zip(left, share, strict=True)]
    axes.set(xlim=(0, 100), xlabel="% of all")
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return inline_png(small_png(figure), "Vectors by space")
