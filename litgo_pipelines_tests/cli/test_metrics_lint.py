"""`litgo metrics lint`, `litgo metrics list` and `litgo dashboards build`: what they tell and how they exit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines_tests.cli.conftest import Litgo, refused, said

WRONG = """
groups:
  - name: plan
    rules:
      - alert: JobFailure
        expr: increase(celery_task_failures_total[5m]) > 0
"""


@pytest.fixture
def metrics(verbs: Callable[..., Litgo]) -> Litgo:
    """Call `litgo metrics` where nothing runs."""
    return verbs("metrics")


def test_findings_say_where_and_what_instead_and_fail(tmp_path: Path, metrics: Litgo) -> None:
    """Exit code 1 with findings, 0 without, 2 where a file cannot be read."""
    path = tmp_path / "plan.yaml"
    path.write_text(WRONG)
    done = metrics("lint", str(path))
    assert done.returncode == 1
    assert f"{path}: plan / JobFailure: unknown-metric" in done.stdout
    assert "nothing exports or records celery_task_failures_total" in done.stdout
    assert "1 finding in 1 file." in done.stdout
    done = metrics("lint", str(path), "--json")
    (finding,) = json.loads(done.stdout)["findings"]
    assert (done.returncode, finding["rule"], finding["where"]) == (1, "unknown-metric", "plan / JobFailure")
    assert said(metrics("lint")).startswith("0 findings in ")
    assert "cannot be read" in refused(metrics("lint", str(tmp_path / "none.yaml")))


def test_metrics_are_listed_for_people_and_machines(metrics: Litgo) -> None:
    """All of them as JSON, those with a text in their name as a table."""
    listed = json.loads(said(metrics("list", "--json")))["metrics"]
    assert [one["name"] for one in listed] == list(METRICS)
    table = said(metrics("list", "contracts_signed"))
    assert "contracts_signed_total" in table
    assert "method=docusign|manual" in table
    assert said(metrics("list", "nothing")) == "No metric's name contains 'nothing'.\n"


def test_dashboards_are_built_and_checked(tmp_path: Path, verbs: Callable[..., Litgo]) -> None:
    """--check writes nothing and shows what differs; what was built passes."""
    dashboards = verbs("dashboards")
    folder = tmp_path / "boards"
    done = dashboards("build", "--check", "--output", str(folder))
    assert done.returncode == 1
    assert '+  "uid": "litgo-overview",' in done.stdout
    assert not folder.exists()
    assert "litgo-overview.json" in said(dashboards("build", "--output", str(folder)))
    assert said(dashboards("build", "--check", "--output", str(folder))) == f"{folder} is as built.\n"
    assert said(dashboards("build", "--output", str(folder))) == f"{folder} is as it was.\n"
