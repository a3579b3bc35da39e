"""Reading the experiment that runs, and carrying its verdict out: promote, stop for harm, ask a person, ramp, or end it undecided.

The rule is `readout`, the figures are read in `outcomes`; how a candidate comes to be on trial is `candidates`'.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.rollout import experiments, freezes, outcomes, states, transitions
from litgo_pipelines.rollout.candidates import start_waiting
from litgo_pipelines.rollout.decisions import READOUT
from litgo_pipelines.rollout.experiment_rules import RampEvidence, judge_ramp
from litgo_pipelines.rollout.experiments import Experiment, Terms
from litgo_pipelines.rollout.outcomes import MarketGini
from litgo_pipelines.rollout.readings import keep_reading, winning_reading
from litgo_pipelines.rollout.readout import ExperimentEvidence, ExperimentResult, judge_experiment
from litgo_pipelines.rollout.transitions import Clock

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.settings import Settings

_AWAITED = "waits for a person's approval (LITGO_PROMOTION=approve)"
_ENDED = "somebody ended it meanwhile"


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
        with engine.begin() as connection:
            keep_reading(connection, running, result, at=at, run_id=run_id)
        done.append(_carry_out(_Judged(engine, registry, settings, running, result, clock, run_id)))
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


@dataclass(frozen=True)
class _Judged:
    """An experiment with the verdict on it, and what carrying it out takes."""

    engine: Engine
    registry: Registry
    settings: Settings
    experiment: Experiment
    result: ExperimentResult
    clock: Clock
    run_id: str | None

    @property
    def told(self) -> str:
        """Why, in one line."""
        return "; ".join(self.result.reasons)

    @property
    def evidence(self) -> dict[str, Any]:
        """The verdict as evidence of what was done about it."""
        return _said(self.result.model_dump(mode="json"))

    def end(self, connection: Connection, verdict: experiments.Verdict, conclusion: str) -> bool:
        """End the experiment by this verdict; whether nobody had ended it meanwhile."""
        return experiments.end(
            connection,
            self.experiment.id,
            verdict=verdict,
            conclusion=conclusion,
            actor=READOUT,
            at=self.clock(),
            evidence=self.evidence,
            run_id=self.run_id,
        )

    def tell(self, connection: Connection, what: str, subject: str, body: str, **details: object) -> None:
        """Tell people of it, once."""
        about = {"experiment": str(self.experiment.id), "challenger": self.experiment.challenger, **details}
        tell(connection, key=f"experiment {self.experiment.id} {what}", subject=subject, body=body, at=self.clock(), details=about)


def _carry_out(judged: _Judged) -> str:
    result = judged.result
    if result.verdict == "harm":
        return _stop_for_harm(judged)
    if result.sample_ratio.alarm:
        return _end_undecided(judged)
    if judged.experiment.status == "approval":
        return _promote_approved(judged)
    if result.verdict == "promote":
        return _promote_winner(judged)
    if result.verdict == "inconclusive":
        return _end_undecided(judged)
    return _ramp(judged)


def _stop_for_harm(judged: _Judged) -> str:
    challenger = judged.experiment.challenger
    with judged.engine.begin() as connection:
        if not judged.end(connection, "harm", judged.told):
            return _ENDED
        body = f"{judged.told}. The champion {judged.experiment.champion} answers everybody again; nothing needs to be done."
        judged.tell(connection, "harm", f"Version {challenger} does harm: its experiment was stopped", body)
        # Harm is the candidate's own: nothing was wrong with who answers, so nobody else has to cool down.
        at = judged.clock()
        states.block(connection, challenger, f"stopped for harm: {judged.told}", at, at)
    return f"stopped for harm: version {challenger} is blocked"


def _promote_winner(judged: _Judged) -> str:
    if judged.experiment.mode == "interleaving":
        return _on_to_ab(judged)
    if judged.settings.litgo_promotion == "approve":
        return _ask(judged)
    return _promote(judged, judged.evidence, judged.told, READOUT)


def _promote_approved(judged: _Judged) -> str:
    """Promote a winner once a person approved it: on the reading that it won by, unless a guardrail has broken since."""
    experiment = judged.experiment
    if experiment.approved_by is None:
        return _AWAITED
    broken = [one.told for one in judged.result.guardrails if one.state == "broken"]
    if broken:
        return f"approved, but held back: {'; '.join(broken)}"
    with judged.engine.connect() as connection:
        won = winning_reading(connection, experiment.id)
    if won is None:
        return _AWAITED
    return _promote(judged, _said(won), "; ".join(won["reasons"]), experiment.approved_by)


def _promote(judged: _Judged, said: dict[str, Any], told: str, actor: str) -> str:
    experiment = judged.experiment
    moved = transitions.promote(
        judged.engine,
        judged.registry,
        experiment.challenger,
        experiments.registered(experiment.champion),
        actor=actor,
        reason=told,
        evidence={"experiment_id": str(experiment.id), **said},
        by_itself=experiment.approved_by is None,
        clock=judged.clock,
        run_id=judged.run_id,
    )
    if moved.outcome == "superseded":
        _give_up(judged, moved.reason)
    elif moved.outcome == "refused" and moved.decision.evidence["evidence"]["unusable"] is not None:
        _give_up(judged, moved.reason, "cannot answer")
    return f"promotion {moved.outcome}: {moved.reason}"


def _give_up(judged: _Judged, conclusion: str, what: str | None = None) -> None:
    """End an experiment whose winner cannot be promoted any more; `what` is wrong with the winner is told."""
    experiment, at = judged.experiment, judged.clock()
    with judged.engine.begin() as connection:
        experiments.end(connection, experiment.id, verdict="stopped", conclusion=conclusion, actor=READOUT, at=at, run_id=judged.run_id)
        if what is not None:
            subject = f"Version {experiment.challenger} won its experiment, but {what}"
            judged.tell(connection, what, subject, f"{conclusion}. The champion {experiment.champion} stays.")


def _on_to_ab(judged: _Judged) -> str:
    """Preferred lawyers are not yet signed contracts: the winner of the interleaving goes on to the A/B test, unless a newer one waits."""
    experiment, told = judged.experiment, f"won the interleaving and goes on to the A/B test: {judged.told}"
    with judged.engine.begin() as connection:
        if not judged.end(connection, "promote", told):
            return _ENDED
        newer = experiments.waiting(connection)
        if newer is not None:
            return f"won the interleaving, but version {newer.challenger} is newer and takes its place"
        experiments.queue(
            connection,
            experiment.challenger,
            experiment.champion,
            Terms.of(judged.settings, "ab"),
            actor=READOUT,
            reason=told,
            at=judged.clock(),
            evidence=judged.evidence,
            run_id=judged.run_id,
        )
    return told


def _ask(judged: _Judged) -> str:
    how = "Approve it with `litgo experiment approve --by NAME --reason TEXT`, or stop it with `litgo experiment stop`."
    with judged.engine.begin() as connection:
        subject = f"Version {judged.experiment.challenger} won its experiment and waits for approval"
        judged.tell(connection, "approval", subject, f"{judged.told}. {how}")
        experiments.ask_approval(connection, judged.experiment)
    return _AWAITED


def _end_undecided(judged: _Judged) -> str:
    experiment = judged.experiment
    with judged.engine.begin() as connection:
        if not judged.end(connection, "inconclusive", judged.told):
            return _ENDED
        subject = f"The experiment on version {experiment.challenger} ended without a verdict"
        body = f"{judged.told}. The champion {experiment.champion} stays."
        judged.tell(connection, "inconclusive", subject, body, sample_ratio_alarm=judged.result.sample_ratio.alarm)
    return f"ended without a verdict: {judged.told}"


def _ramp(judged: _Judged) -> str:
    experiment, result, at = judged.experiment, judged.result, judged.clock()
    began = experiment.step_started_at or at
    reached = [one["exposed"][1] for one in result.evidence["strata"] if one["step"] == experiment.step]
    with judged.engine.begin() as connection:
        frozen = freezes.frozen(connection)
        ruling = judge_ramp(
            RampEvidence(
                step=experiment.step,
                steps=experiment.steps,
                hours=round((at - began).total_seconds() / 3600, 3),
                least_hours=judged.settings.litgo_ramp_hours,
                exposed=reached[0] if reached else 0,
                verdict=result.verdict,
                sample_ratio_alarm=result.sample_ratio.alarm,
                guardrails_hold=all(one.state != "broken" for one in result.guardrails),
                frozen_by=None if frozen is None else frozen.actor,
            )
        )
        ramped = experiments.ramp(connection, experiment, ruling, actor=READOUT, at=at, run_id=judged.run_id)
    return f"{'ramped' if ramped else 'no more clients'}: {'; '.join(ruling.reasons)}"


def _said(result: dict[str, Any]) -> dict[str, Any]:
    """A verdict, as `readout.ExperimentResult` in JSON, as evidence of what was done about it."""
    return {"judged": "experiment read", "verdict": result["verdict"], "evidence": result["evidence"]}
