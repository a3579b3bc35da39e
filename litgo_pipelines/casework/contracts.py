"""Contracts: requested -> pending-signature -> active -> closed | canceled. Each step locks what it changes, checks the state, and writes.

Here are the steps that people and the product take. Who is asked to sign, at DocuSign or by hand, is decided in `contract_signing`, on
rows that `contract_queue` claims; what is signed is made in `contract_documents`, what people are told is worded in `contract_wording`.
Locks are taken in one order everywhere: cases before lawyers before offers before contracts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from uuid import UUID, uuid4

from litgo_pipelines.casework import contract_wording
from litgo_pipelines.casework.contract_fees import checked
from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

Status = Literal["requested", "pending-signature", "active", "closed", "canceled"]
Method = Literal["docusign", "manual"]
Party = Literal["client", "lawyer"]

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
PARTIES: Final[tuple[Party, ...]] = get_args(Party)
MOST_EVIDENCE: Final = 20 * 1024 * 1024
LOST_AFTER: Final = (3, timedelta(hours=1))
"""Looks in a row, and how long from the first to the last of them, after which an envelope that DocuSign does not know is given up."""
UNKNOWN: Final = "DocuSign does not know the contract's envelope"
LOST: Final = "DocuSign has lost the contract's envelope"
UNTRIED: Final = "tries = 0, unknown_since = NULL, lost_at = NULL"
"""In SQL, of a contract that goes on: what was tried in vain before counts no more."""

_POSSIBLE: Final[dict[Status, str]] = {
    "requested": "it waits to be sent for signature, and can be canceled",
    "pending-signature": "it can be signed or canceled",
    "active": "it is signed by both parties, and can be closed",
    "closed": "it has ended",
    "canceled": "it has ended; request another one with an offer whose lawyer is interested",
}


class BadEvidence(LitgoError):
    """What is handed in as evidence of a signature is none; the message says why."""


@dataclass(frozen=True)
class Evidence:
    """What shows that somebody signed by hand, such as the scanned document.

    Attributes:
        name: of the file.
        content: of the file, 20 MiB at most.
    """

    name: str
    content: bytes

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise BadEvidence("the evidence needs a file name")
        if not self.content:
            raise BadEvidence(f"the evidence {self.name!r} is empty: hand in the signed document")
        if len(self.content) > MOST_EVIDENCE:
            raise BadEvidence(f"the evidence {self.name!r} is larger than {MOST_EVIDENCE // 1024**2} MiB: hand in a smaller scan")

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Contract:
    """A row of `contracts`.

    Attributes:
        signing_method: None until it is decided.
        envelope_id: DocuSign's; from here on the envelope may be out for signature.
        fee_model: as `contract_fees.checked` returns it; contracts of other systems may have none.
        signed_client, signed_lawyer: when each signed.
        envelope_number: names the draft at DocuSign.
        due_at: when the signing queue looks at it next; None: it does not.
        claimed_until: until when a worker has it to itself.
        tries: of the signing queue in vain, since it last went on.
        trouble: why the last of them was in vain.
        manual_since: when the parties were told to sign by hand, until they are told to sign at DocuSign.
        draft_of: `contract_documents.made_of`, before a draft of it is asked for; None: there is no draft.
        unknown_since: since when each look has found that DocuSign does not know the envelope; None: the last look did not.
        lost_at: when it had not known it for so long that the team was told.
    """

    id: UUID
    case_id: UUID
    lawyer_id: UUID
    client_id: UUID
    status: Status
    signing_method: Method | None
    envelope_id: str | None
    fee_model: dict[str, Any] | None
    signed_client: datetime | None
    signed_lawyer: datetime | None
    created_at: datetime
    envelope_number: int
    due_at: datetime | None
    claimed_until: datetime | None
    tries: int
    trouble: str | None
    pending_since: datetime | None
    manual_since: datetime | None
    ended_at: datetime | None
    ended_because: str | None
    draft_of: str | None
    unknown_since: datetime | None
    lost_at: datetime | None

    @property
    def reference(self) -> str:
        """What people quote: CT-2026-7E0B-3F6E-6D4C."""
        first = self.id.hex[:12].upper()
        return f"CT-{self.created_at:%Y}-{first[:4]}-{first[4:8]}-{first[8:]}"

    def person(self, party: Party) -> UUID:
        """Whose party that is."""
        return self.client_id if party == "client" else self.lawyer_id

    @property
    def in_the_house(self) -> bool:
        """Whether nobody else can have its document: it is made of what is known at the time."""
        return self.status == "requested" and self.envelope_id is None and self.draft_of is None

    @property
    def possible(self) -> str:
        """What can become of it."""
        if self.lost:
            return f"look for {self.reference} in DocuSign; it can be taken back, for another envelope (litgo contract retake), or canceled"
        if self.unknown_since is not None:
            return "DocuSign is asked again; after an hour of this the contract can be taken back; it can be canceled"
        return _POSSIBLE[self.status]

    @property
    def lost(self) -> bool:
        """Whether DocuSign has not known the envelope for so long that a person may give it up."""
        return self.lost_at is not None

    def lost_by(self, at: datetime) -> bool:
        """Whether a look that finds once more that DocuSign does not know the envelope is enough, as `LOST_AFTER` says."""
        looks, span = LOST_AFTER
        return self.lost or (self.unknown_since is not None and self.tries + 1 >= looks and at - self.unknown_since >= span)

    def told(self) -> str:
        """Its state and what is possible, for whoever asked for something else."""
        return f"contract {self.id} is {self.status}: {self.possible}"


@dataclass(frozen=True)
class Signature:
    """Who signed, how, and who recorded it."""

    party: Party
    method: Method
    signed_at: datetime
    actor: str
    evidence_name: str | None
    evidence_sha256: str | None


COLUMNS: Final = ", ".join(field.name for field in fields(Contract))

_READ = f"SELECT {COLUMNS} FROM litgo.contracts WHERE id = :id"
_LIST = f"""
SELECT {COLUMNS} FROM litgo.contracts
WHERE status = ANY(:statuses) AND (NOT :unsigned OR signed_client IS NULL OR signed_lawyer IS NULL)
ORDER BY created_at DESC, id LIMIT :most
"""
_STANDING = f"SELECT {COLUMNS} FROM litgo.contracts WHERE case_id = :case AND status <> 'canceled'"
_LOCK_CASE = "SELECT status, client_id FROM litgo.cases WHERE id = :case FOR NO KEY UPDATE"
_LOCK_OFFERS = "SELECT id, lawyer_id, status FROM litgo.offers WHERE case_id = :case ORDER BY id FOR NO KEY UPDATE"
_ADD = f"""
INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, status, fee_model, created_at, due_at)
VALUES (:id, :case, :lawyer, :client, 'requested', CAST(:fees AS jsonb), :at, :at) RETURNING {COLUMNS}
"""
_SET_CASE = "UPDATE litgo.cases SET status = :new WHERE id = :case AND status = :old"
_CLOSE_OTHER_OFFERS = """
UPDATE litgo.offers SET status = 'closed' WHERE case_id = :case AND id <> :offer AND status IN ('pending', 'interested')
"""
_CLOSE_OFFER = """
UPDATE litgo.offers SET status = 'closed' WHERE case_id = :case AND lawyer_id = :lawyer AND status IN ('pending', 'interested')
"""
_SIGNATURES = """
SELECT party, method, signed_at, actor, evidence_name, evidence_sha256 FROM litgo.contract_signatures
WHERE contract_id = :id ORDER BY signed_at, party
"""
_ADD_SIGNATURE = """
INSERT INTO litgo.contract_signatures
    (contract_id, party, method, signed_at, actor, evidence_name, evidence_sha256, evidence, recorded_at)
VALUES (:id, :party, :method, :signed_at, :actor, :name, :sha256, :content, :at)
"""
_NOTE_SIGNED = """
UPDATE litgo.contracts SET signed_client = CASE WHEN :party = 'client' THEN :signed_at ELSE signed_client END,
       signed_lawyer = CASE WHEN :party = 'lawyer' THEN :signed_at ELSE signed_lawyer END
WHERE id = :id
"""
_ACTIVATE = f"UPDATE litgo.contracts SET status = 'active', due_at = NULL, trouble = NULL, {UNTRIED} WHERE id = :id"
_END = f"""
UPDATE litgo.contracts SET status = :status, ended_at = :at, ended_because = :why, due_at = :due, trouble = NULL, {UNTRIED} WHERE id = :id
"""
# Whoever has claimed it has no say in it any more.
_RETAKE = f"""
UPDATE litgo.contracts SET status = 'requested', signing_method = NULL, due_at = :at, trouble = NULL, {UNTRIED}, pending_since = NULL,
       envelope_id = NULL, draft_of = NULL, envelope_number = envelope_number + 1, claimed_until = NULL
WHERE id = :id
"""
_CAN_BE_LOOKED_AT = """
due_at IS NOT NULL AND (status IN ('requested', 'pending-signature') OR (status = 'canceled' AND envelope_id IS NOT NULL))
"""
_LOOK_NOW = f"""
UPDATE litgo.contracts SET due_at = LEAST(due_at, :at)
WHERE id IN (SELECT id FROM litgo.contracts WHERE {_CAN_BE_LOOKED_AT} AND (CAST(:id AS uuid) IS NULL OR id = CAST(:id AS uuid))
             ORDER BY id FOR NO KEY UPDATE)
"""


def read(connection: Connection, contract_id: UUID) -> Contract:
    """A contract as it stands.

    Raises:
        Unknown: there is none with this id.
    """
    return _read(connection, contract_id, lock=False)


def listed(connection: Connection, *, statuses: Sequence[Status] = STATUSES, unsigned: bool = False, most: int = 100) -> list[Contract]:
    """Contracts in these states, the newest first.

    Args:
        unsigned: only those that a party has not signed.
    """
    from sqlalchemy import text

    return [of_row(row) for row in connection.execute(text(_LIST), {"statuses": list(statuses), "unsigned": unsigned, "most": most})]


def signatures(connection: Connection, contract_id: UUID) -> list[Signature]:
    """Who signed a contract, in order."""
    from sqlalchemy import text

    return [Signature(*row) for row in connection.execute(text(_SIGNATURES), {"id": contract_id})]


def request_contract(connection: Connection, *, offer_id: UUID, fee_model: Mapping[str, Any], at: datetime) -> tuple[Contract, bool]:
    """Make a contract of an offer whose lawyer is interested; whether it is new.

    The case is contracted, every other live offer of it closed. The same offer and fee model again returns the contract that is there.

    Raises:
        Unknown: there is no such offer.
        BadFees: see `contract_fees.checked`.
        NotAllowed: the lawyer is not interested (any more), the case is not open, or it has another contract.
    """
    from sqlalchemy import text

    fees = checked(fee_model)
    case = connection.execute(text("SELECT case_id FROM litgo.offers WHERE id = :id"), {"id": offer_id}).scalar_one_or_none()
    if case is None:
        raise Unknown(f"there is no offer {offer_id}")
    case_status, client = connection.execute(text(_LOCK_CASE), {"case": case}).one()
    offers = {row.id: row for row in connection.execute(text(_LOCK_OFFERS), {"case": case})}
    lawyer, offer_status = offers[offer_id].lawyer_id, offers[offer_id].status
    standing = connection.execute(text(_STANDING), {"case": case}).one_or_none()
    if standing is not None:
        there = of_row(standing)
        if (there.lawyer_id, there.fee_model) == (lawyer, fees):
            return there, False
        raise NotAllowed(f"case {case} has a contract already, with another lawyer or other fees: {there.told()}")
    if offer_status != "interested":
        raise NotAllowed(f"offer {offer_id} is {offer_status}: a contract needs an offer whose lawyer is interested")
    if case_status != "open":
        raise NotAllowed(f"case {case} is {case_status}: a contract needs an open case")
    row = {"id": uuid4(), "case": case, "lawyer": lawyer, "client": client, "fees": json.dumps(fees), "at": at}
    made = of_row(connection.execute(text(_ADD), row).one())
    connection.execute(text(_SET_CASE), {"case": case, "old": "open", "new": "contracted"})
    connection.execute(text(_CLOSE_OTHER_OFFERS), {"case": case, "offer": offer_id})
    return made, True


def sign(
    connection: Connection,
    contract_id: UUID,
    party: Party,
    *,
    evidence: Evidence,
    actor: str,
    at: datetime,
    signed_at: datetime | None = None,
) -> Contract:
    """Record that a party signed by hand; once both have, the contract is active.

    The same party with the same evidence again changes nothing.

    Args:
        actor: who records it.
        signed_at: when the party signed; None: at `at`.

    Raises:
        Unknown: there is no such contract.
        NotAllowed: it is not to be signed by hand, the party has signed already with other evidence, or signed before there was a contract.
    """
    contract = lock(connection, contract_id)
    earlier = next((one for one in signatures(connection, contract_id) if one.party == party), None)
    if earlier is not None:
        if earlier.evidence_sha256 == evidence.sha256:
            return contract
        how = "at DocuSign" if earlier.method == "docusign" else "with other evidence"
        raise NotAllowed(f"the {party} has signed contract {contract_id} already, {how}: nobody signs twice")
    if contract.status != "pending-signature":
        raise NotAllowed(contract.told())
    if contract.signing_method != "manual":
        if contract.unknown_since is not None:
            raise NotAllowed(contract.told())
        raise NotAllowed(f"contract {contract_id} is out for signature at DocuSign: it is signed there, or canceled here")
    if signed_at is not None and signed_at < contract.created_at:
        made, before = (one.astimezone(UTC).isoformat(timespec="seconds") for one in (contract.created_at, signed_at))
        raise NotAllowed(f"contract {contract_id} was requested at {made}: nobody can have signed it at {before}, before that")
    add_signature(connection, contract_id, party, "manual", signed_at=signed_at or at, actor=actor, evidence=evidence, at=at)
    other = contract.signed_lawyer if party == "client" else contract.signed_client
    return activate(connection, contract_id, at=at) if other is not None else read(connection, contract_id)


def cancel(connection: Connection, contract_id: UUID, *, reason: str, actor: str, at: datetime) -> Contract:
    """End a contract before it is active: the case is open again, its lawyer's offer closed, and both parties are told.

    An envelope that may be out for signature is voided by the signing queue, which is why the contract falls due once more.

    Raises:
        Unknown: there is no such contract.
        NotAllowed: it is active, or has ended.
    """
    from sqlalchemy import text

    lock_case(connection, read(connection, contract_id))
    contract = lock(connection, contract_id)
    if contract.status not in ("requested", "pending-signature"):
        raise NotAllowed(contract.told())
    due = at if contract.envelope_id is not None else None
    connection.execute(text(_END), {"id": contract_id, "status": "canceled", "why": f"{reason} ({actor})", "at": at, "due": due})
    connection.execute(text(_SET_CASE), {"case": contract.case_id, "old": "contracted", "new": "open"})
    connection.execute(text(_CLOSE_OFFER), {"case": contract.case_id, "lawyer": contract.lawyer_id})
    tell_parties(connection, contract, "canceled", at)
    return read(connection, contract_id)


def close(connection: Connection, contract_id: UUID, *, at: datetime) -> Contract:
    """End an active contract, and its case.

    Raises:
        Unknown: there is no such contract.
        NotAllowed: it is not active.
    """
    from sqlalchemy import text

    lock_case(connection, read(connection, contract_id))
    contract = lock(connection, contract_id)
    if contract.status != "active":
        raise NotAllowed(contract.told())
    connection.execute(text(_END), {"id": contract_id, "status": "closed", "why": None, "at": at, "due": None})
    connection.execute(text(_SET_CASE), {"case": contract.case_id, "old": "contracted", "new": "closed"})
    return read(connection, contract_id)


def retake(connection: Connection, contract_id: UUID, *, at: datetime) -> Contract:
    """Take a contract that nobody has signed by hand yet back to DocuSign, or give up an envelope that is lost and have another one made.

    The parties are told when it is out at DocuSign.

    Raises:
        Unknown: there is no such contract.
        NotAllowed: it does not wait for manual signatures and its envelope is not lost, or a party has signed.
    """
    from sqlalchemy import text

    contract = lock(connection, contract_id)
    if contract.unknown_since is not None and not contract.lost:
        raise NotAllowed(contract.told())
    if not contract.lost and (contract.status != "pending-signature" or contract.signing_method != "manual"):
        how = f", signed by {contract.signing_method}" if contract.signing_method else ""
        which = "only one that waits for manual signatures, or whose envelope is lost, is taken back"
        raise NotAllowed(f"contract {contract_id} is {contract.status}{how}: {which}")
    if contract.signed_client is not None or contract.signed_lawyer is not None:
        raise NotAllowed(f"a party has signed contract {contract_id} by hand: let the other one sign by hand, too, or cancel it")
    connection.execute(text(_RETAKE), {"id": contract_id, "at": at})
    return read(connection, contract_id)


def look_now(connection: Connection, contract_id: UUID | None = None, *, at: datetime) -> int:
    """Let the signing queue look at a contract, or at all that it would ever look at, without waiting for their moment; at how many.

    Raises:
        Unknown: there is no such contract.
        NotAllowed: nothing is to be looked at: it is signed by hand, by both parties, or has ended.
    """
    from sqlalchemy import text

    count = connection.execute(text(_LOOK_NOW), {"id": contract_id, "at": at}).rowcount
    if count == 0 and contract_id is not None:
        contract = read(connection, contract_id)
        how = ", signed by hand" if contract.signing_method == "manual" else ""
        raise NotAllowed(f"DocuSign is not asked about contract {contract_id}, which is {contract.status}{how}: {contract.possible}")
    return count


def lock_case(connection: Connection, contract: Contract) -> None:
    """Lock a contract's case and its offers, which comes before `lock` where a step changes them."""
    from sqlalchemy import text

    connection.execute(text(_LOCK_CASE), {"case": contract.case_id})
    connection.execute(text(_LOCK_OFFERS), {"case": contract.case_id})


def lock(connection: Connection, contract_id: UUID) -> Contract:
    """A contract that nobody else can change until this transaction ends.

    Raises:
        Unknown: there is none with this id.
    """
    return _read(connection, contract_id, lock=True)


def add_signature(
    connection: Connection,
    contract_id: UUID,
    party: Party,
    method: Method,
    *,
    signed_at: datetime,
    actor: str,
    evidence: Evidence | None,
    at: datetime,
) -> None:
    """Write a signature of a contract that is locked."""
    from sqlalchemy import text

    shown = (None, None, None) if evidence is None else (evidence.name, evidence.sha256, evidence.content)
    row = {"id": contract_id, "party": party, "method": method, "signed_at": signed_at, "actor": actor, "at": at}
    connection.execute(text(_ADD_SIGNATURE), row | dict(zip(("name", "sha256", "content"), shown, strict=True)))
    connection.execute(text(_NOTE_SIGNED), {"id": contract_id, "party": party, "signed_at": signed_at})


def activate(connection: Connection, contract_id: UUID, *, at: datetime) -> Contract:
    """Let a locked contract that both parties have signed be active; they are told."""
    from sqlalchemy import text

    connection.execute(text(_ACTIVATE), {"id": contract_id})
    contract = read(connection, contract_id)
    tell_parties(connection, contract, "active", at)
    return contract


def tell_parties(connection: Connection, contract: Contract, event: contract_wording.Event, at: datetime) -> None:
    """Tell client and lawyer of something that just happened to a locked contract."""
    for party in PARTIES:
        subject, body = contract_wording.to_party(event, party, contract.reference)
        tell(
            connection,
            # A contract may go the same way more than once; each time is a message of its own.
            key=f"contract-{contract.id}-{event}-{at:%Y%m%dT%H%M%S%f}-{party}",
            audience=party,
            recipient=contract.person(party),
            subject=subject,
            body=body,
            details={"contract_id": str(contract.id), "reference": contract.reference},
            at=at,
        )


def of_row(row: Row[Any] | Sequence[Any]) -> Contract:
    """A row of `COLUMNS`."""
    return Contract(*tuple(row))


def _read(connection: Connection, contract_id: UUID, *, lock: bool) -> Contract:
    from sqlalchemy import text

    statement = f"{_READ} FOR NO KEY UPDATE" if lock else _READ
    row = connection.execute(text(statement), {"id": contract_id}).one_or_none()
    if row is None:
        raise Unknown(f"there is no contract {contract_id}")
    return of_row(row)
