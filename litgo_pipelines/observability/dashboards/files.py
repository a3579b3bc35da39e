"""The dashboards as files: what is built, how a folder differs from it, and writing it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from litgo_pipelines.observability.dashboards.board import Board, to_json
from litgo_pipelines.observability.dashboards.business import business
from litgo_pipelines.observability.dashboards.jobs import jobs
from litgo_pipelines.observability.dashboards.overview import overview
from litgo_pipelines.observability.dashboards.rollout import rollout
from litgo_pipelines.observability.dashboards.technical import technical
from litgo_pipelines.observability.deployment import DASHBOARDS

__all__ = ["DASHBOARDS", "boards", "built", "drift", "write"]


def boards() -> list[Board]:
    """All dashboards, in the order of their links."""
    return [overview(), business(), technical(), jobs(), rollout()]


@cache
def built() -> Mapping[str, str]:
    """Each dashboard's JSON by the name of its file."""
    return {f"{board.uid}.json": to_json(board) for board in boards()}


def drift(folder: Path) -> dict[str, str]:
    """Each file of a folder that is not what is built, or is missing, or is none of them, with a unified diff."""
    found = {path.name: path.read_text() for path in sorted(folder.glob("*.json"))} if folder.is_dir() else {}
    diffs = {}
    for name in sorted({*found, *built()}):
        there, wanted = found.get(name, ""), built().get(name, "")
        if there != wanted:
            lines = difflib.unified_diff(there.splitlines(True), wanted.splitlines(True), f"{name} (there)", f"{name} (built)")
            diffs[name] = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    return diffs


def write(folder: Path) -> list[str]:
    """Make a folder hold what is built; returns a line for each file that changed, or that is none of ours and stays."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = list(drift(folder))
    for name in changed:
        if name in built():
            (folder / name).write_text(built()[name])
    return [f"wrote {folder / name}" if name in built() else f"{folder / name} is not built from code: remove it" for name in changed]
