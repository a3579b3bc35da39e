"""DocuSign: envelopes that are drafted, sent, looked up and voided (eSignature REST API 2.1), under tokens of the JWT grant.

A draft cannot be signed by anybody; only sending makes it signable, and DocuSign sends an envelope once. Which envelope belongs to what,
and when it is sent, is decided by whoever calls.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit
from uuid import uuid4

from pydantic import SecretStr

from litgo_pipelines.integrations.attempts import CallLedger
from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable, call
from litgo_pipelines.integrations.policies import Deadline, Policy, Repeat, policies_of
from litgo_pipelines.settings import Settings, SettingsError

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

SIGNABLE: Final = frozenset({"sent", "delivered", "signed", "processing"})
"""States of an envelope that is out: its recipients sign, or are about to."""
GONE: Final = frozenset({"voided", "deleted", "timedout"})
"""States of an envelope that nobody can sign any more, and nobody refused."""

_SCOPES: Final = "signature impersonation"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS: Final = 3600
_SPARE_SECONDS: Final = 300
_AT_ONCE: Final = 50
_LONGEST_NAME: Final = 100
_LONGEST_REASON: Final = 200
_CONSENT: Final = "let that user allow it once, as docs/runbooks/manual-signature.md says"


@dataclass(frozen=True)
class Signer:
    """Somebody who signs.

    Attributes:
        role: what the envelope calls them; told back with their signature.
        anchors: words in the document that mark where `sign` and `date` belong, and `id` where a number is to be filled in.
    """

    role: str
    name: str
    email: str
    anchors: Mapping[str, str]


@dataclass(frozen=True)
class Draft:
    """What an envelope is made of.

    Attributes:
        transaction_id: of the sender, by which the envelope is found again for seven days.
        reference: what people quote.
    """

    transaction_id: str
    reference: str
    subject: str
    message: str
    pdf: bytes
    signers: Sequence[Signer]


@dataclass(frozen=True)
class Envelope:
    """An envelope as DocuSign tells of it.

    Attributes:
        signed: when each role signed.
        declined: what the one who declined gave as reason; empty: none.
    """

    id: str
    status: str
    completed_at: datetime | None = None
    signed: Mapping[str, datetime] = field(default_factory=dict)
    declined: str = ""


class _Token:
    """The access token of this process, asked for when it is needed and until shortly before it ends."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: SecretStr | None = None
        self.ends = 0.0

    def forget(self, value: SecretStr) -> None:
        """Unless another thread has asked for a new one already."""
        with self.lock:
            if self.value is value:
                self.value = None


@dataclass(frozen=True)
class DocuSign:
    """An account at DocuSign.

    Attributes:
        clock: seconds since 1970, for tokens.
    """

    base_url: str
    auth_url: str
    account_id: str
    integration_key: str
    user_id: str
    private_key: SecretStr
    policy: Policy
    ledger: CallLedger
    clock: Callable[[], float] = time.time
    _token: _Token = field(default_factory=_Token, repr=False)

    @classmethod
    def of(cls, settings: Settings, ledger: CallLedger) -> DocuSign | None:
        """The account that the settings name; None where they name none.

        Raises:
            SettingsError: it is named, but not all that its use takes.
        """
        given = _given(settings)
        if given is None:
            return None
        return cls(settings.docusign_base_url, settings.docusign_auth_url, *given, policies_of(settings)["docusign"], ledger)

    def deadline(self) -> Deadline:
        """Of several calls that belong together."""
        return Deadline.after(self.policy.deadline)

    def sign_in(self, deadline: Deadline | None = None) -> None:
        """Have a token, so that many calls need not each find out that there is none.

        Raises:
            VendorUnavailable, SettingsError: there is none.
        """
        self._current_token(deadline or self.deadline())

    def try_out(self) -> None:
        """Ask for something that changes nothing, to see whether the account can be used.

        Raises:
            VendorUnavailable, VendorRefused, SettingsError: it cannot.
        """
        self.find([str(uuid4())])

    def draft(self, draft: Draft, deadline: Deadline | None = None) -> str:
        """Make an envelope that is not sent; its id.

        Raises:
            VendorUnavailable: where `maybe_taken`, `find` tells whether there is a draft.
            VendorRefused: there is none.
        """
        return self._call("create_draft", "POST", "", _made, body=_definition(draft), repeat="if not taken", deadline=deadline)

    def send(self, envelope_id: str, deadline: Deadline | None = None) -> None:
        """Send a draft to its signers. DocuSign refuses to send an envelope twice.

        Raises:
            VendorUnavailable: where `maybe_taken`, `read` tells whether it was sent.
            VendorRefused: it is no draft any more, or cannot be sent.
        """
        self._change("send_envelope", envelope_id, {"status": "sent"}, deadline)

    def void(self, envelope_id: str, reason: str, deadline: Deadline | None = None) -> None:
        """Take an envelope back that is out for signature.

        Raises:
            VendorUnavailable: `read` tells whether it was voided.
            VendorRefused: it is not out: a draft, completed, declined or voided before.
        """
        self._change("void_envelope", envelope_id, {"status": "voided", "voidedReason": reason[:_LONGEST_REASON]}, deadline)

    def read(self, envelope_ids: Iterable[str], deadline: Deadline | None = None) -> dict[str, Envelope]:
        """Envelopes by id; those that DocuSign does not know are left out.

        Raises:
            VendorUnavailable, VendorRefused: nothing is known of any.
        """
        found: dict[str, Envelope] = {}
        for ids in _chunks(envelope_ids):
            told = self._call("read_envelopes", "GET", f"?envelope_ids={ids}&include=recipients", _envelopes, deadline=deadline)
            found |= {one.id: one for one in told}
        return found

    def find(self, transaction_ids: Iterable[str], deadline: Deadline | None = None) -> dict[str, Envelope]:
        """Envelopes by their sender's transaction id, without signatures; where there are several of one, the one that went furthest.

        Raises:
            VendorUnavailable, VendorRefused: nothing is known of any.
        """
        found: dict[str, Envelope] = {}
        for ids in _chunks(transaction_ids):
            told = self._call("find_envelopes", "GET", f"?transaction_ids={ids}", _by_transaction, deadline=deadline)
            for transaction, envelope in told:
                if transaction not in found or found[transaction].status == "created":
                    found[transaction] = envelope
        return found

    def _change(self, operation: str, envelope_id: str, change: dict[str, str], deadline: Deadline | None) -> None:
        place = f"/{quote(envelope_id, safe='')}"
        self._call(operation, "PUT", place, lambda _answer: None, body=change, repeat="if not taken", deadline=deadline)

    def _call(
        self,
        operation: str,
        method: str,
        place: str,
        read: Callable[[httpx.Response], T],
        *,
        body: dict[str, Any] | None = None,
        repeat: Repeat = "always",
        deadline: Deadline | None = None,
    ) -> T:
        """A request under a token; where that has ended before its time, once more under another one."""
        import httpx

        until = deadline or self.deadline()
        policy = replace(self.policy, repeat=repeat)
        url = f"{self.base_url}/v2.1/accounts/{quote(self.account_id, safe='')}/envelopes{place}"
        for last in (False, True):
            token = self._current_token(until)
            headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
            request = httpx.Request(method, url, headers=headers, json=body)
            try:
                return call(policy, operation, request, read, ledger=self.ledger, deadline=until)
            except VendorRefused as refused:
                if refused.status != 401:
                    raise
                self._token.forget(token)
                if last:
                    raise _locked_out(str(refused)) from None
        raise AssertionError("the second time either returns or raises")

    def _current_token(self, deadline: Deadline) -> SecretStr:
        held = self._token
        with held.lock:
            now = self.clock()
            if held.value is None or now >= held.ends:
                held.value, seconds = self._new_token(now, deadline)
                held.ends = now + max(0.0, seconds - _SPARE_SECONDS)
            return held.value

    def _new_token(self, now: float, deadline: Deadline) -> tuple[SecretStr, float]:
        import httpx

        form = {"grant_type": _GRANT, "assertion": self._assertion(now)}
        request = httpx.Request("POST", f"{self.auth_url}/oauth/token", data=form)
        policy = replace(self.policy, repeat="always")
        try:
            return call(policy, "get_token", request, _token_of, ledger=self.ledger, deadline=deadline)
        except VendorRefused as refused:
            if "consent_required" in refused.body:
                raise _locked_out(f"docusign wants the consent of DOCUSIGN_USER_ID: {_CONSENT}") from None
            raise _locked_out(str(refused)) from None
        except VendorUnavailable as error:
            # Of what the token was wanted for nothing has left the house.
            raise VendorUnavailable(str(error), error.outcome, error.requests, maybe_taken=False) from None

    def _assertion(self, now: float) -> str:
        claims = {
            "iss": self.integration_key,
            "sub": self.user_id,
            "aud": urlsplit(self.auth_url).netloc,
            "iat": int(now),
            "exp": int(now) + _ASSERTION_SECONDS,
            "scope": _SCOPES,
        }
        return _signed(claims, self.private_key)


def check_settings(settings: Settings) -> None:
    """See whether the account that the settings name, if any, could sign in. DocuSign is not asked.

    Raises:
        SettingsError: it could not.
    """
    given = _given(settings)
    if given is not None:
        _signed({}, given[-1])


def _given(settings: Settings) -> tuple[str, str, str, SecretStr] | None:
    """Account, integration key, user and private key; None: no account is named."""
    account, key, user = settings.docusign_account_id, settings.docusign_integration_key, settings.docusign_user_id
    secret = settings.docusign_private_key
    if account is None:
        return None
    if key is None or user is None or secret is None:
        given = {"DOCUSIGN_INTEGRATION_KEY": key, "DOCUSIGN_USER_ID": user, "DOCUSIGN_PRIVATE_KEY": secret}
        missing = ", ".join(name for name, value in given.items() if value is None)
        raise SettingsError(f"DOCUSIGN_ACCOUNT_ID is set, but not {missing}: set all four of them, or none")
    return account, key, user, _pem(secret)


def _signed(claims: dict[str, Any], private_key: SecretStr) -> str:
    import jwt

    try:
        return jwt.encode(claims, private_key.get_secret_value(), algorithm="RS256")
    except (ValueError, TypeError, jwt.exceptions.PyJWTError):
        raise SettingsError("DOCUSIGN_PRIVATE_KEY is no RSA key in PEM: give the key itself, or the path of its file") from None


def _locked_out(told: str) -> VendorUnavailable:
    """What was wanted was not even asked for: DocuSign gives no token, or takes none."""
    return VendorUnavailable(told, "http_4xx", 0, maybe_taken=False)


def _pem(given: SecretStr) -> SecretStr:
    """The key itself; what does not look like one is the path of its file."""
    text = given.get_secret_value()
    if "-----BEGIN" in text:
        # As it stands in files of variables, which know no line breaks.
        return SecretStr(text.replace("\\n", "\n"))
    try:
        return SecretStr(Path(text).expanduser().read_text(encoding="ascii"))
    except (OSError, ValueError):
        raise SettingsError("DOCUSIGN_PRIVATE_KEY is neither a key in PEM nor the path of a file that can be read") from None


def _chunks(ids: Iterable[str]) -> Iterator[str]:
    known = list(dict.fromkeys(ids))
    for start in range(0, len(known), _AT_ONCE):
        yield ",".join(quote(one, safe="") for one in known[start : start + _AT_ONCE])


def _definition(draft: Draft) -> dict[str, Any]:
    return {
        "status": "created",
        "transactionId": draft.transaction_id,
        "emailSubject": draft.subject,
        "emailBlurb": draft.message,
        "customFields": {"textCustomFields": [{"name": "reference", "value": draft.reference, "show": "true", "required": "false"}]},
        "documents": [
            {
                "documentId": "1",
                "name": f"{draft.reference}.pdf",
                "fileExtension": "pdf",
                "documentBase64": base64.b64encode(draft.pdf).decode("ascii"),
            }
        ],
        "recipients": {"signers": [_signer(place, one, draft) for place, one in enumerate(draft.signers, start=1)]},
    }


def _signer(place: int, signer: Signer, draft: Draft) -> dict[str, Any]:
    def tab(kind: str, **more: str) -> list[dict[str, str]]:
        at = {"documentId": "1", "anchorUnits": "pixels", "anchorIgnoreIfNotPresent": "false", "tabLabel": f"{signer.role} {kind}"}
        return [{**at, "anchorString": signer.anchors[kind], **more}]

    tabs = {"signHereTabs": tab("sign", anchorYOffset="-4"), "dateSignedTabs": tab("date", anchorYOffset="-8")}
    if "id" in signer.anchors:
        tabs["textTabs"] = tab("id", anchorYOffset="-8", width="110", required="true")
    return {
        "recipientId": str(place),
        "routingOrder": "1",
        "roleName": signer.role,
        "name": signer.name[:_LONGEST_NAME],
        "email": signer.email,
        "emailNotification": {"emailSubject": draft.subject, "emailBody": draft.message, "supportedLanguage": "pt_BR"},
        "tabs": tabs,
    }


def _token_of(answer: httpx.Response) -> tuple[SecretStr, float]:
    told = answer.json()
    return SecretStr(_word(told["access_token"])), float(told["expires_in"])


def _made(answer: httpx.Response) -> str:
    return _word(answer.json()["envelopeId"])


def _envelopes(answer: httpx.Response) -> list[Envelope]:
    # Where there are none, the list is missing.
    return [_envelope(one) for one in answer.json().get("envelopes") or []]


def _by_transaction(answer: httpx.Response) -> list[tuple[str, Envelope]]:
    told = answer.json()
    rows = [*(told.get("envelopeTransactionStatuses") or []), *(told.get("envelopes") or [])]
    return [(one["transactionId"], _envelope(one)) for one in rows if one.get("transactionId") and one.get("envelopeId")]


def _envelope(told: dict[str, Any]) -> Envelope:
    signers = (told.get("recipients") or {}).get("signers") or []
    completed = told.get("completedDateTime")
    return Envelope(
        id=_word(told["envelopeId"]),
        status=_word(told["status"]).lower(),
        completed_at=datetime.fromisoformat(completed) if completed else None,
        signed={one["roleName"]: datetime.fromisoformat(one["signedDateTime"]) for one in signers if one.get("signedDateTime")},
        declined=next((one.get("declinedReason") or "" for one in signers if one.get("status") == "declined"), ""),
    )


def _word(told: Any) -> str:
    """A text that is there.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(told, str) or not told:
        raise ValueError("a text is missing")
    return told
