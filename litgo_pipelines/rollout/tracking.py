"""MLflow's tracking: runs, parameters, metrics, artifacts. A run is named by its id, so that several steps can write to it.

Nothing here touches MLflow's process-wide state (active run, tracking URI). Versions and aliases live in `registry`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "litgo-ranker"

_CONNECT_SECONDS = 5
_BOUNDED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # MLflow's own defaults keep a caller waiting for minutes when its server is away.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class RegistryUnavailable(LitgoError, RuntimeError):
    """MLflow cannot be reached, or refuses; the message says what to look at."""


def open_client(uri: str) -> MlflowClient:
    """A client of one tracking and registry server (http) or database; silent about its use, and bounded in time.

    Raises:
        RegistryUnavailable: the database cannot be reached.
    """
    bounded = _bounded_uri(uri)
    with unavailable_as_such(uri):
        _probe(bounded)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=bounded, registry_uri=bounded)


@contextmanager
def unavailable_as_such(uri: str) -> Iterator[None]:
    """Turn what MLflow, its transport or its database raise into `RegistryUnavailable`; the URI's password is not shown."""
    # MLflow reads these when it is first imported, wherever that happens.
    for name, value in _BOUNDED.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        cause = " ".join(str(error).split())
        secret = urlsplit(uri).password
        told = cause.replace(secret, "***") if secret else cause
        # A chained error is shown with its text: not when a password stands in it.
        raise RegistryUnavailable(
            f"MLflow at {_shown(uri)} does not answer as it should: {told[:500]}. Is MLFLOW_TRACKING_URI right?"
        ) from (error if told == cause else None)


def _bounded_uri(uri: str) -> str:
    """A PostgreSQL URI whose connections give up after seconds; any other as it is."""
    if not uri.startswith("postgres"):
        return uri
    from sqlalchemy import make_url

    parsed = make_url(uri)
    if "connect_timeout" in parsed.query:
        return uri
    return parsed.update_query_dict({"connect_timeout": str(_CONNECT_SECONDS)}).render_as_string(hide_password=False)


def _probe(uri: str) -> None:
    """Connect once: MLflow itself would try ten times, which takes minutes."""
    if "://" not in uri or uri.startswith(("http:", "https:", "file:", "sqlite:")):
        return
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    create_engine(uri, poolclass=NullPool).connect().close()


def _shown(uri: str) -> str:
    secret = urlsplit(uri).password
    return uri.replace(f":{secret}@", ":***@") if secret else uri


class Tracking:
    """The experiment `litgo-ranker`.

    Args:
        uri: MLflow's tracking server or database.
        artifact_root: where a new experiment keeps its artifacts; None: where the server decides.

    Raises:
        RegistryUnavailable: from every method, when MLflow is away.
    """

    def __init__(self, uri: str, artifact_root: str | None = None) -> None:
        self.uri = uri
        self._artifact_root = artifact_root
        self._opened: MlflowClient | None = None

    @property
    def client(self) -> MlflowClient:
        if self._opened is None:
            self._opened = open_client(self.uri)
        return self._opened

    def experiment_id(self) -> str:
        """The experiment's id; it is created, or brought back when somebody deleted it."""
        with unavailable_as_such(self.uri):
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                return self._create_experiment()
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def _create_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        location = None if self._artifact_root is None else f"{self._artifact_root.rstrip('/')}/{EXPERIMENT}"
        try:
            return str(self.client.create_experiment(EXPERIMENT, artifact_location=location))
        except MlflowException as error:
            # Another process may have been quicker.
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
            return str(found.experiment_id)

    def start_run(self, tags: Mapping[str, str], name: str | None = None) -> TrackedRun:
        """Begin a run; it stays open until `TrackedRun.finish`."""
        experiment = self.experiment_id()
        with unavailable_as_such(self.uri):
            run = self.client.create_run(experiment, tags=dict(tags), run_name=name)
            return TrackedRun(self, run.info.run_id)

    def resume(self, run_id: str) -> TrackedRun:
        """Go on writing to a run that another step began."""
        return TrackedRun(self, run_id)


class TrackedRun:
    """One run of the experiment, named by its id."""

    def __init__(self, tracking: Tracking, run_id: str) -> None:
        self._tracking = tracking
        self.run_id = run_id

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Parameters as text; a list or mapping as JSON, so that it can be read back."""
        from mlflow.entities import Param

        plain = (str, int, float, bool)
        listed = [Param(name, str(value) if isinstance(value, plain) else json.dumps(value)) for name, value in parameters.items()]
        with unavailable_as_such(self._tracking.uri):
            self._tracking.client.log_batch(self.run_id, params=listed)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Numbers; what is no number (NaN) is left out, because "no data" is not a value."""
        import time

        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        listed = [Metric(name, float(value), now, 0) for name, value in metrics.items() if value == value]
        with unavailable_as_such(self._tracking.uri):
            self._tracking.client.log_batch(self.run_id, metrics=listed)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the run."""
        from mlflow.entities import RunTag

        with unavailable_as_such(self._tracking.uri):
            self._tracking.client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """A file of this machine as an artifact."""
        with unavailable_as_such(self._tracking.uri):
            self._tracking.client.log_artifact(self.run_id, str(path), folder)

    def log_bytes(self, name: str, content: bytes) -> None:
        """Bytes, a picture for instance, as an artifact called `name`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            self.log_file(path)

    def log_json(self, name: str, content: Any) -> None:
        """Something JSON can say, as an artifact called `name`."""
        self.log_bytes(name, json.dumps(content, indent=2, allow_nan=False).encode())

    def download(self, path: str, folder: Path) -> Path:
        """Fetch an artifact into a folder of this machine; its path there."""
        folder.mkdir(parents=True, exist_ok=True)
        with unavailable_as_such(self._tracking.uri):
            return Path(self._tracking.client.download_artifacts(self.run_id, path, str(folder)))

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run as `FINISHED` or `FAILED`."""
        with unavailable_as_such(self._tracking.uri):
            self._tracking.client.set_terminated(self.run_id, status)

    @contextmanager
    def failing(self) -> Iterator[TrackedRun]:
        """Close the run as failed if the body raises, and let the error through."""
        try:
            yield self
        except BaseException as error:
            try:
                self.finish("FAILED")
            except RegistryUnavailable as away:
                error.add_note(f"The run {self.run_id} could not be marked as failed: {away}")
            raise
