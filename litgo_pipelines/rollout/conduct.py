"""What is done about a verdict: a candidate that passed is promoted or put on trial, an experiment is read, the champion is watched.

Each function reads what it decides by, asks a pure rule, and carries the answer out through `experiments` and `transitions`. The rules are
`gate`, `readout`, `experiment_rules`, `watch` and `drift`; when all this is called is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION
from litgo_pipelines.rollout import decisions, experiments, freezes, outcomes, states, transitions
from litgo_pipelines.rollout.drift import DriftResult, judge_drift
from litgo_pipelines.rollout.experiment_rules import (
    ProvenEvidence,
    RampEvidence,
    Ruling,
    StartEvidence,
    judge_proven,
    judge_ramp,
    judge_start,
)
from litgo_pipelines.rollout.experiments import Experiment, Terms
from litgo_pipelines.rollout.handovers import PromotionResult
from litgo_pipelines.rollout.outcomes import MarketGini
from litgo_pipelines.rollout.quality import Quality, read_quality
from litgo_pipelines.rollout.readings import winning_reading
from litgo_pipelines.rollout.readout import ExperimentEvidence, ExperimentResult, judge_experiment
from litgo_pipelines.rollout.watch import Reference, WatchResult, judge_watch

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.rollout.handovers import CandidateRef, EvaluationRef
    from litgo_pipelines.rollout.off_policy import OffPolicyResult
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.rollout.tracking import Tracking
    from litgo_pipelines.settings import Settings

READOUT: Final = "experiment_readout"
WATCH: Final = "model_quality"
PROMOTION: Final = "promotion"
GATE: Final = "candidate_evaluation"
OFF_POLICY_FILE: Final = "off_policy.json"

Clock = Callable[[], datetime]

_AWAITED = "waits for a person's approval (LITGO_PROMOTION=approve)"

_READ = """
INSERT INTO litgo.experiment_readouts (experiment_id, read_at, figures) VALUES (:id, :at, CAST(:figures AS jsonb))
ON CONFLICT (experiment_id, read_at) DO UPDATE SET figures = EXCLUDED.figures
"""

_EVER_CHAMPION = "SELECT EXISTS (SELECT FROM litgo.alias_observations WHERE version IS NOT NULL)"

_LAST_WATCH = "SELECT result FROM litgo.decisions WHERE action = 'watch' AND to_version = :version ORDER BY id DESC LIMIT 1"

_LAST_VERDICT = "SELECT figures ->> 'verdict' FROM litgo.experiment_readouts WHERE experiment_id = :id ORDER BY read_at DESC LIMIT 1"


@dataclass(frozen=True)
class Trial:
    """What became of a candidate."""

    outcome: Literal["promoted", "not promoted", "superseded", "refused", "experiment started", "experiment waits"]
    reason: str


def estimate_before_traffic(
    engine: Engine, registry: Registry, tracking: Tracking, settings: Settings, candidate: CandidateRef
) -> OffPolicyResult | None:
    """What the logged explorations say of a candidate before any client sees it, kept with its MLflow run; None without a candidate.

    It is shown, not enforced: the gate decides by held-out outcomes, the experiment by clients.

    Raises:
        NoGoldenScores, GoldenScoresDiffer: one of the two rankers cannot be trusted.
    """
    from litgo_pipelines.rollout.off_policy_log import estimate

    if candidate.version is None:
        return None
    rankers = registry.load(candidate.version), registry.answering()
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        found = estimate(connection, *rankers, candidate.training_set.as_of, bonus=settings.litgo_new_lawyer_bonus)
    tracking.resume(candidate.training_set.run_id).log_json(OFF_POLICY_FILE, found.model_dump(mode="json"))
    return found


def note_gate(engine: Engine, evaluation: EvaluationRef, *, at: datetime, run_id: str | None = None) -> None:
    """Record what the gate said of a candidate."""
    version = evaluation.candidate.version
    if version is None:
        return
    with engine.begin() as connection:
        decisions.record(
            connection,
            "gate",
            actor=GATE,
            reason="; ".join(evaluation.reasons),
            at=at,
            result=evaluation.verdict,
            from_version=evaluation.champion,
            to_version=version,
            evidence=evaluation.evidence,
            run_id=run_id,
        )


def after_the_gate(
    engine: Engine, registry: Registry, settings: Settings, evaluation: EvaluationRef, *, clock: Clock, run_id: str | None = None
) -> PromotionResult:
    """Put a candidate that passed on trial; leave any other one a candidate."""
    version, reason = evaluation.candidate.version, "; ".join(evaluation.reasons)
    if evaluation.verdict != "pass" or version is None:
        trial = Trial("not promoted", reason)
    else:
        trial = put_on_trial(
            engine, registry, settings, version, evaluation.champion, evaluation.evidence, reason=reason, clock=clock, run_id=run_id
        )
    return PromotionResult(
        outcome=trial.outcome, verdict=evaluation.verdict, version=version, previous=evaluation.champion, reason=trial.reason
    )


@dataclass(frozen=True)
class Reading:
    """What a look at the experiments found and did.

    Attributes:
        experiment: as it stands now; None where there is none at all.
        result: of the one that ran; None where none did.
        done: what was done about it, in words.
    """

    experiment: Experiment | None
    result: ExperimentResult | None
    done: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Watched:
    """What a look at the champion found and did."""

    version: str | None
    quality: Quality | None
    result: WatchResult | None
    drift: DriftResult | None
    done: list[str] = field(default_factory=list)


def put_on_trial(
    engine: Engine,
    registry: Registry,
    settings: Settings,
    version: str,
    champion: str | None,
    gate: dict[str, Any],
    *,
    reason: str,
    clock: Clock,
    run_id: str | None = None,
) -> Trial:
    """Let a candidate that passed the gate go on to its experiment; or promote it at once where experiments are switched off.

    The first version of a marketplace is promoted at once too: there is no model to compare it with, and the watch guards it.

    Args:
        champion: version that the gate compared with; None: the hand weights.
        gate: the gate's evidence.
    """
    if not settings.ab_testing_enabled or (champion is None and not _ever_champion(engine)):
        moved = transitions.promote(
            engine,
            registry,
            version,
            champion,
            actor=PROMOTION,
            reason=reason,
            evidence={"judged": "gate", "verdict": "pass", "evidence": gate},
            by_itself=True,
            clock=clock,
            run_id=run_id,
        )
        outcome: Literal["promoted", "superseded", "refused"] = (
            "promoted" if moved.outcome == "done" else "superseded" if moved.outcome == "superseded" else "refused"
        )
        return Trial(outcome, moved.reason)
    at = clock()
    with engine.begin() as connection:
        experiments.queue(
            connection,
            version,
            champion or HAND_WEIGHTS_VERSION,
            Terms.of(settings),
            actor=PROMOTION,
            reason=reason,
            at=at,
            evidence={"judged": "gate", "verdict": "pass", "evidence": gate},
            run_id=run_id,
        )
    started, ruling = start_waiting(engine, registry, actor=PROMOTION, at=at, run_id=run_id)
    return Trial("experiment started" if started else "experiment waits", "; ".join(ruling.reasons) if ruling else reason)


def start_waiting(
    engine: Engine, registry: Registry, *, actor: str, at: datetime, by_itself: bool = True, run_id: str | None = None
) -> tuple[bool, Ruling | None]:
    """Let the experiment in line begin if nothing stands against it; whether it did, and the ruling. None where none waits."""
    found = registry.champion()
    with engine.begin() as connection:
        experiments.take_turn(connection)
        waits = experiments.waiting(connection)
        if waits is None:
            return False, None
        # What a person put in line does not wait for a freeze or a cool-down.
        alone = by_itself and waits.actor in (PROMOTION, READOUT)
        ruling = judge_start(_start_evidence(connection, registry, waits.challenger, found, at, by_itself=alone))
        started = experiments.start(connection, waits, ruling, found or HAND_WEIGHTS_VERSION, actor=actor, at=at, run_id=run_id)
    return started.status == "running", ruling


def _start_evidence(
    connection: Connection, registry: Registry, challenger: str, champion: str | None, at: datetime, *, by_itself: bool
) -> StartEvidence:
    running, frozen, until = experiments.running(connection), freezes.frozen(connection), states.cooldown_until(connection)
    return StartEvidence(
        challenger=challenger,
        champion=champion or HAND_WEIGHTS_VERSION,
        running=None if running is None else str(running.id),
        frozen_by=None if frozen is None else frozen.actor,
        hours_to_cool=0.0 if until is None else round((until - at).total_seconds() / 3600, 3),
        state=states.proof_of(connection, challenger),
        registered=registry.exists(challenger),
        by_itself=by_itself,
    )


def _ever_champion(engine: Engine) -> bool:
    from sqlalchemy import text

    with engine.connect() as connection:
        return bool(connection.execute(text(_EVER_CHAMPION)).scalar_one())


def read_experiment(
    engine: Engine, registry: Registry, settings: Settings, *, gini: MarketGini, clock: Clock, run_id: str | None = None
) -> Reading:
    """Judge the experiment that runs by what has ripened, carry the verdict out, and let the next one begin where there is room.

    Args:
        gini: of the whole market's utilisation, when the experiment began and now.
    """
    at = clock()
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        running = experiments.running(connection)
        result = None if running is None else judge_experiment(experiment_evidence(connection, running, settings, at, gini=gini))
    done: list[str] = []
    if running is not None and result is not None:
        _note_reading(engine, running, result, at, run_id)
        done.append(_carry_out(engine, registry, settings, running, result, clock, run_id))
    started, ruling = start_waiting(engine, registry, actor=READOUT, at=at, run_id=run_id)
    if started and ruling is not None:
        done.append(f"the experiment in line began: {'; '.join(ruling.reasons)}")
    with engine.connect() as connection:
        return Reading(experiments.newest(connection) if running is None else experiments.find(connection, running.id), result, done)


def experiment_evidence(
    connection: Connection, experiment: Experiment, settings: Settings, as_of: datetime, *, gini: MarketGini
) -> ExperimentEvidence:
    """What an experiment is judged by, as of a moment."""
    began = experiment.started_at or as_of
    return ExperimentEvidence(
        mode=experiment.mode,
        champion=experiment.champion,
        challenger=experiment.challenger,
        days=round((as_of - began).total_seconds() / 86400, 4),
        max_days=experiment.max_days,
        at_the_end=experiment.at_the_end,
        strata=tuple(outcomes.strata(connection, experiment, as_of)),
        guardrails=tuple(outcomes.guardrails(connection, experiment, as_of, gini=gini, most_gini=settings.litgo_fairness_max_gini)),
    )


def _note_reading(engine: Engine, experiment: Experiment, result: ExperimentResult, at: datetime, run_id: str | None) -> None:
    """Keep what this look saw; a verdict other than the last one's is a decision."""
    from sqlalchemy import text

    with engine.begin() as connection:
        before = connection.execute(text(_LAST_VERDICT), {"id": experiment.id}).scalar_one_or_none()
        connection.execute(text(_READ), {"id": experiment.id, "at": at, "figures": result.model_dump_json()})
        if before != result.verdict:
            decisions.record(
                connection,
                "experiment read",
                actor=READOUT,
                reason="; ".join(result.reasons),
                at=at,
                result=result.verdict,
                from_version=experiments.registered(experiment.champion),
                to_version=experiment.challenger,
                evidence=result.evidence,
                run_id=run_id,
            )


def _carry_out(
    engine: Engine,
    registry: Registry,
    settings: Settings,
    experiment: Experiment,
    result: ExperimentResult,
    clock: Clock,
    run_id: str | None,
) -> str:
    if result.verdict == "harm":
        return _stop_for_harm(engine, experiment, result, clock(), run_id)
    if result.sample_ratio.alarm:
        return _end_undecided(engine, experiment, result, clock(), run_id)
    if experiment.status == "approval":
        return _promote_approved(engine, registry, experiment, result, clock, run_id)
    if result.verdict == "promote":
        return _promote_winner(engine, registry, settings, experiment, result, clock, run_id)
    if result.verdict == "inconclusive":
        return _end_undecided(engine, experiment, result, clock(), run_id)
    return _ramp(engine, settings, experiment, result, clock(), run_id)


def _stop_for_harm(engine: Engine, experiment: Experiment, result: ExperimentResult, at: datetime, run_id: str | None) -> str:
    told = "; ".join(result.reasons)
    with engine.begin() as connection:
        ended = experiments.end(
            connection, experiment.id, verdict="harm", conclusion=told, actor=READOUT, at=at, evidence=_said(result), run_id=run_id
        )
        if not ended:
            return "somebody ended it meanwhile"
        tell(
            connection,
            key=f"experiment {experiment.id} harm",
            subject=f"Version {experiment.challenger} does harm: its experiment was stopped",
            body=f"{told}. The champion {experiment.champion} answers everybody again; nothing needs to be done.",
            at=at,
            details={"experiment": str(experiment.id), "challenger": experiment.challenger},
        )
        # Harm is the candidate's own: nothing was wrong with who answers, so nobody else has to cool down.
        states.block(connection, experiment.challenger, f"stopped for harm: {told}", at, at)
    return f"stopped for harm: version {experiment.challenger} is blocked"


def _promote_winner(
    engine: Engine,
    registry: Registry,
    settings: Settings,
    experiment: Experiment,
    result: ExperimentResult,
    clock: Clock,
    run_id: str | None,
) -> str:
    told, at = "; ".join(result.reasons), clock()
    if experiment.mode == "interleaving":
        return _on_to_ab(engine, settings, experiment, result, at, run_id)
    if settings.litgo_promotion == "approve" and experiment.approved_by is None:
        return _ask(engine, experiment, told, at)
    return _promote(engine, registry, experiment, _said(result), told, READOUT, clock, run_id)


def _promote_approved(
    engine: Engine, registry: Registry, experiment: Experiment, result: ExperimentResult, clock: Clock, run_id: str | None
) -> str:
    """Promote a winner once a person approved it: on the reading that it won by, unless a guardrail has broken since."""
    if experiment.approved_by is None:
        return _AWAITED
    broken = [one.told for one in result.guardrails if one.state == "broken"]
    if broken:
        return f"approved, but held back: {'; '.join(broken)}"
    with engine.connect() as connection:
        won = winning_reading(connection, experiment.id)
    if won is None:
        return _AWAITED
    said = {"judged": "experiment read", "verdict": won["verdict"], "evidence": won["evidence"]}
    return _promote(engine, registry, experiment, said, "; ".join(won["reasons"]), experiment.approved_by, clock, run_id)


def _promote(
    engine: Engine,
    registry: Registry,
    experiment: Experiment,
    said: dict[str, Any],
    told: str,
    actor: str,
    clock: Clock,
    run_id: str | None,
) -> str:
    moved = transitions.promote(
        engine,
        registry,
        experiment.challenger,
        experiments.registered(experiment.champion),
        actor=actor,
        reason=told,
        evidence={"experiment_id": str(experiment.id), **said},
        by_itself=experiment.approved_by is None,
        clock=clock,
        run_id=run_id,
    )
    if moved.outcome == "superseded":
        with engine.begin() as connection:
            experiments.end(connection, experiment.id, verdict="stopped", conclusion=moved.reason, actor=READOUT, at=clock(), run_id=run_id)
    return f"promotion {moved.outcome}: {moved.reason}"


def _on_to_ab(
    engine: Engine, settings: Settings, experiment: Experiment, result: ExperimentResult, at: datetime, run_id: str | None
) -> str:
    """Preferred lawyers are not yet signed contracts: the winner of the interleaving goes on to the A/B test, unless a newer one waits."""
    told = f"won the interleaving and goes on to the A/B test: {'; '.join(result.reasons)}"
    terms = Terms("ab", settings.ramp, settings.litgo_experiment_max_days, settings.litgo_experiment_at_the_end)
    with engine.begin() as connection:
        ended = experiments.end(
            connection, experiment.id, verdict="promote", conclusion=told, actor=READOUT, at=at, evidence=_said(result), run_id=run_id
        )
        if not ended:
            return "somebody ended it meanwhile"
        newer = experiments.waiting(connection)
        if newer is None:
            experiments.queue(
                connection,
                experiment.challenger,
                experiment.champion,
                terms,
                actor=READOUT,
                reason=told,
                at=at,
                evidence=_said(result),
                run_id=run_id,
            )
    return told if newer is None else f"won the interleaving, but version {newer.challenger} is newer and takes its place"


def _ask(engine: Engine, experiment: Experiment, told: str, at: datetime) -> str:
    with engine.begin() as connection:
        tell(
            connection,
            key=f"experiment {experiment.id} approval",
            subject=f"Version {experiment.challenger} won its experiment and waits for approval",
            body=f"{told}. Approve it with `litgo experiment approve --by NAME --reason TEXT`, or stop it with `litgo experiment stop`.",
            at=at,
            details={"experiment": str(experiment.id), "challenger": experiment.challenger},
        )
        experiments.ask_approval(connection, experiment)
    return _AWAITED


def _end_undecided(engine: Engine, experiment: Experiment, result: ExperimentResult, at: datetime, run_id: str | None) -> str:
    told = "; ".join(result.reasons)
    with engine.begin() as connection:
        tell(
            connection,
            key=f"experiment {experiment.id} inconclusive",
            subject=f"The experiment on version {experiment.challenger} ended without a verdict",
            body=f"{told}. The champion {experiment.champion} stays.",
            at=at,
            details={"experiment": str(experiment.id), "sample_ratio_alarm": result.sample_ratio.alarm},
        )
        experiments.end(
            connection,
            experiment.id,
            verdict="inconclusive",
            conclusion=told,
            actor=READOUT,
            at=at,
            evidence=_said(result),
            run_id=run_id,
        )
    return f"ended without a verdict: {told}"


def _ramp(engine: Engine, settings: Settings, experiment: Experiment, result: ExperimentResult, at: datetime, run_id: str | None) -> str:
    began = experiment.step_started_at or at
    reached = [one["exposed"][1] for one in result.evidence["strata"] if one["step"] == experiment.step]
    with engine.begin() as connection:
        frozen = freezes.frozen(connection)
        ruling = judge_ramp(
            RampEvidence(
                step=experiment.step,
                steps=experiment.steps,
                hours=round((at - began).total_seconds() / 3600, 3),
                least_hours=settings.litgo_ramp_hours,
                exposed=reached[0] if reached else 0,
                verdict=result.verdict,
                sample_ratio_alarm=result.sample_ratio.alarm,
                guardrails_hold=all(one.state != "broken" for one in result.guardrails),
                frozen_by=None if frozen is None else frozen.actor,
            )
        )
        ramped = experiments.ramp(connection, experiment, ruling, actor=READOUT, at=at, run_id=run_id)
    return f"{'ramped' if ramped else 'no more clients'}: {'; '.join(ruling.reasons)}"


def look_at_quality(
    connection: Connection, settings: Settings, at: datetime, *, with_features: bool = True
) -> tuple[states.State, Quality] | None:
    """The version that is watched, and its quality; None where none is: the hand weights answer."""
    watched = [one for one in states.states(connection).values() if one.watched_since is not None]
    if not watched:
        return None
    (state,) = watched
    assert state.watched_since is not None
    known = None if state.reference is None else Reference.model_validate(state.reference)
    given = {"was_blocked": state.was_blocked, "with_features": with_features}
    return state, read_quality(connection, state.version, state.watched_since, known, at, settings, **given)


def watch_champion(engine: Engine, registry: Registry, settings: Settings, *, clock: Clock, run_id: str | None = None) -> Watched:
    """Judge the champion by its decisions; roll a degraded one back, and let one that did well long enough count as proven."""
    at = clock()
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        found = look_at_quality(connection, settings, at)
    if found is None:
        return Watched(None, None, None, None, ["nothing is watched: no version is champion"])
    state, quality = found
    result = judge_watch(quality.evidence)
    drift = judge_drift(*quality.features)
    done = _keep_reference(engine, quality)
    _note_watch(engine, state.version, result, at, run_id)
    done += _tell_drift(engine, state.version, drift, at)
    if result.verdict == "degraded":
        done.append(_roll_back(engine, registry, settings, state.version, result, clock, run_id))
    else:
        done += _prove(engine, settings, state, quality, result, at, run_id)
    return Watched(state.version, quality, result, drift, done)


def _note_watch(engine: Engine, version: str, result: WatchResult, at: datetime, run_id: str | None) -> None:
    """A verdict other than the last one's about the version is a decision."""
    from sqlalchemy import text

    with engine.begin() as connection:
        if connection.execute(text(_LAST_WATCH), {"version": version}).scalar_one_or_none() == result.verdict:
            return
        decisions.record(
            connection,
            "watch",
            actor=WATCH,
            reason="; ".join(result.reasons),
            at=at,
            result=result.verdict,
            from_version=version,
            to_version=version,
            evidence=result.evidence,
            run_id=run_id,
        )


def _keep_reference(engine: Engine, quality: Quality) -> list[str]:
    fresh = quality.fresh_reference
    if fresh is None:
        return []
    with engine.begin() as connection:
        kept = states.set_reference(connection, quality.version, fresh.model_dump(mode="json"))
    return [f"reference made of {fresh.count} decisions: match score {fresh.mean:.3f}"] if kept else []


def _tell_drift(engine: Engine, version: str, drift: DriftResult, at: datetime) -> list[str]:
    drifted = [one.feature for one in drift.features if one.verdict == "drifted"]
    if not drifted:
        return []
    with engine.begin() as connection:
        tell(
            connection,
            key=f"drift {version} {'+'.join(drifted)} {at:%Y-%m-%d}",
            subject=f"Features have drifted: {', '.join(drifted)}",
            body=f"{'; '.join(drift.reasons)}. Nothing is rolled back for it; look whether something feeds wrong values.",
            at=at,
            details={"version": version, "features": drifted},
        )
    return [f"drifted: {', '.join(drifted)}"]


def _roll_back(
    engine: Engine, registry: Registry, settings: Settings, version: str, result: WatchResult, clock: Clock, run_id: str | None
) -> str:
    moved = transitions.roll_back(
        engine,
        registry,
        version=version,
        actor=WATCH,
        reason="; ".join(result.reasons),
        evidence={"judged": "watch", "verdict": result.verdict, "evidence": result.evidence},
        by_itself=True,
        cooldown=timedelta(hours=settings.litgo_cooldown_hours),
        clock=clock,
        run_id=run_id,
    )
    return f"rollback {moved.outcome}: to {moved.version or HAND_WEIGHTS_VERSION}: {moved.reason}"


def _prove(
    engine: Engine, settings: Settings, state: states.State, quality: Quality, result: WatchResult, at: datetime, run_id: str | None
) -> list[str]:
    assert state.watched_since is not None
    ruling = judge_proven(
        ProvenEvidence(
            version=state.version,
            state=state.state,
            hours=round((at - state.watched_since).total_seconds() / 3600, 3),
            least_hours=settings.litgo_proven_hours,
            decisions=quality.decisions,
            verdict=result.verdict,
            reference_after_block=quality.evidence.reference is not None and quality.evidence.reference.after_block,
        )
    )
    if ruling.verdict != "proven":
        return []
    with engine.begin() as connection:
        if not states.mark_proven(connection, state.version, "; ".join(ruling.reasons), at):
            return []
        decisions.record(
            connection,
            "proven",
            actor=WATCH,
            reason="; ".join(ruling.reasons),
            at=at,
            result="proven",
            to_version=state.version,
            from_version=state.version,
            evidence=ruling.evidence,
            run_id=run_id,
        )
    return [f"version {state.version} is proven: {'; '.join(ruling.reasons)}"]


def _said(result: ExperimentResult) -> dict[str, Any]:
    """A verdict on an experiment as evidence of what was done about it."""
    return {"judged": "experiment read", "verdict": result.verdict, "evidence": result.evidence}
