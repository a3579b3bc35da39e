"""What a person does to the alias in MLflow's own pages is followed, recorded, told, and flagged until somebody explains it."""

from __future__ import annotations

import random
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from litgo_pipelines.rollout import decisions, experiments, freezes, states
from litgo_pipelines.rollout.following import Busy, alone
from litgo_pipelines.rollout.reconcile import Reconciled
from litgo_pipelines.rollout.reconcile import reconcile as look
from litgo_pipelines.rollout.registry import Registry, RegistryUnavailable
from litgo_pipelines.rollout.rules import AliasEvidence, judge_alias
from litgo_pipelines.rollout.transitions import promotion_steps, rollback_steps

if TYPE_CHECKING:
    from litgo_pipelines_tests.rollout.conftest import House


def reconcile(house: House) -> Reconciled:
    """Look once, and see that a second look writes nothing."""
    found = look(house.engine, house.registry, clock=house.clock)
    before = house.everything()
    again = look(house.engine, house.registry, clock=house.clock)
    assert (again.changed, again.alias.kind, house.everything()) == (False, "unchanged", before)
    return found


def flagged(house: House) -> list[str]:
    with house.engine.connect() as connection:
        return [one.action for one in decisions.unexplained(connection)]


@pytest.mark.parametrize("version", [None, "2"])
def test_the_first_look_blames_nobody(house: House, version: str | None) -> None:
    """Whatever the alias points to when it is first looked at is recorded as found, and watched; nothing is flagged or told."""
    if version is not None:
        house.move(version)
    found = reconcile(house)
    assert (found.alias.kind, found.champion, found.recorded) == ("first look", version, ())
    assert house.observed() == [(version, "found")]
    assert house.watched() == ([] if version is None else [version])
    assert (flagged(house), house.alerts(), house.outcomes()) == ([], [], [])


def test_our_own_moves_are_no_news(house: House) -> None:
    """After a promotion and a rollback there is nothing to reconcile."""
    house.prove("1")
    house.promote("2", "1")
    house.roll_back("2")
    before = house.everything()
    assert not reconcile(house).changed
    assert house.everything() == before


def test_a_version_promoted_by_hand_is_followed(house: House) -> None:
    """It is recorded as done in MLflow, watched, told, and the running experiment ends; the evidence gives the verdict again."""
    house.promote("1", None)
    house.experiment("2", "1")
    house.move("3")
    (decision,) = reconcile(house).recorded
    assert (decision.action, decision.actor, decision.from_version, decision.to_version) == ("alias moved", "mlflow-ui", "1", "3")
    assert (house.observed()[-1], house.watched()) == (("3", "mlflow-ui"), ["3"])
    assert house.alerts() == ["The champion was changed in MLflow"]
    (row,) = house.rows("SELECT verdict, conclusion FROM litgo.experiments")
    assert row.verdict == "stopped"
    assert "version 3 was chosen in MLflow" in row.conclusion
    again = judge_alias(AliasEvidence.model_validate(decision.evidence["evidence"]))
    assert again.model_dump(mode="json") == decision.evidence


def test_a_move_is_flagged_until_somebody_explains_it(house: House) -> None:
    """A note about the decision takes the flag away."""
    house.promote("1", None)
    house.move("3")
    (decision,) = reconcile(house).recorded
    assert flagged(house) == ["alias moved"]
    with house.engine.begin() as connection:
        decisions.annotate(connection, decision.id, actor="ana", reason="agreed with the on-call", at=house.clock())
    assert flagged(house) == []


def test_a_blocked_version_promoted_by_hand_is_an_override(house: House) -> None:
    """It answers, so it is followed and watched; it is no longer blocked but unproven, and the cool-down goes on."""
    house.prove("1")
    house.promote("2", "1")
    house.roll_back("2")
    house.move("2")
    (decision,) = reconcile(house).recorded
    state = house.states()["2"]
    assert (decision.result, state.state, house.watched()) == ("override", "unproven", ["2"])
    assert state.reason.startswith("override in MLflow")
    assert state.cooldown_until is not None
    assert state.cooldown_until > house.clock.at + timedelta(hours=23)


def test_a_champion_proven_before_stays_so_when_promoted_by_hand(house: House) -> None:
    """Going back by hand to a proven version loses nothing that is known of it."""
    house.prove("1", "2")
    house.move("1")
    reconcile(house)
    assert house.states()["1"].state == "proven"


def test_an_alias_that_was_taken_away_is_recorded(house: House) -> None:
    """The hand weights answer, nothing is watched, and it is somebody's doing."""
    house.promote("1", None)
    house.experiment("2", "1")
    house.move(None)
    found = reconcile(house)
    assert (found.alias.kind, found.champion) == ("removed", None)
    assert house.outcomes()[-2][:4] == ("alias moved", "mlflow-ui", "1", None)
    assert (house.watched(), house.observed()[-1], flagged(house)) == ([], (None, "mlflow-ui"), ["alias moved"])
    assert [row.verdict for row in house.rows("SELECT verdict FROM litgo.experiments")] == ["stopped"]


def test_a_champion_that_was_deleted_is_told_once(house: House) -> None:
    """MLflow takes the alias with the version: that is no wish for the hand weights, and is not recorded again with every look."""
    house.promote("1", None)
    house.experiment("2", "1")
    house.delete("1")
    found = reconcile(house)
    assert (found.alias.kind, len(found.recorded), house.alerts()) == ("version deleted", 1, ["The champion was deleted in MLflow"])
    assert flagged(house) == ["version deleted"]
    assert house.observed()[-1] == (None, "mlflow-ui")
    assert [row.verdict for row in house.rows("SELECT verdict FROM litgo.experiments")] == ["stopped"]
    house.promote("2", None)
    assert not reconcile(house).changed


def test_a_champion_that_was_replaced_and_then_deleted_is_a_move(house: House) -> None:
    """What matters is who answers; that the former is gone is said beside it."""
    house.promote("1", None)
    house.move("2")
    house.delete("1")
    (decision,) = reconcile(house).recorded
    assert (decision.action, decision.to_version) == ("alias moved", "2")
    assert "version 1 was deleted" in decision.reason


def test_an_arm_that_was_deleted_ends_the_experiment(house: House) -> None:
    """The champion stands; the experiment cannot go on, and whoever deleted its arm is asked why."""
    house.promote("1", None)
    house.experiment("2", "1")
    house.delete("2")
    found = reconcile(house)
    assert (found.alias.kind, [one.action for one in found.recorded]) == ("unchanged", ["version deleted"])
    (row,) = house.rows("SELECT verdict, conclusion FROM litgo.experiments")
    assert (row.verdict, "version 2" in row.conclusion) == ("stopped", True)
    assert (house.watched(), flagged(house)) == (["1"], ["version deleted"])
    assert house.alerts() == ["Version 2, an arm of the running experiment, was deleted in MLflow"]


def test_an_experiment_against_the_hand_weights_misses_no_version(house: House) -> None:
    """The hand weights are in no registry, and are no deleted arm."""
    house.experiment("2", "hand-weights")
    look(house.engine, house.registry, clock=house.clock)
    assert [row.status for row in house.rows("SELECT status FROM litgo.experiments")] == ["running"]


def test_a_deleted_version_of_no_consequence_is_no_news(house: House) -> None:
    """Neither champion nor in an experiment: somebody tidied up."""
    house.promote("1", None)
    house.delete("3")
    assert not reconcile(house).changed


def test_while_mlflow_is_away_nothing_is_recorded(house: House) -> None:
    """An absent registry is no removed alias."""
    house.promote("1", None)
    before = house.everything()
    with pytest.raises(RegistryUnavailable):
        look(house.engine, Registry("postgresql+psycopg2://litgo@127.0.0.1:9/mlflow"), clock=house.clock)
    assert house.everything() == before


def test_one_at_a_time_moves_or_follows_the_alias(house: House) -> None:
    """Whoever comes second waits until the first is through, even where the first fails."""
    house.move("1")
    done = threading.Event()

    def second() -> None:
        look(house.engine, house.registry, clock=house.clock)
        done.set()

    def first() -> None:
        with alone(house.engine):
            thread.start()
            assert not done.wait(0.5)
            assert house.observed() == []
            raise ZeroDivisionError

    thread = threading.Thread(target=second)
    with pytest.raises(ZeroDivisionError):
        first()
    assert done.wait(30)
    thread.join()
    assert house.observed() == [("1", "found")]


def test_whoever_waits_too_long_is_told(house: House) -> None:
    """A process that hangs holds nobody up for ever; once it is through, the next one has its turn."""
    with alone(house.engine), pytest.raises(Busy, match="hangs"), alone(house.engine, 0.2):
        raise AssertionError("two at once")
    with alone(house.engine, 0.2):
        pass


class Anybody:
    """Promotes, rolls back, dies on the way, moves the alias by hand, deletes versions, freezes: what comes next is drawn."""

    ACTS = ("promote", "roll_back", "move", "delete", "break_off", "prove", "freeze", "experiment", "wait")

    def __init__(self, house: House, seed: int) -> None:
        self.house, self.random = house, random.Random(seed)

    def act(self) -> None:
        versions = [one.version for one in self.house.registry.versions()]
        getattr(self, self.random.choice(self.ACTS))(self.random.choice(versions), versions)

    @property
    def champion(self) -> str | None:
        return self.house.registry.champion()

    def promote(self, version: str, _versions: list[str]) -> None:
        by_itself = self.random.random() < 0.6
        known = self.house.states().get(version)
        moved = self.house.promote(version, self.champion, by_itself=by_itself)
        assert moved.version == self.champion
        assert not (by_itself and moved.outcome == "done" and known is not None and known.state == "blocked")

    def roll_back(self, version: str, _versions: list[str]) -> None:
        moved = self.house.roll_back(self.champion or version, by_itself=self.random.random() < 0.6)
        assert moved.version == self.champion
        assert moved.outcome != "done" or moved.version is None or self.house.states()[moved.version].state == "proven"

    def move(self, version: str, _versions: list[str]) -> None:
        if self.champion is None or self.random.random() < 0.8:
            self.house.move(version)
        else:
            self.house.move(None)

    def delete(self, version: str, versions: list[str]) -> None:
        if len(versions) > 2:
            self.house.delete(version)

    def break_off(self, version: str, _versions: list[str]) -> None:
        house, champion = self.house, self.champion
        if champion is None or self.random.random() < 0.5:
            steps = promotion_steps(house.engine, house.registry, version, champion, **house.promotion())
        else:
            steps = rollback_steps(house.engine, house.registry, version=champion, **house.rollback())
        for _ in range(self.random.randint(1, 4)):
            next(steps, None)
        steps.close()

    def prove(self, _version: str, _versions: list[str]) -> None:
        if (champion := self.champion) is not None:
            with self.house.engine.begin() as connection:
                states.mark_proven(connection, champion, "healthy", self.house.clock())

    def freeze(self, _version: str, _versions: list[str]) -> None:
        with self.house.engine.begin() as connection:
            change = freezes.freeze if freezes.frozen(connection) is None else freezes.unfreeze
            change(connection, actor="ana", reason="audit", at=self.house.clock())

    def experiment(self, version: str, _versions: list[str]) -> None:
        with self.house.engine.connect() as connection:
            running = experiments.running(connection)
        if running is None:
            self.house.experiment(version, self.champion or "hand-weights")

    def wait(self, _version: str, _versions: list[str]) -> None:
        self.house.clock.pass_by(hours=13)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_one_look_puts_the_records_right(house: House, seed: int) -> None:
    """Nothing is left unfinished, the record names the champion, it alone is watched and not blocked, and its experiment's arms exist."""
    anybody = Anybody(house, seed)
    for _ in range(12):
        anybody.act()
        anybody.act()
        reconcile(house)
        champion = house.registry.champion()
        with house.engine.connect() as connection:
            assert decisions.unfinished(connection) == []
            running = experiments.running(connection)
        assert house.observed()[-1][0] == champion
        assert house.watched() == ([] if champion is None else [champion])
        assert champion is None or house.states()[champion].state != "blocked"
        assert running is None or house.registry.exists(running.challenger)
