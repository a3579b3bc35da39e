"""Which column of a table holds which part of a line, and what its cells mean. Shared by CSV and Parquet.

Reading the cells is `delimited`'s and `parquet`'s; whether their values will do is `checking`'s.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litgo_pipelines.casework.history.lines import NEEDED_FEATURES, OPTIONAL_FEATURE, HistoryError

_NEEDED = ("event", "case_id", "lawyer_id", "label")
_OPTIONAL = ("timestamp", "position", "area")
_PACKED = "features"


@dataclass(frozen=True)
class Columns:
    """The columns that count: those named as the parts, and feature -> column; none where one of JSON, `features`, holds them all."""

    parts: tuple[str, ...]
    features: Mapping[str, str]

    @classmethod
    def of(cls, names: Sequence[str], path: Path) -> Columns:
        """Raises: HistoryError, naming the columns that are missing or there twice."""
        parts = [name for name in (*_NEEDED, *_OPTIONAL) if name in names]
        features: dict[str, str] = {}
        for feature in (*NEEDED_FEATURES, OPTIONAL_FEATURE):
            for name in (feature, f"{_PACKED}.{feature}"):
                if name in names:
                    features.setdefault(feature, name)
        missing = [name for name in _NEEDED if name not in parts]
        absent = [feature for feature in NEEDED_FEATURES if feature not in features]
        if absent and _PACKED in names:
            features = {}
        else:
            missing += absent
        if missing:
            found = textwrap.shorten(", ".join(names), 200, placeholder=" ...")
            raise HistoryError(f"{path} lacks the columns {', '.join(missing)} (found: {found or 'none'})")
        columns = cls(tuple(parts), features)
        twice = [name for name in columns.used if names.count(name) > 1]
        if twice:
            raise HistoryError(f"{path} has the columns {', '.join(twice)} more than once")
        return columns

    @property
    def used(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.parts, *(self.features.values() or [_PACKED]))

    @property
    def unbroken(self) -> tuple[str, ...]:
        """Those whose text holds no line break: all but JSON."""
        return (*self.parts, *self.features.values())

    def record(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """The record that a row of cells, by column, stands for."""
        record = {name: cells[name] for name in self.parts}
        if "position" in record:
            record["position"] = _number(record["position"])
        if self.features:
            record["features"] = {feature: _number(cells[name]) for feature, name in self.features.items()}
        else:
            record["features"] = _unpacked(cells[_PACKED])
        return record


def _number(cell: Any) -> Any:
    """The number that text holds, None for empty text; what is no number stays as it is, for the check to name."""
    if type(cell) is not str:
        return cell
    try:
        return float(cell) if "_" not in cell else cell
    except ValueError:
        return cell if cell.strip() else None


def _unpacked(cell: Any) -> Any:
    """The object that a cell of JSON holds; what is none stays as it is, for the check to name."""
    if type(cell) is not str:
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell
