"""Delivering the outbox: what is due is pushed through OneSignal or mailed through SendGrid, several messages at a time.

No vendor is asked inside a transaction: a message is claimed, sent, and its ending written. How it may stand is told in `notifications`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from litgo_pipelines.casework import notifications
from litgo_pipelines.casework.notifications import OF_DELIVERY, Channel, Claimed, Ending, Failed, Later, Mailed, Reach, Sent, Unclear
from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
from litgo_pipelines.integrations.onesignal import NoSubscriber, OneSignal, PushMessage
from litgo_pipelines.integrations.sendgrid import Address, Mail, SendGrid
from litgo_pipelines.observability.logs import bound

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.integrations.attempts import CallLedger
    from litgo_pipelines.settings import Settings

IN_FLIGHT: Final = 8
"""Messages that are sent at the same time. What is claimed is sent at once, so a worker that dies leaves no more than these unclear."""

SLACK: Final = timedelta(seconds=60)
"""How much longer a claim lasts than a call may take."""

FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(minutes=15)
UNSUBSCRIBED_PAUSE: Final = timedelta(hours=2)

BUSY_TRIES: Final = 3
"""Calls that OneSignal may answer with 429 before a message goes by mail: it is there, and there is more to push."""

NO_DEVICE: Final = "OneSignal knows no device of this person"
"""Why a message goes by mail as intended: the log of events tells it from a fallback by these words."""

_SAME_MESSAGE: Final = UUID("5f0a7c1e-3a58-4f0c-9d0e-6b1f6f2f9b11")
# What the message itself is refused for; other refusals are about keys and addresses of ours, which a person can mend.
_ABOUT_THE_MESSAGE = (400, 413)


@dataclass(frozen=True)
class Carriers:
    """Who takes messages; None: not configured."""

    push: OneSignal | None
    mail: SendGrid | None

    @classmethod
    def of(cls, settings: Settings, ledger: CallLedger) -> Carriers:
        return cls(OneSignal.of(settings, ledger), SendGrid.of(settings, ledger))


@dataclass
class Delivery:
    """What a run did.

    Attributes:
        sent: by channel.
        mailed_instead: messages that went on to mail because they could not be pushed.
        later: tries in vain; the message is tried again.
        taken_up: pushes that were left behind by a worker that died.
        unknown, failed: messages that ended so.
    """

    sent: Counter[Channel] = field(default_factory=Counter)
    mailed_instead: int = 0
    later: int = 0
    taken_up: int = 0
    unknown: int = 0
    failed: int = 0

    @property
    def ended(self) -> int:
        """Messages that need nothing more of this system."""
        return self.sent.total() + self.unknown + self.failed

    def add(self, message: Claimed, ending: Ending) -> None:
        if isinstance(ending, Sent):
            self.sent[message.channel] += 1
        self.mailed_instead += isinstance(ending, Mailed)
        self.later += isinstance(ending, Later)
        self.unknown += isinstance(ending, Unclear)
        self.failed += isinstance(ending, Failed)


def deliver(
    engine: Engine,
    carriers: Carriers,
    settings: Settings,
    *,
    clock: Callable[[], datetime],
    seconds: float | None = None,
    told: Callable[[int, int], None] = lambda _done, _of: None,
) -> Delivery:
    """Send all that is due; blocks until it is sent, or `seconds` have passed and what is on its way has ended.

    Args:
        told: how many of how many messages have ended, each time another one has.
    """
    return _Round(engine, carriers, settings, clock, told).run(seconds)


def pause(tries: int) -> timedelta:
    """How long a message waits after so many tries in vain: 30 s, twice as long each time, never more than 15 minutes."""
    return min(FIRST_PAUSE * (1 << min(tries - 1, 10)), LONGEST_PAUSE)


@dataclass
class _Round:
    """One run of `deliver`."""

    engine: Engine
    carriers: Carriers
    settings: Settings
    clock: Callable[[], datetime]
    told: Callable[[int, int], None]

    def __post_init__(self) -> None:
        push, mail = self.carriers.push, self.carriers.mail
        self.reach = Reach(push is not None, mail is not None, bool(self.settings.litgo_ops_emails), self.settings.fallback_enabled)
        self.longest = timedelta(seconds=max((one.policy.deadline for one in (push, mail) if one is not None), default=0.0))
        self.done = Delivery()
        self.left_alone: set[Channel] = set()

    def run(self, seconds: float | None) -> Delivery:
        until = None if seconds is None else time.monotonic() + seconds
        with self.engine.connect() as connection:
            found = notifications.due(connection, self.reach, self.clock(), self.settings.litgo_notification_hours)
        of = found.messages + found.hopeless
        self._tidy()
        self.told(self.done.ended, of)
        running: set[Future[tuple[Claimed, Ending]]] = set()
        with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="litgo-delivery") as threads:
            while True:
                over = until is not None and time.monotonic() >= until
                fresh = [] if over else self._claim(IN_FLIGHT - len(running))
                running |= {threads.submit(copy_context().run, self._carry, one) for one in fresh}
                if not running:
                    break
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for one in ended:
                    self._count(*one.result())
                self.told(self.done.ended, max(of, self.done.ended))
        self._tidy()
        return self.done

    def _tidy(self) -> None:
        with self.engine.begin() as connection:
            found = notifications.tidy(connection, self.reach, self.clock(), self.settings.litgo_notification_hours)
        self.done.taken_up += found.taken_up
        self.done.unknown += found.unknown
        self.done.failed += found.failed

    def _claim(self, most: int) -> list[Claimed]:
        channels: list[Channel] = [one for one in ("push", "email") if one not in self.left_alone]
        if not channels or not most:
            return []
        at = self.clock()
        with self.engine.begin() as connection:
            return notifications.claim(connection, self.reach, at, at + self.longest + SLACK, channels, most)

    def _carry(self, message: Claimed) -> tuple[Claimed, Ending]:
        """Send a message and write its ending. A worker that slept until its claim ran out sends nothing."""
        with bound(notification=message.id, channel=message.channel, case_id=message.details.get("case_id")):
            return message, self._carried(message)

    def _carried(self, message: Claimed) -> Ending:
        import structlog

        try:
            ending = self._tried(message)
        except Exception as error:
            ending = self._of_ours(message, error, begun=False)
        with self.engine.begin() as connection:
            written = notifications.finish(connection, message, ending, self.clock())
        log = structlog.get_logger(__name__)
        if not written:
            log.warning("notification taken over by another worker", ending=type(ending).__name__)
        elif isinstance(ending, Unclear | Failed):
            log.warning("notification not delivered", ending=type(ending).__name__, trouble=ending.trouble)
        return ending

    def _tried(self, message: Claimed) -> Ending:
        if message.claimed_until - self.clock() < self.longest:
            return Later("the worker was held up before it could send", self.clock(), message.uncertain)
        return self._by_push(message) if message.channel == "push" else self._by_mail(message)

    def _of_ours(self, message: Claimed, error: Exception, *, begun: bool) -> Ending:
        """How a message ends on an error that is not the vendor's, so that the other messages go on.

        Args:
            begun: whether the vendor may have been asked.
        """
        import structlog

        trouble = f"an error of ours: {type(error).__name__}"
        if begun and message.channel == "email":
            return Unclear(trouble)
        structlog.get_logger(__name__).error("notification not sent", trouble=trouble)
        uncertain = message.channel == "push" and (begun or message.uncertain)
        return Later(trouble, self.clock() + pause(message.tries + 1), uncertain)

    def _count(self, message: Claimed, ending: Ending) -> None:
        self.done.add(message, ending)
        if isinstance(ending, Later) and ending.left_alone:
            self.left_alone.add(message.channel)

    def _by_push(self, message: Claimed) -> Ending:
        assert self.carriers.push is not None
        push = push_of(message)
        try:
            found = self.carriers.push.push(push)
        except VendorUnavailable as error:
            uncertain = error.maybe_taken or message.uncertain
            if error.outcome == "http_429" and not uncertain and message.tries + 1 < BUSY_TRIES:
                return self._later(message, error)
            # The call repeated the push already, which OneSignal drops if it arrived. Who still does not know tells the person twice rather
            # than not at all; where there is no mail it is pushed again.
            return self._instead(message, str(error)) or self._later(message, error, uncertain=uncertain)
        except VendorRefused as error:
            uncertain = error.maybe_taken or message.uncertain
            hopeless = error.status in _ABOUT_THE_MESSAGE and not uncertain
            ending = Failed(str(error)) if hopeless else self._later(message, error, uncertain=uncertain)
            return self._instead(message, str(error)) or ending
        except Exception as error:
            return self._of_ours(message, error, begun=True)
        if isinstance(found, NoSubscriber):
            return self._instead(message, NO_DEVICE) or Later(NO_DEVICE, self.clock() + UNSUBSCRIBED_PAUSE)
        return Sent(found.id)

    def _instead(self, message: Claimed, trouble: str) -> Mailed | None:
        """By mail, where mail may take the place of a push and can reach the person."""
        possible = self.settings.fallback_enabled and self.carriers.mail is not None and message.email is not None
        return Mailed(trouble) if possible else None

    def _by_mail(self, message: Claimed) -> Ending:
        assert self.carriers.mail is not None
        mail = mail_of(message, self.settings)
        if not mail.to:
            return Later("no e-mail address is known any more", self.clock() + notifications.LOOK_AGAIN)
        try:
            return Sent(self.carriers.mail.send(mail).id)
        except VendorUnavailable as error:
            return Unclear(str(error)) if error.maybe_taken else self._later(message, error)
        except VendorRefused as error:
            return Failed(str(error)) if error.status in _ABOUT_THE_MESSAGE else self._later(message, error)
        except Exception as error:
            return self._of_ours(message, error, begun=True)

    def _later(self, message: Claimed, error: VendorUnavailable | VendorRefused, *, uncertain: bool = False) -> Later:
        left_alone = isinstance(error, VendorUnavailable) and error.outcome == "breaker_open"
        return Later(str(error), self.clock() + pause(message.tries + 1), uncertain, left_alone)


def push_of(message: Claimed) -> PushMessage:
    """What a phone shows; the same message has the same idempotency key, whoever pushes it."""
    assert message.recipient_id is not None
    data: Mapping[str, object] = {name: value for name, value in message.details.items() if name != OF_DELIVERY}
    key = uuid5(_SAME_MESSAGE, message.key)
    return PushMessage(message.recipient_id, message.subject, message.body, key, {**data, "notification_id": message.id})


def mail_of(message: Claimed, settings: Settings) -> Mail:
    """The mail of a message, to the operators in one, with nobody in `to` where no address is known."""
    marks = {"notification_id": str(message.id)}
    if message.audience == "ops":
        return Mail([Address(one) for one in settings.litgo_ops_emails], message.subject, message.body, marks)
    to = [] if message.email is None else [Address(message.email, message.name)]
    footer = (
        f"Esta é uma mensagem automática de {settings.litgo_controller_name}. "
        f"Para dúvidas sobre o tratamento dos seus dados pessoais, fale com o encarregado: {settings.litgo_dpo_contact}."
    )
    return Mail(to, message.subject, f"{message.body.rstrip()}\n\n--\n{footer}", marks)
