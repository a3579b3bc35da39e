"""A change that is made once, however often it is asked for: what was answered under an idempotency key is written with the change.

Requests for lawyers and for triage keep their answers with their own rows (`requests`); without a key a transition itself is what makes
repeating harmless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import BaseModel

from litgo_pipelines.serving.errors import Refusal

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

A = TypeVar("A", bound=BaseModel)

# Whoever comes second under a key waits for the first, and finds its answer or that there is none.
_TURN = "SELECT pg_advisory_xact_lock(hashtext('litgo idempotency'), hashtext(:key))"
_FIND = "SELECT request_hash, status, answer FROM litgo.idempotent_answers WHERE key = :key"
_KEEP = """
INSERT INTO litgo.idempotent_answers (key, request_hash, status, answer, created_at)
VALUES (:key, :digest, :status, CAST(:answer AS jsonb), :at)
"""


@dataclass(frozen=True)
class Asked:
    """A request for a change.

    Attributes:
        operation: method and path.
        body: what was sent.
        key: the idempotency key, already told apart by caller; None: there is none.
    """

    operation: str
    body: BaseModel
    key: str | None = None

    @property
    def digest(self) -> str:
        """The same for the same request."""
        return hashlib.sha256(f"{self.operation}\n{self.body.model_dump_json()}".encode()).hexdigest()


@dataclass(frozen=True)
class Answered(Generic[A]):
    """An answer with its HTTP status, and whether it was given before under the same key."""

    status: int
    answer: A
    replayed: bool = False


def once(engine: Engine, asked: Asked, at: datetime, transition: Callable[[Connection], Answered[A]], model: type[A]) -> Answered[A]:
    """Make a change in a transaction of its own, or repeat what was answered under the same key.

    A change that is refused keeps no answer: asked again, it is tried again.

    Args:
        model: of the answer.

    Raises:
        Refusal: the key was used for something else.
        Whatever `transition` raises; nothing is written then.
    """
    from sqlalchemy import text

    with engine.begin() as connection:
        if asked.key is None:
            return transition(connection)
        connection.execute(text(_TURN), {"key": asked.key})
        # A statement of its own: only what starts after the lock is held sees what the first one wrote.
        found = connection.execute(text(_FIND), {"key": asked.key}).one_or_none()
        if found is not None:
            if found.request_hash != asked.digest:
                raise Refusal(
                    409, "idempotency_key_reused", "this key was used for another request: take a new one", field="Idempotency-Key"
                )
            return Answered(found.status, model.model_validate(found.answer), replayed=True)
        answered = transition(connection)
        row = {"key": asked.key, "digest": asked.digest, "status": answered.status, "at": at}
        connection.execute(text(_KEEP), row | {"answer": answered.answer.model_dump_json()})
        return answered
