"""The lint of files: every expression of rules and dashboards is found, whatever it stands in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from litgo_pipelines.observability.lint import UnreadableFile, deployed, expressions, lint

RULES = """
groups:
  - name: triage
    rules:
      - record: triage:failed:ratio_increase1h
        expr: sum(increase(triage_requests_total{status="error"}[1h])) / sum(increase(triage_requests_total[1h]))
      - record: triage:per_status:rate5m
        labels: {what: triage}
        expr: sum by (status) (rate(triage_requests_total[5m]))
      - alert: TriageFails
        expr: triage:failed:ratio_increase1h > 0.05
        labels: {severity: ticket}
        annotations:
          summary: "{{ $labels.status }} {{ $value }}"
"""


def _rules(folder: Path, text: str = RULES) -> Path:
    path = folder / "rules.yaml"
    path.write_text(text)
    return path


def _board(folder: Path, **parts: Any) -> Path:
    path = folder / "board.json"
    path.write_text(json.dumps({"panels": [], **parts}))
    return path


def _found(path: Path) -> list[tuple[str, str]]:
    return [(finding.where, finding.rule) for finding in lint([path])]


def test_what_is_deployed_has_no_findings() -> None:
    """The rules and dashboards of this project pass their own lint, and there are some of both."""
    files = deployed()
    assert {path.suffix for path in files} == {".yaml", ".json"}
    assert sum(1 for path in files for _ in expressions(path)) > 200
    assert lint(files) == []


def test_an_alert_is_judged_by_what_its_rules_record(tmp_path: Path) -> None:
    """A recorded ratio needs a guard as a written one does, and a summary shows only labels that the alert bears."""
    assert _found(_rules(tmp_path)) == [("triage / TriageFails", "ratio-without-guard"), ("triage / TriageFails", "unknown-label")]
    guarded = RULES.replace("0.05", "0.05 and on () sum(increase(triage_requests_total[1h])) >= 20").replace("$labels.status", "$value")
    assert _found(_rules(tmp_path, guarded)) == []


def test_a_label_that_the_rule_adds_is_shown_as_nothing(tmp_path: Path) -> None:
    """Texts are made of what the expression bears, before the rule adds its labels."""
    rule = {"alert": "Down", "expr": "up == 0", "labels": {"severity": "page", "job": "{{ $labels.job }}"}}
    for text, broken in (("{{ $labels.severity }}", ["unknown-label"]), ("{{ $labels.job }}", [])):
        path = _rules(tmp_path, json.dumps({"groups": [{"name": "up", "rules": [{**rule, "annotations": {"summary": text}}]}]}))
        assert [finding.rule for finding in lint([path])] == broken


@pytest.mark.parametrize(
    ("template", "broken"),
    [
        ('{{ query "open_case_count" }}', "unknown-metric"),
        ("{{ with query `sum(rate(offers_created_total[5s]))` }}{{ . | first | value }}{{ end }}", "short-window"),
        ('{{ range $i, $x := "offers_created_total" | query }}{{ $x.Value }}{{ end }}', "counter-without-rate"),
        ('{{ printf "max(breaker_open{vendor=%q})" $labels.job | query | first | value }}', "unknown-label"),
        ('{{ query (printf "max(breaker_open{service=%q}" $labels.job) }}', "parse"),
        ('{{ query "triage_requests_total{status=\\"failed\\"} offset 5m" }}', "impossible-value"),
        ('{{ printf "max(breaker_open{service=%q})" $labels.job | query | first | value }}', None),
        ('{{ query "max(breaker_open)" | first | value }} {{ $labels.job | printf "%s is `down`" }}', None),
        ('{{ printf "%s == 1" $labels.job | query }} {{ query $labels.job }}', None),
        ('The query "open_case_count" | query', None),
    ],
)
def test_queries_in_templates_are_checked(tmp_path: Path, template: str, broken: str | None) -> None:
    """As far as they are literal; what is filled in may be any value."""
    rule = {"alert": "Down", "expr": "up == 0", "annotations": {"summary": template}}
    path = _rules(tmp_path, json.dumps({"groups": [{"name": "up", "rules": [rule]}]}))
    found = {finding.rule for finding in lint([path])} - ({"counter-without-rate"} if broken == "impossible-value" else set())
    assert found == ({broken} if broken else set())
    assert all(finding.where == "up / Down / summary" for finding in lint([path]))


ALIASES = """
groups:
  - name: aliases
    rules:
      - record: &name serving:up:sum
        expr: &sum sum(up)
        labels: &labels {part: serving}
      - record: serving:up:total
        expr: *sum
        labels: *labels
      - record: *name
        expr: sum(up)
"""


def test_an_alias_is_found_where_prometheus_takes_its_name(tmp_path: Path) -> None:
    """In expressions and names of rules; elsewhere an alias stands for what it names."""
    findings = lint([_rules(tmp_path, ALIASES)])
    assert [(one.where, one.rule, one.part) for one in findings] == [
        ("aliases / serving:up:total", "yaml-alias", "expr: *sum"),
        ("aliases / name", "yaml-alias", "record: *name"),
    ]


def test_labels_of_a_recording_rule_are_those_of_its_result(tmp_path: Path) -> None:
    """What the aggregation keeps and the rule adds can be asked for; what was summed away cannot."""
    rules = RULES.replace("triage:failed:ratio_increase1h > 0.05", 'triage:per_status:rate5m{what="triage",status="error"} == 0')
    assert _found(_rules(tmp_path, rules)) == []
    assert _found(_rules(tmp_path, rules.replace('status="error"', 'job="litgo-collector"'))) == [("triage / TriageFails", "unknown-label")]
    assert _found(_rules(tmp_path, rules.replace('{what="triage"', '{what="triages"'))) == [("triage / TriageFails", "impossible-value")]


def test_all_places_of_a_dashboard_are_read(tmp_path: Path) -> None:
    """Panels, panels within rows, legends, annotations and variables."""
    wrong, right = {"expr": "nothing_of_ours", "refId": "B"}, {"expr": "open_cases_count", "refId": "A"}
    path = _board(
        tmp_path,
        panels=[
            {"title": "Cases", "targets": [right, wrong]},
            {"title": "Row", "panels": [{"title": "Within", "targets": [wrong]}]},
            {"title": "Legend", "targets": [{"expr": "breaker_open", "refId": "A", "legendFormat": "{{vendor}} of {{service}}"}]},
            {"title": "Text"},
        ],
        annotations={
            "list": [{"name": "Moves", "expr": "nothing_of_ours"}, {"name": "Opened", "expr": "breaker_open", "titleFormat": "{{who}}"}]
        },
        templating={
            "list": [
                {"type": "query", "name": "one", "query": "label_values(external_calls_total, vendor)"},
                {"type": "query", "name": "two", "query": {"query": "label_values(nothing_of_ours, vendor)"}},
                {"type": "query", "name": "three", "query": "query_result(nothing_of_ours)"},
                {"type": "query", "name": "four", "query": "label_values(external_calls_total, service)"},
                {"type": "query", "name": "five", "query": "label_values(job)"},
                {"type": "custom", "name": "six", "query": "a,b"},
            ]
        },
    )
    assert _found(path) == [
        ("Cases / B", "unknown-metric"),
        ("Within / B", "unknown-metric"),
        ("Legend / A", "unknown-label"),
        ("annotation Moves", "unknown-metric"),
        ("annotation Opened", "unknown-label"),
        ("variable one", "unknown-label"),
        ("variable two", "unknown-metric"),
        ("variable three", "unknown-metric"),
    ]


def test_a_panel_may_not_divide_by_nothing(tmp_path: Path) -> None:
    """A share that is not guarded is found in a panel; what a recording rule guards needs no other guard."""
    queries = (
        "open_cases_count / active_lawyers_count",
        "open_cases_count / (active_lawyers_count > 0)",
        "triage:errors:ratio_increase10m",
    )
    targets = [{"expr": query, "refId": name} for query, name in zip(queries, "ABC", strict=True)]
    assert _found(_board(tmp_path, panels=[{"title": "Load", "targets": targets}])) == [("Load / A", "ratio-without-guard")]


def test_a_dashboard_may_use_what_the_deployed_rules_record(tmp_path: Path) -> None:
    """Names of deploy/prometheus/rules are known to a dashboard of another folder, variables stand for values."""
    target = {"expr": 'slo:errors:ratio_increase1h{slo="$slo"} * on (slo) slo:objective:ratio', "refId": "A", "legendFormat": "{{slo}}"}
    assert _found(_board(tmp_path, panels=[{"title": "Errors", "targets": [target]}])) == []


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("rules.yaml", "groups: [", "is not well-formed"),
        ("rules.yaml", "- a\n- b", "holds no groups of rules"),
        ("rules.yaml", "groups:\n- name: x", "holds no groups of rules"),
        ("board.json", "{", "is not well-formed"),
        ("board.json", "[]", "is no dashboard of Grafana"),
        ("notes.txt", "up", "is neither rules (.yaml) nor a dashboard (.json)"),
        ("none.yaml", None, "cannot be read"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    """In one line that names the file."""
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(UnreadableFile) as refused:
        lint([path])
    assert told in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
