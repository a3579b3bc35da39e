"""The rows of the outbox on their way: who may take which message up, how one ends, and what a person may do about it.

    queued -> sending -> sent | queued again (later, or by mail instead of push) | unknown | failed

A message that is `sending` belongs to a worker for a while. One whose worker never came back is pushed again, for OneSignal drops the
second of two pushes; a mail becomes `unknown`, for nobody can tell whether it left. Nothing here asks a vendor: that is `delivery`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID, uuid4

from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines.marketplace.outbox import Audience
from litgo_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

Channel = Literal["push", "email"]
Status = Literal["queued", "sending", "sent", "unknown", "failed"]

OF_DELIVERY: Final = "delivery"
"""Key in `details` of what delivery itself must remember of a message."""

LOOK_AGAIN: Final = timedelta(minutes=10)
"""When it is looked again whether somebody can be reached who could not."""

_NO_PUSH = "OneSignal is not configured (ONESIGNAL_APP_ID, ONESIGNAL_API_KEY)"

_UNCERTAIN = f"coalesce(CAST(details #>> '{{{OF_DELIVERY},uncertain}}' AS boolean), false)"
_NOW_UNCERTAIN = f"jsonb_set(details, '{{{OF_DELIVERY}}}', coalesce(details -> '{OF_DELIVERY}', '{{}}') || '{{\"uncertain\": true}}')"

_BY_MAIL = """
(:mail AND CASE audience WHEN 'ops' THEN :ops
           ELSE EXISTS (SELECT FROM litgo.contacts c WHERE c.person_id = recipient_id AND c.email IS NOT NULL) END)
"""
_ON_ITS_CHANNEL = f"CASE channel WHEN 'push' THEN :push ELSE {_BY_MAIL} END"
_INSTEAD = f"(channel = 'push' AND NOT :push AND :fallback AND {_BY_MAIL})"
_REACHABLE = f"({_ON_ITS_CHANNEL} OR {_INSTEAD})"
_GIVEN_UP = f"(created_at <= :too_old AND (tries > 0 OR NOT {_REACHABLE}))"

_TAKE_UP = f"""
UPDATE litgo.notifications
SET status = CASE channel WHEN 'push' THEN 'queued' ELSE 'unknown' END, claim = CASE channel WHEN 'push' THEN NULL ELSE claim END,
    claimed_until = NULL, due_at = :at, tries = tries + 1, trouble = 'whoever was sending it never came back',
    details = CASE channel WHEN 'push' THEN {_NOW_UNCERTAIN} ELSE details END
WHERE id IN (SELECT id FROM litgo.notifications WHERE status = 'sending' AND claimed_until <= :at FOR NO KEY UPDATE SKIP LOCKED)
RETURNING status, audience
"""

_MAIL_INSTEAD = f"""
UPDATE litgo.notifications SET channel = 'email', tries = 0, trouble = :no_push
WHERE id IN (SELECT id FROM litgo.notifications WHERE status = 'queued' AND due_at <= :at AND {_INSTEAD} FOR NO KEY UPDATE SKIP LOCKED)
"""

_SET_ASIDE = f"""
UPDATE litgo.notifications
SET due_at = :later, trouble = CASE WHEN channel = 'push' THEN :nowhere WHEN NOT :mail THEN 'SendGrid is not configured (SENDGRID_API_KEY)'
                                    WHEN audience = 'ops' THEN 'LITGO_OPS_EMAILS names nobody'
                                    ELSE 'no e-mail address of this person is known' END
WHERE id IN (SELECT id FROM litgo.notifications WHERE status = 'queued' AND due_at <= :at AND NOT {_REACHABLE}
             FOR NO KEY UPDATE SKIP LOCKED)
"""

_GIVE_UP = f"""
UPDATE litgo.notifications
SET status = CASE WHEN {_UNCERTAIN} AND channel = 'push' THEN 'unknown' ELSE 'failed' END,
    trouble = coalesce(trouble, 'nobody could be reached in time')
WHERE id IN (SELECT id FROM litgo.notifications WHERE status = 'queued' AND {_GIVEN_UP} FOR NO KEY UPDATE SKIP LOCKED)
RETURNING status, audience
"""

# Nobody is asked for what cannot be done any more; how something ended is told however late. Of a contract only that is overtaken which is
# told anew, should it be so again: a contract that is taken back may come to be signed by hand once more without a word.
_OFFER_IS_OVER = "o.status <> 'pending' OR o.expires_at <= :at"
_SIGNED_NO_MORE = "c.status NOT IN ('requested', 'pending-signature')"
_CONTRACT_WENT_ON = f"""
CASE WHEN n.key LIKE '%-manual-%' THEN {_SIGNED_NO_MORE} OR c.manual_since IS NULL
     WHEN n.key LIKE '%-retaken-%' THEN {_SIGNED_NO_MORE} OR c.manual_since IS NOT NULL
     WHEN n.key LIKE '%-unclear-%' THEN c.status <> 'requested'
     WHEN n.key LIKE '%-lost-%' THEN {_SIGNED_NO_MORE} OR n.key NOT LIKE '%-lost-' || coalesce(c.envelope_id, '') || '-team' END
"""
_OVERTAKE = f"""
UPDATE litgo.notifications
SET status = 'failed', trouble = 'overtaken: ' || CASE WHEN key LIKE 'offer:%' THEN 'the offer was answered, closed or ran out'
                                                       ELSE 'the contract went on' END || ' before this could be sent'
WHERE id IN (
    SELECT n.id FROM litgo.notifications n
    WHERE n.status = 'queued' AND (
        (n.key LIKE 'offer:%'
         AND EXISTS (SELECT FROM litgo.offers o WHERE o.id = CAST(n.details ->> 'offer_id' AS uuid) AND ({_OFFER_IS_OVER})))
        OR (n.key LIKE 'contract-%'
            AND EXISTS (SELECT FROM litgo.contracts c WHERE c.id = CAST(n.details ->> 'contract_id' AS uuid) AND {_CONTRACT_WENT_ON})))
    FOR NO KEY UPDATE SKIP LOCKED
)
"""

_HURRY = "UPDATE litgo.notifications SET due_at = :at WHERE status = 'queued' AND due_at > :at"

_CLAIM = f"""
WITH due AS (
    SELECT id FROM litgo.notifications
    WHERE status = 'queued' AND due_at <= :at AND channel = ANY (:channels) AND {_ON_ITS_CHANNEL}
    ORDER BY due_at, id LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE litgo.notifications n SET status = 'sending', claim = :claim, claimed_until = :until FROM due WHERE n.id = due.id
RETURNING n.id, n.key, n.audience, n.recipient_id, n.subject, n.body, n.details, n.channel, n.tries, n.claim, n.claimed_until,
    (SELECT c.email FROM litgo.contacts c WHERE c.person_id = n.recipient_id),
    (SELECT c.name FROM litgo.contacts c WHERE c.person_id = n.recipient_id)
"""

# A worker that comes back too late still knows what became of its mail.
_FINISH = f"""
UPDATE litgo.notifications
SET status = :status, channel = :channel, due_at = coalesce(:due_at, due_at), tries = :tries, trouble = :trouble, vendor_id = :vendor_id,
    sent_at = :sent_at, claim = CASE :status WHEN 'unknown' THEN claim END, claimed_until = NULL,
    details = CASE WHEN :uncertain THEN {_NOW_UNCERTAIN} ELSE details #- '{{{OF_DELIVERY},uncertain}}' END
WHERE id = :id AND claim = :claim AND status IN ('sending', 'unknown')
"""

_DUE = f"""
SELECT count(*) FILTER (WHERE urgent), max(id) FILTER (WHERE urgent), count(*) FILTER (WHERE NOT urgent) FROM (
    SELECT id, true AS urgent FROM litgo.notifications WHERE status = 'sending' AND claimed_until <= :at
    UNION ALL
    SELECT id, due_at <= :at AND {_REACHABLE} FROM litgo.notifications
    WHERE status = 'queued' AND ((due_at <= :at AND {_REACHABLE}) OR {_GIVEN_UP})
) due
"""

_STANDING = """
SELECT status, channel, count(*), min(created_at) FROM litgo.notifications
WHERE status = 'queued' OR status = 'sending' OR status IN ('unknown', 'failed')
GROUP BY status, channel ORDER BY status, channel
"""

_SHOWN = """
SELECT id, key, audience, recipient_id, channel, status, subject, body, details, tries, trouble, vendor_id, created_at, due_at, sent_at
FROM litgo.notifications
"""
_LISTED = f"{_SHOWN} WHERE status = ANY (:statuses) ORDER BY id DESC LIMIT :most"
_FOUND = f"{_SHOWN} WHERE id = :id FOR NO KEY UPDATE"

_HANDLE = f"""
UPDATE litgo.notifications
SET status = :status, channel = :channel, due_at = :due_at, tries = 0, trouble = :trouble, sent_at = :sent_at, claim = NULL,
    details = jsonb_set(details, '{{{OF_DELIVERY}}}', coalesce(details -> '{OF_DELIVERY}', '{{}}') || jsonb_build_object('handled',
        coalesce(details #> '{{{OF_DELIVERY},handled}}', '[]') || CAST(:handled AS jsonb)))
WHERE id = :id
"""


@dataclass(frozen=True)
class Reach:
    """Which ways to people there are.

    Attributes:
        push, mail: whether the vendor is configured.
        ops: whether anybody is named whom the operators' mail goes to.
        fallback: whether mail may take the place of a push.
    """

    push: bool
    mail: bool
    ops: bool
    fallback: bool

    @classmethod
    def of(cls, settings: Settings) -> Reach:
        push = settings.onesignal_app_id is not None and settings.onesignal_api_key is not None
        return cls(push, settings.sendgrid_api_key is not None, bool(settings.litgo_ops_emails), settings.fallback_enabled)

    @property
    def nowhere(self) -> str:
        """Why nobody is pushed to, nor told by mail instead."""
        return f"{_NO_PUSH}, and {'no mail reaches this person' if self.fallback else 'FALLBACK_ENABLED is false'}"

    def as_row(self) -> dict[str, Any]:
        return {"push": self.push, "mail": self.mail, "ops": self.ops, "fallback": self.fallback}


@dataclass(frozen=True)
class Claimed:
    """A message that a worker holds until `claimed_until`.

    Attributes:
        tries: in vain so far, on this channel.
        email, name: of the lawyer or client, where they are known.
    """

    id: int
    key: str
    audience: Audience
    recipient_id: UUID | None
    subject: str
    body: str
    details: Mapping[str, Any]
    channel: Channel
    tries: int
    claim: UUID
    claimed_until: datetime
    email: str | None
    name: str | None

    @property
    def uncertain(self) -> bool:
        """Whether an earlier push may have arrived."""
        return bool(self.details.get(OF_DELIVERY, {}).get("uncertain"))


@dataclass(frozen=True)
class Sent:
    """A vendor took it, and calls it `vendor_id`."""

    vendor_id: str | None


@dataclass(frozen=True)
class Later:
    """It is tried again on the same channel.

    Attributes:
        uncertain: whether a push may have arrived.
        left_alone: whether nothing was asked of the vendor, which is left alone for now.
    """

    trouble: str
    due_at: datetime
    uncertain: bool = False
    left_alone: bool = False


@dataclass(frozen=True)
class Mailed:
    """It certainly was not pushed, and goes by mail instead."""

    trouble: str


@dataclass(frozen=True)
class Unclear:
    """Nobody can tell whether it was sent."""

    trouble: str


@dataclass(frozen=True)
class Failed:
    """It was not sent, and trying again would not change that."""

    trouble: str


Ending = Sent | Later | Mailed | Unclear | Failed


@dataclass(frozen=True)
class Tidied:
    """What was found to do before any message is sent.

    Attributes:
        taken_up: pushes whose worker never came back.
        unknown, failed: messages that ended so.
    """

    taken_up: int
    unknown: int
    failed: int


def tidy(connection: Connection, reach: Reach, at: datetime, hours: float) -> Tidied:
    """Take up what was left behind, change the channel where there is no push, set aside who cannot be reached, give up what is too old.

    What asks for something that cannot be done any more, of an offer or a contract, is not sent; that is no loss, and nobody is told of it.

    Args:
        hours: after which a message that could not be sent is given up.
    """
    from sqlalchemy import text

    row = reach.as_row() | {"at": at, "later": at + LOOK_AGAIN, "too_old": at - timedelta(hours=hours)}
    left = connection.execute(text(_TAKE_UP), {"at": at}).all()
    connection.execute(text(_OVERTAKE), {"at": at})
    if not reach.push:
        connection.execute(text(_MAIL_INSTEAD), row | {"no_push": _NO_PUSH})
    connection.execute(text(_SET_ASIDE), row | {"nowhere": reach.nowhere})
    old = connection.execute(text(_GIVE_UP), row).all()
    lost = [one for one in (*left, *old) if one.status in ("unknown", "failed")]
    if any(one.audience != "ops" for one in lost):
        _tell_operators(connection, at)
    ended = [one.status for one in lost]
    return Tidied(sum(one.status == "queued" for one in left), ended.count("unknown"), ended.count("failed"))


def hurry(connection: Connection, at: datetime) -> int:
    """Make every message that waits due at once, however long its pause was to be; how many these are."""
    from sqlalchemy import text

    return connection.execute(text(_HURRY), {"at": at}).rowcount


def claim(connection: Connection, reach: Reach, at: datetime, until: datetime, channels: Collection[Channel], most: int) -> list[Claimed]:
    """Up to so many messages, those that are due the longest; they are this worker's own until `until`, once this is committed."""
    from sqlalchemy import text

    row = reach.as_row() | {"at": at, "until": until, "channels": list(channels), "most": most, "claim": uuid4()}
    return [Claimed(*one) for one in connection.execute(text(_CLAIM), row)]


def finish(connection: Connection, message: Claimed, ending: Ending, at: datetime) -> bool:
    """Write how a message that was claimed ended; False, and nothing written, where it is somebody else's by now."""
    from sqlalchemy import text

    row = {"id": message.id, "claim": message.claim, "channel": message.channel, "tries": message.tries, "due_at": None}
    row |= {"trouble": None, "vendor_id": None, "sent_at": None, "uncertain": False}
    match ending:
        case Sent(vendor_id):
            row |= {"status": "sent", "vendor_id": vendor_id, "sent_at": at}
        case Later(trouble, due_at, uncertain):
            row |= {"status": "queued", "trouble": trouble, "due_at": due_at, "tries": message.tries + 1, "uncertain": uncertain}
        case Mailed(trouble):
            row |= {"status": "queued", "channel": "email", "trouble": trouble, "due_at": at, "tries": 0}
        case Unclear(trouble):
            row |= {"status": "unknown", "trouble": trouble, "tries": message.tries + 1}
        case Failed(trouble):
            row |= {"status": "failed", "trouble": trouble, "tries": message.tries + 1}
    written = connection.execute(text(_FINISH), row).rowcount == 1
    if written and row["status"] in ("unknown", "failed") and message.audience != "ops":
        _tell_operators(connection, at)
    return written


def _tell_operators(connection: Connection, at: datetime) -> None:
    """Once an hour, however many messages there are, and never of a message that was itself for the operators."""
    from litgo_pipelines.marketplace.outbox import tell

    tell(
        connection,
        key=f"undelivered:{at:%Y-%m-%dT%H}",
        subject="Messages to lawyers or clients were not delivered",
        body=f"Since {at:%Y-%m-%d %H:%M} UTC messages to lawyers or clients were lost, or nobody can tell whether they were sent.\n"
        "See which and why: litgo notification list --status unknown --status failed\n"
        "Then, for each: litgo notification resend ID, or litgo notification settle ID --sent --reason TEXT",
        at=at,
    )


@dataclass(frozen=True)
class Due:
    """What a run would find to do.

    Attributes:
        messages: that can be sent, or were left behind.
        newest: id of the newest of these; None: there are none.
        hopeless: further messages that would only be given up.
    """

    messages: int
    newest: int | None
    hopeless: int


def due(connection: Connection, reach: Reach, at: datetime, hours: float) -> Due:
    """Messages that are due and can be sent, were left behind, or are to be given up after so many `hours`."""
    from sqlalchemy import text

    row = reach.as_row() | {"at": at, "too_old": at - timedelta(hours=hours)}
    return Due(*connection.execute(text(_DUE), row).one())


@dataclass(frozen=True)
class Standing:
    """How many messages of a channel stand where, and since when the oldest waits."""

    status: Status
    channel: Channel
    messages: int
    oldest: datetime


def standing(connection: Connection) -> list[Standing]:
    """All that was not sent, or not yet."""
    from sqlalchemy import text

    return [Standing(*one) for one in connection.execute(text(_STANDING))]


@dataclass(frozen=True)
class Notification:
    """A message as it stands."""

    id: int
    key: str
    audience: Audience
    recipient_id: UUID | None
    channel: Channel
    status: Status
    subject: str
    body: str
    details: Mapping[str, Any]
    tries: int
    trouble: str | None
    vendor_id: str | None
    created_at: datetime
    due_at: datetime
    sent_at: datetime | None


def listed(connection: Connection, statuses: Collection[Status], most: int) -> list[Notification]:
    """Messages that stand so, at most so many, the newest first."""
    from sqlalchemy import text

    rows = connection.execute(text(_LISTED), {"statuses": list(statuses), "most": most})
    return [Notification(*one) for one in rows]


def find(connection: Connection, number: int) -> Notification:
    """A message, locked until the transaction ends.

    Raises:
        Unknown: there is none.
    """
    from sqlalchemy import text

    found = connection.execute(text(_FOUND), {"id": number}).one_or_none()
    if found is None:
        raise Unknown(f"there is no message {number}: see `litgo notification list`")
    return Notification(*found)


def resend(connection: Connection, number: int, *, by: str, at: datetime, channel: Channel | None = None) -> Notification:
    """Queue a message again that failed, or of which nobody knows whether it arrived: a person decided that it may arrive twice.

    Args:
        channel: to try; None: the last one. OneSignal drops a push that it took in the last 30 days.

    Raises:
        Unknown, NotAllowed: it stands elsewhere; operators are reached by mail alone.
    """
    found = find(connection, number)
    if found.status not in ("unknown", "failed"):
        raise NotAllowed(f"message {number} is {found.status}: only one that is unknown or failed is sent again. {_possible(found.status)}")
    if found.audience == "ops" and channel == "push":
        raise NotAllowed(f"message {number} is for the operators, who are reached by mail alone: leave --channel out")
    return _handled(connection, found, "resend", by, "", at, "queued", channel=channel or found.channel)


def settle(connection: Connection, number: int, status: Literal["sent", "failed"], *, by: str, reason: str, at: datetime) -> Notification:
    """Say what became of a message of which the system does not know, or will not go on with.

    Raises:
        Unknown, NotAllowed: it is being sent, it was sent, or it stands so already.
    """
    found = find(connection, number)
    if found.status in ("sending", "sent") or found.status == status:
        raise NotAllowed(f"message {number} is {found.status}: it cannot be settled as {status}. {_possible(found.status)}")
    return _handled(connection, found, f"settled as {status}", by, reason, at, status, channel=found.channel)


def _possible(status: Status) -> str:
    told: dict[Status, str] = {
        "queued": "It will be sent when it is due (`litgo notification send`), or settle it",
        "sending": "Wait until whoever sends it is done",
        "sent": "There is nothing left to do",
        "unknown": "Send it again or settle it",
        "failed": "Send it again, or settle it as sent",
    }
    return told[status]


def _handled(
    connection: Connection, found: Notification, action: str, by: str, reason: str, at: datetime, status: Status, *, channel: Channel
) -> Notification:
    from sqlalchemy import text

    told = f"{action} by {by}" + (f": {reason}" if reason else "")
    handled = {"action": action, "by": by, "reason": reason, "at": at.isoformat()}
    row = {"id": found.id, "status": status, "channel": channel, "due_at": at, "sent_at": at if status == "sent" else None}
    connection.execute(text(_HANDLE), row | {"trouble": None if status == "queued" else told, "handled": json.dumps([handled])})
    return find(connection, found.id)
