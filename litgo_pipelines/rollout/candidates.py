"""What becomes of a candidate: what the log says of it before any client sees it, what the gate said, and whether it goes on trial.

The gate's rule is `gate`, when an experiment may begin `experiment_rules`; what the experiment shows is read in `trials`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION
from litgo_pipelines.rollout import decisions, experiments, freezes, states, transitions
from litgo_pipelines.rollout.decisions import GATE, PROMOTION, SYSTEM
from litgo_pipelines.rollout.experiment_rules import Ruling, StartEvidence, judge_start
from litgo_pipelines.rollout.experiments import Terms
from litgo_pipelines.rollout.handovers import PromotionResult
from litgo_pipelines.rollout.transitions import Clock

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.rollout.handovers import CandidateRef, EvaluationRef
    from litgo_pipelines.rollout.off_policy import OffPolicyResult
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.rollout.tracking import Tracking
    from litgo_pipelines.settings import Settings

OFF_POLICY_FILE: Final = "off_policy.json"

_EVER_CHAMPION = "SELECT EXISTS (SELECT FROM litgo.alias_observations WHERE version IS NOT NULL)"


@dataclass(frozen=True)
class Trial:
    """What became of a candidate."""

    outcome: Literal["promoted", "not promoted", "superseded", "refused", "experiment started", "experiment waits"]
    reason: str


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
    with engine.begin() as connection:
        experiments.take_turn(connection)
        waits = experiments.waiting(connection)
        if waits is None:
            return False, None
        # Read within the turn: whoever moves the alias ends what runs in a turn of their own.
        found = registry.champion()
        # What a person put in line does not wait for a freeze or a cool-down.
        alone = by_itself and waits.actor in SYSTEM
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
