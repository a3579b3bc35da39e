"""The registry is followed: a person's move in MLflow becomes a decision, an observation in the UI and a tag; each shown once."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from litgo_pipelines.orchestration.sensors.registry import MOST_SHOWN, Cursor
from litgo_pipelines.rollout import decisions
from litgo_pipelines.rollout.registry import CHAMPION, MODEL, RegistryUnavailable
from litgo_pipelines_tests.orchestration.conftest import Ticks, begin

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.rollout.decisions import Decision
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines_tests.orchestration.conftest import Location


@pytest.fixture
def ticks(location: Location, rollout: Engine) -> Ticks:
    return Ticks(location, "registry_changes")


def look(ticks: Ticks) -> list[dict[str, Any]]:
    """Metadata of what one tick shows of the champion; a tick asks for no run."""
    found = ticks.evaluate()
    assert not found.run_requests
    assert {one.asset_key for one in found.asset_events} <= {dg.AssetKey("champion")}
    assert all(isinstance(one, dg.AssetObservation) for one in found.asset_events)
    return [{name: value.value for name, value in one.metadata.items()} for one in found.asset_events]


def move(registry: Registry, version: str) -> None:
    """Move the alias as a person does in MLflow's pages."""
    registry.client.set_registered_model_alias(MODEL, CHAMPION, version)


def decided(engine: Engine) -> list[Decision]:
    """All decisions, oldest first."""
    with engine.connect() as connection:
        return decisions.earliest_after(connection, 0, 1000)


def note(engine: Engine, count: int, version: str = "1") -> None:
    """Decisions of the gate."""
    with engine.begin() as connection:
        for n in range(count):
            decisions.record(
                connection, "gate", actor="candidate_evaluation", reason=f"try {n}", at=datetime.now(UTC), result="fail", to_version=version
            )


def test_where_nothing_happened_nothing_is_shown(ticks: Ticks) -> None:
    """Neither without a champion nor for one that was found at the first look."""
    assert look(ticks) == []
    assert ticks.told == "champion: hand-weights; first look; 0 tags"
    assert look(ticks) == []
    assert ticks.told == "champion: hand-weights; unchanged; 0 tags"
    assert ticks.cursor is not None
    assert Cursor.model_validate_json(ticks.cursor) == Cursor(shown=0)


def test_a_move_by_hand_is_recorded_shown_and_tagged_once(ticks: Ticks, location: Location, rollout: Engine) -> None:
    """The actor is mlflow-ui; both versions carry the decision as a tag; the next tick shows and writes nothing."""
    registry = location.project().registry()
    move(registry, "1")
    assert look(ticks) == []
    move(registry, "2")
    (shown,) = look(ticks)
    (decision,) = decided(rollout)
    assert (decision.action, decision.actor, decision.from_version, decision.to_version) == ("alias moved", "mlflow-ui", "1", "2")
    assert (shown["decision"], shown["actor"], shown["from"], shown["to"]) == (decision.id, "mlflow-ui", "1", "2")
    assert (shown["reason"], shown["result"]) == (decision.reason, "followed")
    assert shown["decided_at"] == pytest.approx(decision.decided_at.timestamp())
    tags = {one.version: one.tags for one in registry.versions()}
    for version in ("1", "2"):
        (told,) = [value for name, value in tags[version].items() if name.startswith("litgo.decision.")]
        assert "mlflow-ui" in told
    assert look(ticks) == []
    assert ticks.told == "champion: 2; unchanged; 0 tags"
    assert decided(rollout) == [decision]


def test_an_alias_that_was_taken_away_is_shown_as_the_hand_weights(ticks: Ticks, location: Location) -> None:
    """Nobody has no number."""
    registry = location.project().registry()
    move(registry, "1")
    look(ticks)
    registry.client.delete_registered_model_alias(MODEL, CHAMPION)
    (shown,) = look(ticks)
    assert (shown["from"], shown["to"]) == ("1", "hand-weights")


def test_a_move_by_hand_ends_the_running_experiment_and_all_of_it_is_shown(ticks: Ticks, location: Location, rollout: Engine) -> None:
    """In the order in which it was decided."""
    registry = location.project().registry()
    move(registry, "1")
    look(ticks)
    begin(rollout)
    assert [one["action"] for one in look(ticks)] == ["experiment queued", "experiment started"]
    move(registry, "2")
    assert [(one["action"], one["actor"]) for one in look(ticks)] == [("alias moved", "mlflow-ui"), ("experiment ended", "reconcile")]


def test_many_decisions_are_shown_over_several_ticks(ticks: Ticks, rollout: Engine) -> None:
    """None is left out, none is shown twice."""
    note(rollout, MOST_SHOWN + 1, version="9")
    found = [look(ticks) for _ in range(3)]
    assert [len(one) for one in found] == [MOST_SHOWN, 1, 0]
    numbers = [one["decision"] for shown in found for one in shown]
    assert numbers == [one.id for one in decided(rollout)]


def test_a_decision_that_is_committed_late_is_shown_all_the_same(ticks: Ticks, rollout: Engine) -> None:
    """Numbers are drawn before the commit: the later one waits for the earlier one."""
    with rollout.begin() as connection:
        slow: dict[str, Any] = {"actor": "candidate_evaluation", "at": datetime.now(UTC), "result": "fail", "to_version": "9"}
        decisions.record(connection, "gate", reason="slow", **slow)
        note(rollout, 1, version="9")
        assert look(ticks) == []
    assert [one["reason"] for one in look(ticks)] == ["slow", "try 0"]


def test_a_registry_that_is_away_fails_the_tick_and_loses_nothing(ticks: Ticks, location: Location, rollout: Engine) -> None:
    """The cursor stays, so the next tick shows what this one could not."""
    note(rollout, 1)
    there, location.mlflow = ticks.project, "postgresql+psycopg2://nobody@127.0.0.1:1/mlflow"
    ticks.project = location.project()
    with pytest.raises(RegistryUnavailable):
        look(ticks)
    assert ticks.cursor is None
    ticks.project = there
    assert [one["action"] for one in look(ticks)] == ["gate"]


@pytest.mark.parametrize("cursor", ["nonsense", "17", '{"shown": "many"}'])
def test_a_cursor_of_somebody_else_is_an_error_that_says_what_to_do(cursor: str, ticks: Ticks) -> None:
    """It is not taken for a fresh start, which would show everything again."""
    ticks.cursor = cursor
    with pytest.raises(ValueError, match="reset it in the UI"):
        look(ticks)


def test_the_daemon_writes_what_is_shown_into_the_event_log(location: Location, rollout: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real tick over the project's own code location: the champion's page in the UI lists the move, once."""
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
    from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget, freeze_time
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._daemon.sensor import execute_sensor_iteration

    for name, value in location.overrides().items():
        # The instance's own storage is found through the environment already.
        if name != "dagster_postgres_url":
            monkeypatch.setenv(name.upper(), str(value))
    registry, now = location.project().registry(), datetime.now(UTC)
    move(registry, "1")
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="litgo_pipelines.definitions"))
    with WorkspaceProcessContext(location.instance, InProcessTestWorkspaceLoadTarget(origin)) as workspace:

        def tick(seconds: float) -> None:
            with freeze_time(now + timedelta(seconds=seconds)):
                list(execute_sensor_iteration(workspace, logging.getLogger("daemon"), None, None))

        tick(0)
        move(registry, "2")
        for interval in (1, 2):
            tick(16 * interval)
    sensor = next(one for one in location.instance.all_instigator_state() if one.instigator_name == "registry_changes")
    ticks = location.instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id)
    assert [one.error for one in ticks] == [None] * 3
    records = location.instance.fetch_observations(dg.AssetKey("champion"), limit=10).records
    assert [one.asset_observation.metadata["to"].value for one in records if one.asset_observation] == ["2"]
