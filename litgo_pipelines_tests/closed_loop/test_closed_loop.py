"""The models look after themselves: a real daemon, real runs, a real service and registry, and a marketplace whose people are simulated.

One test, because each scenario begins where the one before it ended, and all share what takes longest to start.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from litgo_pipelines.ranking.text import SPACE, hybrid_space
from litgo_pipelines_tests.closed_loop import scenarios
from litgo_pipelines_tests.closed_loop.harness import Vendor, World
from litgo_pipelines_tests.closed_loop.scenarios import Seen


def test_the_loop_closes_without_a_hand_on_it(world: World, subtests: pytest.Subtests) -> None:
    """Better candidates are promoted, worse ones stopped, broken champions withdrawn; an outage withdraws nobody; a person is followed."""
    promoted = scenarios.a_better_candidate_is_promoted(world)
    with subtests.test("a better candidate is promoted"):
        _promoted(promoted)
    stopped = scenarios.a_worse_candidate_is_stopped(world)
    with subtests.test("a worse candidate is stopped"):
        _stopped(stopped, champion=promoted.facts["candidate"])
    moved = scenarios.a_person_moves_the_alias(world)
    with subtests.test("a person moves the alias"):
        _moved(moved, champion=promoted.facts["candidate"])
    away = scenarios.a_vendor_is_away(world)
    with subtests.test("a vendor is away"):
        _left_alone(away, champion=moved.facts["chosen"])
    rolled_back = scenarios.a_degraded_champion_is_rolled_back(world)
    with subtests.test("a degraded champion is rolled back"):
        _rolled_back(rolled_back, champion=moved.facts["chosen"], proven=promoted.facts["candidate"])
    with subtests.test("every decision comes out the same from its evidence"):
        assert _replayed_otherwise(world) == {}
    with subtests.test("no run failed"):
        assert world.failed_runs() == []


def _promoted(seen: Seen) -> None:
    facts = seen.facts
    weak, candidate = facts["weak"], facts["candidate"]
    assert set(facts["sides"]) == {weak, candidate}
    assert (facts["experiment"]["status"], facts["experiment"]["verdict"]) == ("ended", "promote")
    assert facts["experiment"]["actor"] == "promotion"
    assert _told_of(facts["moves"][-1]) == ("promotion", "experiment_readout", weak, candidate, "done")
    assert facts["state"]["state"] == "proven"
    assert facts["state"]["watched_since"] is not None
    assert facts["afterwards"] == {candidate: 20}


def _stopped(seen: Seen, champion: str) -> None:
    facts = seen.facts
    worse = facts["worse"]
    assert facts["champion"] == champion == facts["alias"]
    assert set(facts["sides"]) == {champion, worse}
    assert (facts["experiment"]["challenger"], facts["experiment"]["verdict"]) == (worse, "harm")
    assert facts["state"]["state"] == "blocked"
    assert all(worse not in (move["from_version"], move["to_version"]) for move in facts["moves"])
    assert any(f"Version {worse} does harm" in subject for subject in facts["told"].values())
    assert facts["afterwards"] == {champion: 20}
    assert "blocked" in facts["once more"]
    assert facts["running"] == []


def _moved(seen: Seen, champion: str) -> None:
    facts = seen.facts
    chosen, decision = facts["chosen"], facts["decision"]
    assert set(facts["amid"]) == {champion, chosen}
    assert _told_of(decision) == ("alias moved", "mlflow-ui", champion, chosen, "followed")
    assert (facts["experiment"]["challenger"], facts["experiment"]["verdict"]) == (chosen, "stopped")
    assert facts["watched"] == [chosen]
    assert facts["state"]["state"] == "unproven"
    assert facts["told"][f"alias:{decision['id']}"] == "The champion was changed in MLflow"
    assert decision["id"] in facts["flagged"]
    assert decision["id"] not in facts["flagged after the note"]
    assert facts["afterwards"] == {chosen: 20}


def _left_alone(seen: Seen, champion: str) -> None:
    facts = seen.facts
    usual = hybrid_space(Vendor.space.name)
    assert facts["spaces"] == {"before": [usual], "during": [SPACE], "after": [usual]}
    assert all(set(versions) == {champion} for versions in facts["versions"].values())
    assert facts["decisions"] == {"before": scenarios.REFERENCE, "during": 180, "after": 30}
    assert facts["scores"]["during"] < 0.85 * facts["scores"]["before"]
    # Without this the scenario would show nothing.
    assert facts["highest, had they counted"] > 1
    assert "new decisions" in facts["watch"]
    assert facts["degraded"] == []
    assert facts["alias"] == champion
    assert facts["new moves"] == []
    assert facts["state"]["state"] == "unproven"
    assert facts["state"]["watched_since"] is not None


def _rolled_back(seen: Seen, champion: str, proven: str) -> None:
    facts = seen.facts
    assert (facts["champion"], facts["back to"]) == (champion, proven)
    assert _told_of(facts["decision"]) == ("rollback", "model_quality", champion, proven, "done")
    assert facts["state"]["state"] == "blocked"
    assert facts["state"]["cooldown_until"] - facts["now"] > timedelta(hours=23)
    assert facts["state"]["watched_since"] is None
    assert facts["state of the one gone back to"]["state"] == "proven"
    assert facts["state of the one gone back to"]["watched_since"] is not None
    assert set(facts["sides"]) == {champion, facts["tried"]}
    assert (facts["experiment"]["challenger"], facts["experiment"]["verdict"]) == (facts["tried"], "stopped")
    assert f"Version {champion} is withdrawn: version {proven} answers again" in facts["told"].values()
    assert facts["afterwards"] == {proven: 20}


def _told_of(move: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(move[name] for name in ("action", "actor", "from_version", "to_version", "result"))


def _replayed_otherwise(world: World) -> dict[int, list[str]]:
    """What differs, by the number of the decision."""
    from litgo_pipelines.rollout.decisions import history
    from litgo_pipelines.rollout.replays import replay

    with world.engine.connect() as connection:
        recorded = history(connection, 1_000)
    assert recorded
    replayed = {one.id: replay(one) for one in recorded}
    return {number: list(found.differences) for number, found in replayed.items() if not found.same}
