"""What each look at an experiment saw, as it was kept: for pictures and reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from litgo_pipelines.rollout import decisions, experiments

if TYPE_CHECKING:
    from matplotlib.figure import Figure
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
_COLOURS = {"accepted": "#0072B2", "contract": "#D55E00", "preference": "#009E73"}
_WIDEST = 2.0


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


def interval_picture(past: list[PastReading]) -> bytes | None:
    """Lift of the metrics that decide, with their anytime-valid intervals, from look to look; PNG. None where nothing can be drawn yet."""
    import numpy as np
    from matplotlib.figure import Figure

    from litgo_pipelines.equity.pictures import small_png

    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for one in past:
        for figure in one.figures["figures"]:
            low, high = figure["low"], figure["high"]
            if figure["metric"] in _COLOURS and figure["lift"] is not None and low is not None and high is not None:
                lines.setdefault(figure["metric"], []).append(
                    ((one.read_at - past[0].read_at).total_seconds() / 86400, figure["lift"], low, high)
                )
    if not lines:
        return None
    picture: Figure = Figure(figsize=(7.2, 3.2), dpi=100, layout="constrained")
    axes = picture.add_subplot()
    axes.axhline(0, color="0.35", linewidth=1)
    for metric, points in lines.items():
        at, lift, low, high = (
            np.clip(column, -_WIDEST, _WIDEST) if i else np.array(column) for i, column in enumerate(zip(*points, strict=True))
        )
        axes.fill_between(at, low, high, color=_COLOURS[metric], alpha=0.15, step="post")
        axes.plot(at, lift, color=_COLOURS[metric], drawstyle="steps-post", marker="." if len(points) < 20 else None, label=metric)
    axes.set_xlabel("days since the first look")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
    axes.set_ylabel("lift of the challenger")
    axes.set_title("Lift with its interval, valid at every look", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    return small_png(picture)
