"""The signing queue: contracts that are due, claimed by one worker at a time, and what a worker may write of them.

A claim ends by itself, so that another worker takes up what a killed one left. Each write is a transaction of its own, locks its contract
and is refused where a person, or another worker, went on with it meanwhile. Nothing here calls DocuSign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid5

from litgo_pipelines.casework import contract_wording, contracts
from litgo_pipelines.casework.contracts import COLUMNS, PARTIES, UNTRIED, Contract, of_row
from litgo_pipelines.marketplace.outbox import tell

if TYPE_CHECKING:
    from sqlalchemy import Connection

CLAIM: Final = timedelta(minutes=15)
FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(hours=1)
SHORTEST_LOOK: Final = timedelta(minutes=15)
LONGEST_LOOK: Final = timedelta(hours=6)
_GRID: Final = timedelta(minutes=5)
_MOST_DOUBLINGS: Final = 10

# Canceled contracts stay until their envelope is certainly not out for signature any more.
_DUE = """
due_at <= :at AND (claimed_until IS NULL OR claimed_until <= :at)
AND (status IN ('requested', 'pending-signature') OR (status = 'canceled' AND envelope_id IS NOT NULL))
"""
_CLAIM = f"""
WITH due AS (
    SELECT id AS due_id FROM litgo.contracts
    WHERE {_DUE} ORDER BY due_at, id LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE litgo.contracts SET claimed_until = :until FROM due WHERE id = due_id RETURNING {COLUMNS}
"""
_RELEASE = "UPDATE litgo.contracts SET claimed_until = NULL WHERE id = ANY(:ids) AND claimed_until = :until"
_NOTE_DRAFTING = "UPDATE litgo.contracts SET draft_of = :made_of WHERE id = :id"
_WITHOUT_DRAFT = f"""
UPDATE litgo.contracts SET envelope_id = NULL, draft_of = NULL, signing_method = NULL, envelope_number = envelope_number + 1
WHERE id = :id RETURNING {COLUMNS}
"""
_KEEP_DRAFT = "UPDATE litgo.contracts SET envelope_id = :envelope, signing_method = 'docusign' WHERE id = :id"
_METHOD = "UPDATE litgo.contracts SET signing_method = :method WHERE id = :id"
_OUT = f"""
UPDATE litgo.contracts SET status = 'pending-signature', pending_since = COALESCE(pending_since, :at), due_at = :due, trouble = NULL,
       {UNTRIED}, claimed_until = NULL, manual_since = NULL
WHERE id = :id
"""
_AGAIN = """
UPDATE litgo.contracts SET tries = :tries, trouble = :trouble, unknown_since = :unknown_since, lost_at = :lost_at, due_at = :due,
       claimed_until = NULL
WHERE id = :id
"""
_BY_HAND = f"""
UPDATE litgo.contracts SET status = 'pending-signature', signing_method = 'manual', pending_since = :at, manual_since = :at,
       due_at = NULL, trouble = :trouble, {UNTRIED}, claimed_until = NULL
WHERE id = :id
"""
_ANEW = f"""
UPDATE litgo.contracts SET status = 'requested', pending_since = NULL, due_at = :at, trouble = :trouble, {UNTRIED}, claimed_until = NULL
WHERE id = :id
"""
_REST = f"UPDATE litgo.contracts SET due_at = NULL, trouble = :trouble, {UNTRIED}, claimed_until = NULL WHERE id = :id"
_COUNT_DUE = f"SELECT count(*), min(due_at) FROM litgo.contracts WHERE {_DUE}"
_LOST = "SELECT count(*) FROM litgo.contracts WHERE status IN ('requested', 'pending-signature') AND lost_at IS NOT NULL"
_REQUESTED = """
SELECT due_at, tries FROM litgo.contracts WHERE status = 'requested' AND lost_at IS NULL AND created_at < :before
"""
_DOCUMENT_MADE = "SELECT max(created_at) FROM litgo.contract_documents WHERE contract_id = :id"
_STANDING = """
SELECT status, signing_method, count(*), min(COALESCE(pending_since, created_at)) FROM litgo.contracts
WHERE status IN ('requested', 'pending-signature') GROUP BY 1, 2 ORDER BY 1, 2
"""


class Left(Exception):
    """A contract that this worker has no say in any more: a person decided, or the claim ended and another worker went on."""


@dataclass(frozen=True)
class Claim:
    """A contract that one worker has to itself for a while.

    Attributes:
        until: when the claim ends; also its name.
    """

    contract: Contract
    until: datetime

    @property
    def transaction_id(self) -> str:
        """Of the draft: the same for whoever drafts it."""
        return str(uuid5(self.contract.id, f"envelope {self.contract.envelope_number}"))

    @property
    def may_have_draft(self) -> bool:
        """Whether somebody may have drafted an envelope whose id was never written down."""
        return self.contract.envelope_id is None and self.contract.draft_of is not None

    @property
    def unsent(self) -> bool:
        """Whether no envelope of it can have been sent."""
        return self.contract.envelope_id is None or (self.contract.status == "requested" and self.contract.signing_method is None)


@dataclass(frozen=True)
class Standing:
    """Contracts that are not signed yet, of one state and method, and since when the oldest of them waits."""

    status: contracts.Status
    method: contracts.Method | None
    contracts: int
    oldest: datetime


def claim(connection: Connection, *, at: datetime, most: int) -> list[Claim]:
    """Up to `most` contracts that are due and nobody else's, those first that have been due for longest."""
    from sqlalchemy import text

    rows = connection.execute(text(_CLAIM), {"at": at, "until": at + CLAIM, "most": most}).all()
    claims = [Claim(of_row(row), at + CLAIM) for row in rows]
    return sorted(claims, key=lambda one: (one.contract.due_at or at, one.contract.id))


def release(connection: Connection, claims: Sequence[Claim]) -> None:
    """Give back what is still claimed."""
    from sqlalchemy import text

    if claims:
        connection.execute(text(_RELEASE), {"ids": [one.contract.id for one in claims], "until": claims[0].until})


def due(connection: Connection, at: datetime) -> tuple[int, datetime | None]:
    """How many contracts the queue would claim, and since when the first of them is due."""
    from sqlalchemy import text

    count, since = connection.execute(text(_COUNT_DUE), {"at": at}).one()
    return count, since


def standing(connection: Connection) -> list[Standing]:
    """Contracts that are not signed yet, by state and method."""
    from sqlalchemy import text

    return [Standing(*row) for row in connection.execute(text(_STANDING))]


def lost(connection: Connection) -> int:
    """How many contracts have an envelope that DocuSign has lost."""
    from sqlalchemy import text

    return int(connection.execute(text(_LOST)).scalar_one())


def requested_before(connection: Connection, before: datetime) -> int:
    """How many contracts have had no place to sign them since before a moment. Lost ones are not among them: these wait for a person.

    When a contract became requested, or was requested once more, follows from when it is due and from the pauses before that.
    """
    from sqlalchemy import text

    rows = connection.execute(text(_REQUESTED), {"before": before})
    return sum(due_at is None or due_at - sum(map(pause, range(tries)), timedelta()) < before for due_at, tries in rows)


def pause(tries: int) -> timedelta:
    """Until the next try, after so many in vain."""
    return min(FIRST_PAUSE * (1 << min(tries, _MOST_DOUBLINGS)), LONGEST_PAUSE)


def next_look(pending_since: datetime, at: datetime) -> datetime:
    """When an envelope that is out is looked at again: ever more rarely, never sooner than DocuSign allows, many at the same time."""
    wanted = at + min(max((at - pending_since) / 8, SHORTEST_LOOK), LONGEST_LOOK)
    past = timedelta(seconds=wanted.timestamp() % _GRID.total_seconds())
    return wanted - past + _GRID if past else wanted


def note_drafting(connection: Connection, claimed: Claim, made_of: str) -> None:
    """Write down that a draft is about to be asked for, and of what; from here on there may be one.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    _held(connection, claimed, "requested")
    connection.execute(text(_NOTE_DRAFTING), {"id": claimed.contract.id, "made_of": made_of})


def without_draft(connection: Connection, claimed: Claim) -> Claim:
    """The claim without its draft, which is given up for good, whether there is one or not: the next draft bears another name.

    Only where nobody can sign it: it was never sent, or is no more.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    _held(connection, claimed, "requested", "pending-signature")
    row = connection.execute(text(_WITHOUT_DRAFT), {"id": claimed.contract.id}).one()
    return replace(claimed, contract=of_row(row))


def keep_draft(connection: Connection, claimed: Claim, envelope_id: str) -> None:
    """Write down an envelope before it is sent; from here on it may be out.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    _held(connection, claimed, "requested")
    connection.execute(text(_KEEP_DRAFT), {"id": claimed.contract.id, "envelope": envelope_id})


def note_sending(connection: Connection, claimed: Claim) -> None:
    """Write down that a draft which was kept before may be out from here on.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    _held(connection, claimed, "requested", "pending-signature")
    connection.execute(text(_METHOD), {"id": claimed.contract.id, "method": "docusign"})


def note_unsent(connection: Connection, claimed: Claim) -> None:
    """Write down that the draft has certainly not been sent.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    _held(connection, claimed, "requested")
    connection.execute(text(_METHOD), {"id": claimed.contract.id, "method": None})


def out(connection: Connection, claimed: Claim, at: datetime) -> None:
    """The envelope is out for signature; it is looked at again later. Parties who were told to sign by hand are told not to.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    contract = _held(connection, claimed, "requested", "pending-signature")
    look = next_look(contract.pending_since or at, at)
    connection.execute(text(_OUT), {"id": contract.id, "at": at, "due": look})
    if contract.manual_since is not None:
        contracts.tell_parties(connection, contract, "retaken", at)


def again(connection: Connection, claimed: Claim, trouble: str, at: datetime, *, unclear: bool = False) -> None:
    """A try was in vain; the next one follows after a longer pause.

    Args:
        unclear: nobody can tell whether the envelope is out; the team is told, once an envelope.

    Raises:
        Left: somebody else went on with the contract.
    """
    contract = _held(connection, claimed)
    _again(connection, contract, trouble, contract.tries, at)
    if unclear:
        tell_team(connection, contract, "unclear", trouble, at)


def not_known(connection: Connection, claimed: Claim, at: datetime) -> str:
    """DocuSign does not know the envelope; the trouble. Once it is lost the team is told, once an envelope.

    Raises:
        Left: somebody else went on with the contract.
    """
    contract = _held(connection, claimed, "requested", "pending-signature")
    lost, since = contract.lost_by(at), contract.unknown_since or at
    trouble = f"{contracts.LOST if lost else contracts.UNKNOWN}: not known since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    # Looks that found something else do not count.
    tries = 0 if contract.unknown_since is None else contract.tries
    _again(connection, contract, trouble, tries, at, unknown_since=since, lost_at=(contract.lost_at or at) if lost else None)
    if contract.status == "requested":
        tell_team(connection, contract, "unclear", trouble, at)
    if lost:
        tell_team(connection, contract, "lost", trouble, at)
    return trouble


def _again(
    connection: Connection,
    contract: Contract,
    trouble: str,
    tries: int,
    at: datetime,
    unknown_since: datetime | None = None,
    lost_at: datetime | None = None,
) -> None:
    from sqlalchemy import text

    row = {"id": contract.id, "trouble": trouble, "tries": tries + 1, "due": at + pause(tries)}
    connection.execute(text(_AGAIN), row | {"unknown_since": unknown_since, "lost_at": lost_at})


def by_hand(connection: Connection, claimed: Claim, trouble: str, at: datetime) -> None:
    """Let a contract `without_draft` be signed by hand; the team is told, and both parties, unless they wait for this very document.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    contract = _held(connection, claimed, "requested")
    made = connection.execute(text(_DOCUMENT_MADE), {"id": contract.id}).scalar_one()
    connection.execute(text(_BY_HAND), {"id": contract.id, "trouble": trouble, "at": at})
    if contract.manual_since is None or (made is not None and made > contract.manual_since):
        contracts.tell_parties(connection, contract, "manual", at)
    tell_team(connection, contract, "manual", trouble, at)


def anew(connection: Connection, claimed: Claim, trouble: str, at: datetime) -> None:
    """The envelope is no more, though nobody refused to sign: the contract is requested once more.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    contract = without_draft(connection, claimed).contract
    connection.execute(text(_ANEW), {"id": contract.id, "trouble": trouble, "at": at})


def signed(connection: Connection, claimed: Claim, moments: Mapping[str, datetime], at: datetime) -> None:
    """Both parties have signed at DocuSign: the contract is active.

    Raises:
        Left: somebody else went on with the contract.
    """
    contract = _held(connection, claimed, "requested", "pending-signature")
    for party in PARTIES:
        contracts.add_signature(
            connection, contract.id, party, "docusign", signed_at=moments.get(party, at), actor="docusign", evidence=None, at=at
        )
    contracts.activate(connection, contract.id, at=at)
    release(connection, [claimed])


def declined(connection: Connection, claimed: Claim, reason: str, at: datetime) -> None:
    """A party declined to sign: the contract is canceled; the team is told.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    contracts.lock_case(connection, claimed.contract)
    contract = _held(connection, claimed, "requested", "pending-signature")
    contracts.cancel(connection, contract.id, reason=reason, actor="docusign", at=at)
    tell_team(connection, contract, "declined", reason, at)
    connection.execute(text(_REST), {"id": contract.id, "trouble": None})


def rest(connection: Connection, claimed: Claim, trouble: str | None = None) -> None:
    """Nothing is left to do for a canceled contract.

    Raises:
        Left: somebody else went on with the contract.
    """
    from sqlalchemy import text

    contract = _held(connection, claimed, "canceled")
    connection.execute(text(_REST), {"id": contract.id, "trouble": trouble})


def tell_of_settings(connection: Connection, why: str, at: datetime) -> None:
    """Tell the operators, once a day, that the account at DocuSign cannot be used as it is set."""
    subject, body = contract_wording.of_settings(why)
    tell(connection, key=f"docusign-settings-{at:%Y%m%d}", subject=subject, body=body, details={"why": why}, at=at)


def tell_team(connection: Connection, contract: Contract, event: contract_wording.TeamEvent, why: str, at: datetime) -> None:
    """Tell the operators, once an envelope and event, or each time where there is none."""
    subject, body = contract_wording.to_team(event, str(contract.id), contract.reference, why)
    what = contract.envelope_id or f"{at:%Y%m%dT%H%M%S%f}"
    details = {"contract_id": str(contract.id), "reference": contract.reference, "why": why}
    tell(connection, key=f"contract-{contract.id}-{event}-{what}-team", subject=subject, body=body, details=details, at=at)


def _held(connection: Connection, claimed: Claim, *statuses: contracts.Status) -> Contract:
    """The contract, locked, if it is still this worker's and in one of these states; none named: any."""
    contract = contracts.lock(connection, claimed.contract.id)
    if contract.claimed_until != claimed.until or (statuses and contract.status not in statuses):
        raise Left(f"contract {contract.id} is {contract.status}")
    return contract
