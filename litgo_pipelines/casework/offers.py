"""What becomes of an offer: a lawyer answers it, or its time runs out.

```
pending ── interested ──▶ interested ── declined ──▶ declined
   │  │                       └──── nobody takes it up ──▶ closed
   │  └──── declined ──▶ declined
   └──── its time runs out ──▶ expired
```

A lawyer may take interest back until a contract is requested for the case; a refusal stays one, for the case may have gone to the next
lawyer by then. Interest that no contract follows lapses, so that it does not keep a lawyer's capacity for ever. An offer is `closed` by
whatever else ends the search, too. To whom a case is offered is `matching`'s, and what comes after the last live offer `next_offers`'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from litgo_pipelines.casework.refusals import NotAllowed, Unknown

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

Status = Literal["pending", "interested", "declined", "expired", "closed"]
Answer = Literal["interested", "declined"]
DeclineReason = Literal["capacity", "conflict", "not_interested", "fee", "other"]

EXPIRED_AT_ONCE: Final = 1000
"""Offers that one transaction lets run out, or lapse, at most."""

_COLUMNS = "id, case_id, lawyer_id, status, decline_reason, sent_at, expires_at, responded_at"
_ONE = f"SELECT {_COLUMNS} FROM litgo.offers WHERE id = :id"
_LOCK_CASE = """
SELECT k.status FROM litgo.offers o JOIN litgo.cases k ON k.id = o.case_id WHERE o.id = :id FOR NO KEY UPDATE OF k
"""
_LOCK_OFFER = f"{_ONE} FOR NO KEY UPDATE"
_CONTRACTED = "SELECT EXISTS (SELECT FROM litgo.contracts WHERE case_id = :case_id AND status <> 'canceled')"
_ANSWER = "UPDATE litgo.offers SET status = :status, decline_reason = :decline_reason, responded_at = :responded_at WHERE id = :id"

_EXPIRE = """
WITH due AS MATERIALIZED (
    SELECT id FROM litgo.offers WHERE status = 'pending' AND expires_at <= :as_of ORDER BY expires_at LIMIT :most
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE litgo.offers o SET status = 'expired' FROM due WHERE o.id = due.id
"""

_OVERDUE = "SELECT count(*), min(expires_at) FROM litgo.offers WHERE status = 'pending' AND expires_at <= :as_of"

_LAPSING = """
FROM litgo.offers o JOIN litgo.cases k ON k.id = o.case_id
WHERE o.status = 'interested' AND o.responded_at <= CAST(:as_of AS timestamptz) - CAST(:lasting AS interval) AND k.status = 'open'
  AND NOT EXISTS (SELECT FROM litgo.contracts c WHERE c.case_id = k.id AND c.status <> 'canceled')
"""
# The case is locked as well: a contract that is being requested changes it, but not the offer it is made of.
_LAPSE = f"""
WITH due AS MATERIALIZED (SELECT o.id {_LAPSING} ORDER BY o.responded_at LIMIT :most FOR NO KEY UPDATE OF k, o SKIP LOCKED)
UPDATE litgo.offers o SET status = 'closed' FROM due WHERE o.id = due.id
"""
_LAPSED = f"SELECT count(*), min(o.responded_at) + CAST(:lasting AS interval) {_LAPSING}"


@dataclass(frozen=True)
class Overdue:
    """Offers past their time, pending or with interest, and when the first of them ended; None where there is none."""

    offers: int
    oldest: datetime | None


@dataclass(frozen=True)
class Offer:
    """An offer of a case to a lawyer, as it is recorded. See `tables.offers`."""

    id: UUID
    case_id: UUID
    lawyer_id: UUID
    status: Status
    decline_reason: DeclineReason | None
    sent_at: datetime
    expires_at: datetime
    responded_at: datetime | None

    def status_at(self, at: datetime) -> Status:
        """Where it stands: one whose time is up counts as expired before anybody has written so."""
        return "expired" if self.status == "pending" and self.expires_at <= at else self.status


def read(connection: Connection, offer_id: UUID) -> Offer:
    """The offer of an id.

    Raises:
        Unknown: there is none.
    """
    return _found(connection, _ONE, offer_id)


def respond(connection: Connection, offer_id: UUID, answer: Answer, decline_reason: DeclineReason | None, at: datetime) -> Offer:
    """Write down a lawyer's answer. The same answer again changes nothing; a refusal repeated without its reason is the same.

    Args:
        decline_reason: of a refusal, where the lawyer gave one.

    Returns:
        The offer as it is afterwards.

    Raises:
        Unknown: there is no such offer.
        NotAllowed: its time is up, it was answered otherwise, or the case takes no more answers; nothing is changed.
        ValueError: a reason for being interested.
    """
    from sqlalchemy import text

    if answer == "interested" and decline_reason is not None:
        raise ValueError("only a refusal has a reason")
    # Cases are locked before offers, everywhere; a contract that is being requested holds the case as well.
    case_status = connection.execute(text(_LOCK_CASE), {"id": offer_id}).scalar_one_or_none()
    offer = _found(connection, _LOCK_OFFER, offer_id)
    if offer.status == answer and decline_reason in (None, offer.decline_reason):
        return offer
    _require_open(offer, answer, at)
    if case_status != "open" or connection.execute(text(_CONTRACTED), {"case_id": offer.case_id}).scalar_one():
        why = "has a contract" if case_status == "open" else f"is {case_status}"
        raise NotAllowed(f"offer {offer.id} is {offer.status} and stays so: its case {why} and takes no more answers")
    answered = replace(offer, status=answer, decline_reason=decline_reason, responded_at=at)
    row = {"id": offer.id, "status": answer, "decline_reason": decline_reason, "responded_at": at}
    connection.execute(text(_ANSWER), row)
    return answered


def _require_open(offer: Offer, answer: Answer, at: datetime) -> None:
    """Refuse an answer that this offer does not take any more, whatever its case says."""
    status = offer.status_at(at)
    if status == "pending" or (status, answer) == ("interested", "declined"):
        return
    if status == "expired":
        raise NotAllowed(f"offer {offer.id} ran out at {offer.expires_at:%Y-%m-%d %H:%M:%S %Z}: it cannot be answered any more")
    if status == "closed":
        why = "the search for a lawyer has ended" if offer.responded_at is None else "the search has ended, or the interest has lapsed"
        raise NotAllowed(f"offer {offer.id} is closed, because {why}: it cannot be answered any more")
    for_reason = "" if offer.decline_reason is None else f" ({offer.decline_reason})"
    raise NotAllowed(f"offer {offer.id} was declined{for_reason}, and stays so: the case may have been offered to others since")


def overdue(connection: Connection, as_of: datetime) -> Overdue:
    """The pending offers whose time is up by `as_of`."""
    from sqlalchemy import text

    return Overdue(*connection.execute(text(_OVERDUE), {"as_of": as_of}).one())


def expire(connection: Connection, as_of: datetime, most: int = EXPIRED_AT_ONCE) -> int:
    """Let pending offers whose time is up by `as_of` run out, the longest overdue first; how many.

    Offers that somebody is at work on are left for the next time, so nobody waits for anybody.
    """
    from sqlalchemy import text

    return connection.execute(text(_EXPIRE), {"as_of": as_of, "most": most}).rowcount


def expire_all(engine: Engine, as_of: datetime, at_once: int = EXPIRED_AT_ONCE) -> int:
    """`expire` until nothing is left, each batch in a transaction of its own; how many in all."""
    return _in_batches(engine, lambda connection: expire(connection, as_of, at_once), at_once)


def lapsed(connection: Connection, as_of: datetime, lasting: timedelta) -> Overdue:
    """The offers of open cases without a contract whose lawyers have been interested for `lasting` by `as_of`."""
    from sqlalchemy import text

    return Overdue(*connection.execute(text(_LAPSED), {"as_of": as_of, "lasting": lasting}).one())


def lapse(connection: Connection, as_of: datetime, lasting: timedelta, most: int = EXPIRED_AT_ONCE) -> int:
    """Close offers whose lawyers were interested for `lasting` without a contract, the oldest interest first; how many.

    Offers and cases that somebody is at work on are left for the next time, so nobody waits for anybody.
    """
    from sqlalchemy import text

    return connection.execute(text(_LAPSE), {"as_of": as_of, "lasting": lasting, "most": most}).rowcount


def lapse_all(engine: Engine, as_of: datetime, lasting: timedelta, at_once: int = EXPIRED_AT_ONCE) -> int:
    """`lapse` until nothing is left, each batch in a transaction of its own; how many in all."""
    return _in_batches(engine, lambda connection: lapse(connection, as_of, lasting, at_once), at_once)


def _in_batches(engine: Engine, batch: Callable[[Connection], int], at_once: int) -> int:
    total = 0
    while True:
        with engine.begin() as connection:
            found = batch(connection)
        total += found
        if found < at_once:
            return total


def _found(connection: Connection, statement: str, offer_id: UUID) -> Offer:
    from sqlalchemy import text

    row = connection.execute(text(statement), {"id": offer_id}).one_or_none()
    if row is None:
        raise Unknown(f"there is no offer {offer_id}")
    return Offer(*row)
