"""What a client does about a case as a whole: withdraws it.

How a case comes in is `matching`'s and `triage`'s; contracts and reviews take it further.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection

Status = Literal["triage", "open", "contracted", "closed", "canceled"]

_CASE = "SELECT id, status, withdrawn_at FROM litgo.cases WHERE id = :id FOR NO KEY UPDATE"
_CONTRACT = "SELECT id, status FROM litgo.contracts WHERE case_id = :id AND status <> 'canceled'"
_WITHDRAW = """
UPDATE litgo.cases SET status = 'canceled', withdrawn_at = :at, withdrawn_because = :reason WHERE id = :id
RETURNING id, status, withdrawn_at
"""
_CLOSE_OFFERS = "UPDATE litgo.offers SET status = 'closed' WHERE case_id = :id AND status IN ('pending', 'interested')"

_ADVICE: Final = {
    "requested": "cancel it first (litgo contract cancel)",
    "pending-signature": "cancel it first (litgo contract cancel)",
    "active": "it is signed by both parties, and ends by being closed",
}


@dataclass(frozen=True)
class Case:
    """Where a case stands, and when its client withdrew it; None where nobody did."""

    id: UUID
    status: Status
    withdrawn_at: datetime | None


def withdraw(connection: Connection, case_id: UUID, reason: str, at: datetime) -> Case:
    """End a case whose client looks for nobody any more: its live offers are closed, which frees their lawyers.

    A case that is canceled already stays as it is.

    Args:
        reason: why, in the words of whoever says so.

    Raises:
        Unknown: there is no such case.
        NotAllowed: it has a contract that is not canceled, or has ended otherwise; nothing is changed.
        LitgoError: no reason is given.
    """
    from sqlalchemy import text

    if not reason.strip():
        raise LitgoError("a withdrawal needs a reason: say why the case ends")
    found = connection.execute(text(_CASE), {"id": case_id}).one_or_none()
    if found is None:
        raise Unknown(f"there is no case {case_id}")
    case = Case(*found)
    if case.status == "canceled":
        return case
    # A statement of its own: only what starts after the lock is held sees a contract that was requested meanwhile.
    contract = connection.execute(text(_CONTRACT), {"id": case_id}).one_or_none()
    if contract is not None and contract.status in _ADVICE:
        raise NotAllowed(f"case {case_id} has contract {contract.id}, which is {contract.status}: {_ADVICE[contract.status]}")
    if contract is not None or case.status not in ("open", "triage"):
        stands = "has a contract that is closed" if contract is not None else f"is {case.status}"
        raise NotAllowed(f"case {case_id} {stands}: only one that looks for a lawyer can be withdrawn")
    connection.execute(text(_CLOSE_OFFERS), {"id": case_id})
    return Case(*connection.execute(text(_WITHDRAW), {"id": case_id, "reason": reason.strip(), "at": at}).one())
