"""Push messages through OneSignal's REST API. Whom to tell what, and what to do where nobody can be pushed to, is decided by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from litgo_pipelines.integrations.attempts import CallLedger
from litgo_pipelines.integrations.calls import call
from litgo_pipelines.integrations.policies import Deadline, Policy, policies_of
from litgo_pipelines.settings import Settings, SettingsError

if TYPE_CHECKING:
    from uuid import UUID

    import httpx
    from pydantic import SecretStr

MOST_CHARACTERS: Final = 1000
"""Of a text: what is longer does not fit into the 4 KiB that phones' makers let through. The rest is in the app."""


@dataclass(frozen=True)
class PushMessage:
    """What a phone shows.

    Attributes:
        person: the `external_id` that the app logs its users in with.
        idempotency_key: the same for each try of the same message; OneSignal keeps it for 30 days.
        data: handed to the app.
    """

    person: UUID
    heading: str
    content: str
    idempotency_key: UUID
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pushed:
    """A message that OneSignal took, by this request or by an earlier one with the same idempotency key."""

    id: str


@dataclass(frozen=True)
class NoSubscriber:
    """OneSignal knows no device of the person that may be pushed to: no message was made."""


@dataclass(frozen=True)
class OneSignal:
    """One app at OneSignal. Use `of`."""

    policy: Policy
    url: str
    app_id: str
    key: SecretStr
    ledger: CallLedger

    @classmethod
    def of(cls, settings: Settings, ledger: CallLedger) -> OneSignal | None:
        """The app that the settings name; None where they name none.

        Raises:
            SettingsError: the key cannot be one.
        """
        app_id, key = settings.onesignal_app_id, settings.onesignal_api_key
        if app_id is None or key is None:
            return None
        if not (key.get_secret_value().isascii() and key.get_secret_value().isprintable()):
            raise SettingsError("cannot use the environment: ONESIGNAL_API_KEY holds characters that no key has")
        # The idempotency key makes the second of two requests harmless.
        return cls(replace(policies_of(settings)["onesignal"], repeat="always"), settings.onesignal_base_url, app_id, key, ledger)

    def push(self, message: PushMessage, deadline: Deadline | None = None) -> Pushed | NoSubscriber:
        """Push to all devices of a person; blocks for `policy.deadline` seconds at most.

        Raises:
            VendorUnavailable, VendorRefused: see `calls.call`. Where the message may have been taken, the same one may be pushed again.
        """
        import httpx

        # Phones show the language that they are set to, and English where there is no text in it.
        heading, content = ({"en": text, "pt": text} for text in (message.heading, _shortened(message.content)))
        body = {
            "app_id": self.app_id,
            "include_aliases": {"external_id": [str(message.person)]},
            "target_channel": "push",
            "headings": heading,
            "contents": content,
            "idempotency_key": str(message.idempotency_key),
            "data": dict(message.data),
        }
        headers = {"Authorization": f"Bearer {self.key.get_secret_value()}"}
        request = httpx.Request("POST", f"{self.url}/notifications", headers=headers, json=body)
        return call(self.policy, "push", request, _read, ledger=self.ledger, deadline=deadline)


def _read(answer: httpx.Response) -> Pushed | NoSubscriber:
    """OneSignal answers 200 with an empty id where it made no message."""
    said: dict[str, Any] = answer.json()
    found = said.get("id")
    if found is not None and not isinstance(found, str):
        raise TypeError("an id is a text")
    return Pushed(found) if found else NoSubscriber()


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1].rstrip()}…"
