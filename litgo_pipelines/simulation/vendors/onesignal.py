"""A stand-in for OneSignal's REST API as far as messages are created: keeps what it pushed, and drops the second of the same message."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from litgo_pipelines.simulation.vendors.server import Received, Reply

APP_ID = "7d0c5a34-20c7-4b0e-8a3c-0f2a8b1d9f10"
KEY = "os_v2_app_stand_in"


@dataclass(frozen=True)
class PushedMessage:
    """A message that went to a person's devices. `body` is the request."""

    id: str
    person: str
    idempotency_key: str | None
    body: dict[str, Any]


@dataclass
class OneSignalStandIn:
    """One app at OneSignal.

    Attributes:
        subscribed: whether a person (by `external_id`) has a device that may be pushed to.
        pushed: messages that went out, in order.
    """

    subscribed: Callable[[str], bool] = lambda _person: True
    app_id: str = APP_ID
    key: str = KEY
    pushed: list[PushedMessage] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    def answer(self, received: Received) -> Reply:
        """As OneSignal would."""
        if (received.method, received.path.partition("?")[0]) != ("POST", "/notifications"):
            return _errors(404, "Not Found")
        scheme, _, key = received.headers.get("Authorization", "").partition(" ")
        if scheme not in ("Key", "Bearer") or key != self.key:
            return _errors(401, "Access denied. Please include an 'Authorization: ...' header with a valid API key.")
        return self._create(received)

    def _create(self, received: Received) -> Reply:
        body = received.json()
        fault = self._fault(body)
        if fault is not None:
            return _errors(400, fault)
        repeated = body.get("idempotency_key")
        with self._lock:
            if repeated in self._known:
                return Reply.json({"id": self._known[repeated], "external_id": repeated})
            people = [one for one in body["include_aliases"]["external_id"] if self.subscribed(one)]
            if not people:
                return Reply.json({"id": "", "errors": ["All included players are not subscribed"]})
            made = str(uuid4())
            self.pushed += [PushedMessage(made, one, repeated, body) for one in people]
            if repeated is not None:
                self._known[repeated] = made
        return Reply.json({"id": made, "external_id": repeated})

    def _fault(self, body: dict[str, Any]) -> str | None:
        """Why a message cannot be made of this."""
        if body.get("app_id") != self.app_id:
            return "app_id not found. You may be missing a Content-Type: application/json header."
        if "en" not in body.get("contents", {}):
            return "Message Notifications must have English language content"
        if not body.get("include_aliases", {}).get("external_id") or body.get("target_channel") != "push":
            return "You must include which players, segments, or tags you wish to send this notification to."
        return None if _is_uuid(body.get("idempotency_key")) else "idempotency_key must be a valid UUID"


def _is_uuid(said: str | None) -> bool:
    try:
        return said is None or bool(UUID(said))
    except ValueError:
        return False


def _errors(status: int, *said: str) -> Reply:
    return Reply.json({"errors": list(said)}, status)
