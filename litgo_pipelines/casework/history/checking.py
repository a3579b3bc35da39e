"""Making rows of lines: what each part of a line may hold, and which value it becomes.

Nothing here knows a file's format or the database; a line that will not do is handed to `rejects` with the reason.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID, uuid5

from litgo_pipelines.casework.history.lines import EVENTS, LABELS, NEEDED_FEATURES, OPTIONAL_FEATURE, HistoryError, Line
from litgo_pipelines.casework.history.rejects import Rejects
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS

STAGED: Final = ("line", "ordered_at", "event", "case_id", "lawyer_id", *FEATURE_COLUMNS, "label", "occurred_at", "position", "area")
"""What a row holds, in this order."""

_MAX_POSITION = 32_767
_FIRST_YEAR, _LAST_YEAR = 1990, 2099
_MILLISECONDS_FROM = 1e11

_NAMESPACE = UUID("8a1c6f0e-6f0b-5c55-9d5b-0c6a2f4f7e21")
_CASES, _LAWYERS = uuid5(_NAMESPACE, "case"), uuid5(_NAMESPACE, "lawyer")

_UUID_TEXT = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_UNIX_TEXT = re.compile(r"[0-9]{9,}(?:\.[0-9]*)?", re.ASCII)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class _BadLine(Exception):
    """One line cannot be used; the message is the reason in the rejects file."""


class Checker:
    """Turns lines into rows, in the file's order, and sets the bad ones aside. `lines` counts both."""

    def __init__(self, labels: Mapping[str, str], rejects: Rejects) -> None:
        self.lines = 0
        self._labels = labels
        self._rejects = rejects
        self._latest: datetime | None = None

    def rows(self, lines: Iterable[Line]) -> Iterator[tuple[Any, ...]]:
        """Rows in the order of `STAGED`."""
        for line in lines:
            self.lines += 1
            if line.record is None:
                self._rejects.add(line, line.fault or "")
                continue
            try:
                occurred_at, row = _checked(line.record, self._labels)
            except _BadLine as error:
                self._rejects.add(line, str(error))
                with suppress(_BadLine):
                    self._latest = _moment(line.record.get("timestamp")) or self._latest
                continue
            self._latest = occurred_at or self._latest
            yield (line.number, self._latest, *row)


@lru_cache(maxsize=1 << 16)
def case_uuid(text: str) -> UUID:
    """The id of an old case: itself if it is a UUID, else a stable one (uuid5)."""
    return UUID(text) if _UUID_TEXT.fullmatch(text) else uuid5(_CASES, text)


@lru_cache(maxsize=1 << 16)
def lawyer_uuid(text: str) -> UUID:
    """The id of an old lawyer: itself if it is a UUID, else a stable one that no case has (uuid5)."""
    return UUID(text) if _UUID_TEXT.fullmatch(text) else uuid5(_LAWYERS, text)


def known_labels(given: Mapping[str, str]) -> dict[str, str]:
    """Every label that is understood -> ours. Raises HistoryError where one of `given` becomes none of ours."""
    known = {label: label for label in LABELS}
    for label, ours in given.items():
        if ours not in LABELS:
            raise HistoryError(f"label {label!r} cannot become {ours!r}: choose one of {', '.join(LABELS)}")
        known[label.strip().casefold()] = ours
    return known


def _checked(record: Mapping[str, Any], labels: Mapping[str, str]) -> tuple[datetime | None, tuple[Any, ...]]:
    """Time of occurrence, and the row behind line number and order."""
    event = record.get("event")
    if event not in EVENTS:
        raise _BadLine(f"event is {_shown(event)}: it must be {' or '.join(EVENTS)}")
    case_id = _identity("case_id", record.get("case_id"), case_uuid)
    lawyer_id = _identity("lawyer_id", record.get("lawyer_id"), lawyer_uuid)
    features = _features(record.get("features"))
    label = _label(record.get("label"), labels)
    occurred_at = _moment(record.get("timestamp"))
    position = _position(record.get("position"))
    return occurred_at, (event, case_id, lawyer_id, *features, label, occurred_at, position, _area(record.get("area")))


def _shown(value: Any) -> str:
    return "missing" if value is None else _SHORT.repr(value)


def _require_storable(field: str, text: str) -> None:
    if "\0" in text:
        raise _BadLine(f"{field} holds a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _BadLine(f"{field} holds half a surrogate pair, which is no valid Unicode") from None


def _identity(field: str, value: Any, to_uuid: Callable[[str], UUID]) -> UUID:
    kind = type(value)
    if kind is UUID:
        return cast(UUID, value)
    if kind is float and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    elif value is None:
        raise _BadLine(f"{field} is missing")
    elif kind is not str and kind is not int:
        raise _BadLine(f"{field} is {_shown(value)}: it must be text or a whole number")
    text = str(value).strip()
    if not text:
        raise _BadLine(f"{field} is empty")
    _require_storable(field, text)
    return to_uuid(text)


def _features(given: Any) -> list[float | None]:
    """The eight features in their order; only C may be None."""
    if not isinstance(given, dict):
        raise _BadLine(f"features is {_shown(given)}: it must be an object with {', '.join(NEEDED_FEATURES)}")
    values: list[float | None] = [_feature(name, given.get(name)) for name in NEEDED_FEATURES]
    optional = given.get(OPTIONAL_FEATURE)
    values.append(None if optional is None else _feature(OPTIONAL_FEATURE, optional))
    return values


def _feature(name: str, value: Any) -> float:
    kind = type(value)
    if kind is not float and kind is not int:
        raise _BadLine(f"feature {name} is {_shown(value)}{'' if value is None else ': it must be a number'}")
    if not 0 <= value <= 1:
        raise _BadLine(f"feature {name} is {_shown(value)}: it must lie in 0..1")
    return cast(float, value)


def _label(value: Any, labels: Mapping[str, str]) -> str:
    text = str(value) if type(value) is int else value
    if type(text) is str:
        found = labels.get(text) or labels.get(text.strip().casefold())
        if found is not None:
            return found
    raise _BadLine(f"label is {_shown(value)}: known are {', '.join(labels)}; map others with --label OLD=NEW")


def _moment(value: Any) -> datetime | None:
    """The time a line tells, in UTC: ISO 8601 (without a zone UTC is meant) or Unix seconds or milliseconds; None for none."""
    if value is None or value == "":
        return None
    kind = type(value)
    if kind is str:
        text = value.strip()
        try:
            moment = _unix_moment(float(text)) if _UNIX_TEXT.fullmatch(text) else datetime.fromisoformat(text)
        except ValueError:
            raise _BadLine(f"timestamp is {_shown(value)}: it must be ISO 8601 or Unix seconds or milliseconds") from None
    elif kind is int or kind is float:
        moment = _unix_moment(value)
    elif kind is datetime:
        moment = value
    else:
        raise _BadLine(f"timestamp is {_shown(value)}: it must be ISO 8601 or Unix seconds or milliseconds")
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise _BadLine(f"timestamp is {_shown(str(value))}: its year is not in {_FIRST_YEAR}..{_LAST_YEAR}")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _unix_moment(value: float) -> datetime:
    if not 0 <= value < _MILLISECONDS_FROM * 100:
        raise _BadLine(f"timestamp is {_shown(value)}: as Unix time its year is not in {_FIRST_YEAR}..{_LAST_YEAR}")
    return datetime.fromtimestamp(value / 1000 if value >= _MILLISECONDS_FROM else value, UTC)


def _position(value: Any) -> int | None:
    if value is None or value == "":
        return None
    kind = type(value)
    if (kind is int or (kind is float and value.is_integer())) and 1 <= value <= _MAX_POSITION:
        return int(value)
    raise _BadLine(f"position is {_shown(value)}: it must be a whole number in 1..{_MAX_POSITION:,}, or absent where unknown")


def _area(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not str:
        raise _BadLine(f"area is {_shown(value)}: it must be text")
    text = value.strip()
    _require_storable("area", text)
    return text or None
