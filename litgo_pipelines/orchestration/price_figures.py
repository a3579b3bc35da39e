"""A refit of the price of load as Dagster shows it. What was found is computed in `casework.refit`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from litgo_pipelines.casework.refit import Refit
    from litgo_pipelines.settings import Settings


def refit_metadata(found: Refit, as_of: datetime, settings: Settings) -> dict[str, Any]:
    """Verdict, prices, the curve as a table and as a picture. What is unknown is left out."""
    shown: dict[str, Any] = {
        "as_of": dg.MetadataValue.timestamp(as_of),
        "verdict": found.verdict,
        "reason": found.reason,
        "price_before": found.before,
        "price": found.after,
        "price_a_week_ago": found.base,
        "cases_replayed": found.cases,
        "share_replayed": found.share,
    }
    if found.observed_gini is not None:
        shown["observed_gini"] = found.observed_gini
    if found.price_id is not None:
        shown["price_id"] = found.price_id
    if found.curve:
        shown["trade_off"] = _picture(found, settings)
        shown["trade_off_curve"] = _table(found)
    return shown


def _table(found: Refit) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord({name: None if value is None else round(value, 4) for name, value in asdict(one).items()}) for one in found.curve
    ]
    schema = dg.TableSchema([dg.TableColumn(name, "float") for name in asdict(found.curve[0])])
    return dg.MetadataValue.table(records, schema)


def _picture(found: Refit, settings: Settings) -> dg.MarkdownMetadataValue:
    from litgo_pipelines.equity.pictures import trade_off_picture
    from litgo_pipelines.orchestration.pictures import inline_png

    png = trade_off_picture(
        found.curve,
        target_gini=settings.litgo_equity_target_gini,
        most_gap=settings.litgo_fairness_max_gap,
        before=found.before,
        after=found.after,
    )
    return inline_png(png, "What a price of load buys and costs")
