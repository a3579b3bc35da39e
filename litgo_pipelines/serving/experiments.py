"""Which client is answered by which model while an experiment runs: follows what is recorded, and keeps the challenger loaded.

Who is on which side is told by `casework.sides`, and what is recorded of it lives in `casework` as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from litgo_pipelines.casework.sides import Arms
from litgo_pipelines.casework.sides import Side as Side
from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.rollout import experiments
from litgo_pipelines.rollout.experiments import Experiment
from litgo_pipelines.serving.metrics import ServingMetrics
from litgo_pipelines.serving.models import ModelSource
from litgo_pipelines.serving.periodic import Periodic
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_log = get_logger(__name__)


class ArmsKeeper:
    """Looks every `seconds` which experiment runs, and loads its challenger.

    Nobody takes part while the challenger cannot be loaded, or while another version answers than the one that the experiment
    compares with: then the champion answers everybody, and nobody is counted.

    Args:
        open_source: makes the registry; called in the background.
        champion: gives what answers now.
    """

    def __init__(
        self,
        engine: Engine,
        open_source: Callable[[], ModelSource],
        champion: Callable[[], Ranker],
        seconds: float,
        metrics: ServingMetrics,
    ) -> None:
        self._engine, self._open_source, self._champion, self._metrics = engine, open_source, champion, metrics
        self._source: ModelSource | None = None
        self._recorded: Experiment | None = None
        self._arms: Arms | None = None
        self._error: str | None = None
        self._thread = Periodic("experiment", self.look, seconds)

    @property
    def recorded(self) -> Experiment | None:
        """The experiment that runs, whether or not its challenger could be loaded."""
        return self._recorded

    @property
    def error(self) -> str | None:
        """Why nobody takes part in it, or why nothing is known of it."""
        arms, recorded, version = self._arms, self._recorded, self._champion().version
        if self._error is not None or recorded is None:
            return self._error
        if arms is None or arms.experiment.id != recorded.id:
            return f"version {recorded.challenger} is not loaded yet"
        return None if version == recorded.champion else f"{version} answers, the experiment compares with {recorded.champion}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()

    def side(self, client_id: UUID) -> Side | None:
        """What answers a client; None for whoever takes part in nothing: the champion answers."""
        arms = self._arms
        return None if arms is None else arms.side(client_id, self._champion())

    def look(self) -> None:
        """Look once; whatever goes wrong is logged and told, and what was known stays."""
        try:
            with self._engine.connect() as connection:
                recorded = experiments.running(connection)
            self._follow(recorded)
            self._error = None
        except Exception as error:
            # Whatever it is must not end the thread: no experiment would ever begin or end here again.
            self._failed(error)

    def _follow(self, recorded: Experiment | None) -> None:
        self._recorded = recorded
        known = self._arms
        if recorded is None:
            self._take(None)
        elif known is not None and known.experiment.id == recorded.id:
            self._take(Arms(recorded, known.challenger))
        else:
            self._take(None)
            if self._source is None:
                self._source = self._open_source()
            self._take(Arms(recorded, self._source.load(recorded.challenger)))

    def _take(self, arms: Arms | None) -> None:
        before, self._arms = self._arms, arms
        now = None if arms is None else (arms.experiment.id, arms.experiment.step)
        if now == (None if before is None else (before.experiment.id, before.experiment.step)):
            return
        self._metrics.experiment.clear()
        if arms is None:
            _log.info("no experiment is served")
            return
        running = arms.experiment
        self._metrics.experiment.labels(str(running.id), running.challenger, running.mode).set(running.split.share)
        _log.info("an experiment is served", experiment=str(running.id), challenger=running.challenger, share=running.split.share)

    def _failed(self, error: Exception) -> None:
        # What a database says quotes statements and addresses: of errors that are not ours the kind alone is told.
        told = f"{type(error).__name__}: {error if isinstance(error, LitgoError) else 'what was known before stays'}"
        if told != self._error:
            _log.error("the experiment cannot be followed", reason=told)
        self._error = told
