"""What one step of a training hands to the next: small, typed, JSON-serialisable. The data behind it lies in a file and in MLflow.

The steps themselves are in `steps`; this module stays light, because whoever wires steps together needs these types alone.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from litgo_pipelines.rollout.gate import Verdict

Metadata = dict[str, float | int | str]


class _HandOver(BaseModel):
    model_config = ConfigDict(frozen=True)


class TrainingSetRef(_HandOver):
    """A training set that was written down.

    Attributes:
        run_id: the MLflow run that follows it.
        path: the parquet file on this machine; another machine takes it from the run's artifacts.
        fingerprint: of the rows and their split.
        reviews_seen: reviews in the database when it was read.
        insufficient: what is missing; None where there is enough to train on.
    """

    run_id: str
    path: Path
    fingerprint: str
    as_of: datetime
    rows: int
    groups: int
    cases: int
    held_out_cases: int
    reviews_seen: int
    insufficient: str | None = None


class CandidateRef(_HandOver):
    """A trained and registered version; None where there was too little data."""

    training_set: TrainingSetRef
    version: str | None
    insufficient: str | None = None


class EvaluationRef(_HandOver):
    """What the gate said about a candidate against the incumbent (`champion` None: the hand weights), and what it judged by."""

    candidate: CandidateRef
    champion: str | None
    verdict: Verdict
    reasons: list[str]
    evidence: dict[str, Any] = {}


class PromotionResult(_HandOver):
    """What became of a candidate.

    `superseded`: somebody moved the alias in the meantime, and it was left there. `refused`: frozen, cooling down or blocked.
    """

    outcome: Literal["promoted", "not promoted", "superseded", "refused", "experiment started", "experiment waits"]
    verdict: Verdict
    version: str | None
    previous: str | None
    reason: str
