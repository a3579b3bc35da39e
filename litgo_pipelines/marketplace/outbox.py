"""The outbox: what is to be told to people, written in the transaction of whatever makes it worth telling.

Who delivers it, and how, is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Connection

Audience = Literal["ops", "lawyer", "client"]

_ADD = """
INSERT INTO litgo.notifications (key, audience, recipient_id, channel, subject, body, details, created_at, due_at)
VALUES (:key, :audience, :recipient, :channel, :subject, :body, CAST(:details AS jsonb), :at, :at) ON CONFLICT (key) DO NOTHING
"""


def tell(
    connection: Connection,
    *,
    key: str,
    subject: str,
    body: str,
    at: datetime,
    audience: Audience = "ops",
    recipient: UUID | None = None,
    details: Mapping[str, Any] | None = None,
) -> bool:
    """Queue a message, once for each `key`; whether it was new. Lawyers and clients are reached by push first, operators by mail.

    Args:
        recipient: the lawyer or client; nobody for the operators.
        subject: one line.
        details: what a program needs of it, as JSON can hold it.
    """
    from sqlalchemy import text

    row = {"key": key, "audience": audience, "recipient": recipient, "subject": subject, "body": body, "at": at}
    row["channel"] = "email" if audience == "ops" else "push"
    row["details"] = json.dumps(dict(details or {}), allow_nan=False)
    return connection.execute(text(_ADD), row).rowcount == 1
