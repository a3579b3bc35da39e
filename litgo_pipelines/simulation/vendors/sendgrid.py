"""A stand-in for SendGrid's v3 API as far as mail is sent: keeps what it mailed, and mails twice what it is given twice."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from litgo_pipelines.simulation.vendors.server import Received, Reply

KEY = "SG.stand-in"


@dataclass(frozen=True)
class SentMail:
    """A mail that left, with whom it went to and what it was marked with. `body` is the request."""

    id: str
    to: tuple[str, ...]
    marks: dict[str, str]
    body: dict[str, Any]


@dataclass
class SendGridStandIn:
    """One account at SendGrid.

    Attributes:
        mailed: mails that left, in order.
    """

    key: str = KEY
    mailed: list[SentMail] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def answer(self, received: Received) -> Reply:
        """As SendGrid would."""
        if received.path != "/v3/mail/send":
            return _error(404, "not found")
        if received.method != "POST":
            return _error(405, "method not allowed")
        if received.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, "The provided authorization grant is invalid, expired, or revoked")
        return self._send(received)

    def _send(self, received: Received) -> Reply:
        body = received.json()
        for person in body.get("personalizations", []):
            addresses = tuple(one.get("email", "") for one in person.get("to", []))
            if not addresses or not all("@" in one for one in addresses):
                return _error(400, "Does not contain a valid address.", "personalizations.0.to.0.email")
        if not body.get("subject") or not body.get("content") or not body["content"][0].get("value"):
            return _error(400, "The content value must be a string at least one character in length.", "content.0.value")
        made = uuid4().hex
        with self._lock:
            for person in body["personalizations"]:
                to = tuple(one["email"] for one in person["to"])
                self.mailed.append(SentMail(made, to, person.get("custom_args", {}), body))
        return Reply(202, b"", {"X-Message-Id": made})


def _error(status: int, message: str, field_name: str | None = None) -> Reply:
    return Reply.json({"errors": [{"message": message, "field": field_name, "help": None}]}, status)
