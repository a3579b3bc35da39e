"""A registry with versions in it, beside a marketplace database that knows nothing of them yet."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.rollout.experiments import Experiment
    from litgo_pipelines.rollout.registry import Registry

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Ticking:
    """A clock that goes on by a second whenever it is looked at, and by more where that is said."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at

    def pass_by(self, **span: float) -> None:
        self.at += timedelta(**span)


class House:
    """A registry with the versions 1, 2 and 3, the database that records what becomes of them, and a clock."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self.engine, self.registry, self.clock = engine, registry, Ticking()

    def move(self, version: str | None) -> None:
        """Move the alias as a person does in MLflow's pages."""
        from litgo_pipelines.rollout.registry import CHAMPION, MODEL

        if version is None:
            self.registry.client.delete_registered_model_alias(MODEL, CHAMPION)
        else:
            self.registry.client.set_registered_model_alias(MODEL, CHAMPION, version)

    def delete(self, version: str) -> None:
        """Delete a version as a person does in MLflow's pages."""
        from litgo_pipelines.rollout.registry import MODEL

        self.registry.client.delete_model_version(MODEL, version)

    def promote(self, version: str, expected: str | None, **changes: Any) -> Any:
        """Promote by itself after the gate, where nothing else is said."""
        from litgo_pipelines.rollout.transitions import promote

        return promote(self.engine, self.registry, version, expected, **(self.promotion() | changes))

    def roll_back(self, version: str, **changes: Any) -> Any:
        """Roll back by itself after the watch, where nothing else is said."""
        from litgo_pipelines.rollout.transitions import roll_back

        return roll_back(self.engine, self.registry, version=version, **(self.rollback() | changes))

    def promotion(self) -> dict[str, Any]:
        return {
            "actor": "promotion",
            "reason": "it passed",
            "evidence": {"verdict": "pass"},
            "by_itself": True,
            "clock": self.clock,
        }

    def rollback(self) -> dict[str, Any]:
        given = {"actor": "watch", "reason": "it fell to .7", "evidence": {"verdict": "degraded"}, "by_itself": True, "clock": self.clock}
        return given | {"cooldown": timedelta(hours=24)}

    def prove(self, *versions: str) -> None:
        """Let versions have answered one after the other, and be proven."""
        from litgo_pipelines.rollout import states

        for version in versions:
            self.promote(version, self.registry.champion())
            with self.engine.begin() as connection:
                states.mark_proven(connection, version, "healthy", self.clock())

    def experiment(self, challenger: str, champion: str) -> Experiment:
        """A running experiment."""
        from litgo_pipelines.rollout import experiments
        from litgo_pipelines.rollout.experiment_rules import Ruling

        with self.engine.begin() as connection:
            terms = experiments.Terms("ab", (0.01, 0.1), 28.0, "keep")
            given: dict[str, Any] = {"actor": "gate", "at": self.clock()}
            queued = experiments.queue(connection, challenger, champion, terms, reason="it passed", evidence={}, **given)
            return experiments.start(connection, queued, Ruling(verdict="start", reasons=["go"], evidence={}), champion, **given)

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """What a query finds."""
        from sqlalchemy import text

        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def outcomes(self) -> list[tuple[str, str, str | None, str | None, str]]:
        """Action, actor, from, to and result of what became of everything, oldest first."""
        return [
            tuple(row)  # type: ignore[misc]
            for row in self.rows(
                "SELECT action, actor, from_version, to_version, result FROM litgo.decisions WHERE stage = 'outcome' ORDER BY id"
            )
        ]

    def alerts(self) -> list[str]:
        """Subjects of what is to be told."""
        return [row.subject for row in self.rows("SELECT subject FROM litgo.notifications ORDER BY id")]

    def observed(self) -> list[tuple[str | None, str]]:
        """Where the alias was seen to point, and by whom it was moved there."""
        return [(row.version, row.actor) for row in self.rows("SELECT version, actor FROM litgo.alias_observations ORDER BY id")]

    def states(self) -> dict[str, Any]:
        from litgo_pipelines.rollout import states

        with self.engine.connect() as connection:
            return states.states(connection)

    def watched(self) -> list[str]:
        """The versions that are watched."""
        return [version for version, state in self.states().items() if state.watched_since is not None]

    def everything(self) -> list[Any]:
        """All rows that a move can touch: two equal answers mean that nothing was written in between."""
        tables = ("decisions", "alias_observations", "model_states", "notifications", "experiments")
        return [sorted(map(repr, self.rows(f"SELECT * FROM litgo.{table}"))) for table in tables]


@pytest.fixture(scope="session")
def _shelf_file(_mlflow_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds three versions."""
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines_tests.serving.conftest import register

    folder = tmp_path_factory.mktemp("shelf")
    file = folder / "mlflow.db"
    shutil.copyfile(_mlflow_file, file)
    registry = Registry(f"sqlite:///{file}")
    for favoured in (0, 4, 7):
        register(registry, folder / f"bundle-{favoured}", favoured=favoured)
    return file


@pytest.fixture
def shelf_uri(_shelf_file: Path, tmp_path: Path) -> str:
    """The URI of an MLflow store of its own that holds the versions 1, 2 and 3; nobody is champion."""
    shutil.copyfile(_shelf_file, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def house(engine: Engine, shelf_uri: str, tmp_path: Path) -> House:
    """Three versions in MLflow, nothing recorded."""
    from litgo_pipelines.rollout.registry import Registry

    return House(engine, Registry(shelf_uri, tmp_path / "cache"))
