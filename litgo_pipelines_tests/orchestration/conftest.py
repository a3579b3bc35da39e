"""The project's own definitions on a real instance, a real MLflow store and a small simulated marketplace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from litgo_pipelines_tests.simulation.conftest import live

if TYPE_CHECKING:
    import dagster as dg

    from litgo_pipelines.orchestration.resources import Project
    from litgo_pipelines_tests.conftest import Databases

AS_OF = datetime(2026, 3, 10, 15, tzinfo=UTC)
NEWEST = "2026-03-09"
"""The newest complete day at AS_OF."""


@pytest.fixture(scope="session")
def _marketplace(databases: Databases, _migrated: str) -> str:
    databases.create("marketplace_template", _migrated)
    live(databases.server.url("marketplace_template"), AS_OF, lawyers=160, days=40.0, seed=2)
    return "marketplace_template"


@pytest.fixture
def marketplace_url(databases: Databases, _marketplace: str) -> Iterator[str]:
    """The URL of a clone of a simulated marketplace of 160 lawyers that lived until AS_OF."""
    with databases.fresh(_marketplace) as name:
        yield databases.server.url(name)


@dataclass
class Location:
    """The code location of a test: its instance, databases and settings, all its own."""

    instance: dg.DagsterInstance
    mlflow: str
    folder: Path
    database: str = ""

    def overrides(self, **changes: Any) -> dict[str, Any]:
        given = {
            "database_url": self.database,
            "mlflow_tracking_uri": self.mlflow,
            "dagster_postgres_url": "postgresql+psycopg2://nobody@localhost/unused",
            "mlflow_artifact_root": (self.folder / "artifacts").as_uri(),
            "litgo_home": str(self.folder / "home"),
            "litgo_training_threads": 1,
        }
        return given | changes

    def project(self, **changes: Any) -> Project:
        from litgo_pipelines.orchestration.resources import Project

        return Project(overrides=self.overrides(**changes))

    def resources(self, **changes: Any) -> dict[str, Any]:
        from litgo_pipelines.orchestration.handover import JsonHandOver

        return {"project": self.project(**changes), "io_manager": JsonHandOver(folder=str(self.folder / "hand-overs"))}

    def definitions(self, **changes: Any) -> dg.Definitions:
        from litgo_pipelines.definitions import build_definitions

        return build_definitions(self.resources(**changes))

    def execute(self, job: str, partition: str | None = None, **changes: Any) -> dg.ExecuteInProcessResult:
        definition = self.definitions(**changes).resolve_job_def(job)
        return definition.execute_in_process(instance=self.instance, partition_key=partition, raise_on_error=False)


@pytest.fixture
def location(dagster_instance: dg.DagsterInstance, mlflow_uri: str, tmp_path: Path) -> Location:
    """A code location; a test sets its `database`."""
    return Location(dagster_instance, mlflow_uri, tmp_path)
