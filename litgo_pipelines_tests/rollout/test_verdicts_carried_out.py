"""What follows from a verdict, on a real database and a real registry: trials, readings, and the watch over the champion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from litgo_pipelines.rollout import decisions, experiments, freezes, states
from litgo_pipelines.rollout.candidates import Trial, after_the_gate, note_gate, put_on_trial, start_waiting
from litgo_pipelines.rollout.decisions import Decision
from litgo_pipelines.rollout.experiment_rules import ProvenEvidence, RampEvidence, StartEvidence, judge_proven, judge_ramp, judge_start
from litgo_pipelines.rollout.experiments import Experiment
from litgo_pipelines.rollout.handovers import CandidateRef, EvaluationRef, TrainingSetRef
from litgo_pipelines.rollout.outcomes import MarketGini
from litgo_pipelines.rollout.readout import ExperimentEvidence, judge_experiment
from litgo_pipelines.rollout.reconcile import reconcile
from litgo_pipelines.rollout.registry import CHAMPION, MODEL, Registry
from litgo_pipelines.rollout.replays import replay
from litgo_pipelines.rollout.trials import Reading, read_experiment
from litgo_pipelines.rollout.watch import WatchEvidence, judge_watch
from litgo_pipelines.rollout.watching import Watched, watch_champion
from litgo_pipelines.settings import Settings, load_settings
from litgo_pipelines_tests.rollout.facts import Offer, Unit, no, write, yes

if TYPE_CHECKING:
    from litgo_pipelines_tests.rollout.conftest import House

GATE = {"ndcg": 0.9}
EACH = 300
DAY = timedelta(days=1)


def said(**changes: Any) -> Settings:
    """Settings of a market that splits its clients in half at once, and makes its references quickly."""
    return load_settings(**({"litgo_ramp": [50.0], "litgo_reference_decisions": 100} | changes))


def trial(house: House, version: str, champion: str | None, **changes: Any) -> Trial:
    given = {"reason": "it passed", "clock": house.clock}
    return put_on_trial(house.engine, house.registry, said(**changes), version, champion, GATE, **given)


def read(house: House, **changes: Any) -> Reading:
    return read_experiment(house.engine, house.registry, said(**changes), gini=MarketGini(now=0.2), clock=house.clock)


def running(house: House) -> Experiment:
    with house.engine.connect() as connection:
        found = experiments.running(connection)
    assert found is not None
    return found


def on_trial(house: House, **changes: Any) -> Experiment:
    """Version 1 answers, and version 2 is on trial against it."""
    house.promote("1", None)
    assert trial(house, "2", "1", **changes).outcome == "experiment started"
    return running(house)


def freeze(house: House, on: bool = True) -> None:
    with house.engine.begin() as connection:
        (freezes.freeze if on else freezes.unfreeze)(connection, actor="ana", reason="audit", at=house.clock())


def clients(
    house: House, accepted: tuple[float, float], signed: tuple[float, float] = (0.5, 0.5), count: tuple[int, int] = (EACH, EACH)
) -> None:
    """Clients of both sides an hour later, of whom these shares see an offer accepted, and sign; then a day goes by and an hour."""
    at, of = house.clock.at + timedelta(hours=1), running(house)
    units = [
        Unit(
            at + timedelta(seconds=n),
            variant,
            (yes() if n < round(accepts * many) else no(),),
            signed=DAY if n < round(signs * many) else None,
            version=version,
            step=of.step,
        )
        for variant, version, accepts, signs, many in zip(
            ("control", "treatment"), (of.champion, of.challenger), accepted, signed, count, strict=True
        )
        for n in range(many)
    ]
    write(house.engine, units, of.id)
    house.clock.pass_by(hours=26)


def row(house: House, experiment: Experiment) -> Experiment:
    with house.engine.connect() as connection:
        return experiments.find(connection, experiment.id)


def made(house: House, action: str) -> list[Any]:
    """The decisions of one kind, oldest first."""
    return house.rows("SELECT * FROM litgo.decisions WHERE action = :action AND stage = 'outcome' ORDER BY id", action=action)


def test_the_first_version_of_all_is_promoted_at_once(house: House) -> None:
    """There is nothing to compare it with; the watch guards it, and it is not proven by that."""
    assert trial(house, "1", None).outcome == "promoted"
    assert (house.registry.champion(), house.watched(), house.states()["1"].state) == ("1", ["1"], "unproven")
    assert house.rows("SELECT FROM litgo.experiments") == []
    (promoted,) = made(house, "promotion")
    assert promoted.evidence["evidence"]["upstream"] == {"judged": "gate", "verdict": "pass", "evidence": GATE}


def test_a_later_version_is_put_on_trial(house: House) -> None:
    """The champion stays who it is; the gate's evidence is kept with what was begun."""
    experiment = on_trial(house)
    assert (house.registry.champion(), experiment.champion, experiment.challenger, experiment.steps) == ("1", "1", "2", (0.5,))
    (queued,), (started,) = made(house, "experiment queued"), made(house, "experiment started")
    assert queued.evidence == {"judged": "gate", "verdict": "pass", "evidence": GATE}
    assert judge_start(StartEvidence.model_validate(started.evidence)).verdict == "start"


def test_after_a_rollback_to_the_hand_weights_the_next_version_is_on_trial_too(house: House) -> None:
    """A champion there was: the hand weights are what it is compared with, and who wins replaces them."""
    house.promote("1", None)
    house.roll_back("1", cooldown=timedelta(0))
    assert trial(house, "2", None).outcome == "experiment started"
    assert running(house).champion == "hand-weights"
    clients(house, (0.2, 0.8))
    read(house)
    assert house.registry.champion() == "2"


def test_where_experiments_are_switched_off_the_gate_promotes(house: House) -> None:
    """At once, without a trial, and unproven."""
    house.promote("1", None)
    assert trial(house, "2", "1", ab_testing_enabled=False).outcome == "promoted"
    assert (house.registry.champion(), house.states()["2"].state) == ("2", "unproven")
    assert house.rows("SELECT FROM litgo.experiments") == []


def test_what_was_judged_against_another_champion_is_not_promoted(house: House) -> None:
    """Somebody moved the alias since, or has frozen the models: left as it is, and told apart."""
    house.promote("1", None)
    house.move("3")
    assert trial(house, "2", "1", ab_testing_enabled=False).outcome == "superseded"
    freeze(house)
    assert trial(house, "2", "3", ab_testing_enabled=False).outcome == "refused"
    assert house.registry.champion() == "3"


def test_while_models_are_frozen_a_candidate_waits(house: House) -> None:
    """It begins by itself with the first reading after the freeze, and a reading before changes nothing."""
    house.promote("1", None)
    freeze(house)
    waits = trial(house, "2", "1")
    assert waits.outcome == "experiment waits"
    assert "frozen by ana" in waits.reason
    assert read(house).done == []
    freeze(house, on=False)
    assert read(house).done == ["the experiment in line began: version 2 against 1"]
    assert running(house).challenger == "2"


def test_a_person_starts_the_one_in_line_although_models_are_frozen(house: House) -> None:
    """What holds the system back holds no person back."""
    house.promote("1", None)
    freeze(house)
    trial(house, "2", "1")
    assert start_waiting(house.engine, house.registry, actor="ana", at=house.clock(), by_itself=False)[0]
    assert running(house).challenger == "2"


def test_a_candidate_waits_for_the_one_on_trial(house: House) -> None:
    """It is told which one runs, a newer one takes its place, and that one begins when there is room, against who answers then."""
    first = on_trial(house)
    assert str(first.id) in trial(house, "3", "1").reason
    clients(house, (0.2, 0.8))
    done = read(house).done
    assert (house.registry.champion(), running(house).champion, running(house).challenger) == ("2", "2", "3")
    assert done[1:] == ["the experiment in line began: version 3 against 2"]


def test_the_one_in_line_is_refused_where_it_cannot_begin_any_more(house: House) -> None:
    """Deleted while it waited: it leaves the line with its reason, and nothing is served of it."""
    first = on_trial(house)
    trial(house, "3", "1")
    house.delete("3")
    with house.engine.begin() as connection:
        experiments.end(connection, first.id, verdict="stopped", conclusion="x", actor="ana", at=house.clock())
    assert start_waiting(house.engine, house.registry, actor="a", at=house.clock())[0] is False
    (row,) = house.rows("SELECT verdict, conclusion FROM litgo.experiments WHERE challenger = '3'")
    assert (row.verdict, row.conclusion) == ("stopped", "the registry has no version 3")
    assert start_waiting(house.engine, house.registry, actor="a", at=house.clock()) == (False, None)


def evaluation(verdict: Literal["pass", "fail", "insufficient data"], version: str | None, champion: str | None, at: Any) -> EvaluationRef:
    counted = {"rows": 1, "groups": 1, "cases": 1, "held_out_cases": 1, "reviews_seen": 1}
    training = TrainingSetRef(run_id="r", path=Path("x"), fingerprint="f", as_of=at, **counted)
    candidate = CandidateRef(training_set=training, version=version)
    return EvaluationRef(candidate=candidate, champion=champion, verdict=verdict, reasons=["so", "it is"], evidence=GATE)


@pytest.mark.parametrize(("verdict", "outcome"), [("pass", "promoted"), ("fail", "not promoted"), ("insufficient data", "not promoted")])
def test_only_what_passed_the_gate_goes_on_trial(house: House, verdict: Any, outcome: str) -> None:
    """Insufficient data is no pass; what the gate said is in the history either way."""
    given = evaluation(verdict, "1", None, house.clock())
    note_gate(house.engine, given, at=house.clock(), run_id="run")
    result = after_the_gate(house.engine, house.registry, said(), given, clock=house.clock)
    assert (result.outcome, result.verdict, result.version, result.previous) == (outcome, verdict, "1", None)
    assert house.registry.champion() == ("1" if verdict == "pass" else None)
    (noted,) = made(house, "gate")
    assert (noted.result, noted.reason, noted.evidence, noted.dagster_run_id, noted.to_version) == (verdict, "so; it is", GATE, "run", "1")


def test_without_a_version_there_is_nothing_to_note_or_to_try(house: House) -> None:
    """A training with too little data made none."""
    given = evaluation("insufficient data", None, "1", house.clock())
    note_gate(house.engine, given, at=house.clock())
    assert after_the_gate(house.engine, house.registry, said(), given, clock=house.clock).outcome == "not promoted"
    assert made(house, "gate") == []


def test_without_an_experiment_there_is_nothing_to_read(house: House) -> None:
    """No experiment at all, or one that has ended: shown as it is, and nothing is done."""
    assert read(house) == Reading(None, None, [])
    ended = on_trial(house)
    with house.engine.begin() as connection:
        experiments.end(connection, ended.id, verdict="stopped", conclusion="x", actor="ana", at=house.clock())
    assert read(house) == Reading(row(house, ended), None, [])


def test_a_winner_is_promoted_and_counts_as_proven(house: House) -> None:
    """By the reading itself; the evidence of all that it did gives the same verdict again."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    found = read(house)
    assert found.result is not None
    assert (found.result.verdict, house.registry.champion(), house.states()["2"].state) == ("promote", "2", "proven")
    assert found.experiment == row(house, experiment)
    assert (found.experiment.status, found.experiment.verdict) == ("ended", "promote")
    stored = [made(house, "experiment read")[-1].evidence, made(house, "experiment ended")[-1].evidence["evidence"]]
    stored.append(made(house, "promotion")[-1].evidence["evidence"]["upstream"]["evidence"])
    for evidence in stored:
        again = judge_experiment(ExperimentEvidence.model_validate(evidence))
        assert (again.verdict, again.reasons) == (found.result.verdict, found.result.reasons)
    assert {one.actor for one in made(house, "promotion")[1:]} == {decisions.READOUT}


def test_harm_is_stopped_blocked_and_told(house: House) -> None:
    """The champion answers everybody again, whoever is next need not cool down, and frozen models are no protection for harm."""
    experiment = on_trial(house)
    trial(house, "3", "1")
    clients(house, (0.8, 0.2))
    freeze(house)
    read(house)
    assert (row(house, experiment).verdict, house.registry.champion(), house.states()["2"].state) == ("harm", "1", "blocked")
    assert house.alerts() == ["Version 2 does harm: its experiment was stopped"]
    freeze(house, on=False)
    read(house)
    assert running(house).challenger == "3"
    (ended,) = made(house, "experiment ended")
    assert (ended.result, ended.evidence["verdict"]) == ("harm", "harm")
    assert trial(house, "2", "1").reason == "version 2 is blocked"


@pytest.mark.parametrize("over", [True, False])
def test_without_a_verdict_the_champion_stays(house: House, over: bool) -> None:
    """When time is up, or clients were lost on one side; people are told which, nobody is blocked."""
    experiment = on_trial(house, litgo_experiment_max_days=1.0 if over else 28.0)
    clients(house, (0.5, 0.5), count=(EACH, EACH if over else 180))
    read(house)
    ended = row(house, experiment)
    assert (ended.verdict, house.registry.champion(), "2" in house.states()) == ("inconclusive", "1", False)
    assert ("days are over" if over else "sample ratio off") in str(ended.conclusion)
    assert house.alerts() == ["The experiment on version 2 ended without a verdict"]
    (alert,) = house.rows("SELECT details FROM litgo.notifications")
    assert alert.details["sample_ratio_alarm"] is not over


def test_what_was_agreed_when_it_began_is_what_it_is_judged_by(house: House) -> None:
    """Settings that were changed since do not shorten it, nor change what becomes of it in the end."""
    on_trial(house, litgo_experiment_max_days=9.0, litgo_experiment_at_the_end="promote-if-not-inferior")
    house.clock.pass_by(days=3)
    result = read(house, litgo_experiment_max_days=1.0).result
    assert result is not None
    assert (result.evidence["max_days"], result.evidence["at_the_end"]) == (9.0, "promote-if-not-inferior")
    assert (result.verdict, result.evidence["days"]) == ("insufficient data", pytest.approx(3, abs=0.001))


def test_an_approval_is_waited_for_and_carried_out_under_its_name(house: House) -> None:
    """Asked once however often it is read; nobody is promoted before, and the person's name stands in the history."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    approve = {"litgo_promotion": "approve"}
    for _ in range(3):
        assert read(house, **approve).done == ["waits for a person's approval (LITGO_PROMOTION=approve)"]
    assert (house.registry.champion(), row(house, experiment).status) == ("1", "approval")
    assert house.alerts() == ["Version 2 won its experiment and waits for approval"]
    assert trial(house, "3", "1", **approve).outcome == "experiment waits"
    with house.engine.begin() as connection:
        experiments.approve(connection, by="ana", reason="checked", at=house.clock())
    read(house, **approve)
    assert (house.registry.champion(), house.states()["2"].state, row(house, experiment).verdict) == ("2", "proven", "promote")
    assert (made(house, "promotion")[-1].actor, made(house, "experiment ended")[-1].actor) == ("ana", "ana")
    assert running(house).challenger == "3"


@pytest.mark.parametrize("approved", [True, False])
def test_harm_while_an_approval_is_waited_for_stops_all_the_same(house: House, approved: bool) -> None:
    """More offers accepted, but the contracts that ripen meanwhile are signed by nobody: no approval outweighs that."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8), signed=(0.9, 0.0))
    read(house, litgo_promotion="approve")
    if approved:
        with house.engine.begin() as connection:
            experiments.approve(connection, by="ana", reason="checked", at=house.clock())
    house.clock.pass_by(days=7)
    read(house, litgo_promotion="approve")
    assert (row(house, experiment).verdict, house.registry.champion(), house.states()["2"].state) == ("harm", "1", "blocked")
    assert house.alerts()[1:] == ["Version 2 does harm: its experiment was stopped"]


def test_no_approval_outweighs_a_sample_ratio_that_is_off(house: House) -> None:
    """Clients are lost on one side after the approval: the experiment ends without a verdict, and the champion stays."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    read(house, litgo_promotion="approve")
    with house.engine.begin() as connection:
        experiments.approve(connection, by="ana", reason="checked", at=house.clock())
    clients(house, (0.2, 0.8), count=(5 * EACH, 1))
    found = read(house, litgo_promotion="approve")
    assert found.result is not None
    assert found.result.sample_ratio.alarm
    assert (house.registry.champion(), row(house, experiment).verdict) == ("1", "inconclusive")


def test_an_approved_winner_is_promoted_on_the_reading_that_it_won_by(house: House) -> None:
    """Its lead has melted since: the approval was of the figures that were shown, and they are the evidence."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    read(house, litgo_promotion="approve")
    clients(house, (0.8, 0.2))
    with house.engine.begin() as connection:
        experiments.approve(connection, by="ana", reason="checked", at=house.clock())
    found = read(house, litgo_promotion="approve")
    assert found.result is not None
    assert found.result.verdict == "go on"
    assert (house.registry.champion(), row(house, experiment).verdict) == ("2", "promote")
    assert made(house, "promotion")[-1].evidence["evidence"]["upstream"]["verdict"] == "promote"


def test_a_broken_guardrail_holds_an_approved_winner_back(house: House) -> None:
    """The market's Gini rose above its limit since: nobody is promoted until it holds again."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    read(house, litgo_promotion="approve")
    with house.engine.begin() as connection:
        experiments.approve(connection, by="ana", reason="checked", at=house.clock())
    given = {"clock": house.clock}
    found = read_experiment(house.engine, house.registry, said(litgo_promotion="approve"), gini=MarketGini(now=0.9), **given)
    assert found.done[0].startswith("approved, but held back")
    assert (house.registry.champion(), row(house, experiment).status) == ("1", "approval")
    read(house, litgo_promotion="approve")
    assert house.registry.champion() == "2"


def test_what_a_person_put_in_line_does_not_wait_for_a_freeze(house: House) -> None:
    """It begins when the one before it has ended; what the system put in line waits on."""
    experiment = on_trial(house)
    terms = experiments.Terms.of(said())
    for actor, begins in ((decisions.PROMOTION, False), ("ana", True)):
        with house.engine.begin() as connection:
            experiments.queue(connection, "3", "1", terms, actor=actor, reason="r", at=house.clock(), evidence={"judged": "person"})
            experiments.end(connection, experiment.id, verdict="stopped", conclusion="enough", actor="ana", at=house.clock())
        freeze(house)
        started, _ = start_waiting(house.engine, house.registry, actor=decisions.READOUT, at=house.clock())
        assert started is begins


def test_a_winner_that_is_doubted_again_goes_on_waiting(house: House) -> None:
    """Its lead may melt before anybody approves: it is neither ramped nor promoted then."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    read(house, litgo_promotion="approve")
    clients(house, (0.8, 0.2))
    found = read(house, litgo_promotion="approve")
    assert (found.result.verdict, row(house, experiment).status) == ("go on", "approval")  # type: ignore[union-attr]
    assert found.done == ["waits for a person's approval (LITGO_PROMOTION=approve)"]


def test_a_winner_whose_champion_was_changed_is_superseded(house: House) -> None:
    """A person moved the alias in MLflow meanwhile: theirs stays, the experiment ends, and nothing is said against the challenger."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    house.move("3")
    assert read(house).done[0].startswith("promotion superseded")
    assert (house.registry.champion(), row(house, experiment).status, row(house, experiment).verdict) == ("3", "ended", "stopped")
    assert "2" not in house.states()
    assert replay(Decision(*made(house, "experiment ended")[-1])).same
    assert [one.actor for one in made(house, "alias moved")] == ["mlflow-ui"]


def test_a_winner_that_cannot_answer_any_more_ends_its_experiment(house: House, tmp_path: Path) -> None:
    """Its files were spoilt meanwhile: it is not promoted, people are told, and the line is free."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    house.registry.load("2")
    for file in (tmp_path / "cache").glob("2-*/**/golden_scores.json"):
        file.write_text(file.read_text().replace('"digest": "', '"digest": "0'))
    assert read(house).done[0].startswith("promotion refused")
    assert (house.registry.champion(), row(house, experiment).verdict) == ("1", "stopped")
    assert house.alerts() == ["Version 2 won its experiment, but cannot answer"]


class Overtaken(Registry):
    """A registry in which a person moves the alias at the very moment before we do."""

    def promote(self, version: str, expected: str | None) -> None:
        self.client.set_registered_model_alias(MODEL, CHAMPION, "3")
        super().promote(version, expected)


def test_an_experiment_that_was_overtaken_ends_with_it(house: House, tmp_path: Path) -> None:
    """Nobody has recorded the person's move yet, and the experiment is over all the same: its champion answers no more."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    registry = Overtaken(house.registry.uri, tmp_path / "overtaken")
    read_experiment(house.engine, registry, said(), gini=MarketGini(now=0.2), clock=house.clock)
    assert (house.registry.champion(), row(house, experiment).verdict) == ("3", "stopped")
    assert "superseded" in str(row(house, experiment).conclusion)


def test_a_winner_waits_while_models_are_frozen(house: House) -> None:
    """The experiment goes on, the refusal is recorded once, and the first reading after the freeze promotes."""
    experiment = on_trial(house)
    clients(house, (0.2, 0.8))
    freeze(house)
    for _ in range(3):
        assert read(house).done[0].startswith("promotion refused")
    assert [one.result for one in made(house, "promotion")] == ["done", "refused"]
    assert row(house, experiment).status == "running"
    freeze(house, on=False)
    read(house)
    assert house.registry.champion() == "2"


def test_every_look_is_kept_and_only_a_changed_verdict_is_a_decision(house: House) -> None:
    """Insufficient data, again insufficient data, then nothing beyond doubt: three looks, two decisions."""
    experiment = on_trial(house)
    read(house)
    read(house)
    clients(house, (0.5, 0.5))
    read(house)
    looks = house.rows(
        "SELECT figures ->> 'verdict' AS said FROM litgo.experiment_readouts WHERE experiment_id = :id ORDER BY read_at", id=experiment.id
    )
    assert [one.said for one in looks] == ["insufficient data", "insufficient data", "go on"]
    assert [one.result for one in made(house, "experiment read")] == ["insufficient data", "go on"]


def reached(house: House, control: int, treatment: int) -> None:
    """Clients who were exposed just now, of whom nothing is known yet."""
    of = running(house)
    given: dict[str, Any] = {"at": house.clock.at, "step": of.step}
    units = [Unit(variant="control", version="1", **given)] * control + [Unit(variant="treatment", version="2", **given)] * treatment
    write(house.engine, units, of.id)


def test_a_ramp_goes_on_step_by_step(house: House) -> None:
    """After its hours, with enough clients of its own at each step; not while frozen, and not past the last one."""
    experiment = on_trial(house, litgo_ramp=[10.0, 25.0, 50.0])
    reached(house, 500, 100)
    house.clock.pass_by(hours=23)
    assert "23.0 of 24 h" in read(house).done[0]
    house.clock.pass_by(hours=2)
    freeze(house)
    assert "frozen by ana" in read(house).done[0]
    freeze(house, on=False)
    assert read(house).done == ["ramped: from 10% to 25% of the clients"]
    assert row(house, experiment).step == 1
    house.clock.pass_by(hours=25)
    assert "0 of 100 clients" in read(house).done[0]
    reached(house, 200, 100)
    assert read(house).done == ["ramped: from 25% to 50% of the clients"]
    reached(house, 100, 100)
    house.clock.pass_by(hours=20)
    assert "50% is the last step" in read(house).done[0]
    rulings = [judge_ramp(RampEvidence.model_validate(one.evidence)) for one in made(house, "experiment ramped")]
    assert [(one.verdict, one.evidence["step"]) for one in rulings] == [("ramp", 0), ("ramp", 1)]


def interleaved(house: House, challenger: float, count: int = 300) -> None:
    """Clients of interleaved lists, of whom this share prefers the challenger; then a day goes by."""
    at, of = house.clock.at + timedelta(hours=1), running(house)
    preferred = [
        (yes(team="challenger"), no(team="champion")) if n < challenger * count else (no(team="challenger"), yes(team="champion"))
        for n in range(count)
    ]
    write(house.engine, [Unit(at, "interleaved", one) for one in preferred], of.id)
    house.clock.pass_by(hours=26)


def test_the_winner_of_the_interleaving_goes_on_to_the_test_of_outcomes(house: House) -> None:
    """Preferred is not promoted: the same challenger begins its A/B test with the same reading, as the settings say."""
    first = on_trial(house, litgo_experiment_mode="interleaving")
    assert first.mode == "interleaving"
    interleaved(house, 0.8)
    done = read(house, litgo_experiment_mode="interleaving", litgo_ramp=[20.0]).done
    assert (row(house, first).verdict, house.registry.champion()) == ("promote", "1")
    second = running(house)
    assert (second.mode, second.challenger, second.champion, second.steps) == ("ab", "2", "1", (0.2,))
    assert second.salt != first.salt
    assert done == [str(row(house, first).conclusion), "the experiment in line began: version 2 against 1"]
    assert "2" not in house.states()


def test_a_newer_candidate_goes_before_the_winner_of_the_interleaving(house: House) -> None:
    """It was trained on more; the history says who took whose place."""
    mode = {"litgo_experiment_mode": "interleaving"}
    on_trial(house, **mode)
    trial(house, "3", "1", **mode)
    interleaved(house, 0.8)
    done = read(house, **mode).done
    assert "version 3 is newer and takes its place" in done[0]
    assert (running(house).challenger, running(house).mode) == ("3", "interleaving")


def test_who_loses_the_interleaving_is_blocked(house: House) -> None:
    """As after any other harm."""
    first = on_trial(house, litgo_experiment_mode="interleaving")
    interleaved(house, 0.2)
    read(house)
    assert (row(house, first).verdict, house.states()["2"].state) == ("harm", "blocked")


def decide(house: House, scores: Sequence[float], *, version: str = "1", **changes: Any) -> None:
    """Decisions, one a second from now on."""
    at = house.clock.at
    units = [
        Unit(at + timedelta(seconds=1 + n), offers=(Offer(score=float(one)),) * 2, version=version, **changes)
        for n, one in enumerate(scores)
    ]
    write(house.engine, units)
    house.clock.pass_by(seconds=len(units) + 1)


def around(mean: float, count: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(mean, 0.05, count).clip(0.01, 0.99).tolist()


def watch(house: House, registry: Registry | None = None, **changes: Any) -> Watched:
    return watch_champion(house.engine, registry or house.registry, said(**changes), clock=house.clock)


def degraded(house: House, version: str) -> None:
    """A reference at .6, then a fall to half of it."""
    decide(house, around(0.6, 100), version=version)
    decide(house, around(0.3, 150), version=version)


def test_where_the_hand_weights_answer_nothing_is_watched(house: House) -> None:
    """Before the first promotion, and after everything was withdrawn."""
    assert watch(house) == Watched(None, None, None, None, ["nothing is watched: no version is champion"])
    house.promote("1", None)
    house.roll_back("1")
    assert watch(house).version is None


def test_a_reference_is_made_once_and_kept(house: House) -> None:
    """Too little data does nothing; with enough the reference is written down, and the next look compares with it."""
    house.promote("1", None)
    decide(house, [0.55, 0.65] * 49 + [0.6])
    early = watch(house)
    assert early.result is not None
    assert (early.result.verdict, early.done, house.states()["1"].reference) == ("insufficient data", [], None)
    decide(house, [0.6])
    assert watch(house).done == ["reference made of 100 decisions: match score 0.600"]
    reference = house.states()["1"].reference
    decide(house, around(0.6, 200, seed=1))
    later = watch(house)
    assert later.result is not None
    assert (later.result.verdict, later.done, house.states()["1"].reference) == ("healthy", [], reference)
    assert judge_watch(WatchEvidence.model_validate(later.result.evidence)) == later.result


class Observing(Registry):
    """Notes what had been told to people whenever the alias is about to move."""

    house: House
    told: list[str]

    def promote(self, version: str, expected: str | None) -> None:
        self.told = self.house.alerts()
        super().promote(version, expected)

    def demote(self, expected: str) -> None:
        self.told = self.house.alerts()
        super().demote(expected)


def observing(house: House, folder: Path) -> Observing:
    registry = Observing(house.registry.uri, folder / "observing")
    registry.house, registry.told = house, []
    return registry


def test_a_degraded_champion_is_withdrawn_to_the_last_proven_after_people_were_told(house: House, tmp_path: Path) -> None:
    """Blocked, with the evidence that gives the same verdict again; then nothing is put on trial by itself until it cooled down."""
    house.prove("1")
    house.promote("2", "1")
    degraded(house, "2")
    registry = observing(house, tmp_path)
    found = watch(house, registry)
    assert found.result is not None
    assert (found.version, found.result.verdict, house.registry.champion()) == ("2", "degraded", "1")
    assert registry.told == house.alerts() == ["Version 2 is withdrawn: version 1 answers again"]
    assert (house.states()["2"].state, house.watched()) == ("blocked", ["1"])
    (decision,) = made(house, "rollback")
    upstream = decision.evidence["evidence"]["upstream"]
    assert judge_watch(WatchEvidence.model_validate(upstream["evidence"])).verdict == "degraded" == upstream["verdict"]
    assert "cooling down" in trial(house, "3", "1").reason
    house.clock.pass_by(hours=25)
    assert read(house).done == ["the experiment in line began: version 3 against 1"]


def test_without_a_proven_version_the_hand_weights_answer(house: House, tmp_path: Path) -> None:
    """Loudly, and before the alias is taken away."""
    house.promote("1", None)
    degraded(house, "1")
    registry = observing(house, tmp_path)
    done = watch(house, registry).done
    assert (house.registry.champion(), len(registry.told)) == (None, 1)
    assert "THE HAND WEIGHTS ANSWER" in registry.told[0]
    assert any(one.startswith("rollback done: to hand-weights") for one in done)
    assert watch(house).version is None


def test_a_rollback_ends_the_experiment_on_its_champion(house: House) -> None:
    """What it was compared with answers nobody any more."""
    house.prove("1")
    house.promote("2", "1")
    assert trial(house, "3", "2").outcome == "experiment started"
    experiment = running(house)
    degraded(house, "2")
    watch(house)
    assert row(house, experiment).verdict == "stopped"
    assert house.registry.champion() == "1"


def test_a_degraded_champion_goes_on_while_models_are_frozen(house: House) -> None:
    """People are told once, however often it is looked at; what it does after the freeze is lifted is judged again."""
    house.promote("1", None)
    degraded(house, "1")
    freeze(house)
    for _ in range(3):
        watch(house)
    assert (house.registry.champion(), len(house.alerts()), len(made(house, "rollback"))) == ("1", 1, 1)
    freeze(house, on=False)
    watch(house)
    assert house.registry.champion() == "1"
    decide(house, around(0.3, 150, seed=2))
    watch(house)
    assert house.registry.champion() is None


def test_what_fell_and_rose_again_under_a_freeze_is_not_withdrawn_afterwards(house: House) -> None:
    """As in a recess: the freeze is lifted when it is over, and the champion is healthy."""
    house.promote("1", None)
    degraded(house, "1")
    freeze(house)
    watch(house)
    decide(house, around(0.6, 150, seed=3))
    freeze(house, on=False)
    found = watch(house)
    assert (house.registry.champion(), found.result.verdict) == ("1", "insufficient data")  # type: ignore[union-attr]
    decide(house, around(0.6, 50, seed=4))
    assert watch(house).result.verdict == "healthy"  # type: ignore[union-attr]


def test_a_second_fall_under_one_freeze_is_told_as_well(house: House) -> None:
    """The champion recovered in between: whoever read of Monday's fall knows nothing of Friday's."""
    house.promote("1", None)
    decide(house, around(0.6, 100))
    freeze(house)
    for seed in (1, 2):
        decide(house, around(0.3, 40, seed=seed))
        watch(house)
        watch(house)
        assert len(house.alerts()) == seed
        decide(house, around(0.62, 1500, seed=seed))
        assert watch(house).result.verdict == "healthy"  # type: ignore[union-attr]


def test_a_reference_grows_while_what_follows_is_no_worse(house: House) -> None:
    """Doubled once the decisions have ripened; one that has fallen halfway to the threshold does not become the measure."""
    house.promote("1", None)
    decide(house, around(0.6, 250))
    watch(house)
    house.clock.pass_by(hours=25)
    watch(house)
    grown = house.states()["1"].reference
    assert grown is not None
    assert (grown["count"], round(grown["mean"], 2)) == (200, 0.6)
    decide(house, around(0.53, 300, seed=1))
    house.clock.pass_by(hours=25)
    watch(house)
    assert house.states()["1"].reference == grown


def test_the_reference_of_who_won_an_experiment_grows_as_well(house: House) -> None:
    """It begins in the experiment, before the watch; what was decided there is this version's own all the same."""
    on_trial(house)
    clients(house, (0.2, 0.8))
    read(house)
    assert house.registry.champion() == "2"
    watch(house)
    made = house.states()["2"].reference
    decide(house, around(0.5, 200), version="2")
    house.clock.pass_by(hours=25)
    watch(house)
    grown = house.states()["2"].reference
    assert made is not None
    assert grown is not None
    assert (made["began"], grown["count"]) == (grown["began"], 2 * made["count"])


def test_a_champion_is_proven_after_hours_and_decisions_of_health(house: House) -> None:
    """Not before either of them, and once."""
    house.promote("1", None)
    decide(house, around(0.6, 300))
    watch(house)
    house.clock.pass_by(hours=25)
    watch(house)
    assert house.states()["1"].state == "unproven"
    decide(house, around(0.6, 300, seed=1))
    assert any("proven: healthy for 25 h and 500 decisions" in one for one in watch(house).done)
    assert house.states()["1"].state == "proven"
    watch(house)
    (decision,) = made(house, "proven")
    assert judge_proven(ProvenEvidence.model_validate(decision.evidence)).verdict == "proven"


def test_hours_without_decisions_prove_nothing(house: House) -> None:
    """Nor do decisions within the hours."""
    house.promote("1", None)
    decide(house, around(0.6, 600))
    watch(house)
    house.clock.pass_by(hours=23)
    watch(house)
    assert house.states()["1"].state == "unproven"


def test_a_blocked_version_is_not_proven_by_what_it_did_since(house: House) -> None:
    """Promoted by hand without a reference from before, it is as good as its own bad decisions, however long."""
    house.promote("1", None)
    house.roll_back("1")
    house.promote("1", None, by_itself=False, actor="ana")
    for seed in range(2):
        decide(house, around(0.3, 600, seed=seed))
        house.clock.pass_by(hours=25)
        found = watch(house)
    assert found.result is not None
    assert (found.result.verdict, house.states()["1"].state, made(house, "proven")) == ("healthy", "unproven", [])


@pytest.mark.parametrize(("score", "state"), [(0.3, "blocked"), (0.6, "proven")])
def test_a_blocked_version_that_comes_back_is_compared_with_what_it_was(house: House, score: float, state: str) -> None:
    """Withdrawn again where it is no better than when it was withdrawn; proven where it is what it was at first."""
    house.promote("1", None)
    decide(house, around(0.6, 100))
    watch(house)
    decide(house, around(0.3, 150))
    watch(house)
    assert house.registry.champion() is None
    house.promote("1", None, by_itself=False, actor="ana")
    decide(house, around(score, 600, seed=1))
    watch(house)
    house.clock.pass_by(hours=25)
    watch(house)
    assert house.states()["1"].state == state


def test_drift_is_told_once_a_day_and_withdraws_nothing(house: House) -> None:
    """The champion's scores are as they were; the features are not."""
    house.promote("1", None)
    flat = {"features": (0.5,) * 8}
    decide(house, around(0.6, 300), **flat)
    decide(house, around(0.6, 300, seed=1), features=(0.9, *flat["features"][1:]))
    settings = {"litgo_reference_decisions": 300}
    for _ in range(2):
        assert watch(house, **settings).done[-1] == "drifted: a"
    assert house.alerts() == ["Features have drifted: a"]
    house.clock.pass_by(hours=24)
    watch(house, **settings)
    assert house.alerts() == ["Features have drifted: a"] * 2
    assert house.registry.champion() == "1"


def test_a_champion_that_a_person_replaced_is_not_withdrawn(house: House) -> None:
    """The watch goes by what was last recorded: where that answers no more, the alias is left and followed."""
    house.promote("1", None)
    degraded(house, "1")
    house.move("3")
    assert any(one.startswith("rollback superseded") for one in watch(house).done)
    assert house.registry.champion() == "3"
    reconcile(house.engine, house.registry, clock=house.clock)
    assert house.watched() == ["3"]
    with house.engine.connect() as connection:
        assert states.proof_of(connection, "1") == "unproven"
