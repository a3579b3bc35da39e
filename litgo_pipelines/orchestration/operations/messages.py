"""What a message to the operators is made of, and where its links lead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        key: made of what it is about and nothing else, so that it is queued once however often it is planned.
        details: what a program needs of it.
    """

    key: str
    subject: str
    body: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Links:
    """Pages of Dagster's web server at `base`."""

    base: str

    def run(self, run_id: str) -> str:
        return f"{self.base}/runs/{run_id}"

    def asset(self, name: str, view: str = "overview") -> str:
        return f"{self.base}/assets/{name}?view={view}"

    @property
    def automation(self) -> str:
        """Schedules and sensors with their ticks."""
        return f"{self.base}/automation"


def stamp(moment: datetime) -> str:
    """A moment as it stands in keys."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def told_at(moment: datetime) -> str:
    """A moment as people are told of it: 2026-03-10 12:00 UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def tell_all(connection: "Connection", messages: Sequence[Message], at: datetime) -> int:
    """Queue messages for the operators, each once; how many were not queued before."""
    from litgo_pipelines.marketplace.outbox import tell

    return sum(
        tell(connection, key=one.key, subject=one.subject, body=one.body, at=at, details={"from": "dagster", **one.details})
        for one in messages
    )
