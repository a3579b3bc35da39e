"""Processes that are killed while they move the alias: whoever comes next finishes, once, what they began."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from litgo_pipelines.rollout import freezes
from litgo_pipelines.rollout.reconcile import reconcile
from litgo_pipelines.rollout.registry import Registry
from litgo_pipelines.rollout.replays import replay
from litgo_pipelines.rollout.transitions import PROMOTION_STEPS, ROLLBACK_STEPS, adopt
from litgo_pipelines_tests.rollout.conftest import House
from litgo_pipelines_tests.serving.conftest import register

if TYPE_CHECKING:
    from sqlalchemy import Engine

CHILD = Path(__file__).with_name("crashing_child.py")
STEPS = {"promotion": PROMOTION_STEPS, "rollback": ROLLBACK_STEPS}
EVERYWHERE = [(action, step) for action, steps in STEPS.items() for step in steps]
BEGUN = {"promotion": "intended", "rollback": "alerted and intended"}


class Killer:
    """Starts processes that are killed while they move the alias."""

    def __init__(self, process: subprocess.Popen[str], database_url: str) -> None:
        self._process, self._database_url = process, database_url

    def kill(self, house: House, action: str, die_after: str, **given: Any) -> None:
        """Let a process promote 3 over 2, or roll back 2, and die after a step."""
        usual = house.promotion() if action == "promotion" else house.rollback()
        usual = {name: value for name, value in usual.items() if name not in ("clock", "cooldown")}
        order = {
            "database": self._database_url,
            "mlflow": house.registry.uri,
            "cache": str(house.registry._cache),
            "action": action,
            "die_after": die_after,
            "version": "3" if action == "promotion" else "2",
            "expected": "2",
            "at": house.clock().isoformat(),
            "given": usual | given,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        assert json.loads(self._process.stdout.readline()) == {"signal": signal.SIGKILL}


@pytest.fixture(scope="module")
def _nursery() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def killer(_nursery: subprocess.Popen[str], database_url: str) -> Killer:
    return Killer(_nursery, database_url)


@pytest.fixture
def house(house: House) -> House:
    """Version 1 is proven, version 2 answers."""
    house.prove("1")
    house.promote("2", "1")
    return house


def _operation(house: House, action: str) -> list[Any]:
    """Stage and result of what was written since version 2 answers."""
    rows = house.rows("SELECT stage, action, result FROM litgo.decisions ORDER BY id")[4:]
    assert {row.action for row in rows} <= {action}
    return [(row.stage, row.result) for row in rows]


@pytest.mark.parametrize(("action", "step"), EVERYWHERE)
def test_a_move_that_was_killed_is_finished_once(house: House, killer: Killer, action: str, step: str) -> None:
    """After each step: the alias where it should be, one outcome, the alert once, all that follows; a second adoption changes nothing."""
    killer.kill(house, action, step)
    begun = STEPS[action].index(step) >= STEPS[action].index(BEGUN[action])
    alert = ["Version 2 is withdrawn: version 1 answers again"] if action == "rollback" and begun else []
    assert house.alerts() == alert
    adopted = adopt(house.engine, house.registry, clock=house.clock)
    assert len(adopted) == (1 if begun and step != "concluded" else 0)
    target = "3" if action == "promotion" else "1"
    assert house.registry.champion() == (target if begun else "2")
    assert _operation(house, action) == ([("intent", None), ("outcome", "done")] if begun else [])
    assert house.alerts() == alert
    assert house.watched() == [target if begun else "2"]
    assert [version for version, _ in house.observed()] == [None, "1", "2", *([target] if begun else [])]
    assert (house.states()["2"].state == "blocked") == (begun and action == "rollback")
    before = house.everything()
    assert adopt(house.engine, house.registry, clock=house.clock) == []
    assert not reconcile(house.engine, house.registry, clock=house.clock).changed
    assert house.everything() == before


@pytest.mark.parametrize(("action", "step"), [one for one in EVERYWHERE if one[1] in (*BEGUN.values(), "moved")])
def test_a_person_who_came_after_the_crash_wins(house: House, killer: Killer, tmp_path: Path, action: str, step: str) -> None:
    """Killed, then somebody moves the alias elsewhere: their choice stays, the move is superseded, and theirs is recorded as theirs."""
    theirs = register(house.registry, tmp_path / "theirs")
    killer.kill(house, action, step)
    house.move(theirs)
    (outcome,) = adopt(house.engine, house.registry, clock=house.clock)
    assert (outcome.result, house.registry.champion()) == ("superseded", theirs)
    assert _operation(house, action) == [("intent", None), ("outcome", "superseded")]
    assert house.states()["2"].state == "unproven"
    reconcile(house.engine, house.registry, clock=house.clock)
    assert house.outcomes()[-1] == ("alias moved", "mlflow-ui", "2", theirs, "followed")
    assert house.watched() == [theirs]


@pytest.mark.parametrize("action", ["promotion", "rollback"])
def test_what_was_frozen_after_the_crash_is_not_carried_out(house: House, killer: Killer, action: str) -> None:
    """Begun before the freeze, not moved yet: it stays where it is; a rollback is told as held."""
    killer.kill(house, action, BEGUN[action])
    with house.engine.begin() as connection:
        freezes.freeze(connection, actor="ana", reason="audit", at=house.clock())
    (outcome,) = adopt(house.engine, house.registry, clock=house.clock)
    assert (outcome.result, house.registry.champion()) == ("refused" if action == "promotion" else "held", "2")
    assert "frozen by ana" in outcome.reason
    assert outcome.evidence["evidence"]["frozen"].startswith("frozen by ana")
    held = ["Version 2 does harm and goes on answering: models are frozen"]
    assert house.alerts()[1:] == ([] if action == "promotion" else held)
    assert adopt(house.engine, house.registry, clock=house.clock) == []


def test_a_rollback_whose_target_was_deleted_after_the_crash_goes_elsewhere(house: House, killer: Killer) -> None:
    """The bad version does not go on answering because the one before it is gone: the hand weights answer, and that is told."""
    killer.kill(house, "rollback", BEGUN["rollback"], by_itself=False)
    house.delete("1")
    first, second = adopt(house.engine, house.registry, clock=house.clock)
    assert [(one.to_version, one.result) for one in (first, second)] == [("1", "superseded"), (None, "done")]
    assert house.registry.champion() is None
    assert "THE HAND WEIGHTS ANSWER" in house.alerts()[-1]
    assert [replay(one).differences for one in (first, second)] == [[], []]
    assert house.states()["2"].state == "blocked"


@pytest.mark.parametrize(("action", "step"), [("promotion", "moved"), ("rollback", "alerted and intended")])
def test_whoever_asks_again_is_told_that_it_is_done(house: House, killer: Killer, action: str, step: str) -> None:
    """A step that is retried after its process was killed finds its own move finished, not superseded."""
    killer.kill(house, action, step)
    moved = house.promote("3", "2") if action == "promotion" else house.roll_back("2")
    assert (moved.outcome, moved.version) == ("done", "3" if action == "promotion" else "1")
    assert _operation(house, action) == [("intent", None), ("outcome", "done")]


def test_an_experiment_that_was_won_ends_with_the_promotion_that_was_killed(house: House, killer: Killer) -> None:
    """What follows from the move is taken from the intent: the experiment ends as won, its winner is proven."""
    running = house.experiment("3", "2")
    killer.kill(house, "promotion", "moved", evidence={"experiment_id": str(running.id), "verdict": "promote"})
    adopt(house.engine, house.registry, clock=house.clock)
    assert [row.verdict for row in house.rows("SELECT verdict FROM litgo.experiments")] == ["promote"]
    assert house.states()["3"].state == "proven"


def test_a_move_on_postgresql_is_finished_as_well(engine: Engine, mlflow_postgres_uri: str, killer: Killer, tmp_path: Path) -> None:
    """MLflow on PostgreSQL: a rollback that was killed before it moved the alias is carried out."""
    house = House(engine, Registry(mlflow_postgres_uri, tmp_path / "cache"))
    for number in range(2):
        register(house.registry, tmp_path / f"bundle-{number}")
    house.prove("1")
    house.promote("2", "1")
    killer.kill(house, "rollback", "alerted and intended")
    assert [one.result for one in adopt(house.engine, house.registry, clock=house.clock)] == ["done"]
    assert (house.registry.champion(), len(house.alerts())) == ("1", 1)
