"""Watching the champion: its quality is read and judged, a degraded one is rolled back, one that did well long enough counts as proven.

The rules are `watch`, `drift` and `experiment_rules.judge_proven`, the figures are read in `quality`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION
from litgo_pipelines.rollout import decisions, states, transitions
from litgo_pipelines.rollout.decisions import WATCH
from litgo_pipelines.rollout.drift import DriftResult, judge_drift
from litgo_pipelines.rollout.experiment_rules import ProvenEvidence, judge_proven
from litgo_pipelines.rollout.quality import Quality, read_quality
from litgo_pipelines.rollout.transitions import Clock
from litgo_pipelines.rollout.watch import Reference, WatchResult, judge_watch

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.settings import Settings

_LAST_UNFREEZE = "SELECT max(decided_at) FROM litgo.decisions WHERE action = 'unfreeze'"

_HEALTHY_SINCE = """
SELECT decided_at FROM (
    SELECT result, decided_at FROM litgo.decisions WHERE action = 'watch' AND to_version = :version ORDER BY id DESC LIMIT 1
) w WHERE result = 'healthy'
"""

_LAST_WATCH = "SELECT result FROM litgo.decisions WHERE action = 'watch' AND to_version = :version ORDER BY id DESC LIMIT 1"


@dataclass(frozen=True)
class Watched:
    """What a look at the champion found and did."""

    version: str | None
    quality: Quality | None
    result: WatchResult | None
    drift: DriftResult | None
    done: list[str] = field(default_factory=list)


def look_at_quality(
    connection: Connection, settings: Settings, at: datetime, *, with_features: bool = True
) -> tuple[states.State, Quality] | None:
    """The version that is watched, and its quality since then or since a freeze was lifted; None where none is watched."""
    from sqlalchemy import text

    watched = [one for one in states.states(connection).values() if one.watched_since is not None]
    if not watched:
        return None
    (state,) = watched
    assert state.watched_since is not None
    known = None if state.reference is None else Reference.model_validate(state.reference)
    quality = read_quality(
        connection,
        state.version,
        state.watched_since,
        known,
        at,
        settings,
        # What happened while people had frozen the models was theirs to judge.
        judged_since=connection.execute(text(_LAST_UNFREEZE)).scalar_one(),
        was_blocked=state.was_blocked,
        with_features=with_features,
    )
    return state, quality


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
    from sqlalchemy import text

    with engine.connect() as connection:
        since = connection.execute(text(_HEALTHY_SINCE), {"version": state.version}).scalar_one_or_none() or at
    ruling = judge_proven(
        ProvenEvidence(
            version=state.version,
            state=state.state,
            hours=round((at - since).total_seconds() / 3600, 3),
            least_hours=settings.litgo_proven_hours,
            decisions=quality.judged,
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
