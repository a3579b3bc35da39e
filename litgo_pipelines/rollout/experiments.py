"""Experiments on the ranker as recorded facts: one runs, at most one waits. Started, ramped and ended here, each with its decision.

Who is in one is `assignment`'s, what it shows `readout`'s, what may happen `experiment_rules`'.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

from litgo_pipelines.rollout import decisions
from litgo_pipelines.rollout.assignment import Mode, Split
from litgo_pipelines.rollout.experiment_rules import Ruling
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.settings import Settings

Status = Literal["waiting", "running", "approval", "ended"]
Verdict = Literal["promote", "harm", "inconclusive", "stopped", "replaced"]
AtTheEnd = Literal["keep", "promote-if-not-inferior"]

_COLUMNS = (
    "id, mode, champion, challenger, status, salt, ramp_salt, steps, step, max_days, at_the_end, actor, reason, created_at, started_at, "
    "step_started_at, ended_at, verdict, approved_by, conclusion"
)
_RUNNING = f"SELECT {_COLUMNS} FROM litgo.experiments WHERE status IN ('running', 'approval')"
_WAITING = f"SELECT {_COLUMNS} FROM litgo.experiments WHERE status = 'waiting'"
_ONE = f"SELECT {_COLUMNS} FROM litgo.experiments WHERE id = :id"
_OF_VERSION = f"SELECT {_COLUMNS} FROM litgo.experiments WHERE :version IN (challenger, champion) ORDER BY created_at DESC"
_NEWEST = f"SELECT {_COLUMNS} FROM litgo.experiments ORDER BY created_at DESC LIMIT 1"

_ADD = """
INSERT INTO litgo.experiments
(id, mode, champion, challenger, status, salt, ramp_salt, steps, max_days, at_the_end, actor, reason, created_at)
VALUES (:id, :mode, :champion, :challenger, 'waiting', :salt, :ramp_salt, :steps, :max_days, :at_the_end, :actor, :reason, :at)
"""

_START = """
UPDATE litgo.experiments SET status = 'running', champion = :champion, started_at = :at, step_started_at = :at
WHERE id = :id AND status = 'waiting'
"""

_RAMP = "UPDATE litgo.experiments SET step = step + 1, step_started_at = :at WHERE id = :id AND status = 'running' AND step = :step"

_ASK = "UPDATE litgo.experiments SET status = 'approval' WHERE id = :id AND status = 'running'"

_APPROVE = "UPDATE litgo.experiments SET approved_by = :by WHERE id = :id AND status = 'approval'"

_END = """
UPDATE litgo.experiments SET status = 'ended', ended_at = GREATEST(:at, created_at), verdict = :verdict, conclusion = :conclusion
WHERE id = :id AND status <> 'ended'
"""

_TURN = "SELECT pg_advisory_xact_lock(hashtext('litgo experiments'))"


class NoExperiment(LitgoError):
    """Nothing runs, or nothing that could be approved."""


class AlreadyOnTrial(LitgoError):
    """The candidate is the one that the running experiment is about."""


@dataclass(frozen=True)
class Experiment:
    """A candidate against what answered when it began; both pinned by number, the hand weights by name. See `tables.experiments`."""

    id: UUID
    mode: Mode
    champion: str
    challenger: str
    status: Status
    salt: str
    ramp_salt: str
    steps: tuple[float, ...]
    step: int
    max_days: float
    at_the_end: AtTheEnd
    actor: str
    reason: str
    created_at: datetime
    started_at: datetime | None
    step_started_at: datetime | None
    ended_at: datetime | None
    verdict: Verdict | None
    approved_by: str | None
    conclusion: str | None

    @property
    def split(self) -> Split:
        """How it divides the clients now."""
        return Split(self.salt, self.ramp_salt, self.steps, self.step, self.mode)


@dataclass(frozen=True)
class Terms:
    """How an experiment is run.

    Attributes:
        steps: shares of all clients in treatment, ascending.
        max_days: after which it ends without a verdict.
        at_the_end: what then becomes of the challenger.
    """

    mode: Mode
    steps: tuple[float, ...]
    max_days: float
    at_the_end: AtTheEnd

    @classmethod
    def of(cls, settings: Settings, mode: Mode | None = None) -> Terms:
        """As the settings say, but for a `mode` that is given."""
        return cls(
            mode or settings.litgo_experiment_mode, settings.ramp, settings.litgo_experiment_max_days, settings.litgo_experiment_at_the_end
        )


def running(connection: Connection) -> Experiment | None:
    """The experiment that runs, or waits for a person's approval."""
    return _one(connection, _RUNNING)


def waiting(connection: Connection) -> Experiment | None:
    """The one in line."""
    return _one(connection, _WAITING)


def newest(connection: Connection) -> Experiment | None:
    """The one that was made last, whatever became of it."""
    return _one(connection, _NEWEST)


def find(connection: Connection, experiment_id: UUID) -> Experiment:
    """The experiment of an id.

    Raises:
        NoExperiment: there is none.
    """
    found = _one(connection, _ONE, id=experiment_id)
    if found is None:
        raise NoExperiment(f"there is no experiment {experiment_id}: `litgo experiment status` shows the newest")
    return found


def of_version(connection: Connection, version: str) -> list[Experiment]:
    """Those in which a version took part, newest first."""
    from sqlalchemy import text

    return [_experiment(row) for row in connection.execute(text(_OF_VERSION), {"version": version})]


def take_turn(connection: Connection) -> None:
    """Let nobody else start, ramp or end an experiment until this transaction ends."""
    from sqlalchemy import text

    connection.execute(text(_TURN))


def queue(
    connection: Connection,
    challenger: str,
    champion: str,
    terms: Terms,
    *,
    actor: str,
    reason: str,
    at: datetime,
    evidence: Mapping[str, Any],
    run_id: str | None = None,
) -> Experiment:
    """Put a candidate in line; it replaces one that waits already. `start` decides when it begins.

    Raises:
        NotSaid: actor or reason is empty.
        AlreadyOnTrial: it is the one that runs; a second look at the same candidate right after would let chance decide.
    """
    from sqlalchemy import text

    take_turn(connection)
    under_way = running(connection)
    if under_way is not None and under_way.challenger == challenger:
        raise AlreadyOnTrial(f"version {challenger} is on trial already: `litgo experiment status` shows how it stands")
    before = waiting(connection)
    if before is not None:
        end(
            connection,
            before.id,
            verdict="replaced",
            conclusion=f"version {challenger} took its place in line",
            actor=actor,
            at=at,
            run_id=run_id,
        )
    row = {
        "id": uuid4(),
        "mode": terms.mode,
        "champion": champion,
        "challenger": challenger,
        # Drawn, not derived: nobody can choose clients whose side is known beforehand.
        "salt": secrets.token_hex(16),
        "ramp_salt": secrets.token_hex(16),
        "steps": list(terms.steps),
        "max_days": terms.max_days,
        "at_the_end": terms.at_the_end,
        "actor": actor,
        "reason": reason,
        "at": at,
    }
    connection.execute(text(_ADD), row)
    decisions.record(
        connection,
        "experiment queued",
        actor=actor,
        reason=reason,
        at=at,
        result="waits",
        from_version=registered(champion),
        to_version=challenger,
        evidence=dict(evidence),
        run_id=run_id,
    )
    return find(connection, row["id"])  # type: ignore[arg-type]


def start(
    connection: Connection, experiment: Experiment, ruling: Ruling, champion: str, *, actor: str, at: datetime, run_id: str | None = None
) -> Experiment:
    """Let the one in line begin, where the ruling says `start`; it runs against `champion` as of now. A refused one ends.

    Args:
        ruling: of `experiment_rules.judge_start`, on what was read in this transaction after `take_turn`.
    """
    from sqlalchemy import text

    if ruling.verdict == "refuse":
        end(connection, experiment.id, verdict="stopped", conclusion="; ".join(ruling.reasons), actor=actor, at=at, run_id=run_id)
    elif ruling.verdict == "start":
        connection.execute(text(_START), {"id": experiment.id, "champion": champion, "at": at})
        decisions.record(
            connection,
            "experiment started",
            actor=actor,
            reason=f"{experiment.mode} on {100 * experiment.split.share:g}% of the clients: {'; '.join(ruling.reasons)}",
            at=at,
            result="start",
            from_version=registered(champion),
            to_version=experiment.challenger,
            evidence=ruling.evidence,
            run_id=run_id,
        )
    return find(connection, experiment.id)


def ramp(connection: Connection, experiment: Experiment, ruling: Ruling, *, actor: str, at: datetime, run_id: str | None = None) -> bool:
    """Go on to the next step where the ruling of `experiment_rules.judge_ramp` says `ramp`; whether it did."""
    from sqlalchemy import text

    if ruling.verdict != "ramp":
        return False
    take_turn(connection)
    if connection.execute(text(_RAMP), {"id": experiment.id, "step": experiment.step, "at": at}).rowcount != 1:
        return False
    decisions.record(
        connection,
        "experiment ramped",
        actor=actor,
        reason="; ".join(ruling.reasons),
        at=at,
        result="ramp",
        from_version=registered(experiment.champion),
        to_version=experiment.challenger,
        evidence=ruling.evidence,
        run_id=run_id,
    )
    return True


def ask_approval(connection: Connection, experiment: Experiment) -> bool:
    """Let a winner wait for a person; whether it did not wait already."""
    from sqlalchemy import text

    return connection.execute(text(_ASK), {"id": experiment.id}).rowcount == 1


def approve(connection: Connection, *, by: str, reason: str, at: datetime) -> Experiment:
    """Note that a person approved the promotion; the next reading of the experiment carries it out.

    Raises:
        NoExperiment: none waits for approval.
        NotSaid: name or reason is empty.
    """
    from sqlalchemy import text

    take_turn(connection)
    found = running(connection)
    if found is None or found.status != "approval":
        raise NoExperiment("no experiment waits for approval: `litgo experiment status` shows how the newest stands")
    decisions.record(
        connection,
        "approval",
        actor=by,
        reason=reason,
        at=at,
        result="approved",
        from_version=registered(found.champion),
        to_version=found.challenger,
    )
    connection.execute(text(_APPROVE), {"id": found.id, "by": by.strip()})
    return find(connection, found.id)


def end(
    connection: Connection,
    experiment_id: UUID,
    *,
    verdict: Verdict,
    conclusion: str,
    actor: str,
    at: datetime,
    evidence: Mapping[str, Any] | None = None,
    run_id: str | None = None,
) -> bool:
    """End an experiment; one that ended already stays as it is. Whether it had not.

    Args:
        evidence: of the reading that ended it, where one did.
    """
    from sqlalchemy import text

    take_turn(connection)
    row = {"id": experiment_id, "verdict": verdict, "conclusion": conclusion, "at": at}
    if connection.execute(text(_END), row).rowcount != 1:
        return False
    found = find(connection, experiment_id)
    decisions.record(
        connection,
        "experiment ended",
        actor=actor,
        reason=conclusion,
        at=at,
        result=verdict,
        from_version=registered(found.champion),
        to_version=found.challenger,
        evidence=dict(evidence or {}),
        run_id=run_id,
    )
    return True


def registered(version: str) -> str | None:
    """A version as the registry and `decisions` have it: None for the hand weights."""
    from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION

    return None if version == HAND_WEIGHTS_VERSION else version


def _one(connection: Connection, statement: str, **parameters: object) -> Experiment | None:
    from sqlalchemy import text

    found = connection.execute(text(statement), parameters).one_or_none()
    return None if found is None else _experiment(found)


def _experiment(row: Sequence[Any]) -> Experiment:
    values = list(row)
    values[7] = tuple(values[7])
    return Experiment(*values)
