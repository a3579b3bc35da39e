"""The jobs that watch over the models, executed on a real instance: what they show, what they do, and that a verdict is no failure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from litgo_pipelines.orchestration.jobs import READ_EXPERIMENT, WATCH_CHAMPION
from litgo_pipelines.orchestration.pictures import MOST_BYTES
from litgo_pipelines.rollout import decisions, experiments, freezes, states
from litgo_pipelines.rollout.readout import ExperimentEvidence, judge_experiment
from litgo_pipelines.rollout.registry import CHAMPION, MODEL
from litgo_pipelines.rollout.watch import WatchEvidence, judge_watch
from litgo_pipelines_tests.orchestration.conftest import begin
from litgo_pipelines_tests.rollout.facts import Unit, no, write, yes

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.rollout.decisions import Decision
    from litgo_pipelines.rollout.experiments import Experiment
    from litgo_pipelines_tests.orchestration.conftest import Decided, Location

EIGHT_DAYS = timedelta(days=8)


def execute(location: Location, job: str, config: dict[str, Any] | None = None, **changes: Any) -> dg.ExecuteInProcessResult:
    definition = location.definitions(**changes).resolve_job_def(job)
    ops = None if config is None else {"ops": {"experiment_readout": {"config": config}}}
    return definition.execute_in_process(instance=location.instance, run_config=ops, raise_on_error=False)


def shown(location: Location, result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """The metadata of a green run, as the event log has it."""
    assert result.success
    event = location.instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.run_id == result.run_id
    assert event.asset_materialization is not None
    found = event.asset_materialization.metadata
    for value in found.values():
        if isinstance(value, dg.MarkdownMetadataValue):
            assert len(str(value.value)) < MOST_BYTES * 4 / 3 + 200
    return {name: value.value for name, value in found.items()}


def read(location: Location, config: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return shown(location, execute(location, READ_EXPERIMENT, config, **changes), "experiment_readout")


def watch(location: Location, **changes: Any) -> dict[str, Any]:
    """The metadata of a look; its check says the same as the verdict, warns only, and fails only where the champion is degraded."""
    given = {"litgo_reference_decisions": 100} | changes
    result = execute(location, WATCH_CHAMPION, **given)
    found = shown(location, result, "model_quality")
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (found["verdict"] != "degraded", dg.AssetCheckSeverity.WARN)
    assert check.metadata["verdict"].value == found["verdict"]
    assert check.description is not None
    assert check.description.startswith(f"{found['verdict']}: ")
    return found


def champion(location: Location) -> str | None:
    return location.project().registry().champion()


def newest(engine: Engine) -> Experiment:
    with engine.connect() as connection:
        found = experiments.newest(connection)
    assert found is not None
    return found


def decided_last(engine: Engine, action: str) -> Decision:
    with engine.connect() as connection:
        return next(one for one in decisions.history(connection, 50) if one.action == action)


def alerts(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT subject FROM litgo.notifications ORDER BY id").scalars())


def outcomes(control: float, treatment: float, count: int = 400) -> Iterable[Unit]:
    """As many clients a side, eight days ago; the shares of those whose offer was accepted, who all signed."""
    at = datetime.now(UTC) - EIGHT_DAYS
    for variant, share in (("control", control), ("treatment", treatment)):
        for n in range(count):
            accepted = n < share * count
            yield Unit(at, variant, (yes() if accepted else no(),), signed=timedelta(days=1) if accepted else None)


@pytest.fixture
def running(location: Location, rollout: Engine) -> Experiment:
    """Version 2 on trial against the champion 1 for nine days."""
    location.project().registry().client.set_registered_model_alias(MODEL, CHAMPION, "1")
    return begin(rollout, ago=timedelta(days=9))


def test_where_nothing_runs_a_reading_says_so(location: Location, rollout: Engine) -> None:
    """The run is green, and no figure is made up."""
    assert read(location) == {"done": "nothing runs and nothing waits"}


def test_a_reading_shows_verdict_figures_and_the_interval(location: Location, rollout: Engine, running: Experiment) -> None:
    """With numbers, tables and a picture; what was seen is kept, and gives the verdict again."""
    write(rollout, outcomes(0.50, 0.52), running.id)
    found = read(location)
    assert (found["verdict"], found["experiment"], found["status"]) == ("go on", str(running.id), "running")
    assert (found["champion"], found["challenger"], found["mode"], found["share_of_clients"]) == ("1", "2", "ab", 0.5)
    assert (found["sample_ratio_alarm"], found["sample_ratio_expected"], found["sample_ratio_found"]) == (False, 0.5, 0.5)
    (accepted,) = [row.data for row in found["metrics"].records if row.data["metric"] == "accepted"]
    assert (accepted["units_control"], accepted["units_treatment"], accepted["enough"]) == (400, 400, True)
    assert (accepted["control"], accepted["treatment"], accepted["lift"]) == (0.5, 0.52, 0.04)
    assert accepted["low"] < 0.04 < accepted["high"]
    (rating,) = [row.data for row in found["metrics"].records if row.data["metric"] == "rating"]
    assert (rating["units_control"], rating["lift"], rating["enough"]) == (0, None, False)
    assert {row.data["name"]: row.data["state"] for row in found["guardrails"].records} == {
        "latency p95 (ms)": "holds",
        "answers in fallback": "holds",
        "Gini of the whole market": "unknown",
    }
    assert found["interval_over_time"].startswith("![Lift with its interval from look to look](data:image/png;base64,")
    assert "accepted: 0.52 against 0.5" in found["reasons"]
    with rollout.connect() as connection:
        kept = connection.exec_driver_sql("SELECT figures -> 'evidence' FROM litgo.experiment_readouts").scalar_one()
    assert judge_experiment(ExperimentEvidence.model_validate(kept)).verdict == "go on"


def test_too_few_outcomes_are_a_verdict_of_their_own(location: Location, rollout: Engine, running: Experiment) -> None:
    """Without anything ripe there is no interval to draw; the champion stays."""
    found = read(location)
    assert (found["verdict"], champion(location), newest(rollout).status) == ("insufficient data", "1", "running")
    assert "interval_over_time" not in found
    assert "sample_ratio_found" not in found


def test_a_winner_becomes_champion_by_itself(location: Location, rollout: Engine, running: Experiment) -> None:
    """The alias moves, the experiment ends, and the decision leads back to the run."""
    write(rollout, outcomes(0.3, 0.6), running.id)
    result = execute(location, READ_EXPERIMENT)
    found = shown(location, result, "experiment_readout")
    assert (found["verdict"], found["status"], champion(location)) == ("promote", "ended", "2")
    assert found["done"].startswith("promotion done")
    assert newest(rollout).verdict == "promote"
    decision = decided_last(rollout, "promotion")
    assert (decision.actor, decision.from_version, decision.to_version, decision.result) == ("experiment_readout", "1", "2", "done")
    assert decision.dagster_run_id == result.run_id


def test_harm_stops_the_experiment_and_the_run_is_green(location: Location, rollout: Engine, running: Experiment) -> None:
    """The challenger is blocked, people are told, the champion answers on; also where promotions want an approval."""
    write(rollout, outcomes(0.6, 0.1), running.id)
    found = read(location, litgo_promotion="approve")
    assert (found["verdict"], found["status"], champion(location)) == ("harm", "ended", "1")
    assert alerts(rollout) == ["Version 2 does harm: its experiment was stopped"]
    with rollout.connect() as connection:
        assert states.proof_of(connection, "2") == "blocked"


def test_a_person_approves_a_promotion_in_the_launchpad(location: Location, rollout: Engine, running: Experiment) -> None:
    """Under `LITGO_PROMOTION=approve` a winner waits and is told of once; the run that names somebody promotes it in their name."""
    write(rollout, outcomes(0.3, 0.6), running.id)
    for _ in range(2):
        found = read(location, litgo_promotion="approve")
        assert (found["verdict"], found["status"], champion(location)) == ("promote", "approval", "1")
    assert alerts(rollout) == ["Version 2 won its experiment and waits for approval"]
    config = {"approved_by": "ana", "approval_reason": "the figures convince me"}
    found = read(location, config, litgo_promotion="approve")
    assert (found["status"], champion(location)) == ("ended", "2")
    assert decided_last(rollout, "promotion").actor == "ana"
    assert (decided_last(rollout, "approval").actor, decided_last(rollout, "approval").reason) == ("ana", "the figures convince me")
    assert newest(rollout).approved_by == "ana"


def test_an_approval_without_a_reason_fails_the_run_and_moves_nothing(location: Location, rollout: Engine, running: Experiment) -> None:
    """The mistake is told in the run; the winner goes on waiting."""
    write(rollout, outcomes(0.3, 0.6), running.id)
    read(location, litgo_promotion="approve")
    result = execute(location, READ_EXPERIMENT, {"approved_by": "ana"}, litgo_promotion="approve")
    assert not result.success
    assert "needs a reason" in _cause(result)
    assert (newest(rollout).status, newest(rollout).approved_by, champion(location)) == ("approval", None, "1")


def test_an_approval_of_nothing_fails_the_run(location: Location, rollout: Engine, running: Experiment) -> None:
    """Nobody can approve beforehand what has not won yet."""
    result = execute(location, READ_EXPERIMENT, {"approved_by": "ana", "approval_reason": "in advance"})
    assert not result.success
    assert "no experiment waits for approval" in _cause(result)
    assert newest(rollout).status == "running"


def test_the_one_in_line_begins_with_the_reading_that_ends_the_one_before(location: Location, rollout: Engine, running: Experiment) -> None:
    """One run does both; the next one is judged by itself."""
    at = datetime.now(UTC)
    with rollout.begin() as connection:
        terms = experiments.Terms("ab", (0.5,), 28.0, "keep")
        experiments.queue(connection, "1", "2", terms, actor="promotion", reason="it passed", at=at, evidence={})
    write(rollout, outcomes(0.3, 0.6), running.id)
    assert "the experiment in line began" in read(location)["done"]
    assert (newest(rollout).status, newest(rollout).challenger, newest(rollout).champion) == ("running", "1", "2")
    assert read(location)["verdict"] == "insufficient data"


def test_where_nobody_is_champion_nothing_is_watched(location: Location, rollout: Engine) -> None:
    """The run is green and says so."""
    found = watch(location)
    assert found == {"done": "nothing is watched: no version is champion", "verdict": "insufficient data"}


def test_a_champion_with_few_decisions_has_no_verdict_yet(location: Location, decided: Decided) -> None:
    """Neither healthy nor degraded, and no ratio is made up."""
    decided.cases(40, 0.6)
    found = watch(location)
    assert (found["version"], found["verdict"], found["decisions"]) == ("1", "insufficient data", 40)
    assert "quality_ratio" not in found
    assert "reference_mean" not in found
    assert "match_score" not in found


def test_a_healthy_champion_is_shown_with_figures_and_pictures(location: Location, decided: Decided) -> None:
    """Score against reference, and drift; with enough of both it counts as proven."""
    decided.cases(700, 0.6)
    found = watch(location, litgo_proven_hours=0, litgo_reference_decisions=200)
    assert (found["verdict"], found["decisions"], found["reference_decisions"]) == ("healthy", 700, 200)
    assert found["reference_mean"] == pytest.approx(0.6, abs=1e-3)
    assert (found["threshold"], found["window_hours"], found["fallback_in_window"]) == (0.85, 1.0, 0)
    assert found["match_score"].startswith("![Match score against its reference")
    assert found["drift_of_features"].startswith("![Drift of the features](data:image/png;base64,")
    assert found["drift"] == "stable"
    assert "is proven" in found["done"]
    with decided.engine.connect() as connection:
        assert states.proof_of(connection, "1") == "proven"


def test_the_last_window_is_told_as_a_ratio(location: Location, decided: Decided) -> None:
    """Of its mean to the reference's, with the decisions behind it and those that were left out."""
    decided.cases(120, 0.5)
    decided.at = datetime.now(UTC) - timedelta(minutes=30)
    decided.cases(60, 0.55)
    decided.cases(10, 0.1, space="none")
    found = watch(location)
    assert (found["decisions_in_window"], found["fallback_in_window"]) == (60, 10)
    assert found["quality_ratio"] == pytest.approx(1.1, abs=0.01)
    assert found["verdict"] == "healthy"


def test_a_degraded_champion_is_withdrawn_and_the_run_is_green(location: Location, decided: Decided) -> None:
    """With nothing proven left the hand weights answer; people are told, and the evidence gives the verdict again."""
    location.project().registry().client.set_registered_model_alias(MODEL, CHAMPION, "1")
    decided.cases(120, 0.6)
    decided.cases(200, 0.3)
    found = watch(location)
    assert (found["verdict"], champion(location)) == ("degraded", None)
    assert "rollback done: to hand-weights" in found["done"]
    assert "alarm" in found["reasons"]
    assert any("THE HAND WEIGHTS ANSWER" in one for one in alerts(decided.engine))
    upstream = decided_last(decided.engine, "rollback").evidence["evidence"]["upstream"]
    assert judge_watch(WatchEvidence.model_validate(upstream["evidence"])).verdict == upstream["verdict"] == "degraded"
    assert watch(location)["done"] == "nothing is watched: no version is champion"


def test_while_models_are_frozen_a_degraded_champion_is_told_of_only(location: Location, decided: Decided) -> None:
    """It goes on answering."""
    location.project().registry().client.set_registered_model_alias(MODEL, CHAMPION, "1")
    decided.cases(120, 0.6)
    decided.cases(200, 0.3)
    with decided.engine.begin() as connection:
        freezes.freeze(connection, actor="ana", reason="release", at=datetime.now(UTC))
    for _ in range(2):
        found = watch(location)
        assert (found["verdict"], champion(location)) == ("degraded", "1")
        assert "rollback held" in found["done"]
    assert alerts(decided.engine) == ["Version 1 does harm and goes on answering: models are frozen"]


def _cause(result: dg.ExecuteInProcessResult) -> str:
    """The error at the bottom of a failed step."""
    (event,) = [one for one in result.all_events if one.event_type is dg.DagsterEventType.STEP_FAILURE]
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return "" if error is None else error.message
