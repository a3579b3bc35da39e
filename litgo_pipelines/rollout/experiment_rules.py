"""When an experiment may start, go on to the next step of its ramp, and when a champion counts as proven. Pure: evidence in, verdict out.

What an experiment shows is judged in `readout`; what is done about it in `experiments`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

LEAST_EXPOSED = 100
"""Clients whom treatment must have reached at a step before the next one, unless it has lasted `PATIENCE` times as long as it must."""
PATIENCE = 2.0
"""In a small marketplace a hundred clients of one in a hundred would take months; what a step is to show by then shows at the next one."""
LEAST_WATCHED = 500
"""Decisions that the watch must have seen before a champion counts as proven."""


class _Evidence(BaseModel):
    model_config = ConfigDict(frozen=True)


class StartEvidence(_Evidence):
    """What decides whether a candidate starts its experiment.

    Attributes:
        challenger: the version that wants to start.
        champion: what answers now, or `hand-weights`.
        running: id of the experiment that runs, if one does.
        frozen_by: who froze the models; None: nobody.
        hours_to_cool: hours until something may be promoted again after a rollback; 0 or less: now.
        state: what is known of the challenger.
        registered: whether the registry still has it.
        by_itself: whether no person asked for it; a person may start in spite of a freeze or a cool-down.
    """

    challenger: str
    champion: str
    running: str | None
    frozen_by: str | None
    hours_to_cool: float
    state: Literal["unproven", "proven", "blocked"]
    registered: bool
    by_itself: bool


class Ruling(BaseModel):
    """A verdict, why, and the evidence it can be computed from again."""

    model_config = ConfigDict(frozen=True)

    verdict: str
    reasons: list[str]
    evidence: dict[str, Any]


def judge_start(evidence: StartEvidence) -> Ruling:
    """`start`, `wait` (in line, for the running one to end or a freeze to be lifted) or `refuse`."""
    if not evidence.registered:
        return _ruling("refuse", [f"the registry has no version {evidence.challenger}"], evidence)
    if evidence.challenger == evidence.champion:
        return _ruling("refuse", [f"version {evidence.challenger} is champion already"], evidence)
    if evidence.state == "blocked":
        return _ruling("refuse", [f"version {evidence.challenger} is blocked"], evidence)
    waits = []
    if evidence.running is not None:
        waits.append(f"experiment {evidence.running} runs: one at a time")
    if evidence.by_itself and evidence.frozen_by is not None:
        waits.append(f"frozen by {evidence.frozen_by}")
    if evidence.by_itself and evidence.hours_to_cool > 0:
        waits.append(f"cooling down for another {evidence.hours_to_cool:.1f} h after a rollback")
    return _ruling("wait" if waits else "start", waits or [f"version {evidence.challenger} against {evidence.champion}"], evidence)


class RampEvidence(_Evidence):
    """What decides whether treatment gets more clients.

    Attributes:
        step, steps: where the ramp stands.
        hours: since this step began.
        least_hours: that each step lasts.
        exposed: clients that treatment reached at this step.
        verdict: of the readout.
        sample_ratio_alarm: whether clients are lost on one side.
        guardrails_hold: whether every guardrail that is known holds.
        frozen_by: who froze the models; None: nobody.
    """

    step: int
    steps: tuple[float, ...]
    hours: float
    least_hours: float
    exposed: int
    verdict: str
    sample_ratio_alarm: bool
    guardrails_hold: bool
    frozen_by: str | None


def judge_ramp(evidence: RampEvidence) -> Ruling:
    """`ramp` or `stay`."""
    against = []
    if evidence.step + 1 >= len(evidence.steps):
        against.append(f"{100 * evidence.steps[evidence.step]:g}% is the last step")
    if evidence.verdict not in ("go on", "insufficient data"):
        against.append(f"the readout says {evidence.verdict}")
    if evidence.sample_ratio_alarm:
        against.append("clients are lost on one side")
    if not evidence.guardrails_hold:
        against.append("a guardrail does not hold")
    if evidence.frozen_by is not None:
        against.append(f"frozen by {evidence.frozen_by}")
    if evidence.hours < evidence.least_hours:
        against.append(f"{evidence.hours:.1f} of {evidence.least_hours:g} h at this step")
    if evidence.exposed < LEAST_EXPOSED and evidence.hours < PATIENCE * evidence.least_hours:
        against.append(f"{evidence.exposed} of {LEAST_EXPOSED} clients in treatment at this step")
    if against:
        return _ruling("stay", against, evidence)
    return _ruling(
        "ramp", [f"from {100 * evidence.steps[evidence.step]:g}% to {100 * evidence.steps[evidence.step + 1]:g}% of the clients"], evidence
    )


class ProvenEvidence(_Evidence):
    """What decides whether a champion counts as proven by its watch: hours since it is called healthy, and decisions judged.

    Attributes:
        state: what is known of it.
        hours, least_hours: watched, and to be watched.
        decisions: watched.
        verdict: of the watch.
        reference_after_block: whether the watch compares it with decisions made after it had been blocked, which may be bad ones.
    """

    version: str
    state: Literal["unproven", "proven", "blocked"]
    hours: float
    least_hours: float
    decisions: int
    verdict: Literal["healthy", "degraded", "insufficient data"]
    reference_after_block: bool = False


def judge_proven(evidence: ProvenEvidence) -> Ruling:
    """`proven` or `not yet`."""
    against = []
    if evidence.state != "unproven":
        against.append(f"it is {evidence.state}")
    if evidence.verdict != "healthy":
        against.append(f"the watch says {evidence.verdict}")
    if evidence.reference_after_block:
        against.append("it was blocked, and is compared with what it has done since")
    if evidence.hours < evidence.least_hours:
        against.append(f"{evidence.hours:.1f} of {evidence.least_hours:g} h watched")
    if evidence.decisions < LEAST_WATCHED:
        against.append(f"{evidence.decisions} of {LEAST_WATCHED} decisions watched")
    if against:
        return _ruling("not yet", against, evidence)
    return _ruling("proven", [f"healthy for {evidence.hours:.0f} h and {evidence.decisions} decisions"], evidence)


def _ruling(verdict: str, reasons: list[str], evidence: _Evidence) -> Ruling:
    return Ruling(verdict=verdict, reasons=reasons, evidence=evidence.model_dump(mode="json"))
