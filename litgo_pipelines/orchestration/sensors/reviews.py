"""Starts `retrain_ranker` when enough reviews came in since the last training."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import dagster as dg
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.orchestration.jobs import retrain_ranker
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.sensors.due import Plan, parsed, told_dagster

MOST_RETRIES = 3
BATCH_TAG = "litgo/review_batch"


class Cursor(BaseModel):
    """The batch of reviews last asked for, named by the number of reviews there were, and how often its run was started."""

    model_config = ConfigDict(frozen=True)

    batch: int = 0
    attempts: int = 0

    @property
    def run_key(self) -> str:
        """Of the run that it asked for."""
        return f"reviews-{self.batch}-attempt-{self.attempts}"


@dataclass(frozen=True)
class Observed:
    """What the sensor sees.

    Attributes:
        reviews: in the database now.
        reviews_trained: that the last completed training had seen.
        last_run: how the newest run of the cursor's batch stands; None where there is none.
    """

    reviews: int
    reviews_trained: int
    last_run: Literal["running", "failed", "ended"] | None


def plan(cursor: Cursor, observed: Observed, threshold: int) -> Plan[Cursor]:
    """Once for each batch of `threshold` new reviews; a failed run again, at most `MOST_RETRIES` times for the same batch."""
    if observed.last_run == "running":
        return Plan(False, cursor, f"training on {cursor.batch} reviews is under way")
    # A batch that has neither been trained on nor ended by itself is still owed.
    owed = cursor.attempts > 0 and observed.reviews_trained < cursor.batch and observed.last_run in ("failed", None)
    if owed and cursor.attempts <= MOST_RETRIES:
        again = Cursor(batch=cursor.batch, attempts=cursor.attempts + 1)
        return Plan(True, again, f"training on {cursor.batch} reviews failed: retry {cursor.attempts} of {MOST_RETRIES}")
    counted_from = max(observed.reviews_trained, cursor.batch)
    new = observed.reviews - counted_from
    if new >= threshold:
        return Plan(True, Cursor(batch=observed.reviews, attempts=1), f"{new} new reviews")
    gave_up = f"; training on {cursor.batch} reviews failed {cursor.attempts} times" if owed else ""
    return Plan(False, cursor, f"{new} of {threshold} new reviews since the last training{gave_up}")


def _observe(instance: dg.DagsterInstance, project: Project, cursor: Cursor) -> Observed:
    from litgo_pipelines.marketplace.match_log import reviews_seen
    from litgo_pipelines.rollout.trainings import reviews_at_last_training

    with project.connection() as connection:
        reviews = reviews_seen(connection, datetime.now(UTC))
        trained = reviews_at_last_training(connection)
    filters = dg.RunsFilter(job_name=retrain_ranker.name, tags={BATCH_TAG: str(cursor.batch)})
    runs = instance.get_runs(filters=filters, limit=1) if cursor.attempts else []
    state: Literal["running", "failed", "ended"] | None = None
    if runs:
        state = "failed" if runs[0].status is dg.DagsterRunStatus.FAILURE else "ended" if runs[0].is_finished else "running"
    return Observed(reviews, trained, state)


@dg.sensor(job=retrain_ranker, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def new_reviews(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
    """Retrains once `MIN_REVIEWS_FOR_RETRAIN` reviews came in since the last training."""
    cursor = parsed(Cursor, context.cursor)
    found = plan(cursor, _observe(context.instance, project, cursor), project.settings.min_reviews_for_retrain)
    return told_dagster(found, found.cursor.run_key, **{BATCH_TAG: str(found.cursor.batch)})
