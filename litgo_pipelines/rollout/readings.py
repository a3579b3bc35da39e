"""What each look at an experiment saw: kept for verdicts that follow, for pictures and for reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from litgo_pipelines.rollout import decisions, experiments

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.rollout.experiments import Experiment
    from litgo_pipelines.rollout.readout import ExperimentResult

_PAST = """
SELECT read_at, figures FROM (
    SELECT read_at, figures, row_number() OVER (ORDER BY read_at) AS number, count(*) OVER () AS readings
    FROM litgo.experiment_readouts WHERE experiment_id = :id
) r
WHERE readings - number < :most OR number % GREATEST(1, readings / :most) = 0
ORDER BY read_at
"""
_NEWEST = "SELECT read_at, figures FROM litgo.experiment_readouts WHERE experiment_id = :id ORDER BY read_at DESC LIMIT 1"
_WON = """
SELECT figures FROM litgo.experiment_readouts WHERE experiment_id = :id AND figures ->> 'verdict' = 'promote'
ORDER BY read_at DESC LIMIT 1
"""
MOST_SHOWN: Final = 200


_KEEP = """
INSERT INTO litgo.experiment_readouts (experiment_id, read_at, figures) VALUES (:id, :at, CAST(:figures AS jsonb))
ON CONFLICT (experiment_id, read_at) DO UPDATE SET figures = EXCLUDED.figures
"""

_LAST_VERDICT = "SELECT figures ->> 'verdict' FROM litgo.experiment_readouts WHERE experiment_id = :id ORDER BY read_at DESC LIMIT 1"


@dataclass(frozen=True)
class PastReading:
    """One look: when, and what it saw, as `readout.ExperimentResult` in JSON."""

    read_at: datetime
    figures: dict[str, Any]


def keep_reading(
    connection: Connection, experiment: Experiment, result: ExperimentResult, *, at: datetime, run_id: str | None = None
) -> None:
    """Keep what a look saw; a verdict other than the last one's is a decision."""
    from sqlalchemy import text

    before = connection.execute(text(_LAST_VERDICT), {"id": experiment.id}).scalar_one_or_none()
    connection.execute(text(_KEEP), {"id": experiment.id, "at": at, "figures": result.model_dump_json()})
    if before != result.verdict:
        decisions.record(
            connection,
            "experiment read",
            actor=decisions.READOUT,
            reason="; ".join(result.reasons),
            at=at,
            result=result.verdict,
            from_version=experiments.registered(experiment.champion),
            to_version=experiment.challenger,
            evidence=result.evidence,
            run_id=run_id,
        )


def past_readings(connection: Connection, experiment_id: UUID) -> list[PastReading]:
    """The looks at an experiment, oldest first: the newest, and earlier ones thinned out."""
    from sqlalchemy import text

    rows = connection.execute(text(_PAST), {"id": experiment_id, "most": MOST_SHOWN})
    return [PastReading(*row) for row in rows]


def newest_reading(connection: Connection, experiment_id: UUID) -> PastReading | None:
    """The last look at an experiment; None where there was none."""
    from sqlalchemy import text

    row = connection.execute(text(_NEWEST), {"id": experiment_id}).one_or_none()
    return None if row is None else PastReading(*row)


def winning_reading(connection: Connection, experiment_id: UUID) -> dict[str, Any] | None:
    """The newest look that said `promote`, as `readout.ExperimentResult` in JSON; None where none did."""
    from sqlalchemy import text

    found: dict[str, Any] | None = connection.execute(text(_WON), {"id": experiment_id}).scalar_one_or_none()
    return found
