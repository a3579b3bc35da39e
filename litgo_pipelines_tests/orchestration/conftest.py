"""The project's own definitions on a real instance, a real MLflow store and a small simulated marketplace."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from litgo_pipelines_tests.simulation.conftest import live

if TYPE_CHECKING:
    import dagster as dg
    from sqlalchemy import Engine

    from litgo_pipelines.orchestration.resources import Project
    from litgo_pipelines.rollout.experiments import Experiment
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


class Ticks:
    """Evaluates a sensor as the daemon does: the cursor is kept, and a run key is never used twice.

    Attributes:
        told: why the last tick asked for no run; None where it did, or said nothing.
    """

    def __init__(self, location: Location, sensor: str, **changes: Any) -> None:
        self.location, self.sensor = location, sensor
        self.project = location.project(**changes)
        self.cursor: str | None = None
        self.told: str | None = None
        self._keys: set[str] = set()

    def evaluate(self) -> Any:
        """One tick, as Dagster hands it on."""
        import dagster as dg

        from litgo_pipelines.definitions import defs

        repository = defs.get_repository_def()
        with dg.build_sensor_context(
            instance=self.location.instance,
            cursor=self.cursor,
            repository_def=repository,
            sensor_name=self.sensor,
            resources={"project": self.project},
        ) as context:
            found = repository.get_sensor_def(self.sensor).evaluate_tick(context)
        self.cursor, self.told = found.cursor, found.skip_message
        return found

    def tick(self) -> dg.RunRequest | None:
        """The run that one tick asks for."""
        found = self.evaluate()
        assert bool(found.run_requests) != bool(found.skip_message)
        if not found.run_requests:
            return None
        request: dg.RunRequest
        (request,) = found.run_requests
        assert request.run_key is not None
        assert request.run_key not in self._keys, "a key is for ever: Dagster would not start this run"
        self._keys.add(request.run_key)
        return request

    def pass_by(self, **span: float) -> None:
        """Let what was asked for have been asked for so much earlier."""
        from litgo_pipelines.orchestration.sensors.due import Asked, parsed

        asked = parsed(Asked, self.cursor)
        assert asked.at is not None
        self.cursor = asked.model_copy(update={"at": asked.at - timedelta(**span)}).model_dump_json()


def begin(
    engine: Engine, challenger: str = "2", champion: str = "1", *, ago: timedelta = timedelta(), started: bool = True, **terms: Any
) -> Experiment:
    """An experiment in line, or one that began some time ago on half of the clients."""
    from litgo_pipelines.rollout import experiments
    from litgo_pipelines.rollout.experiment_rules import Ruling

    given: dict[str, Any] = {"actor": "promotion", "at": datetime.now(UTC) - ago}
    chosen = experiments.Terms(**({"mode": "ab", "steps": (0.5,), "max_days": 28.0, "at_the_end": "keep"} | terms))
    with engine.begin() as connection:
        queued = experiments.queue(connection, challenger, champion, chosen, reason="it passed", evidence={}, **given)
        ruling = Ruling(verdict="start" if started else "wait", reasons=["go"], evidence={})
        return experiments.start(connection, queued, ruling, champion, **given)


@pytest.fixture(scope="session")
def _two_versions(_mlflow_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines_tests.serving.conftest import register

    folder = tmp_path_factory.mktemp("two-versions")
    file = folder / "mlflow.db"
    shutil.copyfile(_mlflow_file, file)
    registry = Registry(f"sqlite:///{file}", folder / "cache")
    for favoured in (4, 7):
        register(registry, folder / f"bundle-{favoured}", favoured=favoured)
    return file


@pytest.fixture
def rollout(location: Location, engine: Engine, database_url: str, _two_versions: Path) -> Engine:
    """An engine on the empty marketplace of `location`, whose registry holds the versions 1 and 2; nobody is champion."""
    location.database = database_url
    shutil.copyfile(_two_versions, location.mlflow.removeprefix("sqlite:///"))
    return engine


class Decided:
    """Lets version 1 decide cases, one every ten seconds, the first of them six hours ago."""

    def __init__(self, engine: Engine) -> None:
        from litgo_pipelines.rollout import states

        self.engine = engine
        self.at = datetime.now(UTC) - timedelta(hours=6)
        with engine.begin() as connection:
            states.start_watch(connection, "1", self.at - timedelta(seconds=1))

    def cases(self, count: int, score: float, *, version: str = "1", space: str = "words") -> None:
        from litgo_pipelines_tests.rollout.facts import Offer, Unit, write

        units = [
            # Not all alike, but of the mean that is asked for.
            Unit(self.at + n * timedelta(seconds=10), version=version, space=space, offers=(Offer(score=score + (n % 2 - 0.5) / 10),) * 5)
            for n in range(count)
        ]
        self.at = units[-1].at + timedelta(seconds=10)
        write(self.engine, units)


@pytest.fixture
def decided(rollout: Engine) -> Decided:
    """Version 1, which is watched."""
    return Decided(rollout)
