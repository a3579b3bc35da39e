"""The rejects file: bad lines with their numbers and reasons. What makes a line bad is judged in `checking`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from litgo_pipelines.casework.history.lines import HistoryError, Line

REJECTED_TEXT_CHARACTERS: Final = 2_000


class Rejects:
    """The rejects file; it appears whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._file: IO[str] | None = None

    def add(self, line: Line, reason: str) -> None:
        """Set a line aside. Raises HistoryError if it cannot be written."""
        if isinstance(line.source, bytes):
            text = line.source[: 4 * REJECTED_TEXT_CHARACTERS].decode(errors="replace")
        else:
            text = json.dumps(line.source, default=str)
        self.count += 1
        with self._writable():
            if self._file is None:
                self._file = self._partial.open("w", encoding="utf-8")
            self._file.write(json.dumps({"line": line.number, "reason": reason, "text": text[:REJECTED_TEXT_CHARACTERS]}) + "\n")

    def finish(self) -> Path | None:
        """Put the file in its place, or remove an older one if nothing was rejected."""
        with self._writable():
            if self._file is None:
                self.path.unlink(missing_ok=True)
                return None
            self._file.close()
            self._partial.replace(self.path)
        return self.path

    def abandon(self) -> None:
        """Remove what `finish` did not put in its place."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._partial.unlink(missing_ok=True)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HistoryError(f"rejected lines cannot be written to {self.path} ({error.strerror}): say --rejects FILE") from error


@contextmanager
def rejects_file(source: Path, asked: Path | None) -> Iterator[Rejects]:
    """The rejects file as asked for, else beside `source`, else in the current folder. Raises HistoryError."""
    path = asked
    if path is None:
        folder = source.parent if os.access(source.parent, os.W_OK) else Path.cwd()
        path = folder / f"{source.name}.rejects.jsonl"
    if path.resolve() == source.resolve():
        raise HistoryError(f"{path} is the file to import: the rejected lines need another one")
    if path.is_dir():
        raise HistoryError(f"{path} is a folder: --rejects takes a file")
    rejects = Rejects(path)
    try:
        yield rejects
    finally:
        rejects.abandon()
