"""The rows of requests for lawyers and for triage: begun once under an idempotency key, answered again, or given up.

What is asked and answered is `matches`' and `triage`'s. Changes of other kinds keep their answers in `idempotency`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from litgo_pipelines.casework.recording import fail_request
from litgo_pipelines.marketplace import tables
from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.serving.errors import Refusal

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

T = TypeVar("T")

ABANDONED_AFTER: Final = timedelta(seconds=60)
"""A request that has not ended by then was lost with its process; its idempotency key may be used again."""

_RACES: Final = 3
_KEY: Final = "uq_match_requests_idempotency_key"
_log = get_logger(__name__)


class Abandoned(Exception):
    """A request that was begun and never ended, because its process did."""


def scoped_key(caller: str, key: str) -> str:
    """An idempotency key as it is stored: two callers never share one."""
    return f"{caller}:{key}"


def begin(engine: Engine, opened: Callable[[Connection], T]) -> T:
    """What `opened` makes of a transaction in which it looks for an earlier answer (`answered`) and otherwise adds the request's row.

    It is called again where somebody else began under the same key in the meantime: it finds their row then.

    Raises:
        Refusal: others keep beginning under the key.
        Whatever `opened` raises; nothing is written then.
    """
    from sqlalchemy.exc import IntegrityError

    for _ in range(_RACES):
        try:
            with engine.begin() as connection:
                return opened(connection)
        except IntegrityError as error:
            if getattr(getattr(error.orig, "diag", None), "constraint_name", None) != _KEY:
                raise
    raise _in_progress()


def answered(connection: Connection, key: str | None, digest: str, at: datetime) -> Any:
    """What was answered under a key, as JSON; None: nothing yet. A request that was lost with its process gives the key free.

    Raises:
        Refusal: the key stands for another question, or its first request is still worked on.
    """
    if key is None:
        return None
    requests = tables.match_requests
    found = connection.execute(requests.select().where(requests.c.idempotency_key == key)).one_or_none()
    if found is None:
        return None
    if found.request_hash != digest:
        raise Refusal(409, "idempotency_key_reused", "this key was used for another question: take a new one", field="Idempotency-Key")
    if found.answer is not None:
        return found.answer
    age = at - found.started_at
    if age < ABANDONED_AFTER:
        raise _in_progress()
    fail_request(connection, found.id, Abandoned(), age)
    return None


def give_up(engine: Engine, request_id: UUID, error: BaseException, duration: timedelta) -> None:
    """Mark a request as failed, which frees its key."""
    try:
        with engine.begin() as connection:
            fail_request(connection, request_id, error, duration)
    except Exception as second:
        # The caller is told of the first error; this row is given up later, when its key is used again.
        _log.error("a failed request could not be marked as such", request_id=str(request_id), error=type(second).__name__)


def _in_progress() -> Refusal:
    return Refusal(
        409, "in_progress", "the first request with this key is still worked on: ask again", field="Idempotency-Key", retry_after=1
    )
