"""`litgo model promote` and `rollback`: a person lets another version answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import By, Json, Reason, answer, name_of, registry_of
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.rollout.experiments import Experiment
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.rollout.transitions import Moved

Version = Annotated[str, typer.Argument(metavar="VERSION", help="Number of a version, as `litgo model list` shows it.")]


class NotMoved(LitgoError):
    """The champion stays; the message says why."""


def promote(version: Version, reason: Reason, by: By = None, json: Json = False) -> None:
    """Let a version answer everybody. Serving follows within seconds; a running experiment ends.

    A person may promote what would not be promoted by itself: in spite of a freeze, of the cool-down after a rollback, or of a block.
    What stood against it is said, recorded, and told to the team. A version that cannot reproduce its golden scores is never promoted.

    Example: `litgo model promote 4 --reason "agreed in the weekly review"`
    """
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.rollout import transitions

    who = name_of(by)
    with open_marketplace() as marketplace:
        registry = registry_of(marketplace)
        champion = _require_usable(registry, version)
        before = _running(marketplace.engine)
        moved = transitions.promote(
            marketplace.engine, registry, version, champion, actor=who, reason=reason, evidence={}, by_itself=False, clock=_clock
        )
        _require_done(moved)
        answer(json, moved.decision, *_told(moved, champion, before))


def rollback(reason: Reason, by: By = None, json: Json = False) -> None:
    """Withdraw the champion: the last proven version answers again, or the hand weights where none is left.

    The withdrawn version is blocked, and nothing is promoted by itself until the cool-down is over (LITGO_COOLDOWN_HOURS). To let
    another version answer than the last proven one, promote that one instead.

    Example: `litgo model rollback --reason "lawyers report odd offers since noon"`
    """
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.rollout import transitions

    who = name_of(by)
    with open_marketplace() as marketplace:
        registry = registry_of(marketplace)
        champion = registry.champion()
        if champion is None:
            raise NotMoved(_nobody(marketplace.engine, registry))
        before = _running(marketplace.engine)
        moved = transitions.roll_back(
            marketplace.engine,
            registry,
            version=champion,
            actor=who,
            reason=reason,
            evidence={},
            by_itself=False,
            cooldown=timedelta(hours=marketplace.settings.litgo_cooldown_hours),
            clock=_clock,
        )
        _require_done(moved)
        answer(json, moved.decision, *_told(moved, champion, before))


def _require_usable(registry: Registry, version: str) -> str | None:
    """Look at a version before anything moves; the champion there is.

    Raises:
        UnknownVersion: there is no such version.
        NoGoldenScores, GoldenScoresDiffer: it could not answer.
        NotMoved: it is champion already.
    """
    from litgo_pipelines.rollout.audit import find_version
    from litgo_pipelines.rollout.registry import CHAMPION

    known = registry.versions()
    if CHAMPION in find_version(known, version).aliases:
        raise NotMoved(f"version {version} is champion already")
    registry.load(version)
    return next((one.version for one in known if CHAMPION in one.aliases), None)


def _require_done(moved: Moved) -> None:
    if moved.outcome != "done":
        raise NotMoved(f"{moved.outcome}: {moved.reason}. {_named(moved.version)} answers (decision {moved.decision.id})")


def _running(engine: Engine) -> Experiment | None:
    from litgo_pipelines.rollout import experiments

    with engine.connect() as connection:
        return experiments.running(connection)


def _nobody(engine: Engine, registry: Registry) -> str:
    """Why there is nothing to roll back where no version is champion."""
    from litgo_pipelines.rollout.following import deleted_champion

    with engine.connect() as connection:
        deleted = deleted_champion(connection, registry)
    if deleted is None:
        return "no version is champion: the hand weights answer, and there is nothing to roll back"
    return f"version {deleted} was deleted in MLflow and answers wherever it is loaded: let another one answer with `litgo model promote`"


def _told(moved: Moved, before: str | None, experiment: Experiment | None) -> list[str]:
    lines = [f"{_named(moved.version)} answers, after {_named(before).lower()}: decision {moved.decision.id} of {moved.decision.actor}."]
    if moved.decision.evidence.get("override"):
        lines.append(f"Done in spite of this: {'; '.join(moved.decision.evidence['reasons'])}")
    elif moved.decision.action == "rollback":
        lines.append("; ".join(moved.decision.evidence["reasons"]))
    if experiment is not None:
        lines.append(f"The experiment of version {experiment.challenger} against {experiment.champion} has ended with it.")
    return lines


def _named(version: str | None) -> str:
    return "The hand weights" if version is None else f"Version {version}"


def _clock() -> datetime:
    return datetime.now(UTC)
