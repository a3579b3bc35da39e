"""What of a log line may be written: no personal data, whoever wrote the line. Pure.

Three nets hang behind one another. Values under a key that names a person's data are removed. Objects are named by their type, and errors
that are not ours by their class: nobody knows what their texts hold. What is left is masked as texts are that leave the house.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from litgo_pipelines.masking import mask
from litgo_pipelines.settings import LitgoError

REMOVED: Final = "[removed]"

PERSONAL: Final = frozenset(
    {
        *("name", "names", "nome", "email", "emails", "mail", "phone", "telefone", "celular", "whatsapp", "cpf", "cnpj", "rg", "oab"),
        *("summary", "resumo", "text", "texts", "telling", "body", "subject", "comment", "comments", "wording", "document", "documents"),
        *("lat", "lng", "latitude", "longitude", "endereco", "cep", "birthday", "recipient", "recipients", "sender"),
        *("password", "secret", "token", "authorization", "cookie", "signature"),
    }
)
"""Words of a key whose value belongs to a person, or lets somebody in. `lawyer_name` is one as well, `model_name` alas too."""

_MOST_SIGNS: Final = 20_000
_DEEPEST: Final = 6
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# Ids and moments are made of digits, too, and are what one looks for in a log.
_KEPT = re.compile(
    r"(?<![0-9A-Za-z-])(?:"
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?=[0-9]*[a-f])[0-9a-f]{32}"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
    r")(?![0-9A-Za-z-])"
)


def is_personal(key: str) -> bool:
    """Whether what stands under a key is not to be written."""
    return any(word.lower() in PERSONAL for word in _WORDS.findall(key))


def masked(text: str) -> str:
    """A text with its numbers and addresses of people masked; ids and moments stay. Very long ones are cut."""
    if len(text) > _MOST_SIGNS:
        text = text[:_MOST_SIGNS] + "…"
    kept = _KEPT.findall(text)
    parts = [mask(part) for part in _KEPT.split(text)]
    return "".join(part + one for part, one in zip(parts, [*kept, ""], strict=True))


def redacted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a line as they may be written: plain values that JSON holds.

    Keys that begin with an underscore are the logging library's own and stay as they are.
    """
    return {key: value if key.startswith("_") else _value(key, value, _DEEPEST) for key, value in fields.items()}


def _value(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if is_personal(key):
        return REMOVED
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, int | Decimal):
        return value if masked(str(value)) not in ("[CPF]", "[CNPJ]") else REMOVED
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, UUID | datetime | date | timedelta | PurePath):
        return str(value) if isinstance(value, UUID) else masked(str(value))
    if isinstance(value, BaseException):
        return name_of(value)
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return f"<{type(value).__name__}>"
    return "…" if depth == 0 else _many(key, value, depth - 1)


def _many(key: str, value: Mapping[Any, Any] | Iterable[Any], depth: int) -> Any:
    if isinstance(value, Mapping):
        return {masked(str(name)): _value(str(name), one, depth) for name, one in value.items()}
    return [_value(key, one, depth) for one in value]


def name_of(error: BaseException) -> str:
    """An error in one line: one of ours with its message, any other by its class and, from a database, its code."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, LitgoError):
        return f"{name}: {masked(str(error))}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {masked(error.strerror)}"
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return f"{name} (SQLSTATE {state})" if isinstance(state, str) and re.fullmatch(r"[0-9A-Z]{5}", state) else name


def trace_of(error: BaseException) -> str:
    """Where an error came from, its causes first, in Python's way; of messages what `name_of` tells."""
    return "\n".join(_trace(error, set()))


def _trace(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _trace(before, seen)
        yield "which led to" if error.__cause__ is not None else "in whose handling came"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
    yield name_of(error)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if id(one) not in seen:
                yield "of which one is"
                yield from _trace(one, seen)
