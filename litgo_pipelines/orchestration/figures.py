"""The distribution of a month as Dagster shows it: numbers, tables and pictures. What they say is computed in `casework`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from litgo_pipelines.casework.distribution import Overview, Report, WorstOff
    from litgo_pipelines.casework.regions import Meeting
    from litgo_pipelines.equity.distribution import GroupFigures
    from litgo_pipelines.equity.promises import Limits

MOST_MISFITS = 20
"""Rows of the table of misfits at most."""

Columns = Sequence[tuple[str, str, str]]
"""Name, type and description of each column of a table."""

_SUMMARY: Columns = (
    ("figure", "string", ""),
    ("value", "float", "shares and utilisation as fractions, spreads in percentage points"),
    ("change_in_a_week", "float", "empty: no snapshot seven days before"),
    ("limit", "float", ""),
    ("verdict", "string", ""),
)
_GROUPS: Columns = (
    ("name", "string", ""),
    ("lawyers", "int", ""),
    ("mean_utilisation", "float", "mean of cases over capacity; 1 is a month fully used"),
    ("gini", "float", "Gini of utilisation"),
)
_WORST_OFF: Columns = (
    ("lawyer_id", "string", ""),
    ("area", "string", "primary area"),
    ("state", "string", ""),
    ("capacity", "int", "cases a month"),
    ("cases", "int", "contracts of the 30 days"),
    ("offers", "int", "received in the 30 days"),
    ("days_since_offer", "float", "empty: there never was one"),
)
_MISFITS: Columns = (
    ("area", "string", ""),
    ("region", "string", "state of client and lawyer; lawyers elsewhere are eligible too, only farther away"),
    ("misfit", "string", ""),
    ("cases", "int", "of clients in the 30 days"),
    ("contracts", "float", "expected of these cases"),
    ("capacity", "float", "of the lawyers there, shared over the areas they practise"),
    ("ratio", "float", "contracts over capacity; empty: no capacity"),
)


def overview_metadata(overview: Overview, trend: Sequence[Report], limits: Limits) -> dict[str, Any]:
    """The metadata of `offer_distribution`: figures with their week's changes, tables and pictures. What is unknown is left out."""
    from litgo_pipelines.casework.regions import misfits

    report = overview.report
    figures = report.distribution.figures()
    changes = {f"{name}_change": value for name, value in overview.changes.items()}
    smallest = {
        "smallest_area_gap": report.smallest.gap,
        "capacity_overload": report.smallest.overload,
        "contracts_without_lawyers": report.smallest.unplaced,
    }
    numbers = {name: value for name, value in {**figures, **changes, **smallest}.items() if value is not None}
    return {
        "as_of": dg.MetadataValue.timestamp(report.as_of),
        "summary": _summary(overview, limits),
        **_pictures(overview, trend, limits),
        "areas": _groups(report.distribution.areas),
        "capacity_bands": _groups(report.distribution.bands),
        "tenure": _groups(report.distribution.tenure),
        "worst_off": _worst_off(overview.worst_off),
        "misfits": _misfits(misfits(overview.meetings)[:MOST_MISFITS]),
        # One entry each: these Dagster can plot over time.
        **{name: value if name in _COUNTS else float(value) for name, value in numbers.items()},
    }


def _summary(overview: Overview, limits: Limits) -> dg.TableMetadataValue:
    """Every figure with its change over a week, and what was promised of it."""
    from litgo_pipelines.equity.promises import judge

    report = overview.report
    judged = {one.figure: one for one in judge(report.distribution, limits, report.smallest)}
    rows = []
    for name, value in report.distribution.figures().items():
        promise = judged.get(name)
        rows.append((name, value, overview.changes[name], promise and promise.limit, promise and promise.verdict))
    return _table(_SUMMARY, rows)


_COUNTS = frozenset({"lawyers", "cases", "offers", "contracts_without_lawyers"})


def _pictures(overview: Overview, trend: Sequence[Report], limits: Limits) -> dict[str, Any]:
    from litgo_pipelines.orchestration import pictures

    found: dict[str, Any] = {}
    used = overview.lawyers.utilisation
    if used.size:
        found["lorenz_curve"] = pictures.inline_png(pictures.lorenz_png(used), "Lorenz curve of utilisation")
        found["utilisation_histogram"] = pictures.inline_png(pictures.utilisation_png(used), "Histogram of utilisation")
    if trend:
        found["trend"] = pictures.inline_png(pictures.trend_png(trend, limits), "Figures of the last snapshots and their limits")
    if overview.meetings:
        found["demand_and_supply"] = pictures.inline_png(pictures.meetings_png(overview.meetings), "Demand over supply by area and state")
    return found


def _groups(groups: Sequence[GroupFigures]) -> dg.TableMetadataValue:
    return _table(_GROUPS, [(one.name, one.lawyers, one.mean_utilisation, one.gini) for one in groups])


def _worst_off(lawyers: Sequence[WorstOff]) -> dg.TableMetadataValue:
    rows = [(str(one.lawyer_id), one.area, one.state, one.capacity, one.cases, one.offers, one.days_waiting) for one in lawyers]
    return _table(_WORST_OFF, rows)


def _misfits(meetings: Sequence[Meeting]) -> dg.TableMetadataValue:
    rows = [(one.area, one.region, one.misfit, one.cases, one.contracts, one.capacity, one.ratio) for one in meetings]
    return _table(_MISFITS, rows)


def _table(columns: Columns, rows: Sequence[tuple[Any, ...]]) -> dg.TableMetadataValue:
    names = [name for name, _, _ in columns]
    schema = dg.TableSchema([dg.TableColumn(name, kind, description or None) for name, kind, description in columns])
    records = [dg.TableRecord({name: _rounded(value) for name, value in zip(names, row, strict=True)}) for row in rows]
    return dg.MetadataValue.table(records, schema)


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
