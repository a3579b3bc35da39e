"""Asset checks: told when one begins to fail, fails more severely, or passes again; not each time it is evaluated.

A verdict of `insufficient data` is neither: it leaves a check as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import dagster as dg
from pydantic import BaseModel, ConfigDict

from litgo_pipelines.orchestration.operations.messages import Links, Message, told_at

if TYPE_CHECKING:
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord, AssetCheckExecutionRecordStatus

Verdict = Literal["pass", "WARN", "ERROR", "insufficient data"]

NOT_TOLD: Final = frozenset({"candidate_evaluation:candidate_passed_the_gate"})
"""Checks whose failing is nobody's fault: most candidates are no better than the champion, and the digest tells of them."""
_LONGEST = 600


class Standing(BaseModel):
    """How a check stood last.

    Attributes:
        evaluation: number of the evaluation that said so.
        failing: how severely at worst since it last passed; None: it passes, or nothing is known.
        partition: that it was about, where there was one. What is said of an older one later is no news.
    """

    model_config = ConfigDict(frozen=True)

    evaluation: int
    failing: Literal["WARN", "ERROR"] | None = None
    partition: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """The newest evaluation of a check, by its name `asset:check`."""

    check: str
    number: int
    verdict: Verdict
    run_id: str
    at: datetime
    said: str = ""
    partition: str | None = None


def plan(standing: Mapping[str, Standing], seen: Sequence[Evaluation], links: Links) -> tuple[dict[str, Standing], list[Message]]:
    """A message where a check begins to fail or fails more severely, and one where it passes again."""
    after, messages = dict(standing), []
    for one in seen:
        before = standing.get(one.check, Standing(evaluation=-1))
        older = one.partition is not None and before.partition is not None and one.partition < before.partition
        if one.number <= before.evaluation or older:
            continue
        partition = one.partition or before.partition
        if one.verdict == "insufficient data":
            after[one.check] = before.model_copy(update={"evaluation": one.number, "partition": partition})
            continue
        failing = None if one.verdict == "pass" else "ERROR" if before.failing == "ERROR" else one.verdict
        after[one.check] = Standing(evaluation=one.number, failing=failing, partition=partition)
        if failing is not None and failing != before.failing:
            messages.append(_message(f"check-failed:{one.check}:{one.run_id}:{failing}", one, f"fails ({failing})", links))
        elif failing is None and before.failing is not None:
            messages.append(_message(f"check-passed:{one.check}:{one.run_id}", one, "passes again", links))
    return after, messages


def _message(key: str, one: Evaluation, how: str, links: Links) -> Message:
    asset, _, name = one.check.partition(":")
    lines = [
        f"The check {name} of {asset} {how}, evaluated at {told_at(one.at)}" + (f" for {one.partition}." if one.partition else "."),
        *([f"It says: {one.said[:_LONGEST]}"] if one.said else []),
        f"The check and its history: {links.asset(asset, 'checks')}",
        f"The run: {links.run(one.run_id)}",
    ]
    return Message(key, f"Check {name} of {asset} {how}", "\n".join(lines), {"asset": asset, "check": name, "run_id": one.run_id})


def look(
    standing: Mapping[str, Standing], instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey], links: Links
) -> tuple[dict[str, Standing], list[Message]]:
    """What is to be told of the checks' newest evaluations. What a check said between two looks and took back is not told."""
    told = [one for one in keys if _name(one) not in NOT_TOLD]
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(told)
    seen = []
    for key, record in newest.items():
        before = standing.get(_name(key))
        if before is not None and record.id <= before.evaluation:
            continue
        evaluated = record if record.status in _ended() else _evaluated(instance, key)
        if evaluated is not None and (before is None or evaluated.id > before.evaluation):
            seen.append(_read(instance, key, evaluated))
    return plan(standing, seen, links)


def _name(key: dg.AssetCheckKey) -> str:
    return f"{key.asset_key.to_user_string()}:{key.name}"


def _evaluated(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> "AssetCheckExecutionRecord | None":
    """The newest evaluation that ended, where the newest of all is still to come or never did."""
    found = instance.event_log_storage.get_asset_check_execution_history(key, limit=1, status=_ended())
    return found[0] if found else None


def _ended() -> "set[AssetCheckExecutionRecordStatus]":
    from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES

    return COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES


def _read(instance: dg.DagsterInstance, key: dg.AssetCheckKey, record: "AssetCheckExecutionRecord") -> Evaluation:
    evaluation = record.evaluation
    assert evaluation is not None
    said = evaluation.metadata.get("verdict")
    verdict: Verdict = "pass" if evaluation.passed else "ERROR" if evaluation.severity is dg.AssetCheckSeverity.ERROR else "WARN"
    if said is not None and said.value == "insufficient data":
        verdict = "insufficient data"
    run = instance.get_run_by_id(record.run_id)
    partition = None if run is None else run.tags.get("dagster/partition")
    at = datetime.fromtimestamp(record.create_timestamp, UTC)
    return Evaluation(_name(key), record.id, verdict, record.run_id, at, evaluation.description or "", partition)
