"""Mail through SendGrid's v3 API. Who is told what, and what becomes of a mail that may have been sent, is decided by the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from litgo_pipelines.integrations.attempts import CallLedger
from litgo_pipelines.integrations.calls import call
from litgo_pipelines.integrations.policies import Deadline, Policy, policies_of
from litgo_pipelines.settings import Settings, SettingsError

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr


@dataclass(frozen=True)
class Address:
    """A mailbox, and whose it is where that is known."""

    email: str
    name: str | None = None

    def as_json(self) -> dict[str, str]:
        return {"email": self.email} | ({} if self.name is None else {"name": self.name})


@dataclass(frozen=True)
class Mail:
    """A mail in plain text.

    Attributes:
        to: who gets it, and sees who else does.
        subject: one line.
        marks: come back with all that SendGrid reports of the mail; no person's data.
    """

    to: Sequence[Address]
    subject: str
    text: str
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mailed:
    """A mail that SendGrid took. `id` is how it calls the mail, where it said so."""

    id: str | None


@dataclass(frozen=True)
class SendGrid:
    """One account at SendGrid. Use `of`."""

    policy: Policy
    url: str
    sender: Address
    key: SecretStr
    ledger: CallLedger

    @classmethod
    def of(cls, settings: Settings, ledger: CallLedger) -> SendGrid | None:
        """The account that the settings name; None where they name none.

        Raises:
            SettingsError: the key cannot be one.
        """
        key = settings.sendgrid_api_key
        if key is None:
            return None
        if not (key.get_secret_value().isascii() and key.get_secret_value().isprintable()):
            raise SettingsError("cannot use the environment: SENDGRID_API_KEY holds characters that no key has")
        sender = Address(settings.sendgrid_from, settings.litgo_controller_name)
        return cls(policies_of(settings)["sendgrid"], settings.sendgrid_base_url, sender, key, ledger)

    def send(self, mail: Mail, deadline: Deadline | None = None) -> Mailed:
        """Send a mail; blocks for `policy.deadline` seconds at most. It is tried again only where it was certainly not sent.

        Raises:
            VendorUnavailable, VendorRefused: see `calls.call`. Where `maybe_taken`, nobody can tell: SendGrid drops no second mail.
        """
        import httpx

        to = {one.email.casefold(): one for one in mail.to}
        body = {
            "personalizations": [{"to": [one.as_json() for one in to.values()], "custom_args": dict(mail.marks)}],
            "from": self.sender.as_json(),
            "subject": " ".join(mail.subject.split()),
            "content": [{"type": "text/plain", "value": mail.text}],
            # Nobody's reading is watched.
            "tracking_settings": {"click_tracking": {"enable": False, "enable_text": False}, "open_tracking": {"enable": False}},
        }
        headers = {"Authorization": f"Bearer {self.key.get_secret_value()}"}
        request = httpx.Request("POST", f"{self.url}/v3/mail/send", headers=headers, json=body)
        return call(self.policy, "mail", request, _read, ledger=self.ledger, deadline=deadline)


def _read(answer: httpx.Response) -> Mailed:
    """202 says that the mail was taken; 200 is what the sandbox says of a mail that it looked at."""
    if answer.status_code != 202:
        raise ValueError("a mail that was taken is answered with 202")
    return Mailed(answer.headers.get("X-Message-Id"))
