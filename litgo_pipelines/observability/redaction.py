"""What of a log line may be written: no personal data, whoever wrote the line. Pure.

Three nets hang behind one another. Values under a key that names a person's data are removed. Objects are named by their type, errors
that are not ours by their class, and warnings by their category: nobody knows what their texts hold. What is left is masked as texts are
that leave the house, and what lets somebody in is cut out of URLs.
"""

from __future__ import annotations

import math
import re
import traceback
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from litgo_pipelines.masking import is_cnpj, is_cpf, is_lawsuit, mask
from litgo_pipelines.settings import LitgoError

REMOVED: Final = "[removed]"

PERSONAL: Final = frozenset(
    {
        *("name", "names", "nome", "nomes", "username", "fullname", "firstname", "lastname", "surname", "nickname", "sobrenome", "apelido"),
        *(
            "email",
            "emails",
            "mail",
            "phone",
            "phones",
            "telephone",
            "fone",
            "telefone",
            "telefones",
            "tel",
            "celular",
            "mobile",
            "whatsapp",
        ),
        *("contacts", "contatos", "cpf", "cnpj", "rg", "oab", "birthday", "birth", "nascimento"),
        *("address", "addresses", "endereco", "enderecos", "street", "rua", "logradouro", "bairro", "cep", "zip", "zipcode", "postcode"),
        *("lat", "lng", "lon", "latitude", "longitude"),
        *("summary", "resumo", "text", "texts", "telling", "body", "subject", "comment", "comments", "wording", "document", "documents"),
        *("recipient", "recipients", "sender", "login"),
        *(
            "password",
            "passwords",
            "passwd",
            "pwd",
            "senha",
            "secret",
            "secrets",
            "token",
            "authorization",
            "cookie",
            "cookies",
            "signature",
        ),
        *("credential", "credentials", "dsn", "apikey", "apikeys", "bearer"),
    }
)
"""Words of a key whose value belongs to a person, or lets somebody in. `lawyer_name` is one as well, `model_name` alas too."""

ROLES: Final = frozenset(
    {"user", "client", "customer", "contact", "lawyer", "owner", "usuario", "cliente", "contato", "advogado", "advogada"}
)
"""Words of a key whose value is a person, unless the key ends with what of them it tells: `client_id`, `user_agent`."""

_KEYS_OF_DOORS: Final = frozenset({("api", "key"), ("api", "keys"), ("access", "key"), ("private", "key")})
_IDS: Final = frozenset({"id", "ids", "pid", "xid", "uuid"})
MEASURES: Final = frozenset(
    {
        *("at", "time", "timestamp", "ts", "since", "until", "epoch", "age", "duration", "elapsed", "timeout", "delay", "after", "before"),
        *("ns", "ms", "sec", "secs", "second", "seconds", "minutes", "hours", "days"),
        *("count", "counts", "total", "sum", "size", "length", "bytes", "kb", "mb", "rows", "offset", "lsn", "seq", "sequence", "position"),
        *("share", "ratio", "rate", "score", "mean", "median", "gini", "lift", "port", "line", "seed"),
    }
)
"""Words of a key whose numbers are counted or measured, however they read."""

_TOLD_OF_ROLES: Final = _IDS | MEASURES | {"agent", "side", "type", "kind", "status", "version", "error", "errors", "code"}

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
# A password may hold a slash, although it should not; a port and what follows is none.
_LOGIN = re.compile(r"(?<=://)(?:[^\s/?#]*@|[^\s/:?#]*:(?!\d{1,5}(?:[/?#\s]|$))[^\s@]*@)")
_KEY_IN_URL = re.compile(r"([?&](?:[\w-]*(?:password|passwd|pwd|secret|token|signature|api_?key))=)[^&\s]+", re.IGNORECASE)
_BEARER = re.compile(r"\b(Bearer|Basic) [\w.~+/=-]{8,}")
_LEAST_DIGITS: Final = 10
"""Of a number that is a person's; a telephone without its area code is anybody's."""
_MOST_DIGITS: Final = 20
_OF_PROGRAMS: Final = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, SyntaxWarning, ImportWarning)
_CONSTANT = re.compile(r"[A-Z0-9]+(?:_[A-Z0-9]+)+")


def is_personal(key: str) -> bool:
    """Whether what stands under a key is not to be written."""
    words = words_of(key)
    if any(word in PERSONAL for word in words) or not _KEYS_OF_DOORS.isdisjoint(pairwise(words)):
        return True
    return not ROLES.isdisjoint(words) and words[-1] not in _TOLD_OF_ROLES


def words_of(key: str) -> list[str]:
    """The words of a key in small letters and without accents."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", key) if not unicodedata.combining(one))
    return [word.lower() for word in _WORDS.findall(plain)]


def masked(text: str) -> str:
    """A text with its numbers and addresses of people masked, and logins cut out of URLs; ids and moments stay. Very long ones are cut."""
    if len(text) > _MOST_SIGNS:
        text = text[:_MOST_SIGNS] + "…"
    text = _BEARER.sub(rf"\1 {REMOVED}", _KEY_IN_URL.sub(rf"\1{REMOVED}", _LOGIN.sub(f"{REMOVED}@", text)))
    kept = _KEPT.findall(text)
    parts = [mask(part) for part in _KEPT.split(text)]
    return "".join(part + one for part, one in zip(parts, [*kept, ""], strict=True))


def redacted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a line as they may be written: plain values that JSON holds.

    Keys that begin with an underscore are the logging library's own and stay as they are.
    """
    ours = {key: value for key, value in fields.items() if not key.startswith("_")}
    kept: dict[str, Any] = {key: value for key, value in fields.items() if key.startswith("_")}
    return _mapping(ours, _DEEPEST) | kept


def _value(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if is_personal(key):
        return REMOVED
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, int | float | Decimal):
        return REMOVED if _is_of_a_person(key, value) else value
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
    return _mapping(value, depth) if isinstance(value, Mapping) else [_value(key, one, depth) for one in value]


def _mapping(fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for key, value in fields.items():
        name = shown = _key(str(key))
        while name in written:
            name = f"{shown} {len(written)}"
        written[name] = _value(str(key), value, depth)
    return written


def _key(key: str) -> str:
    """A key as it is written: one that is no name in a program may be a person's."""
    capitalised = key[:1].isupper() and not _CONSTANT.fullmatch(key)
    return REMOVED if capitalised or re.search(r"\s", key) else masked(key)


def _is_of_a_person(key: str, value: float | Decimal) -> bool:
    """Whether a number reads as one of a person, and its key does not say that it is measured."""
    if isinstance(value, float | Decimal):
        if not math.isfinite(value) or value != int(value):
            return False
        value = int(value)
    digits = str(abs(value))
    if not _LEAST_DIGITS <= len(digits) <= _MOST_DIGITS or not MEASURES.isdisjoint(words := words_of(key)):
        return False
    if len(digits) == _LEAST_DIGITS and words and words[-1] in _IDS:
        return False
    # As a number it has lost the zeros that it began with.
    return mask(digits) != digits or is_cpf(digits.zfill(11)) or is_cnpj(digits.zfill(14)) or is_lawsuit(digits.zfill(20))


def warning_of(warning: Warning | str, category: type[Warning]) -> dict[str, str]:
    """What a warning tells: its category, and the message where that is about a program and not about what it works on."""
    kind = category.__qualname__ if category.__module__ == "builtins" else f"{category.__module__}.{category.__qualname__}"
    return {"category": kind} | ({"message": masked(str(warning))} if issubclass(category, _OF_PROGRAMS) else {})


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
