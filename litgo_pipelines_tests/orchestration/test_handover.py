"""How an asset hands a value to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import BaseModel

from litgo_pipelines.orchestration.handover import HandOverMissing, JsonHandOver

KEY = dg.AssetKey(["ranker", "candidate"])


class Ref(BaseModel):
    """A small hand-over."""

    name: str
    at: Path


def _write(folder: Path, value: Any, run_id: str = "run") -> None:
    JsonHandOver(folder=str(folder)).handle_output(dg.build_output_context(asset_key=KEY, run_id=run_id), value)


def _read(folder: Path, kind: type = Ref) -> Any:
    context = dg.build_input_context(asset_key=KEY, dagster_type=dg.PythonObjectDagsterType(kind))
    return JsonHandOver(folder=str(folder)).load_input(context)


def test_a_value_arrives_as_it_was(tmp_path: Path) -> None:
    """Through a JSON file named after the asset, which a person can read."""
    _write(tmp_path, Ref(name="ação", at=Path("/a/b")))
    assert _read(tmp_path) == Ref(name="ação", at=Path("/a/b"))
    assert json.loads((tmp_path / "ranker" / "candidate.json").read_text(encoding="utf-8"))["name"] == "ação"


def test_the_latest_value_replaces_the_one_before(tmp_path: Path) -> None:
    """One file an asset, nothing else left beside it."""
    _write(tmp_path, Ref(name="old", at=Path()))
    _write(tmp_path, Ref(name="new", at=Path()), "another run")
    assert _read(tmp_path).name == "new"
    assert [file.name for file in (tmp_path / "ranker").iterdir()] == ["candidate.json"]


def test_a_value_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is written, and where writing breaks off, readers find the value before."""
    _write(tmp_path, Ref(name="old", at=Path()))
    seen = []

    def break_off(_self: Path, _target: Path) -> Path:
        seen.append(_read(tmp_path).name)
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", break_off)
    with pytest.raises(OSError, match="no space"):
        _write(tmp_path, Ref(name="new", at=Path()))
    assert seen == ["old"]
    assert _read(tmp_path).name == "old"


def test_nothing_to_hand_over_leaves_the_value_before(tmp_path: Path) -> None:
    """An asset without a value writes no file."""
    _write(tmp_path, None)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_was_never_left_is_named(tmp_path: Path) -> None:
    """The error says which asset to materialise first."""
    with pytest.raises(HandOverMissing, match=r"ranker/candidate.*materialize it first"):
        _read(tmp_path)


def test_only_models_are_handed_over(tmp_path: Path) -> None:
    """Whoever annotates an input with something else is told."""
    _write(tmp_path, Ref(name="x", at=Path()))
    with pytest.raises(TypeError, match="pydantic"):
        _read(tmp_path, dict)


def test_without_a_folder_values_are_kept_in_the_projects_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`LITGO_HOME/hand-overs`, read when it is needed."""
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    JsonHandOver().handle_output(dg.build_output_context(asset_key=KEY, run_id="r"), Ref(name="x", at=Path()))
    assert (tmp_path / "hand-overs" / "ranker" / "candidate.json").is_file()
