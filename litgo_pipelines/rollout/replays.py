"""Recorded decisions computed again from their evidence alone. Pure: no database, no registry, no clock.

The rules themselves are where they are used: `gate`, `readout`, `watch`, `rules`, `experiment_rules`. Here stands which of them a kind of
decision rests on, what may be recorded of each verdict, and which verdict must have come before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ValidationError

from litgo_pipelines.rollout.decisions import ACTIONS, Action, Decision
from litgo_pipelines.rollout.experiment_rules import (
    ProvenEvidence,
    RampEvidence,
    StartEvidence,
    judge_proven,
    judge_ramp,
    judge_start,
)
from litgo_pipelines.rollout.gate import GateEvidence, judge
from litgo_pipelines.rollout.readout import ExperimentEvidence, judge_experiment
from litgo_pipelines.rollout.rules import (
    AliasEvidence,
    PromotionEvidence,
    RollbackEvidence,
    judge_alias,
    judge_promotion,
    judge_rollback,
)
from litgo_pipelines.rollout.watch import WatchEvidence, judge_watch
from litgo_pipelines.settings import LitgoError

_JUDGES: Final[dict[type[BaseModel], Callable[[Any], BaseModel]]] = {
    GateEvidence: judge,
    ExperimentEvidence: judge_experiment,
    WatchEvidence: judge_watch,
    PromotionEvidence: judge_promotion,
    RollbackEvidence: judge_rollback,
    AliasEvidence: judge_alias,
    StartEvidence: judge_start,
    RampEvidence: judge_ramp,
    ProvenEvidence: judge_proven,
}

_NESTED: Final = ("evidence", "upstream")
_DIGITS: Final = 9
_WORDS: Final = "reasons"


class NotADecision(LitgoError, ValueError):
    """What is to be replayed is not a decision as `litgo model show --json` prints it."""


@dataclass(frozen=True)
class Judgement:
    """A verdict computed from evidence.

    Attributes:
        where: the place of the evidence within the decision's, such as `evidence.upstream`; empty for the decision's own.
        rests_on: the evidence.
        verdict: its verdict (for the alias: its kind), and all that was computed beside it, as JSON has it, the evidence left out.
        recorded: the same as it was recorded beside the evidence; empty where only the evidence was.
    """

    where: str
    rests_on: BaseModel
    verdict: dict[str, Any]
    recorded: dict[str, Any]

    @property
    def word(self) -> str:
        return str(self.verdict.get("verdict", self.verdict.get("kind")))


@dataclass(frozen=True)
class Replayed:
    """A decision as it was recorded and as it comes out again.

    Attributes:
        same: whether nothing differs.
        recorded: result and versions as recorded.
        recomputed: every verdict by the place of its evidence; empty where nothing was computed.
        differences: what differs, a line each.
        notes: reasons that come out in other words than were recorded, a line each: releases may word them otherwise.
        told: in one line, what the replay did.
    """

    same: bool
    recorded: dict[str, Any]
    recomputed: dict[str, Any]
    differences: list[str]
    notes: list[str]
    told: str


@dataclass(frozen=True)
class _Rule:
    """What a kind of decision rests on.

    Attributes:
        on: evidence it may rest on; empty: a person decides, and nothing is computed.
        results: what may be recorded, by the verdict.
        without: results that rest on no evidence: they follow from something else that was decided.
        more: what else must hold.
    """

    on: tuple[type[BaseModel], ...] = ()
    results: Mapping[str, Collection[str]] = field(default_factory=dict)
    without: Collection[str] = ()
    more: Callable[[Decision, list[Judgement]], Iterator[str]] | None = None


def recompute(action: Action, evidence: Mapping[str, Any]) -> list[Judgement]:
    """Every verdict that the evidence of a decision holds the grounds of: its own first, then those that it rests on.

    Empty where nothing was computed: a person decided, or it follows from another decision.

    Raises:
        NotADecision: the evidence names a rule's grounds but is none of them, or is that of another kind of decision.
    """
    found = list(judgements(evidence))
    if found and RULES[action].on and not isinstance(found[0].rests_on, RULES[action].on):
        raise NotADecision(
            f"the evidence of a decision “{action}” is a {type(found[0].rests_on).__name__}: it was recorded for another kind"
        )
    return found


def replay(decision: Decision) -> Replayed:
    """Compute a decision again, and say whether it comes out as it was recorded.

    A decision that a person took has nothing to compute: it holds where a name and a reason are recorded.

    Raises:
        NotADecision: the evidence cannot be read as that of such a decision.
    """
    rule = RULES[decision.action]
    found = recompute(decision.action, decision.evidence)
    differences = [*_nameless(decision), *_unlike(found), *_wrong_result(decision, rule, found)]
    if rule.more is not None:
        differences += rule.more(decision, found)
    return Replayed(
        same=not differences,
        recorded={"result": decision.result, "from_version": decision.from_version, "to_version": decision.to_version},
        recomputed={one.where or "decision": one.verdict for one in found},
        differences=differences,
        notes=list(_worded_otherwise(found)),
        told=_told(decision, found),
    )


def read_decision(text: str) -> Decision:
    """A decision as `litgo model show --json` prints it.

    Raises:
        NotADecision: it is none.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise NotADecision(f"this is no JSON ({error}): make the file with `litgo model show NUMBER --json`") from None
    names = [one.name for one in fields(Decision)]
    missing = [name for name in names if not isinstance(found, dict) or name not in found]
    if missing:
        raise NotADecision(f"this is no decision, it lacks {', '.join(missing)}: make the file with `litgo model show NUMBER --json`")
    if found["action"] not in ACTIONS or not isinstance(found["evidence"], dict):
        raise NotADecision(f"there is no kind of decision {found['action']!r}: make the file with `litgo model show NUMBER --json`")
    given = {name: found[name] for name in names}
    try:
        given |= {"operation_id": UUID(given["operation_id"]), "decided_at": datetime.fromisoformat(given["decided_at"])}
    except (TypeError, ValueError) as error:
        raise NotADecision(f"this is no decision ({error}): make the file with `litgo model show NUMBER --json`") from None
    return Decision(**given)


def judgements(found: Mapping[str, Any], path: tuple[str, ...] = (), around: Mapping[str, Any] | None = None) -> Iterator[Judgement]:
    """Every verdict whose evidence stands in `found`, from the outermost inwards.

    Args:
        path: where `found` stands.
        around: what was recorded beside it.

    Raises:
        NotADecision: something has the fields of a rule's evidence and cannot be read as such.
    """
    model = _model_of(found)
    if model is not None:
        verdict = _json(_JUDGES[model](_read(model, found)))
        recorded = {name: value for name, value in (around or {}).items() if name in verdict}
        yield Judgement(".".join(path), _read(model, found), verdict, recorded)
    for name in _NESTED:
        below = found.get(name)
        if isinstance(below, Mapping):
            # Beside `upstream` stands the evidence of who asked, not a verdict on what is below.
            yield from judgements(below, (*path, name), found if name == "evidence" else None)


def _model_of(found: Mapping[str, Any]) -> type[BaseModel] | None:
    """The evidence that this is, told by its fields: all that it must have and none besides."""
    for model in _JUDGES:
        needed = {name for name, one in model.model_fields.items() if one.is_required()}
        if needed <= found.keys() <= model.model_fields.keys():
            return model
    return None


def _read(model: type[BaseModel], found: Mapping[str, Any]) -> BaseModel:
    try:
        return model.model_validate(dict(found))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise NotADecision(f"the evidence cannot be read as a {model.__name__}: {where}: {first['msg']}") from None


def _json(result: BaseModel) -> dict[str, Any]:
    return {name: value for name, value in result.model_dump(mode="json").items() if name != "evidence"}


def _nameless(decision: Decision) -> Iterator[str]:
    if not decision.actor.strip():
        yield "nobody is recorded who decided it"
    if not decision.reason.strip():
        yield "no reason is recorded"


def _unlike(found: list[Judgement]) -> Iterator[str]:
    """Where what was recorded beside the evidence is not what comes out of it."""
    for one in found:
        for name, recorded in one.recorded.items():
            if name != _WORDS and not _alike(recorded, one.verdict[name]):
                yield f"{_place(one)}{name} was recorded as {_short(recorded)}, {_short(one.verdict[name])} comes out"


def _worded_otherwise(found: list[Judgement]) -> Iterator[str]:
    for one in found:
        recorded, computed = one.recorded.get(_WORDS), one.verdict.get(_WORDS)
        if recorded is not None and recorded != computed:
            yield f"{_place(one)}the reasons were recorded as {_short(recorded)} and come out as {_short(computed)}"


def _place(one: Judgement) -> str:
    return f"{one.where}: " if one.where else ""


def _alike(recorded: Any, computed: Any) -> bool:
    """Whether two values of JSON are the same; numbers to nine digits, which another processor's arithmetic may take from them."""
    if isinstance(recorded, bool) or isinstance(computed, bool):
        return recorded is computed
    if isinstance(recorded, int | float) and isinstance(computed, int | float):
        return float(f"{recorded:.{_DIGITS}g}") == float(f"{computed:.{_DIGITS}g}")
    if isinstance(recorded, dict) and isinstance(computed, dict):
        return recorded.keys() == computed.keys() and all(_alike(recorded[name], computed[name]) for name in recorded)
    if isinstance(recorded, list) and isinstance(computed, list):
        return len(recorded) == len(computed) and all(map(_alike, recorded, computed))
    return bool(recorded == computed)


def _short(value: Any) -> str:
    told = json.dumps(value, ensure_ascii=False)
    return told if len(told) <= 300 else f"{told[:300]}…"


def _wrong_result(decision: Decision, rule: _Rule, found: list[Judgement]) -> Iterator[str]:
    if not rule.on or decision.result is None:
        return
    if not found:
        if decision.result not in rule.without:
            yield f"“{decision.result}” was recorded without evidence to compute it from"
        return
    may_be = rule.results.get(found[0].word, ())
    if decision.result not in may_be:
        expected = " or ".join(f"“{one}”" for one in sorted(may_be)) or "nothing that is recorded"
        yield f"“{decision.result}” was recorded; the verdict {found[0].word} gives {expected}"


def _told(decision: Decision, found: list[Judgement]) -> str:
    if found:
        upstream = [f"{type(one.rests_on).__name__}: {one.word}" for one in found[1:]]
        rests = f", which rests on {', '.join(upstream)}" if upstream else ""
        return f"{decision.action} computed again from its evidence: {found[0].word}{rests}"
    if not RULES[decision.action].on:
        return f"{decision.action} was decided by {decision.actor}: nothing to compute, name and reason are what is checked"
    return f"{decision.action} follows from something else ({decision.actor}): nothing to compute, name and reason are what is checked"


def _versions(decision: Decision, from_version: str | None, to_version: str | None) -> Iterator[str]:
    if (decision.from_version, decision.to_version) != (from_version, to_version):
        yield (
            f"from {decision.from_version or 'hand-weights'} to {decision.to_version or 'hand-weights'} was recorded, "
            f"from {from_version or 'hand-weights'} to {to_version or 'hand-weights'} comes out"
        )


def _of_promotion(decision: Decision, found: list[Judgement]) -> Iterator[str]:
    """It goes from who answered to the version asked for, and what moves by itself rests on a verdict that speaks for it."""
    if not found or not isinstance(found[0].rests_on, PromotionEvidence):
        return
    evidence = found[0].rests_on
    yield from _versions(decision, evidence.found, evidence.version)
    yield from _overtaken(decision, found[0])
    if found[0].word == "allowed" and evidence.why != "person":
        yield from _spoken(found[1:], {"gate": "pass", "experiment": "promote"}[evidence.why])


def _of_rollback(decision: Decision, found: list[Judgement]) -> Iterator[str]:
    """It goes from the champion to the target, and what moves by itself rests on a watch that calls the champion degraded."""
    if not found or not isinstance(found[0].rests_on, RollbackEvidence):
        return
    evidence, target = found[0].rests_on, found[0].verdict["target"]
    if found[0].word in ("version", "hand weights"):
        yield from _versions(decision, evidence.champion, target)
        yield from _overtaken(decision, found[0])
        if evidence.by_itself:
            yield from _spoken(found[1:], "degraded")


def _overtaken(decision: Decision, own: Judgement) -> Iterator[str]:
    """A move that was allowed and then superseded was overtaken: the alias was seen elsewhere, or another target had to be found."""
    if decision.evidence.get("instead", {}).get("target", decision.to_version) != decision.to_version:
        return
    if decision.result == "superseded" and own.word in ("allowed", "version", "hand weights"):
        if "seen" not in decision.evidence:
            yield f"“superseded” was recorded; the verdict {own.word} gives “done”, and nothing is recorded that overtook it"
        elif decision.evidence["seen"] == decision.from_version:
            yield "“superseded” was recorded, but the alias was seen where it stood before"


def _spoken(upstream: list[Judgement], wanted: str) -> Iterator[str]:
    if not upstream:
        yield f"it moved, but the verdict behind it is not recorded (“{wanted}” is needed)"
    elif upstream[0].word != wanted:
        yield f"it moved on the verdict {upstream[0].word}; “{wanted}” is needed"


def _of_end(decision: Decision, found: list[Judgement]) -> Iterator[str]:
    """Whoever won, won by a reading that says so, also where a person had to approve it."""
    if found and decision.result == "promote" and found[0].word != "promote":
        yield f"“promote” was recorded; the verdict is {found[0].word}"


def _of_alias(decision: Decision, found: list[Judgement]) -> Iterator[str]:
    """The versions are those that were recorded and observed; a deleted version stands on both sides."""
    if not found or not isinstance(found[0].rests_on, AliasEvidence):
        if decision.action == "version deleted" and "arms" in decision.evidence:
            yield from _of_deleted_arm(decision)
        return
    evidence = found[0].rests_on
    deleted = decision.action == "version deleted"
    yield from _versions(decision, evidence.recorded, evidence.recorded if deleted else evidence.observed)
    if deleted != (found[0].word == "version deleted"):
        yield f"“{decision.action}” was recorded; {found[0].word} comes out"
    if decision.result is not None and (decision.result == "override") != found[0].verdict["override"]:
        yield f"“{decision.result}” was recorded; override comes out as {found[0].verdict['override']}"


def _of_deleted_arm(decision: Decision) -> Iterator[str]:
    gone = decision.evidence.get("deleted")
    if gone not in decision.evidence["arms"]:
        yield f"version {gone} was no arm of the experiment ({', '.join(map(str, decision.evidence['arms']))})"
    yield from _versions(decision, gone, gone)


_MOVED = {"allowed": ("done", "superseded"), "refused": ("refused",), "superseded": ("superseded",)}
_WITHDRAWN = {"version": ("done", "superseded"), "hand weights": ("done", "superseded"), "held": ("held",), "superseded": ("superseded",)}
_FOLLOWED = dict.fromkeys(("moved", "removed", "version deleted"), ("followed", "override", "noted"))
_SAME = {one: (one,) for one in ("pass", "fail", "insufficient data", "promote", "harm", "go on", "inconclusive", "healthy", "degraded")}
_ENDED = {
    "promote": ("promote",),
    "harm": ("harm",),
    "inconclusive": ("inconclusive", "promote"),
    "go on": ("promote",),
    "insufficient data": ("promote",),
    "refuse": ("stopped",),
}

RULES: Final[dict[Action, _Rule]] = {
    "gate": _Rule((GateEvidence,), _SAME, without=("insufficient data",)),
    "promotion": _Rule((PromotionEvidence,), _MOVED, more=_of_promotion),
    "rollback": _Rule((RollbackEvidence,), _WITHDRAWN, more=_of_rollback),
    "experiment queued": _Rule((GateEvidence, ExperimentEvidence), {"pass": ("waits",), "promote": ("waits",)}, without=("waits",)),
    "experiment started": _Rule((StartEvidence,), {"start": ("start",)}),
    "experiment ramped": _Rule((RampEvidence,), {"ramp": ("ramp",)}),
    "experiment read": _Rule((ExperimentEvidence,), _SAME),
    "experiment ended": _Rule((ExperimentEvidence, StartEvidence), _ENDED, without=("stopped", "replaced"), more=_of_end),
    "watch": _Rule((WatchEvidence,), _SAME),
    "alias moved": _Rule((AliasEvidence,), _FOLLOWED, more=_of_alias),
    "version deleted": _Rule((AliasEvidence,), _FOLLOWED, without=("noted",), more=_of_alias),
    "proven": _Rule((ProvenEvidence,), {"proven": ("proven",)}),
    "approval": _Rule(),
    "freeze": _Rule(),
    "unfreeze": _Rule(),
    "annotation": _Rule(),
}
"""What each kind of decision rests on."""
