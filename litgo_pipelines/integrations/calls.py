"""The only door to the outside: a call to a vendor, bounded in time, repeated where that is harmless, and written down.

What a vendor's requests and answers look like is known to the modules beside this one; where rows are kept, to the `CallLedger` that is
handed in.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from litgo_pipelines.integrations.attempts import NO_REQUEST, NOT_TAKEN, REPEATABLE, Attempt, CallLedger, Outcome
from litgo_pipelines.integrations.breaker import passage
from litgo_pipelines.integrations.policies import Deadline, Policy
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    import httpx

    from litgo_pipelines.integrations.transport import Exchange

T = TypeVar("T")

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 4.0
JITTER: Final = 0.25

_REFUSALS: Final[frozenset[Outcome]] = frozenset({"http_3xx", "http_4xx"})
_OPERATION = re.compile(r"[a-z][a-z_]{0,49}")


class VendorUnavailable(LitgoError):
    """A vendor gave no usable answer in time.

    Attributes:
        outcome: of the last attempt.
        requests: HTTP requests that were made.
        maybe_taken: whether the vendor may have done what was asked, for all we know.
    """

    def __init__(self, message: str, outcome: Outcome, requests: int, maybe_taken: bool) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.requests = requests
        self.maybe_taken = maybe_taken


class VendorRefused(LitgoError):
    """A vendor understood and said no, or the request cannot be sent at all: trying again would change nothing.

    Attributes:
        status: of the HTTP answer; None where the request cannot be sent.
        body: the answer's text, which may hold personal data: for a program, not for a log.
        maybe_taken: whether the vendor may have done what was asked all the same, by an earlier attempt of the call.
    """

    def __init__(self, message: str, status: int | None, body: str, maybe_taken: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.maybe_taken = maybe_taken


def call(
    policy: Policy,
    operation: str,
    request: httpx.Request,
    read: Callable[[httpx.Response], T],
    *,
    ledger: CallLedger,
    deadline: Deadline | None = None,
) -> T:
    """Make a request and read its answer, in `policy.deadline` seconds at most; blocks.

    Args:
        operation: what is asked for, as the ledger names it: a fixed word of small letters and underscores.
        request: with its body in memory, for it may be sent again.
        read: turns an answer with a status of 2xx into what is wanted; whatever it raises says that it
            cannot.
        deadline: of several calls together, in place of the policy's own.

    Raises:
        VendorUnavailable: no usable answer in time, or the vendor is left alone for now.
        VendorRefused: the vendor answered with another status than 2xx, 408, 429 or 5xx; or the request cannot be sent.
    """
    import stamina

    if not _OPERATION.fullmatch(operation):
        raise ValueError("an operation is a fixed word of small letters and underscores")
    _quieten_stamina()
    request.read()
    calling = _Calling(policy, operation, ledger, deadline or Deadline.after(policy.deadline))
    tries = stamina.retry_context(
        on=calling.pause,
        attempts=policy.attempts,
        timeout=None,
        wait_initial=FIRST_PAUSE,
        wait_max=LONGEST_PAUSE,
        wait_jitter=JITTER,
    )
    try:
        for attempt in tries:
            with attempt:
                return calling.once(request, read)
    except _Failed as failed:
        # Not chained: messages of parsers and clients may quote what was sent or answered.
        raise calling.told(failed) from None
    raise AssertionError("stamina ends with an answer or an error")


class _Failed(Exception):
    """An attempt that brought nothing. Says no more than its outcome, for stamina logs it."""

    def __init__(self, outcome: Outcome, answer: httpx.Response | None = None, error_class: str | None = None, probe: bool = False) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.answer = answer
        self.error_class = error_class
        self.probe = probe


@dataclass
class _Calling:
    """One call on its way."""

    policy: Policy
    operation: str
    ledger: CallLedger
    deadline: Deadline
    requests: int = 0
    maybe_taken: bool = False

    def once(self, request: httpx.Request, read: Callable[[httpx.Response], T]) -> T:
        """Make one attempt and write it down."""
        with passage(self.policy.breaker, self.ledger, self.policy.service) as state:
            limit = min(self.policy.timeout, self.deadline.left())
            if state == "open" or limit <= 0:
                raise self._without_request("breaker_open" if state == "open" else "no_time")
            return self._request(request, read, limit, probe=state == "half-open")

    def _request(self, request: httpx.Request, read: Callable[[httpx.Response], T], limit: float, probe: bool) -> T:
        from litgo_pipelines.integrations import transport

        started_at, started = datetime.now(UTC), time.perf_counter()
        found = transport.exchange(request, limit)
        duration_ms = (time.perf_counter() - started) * 1000
        outcome = _outcome(found)
        error_class = type(found.error).__name__ if found.error else None
        try:
            if found.answer is not None and outcome == "ok":
                return read(found.answer)
        except Exception as error:
            # An answer of another shape than expected can make any of them: ValueError, KeyError, RecursionError.
            outcome, error_class = "malformed", type(error).__name__
        finally:
            self._count(outcome)
            status = found.answer.status_code if found.answer is not None else None
            self._record(outcome, started_at, duration_ms, status, error_class)
        raise _Failed(outcome, found.answer, error_class, probe)

    def _without_request(self, outcome: Outcome) -> _Failed:
        self._record(outcome, datetime.now(UTC))
        return _Failed(outcome)

    def _count(self, outcome: Outcome) -> None:
        self.requests += outcome not in NO_REQUEST
        self.maybe_taken = self.maybe_taken or outcome not in NOT_TAKEN | _REFUSALS

    def _record(
        self, outcome: Outcome, started_at: datetime, duration_ms: float = 0.0, status: int | None = None, error_class: str | None = None
    ) -> None:
        number = 0 if outcome in NO_REQUEST else self.requests
        row = Attempt(self.policy.service, self.operation, outcome, number, started_at, duration_ms, status, error_class)
        try:
            self.ledger.record(row)
        except Exception:
            import structlog

            # Whoever is told of an error would do again what the vendor may have done.
            structlog.get_logger(__name__).exception("call not recorded", service=row.service, operation=row.operation, outcome=row.outcome)

    def pause(self, error: Exception) -> bool | float:
        """Whether to try again after an error: no, after the ordinary pause, or after so many seconds."""
        if not isinstance(error, _Failed) or error.probe or error.outcome not in REPEATABLE or not self._may_repeat(error.outcome):
            return False
        asked = _retry_after(error.answer)
        ordinary = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.requests - 1) + JITTER)
        if max(asked or 0, ordinary) >= self.deadline.left():
            return False
        _log_repetition(self.policy.service, self.operation, error.outcome, self.requests)
        return True if asked is None else max(float(asked), FIRST_PAUSE)

    def _may_repeat(self, outcome: Outcome) -> bool:
        return self.policy.repeat == "always" or (self.policy.repeat == "if not taken" and outcome in NOT_TAKEN)

    def told(self, failed: _Failed) -> LitgoError:
        """The error for the caller, in words that name nothing secret."""
        service, operation, last = self.policy.service, self.operation, failed.outcome
        if last == "invalid":
            return VendorRefused(f"{operation} cannot be sent to {service} ({failed.error_class}): check its address and key", None, "")
        if failed.answer is not None and last in _REFUSALS:
            status = failed.answer.status_code
            said = f"{service} refused {operation} with {status}: check its key and what was sent"
            return VendorRefused(said, status, failed.answer.text, self.maybe_taken)
        if last == "breaker_open":
            seconds = self.policy.breaker.seconds
            message = f"{service} is left alone for up to {seconds:g} s after failed requests: try {operation} again later"
        elif last == "no_time" and self.requests == 0:
            message = f"no time was left to ask {service} for {operation}: try again, or raise {service.upper()}_DEADLINE"
        else:
            how = f"{last}, {failed.error_class}" if failed.error_class else last
            message = f"{service} gave no usable answer to {operation} (requests made: {self.requests}; the last: {how}): try again later"
        return VendorUnavailable(message, last, self.requests, self.maybe_taken)


def _log_repetition(service: str, operation: str, outcome: Outcome, requests: int) -> None:
    import structlog

    structlog.get_logger(__name__).info("a request is made again", service=service, operation=operation, outcome=outcome, requests=requests)


@lru_cache(maxsize=1)
def _quieten_stamina() -> None:
    """Its own lines tell neither the vendor nor what was asked for."""
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks([])


def _outcome(found: Exchange) -> Outcome:
    import httpx

    if found.answer is not None:
        return _outcome_of_status(found.answer.status_code)
    if isinstance(found.error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, ValueError)):
        return "invalid"
    if isinstance(found.error, httpx.DecodingError):
        return "malformed"
    if not found.sent:
        return "connect"
    return "timeout" if isinstance(found.error, (TimeoutError, httpx.TimeoutException)) else "broken"


def _outcome_of_status(status: int) -> Outcome:
    exact: dict[int, Outcome] = {408: "http_408", 429: "http_429"}
    if status in exact:
        return exact[status]
    classes: dict[int, Outcome] = {2: "ok", 3: "http_3xx", 4: "http_4xx"}
    return classes.get(status // 100, "http_5xx")


def _retry_after(answer: httpx.Response | None) -> float | None:
    """Seconds that the vendor asks us to wait; None where it does not say, or not so that one can read it."""
    said = answer.headers.get("Retry-After", "").strip() if answer is not None else ""
    if re.fullmatch(r"[0-9]{1,9}", said):
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said).astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
