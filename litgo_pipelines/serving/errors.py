"""What a caller is told when a request is not answered: one shape for every error. No route lives here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from litgo_pipelines.settings import LitgoError

FAILED: Final = "the request failed; its X-Request-Id leads to the reason in the log"

_PLACES = {"body", "query", "path", "header", "cookie"}


class Refusal(LitgoError):
    """A request that is not answered.

    Args:
        status: HTTP status.
        code: a word for programs, stable.
        message: a sentence for people.
        field: which part of the request is at fault, as a dotted path.
        retry_after: seconds after which asking again may help.
    """

    def __init__(self, status: int, code: str, message: str, *, field: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field
        self.headers: dict[str, str] = {} if retry_after is None else {"Retry-After": str(retry_after)}


def problem(code: str, message: str, field: str | None = None) -> dict[str, Any]:
    """The body of an error."""
    error = {"code": code, "message": message}
    if field is not None:
        error["field"] = field
    return {"error": error}


def first_fault(faults: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Field and message of the first of pydantic's errors; what the caller sent is not repeated."""
    fault = faults[0]
    path = [str(part) for part in fault["loc"]]
    if path and path[0] in _PLACES:
        path = path[1:] or path
    if fault["type"] == "json_invalid":
        return "body", f"the body is not JSON: {fault.get('ctx', {}).get('error', 'it cannot be read')}"
    named = fault.get("ctx", {}).get("field")
    if named is not None:
        path = [one for one in path if one != "body"] + [named]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ".".join(path), f"{fault['msg']}{more}"
