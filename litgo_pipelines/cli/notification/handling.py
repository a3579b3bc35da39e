"""`litgo notification send`, `resend` and `settle`: deliver what is due, and decide about messages that did not arrive."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from litgo_pipelines.casework.notifications import Channel
from litgo_pipelines.cli.common import By, Json, Reason, answer, name_of, progress_bar, transaction
from litgo_pipelines.cli.notification.messages import Number
from litgo_pipelines.settings import LitgoError


def send(
    everything: Annotated[bool, typer.Option("--all", help="Also what waits for a pause to end, after keys were set for example.")] = False,
    json: Json = False,
) -> None:
    """Deliver now what is due, as the job `deliver_notifications` does by itself.

    What could not be sent is tried again after a pause that grows; a mail that may or may not have left becomes `unknown`.

    Example: `litgo notification send`
    """
    from litgo_pipelines.casework.delivery import Carriers, deliver
    from litgo_pipelines.casework.notifications import hurry, standing
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    with open_marketplace() as marketplace:
        engine, settings = marketplace.engine, marketplace.settings
        carriers = Carriers.of(settings, PostgresCallLedger(engine))
        if everything:
            with engine.begin() as connection:
                hurry(connection, datetime.now(UTC))
        with progress_bar("Delivering", "messages") as shown:
            found = deliver(engine, carriers, settings, clock=lambda: datetime.now(UTC), told=shown)
        with engine.connect() as connection:
            left = standing(connection)
    lines = [f"Sent {found.sent['push']} by push and {found.sent['email']} by mail; {found.later} tries in vain."]
    lines += [f"{found.unknown} became unknown, {found.failed} failed."] if found.unknown or found.failed else []
    lines += [f"Left: {one.messages} {one.status} ({one.channel})." for one in left]
    lines += ["See why: litgo notification list"] if left else []
    answer(json, {"run": vars(found), "left": left}, *lines)


def resend(
    number: Number,
    channel: Annotated[Channel | None, typer.Option(help="By this one; default: the one that was tried last.")] = None,
    by: By = None,
    json: Json = False,
) -> None:
    """Send again a message that failed, or of which nobody knows whether it arrived; it may then arrive twice.

    A push is safe to repeat for 30 days: OneSignal drops one that it took before. A mail is not.

    Example: `litgo notification resend 12 --channel email`
    """
    from litgo_pipelines.casework import notifications

    with transaction() as connection:
        found = notifications.resend(connection, number, by=name_of(by), at=datetime.now(UTC), channel=channel)
    answer(
        json, found, f"Message {number} is queued again, by {found.channel}. It leaves within a minute, or at once: litgo notification send"
    )


def settle(
    number: Number,
    reason: Reason,
    sent: Annotated[bool, typer.Option("--sent", help="It arrived, or the person was told otherwise.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="It did not arrive and need not any more.")] = False,
    by: By = None,
    json: Json = False,
) -> None:
    """Say what became of a message of which the system does not know, or which need not be sent any more.

    Example: `litgo notification settle 12 --sent --reason "Dr. Ana confirmed on the phone"`
    """
    from litgo_pipelines.casework import notifications

    if sent == failed:
        raise LitgoError("say one of --sent and --failed")
    status: Literal["sent", "failed"] = "sent" if sent else "failed"
    with transaction() as connection:
        found = notifications.settle(connection, number, status, by=name_of(by), reason=reason, at=datetime.now(UTC))
    answer(json, found, f"Message {number} is {found.status}: {found.trouble}")
