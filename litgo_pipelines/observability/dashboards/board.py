"""A dashboard as a whole: rows of panels laid out on the grid, links, annotations, and its JSON. What it shows is elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from litgo_pipelines.observability.dashboards.panels import PROMETHEUS

TITLES: Final = {
    "litgo-overview": "Overview",
    "litgo-business": "Business",
    "litgo-technical": "Technical performance",
    "litgo-jobs": "Jobs & health",
    "litgo-rollout": "Rollout",
}
"""All dashboards by uid, in the order of the links from one to the others."""

_GRID: Final = 24


@dataclass(frozen=True)
class Section:
    """Panels below one heading, from left to right and from top to bottom."""

    title: str
    panels: Sequence[model.Panel]


@dataclass(frozen=True)
class Events:
    """Moments marked in every graph: wherever the expression has a value."""

    name: str
    expr: str
    title: str
    colour: str
    text: str = ""


ALERTS: Final = Events(
    "Alerts", 'ALERTS{alertstate="firing",alertname!="Watchdog"}', "{{alertname}}", "red", "firing, {{severity}}, for {{team}}"
)


@dataclass(frozen=True)
class Board:
    """What a dashboard is made of.

    Attributes:
        since: beginning of the time shown at first, as Grafana writes it.
        variable: name, label in words, and query of a choice at the top; None for none.
    """

    uid: str
    description: str
    sections: Sequence[Section]
    since: str = "now-24h"
    events: Sequence[Events] = (ALERTS,)
    variable: tuple[str, str, str] | None = None


def to_json(board: Board) -> str:
    """The dashboard as Grafana reads it; the same text whenever it is built."""
    built = dashboard.Dashboard(f"LITGO {TITLES[board.uid]}").uid(board.uid).description(board.description).tags(["litgo"])
    built = built.timezone("browser").readonly().refresh("1m").time(board.since, "now").tooltip(model.DashboardCursorSync.CROSSHAIR)
    for uid, title in TITLES.items():
        if uid != board.uid:
            link = dashboard.DashboardLink(title).type(model.DashboardLinkType.LINK).url(f"/d/{uid}").icon("dashboard").keep_time(True)
            built = built.link(link)
    if board.variable is not None:
        name, label, query = board.variable
        choice = dashboard.QueryVariable(name).label(label).query(query).datasource(PROMETHEUS)
        built = built.with_variable(choice.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC))
    whole = built.build()
    whole.templating.list_val = whole.templating.list_val or []
    whole.panels = list(_laid_out(board))
    whole.annotations = model.AnnotationContainer([_Annotation(one) for one in board.events])
    return json.dumps(whole, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def _laid_out(board: Board) -> Iterator[model.Panel | model.RowPanel]:
    top = 0
    for section in board.sections:
        yield model.RowPanel(
            title=section.title, collapsed=False, id_val=_id(section.title), grid_pos=model.GridPos(h=1, w=_GRID, x=0, y=top)
        )
        top += 1
        left = tallest = 0
        for panel in section.panels:
            place = panel.grid_pos or model.GridPos()
            if left + place.w > _GRID:
                left, top, tallest = 0, top + tallest, 0
            panel.id_val = _id(f"{section.title}/{panel.title}")
            panel.grid_pos = model.GridPos(h=place.h, w=place.w, x=left, y=top)
            left, tallest = left + place.w, max(tallest, place.h)
            yield panel
        top += tallest


def _id(title: str) -> int:
    """A panel's number, by which links name it: it stays when others come and go."""
    return crc32(title.encode()) % 1_000_000 + 1


class _Annotation(model.AnnotationQuery):
    """An annotation with the fields of Prometheus' datasource, which the SDK's model lacks."""

    def __init__(self, events: Events) -> None:
        super().__init__(name=events.name, datasource=PROMETHEUS, icon_color=events.colour, expr=events.expr)
        self.events = events

    def to_json(self) -> dict[str, object]:
        shown = {"titleFormat": self.events.title, "textFormat": self.events.text, "step": "60s", "useValueForTime": False}
        return super().to_json() | shown
