"""Which trainings were completed, and how many reviews each had seen: what decides when the next one is due."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from litgo_pipelines.marketplace import tables
from litgo_pipelines.rollout.gate import Verdict

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True)
class Training:
    """A completed training, whatever its verdict."""

    dagster_run_id: str
    reviews_seen: int
    dataset_fingerprint: str
    mlflow_run_id: str
    model_version: str | None
    verdict: Verdict


def record_training(engine: Engine, training: Training, *, at: datetime) -> None:
    """Write a training down; the same Dagster run counts once."""
    from sqlalchemy.dialects.postgresql import insert

    statement = insert(tables.trainings).values(**asdict(training), finished_at=at)
    values = {name: statement.excluded[name] for name in ("reviews_seen", "model_version", "verdict", "finished_at")}
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["dagster_run_id"], set_=values))


def reviews_at_last_training(connection: Connection) -> int:
    """The most reviews that a completed training had seen; 0 before the first. One that looked at the past takes none back."""
    from sqlalchemy import func, select

    return int(connection.execute(select(func.max(tables.trainings.c.reviews_seen))).scalar() or 0)
