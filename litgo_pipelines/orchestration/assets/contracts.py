"""Contracts that are to be signed: sent, looked after, and handed to people where DocuSign cannot be used."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from litgo_pipelines.orchestration.resources import Project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litgo_pipelines.casework.contract_queue import Standing
    from litgo_pipelines.casework.contract_signing import Processed

GROUP = "contracts"
MOST = 2000
"""Contracts that one run takes up; what is left is the next one's."""
OLD = timedelta(hours=1)
"""How long beyond `CONTRACT_MANUAL_AFTER` a contract may wait before anybody can sign it."""

_SIGNABLE = dg.AssetCheckSpec(
    "contracts_can_be_signed",
    asset="contract_signatures",
    description="No contract has waited for an hour (beyond `CONTRACT_MANUAL_AFTER`) without a place to sign it; no envelope is lost.",
)


@dg.asset(
    kinds={"postgres", "docusign"},
    group_name=GROUP,
    owners=["team:data"],
    tags={"litgo/serves": "contracts"},
    check_specs=[_SIGNABLE],
)
def contract_signatures(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Contracts that were due: drafted and sent at DocuSign, looked after until both have signed, or handed over to manual signature.

    What waits for people is listed by `litgo contract list --unsigned`; see docs/runbooks/manual-signature.md.
    """
    import structlog

    from litgo_pipelines.casework.contract_queue import lost, standing
    from litgo_pipelines.casework.contract_signing import process
    from litgo_pipelines.integrations.docusign import DocuSign
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
    from litgo_pipelines.settings import SettingsError

    with project.engine() as engine:
        docusign, unusable = None, None
        try:
            docusign = DocuSign.of(project.settings, PostgresCallLedger(engine))
        except SettingsError as error:
            # What is to be signed by hand waits for no setting.
            unusable = str(error)
        found = process(engine, docusign, project.settings, clock=lambda: datetime.now(UTC), limit=MOST, unusable=unusable)
        with engine.connect() as connection:
            left, gone = standing(connection), lost(connection)
    by_hand = [str(one) for one in found.by_hand]
    structlog.get_logger(__name__).info(
        "contracts processed", run_id=context.run.run_id, outcomes=dict(found.outcomes), signed_by_hand=by_hand
    )
    patience = timedelta(minutes=project.settings.contract_manual_after) + OLD
    return dg.MaterializeResult(
        metadata=_metadata(found, left, unusable, configured=docusign is not None or unusable is not None),
        check_results=[_judged(left, gone, datetime.now(UTC), patience)],
    )


def _metadata(found: "Processed", left: "Sequence[Standing]", unusable: str | None, *, configured: bool) -> dict[str, Any]:
    """What this run did, by outcome, and what waits where after it, by method."""
    columns = [dg.TableColumn("status", "string"), dg.TableColumn("method", "string"), dg.TableColumn("contracts", "int")]
    records = [dg.TableRecord({"status": one.status, "method": one.method or "", "contracts": one.contracts}) for one in left]
    troubles = "\n".join(f"- {count} x {trouble}" for trouble, count in found.troubles.most_common(10))
    return {
        "docusign_configured": configured,
        "contracts": found.taken,
        **{f"became_{outcome}": count for outcome, count in sorted(found.outcomes.items())},
        "waiting": dg.MetadataValue.table(records, dg.TableSchema(columns)),
        "waiting_for_manual_signatures": sum(one.contracts for one in left if one.method == "manual"),
        **({"docusign_cannot_be_used": unusable} if unusable else {}),
        **({"troubles": dg.MetadataValue.md(troubles)} if troubles else {}),
    }


def _judged(left: "Sequence[Standing]", lost: int, now: datetime, patience: timedelta) -> dg.AssetCheckResult:
    waiting = [one for one in left if one.status == "requested"]
    old = [one for one in waiting if now - one.oldest > patience]
    told = (
        f"one has waited since {min(one.oldest for one in old):%Y-%m-%d %H:%M} UTC: litgo contract list --status requested" if old else ""
    )
    if lost:
        told += f"{'; ' if told else ''}DocuSign has lost the envelope of {lost}: litgo contract list --unsigned"
    return dg.AssetCheckResult(
        check_name=_SIGNABLE.name,
        passed=not told,
        severity=dg.AssetCheckSeverity.WARN,
        description=told or "every contract can be signed, or was requested a short while ago",
        metadata={"requested": sum(one.contracts for one in waiting), "lost_at_docusign": lost},
    )


ASSETS = [contract_signatures]
