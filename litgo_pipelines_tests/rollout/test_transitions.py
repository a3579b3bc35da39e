"""Moving the alias `champion`: what is recorded, what follows, who may, and who wins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from litgo_pipelines.rollout import decisions, experiments, freezes
from litgo_pipelines.rollout.decisions import NotSaid
from litgo_pipelines.rollout.reconcile import reconcile
from litgo_pipelines.rollout.registry import MODEL, Registry, RegistryUnavailable
from litgo_pipelines.rollout.rules import PromotionEvidence, RollbackEvidence, judge_promotion, judge_rollback
from litgo_pipelines.rollout.transitions import (
    PROMOTION_STEPS,
    ROLLBACK_STEPS,
    Moved,
    adopt,
    promotion_steps,
    publish_tags,
    rollback_steps,
)
from litgo_pipelines_tests.serving.conftest import register

if TYPE_CHECKING:
    from litgo_pipelines_tests.rollout.conftest import House


def freeze(house: House) -> None:
    with house.engine.begin() as connection:
        freezes.freeze(connection, actor="ana", reason="audit", at=house.clock())


def test_a_promotion_is_intended_then_done_and_watched(house: House) -> None:
    """Intent and outcome share an operation, the alias stands where it should, and the version is watched from then on."""
    moved = house.promote("1", None, run_id="run")
    assert (moved.outcome, moved.version, house.registry.champion()) == ("done", "1", "1")
    rows = house.rows("SELECT * FROM litgo.decisions ORDER BY id")
    assert [(row.stage, row.result, row.from_version, row.to_version) for row in rows] == [
        ("intent", None, None, "1"),
        ("outcome", "done", None, "1"),
    ]
    assert rows[0].operation_id == rows[1].operation_id == moved.decision.operation_id
    assert {row.dagster_run_id for row in rows} == {"run"}
    assert house.observed() == [(None, "found"), ("1", "promotion")]
    assert house.watched() == ["1"]
    assert (house.states()["1"].state, house.alerts()) == ("unproven", [])


def test_the_stored_evidence_gives_the_same_verdict_again(house: House) -> None:
    """What was decided is computed anew from the row alone, for a promotion and for a rollback."""
    house.prove("1")
    promoted = house.promote("2", "1").decision
    rolled = house.roll_back("2").decision
    again = judge_promotion(PromotionEvidence.model_validate(promoted.evidence["evidence"]))
    assert again.model_dump(mode="json") == promoted.evidence
    back = judge_rollback(RollbackEvidence.model_validate(rolled.evidence["evidence"]))
    assert back.model_dump(mode="json") == rolled.evidence
    assert promoted.evidence["evidence"]["upstream"] == {"verdict": "pass"}


def test_the_watch_goes_over_to_the_next_champion(house: House) -> None:
    """One version is watched at a time, from its own promotion on."""
    house.promote("1", None)
    house.clock.pass_by(hours=1)
    house.promote("2", "1")
    assert house.watched() == ["2"]
    assert house.states()["2"].watched_since == house.clock.at


def test_a_promotion_against_another_champion_is_superseded(house: House) -> None:
    """Decided against nobody, while version 1 answers: nothing moves, and that is recorded."""
    house.promote("1", None)
    moved = house.promote("2", None)
    assert (moved.outcome, moved.version, house.registry.champion()) == ("superseded", "1", "1")
    assert house.outcomes()[-1] == ("promotion", "promotion", "1", "2", "superseded")


def test_a_person_who_moves_the_alias_in_between_wins(house: House) -> None:
    """Moved after the intent and before it is read again: the person's choice stays, and is followed as theirs."""
    house.promote("1", None)
    steps = promotion_steps(house.engine, house.registry, "2", "1", **house.promotion())
    assert [next(steps), next(steps)] == ["settled", "intended"]
    house.move("3")
    with pytest.raises(StopIteration) as done:
        next(steps)
    moved: Moved = done.value.value
    assert (moved.outcome, moved.version, house.registry.champion()) == ("superseded", "3", "3")
    assert moved.decision.evidence["seen"] == "3"
    assert house.observed()[-1] == ("1", "promotion")
    reconcile(house.engine, house.registry, clock=house.clock)
    assert house.outcomes()[-1] == ("alias moved", "mlflow-ui", "1", "3", "followed")


def test_a_person_who_moves_the_alias_during_a_rollback_wins(house: House) -> None:
    """People were told already, but nothing is moved, blocked or cooled down."""
    house.prove("1")
    house.promote("2", "1")
    steps = rollback_steps(house.engine, house.registry, version="2", **house.rollback())
    assert [next(steps), next(steps)] == list(ROLLBACK_STEPS[:2])
    house.move("3")
    with pytest.raises(StopIteration) as done:
        next(steps)
    moved: Moved = done.value.value
    assert (moved.outcome, house.registry.champion(), len(house.alerts())) == ("superseded", "3", 1)
    assert (house.states()["2"].state, house.states()["2"].cooldown_until) == ("unproven", None)


def test_what_is_under_way_is_not_taken_for_lost(house: House) -> None:
    """Whoever adopts waits for a promotion that lives, and then finds nothing to adopt."""
    house.promote("1", None)
    steps = promotion_steps(house.engine, house.registry, "2", "1", **house.promotion())
    assert [next(steps), next(steps)] == ["settled", "intended"]
    with ThreadPoolExecutor(1) as pool:
        adopted = pool.submit(adopt, house.engine, house.registry, clock=house.clock)
        with pytest.raises(TimeoutError):
            adopted.result(0.3)
        assert list(steps) == ["moved", "concluded"]
        assert adopted.result(30) == []
    assert house.registry.champion() == "2"


def test_of_those_who_promote_at_once_one_wins(house: House) -> None:
    """Three promotions decided against the same champion: one is done, and the others see that they came too late."""
    with ThreadPoolExecutor(3) as pool:
        moved = list(pool.map(lambda version: house.promote(version, None), ["1", "2", "3"]))
    (winner,) = [one for one in moved if one.outcome == "done"]
    assert sorted(one.outcome for one in moved) == ["done", "superseded", "superseded"]
    assert house.registry.champion() == winner.version
    assert [version for version, _ in house.observed()] == [None, winner.version]


def test_a_move_in_mlflow_that_nobody_saw_yet_is_recorded_before_ours(house: House) -> None:
    """A person's move just before a promotion is in the history, though no sensor looked in between."""
    house.promote("1", None)
    house.move("3")
    assert house.promote("2", "3").outcome == "done"
    assert [row[:4] for row in house.outcomes()][-2:] == [("alias moved", "mlflow-ui", "1", "3"), ("promotion", "promotion", "3", "2")]


@pytest.mark.parametrize("obstacle", ["frozen", "cooling down", "blocked"])
def test_what_stands_against_a_promotion_holds_the_system_and_no_person(house: House, obstacle: str) -> None:
    """By itself it is refused, and said once; a person goes ahead, which is marked as an override and told."""
    house.prove("1")
    wanted = "2" if obstacle == "blocked" else "3"
    if obstacle == "frozen":
        freeze(house)
    else:
        house.promote("2", "1")
        house.roll_back("2", cooldown=timedelta(hours=0 if obstacle == "blocked" else 24))
    refused = [house.promote(wanted, "1") for _ in range(2)]
    assert [one.outcome for one in refused] == ["refused", "refused"]
    assert refused[0].decision.id == refused[1].decision.id
    assert obstacle.split()[0] in refused[0].reason or "until" in refused[0].reason
    assert house.registry.champion() == "1"
    alerts = len(house.alerts())
    moved = house.promote(wanted, "1", actor="bea", reason="I know", by_itself=False)
    assert (moved.outcome, house.registry.champion()) == ("done", wanted)
    assert moved.decision.evidence["override"] is True
    assert "override" in moved.decision.reason
    assert house.alerts()[alerts:] == [f"Version {wanted} was promoted against the rules"]
    assert "None" not in house.rows("SELECT body FROM litgo.notifications ORDER BY id DESC LIMIT 1")[0].body
    assert house.states()[wanted].state == "unproven"


def test_after_the_cool_down_promotions_go_on_by_themselves(house: House) -> None:
    """A second before it ends nothing is promoted, afterwards something is."""
    house.prove("1")
    house.promote("2", "1")
    house.roll_back("2")
    until = house.states()["2"].cooldown_until
    assert until == house.states()["2"].changed_at + timedelta(hours=24)
    house.clock.at = until - timedelta(minutes=1)
    assert house.promote("3", "1").outcome == "refused"
    house.clock.at = until
    assert house.promote("3", "1").outcome == "done"


@pytest.mark.parametrize("by_itself", [True, False])
@pytest.mark.parametrize("trouble", ["missing", "spoilt"])
def test_a_version_that_could_not_answer_is_promoted_by_nobody(house: House, tmp_path: Path, trouble: str, by_itself: bool) -> None:
    """Neither one that is not there nor one whose golden scores differ, not even by a person."""
    version = "9" if trouble == "missing" else register(house.registry, tmp_path / "spoilt", spoilt=True)
    moved = house.promote(version, None, by_itself=by_itself)
    assert (moved.outcome, house.registry.champion()) == ("refused", None)
    assert ("no such version" if trouble == "missing" else "GoldenScoresDiffer") in moved.reason


def test_who_wins_an_experiment_is_proven_and_ends_it(house: House) -> None:
    """The experiment named by the evidence ends with its promotion."""
    house.promote("1", None)
    running = house.experiment("2", "1")
    house.promote("2", "1", evidence={"experiment_id": str(running.id), "verdict": "promote"})
    assert house.states()["2"].state == "proven"
    (row,) = house.rows("SELECT status, verdict FROM litgo.experiments")
    assert tuple(row) == ("ended", "promote")


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_winner_whose_experiment_was_stopped_is_not_promoted(house: House, by_itself: bool) -> None:
    """A person stopped it after it was judged: superseded, whoever carries the verdict out, and it is not proven either."""
    house.promote("1", None)
    running = house.experiment("2", "1")
    with house.engine.begin() as connection:
        experiments.end(connection, running.id, verdict="stopped", conclusion="wrong labels", actor="ana", at=house.clock())
    moved = house.promote("2", "1", evidence={"experiment_id": str(running.id), "verdict": "promote"}, by_itself=by_itself)
    assert (moved.outcome, house.registry.champion()) == ("superseded", "1")
    assert "has ended meanwhile" in moved.reason
    assert "2" not in house.states()


@pytest.mark.parametrize("how", ["promotion", "rollback"])
def test_an_experiment_whose_champion_is_changed_ends_without_a_verdict(house: House, how: str) -> None:
    """Another promotion or a rollback under it stops it, and the conclusion says why."""
    house.prove("1")
    house.promote("2", "1")
    house.experiment("3", "2")
    if how == "promotion":
        house.promote("1", "2", actor="bea", by_itself=False)
    else:
        house.roll_back("2")
    (row,) = house.rows("SELECT status, verdict, conclusion FROM litgo.experiments")
    assert (row.status, row.verdict) == ("ended", "stopped")
    assert "the champion changed under it" in row.conclusion


def test_a_rollback_goes_to_the_last_proven_version_and_tells_first(house: House) -> None:
    """The bad one is blocked, the one that answered last among the proven answers again, and the alert was there before the move."""
    house.prove("1", "2")
    house.promote("3", "2")
    steps = rollback_steps(house.engine, house.registry, version="3", **house.rollback())
    assert [next(steps), next(steps)] == list(ROLLBACK_STEPS[:2])
    assert house.alerts() == ["Version 3 is withdrawn: version 2 answers again"]
    assert house.registry.champion() == "3"
    assert list(steps) == list(ROLLBACK_STEPS[2:])
    assert house.registry.champion() == "2"
    assert house.states()["3"].state == "blocked"
    assert (house.watched(), house.observed()[-1], len(house.alerts())) == (["2"], ("2", "watch"), 1)


def test_a_rollback_never_goes_back_to_a_version_that_was_blocked(house: House) -> None:
    """Two bad versions in a row: the second falls back to the one before both, not to the first."""
    house.prove("1", "2")
    house.roll_back("2")
    house.promote("3", "1", actor="bea", by_itself=False)
    assert house.roll_back("3").version == "1"


@pytest.mark.parametrize("trouble", ["deleted", "spoilt", "unproven"])
def test_a_rollback_passes_over_versions_that_cannot_answer(house: House, tmp_path: Path, trouble: str) -> None:
    """One that was deleted, does not reproduce its golden scores any more, or was never proven is passed over."""
    house.prove("1")
    middle = register(house.registry, tmp_path / "middle")
    if trouble == "unproven":
        house.promote(middle, "1")
    else:
        house.prove(middle)
    house.promote("3", middle)
    if trouble == "deleted":
        house.delete(middle)
    if trouble == "spoilt":
        for file in (tmp_path / "cache").glob(f"{middle}-*/**/golden_scores.json"):
            file.write_text(file.read_text().replace('"digest": "', '"digest": "0'))
    moved = house.roll_back("3")
    assert (moved.outcome, moved.version) == ("done", "1")
    assert any(reason.startswith(f"not to version {middle}") for reason in moved.decision.evidence["reasons"])


def test_a_version_whose_files_are_away_is_not_passed_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store that holds them does not answer: nothing moves, and the hand weights do not answer in place of a proven version."""
    house.prove("1")
    house.promote("2", "1")

    def away(version: str) -> None:
        raise RegistryUnavailable(f"version {version}: the artifact store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(house.registry, "load", away)
        with pytest.raises(RegistryUnavailable):
            house.roll_back("2")
    assert house.registry.champion() == "2"
    assert house.alerts() == ["Version 2 should be withdrawn, but cannot be now"]
    assert house.roll_back("2").version == "1"


def test_a_store_without_any_files_is_not_there(house: House, tmp_path: Path) -> None:
    """A folder that is not mounted looks like versions whose files were deleted: nothing is concluded from it."""
    house.prove("1")
    house.promote("2", "1")
    away = Registry(house.registry.uri, tmp_path / "another cache")
    folders = {Path(unquote(urlsplit(one.source).path)) for one in stored(house)}
    for folder in folders:
        folder.rename(folder.with_name(f"{folder.name}-away"))
    with pytest.raises(RegistryUnavailable):
        type(house)(house.engine, away).roll_back("2")
    assert house.registry.champion() == "2"
    for folder in folders:
        folder.with_name(f"{folder.name}-away").rename(folder)
    assert house.roll_back("2").version == "1"


def test_without_anything_proven_the_hand_weights_answer_loudly(house: House) -> None:
    """The alias is taken away, nothing is watched, and the alert's subject says it."""
    house.promote("1", None)
    moved = house.roll_back("1")
    assert (moved.outcome, moved.version, house.registry.champion()) == ("done", None, None)
    assert "THE HAND WEIGHTS ANSWER" in house.alerts()[0]
    assert (house.watched(), house.observed()[-1]) == ([], (None, "watch"))


def test_a_freeze_holds_a_rollback_and_tells_once(house: House) -> None:
    """However often the watch asks, one row and one alert; a person may still; lifted, it goes through."""
    house.prove("1")
    house.promote("2", "1")
    freeze(house)
    for ratio in (0.7, 0.6):
        moved = house.roll_back("2", reason=f"it fell to {ratio}", evidence={"ratio": ratio})
        assert (moved.outcome, moved.version) == ("held", "2")
    assert house.registry.champion() == "2"
    assert house.alerts() == ["Version 2 does harm and goes on answering: models are frozen"]
    assert [row for row in house.outcomes() if row[0] == "rollback"] == [("rollback", "watch", "2", "2", "held")]
    assert "blocked" not in {state.state for state in house.states().values()}
    moved = house.roll_back("2", actor="bea", by_itself=False)
    assert (moved.outcome, moved.version, moved.decision.evidence["override"]) == ("done", "1", True)


def test_a_rollback_of_a_version_that_is_not_champion_moves_nothing(house: House) -> None:
    """Somebody was quicker: superseded, nobody is alarmed, nothing is blocked."""
    house.prove("1", "2")
    moved = house.roll_back("1")
    assert (moved.outcome, moved.version, house.alerts()) == ("superseded", "2", [])
    assert house.states()["1"].state == "proven"


def test_a_rollback_while_mlflow_is_away_is_told_once_a_day(house: House) -> None:
    """Nothing can be moved, so people are told what should have been; then the error goes on."""
    house.promote("1", None)
    away = _away(house)
    for _ in range(2):
        with pytest.raises(RegistryUnavailable):
            away.roll_back("1")
    assert house.alerts() == ["Version 1 should be withdrawn, but cannot be now"]
    house.clock.pass_by(days=1)
    with pytest.raises(RegistryUnavailable):
        away.roll_back("1")
    assert len(house.alerts()) == 2


def stored(house: House) -> list[Any]:
    """The versions as MLflow has them."""
    return list(house.registry.client.search_model_versions(f"name='{MODEL}'"))


def _away(house: House) -> House:
    """The same house, whose MLflow does not answer."""
    found = type(house)(house.engine, Registry("postgresql+psycopg2://litgo@127.0.0.1:9/mlflow"))
    found.clock = house.clock
    return found


def test_a_move_needs_a_name_and_a_reason(house: House) -> None:
    """Without either nothing is moved and nothing recorded."""
    house.promote("1", None)
    before = house.everything()
    for empty in ("actor", "reason"):
        with pytest.raises(NotSaid):
            house.promote("2", "1", **{empty: " "})
        with pytest.raises(NotSaid):
            house.roll_back("1", **{empty: " "})
    assert (house.registry.champion(), house.everything()) == ("1", before)


def test_the_steps_are_those_that_are_listed(house: House) -> None:
    """The lists that crashes are tried by leave no step out."""
    assert tuple(promotion_steps(house.engine, house.registry, "1", None, **house.promotion())) == PROMOTION_STEPS
    assert tuple(rollback_steps(house.engine, house.registry, version="1", **house.rollback())) == ROLLBACK_STEPS


def test_each_decision_is_shown_as_a_tag_of_its_versions(house: House) -> None:
    """Both versions of a move carry it; a second time nothing is set; what comes later is added; what is deleted is left out."""
    house.prove("1")
    house.promote("2", "1", reason="x" * 1000)
    with house.engine.connect() as connection:
        assert publish_tags(connection, house.registry) > 0
        assert publish_tags(connection, house.registry) == 0
    outcome = house.rows("SELECT id FROM litgo.decisions WHERE to_version = '2' AND stage = 'outcome'")[0].id
    tags = {one.version: one.tags for one in house.registry.versions()}
    name = f"litgo.decision.{outcome:08d}"
    assert tags["1"][name] == tags["2"][name]
    assert tags["2"][name].startswith("promotion 1 -> 2: done (promotion): xxx")
    assert tags["2"][name].endswith("… (2026-03-10 12:00 UTC)")
    assert len(tags["2"][name]) == 400
    house.move("3")
    reconcile(house.engine, house.registry, clock=house.clock)
    house.delete("2")
    with house.engine.connect() as connection:
        assert publish_tags(connection, house.registry) == 1
        newest = decisions.history(connection, 1)[0]
    assert f"litgo.decision.{newest.id:08d}" in {one.version: one.tags for one in house.registry.versions()}["3"]
