"""Asset checks: a verdict is shown, only corrupt data blocks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import dagster as dg
import pytest

from litgo_pipelines.orchestration.checks import CHECKS, candidate_passed_the_gate
from litgo_pipelines.rollout.handovers import CandidateRef, EvaluationRef, TrainingSetRef

if TYPE_CHECKING:
    from litgo_pipelines.rollout.gate import Verdict


def _evaluation(verdict: Verdict) -> EvaluationRef:
    training_set = TrainingSetRef(
        run_id="r",
        path=Path("x.parquet"),
        fingerprint="f",
        as_of=datetime(2026, 1, 1, tzinfo=UTC),
        rows=1,
        groups=1,
        cases=1,
        held_out_cases=1,
        reviews_seen=1,
    )
    return EvaluationRef(
        candidate=CandidateRef(training_set=training_set, version="3"), champion=None, verdict=verdict, reasons=["first", "second"]
    )


@pytest.mark.parametrize(("verdict", "passed"), [("pass", True), ("fail", False), ("insufficient data", False)])
def test_the_gates_verdict_is_shown_as_a_warning_at_most(verdict: Verdict, passed: bool) -> None:
    """Only a pass passes; its reasons can be read in the UI."""
    found = cast("dg.AssetCheckResult", candidate_passed_the_gate(_evaluation(verdict)))
    assert found.passed is passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.metadata["verdict"].value == verdict
    assert found.metadata["reasons"].value == "first; second"


def test_only_the_snapshots_check_blocks() -> None:
    """A candidate that fails the gate, or a month that breaks a promise, fails no run."""
    blocking = {spec.name for check in CHECKS for spec in check.check_specs if spec.blocking}
    assert blocking == {"snapshot_is_complete"}


def test_every_check_says_what_it_checks() -> None:
    """A description for the UI."""
    assert all(spec.description for check in CHECKS for spec in check.check_specs)
