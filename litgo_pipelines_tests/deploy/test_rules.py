"""Rules, and that each alert has what belongs to it: cases, labels, a summary that tells something, a runbook."""

from __future__ import annotations

import re

import pytest

from litgo_pipelines_tests.deploy.files import PROMETHEUS, RUNBOOKS, Alert, alerts, cases, run

ALERTS = alerts()
NAMES = sorted({one.name for one in ALERTS})
ALWAYS = "Watchdog"
"""It has no silent case, and fires without data."""
ABSENT = {ALWAYS, "CollectorSilent", "ServingSilent"}
"""Those that fire where there is no data, for that is what they tell."""
SEVERITIES = {"page", "ticket", "info"}
TEAMS = {"platform", "data", "legal-ops"}
HEADINGS = ["What it means", "How to look", "What to do", "How to undo"]


def _title(alert: Alert) -> str:
    return "-".join([alert.name, *alert.labels.values()])


def test_prometheus_takes_the_rules() -> None:
    """Their syntax is right, and no two record the same."""
    run("promtool", "check", "rules", *sorted((PROMETHEUS / "rules").glob("*.yaml")))


def test_prometheus_takes_its_configuration() -> None:
    """Rules and targets are found from where the file is."""
    run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


def test_rules_behave_as_their_cases_say() -> None:
    """Each fires on its fault, with its words, and on nothing else."""
    run("promtool", "test", "rules", *sorted((PROMETHEUS / "tests").glob("*.yaml")))


@pytest.mark.parametrize("alert", ALERTS, ids=_title)
def test_an_alert_has_a_case_in_which_it_fires(alert: Alert) -> None:
    """Each rule by itself, also where several bear one name."""
    fired = [labels for name, data, expected in cases() for labels in expected if name == alert.name and data]
    assert any(alert.labels.items() <= labels.items() for labels in fired)


@pytest.mark.parametrize("name", [one for one in NAMES if one != ALWAYS])
def test_an_alert_has_a_case_in_which_it_stays_silent(name: str) -> None:
    """On data that are well."""
    assert any(name == of and data and not expected for of, data, expected in cases())


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_case_without_data(name: str) -> None:
    """No data are no fault, but for those whose fault it is."""
    without = [expected for of, data, expected in cases() if of == name and not data]
    assert without
    assert all(bool(expected) == (name in ABSENT) for expected in without)


@pytest.mark.parametrize("alert", ALERTS, ids=_title)
def test_an_alert_says_who_must_act_and_what_happened(alert: Alert) -> None:
    """Severity and team lead it to people; they read a summary with a value, a sentence, and where to go on."""
    assert alert.labels["severity"] in SEVERITIES
    assert alert.labels["team"] in TEAMS
    assert re.search(r"\{\{.*\$(value|labels)", alert.annotations["summary"])
    assert alert.annotations["description"].strip().endswith(".")
    assert alert.annotations["runbook_url"] == f"{{{{ $externalLabels.runbooks }}}}/{alert.name}.md"
    assert re.fullmatch(
        r"\{\{ \$externalLabels\.grafana \}\}/d/litgo-(overview|business|technical|jobs|rollout)", alert.annotations["dashboard"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_runbook(name: str) -> None:
    """With its four parts, none of them empty."""
    text = (RUNBOOKS / f"{name}.md").read_text()
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    assert text.startswith(f"# {name}\n")
    assert parts[1::2] == HEADINGS
    assert all(len(part.split()) >= 5 for part in parts[2::2])


def test_every_runbook_belongs_to_an_alert() -> None:
    """A page of an alert that is gone would be followed by somebody some night."""
    others = {"README", "manual-signature"}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - others == set(NAMES)


def test_the_index_of_runbooks_tells_severity_and_team() -> None:
    """As the rules have them."""
    rows = set(re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| ([\w, ]+) \| ([\w-]+) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE))
    severities = {name: ", ".join(s for s in ("ticket", "page", "info") if any(_is(one, name, s) for one in ALERTS)) for name in NAMES}
    assert rows == {(one.name, severities[one.name], one.labels["team"]) for one in ALERTS}


def _is(alert: Alert, name: str, severity: str) -> bool:
    return alert.name == name and alert.labels["severity"] == severity


def test_no_expression_is_an_alias() -> None:
    """Prometheus takes the name of a YAML alias for a metric, and the rule never fires."""
    for path in (PROMETHEUS / "rules").glob("*.yaml"):
        assert not re.search(r"^\s*expr: [*&]", path.read_text(), re.MULTILINE), path
