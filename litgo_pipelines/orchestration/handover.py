"""How an asset hands a small typed value to the next: as JSON in a file, never as a pickle. Data travel through stores."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from pydantic import BaseModel

from litgo_pipelines.settings import LitgoError, load_settings


class HandOverMissing(LitgoError, RuntimeError):
    """The asset before has left nothing to take over."""


class JsonHandOver(dg.ConfigurableIOManager):
    """Keeps the latest value of each asset, a pydantic model, as one JSON file.

    Attributes:
        folder: where the files are; default `LITGO_HOME/hand-overs`.
    """

    folder: str | None = None

    def _file(self, key: dg.AssetKey) -> Path:
        folder = load_settings().litgo_home / "hand-overs" if self.folder is None else Path(self.folder)
        return folder.joinpath(*key.path).with_suffix(".json")

    def handle_output(self, context: dg.OutputContext, obj: BaseModel | None) -> None:
        """Write the value whole or not at all; None is nothing to hand over."""
        if obj is None:
            return
        target = self._file(context.asset_key)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{context.run_id}.writing")
        partial.write_text(obj.model_dump_json(indent=2), encoding="utf-8")
        partial.replace(target)

    def load_input(self, context: dg.InputContext) -> BaseModel:
        """Read the value as the type that the input is annotated with.

        Raises:
            HandOverMissing: the asset before was never materialized here.
        """
        source = self._file(context.asset_key)
        if not source.is_file():
            raise HandOverMissing(f"{context.asset_key.to_user_string()} has left no value at {source}: materialize it first")
        kind: type[BaseModel] = context.dagster_type.typing_type
        if not issubclass(kind, BaseModel):
            raise TypeError(f"{context.asset_key.to_user_string()} hands over a pydantic model, not {kind}")
        return kind.model_validate_json(source.read_text(encoding="utf-8"))
