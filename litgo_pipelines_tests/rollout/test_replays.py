"""Recorded decisions computed again: every kind of them, in a process that has neither database nor registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.cli.common import as_json
from litgo_pipelines.rollout import candidates, decisions, experiments, freezes, trials
from litgo_pipelines.rollout.decisions import ACTIONS, Decision
from litgo_pipelines.rollout.experiment_rules import ProvenEvidence, judge_proven
from litgo_pipelines.rollout.gate import AreaEvidence, GateEvidence, GateResult, judge
from litgo_pipelines.rollout.handovers import CandidateRef, EvaluationRef, TrainingSetRef
from litgo_pipelines.rollout.outcomes import MarketGini
from litgo_pipelines.rollout.reconcile import reconcile
from litgo_pipelines.rollout.replays import RULES, NotADecision, read_decision, recompute, replay
from litgo_pipelines.rollout.watch import judge_watch, reference_of, watch_evidence
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.rollout.facts import Unit, no, write, yes

if TYPE_CHECKING:
    from litgo_pipelines_tests.rollout.conftest import House

_NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)

GATE = GateEvidence(
    incumbent="1",
    held_out_cases=200,
    min_held_out_cases=50,
    min_improvement=1.05,
    candidate_ndcg_5=0.9,
    champion_ndcg_5=0.8,
    difference_low=0.05,
    difference_high=0.15,
    areas=(AreaEvidence(area="civil", cases=40, candidate=0.9, champion=0.8),),
    candidate_gini=0.2,
    champion_gini=0.25,
)

SIDES = (("control", ((yes(),), (no(),), (no(),))), ("treatment", ((yes(),), (yes(),), (no(),))))
"""A challenger whose offers are accepted twice as often."""

_REPLAY_ALL = """
import sys
from pathlib import Path
from litgo_pipelines.rollout.replays import read_decision, replay
for path in map(Path, sys.argv[1:]):
    found = read_decision(path.read_text())
    replayed = replay(found)
    print(found.action, replayed.same, bool(replayed.recomputed), replayed.differences, sep="|")
assert not {"sqlalchemy", "mlflow"} & sys.modules.keys(), "a store was about to be opened"
"""


def settings(**changes: Any) -> Any:
    return load_settings(**{"litgo_ramp": [25.0, 50.0], "litgo_ramp_hours": 0.0, "litgo_proven_hours": 1.0, **changes})


def degraded() -> dict[str, Any]:
    """What a watch says of a version whose match score fell by half."""
    generator = np.random.default_rng(0)
    good, bad = generator.uniform(0.5, 0.7, 500), generator.uniform(0.2, 0.35, 300)
    reference = reference_of(good, "space", [], [], least=100)
    given: dict[str, Any] = {"promised": [], "accepted": [], "window_hours": 1.0, "window": bad[-20:], "fallback_count": 0}
    result = judge_watch(watch_evidence(version="2", threshold=0.85, reference=reference, scores=bad, **given))
    assert result.verdict == "degraded"
    return {"judged": "watch", "verdict": result.verdict, "evidence": result.evidence}


def judged(version: str, gate: GateResult) -> EvaluationRef:
    """What the evaluation of a candidate hands over."""
    counts = {"rows": 9, "groups": 3, "cases": 3, "held_out_cases": 1, "reviews_seen": 9}
    dataset = TrainingSetRef(run_id="run", path=Path("none"), fingerprint="f", as_of=_NOON, **counts)
    candidate = CandidateRef(training_set=dataset, version=version)
    return EvaluationRef(candidate=candidate, champion="1", verdict=gate.verdict, reasons=gate.reasons, evidence=gate.evidence)


def expose(house: House, experiment: experiments.Experiment, **counts: int) -> None:
    """Clients who saw an experiment."""
    from sqlalchemy import text

    rows = [
        {"e": experiment.id, "c": uuid.uuid4(), "v": variant, "s": experiment.step, "r": uuid.uuid4(), "at": house.clock()}
        for variant, count in counts.items()
        for _ in range(count)
    ]
    with house.engine.begin() as connection:
        connection.execute(text("INSERT INTO litgo.exposures VALUES (:e, :c, :v, :s, :r, :at)"), rows)


def decide_everything(house: House) -> None:
    """A history with every kind of decision, made by the code that makes them."""
    engine, registry, clock = house.engine, house.registry, house.clock
    gate = judge(GATE)
    candidates.note_gate(engine, judged("2", gate), at=clock())
    candidates.put_on_trial(engine, registry, settings(), "1", None, gate.evidence, reason="it passed", clock=clock)
    candidates.put_on_trial(engine, registry, settings(), "2", "1", gate.evidence, reason="it passed", clock=clock)
    with engine.connect() as connection:
        running = experiments.running(connection)
    assert running is not None
    expose(house, running, control=200, treatment=100)
    clock.pass_by(hours=1)
    trials.read_experiment(engine, registry, settings(), gini=MarketGini(), clock=clock)
    write(engine, [Unit(clock(), side, offers=answers[n % 3], step=1) for side, answers in SIDES for n in range(210)], running.id)
    clock.pass_by(days=2)
    waits = settings(litgo_promotion="approve")
    trials.read_experiment(engine, registry, waits, gini=MarketGini(), clock=clock)
    with engine.begin() as connection:
        experiments.approve(connection, by="ana", reason="looks good", at=clock())
    trials.read_experiment(engine, registry, waits, gini=MarketGini(), clock=clock)
    with engine.begin() as connection:
        watched = degraded()
        decisions.record(connection, "watch", actor="watch", reason="it fell", at=clock(), result="degraded", evidence=watched)
        proven = judge_proven(ProvenEvidence(version="2", state="unproven", hours=30, least_hours=24, decisions=900, verdict="healthy"))
        decisions.record(
            connection, "proven", actor="watch", reason="; ".join(proven.reasons), at=clock(), result="proven", evidence=proven.evidence
        )
        freezes.freeze(connection, actor="ana", reason="audit", at=clock())
        freezes.unfreeze(connection, actor="ana", reason="done", at=clock())
    assert registry.champion() == "2"
    house.roll_back("2", evidence=watched)
    house.move("3")
    moved = reconcile(engine, registry, clock=clock).recorded[0]
    with engine.begin() as connection:
        decisions.annotate(connection, moved.id, actor="ana", reason="hotfix", at=clock())
    house.delete("3")
    reconcile(engine, registry, clock=clock)


def history(house: House) -> list[Decision]:
    with house.engine.connect() as connection:
        return decisions.history(connection, 1000)[::-1]


def newest(house: House, action: str) -> Decision:
    return next(one for one in reversed(history(house)) if one.action == action and one.stage == "outcome")


def test_no_kind_of_decision_is_without_a_rule() -> None:
    """A kind of decision that is added without saying how it is replayed fails here."""
    assert set(RULES) == set(ACTIONS)


def test_every_kind_of_decision_comes_out_the_same_without_any_store(house: House, tmp_path: Path) -> None:
    """Decided by the real code, exported as JSON, replayed where no database can be reached; what people decided has nothing to compute."""
    decide_everything(house)
    found = history(house)
    assert {one.action for one in found} == set(ACTIONS)
    files = []
    for one in found:
        path = tmp_path / f"{one.id}.json"
        path.write_text(as_json(asdict(one)))
        files.append(str(path))
    empty = tmp_path / "empty"
    empty.mkdir()
    nowhere = {
        "DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
        "LITGO_HOME": str(empty),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _REPLAY_ALL, *files], env={**os.environ, **nowhere}, cwd=empty, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [line.split("|") for line in done.stdout.splitlines()]
    assert [line for line in told if line[1] != "True"] == []
    computed = {action for action, _, computed, _ in told if computed == "True"}
    assert computed == {action for action in ACTIONS if RULES[action].on}
    assert list(empty.iterdir()) == []


def test_an_altered_figure_is_noticed(house: House) -> None:
    """Evidence that gives another verdict than the one recorded is not the same, wherever it stands."""
    house.promote("1", None)
    candidates.put_on_trial(
        house.engine, house.registry, settings(ab_testing_enabled=False), "2", "1", judge(GATE).evidence, reason="x", clock=house.clock
    )
    decision = newest(house, "promotion")
    assert replay(decision).same
    altered = json.loads(json.dumps(decision.evidence))
    altered["evidence"]["upstream"]["evidence"]["candidate_ndcg_5"] = 0.81
    differences = replay(replace(decision, evidence=altered)).differences
    assert any("moved on the verdict fail" in one for one in differences)
    frozen = json.loads(json.dumps(decision.evidence))
    frozen["evidence"]["frozen"] = "frozen by ana"
    assert any("refused" in one for one in replay(replace(decision, evidence=frozen)).differences)
    assert not replay(replace(decision, to_version="3")).same
    assert not replay(replace(decision, evidence={})).same


def test_a_rollback_to_another_target_is_noticed(house: House) -> None:
    """Where it goes is computed from who answered before and what is known of them."""
    house.prove("1")
    house.promote("2", "1")
    house.roll_back("2", evidence=degraded())
    decision = newest(house, "rollback")
    assert (decision.to_version, replay(decision).same) == ("1", True)
    altered = json.loads(json.dumps(decision.evidence))
    altered["evidence"]["formers"][0]["state"] = "unproven"
    assert any("target was recorded" in one for one in replay(replace(decision, evidence=altered)).differences)


def test_a_move_that_was_overtaken_needs_what_was_seen(house: House) -> None:
    """Superseded after the intent holds only with the alias seen elsewhere."""
    house.promote("1", None)
    decision = newest(house, "promotion")
    overtaken = replace(decision, result="superseded", evidence={**decision.evidence, "seen": "3"}, action="promotion")
    spoken = [one for one in replay(overtaken).differences if "superseded" in one]
    assert spoken == []
    assert any("overtook" in one for one in replay(replace(overtaken, evidence=decision.evidence)).differences)
    assert any("stood before" in one for one in replay(replace(overtaken, evidence={**decision.evidence, "seen": None})).differences)


def test_nobody_is_promoted_on_another_verdict_whoever_approved_it(house: House) -> None:
    """Promotion and end rest on the reading that was won; on one that says less neither comes out the same."""
    decide_everything(house)
    ended, promoted = newest(house, "experiment ended"), newest(house, "promotion")
    assert (ended.result, ended.actor, replay(ended).same) == ("promote", "ana", True)
    assert (promoted.result, promoted.actor, replay(promoted).same) == ("done", "ana", True)
    with house.engine.connect() as connection:
        less = next(
            one for one in decisions.history(connection, 100) if (one.action, one.result) == ("experiment read", "insufficient data")
        )
    assert any("the verdict is" in one for one in replay(replace(ended, evidence={"evidence": less.evidence})).differences)
    upstream = promoted.evidence["evidence"] | {"upstream": {"experiment_id": "x", "evidence": less.evidence}}
    assert any("is needed" in one for one in replay(replace(promoted, evidence=promoted.evidence | {"evidence": upstream})).differences)


@pytest.mark.parametrize("changed", [{"actor": " "}, {"reason": ""}])
def test_what_a_person_decided_needs_a_name_and_a_reason(house: House, changed: dict[str, str]) -> None:
    """A freeze has nothing to compute; who and why is what is checked."""
    with house.engine.begin() as connection:
        freezes.freeze(connection, actor="ana", reason="audit", at=house.clock())
    decision = newest(house, "freeze")
    told = replay(decision)
    assert (told.same, told.recomputed) == (True, {})
    assert "decided by ana" in told.told
    assert not replay(replace(decision, **changed)).same  # type: ignore[arg-type]


def test_evidence_of_another_kind_is_refused() -> None:
    """The grounds of a gate are none of a ramp; damaged ones are said to be."""
    evidence = judge(GATE).evidence
    assert recompute("gate", evidence)[0].word == "pass"
    with pytest.raises(NotADecision, match="another kind"):
        recompute("experiment ramped", evidence)
    with pytest.raises(NotADecision, match="held_out_cases"):
        recompute("gate", {**evidence, "held_out_cases": "many"})


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"action": "gate"}'])
def test_what_is_no_decision_is_said_to_be_none(text: str) -> None:
    """It says how to make one."""
    with pytest.raises(NotADecision, match="litgo model show"):
        read_decision(text)


@given(
    candidate=st.floats(0, 1),
    champion=st.floats(0, 1),
    low=st.floats(-1, 1),
    cases=st.integers(0, 100),
    gini=st.none() | st.floats(0, 1),
)
def test_a_gate_replays_whatever_it_said(candidate: float, champion: float, low: float, cases: int, gini: float | None) -> None:
    """For all evidence the recorded verdict is the replayed one, and no other verdict is accepted for it."""
    changes = {
        "candidate_ndcg_5": candidate,
        "champion_ndcg_5": champion,
        "difference_low": low,
        "held_out_cases": cases,
        "candidate_gini": gini,
    }
    result = judge(GATE.model_copy(update=changes))
    stored = json.loads(json.dumps(result.model_dump(mode="json")))
    decision = Decision(1, uuid.uuid4(), "outcome", "gate", "gate", None, "2", result.verdict, "x", stored, None, None, _NOON)
    assert replay(decision).same
    for other in {"pass", "fail", "insufficient data"} - {result.verdict}:
        assert not replay(replace(decision, result=other)).same


def test_other_words_for_the_same_verdict_are_told_and_are_no_difference(house: House) -> None:
    """A release that words a reason otherwise does not make old decisions wrong; another verdict beside the same words does."""
    house.prove("1")
    house.promote("2", "1")
    house.roll_back("2", evidence=degraded())
    decision = newest(house, "rollback")
    assert replay(decision).notes == []
    told = replay(replace(decision, evidence={**decision.evidence, "reasons": ["back to what was good"]}))
    assert (told.same, len(told.notes)) == (True, 1)
    assert not replay(replace(decision, evidence={**decision.evidence, "verdict": "hand weights"})).same
