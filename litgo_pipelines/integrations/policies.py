"""How long a call to each vendor may take and how often it is tried, as the settings say."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from litgo_pipelines.integrations.breaker import Breaker
from litgo_pipelines.settings import Settings

Service = Literal["openai", "docusign", "onesignal", "sendgrid"]
Repeat = Literal["always", "if not taken", "never"]

ATTEMPTS: Final = 3

CREDENTIALS: Final[Mapping[Service, tuple[str, ...]]] = {
    "openai": ("openai_api_key",),
    "docusign": ("docusign_account_id", "docusign_integration_key", "docusign_user_id", "docusign_private_key"),
    "onesignal": ("onesignal_app_id", "onesignal_api_key"),
    "sendgrid": ("sendgrid_api_key",),
}
"""The settings without which a vendor cannot be used."""


@dataclass(frozen=True)
class Policy:
    """The bounds of a call.

    Attributes:
        service: the vendor, as the ledger names it.
        timeout: seconds that one request may take, all of it included.
        deadline: seconds that a call may take, repetitions and pauses included.
        attempts: requests at most.
        repeat: whether a failed request may be made again: `always` (it reads, or the vendor drops the second), `if not taken` (only where
            the vendor has certainly done nothing), or `never`.
        breaker: when the vendor is left alone.
    """

    service: str
    timeout: float
    deadline: float
    attempts: int
    repeat: Repeat
    breaker: Breaker


@dataclass(frozen=True)
class Deadline:
    """A moment of this process's monotonic clock. Several calls may share one."""

    moment: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """So many seconds from now."""
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds until then; negative once it has passed."""
        return self.moment - time.monotonic()


def policies_of(settings: Settings) -> dict[Service, Policy]:
    """The policy of each vendor. A single operation may be more or less repeatable than its vendor: `replace(policy, repeat=...)`."""
    breaker = Breaker(settings.litgo_breaker_failures, settings.litgo_breaker_seconds)
    given: dict[Service, tuple[float, float, Repeat]] = {
        "openai": (settings.openai_timeout, settings.openai_deadline, "always"),
        "docusign": (settings.docusign_timeout, settings.docusign_deadline, "if not taken"),
        "onesignal": (settings.onesignal_timeout, settings.onesignal_deadline, "if not taken"),
        "sendgrid": (settings.sendgrid_timeout, settings.sendgrid_deadline, "if not taken"),
    }
    return {
        service: Policy(service, timeout, deadline, ATTEMPTS, repeat, breaker) for service, (timeout, deadline, repeat) in given.items()
    }


def configured(settings: Settings) -> frozenset[Service]:
    """The vendors that the settings name in full. Whether what they say can be used is not looked at."""
    return frozenset(service for service, names in CREDENTIALS.items() if all(getattr(settings, name) is not None for name in names))
