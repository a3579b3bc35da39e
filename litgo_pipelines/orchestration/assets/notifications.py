"""What the system tells people: the outbox, delivered."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from litgo_pipelines.orchestration.resources import Project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litgo_pipelines.casework.delivery import Delivery
    from litgo_pipelines.casework.notifications import Standing

GROUP = "notifications"
SECONDS = 600.0
"""How long one run delivers; what is left is the next one's."""
OLD = timedelta(hours=1)
"""How long a message may wait before somebody should look."""

_NOTHING_UNKNOWN = dg.AssetCheckSpec(
    "nothing_unknown",
    asset="notifications_delivered",
    description="No message waits for a person to say whether it arrived, and none has waited for an hour to be sent.",
)


@dg.asset(
    kinds={"postgres", "onesignal", "sendgrid"},
    group_name=GROUP,
    owners=["team:data"],
    tags={"litgo/serves": "people"},
    check_specs=[_NOTHING_UNKNOWN],
)
def notifications_delivered(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """All messages that were due: lawyers and clients by push, by mail where there is no push, operators by mail.

    What nobody can tell stays `unknown` until a person does (`litgo notification list`).
    """
    import structlog

    from litgo_pipelines.casework.delivery import Carriers, deliver
    from litgo_pipelines.casework.notifications import standing
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    with project.engine() as engine:
        carriers = Carriers.of(project.settings, PostgresCallLedger(engine))
        found = deliver(engine, carriers, project.settings, clock=lambda: datetime.now(UTC), seconds=SECONDS)
        with engine.connect() as connection:
            left = standing(connection)
    structlog.get_logger(__name__).info(
        "notifications delivered", run_id=context.run.run_id, sent=dict(found.sent), unknown=found.unknown, failed=found.failed
    )
    return dg.MaterializeResult(metadata=_metadata(found, left, datetime.now(UTC)), check_results=[_judged(left, datetime.now(UTC))])


def _metadata(found: "Delivery", left: "Sequence[Standing]", now: datetime) -> dict[str, Any]:
    """What this run did, and what stands where after it."""
    waiting = [one.oldest for one in left if one.status in ("queued", "sending")]
    shown: dict[str, Any] = {
        "sent_push": found.sent["push"],
        "sent_email": found.sent["email"],
        "mailed_instead": found.mailed_instead,
        "tried_in_vain": found.later,
        "taken_up": found.taken_up,
        "became_unknown": found.unknown,
        "became_failed": found.failed,
        "left": dg.MetadataValue.table(
            [dg.TableRecord({"status": one.status, "channel": one.channel, "messages": one.messages}) for one in left],
            dg.TableSchema([dg.TableColumn("status", "string"), dg.TableColumn("channel", "string"), dg.TableColumn("messages", "int")]),
        ),
    }
    return shown | ({"oldest_waiting_minutes": round((now - min(waiting)).total_seconds() / 60, 1)} if waiting else {})


def _judged(left: "Sequence[Standing]", now: datetime) -> dg.AssetCheckResult:
    unknown = sum(one.messages for one in left if one.status == "unknown")
    waiting = [one.oldest for one in left if one.status in ("queued", "sending")]
    old = bool(waiting) and now - min(waiting) > OLD
    told = [f"{unknown} messages may or may not have arrived: litgo notification list --status unknown"] if unknown else []
    told += [f"one has waited since {min(waiting):%Y-%m-%d %H:%M} UTC: litgo notification list"] if old else []
    return dg.AssetCheckResult(
        check_name=_NOTHING_UNKNOWN.name,
        passed=not told,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(told) or "every message was sent, or is on its way",
        metadata={"unknown": unknown},
    )


ASSETS = [notifications_delivered]
