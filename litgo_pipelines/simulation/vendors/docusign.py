"""A stand-in for DocuSign: tokens of the JWT grant, envelopes that are drafted, sent, listed, voided, and signed when told.

It keeps state as the vendor does, and can fail at random, before or after it acted. `/_stand-in/...` is not DocuSign's: there whoever
tries the product by hand signs, declines and looks.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from litgo_pipelines.simulation.vendors.server import Behaviour, Cut, Received, Reply, Reset

_ENVELOPES = re.compile(r"(?:/restapi)?/v2\.1/accounts/(?P<account>[^/]+)/envelopes(?:/(?P<id>[^/]+))?")
_OWN = re.compile(r"/_stand-in/envelopes(?:/(?P<id>[^/]+)/(?P<what>sign|decline|void))?")
_OUT = ("sent", "delivered")

Operation = Literal["token", "create", "send", "void", "read", "find"]


@dataclass
class Recipient:
    """Somebody who signs an envelope."""

    id: str
    role: str
    name: str
    email: str
    status: str = "created"
    signed_at: str | None = None
    declined_because: str | None = None

    def told(self) -> dict[str, Any]:
        shown = {"recipientId": self.id, "roleName": self.role, "name": self.name, "email": self.email, "status": self.status}
        more = {"signedDateTime": self.signed_at, "declinedReason": self.declined_because}
        return shown | {name: value for name, value in more.items() if value is not None}


@dataclass
class Envelope:
    """An envelope. `sendings` counts how often its signers were asked."""

    id: str
    transaction_id: str | None
    definition: dict[str, Any]
    recipients: list[Recipient]
    status: str = "created"
    sendings: int = 0
    completed_at: str | None = None
    voided_because: str | None = None

    def told(self, *, recipients: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {"envelopeId": self.id, "status": self.status, "emailSubject": self.definition.get("emailSubject")}
        more = {"completedDateTime": self.completed_at, "voidedReason": self.voided_because}
        shown |= {name: value for name, value in more.items() if value is not None}
        return shown | ({"recipients": {"signers": [one.told() for one in self.recipients]}} if recipients else {})


@dataclass
class DocuSignStandIn:
    """The vendor.

    Attributes:
        failing: share of the requests that fail, half of them after the vendor acted.
        seed: of which those are.
        clock: when things are signed.
        expiry: seconds that a token is said to hold.
        envelopes: by id, in the order they were made.
        refuse: what is answered to an operation in its stead, without acting.
        lose: what the next answers to an operation are replaced by, after the vendor acted.
    """

    failing: float = 0.0
    seed: int = 0
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    expiry: int = 3600
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    refuse: dict[Operation, Behaviour] = field(default_factory=dict)
    lose: dict[Operation, list[Behaviour]] = field(default_factory=dict)
    assertions: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.RLock()

    def answer(self, received: Received) -> Behaviour:
        """What a server hands on to a request."""
        with self._lock:
            if urlsplit(received.path).path.startswith("/_stand-in/"):
                return self._by_hand(received)
            before, after = self._draw_fault()
            if before is not None:
                return before
            operation = _operation(received)
            if operation in self.refuse:
                return self.refuse[operation]
            found = self._answer(received)
            lost = self.lose.get(operation)
            return lost.pop(0) if lost else after or found

    def out(self) -> list[Envelope]:
        """Envelopes that somebody can sign."""
        with self._lock:
            return [one for one in self.envelopes.values() if one.status in _OUT]

    def sign(self, envelope_id: str, *roles: str) -> None:
        """Let recipients of an envelope that is out sign; all of them where none is named."""
        with self._lock:
            envelope = self.envelopes[envelope_id]
            if envelope.status not in _OUT:
                raise ValueError(f"envelope {envelope_id} is {envelope.status}")
            for one in envelope.recipients:
                if not roles or one.role in roles:
                    one.status, one.signed_at = "completed", self._now()
            envelope.status = "delivered"
            if all(one.status == "completed" for one in envelope.recipients):
                envelope.status, envelope.completed_at = "completed", self._now()

    def decline(self, envelope_id: str, role: str, reason: str) -> None:
        """Let a recipient decline, which ends the envelope."""
        with self._lock:
            envelope = self.envelopes[envelope_id]
            for one in envelope.recipients:
                if one.role == role:
                    one.status, one.declined_because = "declined", reason
            envelope.status = "declined"

    def void(self, envelope_id: str, reason: str = "by the sender") -> None:
        """As a person does it in DocuSign's own pages."""
        with self._lock:
            self.envelopes[envelope_id].status = "voided"
            self.envelopes[envelope_id].voided_because = reason

    def expire_tokens(self) -> None:
        """No token holds any more, whatever was said of it."""
        with self._lock:
            self.tokens.clear()

    def _draw_fault(self) -> tuple[Behaviour | None, Behaviour | None]:
        if self._random.random() >= self.failing:
            return None, None
        if self._random.random() < 0.5:
            before: list[Behaviour] = [_error(500, "UNSPECIFIED_ERROR"), Reset(), _error(429, "TOO_MANY_REQUESTS")]
            return self._random.choice(before), None
        after: list[Behaviour] = [_error(500, "UNSPECIFIED_ERROR"), Reset(), Cut()]
        return None, self._random.choice(after)

    def _answer(self, received: Received) -> Behaviour:
        target = urlsplit(received.path)
        if target.path == "/oauth/token":
            return self._token(received)
        found = _ENVELOPES.fullmatch(target.path)
        if found is None:
            return _error(404, "RESOURCE_NOT_FOUND")
        scheme, _, token = received.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            return _error(401, "USER_AUTHENTICATION_FAILED")
        envelope_id, query = found["id"], {name: values[0] for name, values in parse_qs(target.query).items()}
        match received.method, envelope_id is not None:
            case "POST", False:
                return self._create(received.json())
            case "GET", False:
                return self._list(query)
            case "GET", True if envelope_id in self.envelopes:
                return Reply.json(self.envelopes[envelope_id].told(recipients="recipients" in query.get("include", "")))
            case "PUT", True if envelope_id in self.envelopes:
                return self._change(self.envelopes[envelope_id], received.json())
        return _error(404, "ENVELOPE_DOES_NOT_EXIST")

    def _token(self, received: Received) -> Reply:
        import jwt

        form = {name: values[0] for name, values in parse_qs(received.body.decode()).items()}
        try:
            claims = jwt.decode(form["assertion"], options={"verify_signature": False})
        except (KeyError, jwt.exceptions.PyJWTError):
            return Reply.json({"error": "invalid_grant"}, 400)
        wanted = {"iss", "sub", "aud", "iat", "exp", "scope"}
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" or wanted - set(claims):
            return Reply.json({"error": "invalid_grant"}, 400)
        self.assertions.append(form["assertion"])
        token = uuid4().hex
        self.tokens.add(token)
        return Reply.json({"access_token": token, "token_type": "Bearer", "expires_in": self.expiry})

    def _create(self, definition: dict[str, Any]) -> Reply:
        signers = (definition.get("recipients") or {}).get("signers") or []
        if not definition.get("documents") or not all(one.get("name") and one.get("email") for one in signers):
            return _error(400, "INVALID_REQUEST_BODY")
        made = [Recipient(one["recipientId"], one.get("roleName", ""), one["name"], one["email"]) for one in signers]
        envelope = Envelope(str(uuid4()), definition.get("transactionId"), definition, made)
        self.envelopes[envelope.id] = envelope
        if definition.get("status") == "sent":
            self._send(envelope)
        return Reply.json({"envelopeId": envelope.id, "status": envelope.status, "statusDateTime": self._now()}, 201)

    def _list(self, query: dict[str, str]) -> Reply:
        if "envelope_ids" in query:
            asked = query["envelope_ids"].split(",")
            told = [self.envelopes[one].told(recipients="recipients" in query.get("include", "")) for one in asked if one in self.envelopes]
            return Reply.json({"resultSetSize": str(len(told)), **({"envelopes": told} if told else {})})
        if "transaction_ids" in query:
            wanted = set(query["transaction_ids"].split(","))
            known = [one for one in self.envelopes.values() if one.transaction_id in wanted]
            rows = [{"envelopeId": one.id, "transactionId": one.transaction_id, "status": one.status} for one in known]
            return Reply.json({"resultSetSize": str(len(rows)), **({"envelopeTransactionStatuses": rows} if rows else {})})
        return _error(400, "INVALID_REQUEST_PARAMETER")

    def _change(self, envelope: Envelope, change: dict[str, Any]) -> Reply:
        if change.get("status") == "sent":
            if envelope.status != "created":
                return _error(400, "ENVELOPE_INVALID_STATUS")
            self._send(envelope)
        elif change.get("status") == "voided":
            if envelope.status not in _OUT or not change.get("voidedReason"):
                return _error(400, "ENVELOPE_CANNOT_VOID_INVALID_STATE")
            self.void(envelope.id, change["voidedReason"])
        else:
            return _error(400, "INVALID_REQUEST_BODY")
        return Reply.json({"envelopeId": envelope.id})

    def _send(self, envelope: Envelope) -> None:
        envelope.status = "sent"
        envelope.sendings += 1
        for one in envelope.recipients:
            one.status = "sent"

    def _by_hand(self, received: Received) -> Reply:
        found = _OWN.fullmatch(urlsplit(received.path).path)
        if found is None or (found["id"] is not None and found["id"] not in self.envelopes):
            return _error(404, "RESOURCE_NOT_FOUND")
        if found["id"] is None:
            return Reply.json([one.told(recipients=True) for one in self.envelopes.values()])
        if self.envelopes[found["id"]].status not in _OUT:
            return _error(400, "ENVELOPE_INVALID_STATUS")
        asked = json.loads(received.body) if received.body else {}
        if found["what"] == "sign":
            self.sign(found["id"], *asked.get("roles", []))
        elif found["what"] == "decline":
            self.decline(found["id"], asked.get("role", "client"), asked.get("reason", "no reason given"))
        else:
            self.void(found["id"])
        return Reply.json(self.envelopes[found["id"]].told(recipients=True))

    def _now(self) -> str:
        return f"{self.clock().astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"


def _operation(received: Received) -> Operation:
    """What is asked for, as tests name it."""
    if received.path.endswith("/oauth/token"):
        return "token"
    if received.method == "POST":
        return "create"
    if received.method == "PUT":
        return "void" if received.json().get("status") == "voided" else "send"
    return "find" if "transaction_ids=" in received.path else "read"


def _error(status: int, code: str) -> Reply:
    return Reply.json({"errorCode": code, "message": "As the vendor would say it."}, status)
