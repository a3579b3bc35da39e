"""Where the alias `champion` was seen to point, by whom it was moved there, and what follows when nobody here moved it.

One process at a time moves or follows the alias. Moving it lives in `transitions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from litgo_pipelines.marketplace import outbox
from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION
from litgo_pipelines.rollout import decisions, experiments, states
from litgo_pipelines.rollout.decisions import MLFLOW_UI, RECONCILE, Decision
from litgo_pipelines.rollout.rules import AliasEvidence, AliasResult, Unfinished, judge_alias
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.rollout.registry import Registry

FOUND = "found"
"""The actor of a champion that was there when it was first looked at."""

_CHOOSE = "It answers unwatched until somebody chooses another one: `litgo model promote N --reason TEXT`."

_PATIENCE = "SELECT set_config('lock_timeout', :milliseconds, true)"

_TURN = "SELECT pg_advisory_lock(hashtext('litgo champion'))"

_NEWEST = "SELECT version, observed_at FROM litgo.alias_observations ORDER BY id DESC LIMIT 1"

_OBSERVE = "INSERT INTO litgo.alias_observations (version, actor, operation_id, observed_at) VALUES (:version, :actor, :operation_id, :at)"

_DELETED = """
SELECT d.from_version FROM litgo.decisions d JOIN litgo.alias_observations o ON o.operation_id = d.operation_id
WHERE o.id = (SELECT max(id) FROM litgo.alias_observations) AND d.action = 'version deleted'
"""

_ANSWERED = "SELECT version FROM litgo.alias_observations WHERE version IS NOT NULL GROUP BY version ORDER BY max(id) DESC"


class Busy(LitgoError, RuntimeError):
    """Somebody else has been moving the alias for too long."""


@dataclass(frozen=True)
class Recorded:
    """The observation recorded last: the version that the alias pointed to (None: nobody), and since when."""

    version: str | None
    since: datetime


@contextmanager
def alone(engine: Engine, patience_seconds: float = 60.0) -> Iterator[None]:
    """Let nobody else move or follow the alias meanwhile. The server lets go by itself when this process dies.

    Raises:
        Busy: somebody else does, and is not through when patience ends.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    with engine.connect() as connection:
        # Closed, not given back: the lock goes with its session.
        connection.detach()
        try:
            connection.execute(text(_PATIENCE), {"milliseconds": str(round(patience_seconds * 1000))})
            connection.execute(text(_TURN))
            connection.commit()
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":
                raise
            raise Busy(
                f"somebody else has been moving the champion for {patience_seconds:g} s: try again, or look for a process that hangs"
            ) from error
        yield


def recorded(connection: Connection) -> Recorded | None:
    """Where the alias pointed when it was last seen to move; None: nobody ever looked."""
    from sqlalchemy import text

    found = connection.execute(text(_NEWEST)).one_or_none()
    return None if found is None else Recorded(found.version, found.observed_at)


def answered(connection: Connection) -> list[str]:
    """The versions that the alias ever pointed to, the latest first."""
    from sqlalchemy import text

    return list(connection.execute(text(_ANSWERED)).scalars())


def deleted_champion(connection: Connection, registry: Registry) -> str | None:
    """The version that was deleted while it was champion, where nobody chose another one since: what has it loaded answers with it.

    To be asked where nobody is champion. A version that was deleted a moment ago is told too, though nobody recorded it yet.
    """
    from sqlalchemy import text

    last = recorded(connection)
    if last is None:
        return None
    if last.version is not None:
        return None if registry.exists(last.version) else last.version
    found: str | None = connection.execute(text(_DELETED)).scalar_one_or_none()
    return found


def observe(connection: Connection, version: str | None, *, actor: str, operation_id: UUID | None, at: datetime) -> None:
    """Record that the alias points elsewhere than before; None: to nobody. The watch goes to that version."""
    from sqlalchemy import text

    connection.execute(text(_OBSERVE), {"version": version, "actor": actor, "operation_id": operation_id, "at": at})
    states.start_watch(connection, version, at)


def stop_experiment(connection: Connection, why: str, *, actor: str, at: datetime, run_id: str | None = None) -> bool:
    """End the running experiment without a verdict on its arms; whether one ran."""
    experiments.take_turn(connection)
    running = experiments.running(connection)
    if running is None:
        return False
    experiments.end(connection, running.id, verdict="stopped", conclusion=why, actor=actor, at=at, run_id=run_id)
    return True


def follow(engine: Engine, registry: Registry, *, at: datetime) -> tuple[AliasResult, Decision | None]:
    """Compare the alias with what was recorded of it, and record and tell a move by somebody else. To be called `alone`.

    Returns:
        What became of the alias, and the decision that was recorded, where one was.

    Raises:
        RegistryUnavailable: MLflow cannot be reached; nothing is recorded.
    """
    observed = registry.champion()
    with engine.connect() as connection:
        before = recorded(connection)
    version = None if before is None else before.version
    exists = None if version is None else version == observed or registry.exists(version)
    with engine.begin() as connection:
        evidence = AliasEvidence(
            looked_before=before is not None,
            recorded=version,
            observed=observed,
            recorded_exists=exists,
            state=None if observed is None else states.proof_of(connection, observed),
            unfinished=tuple(
                Unfinished(operation_id=str(one.operation_id), from_version=one.from_version, to_version=one.to_version)
                for one in decisions.unfinished(connection)
                if one.action in ("promotion", "rollback")
            ),
        )
        result = judge_alias(evidence)
        if result.kind == "unchanged":
            return result, None
        if result.kind == "first look":
            observe(connection, observed, actor=FOUND, operation_id=None, at=at)
            return result, None
        return result, _record(connection, result, evidence, at)


def _record(connection: Connection, result: AliasResult, evidence: AliasEvidence, at: datetime) -> Decision:
    """What somebody did in the registry: a decision of theirs, and all that follows from it."""
    # Before any row is touched, as whoever ends an experiment does.
    experiments.take_turn(connection)
    deleted = result.kind == "version deleted"
    told = "; ".join(result.reasons)
    decision = decisions.record(
        connection,
        "version deleted" if deleted else "alias moved",
        actor=MLFLOW_UI,
        reason=told,
        at=at,
        result="override" if result.override else "noted" if deleted else "followed",
        from_version=evidence.recorded,
        to_version=evidence.recorded if deleted else evidence.observed,
        evidence=result.model_dump(mode="json"),
    )
    if result.override and evidence.observed is not None:
        states.override(connection, evidence.observed, f"override in MLflow: {told}", at)
    observe(connection, evidence.observed, actor=MLFLOW_UI, operation_id=decision.operation_id, at=at)
    stop_experiment(connection, f"somebody changed the champion in MLflow: {told}", actor=RECONCILE, at=at)
    if deleted:
        _tell(connection, decision, "The champion was deleted in MLflow", at, _CHOOSE)
    else:
        _tell(connection, decision, "The champion was changed in MLflow", at)
    return decision


def follow_arms(engine: Engine, registry: Registry, *, at: datetime) -> Decision | None:
    """End the running experiment where somebody deleted a version that takes part in it. To be called `alone`.

    Returns:
        The decision that was recorded, where one was.

    Raises:
        RegistryUnavailable: MLflow cannot be reached; nothing is recorded.
    """
    with engine.connect() as connection:
        running = experiments.running(connection)
    if running is None:
        return None
    arms = [arm for arm in (running.challenger, running.champion) if arm != HAND_WEIGHTS_VERSION]
    gone = next((arm for arm in arms if not registry.exists(arm)), None)
    if gone is None:
        _end_overtaken(engine, registry, running, at)
        return None
    told = f"version {gone}, an arm of the running experiment, was deleted in MLflow"
    with engine.begin() as connection:
        decision = decisions.record(
            connection,
            "version deleted",
            actor=MLFLOW_UI,
            reason=told,
            at=at,
            result="noted",
            from_version=gone,
            to_version=gone,
            evidence={"experiment_id": str(running.id), "arms": arms, "deleted": gone},
        )
        experiments.end(connection, running.id, verdict="stopped", conclusion=told, actor=RECONCILE, at=at)
        _tell(connection, decision, f"Version {gone}, an arm of the running experiment, was deleted in MLflow", at)
    return decision


def _end_overtaken(engine: Engine, registry: Registry, running: experiments.Experiment, at: datetime) -> None:
    """End an experiment against a champion that does not answer any more: it began as the alias moved, and nobody takes part in it."""
    observed = registry.champion()
    if experiments.registered(running.champion) == observed:
        return
    told = f"{observed or HAND_WEIGHTS_VERSION} answers, the experiment compares with {running.champion}"
    with engine.begin() as connection:
        experiments.end(connection, running.id, verdict="stopped", conclusion=told, actor=RECONCILE, at=at)


def _tell(connection: Connection, decision: Decision, subject: str, at: datetime, *more: str) -> None:
    lines = [f"{decision.reason}.", *more]
    lines.append(
        f"Nobody here did that, so it stays flagged until somebody explains it: `litgo model annotate {decision.id} --reason TEXT`."
    )
    outbox.tell(connection, key=f"alias:{decision.id}", subject=subject, body="\n".join(lines), at=at, details={"decision": decision.id})
