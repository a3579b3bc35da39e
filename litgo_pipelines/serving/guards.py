"""What stands before every route of the API: the token, the idempotency key, how many may wait, and by when there is an answer.

What a route does with a request is not known here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import Header, Request, Response
from fastapi.routing import APIRoute

from litgo_pipelines.serving.errors import Refusal

ANSWER_SECONDS = 29.0
"""After that a caller is told to ask again, whatever the database or a vendor is doing; a call to a vendor ends before."""
MOST_WAITING = 256
MOST_KEY = 200

T = TypeVar("T")


class Guarded(APIRoute):
    """Asks for the token before anything of the request's content is looked at."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            request.state.caller = request.app.state.service.tokens.caller(request.headers.get("authorization"))
            response: Response = await answer(request)
            return response

        return guarded


async def idempotency_key(
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description=f"At most {MOST_KEY} printable characters. Sent again with the same body, the first answer is repeated.",
        ),
    ] = None,
) -> str | None:
    """The caller's key; None where none was sent.

    Raises:
        Refusal: it cannot be one.
    """
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() and len(key) <= MOST_KEY):
        raise Refusal(422, "invalid_field", f"1 to {MOST_KEY} printable ASCII characters are needed", field="Idempotency-Key")
    return key


class Waiting:
    """Counts requests in the house, so that a flood is refused soon instead of answered late.

    Args:
        most: that may be there at once; None: `MOST_WAITING`.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most, self.count = most, 0

    async def __call__(self) -> AsyncIterator[None]:
        if self.count >= (MOST_WAITING if self._most is None else self._most):
            raise Refusal(503, "too_busy", "too many requests at once: ask again", retry_after=1)
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


async def in_time(work: Callable[[], T], limiter: CapacityLimiter) -> T:
    """What `work` returns, done in a thread.

    Raises:
        Refusal: it takes longer than a caller should wait; it goes on, and is not waited for.
    """
    try:
        with fail_after(ANSWER_SECONDS):
            return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)
    except TimeoutError:
        raise Refusal(
            503, "too_slow", "no answer in time; it may still be recorded: ask again with the same Idempotency-Key", retry_after=5
        ) from None
