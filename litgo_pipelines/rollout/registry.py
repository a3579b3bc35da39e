"""The registered model `litgo-ranker`: its versions, and the alias `champion` that says which one answers.

A person may move the alias in MLflow at any time; it is read, never remembered. Who decides to move it lives in `transitions`.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litgo_pipelines.marketplace.names import FEATURES
from litgo_pipelines.ranking.ranker import HandWeights, LightGBMRanker, Ranker
from litgo_pipelines.rollout.bundle import BOOSTER_FILE, EXTRA_FILES, Bundle, read_extras
from litgo_pipelines.rollout.tracking import RegistryUnavailable, open_client, unavailable_as_such
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["CHAMPION", "MODEL", "Registry", "RegistryUnavailable", "Superseded", "Version"]

MODEL = "litgo-ranker"
CHAMPION = "champion"

_ARTIFACT_FOLDER = "model"
_BOOSTER_IN_FLAVOUR = "model.lgb"
_EXTRA_FOLDER = "extra_files"


class Superseded(LitgoError, RuntimeError):
    """The alias was moved by somebody else in the meantime; nothing was changed."""


@dataclass(frozen=True)
class Version:
    """A registered version: its number, the run it came from, when it was registered, its tags and aliases."""

    version: str
    run_id: str | None
    created_at: datetime
    tags: dict[str, str]
    aliases: tuple[str, ...]


class Registry:
    """MLflow's registry at `uri`.

    Args:
        uri: MLflow's tracking server or database.
        cache: folder in which loaded versions are kept; None: one that lives as long as this object.

    Raises:
        RegistryUnavailable: from every method, within seconds, when MLflow is away.
    """

    def __init__(self, uri: str, cache: Path | None = None) -> None:
        self.uri = uri
        self._temporary = tempfile.TemporaryDirectory(prefix="litgo-models-") if cache is None else None
        self._cache = Path(self._temporary.name) if self._temporary is not None else Path(str(cache))
        self._opened: MlflowClient | None = None

    @property
    def client(self) -> MlflowClient:
        if self._opened is None:
            self._opened = open_client(self.uri)
        return self._opened

    def register(self, run_id: str, folder: Path, tags: Mapping[str, str]) -> str:
        """Store the bundle that `folder` holds with its run, and make it the next version; its number.

        Raises:
            NoGoldenScores, GoldenScoresDiffer: the folder does not hold a bundle that can be trusted.
        """
        Bundle.read(folder).ranker(folder.name)
        with unavailable_as_such(self.uri), tempfile.TemporaryDirectory() as temporary:
            model = Path(temporary) / _ARTIFACT_FOLDER
            _save_model(run_id, folder, model)
            self.client.log_artifacts(run_id, str(model), _ARTIFACT_FOLDER)
            source = f"{self.client.get_run(run_id).info.artifact_uri}/{_ARTIFACT_FOLDER}"
            self._ensure_model()
            return str(self.client.create_model_version(MODEL, source, run_id, tags=dict(tags), await_creation_for=0).version)

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(MODEL)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            try:
                self.client.create_registered_model(MODEL, description="Ranks lawyers for a case. The alias `champion` answers.")
            except MlflowException as raced:
                if raced.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def champion(self) -> str | None:
        """Number of the version that answers; None where there is no model, or no alias on it: the hand weights answer."""
        with unavailable_as_such(self.uri):
            return self._aliased(CHAMPION)

    def exists(self, version: str) -> bool:
        """Whether the registry has a version of that number; it does not have one that somebody deleted."""
        if not version.isdecimal():
            return False
        with unavailable_as_such(self.uri):
            from mlflow.exceptions import MlflowException

            try:
                self.client.get_model_version(MODEL, version)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
        return True

    def answering(self) -> Ranker:
        """What answers: the champion, or the hand weights where there is none.

        Raises:
            RegistryUnavailable, NoGoldenScores, GoldenScoresDiffer: as `champion` and `load`.
        """
        version = self.champion()
        return HandWeights() if version is None else self.load(version)

    def _aliased(self, alias: str) -> str | None:
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.get_model_version_by_alias(MODEL, alias).version)
        except MlflowException as error:
            # A missing model is one code, a missing alias another, which a database and a server do not share with malformed requests.
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" or (
                error.error_code == "INVALID_PARAMETER_VALUE" and "not found" in error.message
            ):
                return None
            raise

    def promote(self, version: str, expected: str | None) -> None:
        """Let `version` answer, if the alias still stands where it was when that was decided.

        Args:
            version: number of the version to promote.
            expected: number of the champion the decision was made against; None for none.

        Raises:
            Superseded: the alias points elsewhere; it is left there.
        """
        self._require(expected, f"version {version} was to replace {expected or 'the hand weights'}")
        with unavailable_as_such(self.uri):
            self.client.set_registered_model_alias(MODEL, CHAMPION, version)

    def demote(self, expected: str) -> None:
        """Let the hand weights answer instead of the version `expected`, if the alias still stands there.

        Raises:
            Superseded: the alias points elsewhere, or nowhere; it is left as it is.
        """
        self._require(expected, f"the hand weights were to replace version {expected}")
        with unavailable_as_such(self.uri):
            self.client.delete_registered_model_alias(MODEL, CHAMPION)

    def _require(self, expected: str | None, meant: str) -> None:
        # MLflow cannot compare and move in one step: what a person does between the two is not seen.
        found = self.champion()
        if found != expected:
            raise Superseded(f"{meant}, but {found or 'no version'} is champion now: left as it is")

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with unavailable_as_such(self.uri):
            for name, value in tags.items():
                self.client.set_model_version_tag(MODEL, version, name, value)

    def versions(self) -> list[Version]:
        """All versions, newest first."""
        with unavailable_as_such(self.uri):
            aliases = self._aliases()
            found = [_version(one, aliases) for one in self.client.search_model_versions(f"name='{MODEL}'")]
        return sorted(found, key=lambda one: int(one.version), reverse=True)

    def _aliases(self) -> dict[str, str]:
        found = self.client.search_registered_models(f"name='{MODEL}'")
        return {alias: str(version) for alias, version in found[0].aliases.items()} if found else {}

    def has_files(self, version: str) -> bool:
        """Whether the store holds anything of a version, whatever is kept on disk here."""
        from mlflow.artifacts import list_artifacts
        from mlflow.exceptions import MlflowException

        with unavailable_as_such(self.uri):
            source = self.client.get_model_version_download_uri(MODEL, version)
            try:
                return bool(list_artifacts(artifact_uri=source, tracking_uri=self.client.tracking_uri))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise

    def load(self, version: str) -> LightGBMRanker:
        """The ranker of a version, fetched once, after it has reproduced its golden scores.

        Raises:
            NoGoldenScores: the version was not registered by this project.
            GoldenScoresDiffer: it does not answer as it did when it was trained.
        """
        with unavailable_as_such(self.uri):
            folder = self._fetched(version)
        acceptance, golden = read_extras(folder / _EXTRA_FOLDER, version)
        text = (folder / _BOOSTER_IN_FLAVOUR).read_text(encoding="utf-8")
        return Bundle(text, acceptance, golden).ranker(version)

    def _fetched(self, version: str) -> Path:
        """The folder of a version in the cache. A download that breaks off leaves nothing that looks whole."""
        from mlflow.artifacts import download_artifacts

        source = self.client.get_model_version_download_uri(MODEL, version)
        kept = self._cache / f"{version}-{hashlib.sha256(f'{self.uri} {source}'.encode()).hexdigest()[:16]}"
        if kept.is_dir():
            return kept
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache, prefix=".fetching-") as partial:
            uri = self.client.tracking_uri
            fetched = Path(download_artifacts(artifact_uri=source, dst_path=partial, tracking_uri=uri, registry_uri=uri))
            try:
                fetched.rename(kept)
            except OSError:
                # Another process was quicker; its copy is as good.
                if not kept.is_dir():
                    raise
        return kept


def _save_model(run_id: str, bundle: Path, target: Path) -> None:
    """Write MLflow's LightGBM flavour, the way `mlflow.lightgbm.log_model` does but without its process-wide state."""
    import lightgbm
    import mlflow.lightgbm
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    signature = ModelSignature(Schema([ColSpec("float", name) for name in FEATURES]), Schema([ColSpec("double")]))
    mlflow.lightgbm.save_model(
        lightgbm.Booster(model_file=str(bundle / BOOSTER_FILE)),
        str(target),
        mlflow_model=Model(run_id=run_id, artifact_path=_ARTIFACT_FOLDER),
        signature=signature,
        # Given, not inferred: inferring starts a process that loads the model.
        pip_requirements=[f"lightgbm=={lightgbm.__version__}"],
        serialization_format="skops",
        extra_files=[str(bundle / name) for name in EXTRA_FILES],
    )
    # MLflow writes the booster anew; what is stored is the text that the golden scores were made with.
    shutil.copyfile(bundle / BOOSTER_FILE, target / _BOOSTER_IN_FLAVOUR)


def _version(found: ModelVersion, aliases: Mapping[str, str]) -> Version:
    number = str(found.version)
    tags: dict[str, Any] = found.tags
    return Version(
        version=number,
        run_id=found.run_id or None,
        created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        tags={name: str(value) for name, value in tags.items()},
        aliases=tuple(sorted(alias for alias, version in aliases.items() if version == number)),
    )
