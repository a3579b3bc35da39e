"""When the alias `champion` may move, where a rollback goes, and what is made of a move by somebody else. Pure: evidence in, verdict out.

How the evidence is gathered and a verdict carried out lives in `transitions` and `following`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from litgo_pipelines.rollout.states import Proof

Kind = Literal["unchanged", "first look", "moved", "removed", "version deleted"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class PromotionEvidence(_Frozen):
    """What decides whether a version may become champion.

    Attributes:
        version: the one to promote.
        expected, found: champion that this was decided against, and the one there is; None: the hand weights answer.
        unusable: why the version could not answer, such as golden scores that differ; None: it loads.
        state: what is known of the version.
        frozen: who froze the models, since when and why, in words; None: nobody.
        cooldown_until: until when nothing is promoted by itself after a rollback.
        at: moment of the judgement.
        by_itself: whether no person decided it.
        why: what speaks for the version.
        upstream: the verdict that spoke for it, with its own evidence.
        trial: how the experiment that it won stands; None where it won none.
    """

    version: str
    expected: str | None
    found: str | None
    unusable: str | None
    state: Proof
    frozen: str | None
    cooldown_until: datetime | None
    at: datetime
    by_itself: bool
    why: Literal["gate", "experiment", "person"]
    upstream: dict[str, Any]
    trial: Literal["running", "approval", "ended"] | None = None


class PromotionResult(_Frozen):
    """Whether a version may become champion, why, and the evidence it can be computed from again.

    Attributes:
        override: whether a person may do what would not be done by itself; the reasons then say what stood against it.
    """

    verdict: Literal["allowed", "refused", "superseded"]
    override: bool
    by_itself: bool
    reasons: list[str]
    evidence: dict[str, Any]


def judge_promotion(evidence: PromotionEvidence) -> PromotionResult:
    """Allow what nothing stands against; a person may although models are frozen or cooling down, or the version is blocked.

    - The alias stands elsewhere than where it was decided: superseded, whoever asks. So it is where the experiment that spoke for the
      version has ended otherwise meanwhile.
    - The version is champion already, or could not answer: refused, whoever asks.
    - Frozen, cooling down, or blocked: refused by itself; allowed as an override where a person asks.
    """
    version = evidence.version
    if evidence.found != evidence.expected:
        reason = f"it was decided against {_called(evidence.expected)}, but {_called(evidence.found)} answers"
        return _promotion("superseded", [reason], evidence)
    if evidence.trial == "ended":
        return _promotion("superseded", [f"the experiment of version {version} has ended meanwhile"], evidence)
    if evidence.found == version:
        return _promotion("refused", [f"version {version} is champion already"], evidence)
    if evidence.unusable is not None:
        return _promotion("refused", [f"version {version} cannot answer: {evidence.unusable}"], evidence)
    against = _against(evidence)
    if against and evidence.by_itself:
        return _promotion("refused", against, evidence)
    return _promotion("allowed", against, evidence)


def _against(evidence: PromotionEvidence) -> list[str]:
    found = []
    if evidence.frozen is not None:
        found.append(f"models are {evidence.frozen}")
    if evidence.cooldown_until is not None and evidence.at < evidence.cooldown_until:
        found.append(f"after a rollback nothing is promoted by itself until {evidence.cooldown_until.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    if evidence.state == "blocked":
        found.append(f"version {evidence.version} is blocked")
    return found


def _promotion(verdict: Literal["allowed", "refused", "superseded"], reasons: list[str], evidence: PromotionEvidence) -> PromotionResult:
    return PromotionResult(
        verdict=verdict,
        override=verdict == "allowed" and bool(reasons),
        by_itself=evidence.by_itself,
        reasons=reasons,
        evidence=evidence.model_dump(mode="json"),
    )


class Former(_Frozen):
    """A version that answered before.

    Attributes:
        exists: whether the registry still has it; None: not looked at, because it is no choice anyway or a later one was.
        unusable: why it could not answer; None: it loads, or was not looked at.
    """

    version: str
    state: Proof
    exists: bool | None = None
    unusable: str | None = None


class RollbackEvidence(_Frozen):
    """What decides where a rollback goes.

    Attributes:
        champion: the version to be withdrawn.
        found: the champion there is.
        formers: versions that answered before, the latest first; the champion is none of them.
        frozen: who froze the models, since when and why, in words; None: nobody.
        by_itself: whether no person decided it.
        cooldown_hours: during which nothing is promoted by itself afterwards.
        upstream: the verdict that spoke against the champion, with its own evidence.
    """

    champion: str
    found: str | None
    formers: tuple[Former, ...]
    frozen: str | None
    by_itself: bool
    cooldown_hours: float
    upstream: dict[str, Any]


class RollbackResult(_Frozen):
    """Where a rollback goes, why, and the evidence it can be computed from again.

    Attributes:
        target: version that answers afterwards; None: the hand weights, or nothing moves.
        override: whether a person may do what would not be done by itself.
    """

    verdict: Literal["version", "hand weights", "held", "superseded"]
    target: str | None
    override: bool
    by_itself: bool
    reasons: list[str]
    evidence: dict[str, Any]


def judge_rollback(evidence: RollbackEvidence) -> RollbackResult:
    """Go back to the version that answered last among those that are proven, still registered, and load; else to the hand weights.

    The champion is another one already: superseded. Frozen: held, unless a person asks.
    """
    if evidence.found != evidence.champion:
        return _rollback("superseded", None, [f"version {evidence.champion} is not champion: {_called(evidence.found)} answers"], evidence)
    if evidence.frozen is not None and evidence.by_itself:
        return _rollback("held", None, [f"models are {evidence.frozen}"], evidence)
    reasons = [] if evidence.frozen is None else [f"although models are {evidence.frozen}"]
    for former in evidence.formers:
        against = why_no_target(former)
        if against is None:
            return _rollback("version", former.version, [*reasons, f"version {former.version} is proven and answered last"], evidence)
        reasons.append(f"not to version {former.version}: {against}")
    return _rollback("hand weights", None, [*reasons, "no proven version is left to go back to"], evidence)


def why_no_target(former: Former) -> str | None:
    """What stands against going back to a version; None: nothing."""
    if former.state != "proven":
        return f"it is {former.state}"
    if former.exists is None:
        return "it was not looked at"
    if not former.exists:
        return "it was deleted"
    return former.unusable


def _rollback(
    verdict: Literal["version", "hand weights", "held", "superseded"], target: str | None, reasons: list[str], evidence: RollbackEvidence
) -> RollbackResult:
    return RollbackResult(
        verdict=verdict,
        target=target,
        override=verdict in ("version", "hand weights") and evidence.frozen is not None,
        by_itself=evidence.by_itself,
        reasons=reasons,
        evidence=evidence.model_dump(mode="json"),
    )


class Unfinished(_Frozen):
    """A move of the alias that was begun by us and not concluded."""

    operation_id: str
    from_version: str | None
    to_version: str | None


class AliasEvidence(_Frozen):
    """What is seen of the alias, beside what was recorded of it last.

    Attributes:
        looked_before: whether anything was ever recorded.
        recorded, observed: version that it pointed to, and points to; None: nobody.
        recorded_exists: whether the registry still has the recorded version; None where none was recorded.
        state: what is known of the observed version; None where there is none.
        unfinished: what we began to move ourselves.
    """

    looked_before: bool
    recorded: str | None
    observed: str | None
    recorded_exists: bool | None
    state: Proof | None
    unfinished: tuple[Unfinished, ...] = ()


class AliasResult(_Frozen):
    """What became of the alias, and the evidence it can be computed from again.

    Attributes:
        override: whether somebody let a blocked version answer.
        alert: whether people are told.
    """

    kind: Kind
    override: bool
    alert: bool
    reasons: list[str]
    evidence: dict[str, Any]


def judge_alias(evidence: AliasEvidence) -> AliasResult:
    """Tell a move by somebody else from one of ours, from a deleted version, and from the first look, which blames nobody."""
    recorded, observed = evidence.recorded, evidence.observed
    if not evidence.looked_before:
        return _alias("first look", [f"{_called(observed)} was found to answer"], evidence)
    if observed == recorded:
        return _alias("unchanged", [], evidence)
    if any(one.to_version == observed for one in evidence.unfinished):
        return _alias("unchanged", ["a move of ours is about to be concluded"], evidence)
    if observed is not None:
        before = "nobody was champion" if recorded is None else f"{_called(recorded)} was champion"
        gone = [] if evidence.recorded_exists in (True, None) else [f"version {recorded} was deleted"]
        blocked = [f"version {observed} was blocked: it is followed all the same"] if evidence.state == "blocked" else []
        return _alias("moved", [f"{before}, {_called(observed)} was chosen in MLflow", *gone, *blocked], evidence)
    if evidence.recorded_exists:
        return _alias("removed", [f"the alias was taken from version {recorded} in MLflow: the hand weights answer"], evidence)
    return _alias(
        "version deleted",
        [f"version {recorded}, the champion, was deleted in MLflow: what has it loaded keeps answering with it"],
        evidence,
    )


def _alias(kind: Kind, reasons: list[str], evidence: AliasEvidence) -> AliasResult:
    foreign = kind in ("moved", "removed", "version deleted")
    return AliasResult(
        kind=kind,
        override=foreign and evidence.state == "blocked",
        alert=foreign,
        reasons=reasons,
        evidence=evidence.model_dump(mode="json"),
    )


def _called(version: str | None) -> str:
    return "the hand weights" if version is None else f"version {version}"
