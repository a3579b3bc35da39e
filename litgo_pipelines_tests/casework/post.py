"""A post office for tests: the real outbox and ledger, stand-ins for both vendors, and a clock that tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from litgo_pipelines.casework import notifications
from litgo_pipelines.casework.delivery import Carriers, Delivery, deliver
from litgo_pipelines.casework.notifications import Claimed, Ending, Notification, Reach
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.settings import Settings, load_settings
from litgo_pipelines.simulation.vendors.onesignal import APP_ID, OneSignalStandIn
from litgo_pipelines.simulation.vendors.onesignal import KEY as PUSH_KEY
from litgo_pipelines.simulation.vendors.sendgrid import KEY as MAIL_KEY
from litgo_pipelines.simulation.vendors.sendgrid import SendGridStandIn
from litgo_pipelines.simulation.vendors.server import FaultyServer, faulty_server
from litgo_pipelines_tests.casework.conftest import NOON, Facts
from litgo_pipelines_tests.casework.mishaps import Mishaps

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass
class Clock:
    """Stands still until it is turned."""

    at: datetime = NOON

    def __call__(self) -> datetime:
        return self.at

    def turn(self, **span: float) -> None:
        self.at += timedelta(**span)


@dataclass
class PostOffice(Facts):
    """Messages in a fresh database, and the vendors that take them."""

    push_server: FaultyServer
    mail_server: FaultyServer
    onesignal: OneSignalStandIn
    sendgrid: SendGridStandIn
    push_line: Mishaps
    mail_line: Mishaps
    clock: Clock = field(default_factory=Clock)
    changes: dict[str, Any] = field(default_factory=dict)

    def settings(self, **changes: Any) -> Settings:
        given = {
            "onesignal_base_url": self.push_server.url,
            "onesignal_app_id": APP_ID,
            "onesignal_api_key": PUSH_KEY,
            "onesignal_timeout": 0.5,
            "onesignal_deadline": 0.6,
            "sendgrid_base_url": self.mail_server.url,
            "sendgrid_api_key": MAIL_KEY,
            "sendgrid_timeout": 0.5,
            "sendgrid_deadline": 0.6,
            "litgo_ops_emails": "ops@example.com",
            "litgo_breaker_failures": 1000,
        }
        return load_settings(**(given | self.changes | changes))

    def person(self, email: str | None = "ana@example.com", kind: str = "lawyer") -> UUID:
        """Somebody with an address, or none."""
        from sqlalchemy import text

        made = uuid4()
        if email is not None:
            with self.engine.begin() as connection:
                statement = "INSERT INTO litgo.contacts (person_id, kind, name, email) VALUES (:id, :kind, 'Ana', :email)"
                connection.execute(text(statement), {"id": made, "kind": kind, "email": email})
        return made

    def tell(self, recipient: UUID | None = None, key: str | None = None, **more: Any) -> int:
        """Queue a message, to a lawyer or to the operators; its id."""
        key = key or f"test:{uuid4()}"
        given: dict[str, Any] = {"subject": "Nova oferta de caso", "body": "Há um caso para você.", "at": self.clock()}
        with self.engine.begin() as connection:
            assert tell(connection, key=key, audience="ops" if recipient is None else "lawyer", recipient=recipient, **(given | more))
        return int(self.value("SELECT id FROM litgo.notifications WHERE key = :key", key=key))

    def deliver(self, **changes: Any) -> Delivery:
        settings = self.settings(**changes)
        carriers = Carriers.of(settings, PostgresCallLedger(self.engine))
        return deliver(self.engine, carriers, settings, clock=self.clock)

    def claim(self, most: int = 1, seconds: float = 60, **reach: bool) -> list[Claimed]:
        """As a worker does it; in the order of their ids."""
        given = {"push": True, "mail": True, "ops": True, "fallback": True} | reach
        with self.engine.begin() as connection:
            until = self.clock() + timedelta(seconds=seconds)
            found = notifications.claim(connection, Reach(**given), self.clock(), until, ("push", "email"), most)
        return sorted(found, key=lambda one: one.id)

    def finish(self, message: Claimed, ending: Ending) -> bool:
        with self.engine.begin() as connection:
            return notifications.finish(connection, message, ending, self.clock())

    def find(self, number: int) -> Notification:
        with self.engine.begin() as connection:
            return notifications.find(connection, number)

    def stands(self, number: int) -> tuple[str, str]:
        """Its status and channel."""
        found = self.find(number)
        return found.status, found.channel

    def alerts(self) -> list[str]:
        """Subjects of what the operators are told, in order."""
        return [row.subject for row in self.rows("SELECT subject FROM litgo.notifications WHERE audience = 'ops' ORDER BY id")]


@pytest.fixture
def post(engine: Engine) -> Iterator[PostOffice]:
    """An empty outbox with both vendors at work."""
    onesignal, sendgrid = OneSignalStandIn(), SendGridStandIn()
    with ExitStack() as stack:
        lines = Mishaps(onesignal.answer), Mishaps(sendgrid.answer)
        push, mail = (stack.enter_context(faulty_server(one)) for one in lines)
        yield PostOffice(engine, push, mail, onesignal, sendgrid, *lines)
