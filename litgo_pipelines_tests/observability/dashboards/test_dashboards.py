"""The dashboards: the files are what is built, Grafana can take them, and they show what there is to see."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import promql_parser as ql
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from litgo_pipelines.observability.dashboards import files
from litgo_pipelines.observability.dashboards.board import TITLES
from litgo_pipelines.observability.dashboards.empty import EMPTY_EVENTS, EMPTY_IS_GOOD, EMPTY_VARIABLES
from litgo_pipelines.observability.deployment import DEPLOY, RULES
from litgo_pipelines.observability.lint import deployed, expressions, known_names
from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines.observability.promql import without_variables
from litgo_pipelines.observability.series import Names, name_of, walk

BOARDS: dict[str, Any] = {name: json.loads(text) for name, text in files.built().items()}
UNITS = {value for value in vars(units).values() if isinstance(value, str)}


def _panels(board: Any) -> list[Any]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


EVERY = [pytest.param(panel, id=f"{board['uid']}: {panel['title']}") for board in BOARDS.values() for panel in _panels(board)]


def test_the_files_are_what_is_built() -> None:
    """What Grafana is given has no change that is not in the code, and no dashboard more."""
    assert files.drift(files.DASHBOARDS) == {}


def test_drift_is_shown_and_mended(tmp_path: Path) -> None:
    """A missing, a changed and a superfluous file each show as a diff; building mends all that are built and deletes nothing."""
    assert set(files.drift(tmp_path)) == set(files.built())
    assert len(files.write(tmp_path)) == len(files.built())
    assert files.drift(tmp_path) == {}
    changed, superfluous = tmp_path / "litgo-jobs.json", tmp_path / "mine.json"
    changed.write_text(changed.read_text().replace("Overdue", "Late"))
    superfluous.write_text('{"title": "Mine"}')
    found = files.drift(tmp_path)
    assert set(found) == {"litgo-jobs.json", "mine.json"}
    assert '-      "title": "Late"' in found["litgo-jobs.json"]
    assert '+      "title": "Overdue"' in found["litgo-jobs.json"]
    assert len(files.write(tmp_path)) == 2
    assert set(files.drift(tmp_path)) == {"mine.json"}
    assert superfluous.exists()


def test_each_dashboard_has_a_name_and_links_to_all_others() -> None:
    """Uids and titles are known, and each link leads to a dashboard that is there."""
    assert [board["uid"] for board in map(json.loads, files.built().values())] == list(TITLES)
    for name, board in BOARDS.items():
        assert (name, board["title"]) == (f"{board['uid']}.json", f"LITGO {TITLES[board['uid']]}")
        assert board["description"]
        assert {link["url"] for link in board["links"]} == {f"/d/{uid}" for uid in TITLES if uid != board["uid"]}


def test_links_of_alerts_lead_to_dashboards() -> None:
    """Where an alert names a dashboard, it is one of these."""
    named = re.findall(r"dashboard: (.+)", "".join(path.read_text() for path in RULES.glob("*.yaml")))
    assert named
    assert {one.strip('"').removeprefix("{{ $externalLabels.grafana }}") for one in named} <= {f"/d/{uid}" for uid in TITLES}


@pytest.mark.parametrize("name", BOARDS)
def test_the_sdk_reads_what_it_wrote(name: str) -> None:
    """Nothing in the JSON is unknown to the model of Grafana's schema; the fields of Prometheus' annotations are the one exception."""
    register_default_plugins()
    board = json.loads(files.built()[name])
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    for annotation in board["annotations"]["list"]:
        for field in ("titleFormat", "textFormat", "step", "useValueForTime"):
            del annotation[field]
    assert again == board


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_places_of_their_own(name: str) -> None:
    """Numbers and titles are unique, and no panel reaches over another or the edge."""
    panels = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [panel["title"] for panel in _panels(BOARDS[name])]
    assert len(set(titles)) == len(titles)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["w"] > 0 and place["h"] > 0 and place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (one, other)


@pytest.mark.parametrize("panel", EVERY)
def test_a_panel_says_what_it_shows(panel: Any) -> None:
    """It has a description, a text for when it is empty, known units, thresholds in order, and queries with a datasource and a name."""
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    assert defaults["noValue"]
    properties = [one for override in panel["fieldConfig"]["overrides"] for one in override["properties"]]
    assert {defaults["unit"], *(one["value"] for one in properties if one["id"] == "unit")} <= UNITS
    for thresholds in [defaults["thresholds"], *(one["value"] for one in properties if one["id"] == "thresholds")]:
        first, *rest = [step["value"] for step in thresholds["steps"]]
        assert first is None
        assert rest == sorted(rest)
    targets = panel["targets"]
    assert targets
    assert len({target["refId"] for target in targets}) == len(targets)
    assert all(target["datasource"] == panel["datasource"] and target["expr"] for target in targets)


@pytest.mark.parametrize("panel", EVERY)
def test_names_in_a_panel_are_those_of_its_columns(panel: Any) -> None:
    """A table is sorted by a column that it shows, and an override is of a column or series that is there."""
    organised = [one["options"] for one in panel.get("transformations", []) if one["id"] == "organize"]
    shown = {name for options in organised for name in options["renameByName"].values()}
    shown |= {target["legendFormat"] for target in panel["targets"]}
    bounds = {"low", "estimate", "high"} if any("{{bound}}" in target["legendFormat"] for target in panel["targets"]) else set()
    promises = {f"limit: {one}" for one in ("gini", "offered", "gap")} if "limit: {{promise}}" in shown else set()
    used = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    used |= {one["displayName"] for one in panel.get("options", {}).get("sortBy", [])}
    assert used <= shown | bounds | promises


def _named(node: ql.Expr, names: Names) -> Iterator[str | None]:
    for one in walk(node):
        if isinstance(one, ql.VectorSelector):
            name = name_of(one)
            yield name
            for made, rest in names.sources(name or ""):
                yield from _named(made, rest)


def test_the_table_of_alerts_shows_what_each_is_about() -> None:
    """Every label that an alert may bear has a column, but for the instance; the state is the same of all."""
    alerts = known_names([path for path in deployed() if path.suffix == ".yaml"]).alerts
    assert alerts is not None
    assert alerts.labels is not None
    (shown,) = [one["options"] for one in _panel("litgo-overview", "Firing alerts")["transformations"] if one["id"] == "organize"]
    assert alerts.labels - {"instance", "alertstate"} <= set(shown["renameByName"])


def test_columns_of_a_table_bear_no_name_of_a_metric() -> None:
    """Grafana makes one row of what all columns share, and names of metrics would tell each column's rows apart."""
    exprs = [target["expr"] for board in BOARDS.values() for one in _panels(board) if one["type"] == "table" for target in one["targets"]]
    assert exprs
    assert [expr for expr in exprs if isinstance(ql.parse(expr), ql.VectorSelector)] == []


def _panel(uid: str, title: str) -> Any:
    (found,) = [panel for panel in _panels(BOARDS[f"{uid}.json"]) if panel["title"] == title]
    return found


_BURN = "{alertstate='firing',alertname='Burn',severity='page',window='%s',instance='a'}"
_ANSWERS: list[tuple[str, str, int, list[str], dict[str, float]]] = [
    ("litgo-overview", "Pages", 0, [], {}),
    ("litgo-overview", "Pages", 0, ["ALERTS{alertname='Watchdog',alertstate='firing'}"], {"{}": 0}),
    ("litgo-overview", "Pages", 0, [f"ALERTS{_BURN % window}" for window in ("1h", "6h")], {"{}": 1}),
    (
        "litgo-overview",
        "Firing alerts",
        0,
        [f"ALERTS{_BURN % '1h'}", f"ALERTS_FOR_STATE{_BURN % '1h'}".replace("alertstate='firing',", "")],
        {'{alertname="Burn", severity="page", window="1h"}': -1},
    ),
    (
        "litgo-business",
        "Promises",
        0,
        ["fairness_limit{promise='gini'}", "fairness_limit{promise='gap'}"],
        {f'{{promise="{one}"}}': 1 for one in ("gini", "gap_areas", "gap_capacity", "gap_newcomers")},
    ),
    (
        "litgo-business",
        "Promises",
        1,
        ["fairness_gini", "fairness_gap_ratio{between='areas'}"],
        {'{promise="gini"}': 1, '{promise="gap_areas"}': 1},
    ),
    (
        "litgo-technical",
        "Share of work in fallback",
        0,
        [
            "vendor_configured{service='openai'}",
            "service:fallback:ratio_increase1h{service='openai'}",
            "service:fallback:ratio_increase1h{service='docusign'}",
        ],
        {'{service="openai"}': 1},
    ),
    ("litgo-rollout", "Champion for", 0, ["champion_since_timestamp_seconds", "champion_info{version='nobody'}"], {}),
    ("litgo-rollout", "Champion for", 0, ["champion_since_timestamp_seconds", "champion_info{version='3'}"], {"{}": -1}),
]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_panels_answer_what_is_asked(tmp_path: Path) -> None:
    """Prometheus' own answers to panels that join: what is not there is no 0, and each row finds all of its columns."""
    tests = []
    for uid, title, number, series, answers in _ANSWERS:
        bare = [{"labels": labels, "value": value} for labels, value in answers.items()]
        asked = {"expr": _panel(uid, title)["targets"][number]["expr"], "eval_time": "0s", "exp_samples": bare}
        values = [{"series": one.replace("'", '"'), "values": "1"} for one in series]
        tests.append({"interval": "15s", "input_series": values, "promql_expr_test": [asked]})
    path = tmp_path / "panels.yaml"
    path.write_text(json.dumps({"tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("alert", "limit", "uid", "title"),
    [
        ("MatchingSlow", 1, "litgo-technical", "Matching: time to decide"),
        ("TriageSlow", 5, "litgo-technical", "Triage: time to decide"),
        ("MatchingErrors", 0.05, "litgo-technical", "Matching: errors"),
        ("RegistrySilent", 900, "litgo-technical", "Registry last answered"),
        ("EventsNotCounted", 300, "litgo-jobs", "Events not counted yet"),
        ("JobQueueStuck", 1800, "litgo-jobs", "Oldest waiting run"),
        ("DiskFilling", 0.15, "litgo-jobs", "Free disk"),
        ("DiskFilling", 20e9, "litgo-jobs", "Free bytes"),
        ("ContractUnsigned", 14 * 86400, "litgo-business", "Oldest pending contract"),
        ("FairnessReportOld", 36 * 3600, "litgo-business", "Age of the report"),
        ("NotificationsSlow", 900, "litgo-business", "Time to deliver"),
        ("NotificationsFailing", 0.1, "litgo-jobs", "Deliveries that failed"),
    ],
)
def test_red_begins_where_the_alert_does(alert: str, limit: float, uid: str, title: str) -> None:
    """Where a figure is red, its alert fires or is about to, and not at some other value."""
    rules = [rule for path in RULES.glob("*.yaml") for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    first = next(rule["expr"] for rule in rules if rule.get("alert") == alert)
    limits = {prod(map(float, one.split(" * "))) for one in re.findall(r"[<>] ([\d.e]+(?: \* \d+)*)", first)}
    assert limit in limits
    steps = _panel(uid, title)["fieldConfig"]["defaults"]["thresholds"]["steps"]
    red_below = steps[0]["color"] == "red"
    assert (steps[1] if red_below else steps[-1])["value"] == limit
    assert red_below or steps[-1]["color"] == "red"


def test_every_metric_is_on_a_dashboard() -> None:
    """By itself or in what a recording rule makes of it: what nobody can see need not be exported."""
    names = known_names([path for path in deployed() if path.suffix == ".yaml"])
    texts = [without_variables(one.text) for path in deployed() if path.suffix == ".json" for one in expressions(path)]
    shown = {name for text in texts for name in _named(ql.parse(text), names)}
    assert [metric.name for metric in METRICS.values() if not shown & set(metric.sample_names)] == []


def test_what_may_be_empty_is_there() -> None:
    """Each reason belongs to a panel, an annotation or a variable that exists."""
    for uid, reasons in EMPTY_IS_GOOD.items():
        assert set(reasons) <= {panel["title"] for panel in _panels(BOARDS[f"{uid}.json"])}
        assert all(reasons.values())
    assert set(EMPTY_EVENTS) == {one["name"] for board in BOARDS.values() for one in board["annotations"]["list"]}
    assert set(EMPTY_VARIABLES) == {one["name"] for board in BOARDS.values() for one in board["templating"]["list"]}


def test_grafana_is_told_where_all_is() -> None:
    """The datasource of every panel and the folder of the files are those that are provisioned."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert {(one["type"], one["uid"]) for one in sources} == {("prometheus", "prometheus"), ("alertmanager", "alertmanager")}
    assert {one["url"] for one in sources} == {"${PROMETHEUS_URL}", "${ALERTMANAGER_URL}"}
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert sources[0]["jsonData"]["timeInterval"] == scraped
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "litgo.yaml").read_text())["providers"]
    assert (provider["folder"], provider["allowUiUpdates"]) == ("LITGO", False)
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
