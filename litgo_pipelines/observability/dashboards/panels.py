"""The kinds of panels that the dashboards use, each with the look that all of its kind share. Which panels there are is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS: Final = model.DataSourceRef("prometheus", "prometheus")
"""The datasource that deploy/grafana/provisioning sets up."""

GOOD: Final = "green"
CARE: Final = "orange"
BAD: Final = "red"
PLAIN: Final = "text"

Steps = Sequence[tuple[float | None, str]]
"""Colours from a value on, ascending; the first is that of everything below, and its value None."""

Words = Mapping[int, tuple[str, str]]
"""Text and colour shown instead of a value."""

YES_IS_GOOD: Final[Words] = {1: ("yes", GOOD), 0: ("no", BAD)}
YES_IS_BAD: Final[Words] = {1: ("yes", BAD), 0: ("no", GOOD)}
SMALL: Final = (4, 4)
HALF: Final = (12, 8)
THIRD: Final = (8, 8)
WIDE: Final = (24, 8)

_Any = TypeVar("_Any", stat.Panel, timeseries.Panel, table.Panel, statetimeline.Panel, bargauge.Panel)


@dataclass(frozen=True)
class Query:
    """An expression, and what its series are called: text with {{label}} in it."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: one expression, whose labels say to which row a value belongs."""

    title: str
    expr: str
    unit: str = "short"
    steps: Steps = ()
    words: Words = field(default_factory=dict)
    decimals: int | None = None


def of_configured(expr: str) -> str:
    """What an expression says, by service, of vendors that are configured; work of the others is done without them by design."""
    return f"max by (service) ({expr}) and on (service) max by (service) (vendor_configured) == 1"


def at_most(care: float, bad: float) -> Steps:
    """Colours of a figure that should be small."""
    return ((None, GOOD), (care, CARE), (bad, BAD))


def at_least(bad: float, care: float) -> Steps:
    """Colours of a figure that should be large: bad below the first value, to be watched below the second."""
    return ((None, BAD), (bad, CARE), (care, GOOD))


def figure(
    title: str,
    what: str,
    query: str | Query,
    *,
    empty: str,
    unit: str = "short",
    steps: Steps = ((None, PLAIN),),
    words: Words | None = None,
    decimals: int | None = None,
    size: tuple[int, int] = SMALL,
) -> model.Panel:
    """The newest value of a query, large; of each of its series where the query has a legend."""
    asked = query if isinstance(query, Query) else Query(query)
    panel = stat.Panel().graph_mode(looks.BigValueGraphMode.NONE).color_mode(looks.BigValueColorMode.VALUE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel = panel.text_mode(looks.BigValueTextMode.VALUE_AND_NAME if asked.legend else looks.BigValueTextMode.VALUE)
    panel = panel.with_target(_target(asked, 0).instant())
    return _built(panel, title, what, empty, unit, steps, words or {}, decimals, size)


def bars(
    title: str,
    what: str,
    *queries: Query,
    empty: str,
    unit: str = "short",
    steps: Steps = ((None, "blue"),),
    highest: float | None = None,
    decimals: int | None = None,
    size: tuple[int, int] = HALF,
) -> model.Panel:
    """The newest values of queries as horizontal bars, in the order of the queries."""
    panel = bargauge.Panel().orientation(looks.VizOrientation.HORIZONTAL).display_mode(looks.BarGaugeDisplayMode.BASIC)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)).min(0)
    if highest is not None:
        panel = panel.max(highest)
    for number, query in enumerate(queries):
        panel = panel.with_target(_target(query, number).instant())
    return _built(panel, title, what, empty, unit, steps, {}, decimals, size)


def graph(
    title: str,
    what: str,
    *queries: Query,
    empty: str,
    unit: str = "short",
    steps: Steps = (),
    stacked: bool = False,
    lowest: float | None = 0,
    highest: float | None = None,
    band: tuple[str, str] | None = None,
    dashed: Sequence[str] = (),
    size: tuple[int, int] = HALF,
) -> model.Panel:
    """Series over time.

    Args:
        steps: shown as dashed lines, too.
        band: names of the series between which the space is filled: the lower one and the upper one.
        dashed: names of series that are limits.
    """
    legend = common.VizLegendOptions().display_mode(looks.LegendDisplayMode.TABLE).placement(looks.LegendPlacement.BOTTOM)
    panel = timeseries.Panel().legend(legend.show_legend(True).calcs(["lastNotNull", "max"]))
    panel = panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    panel = panel.line_width(1).fill_opacity(60 if stacked else 8).show_points(looks.VisibilityMode.AUTO)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    if steps:
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED))
    panel = panel if lowest is None else panel.min(lowest)
    panel = panel if highest is None else panel.max(highest)
    for number, query in enumerate(queries):
        panel = panel.with_target(_target(query, number).range())
    for name in dashed:
        panel = panel.override_by_name(name, _properties({"custom.lineStyle": {"fill": "dash", "dash": [8, 8]}, "custom.fillOpacity": 0}))
    if band is not None:
        low, high = band
        panel = panel.override_by_name(high, _properties({"custom.fillBelowTo": low, "custom.fillOpacity": 20, "color": _fixed("blue")}))
        panel = panel.override_by_name(low, _properties({"custom.fillOpacity": 0, "color": _fixed("blue")}))
    return _built(panel, title, what, empty, unit, steps or ((None, GOOD),), {}, None, size)


def model_latency() -> model.Panel:
    """How long each version of the model takes to answer."""
    buckets = "sum by (le, version) (rate(model_matching_duration_seconds_bucket[10m]))"
    return graph(
        "Time to decide by version",
        "Of 100 requests that a version answered in the last ten minutes, 50 and 95 took no longer. Promised: 95 within 0.15 s.",
        *(Query(f"histogram_quantile({level / 100}, {buckets})", f"{{{{version}}}}: {level} of 100") for level in (50, 95)),
        empty="no request was answered",
        unit="s",
        steps=at_most(0.15, 1),
        size=WIDE,
    )


def timeline(
    title: str, what: str, *queries: Query, empty: str, words: Words, size: tuple[int, int] = HALF, steps: Steps = ((None, PLAIN),)
) -> model.Panel:
    """States over time, a row for each series."""
    panel = statetimeline.Panel().merge_values(True).show_value(looks.VisibilityMode.AUTO).row_height(0.8).fill_opacity(70)
    panel = panel.legend(common.VizLegendOptions().show_legend(False).display_mode(looks.LegendDisplayMode.LIST))
    for number, query in enumerate(queries):
        panel = panel.with_target(_target(query, number).range())
    return _built(panel, title, what, empty, "none", steps, words, None, size)


def listing(
    title: str,
    what: str,
    labels: Mapping[str, str],
    *columns: Column,
    empty: str,
    sort: str,
    descending: bool = True,
    links: Mapping[str, tuple[str, str]] | None = None,
    size: tuple[int, int] = WIDE,
) -> model.Panel:
    """A table with a row for each combination of labels.

    Args:
        labels: the labels shown and their titles, in the order in which they are shown; a label that is not among them is hidden.
        sort: title of the column by which the rows are sorted.
        links: text and address of a link from each cell, by the title of the column; ${__value.raw} in the address is the cell's text.
    """
    panel = table.Panel().cell_height(looks.TableCellHeight.SM).filterable(False)
    panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
    for number, column in enumerate(columns):
        panel = panel.with_target(_target(Query(_without_name(column.expr, labels)), number).instant().format(PromQueryFormat.TABLE))
        panel = panel.override_by_name(column.title, _properties(_column_looks(column)))
    for name, (text, url) in (links or {}).items():
        panel = panel.override_by_name(name, _properties({"links": [{"title": text, "url": url, "targetBlank": True}]}))
    kept = [*labels, *(_value(number, len(columns)) for number in range(len(columns)))]
    names = {**labels, **{_value(number, len(columns)): column.title for number, column in enumerate(columns)}}
    for transformation, options in (
        ("merge", {}),
        ("filterFieldsByName", {"include": {"names": kept}}),
        ("organize", {"indexByName": {name: at for at, name in enumerate(kept)}, "renameByName": names}),
    ):
        panel = panel.with_transformation(model.DataTransformerConfig(id_val=transformation, options=options))
    return _built(panel, title, what, empty, "short", ((None, PLAIN),), {}, None, size)


def _without_name(expr: str, labels: Mapping[str, str]) -> str:
    """A column of a bare metric without the metric's name, by which Grafana would put each column into rows of its own."""
    return f"max by ({', '.join(labels)}) ({expr})" if re.fullmatch(r"[\w:]+", expr) else expr


def _value(number: int, count: int) -> str:
    """What Grafana calls the values of a table's query."""
    return "Value" if count == 1 else f"Value #{ascii_uppercase[number]}"


def _column_looks(column: Column) -> dict[str, object]:
    shown: dict[str, object] = {"unit": column.unit}
    if column.decimals is not None:
        shown["decimals"] = column.decimals
    if column.words:
        shown["mappings"] = [_mapping(column.words)]
    if column.steps:
        shown["thresholds"] = _thresholds(column.steps).build()
    if column.words or column.steps:
        shown["custom.cellOptions"] = {"type": "color-text"}
    return shown


def _built(
    panel: _Any,
    title: str,
    what: str,
    empty: str,
    unit: str,
    steps: Steps,
    words: Words,
    decimals: int | None,
    size: tuple[int, int],
) -> model.Panel:
    panel = panel.title(title).description(what).datasource(PROMETHEUS).unit(unit).no_value(empty).thresholds(_thresholds(steps))
    if words:
        panel = panel.mappings([_mapping(words)])
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel.grid_pos(model.GridPos(w=size[0], h=size[1])).build()


def _target(query: Query, number: int) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().expr(query.expr).ref_id(ascii_uppercase[number]).datasource(PROMETHEUS)
    return asked.legend_format(query.legend or "__auto")


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    config = dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE)
    return config.steps([model.Threshold(value=value, color=colour) for value, colour in steps])


def _mapping(words: Words) -> model.ValueMap:
    shown = {str(value): model.ValueMappingResult(text, colour, index=at) for at, (value, (text, colour)) in enumerate(words.items())}
    return model.ValueMap(shown)


def _properties(values: Mapping[str, object]) -> list[model.DynamicConfigValue]:
    return [model.DynamicConfigValue(name, value) for name, value in values.items()]


def _fixed(colour: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": colour}
