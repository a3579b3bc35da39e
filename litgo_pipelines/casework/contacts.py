"""How people are reached: names and e-mail addresses of lawyers and clients. Who is told what, and by which channel, is not known here."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from litgo_pipelines.casework.refusals import Unknown

if TYPE_CHECKING:
    from sqlalchemy import Connection

Kind = Literal["lawyer", "client"]

_EXISTS: Final[dict[Kind, str]] = {
    "lawyer": "SELECT EXISTS (SELECT FROM litgo.lawyers WHERE id = :id)",
    "client": "SELECT EXISTS (SELECT FROM litgo.clients WHERE id = :id)",
}
_KEEP = """
INSERT INTO litgo.contacts (person_id, kind, name, email, updated_at) VALUES (:id, :kind, :name, :email, :at)
ON CONFLICT (person_id) DO UPDATE
SET kind = EXCLUDED.kind, name = EXCLUDED.name, email = EXCLUDED.email, updated_at = EXCLUDED.updated_at
"""


def keep(connection: Connection, person_id: UUID, kind: Kind, name: str | None, email: str | None, at: datetime) -> None:
    """Write down how a person is reached, in place of what was known before.

    Raises:
        Unknown: there is no such lawyer or client.
    """
    from sqlalchemy import text

    if not connection.execute(text(_EXISTS[kind]), {"id": person_id}).scalar_one():
        raise Unknown(f"there is no {kind} {person_id}")
    connection.execute(text(_KEEP), {"id": person_id, "kind": kind, "name": name, "email": email, "at": at})
