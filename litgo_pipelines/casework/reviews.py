"""What a client says of a contract: one review each, and how the matter ended.

```
nothing ── ongoing ──▶ ongoing ── won | lost | settled ──▶ final
   └────── won | lost | settled ──▶ final
```

A final review ends the contract and its case; of a matter that goes on the client may say so first. What reviews teach the ranker is
`ranking`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from litgo_pipelines.casework import contracts
from litgo_pipelines.casework.refusals import NotAllowed

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.casework.contracts import Contract

Outcome = Literal["won", "lost", "settled", "ongoing"]

_COLUMNS = "id, contract_id, lawyer_id, client_id, rating, outcome, comment, created_at"
_LOCK_CASE = "SELECT FROM litgo.cases WHERE id = :id FOR NO KEY UPDATE"
_THERE = f"SELECT {_COLUMNS} FROM litgo.reviews WHERE contract_id = :id"
# A review counts from its outcome on: one that says how an ongoing matter ended takes the place of the earlier one, and its time.
_WRITE = f"""
INSERT INTO litgo.reviews ({_COLUMNS})
VALUES (:id, :contract_id, :lawyer_id, :client_id, :rating, :outcome, :comment, :at)
ON CONFLICT (contract_id) DO UPDATE
SET rating = EXCLUDED.rating, outcome = EXCLUDED.outcome, comment = EXCLUDED.comment, created_at = EXCLUDED.created_at
RETURNING {_COLUMNS}
"""


@dataclass(frozen=True)
class Review:
    """A review as it is recorded; `rating` from 1 to 5."""

    id: UUID
    contract_id: UUID
    lawyer_id: UUID
    client_id: UUID
    rating: int
    outcome: Outcome
    comment: str | None
    created_at: datetime


def review(
    connection: Connection, contract_id: UUID, rating: int, outcome: Outcome, comment: str | None, at: datetime
) -> tuple[Review, bool]:
    """Write down what the client says of a contract; whether anything of it is new.

    A final outcome closes an active contract and its case. The same again changes nothing.

    Raises:
        Unknown: there is no such contract.
        NotAllowed: it is not signed yet, or was canceled; it has ended and cannot be ongoing; or it was reviewed otherwise.
        ValueError: a rating that is not 1 to 5.
    """
    from sqlalchemy import text

    if not 1 <= rating <= 5:
        raise ValueError("a rating is a whole number from 1 to 5")
    # Cases are locked before contracts, everywhere.
    connection.execute(text(_LOCK_CASE), {"id": contracts.read(connection, contract_id).case_id})
    contract = contracts.lock(connection, contract_id)
    row = connection.execute(text(_THERE), {"id": contract_id}).one_or_none()
    earlier = None if row is None else Review(*row)
    if earlier is not None and (earlier.rating, earlier.outcome, earlier.comment) == (rating, outcome, comment):
        return earlier, False
    _require_reviewable(contract, earlier, outcome)
    given = {"id": uuid4(), "contract_id": contract.id, "lawyer_id": contract.lawyer_id, "client_id": contract.client_id}
    written = connection.execute(text(_WRITE), given | {"rating": rating, "outcome": outcome, "comment": comment, "at": at}).one()
    if outcome != "ongoing" and contract.status == "active":
        contracts.close(connection, contract_id, at=at)
    return Review(*written), True


def _require_reviewable(contract: Contract, earlier: Review | None, outcome: Outcome) -> None:
    if contract.status not in ("active", "closed"):
        raise NotAllowed(f"{contract.told()}; only a contract that both parties signed is reviewed")
    if earlier is not None and (earlier.outcome != "ongoing" or outcome == "ongoing"):
        said = "and a review stays as it is" if earlier.outcome != "ongoing" else "as ongoing: say how it ended once it has"
        raise NotAllowed(f"contract {contract.id} was reviewed already, {said}")
    if outcome == "ongoing" and contract.status == "closed":
        raise NotAllowed(f"contract {contract.id} is closed: its matter cannot be ongoing any more; say won, lost or settled")
