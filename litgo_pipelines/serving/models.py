"""Which model answers: follows the registry's alias, keeps what it has while the registry is away.

How a version is stored and proves that it loaded right lives in `rollout`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.ranking.ranker import HandWeights, LightGBMRanker, Ranker
from litgo_pipelines.rollout.bundle import Bundle, GoldenScoresDiffer, NoGoldenScores
from litgo_pipelines.rollout.registry import CHAMPION
from litgo_pipelines.rollout.tracking import RegistryUnavailable
from litgo_pipelines.serving.metrics import ServingMetrics
from litgo_pipelines.serving.periodic import Periodic
from litgo_pipelines.settings import LitgoError

Source = Literal["registry", "last champion", "hand weights"]

REFUSED_AGAIN_SECONDS = 60.0
_POINTER = "champion.json"
_log = get_logger(__name__)


class VersionDeleted(LitgoError, RuntimeError):
    """The version that answers was deleted in the registry, and nobody chose another one."""


class ModelSource(Protocol):
    """What is needed of the registry."""

    def champion(self) -> str | None:
        """Number of the version that should answer; None for none."""

    def exists(self, version: str) -> bool:
        """Whether there is a version of that number, and nobody deleted it."""

    def load(self, version: str) -> LightGBMRanker:
        """That version, after it reproduced its golden scores."""


@dataclass(frozen=True)
class Answering:
    """The ranker that answers, where it came from and since when."""

    ranker: Ranker
    source: Source
    loaded_at: datetime


@dataclass(frozen=True)
class ModelState:
    """What answers and what should; `error` says why they may differ."""

    answering: Answering
    wanted_version: str | None
    last_checked_at: datetime | None
    error: str | None
    stale: bool


@dataclass(frozen=True)
class _Refused:
    """A version that did not prove itself, and until when it is not tried again."""

    version: str
    because: Exception
    until: float


class LastChampion:
    """The champion that answered last, kept in `folder` for a start while the registry is away.

    `champion.json` names the folder of the version beside it; it is replaced in one step.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, ranker: LightGBMRanker) -> None:
        """Keep a ranker, and forget those kept before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = Path(tempfile.mkdtemp(prefix=f"champion-{ranker.version}-", dir=self._folder))
        Bundle.of(ranker.booster, ranker.calibration).write(kept)
        self._point({"version": ranker.version, "folder": kept.name})
        for other in self._folder.glob("champion-*"):
            if other != kept:
                shutil.rmtree(other, ignore_errors=True)

    def forget(self) -> None:
        """There is no champion any more."""
        if self._folder.is_dir():
            self._point({"version": None})

    def load(self) -> LightGBMRanker | None:
        """The ranker that was kept, after it reproduced its golden scores; None where none was.

        Raises:
            OSError, ValueError, NoGoldenScores, GoldenScoresDiffer: what was kept cannot be used.
        """
        try:
            pointer = json.loads((self._folder / _POINTER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if pointer["version"] is None:
            return None
        return Bundle.read(self._folder / pointer["folder"]).ranker(pointer["version"])

    def _point(self, pointer: dict[str, str | None]) -> None:
        fresh = self._folder / f".{_POINTER}.{os.getpid()}"
        fresh.write_text(json.dumps(pointer), encoding="utf-8")
        fresh.replace(self._folder / _POINTER)


class ModelKeeper:
    """Looks every `poll_seconds` where the alias points, loads what changed, and swaps it in one step.

    Args:
        open_source: makes the registry; called in the background, and again until it succeeds.
        kept: where the last champion is kept.
    """

    def __init__(self, open_source: Callable[[], ModelSource], kept: LastChampion, poll_seconds: float, metrics: ServingMetrics) -> None:
        self._open_source, self._kept, self._metrics = open_source, kept, metrics
        self._source: ModelSource | None = None
        self._patience = 3 * poll_seconds
        self._checked: datetime | None = None
        self._wanted: str | None = None
        self._error: str | None = None
        self._refused: _Refused | None = None
        self._restored = False
        self._first_look = threading.Event()
        self._thread = Periodic("model", self.look, poll_seconds)
        self._answering = Answering(HandWeights(), "hand weights", datetime.now(UTC))
        self._show()
        metrics.model_stale.set_function(lambda: float(self.state().stale))

    @property
    def ranker(self) -> Ranker:
        """What answers now; a request asks once and stays with it."""
        return self._answering.ranker

    @property
    def looked(self) -> bool:
        """Whether the first look at the registry is over, whatever it brought."""
        return self._first_look.is_set()

    def wait_for_look(self) -> None:
        """Return when the first look is over."""
        self._first_look.wait()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()

    def state(self) -> ModelState:
        """What `GET /v1/model` tells."""
        checked, wanted, error, answering = self._checked, self._wanted, self._error, self._answering
        overdue = checked is None or (datetime.now(UTC) - checked).total_seconds() > self._patience
        if overdue and error is None:
            error = "the registry was not reached yet" if checked is None else "the registry does not answer any more"
        stale = overdue or error is not None or (wanted or HandWeights().version) != answering.ranker.version
        return ModelState(answering, wanted, checked, error, stale)

    def look(self) -> None:
        """Look once; whatever goes wrong is logged, counted and told, and what answers stays."""
        if not self._restored:
            self._restore()
        try:
            self._follow()
            self._error = None
        except (RegistryUnavailable, NoGoldenScores, GoldenScoresDiffer, VersionDeleted) as error:
            self._failed(error)
        except Exception as error:
            # An error nobody foresaw must not end the thread: the alias would never be followed again.
            self._failed(error)
            _log.exception("looking at the registry failed unexpectedly")
        finally:
            self._first_look.set()

    def _failed(self, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"
        self._metrics.model_errors.labels(type(error).__name__).inc()
        if told != self._error:
            _log.error("the promoted model cannot be followed", reason=told, model_version=self.ranker.version)
        self._error = told

    def _restore(self) -> None:
        """At the start: the champion of the last time answers until the registry says otherwise."""
        self._restored = True
        try:
            ranker = self._kept.load()
        except (OSError, ValueError, KeyError, NoGoldenScores, GoldenScoresDiffer) as error:
            _log.warning("the last champion kept on this machine cannot be used", reason=f"{type(error).__name__}: {error}")
            return
        if ranker is not None:
            self._swap(ranker, "last champion")

    def _follow(self) -> None:
        if self._source is None:
            self._source = self._open_source()
        wanted = self._source.champion()
        self._wanted, self._checked = wanted, datetime.now(UTC)
        self._metrics.model_checked.set(self._checked.timestamp())
        answering = self._answering
        if wanted is None:
            self._without_champion(self._source)
        elif (answering.ranker.version, answering.source) != (wanted, "registry"):
            # The kept copy of that number is loaded again: what the registry holds under it is what counts.
            self._take(self._source, wanted)

    def _without_champion(self, source: ModelSource) -> None:
        """Nobody is champion: somebody wanted the hand weights, or deleted the version that answers, which says nothing of its quality.

        Raises:
            VersionDeleted: the version was deleted; it goes on answering.
        """
        if self._answering.source == "hand weights":
            return
        if not source.exists(self.ranker.version):
            raise VersionDeleted(
                f"version {self.ranker.version} was deleted in the registry and nobody is champion: "
                f"it goes on answering until the alias `{CHAMPION}` is set on another version"
            )
        _log.error("nobody is champion any more: the hand weights answer", model_version=self.ranker.version)
        self._swap(HandWeights(), "hand weights")
        self._kept.forget()

    def _take(self, source: ModelSource, wanted: str) -> None:
        refused = self._refused
        if refused is not None and refused.version == wanted and time.monotonic() < refused.until:
            raise refused.because
        try:
            ranker = source.load(wanted)
        except (NoGoldenScores, GoldenScoresDiffer) as error:
            self._refused = _Refused(wanted, error, time.monotonic() + REFUSED_AGAIN_SECONDS)
            raise
        self._refused = None
        self._swap(ranker, "registry")
        try:
            self._kept.save(ranker)
        except OSError as error:
            _log.warning("the champion cannot be kept for a start while the registry is away", reason=str(error))

    def _swap(self, ranker: Ranker, source: Source) -> None:
        before = self._answering.ranker.version
        self._answering = Answering(ranker, source, datetime.now(UTC))
        self._show()
        _log.info("another model answers", model_version=ranker.version, source=source, before=before, alias=CHAMPION)

    def _show(self) -> None:
        answering = self._answering
        self._metrics.model.clear()
        self._metrics.model.labels(answering.ranker.version, answering.source).set(1)
        self._metrics.model_loaded.set(answering.loaded_at.timestamp())
