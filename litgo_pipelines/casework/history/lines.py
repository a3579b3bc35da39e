"""What a line of old history is: its parts, its number, the text it came as, and the error for a file that has no such lines.

Reading a file's format is `reading`, `delimited` and `parquet`; what the parts may hold is `checking`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final, NamedTuple

from litgo_pipelines.settings import LitgoError

EVENTS: Final = ("match", "recommend")
LABELS: Final = ("won", "accepted", "declined", "lost")
NEEDED_FEATURES: Final = ("A", "S", "T", "G", "Q", "U", "R")
OPTIONAL_FEATURE: Final = "C"
MAX_LINE_BYTES: Final = 1_000_000

_BOM = b"\xef\xbb\xbf"


class HistoryError(LitgoError, ValueError):
    """The file, or what was asked for it, cannot be used at all; the message is one line that says what to do."""


class Line(NamedTuple):
    """A line of the file: its record, or the fault for which there is none. `source` is what the rejects file shows."""

    number: int
    source: bytes | Mapping[str, Any]
    record: Mapping[str, Any] | None
    fault: str | None


def text_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends, empty ones left out; one that is too long comes cut, yet longer than `MAX_LINE_BYTES`."""
    for number in itertools.count(1):
        line = stream.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(MAX_LINE_BYTES)
        else:
            line = line.rstrip(b"\r\n")
        if number == 1:
            line = line.removeprefix(_BOM)
        if line and not line.isspace():
            yield number, line


def fault_of(raw: bytes) -> str | None:
    """Why a line cannot even be looked at."""
    if len(raw) > MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES:,} bytes"
    if b"\0" in raw:
        return "holds a NUL character"
    return None


def one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())
