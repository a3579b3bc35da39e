"""Writing what `triage` found: request, case, triage and vectors in one transaction; and what a person decides where it was not sure.

A request's row is written when it begins (`open_triage`), so that those that fail are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from litgo_pipelines.casework.recording import RequestGivenUp
from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines.casework.triage import Judged
from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.marketplace.vectors import Vectors, content_hash, put
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_STORED = """
SELECT k.client_id, k.summary, k.lat, k.lng, k.radius_km, r.answer
FROM litgo.cases k LEFT JOIN litgo.triages t ON t.case_id = k.id LEFT JOIN litgo.match_requests r ON r.id = t.request_id
WHERE k.id = :id
"""
_UNDECIDED = """
SELECT t.case_id, k.area AS likeliest, t.confidence, t.urgency_h, t.complexity, t.created_at, k.summary
FROM litgo.triages t JOIN litgo.cases k ON k.id = t.case_id
WHERE t.area IS NULL AND t.decided_at IS NULL AND k.status = 'triage'
ORDER BY t.created_at + t.urgency_h * interval '1 hour', t.case_id LIMIT :most
"""
_WAITING = """
SELECT count(*) AS cases, count(*) FILTER (WHERE due < :at) AS overdue, min(due) AS next_due
FROM (SELECT t.created_at + t.urgency_h * interval '1 hour' AS due FROM litgo.triages t JOIN litgo.cases k ON k.id = t.case_id
      WHERE t.area IS NULL AND t.decided_at IS NULL AND k.status = 'triage') undecided
"""
_LATEST = """
SELECT t.case_id, t.area, t.subarea, t.confidence, t.urgency_h, t.complexity, t.created_at, t.decided_by, k.status
FROM litgo.triages t JOIN litgo.cases k ON k.id = t.case_id ORDER BY t.created_at DESC, t.case_id LIMIT :most
"""
_LOCK = """
SELECT k.status, t.case_id AS triaged, t.area, t.decided_by FROM litgo.cases k LEFT JOIN litgo.triages t ON t.case_id = k.id
WHERE k.id = :id FOR NO KEY UPDATE OF k
"""
_PRACTISED = "SELECT primary_area FROM litgo.lawyers UNION SELECT unnest(specialties) FROM litgo.lawyers"
_DECIDE_CASE = "UPDATE litgo.cases SET area = :area, subarea = :subarea, status = 'open' WHERE id = :id"
_DECIDE_TRIAGE = "UPDATE litgo.triages SET decided_by = :by, decided_at = :at, decided_because = :reason WHERE case_id = :id"


class CaseStored(Exception):
    """A case with this id was stored meanwhile; nothing is written."""


@dataclass(frozen=True)
class Telling:
    """What a client told.

    Attributes:
        text: as it was told. Kept with the case, and nowhere else.
        lat, lng: degrees, both or none.
        radius_km: beyond which a lawyer's distance counts as far.
    """

    case_id: UUID
    client_id: UUID
    text: str
    lat: float | None
    lng: float | None
    radius_km: int

    def differing(self, stored: Any) -> list[str]:
        """Which parts a stored case with the same id has otherwise."""
        sent = {"client_id": self.client_id, "text": self.text, "lat": self.lat, "lng": self.lng, "radius_km": self.radius_km}
        return [name for name, value in sent.items() if getattr(stored, "summary" if name == "text" else name) != value]


@dataclass(frozen=True)
class Undecided:
    """A case that waits for a person: the triage was not sure of its area."""

    case_id: UUID
    likeliest: str
    confidence: float
    urgency_h: int
    complexity: str
    created_at: datetime
    summary: str


@dataclass(frozen=True)
class Waiting:
    """How many cases wait for a person.

    Attributes:
        overdue: those of them that have waited for longer than they had time.
        next_due: by when the most urgent one had to be decided; None: none waits.
    """

    cases: int
    overdue: int
    next_due: datetime | None


@dataclass(frozen=True)
class Triaged:
    """A case that was triaged.

    Attributes:
        area, subarea: None: the triage was not sure.
        decided_by: the person who decided then.
        status: of the case.
    """

    case_id: UUID
    area: str | None
    subarea: str | None
    confidence: float
    urgency_h: int
    complexity: str
    created_at: datetime
    decided_by: str | None
    status: str


def open_triage(connection: Connection, request_id: UUID, at: datetime, key: str | None, request_hash: str | None) -> None:
    """Add the row of a triage that begins. Commit it before anything else: requests that fail must count as well."""
    row = {"id": request_id, "kind": "triage", "status": "started", "started_at": at, "idempotency_key": key, "request_hash": request_hash}
    connection.execute(tables.match_requests.insert(), row)


def stored_case(connection: Connection, case_id: UUID) -> Any:
    """The case of an id with what its triage was answered with (`answer`; None: it was never triaged); None where there is no case."""
    from sqlalchemy import text

    return connection.execute(text(_STORED), {"id": case_id}).one_or_none()


def record(
    connection: Connection,
    request_id: UUID,
    telling: Telling,
    judged: Judged,
    vectors: Sequence[Vectors],
    answer: dict[str, Any],
    at: datetime,
    duration_ms: float,
) -> None:
    """Store the case with what was found, and complete its request's row.

    A case of whose area the triage is not sure waits in the state `triage`, under the likeliest area, and is offered to nobody: the
    operators are told of it.

    Args:
        vectors: of the telling, one row each, in registered spaces; kept, so that matching the case asks no model again.
        answer: what the caller is told; told again when the same case is sent again.
        at: when the triage began.

    Raises:
        CaseStored: there is a case with this id.
        RequestGivenUp: the request was ended in the meantime.
    """
    from sqlalchemy.dialects.postgresql import insert

    connection.execute(insert(tables.clients).values(id=telling.client_id, created_at=at).on_conflict_do_nothing())
    case = {
        "id": telling.case_id,
        "client_id": telling.client_id,
        "area": judged.area or judged.likely[0],
        "subarea": judged.subarea,
        "urgency_h": judged.urgency_h,
        "complexity": judged.complexity,
        "lat": telling.lat,
        "lng": telling.lng,
        "radius_km": telling.radius_km,
        "summary": telling.text,
        "status": "triage" if judged.area is None else "open",
        "created_at": at,
    }
    added = insert(tables.cases).values(case).on_conflict_do_nothing().returning(tables.cases.c.id)
    if connection.execute(added).one_or_none() is None:
        raise CaseStored(telling.case_id)
    triage = {
        "case_id": telling.case_id,
        "request_id": request_id,
        "area": judged.area,
        "subarea": judged.subarea,
        "urgency_h": judged.urgency_h,
        "complexity": judged.complexity,
        "confidence": judged.confidence,
        "space": judged.space,
        "nearest": [asdict(one) for one in judged.nearest],
        "created_at": at,
    }
    connection.execute(tables.triages.insert(), triage)
    for one in vectors:
        put(connection, "case", [telling.case_id], [content_hash(telling.text)], one, at)
    if judged.area is None:
        _tell_undecided(connection, telling.case_id, judged, at)
    _finish(connection, request_id, telling.case_id, judged.space, answer, duration_ms)


def _tell_undecided(connection: Connection, case_id: UUID, judged: Judged, at: datetime) -> None:
    """Nothing of the client's words: a mail goes further than the list of those that wait."""
    due = at + timedelta(hours=judged.urgency_h)
    body = (
        f"The triage is not sure what case {case_id} is about; {judged.likely[0]} is likeliest. It is offered to nobody until a person "
        f"decides, and has {judged.urgency_h} h: until {due.astimezone(UTC):%Y-%m-%d %H:%M} UTC. Read it with `litgo triage list "
        f"--undecided`, then run `litgo triage decide {case_id} --area AREA --by NAME --reason TEXT`."
    )
    details = {"case_id": str(case_id), "likeliest": judged.likely[0], "urgency_h": judged.urgency_h}
    subject = f"A case waits for a person to decide its area, within {judged.urgency_h} h"
    tell(connection, key=f"undecided:{case_id}", subject=subject, body=body, at=at, details=details)


def _finish(connection: Connection, request_id: UUID, case_id: UUID, space: str, answer: dict[str, Any], duration_ms: float) -> None:
    values = {"status": "ok", "case_id": case_id, "embedding_space": space, "answer": answer, "duration_ms": duration_ms}
    opened = (tables.match_requests.c.id == request_id) & (tables.match_requests.c.status == "started")
    if connection.execute(tables.match_requests.update().where(opened), values).rowcount != 1:
        raise RequestGivenUp(f"request {request_id} was given up before it was answered: ask again, nothing was written")


def undecided(connection: Connection, most: int) -> list[Undecided]:
    """Cases that wait for a person, those that are due first."""
    from sqlalchemy import text

    return [Undecided(**row) for row in connection.execute(text(_UNDECIDED), {"most": most}).mappings()]


def waiting(connection: Connection, at: datetime) -> Waiting:
    """How many cases wait for a person at a time, and whether one has waited for too long."""
    from sqlalchemy import text

    return Waiting(**connection.execute(text(_WAITING), {"at": at}).mappings().one())


def latest(connection: Connection, most: int) -> list[Triaged]:
    """Cases that were triaged, the newest first."""
    from sqlalchemy import text

    return [Triaged(**row) for row in connection.execute(text(_LATEST), {"most": most}).mappings()]


def decide(
    connection: Connection,
    case_id: UUID,
    *,
    area: str,
    subarea: str | None,
    by: str,
    reason: str,
    at: datetime,
    known: Sequence[str],
) -> None:
    """Write down which area a case is of that the triage was not sure of; the case becomes open.

    Args:
        known: areas there are, besides those that lawyers practise.

    Raises:
        Unknown: there is no such case.
        NotAllowed: it does not wait for a decision.
        LitgoError: there is no such area, or nobody or no reason is named.
    """
    from sqlalchemy import text

    if not by.strip() or not reason.strip():
        raise LitgoError("a decision needs who decides (--by) and why (--reason)")
    found = connection.execute(text(_LOCK), {"id": case_id}).one_or_none()
    if found is None:
        raise Unknown(f"there is no case {case_id}")
    if found.status != "triage":
        raise NotAllowed(f"case {case_id} is {found.status}{_how(found)}: only one in the state triage waits for a decision")
    areas = sorted({*known, *connection.execute(text(_PRACTISED)).scalars()})
    if area not in areas:
        raise LitgoError(f"there is no area {area!r}: choose one of {', '.join(areas)}")
    connection.execute(text(_DECIDE_CASE), {"id": case_id, "area": area, "subarea": subarea})
    connection.execute(text(_DECIDE_TRIAGE), {"id": case_id, "by": by.strip(), "at": at, "reason": reason.strip()})


def _how(found: Any) -> str:
    if found.triaged is None:
        return " and was never triaged"
    return f", as the triage found ({found.area})" if found.decided_by is None else f", as {found.decided_by} decided"
