"""One look at the registry: finish what a dead process left, and follow what a person did there.

How either is done lives in `transitions` and `following`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from litgo_pipelines.rollout.decisions import Decision
from litgo_pipelines.rollout.following import alone, follow, follow_arms
from litgo_pipelines.rollout.rules import AliasResult
from litgo_pipelines.rollout.transitions import Clock, adopt_alone

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.rollout.registry import Registry


@dataclass(frozen=True)
class Reconciled:
    """What one look brought.

    Attributes:
        champion: the version that the alias points to; None: nobody.
        alias: what became of the alias since it was looked at last.
        recorded: what somebody else did, as recorded with this look.
        adopted: what became of moves that had been left unfinished.
    """

    champion: str | None
    alias: AliasResult
    recorded: tuple[Decision, ...]
    adopted: tuple[Decision, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return self.alias.kind != "unchanged" or bool(self.recorded) or bool(self.adopted)


def reconcile(engine: Engine, registry: Registry, *, clock: Clock) -> Reconciled:
    """Compare the registry with what is recorded of it, and record the difference; without one nothing is written.

    Raises:
        RegistryUnavailable: MLflow cannot be reached; what was not recorded is recorded with the next look.
        Busy: somebody else has been moving the alias for too long.
    """
    with alone(engine):
        adopted = adopt_alone(engine, registry, clock=clock)
        alias, moved = follow(engine, registry, at=clock())
        lost = follow_arms(engine, registry, at=clock())
    recorded = tuple(one for one in (moved, lost) if one is not None)
    return Reconciled(alias.evidence["observed"], alias, recorded, tuple(adopted))
