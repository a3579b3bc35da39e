"""What the collector shows of models: who is champion and how well it does, the experiment that runs, what people must look at.

Everything is read as the rest of this room knows it; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from litgo_pipelines.marketplace.switches import switches
from litgo_pipelines.observability.sources import Sample
from litgo_pipelines.rollout import decisions, experiments, following, readings
from litgo_pipelines.rollout.experiments import Experiment
from litgo_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

NOBODY: Final = "nobody"
"""The version that is shown where the alias points to none."""

EVERY: Final = timedelta(minutes=1)
"""How often the facts are read that models are judged by."""

_UNITS = "SELECT variant, count(*) AS units FROM litgo.exposures WHERE experiment_id = :id GROUP BY variant"


@dataclass
class RolloutFigures:
    """What is recorded of the champion, of freezes and of the experiment.

    Args:
        engine: on the marketplace's database.
    """

    engine: Engine
    settings: Settings
    name: str = field(default="rollout", init=False)

    def read(self) -> list[Sample]:
        """Each figure as of now. Of an experiment, metrics are as its last reading saw them."""
        with self.engine.connect() as connection:
            return [
                Sample("model_quality_threshold", self.settings.quality_threshold),
                *_champion(connection),
                *_people(connection),
                *_experiment(connection),
            ]


@dataclass
class EvidenceFigures:
    """What models are judged by: the champion's match score, and the clients of the experiment. Takes longer, and is read once a minute.

    Args:
        engine: on the marketplace's database.
        clock: the time, as an aware datetime.
    """

    engine: Engine
    settings: Settings
    clock: Callable[[], datetime]
    name: str = field(default="evidence", init=False)
    _shown: list[Sample] = field(default_factory=list, init=False)
    _at: datetime | None = field(default=None, init=False)

    def read(self) -> list[Sample]:
        """The figures of the last minute; `model_watch_timestamp_seconds` tells of which moment."""
        now = self.clock()
        if self._at is None or now - self._at >= EVERY:
            with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                self._shown = [*_quality(connection, self.settings, now), *_units(connection)]
            self._at = now
        return self._shown


def _champion(connection: Connection) -> Iterator[Sample]:
    seen = following.recorded(connection)
    if seen is not None:
        yield Sample("champion_info", 1.0, {"version": seen.version or NOBODY})
        yield Sample("champion_since_timestamp_seconds", seen.since.timestamp())


def _people(connection: Connection) -> Iterator[Sample]:
    """What people have frozen, and what they have moved without a word."""
    for what, on in switches(connection).items():
        yield Sample("frozen", float(on), {"what": what})
    moved = [one for one in decisions.unexplained(connection) if one.action == "alias moved"]
    yield Sample("unexplained_promotions_count", len(moved))


def _experiment(connection: Connection) -> Iterator[Sample]:
    found = experiments.running(connection)
    if found is None:
        return
    about = {"champion": found.champion, "challenger": found.challenger, "mode": found.mode, "status": found.status}
    yield Sample("experiment_info", 1.0, {"experiment": str(found.id), **about})
    yield Sample("experiment_share", found.split.share, {"experiment": str(found.id)})
    reading = readings.newest_reading(connection, found.id)
    if reading is not None:
        yield from _read(found, reading.figures)


def _read(experiment: Experiment, figures: Mapping[str, Any]) -> Iterator[Sample]:
    """What a reading saw, of a `readout.ExperimentResult` in JSON; what it could not tell is left out."""
    of = {"experiment": str(experiment.id)}
    for one in figures["figures"]:
        metric = {"metric": one["metric"]}
        for variant in ("control", "treatment"):
            yield from _known("experiment_metric", one[variant], of | {"variant": variant} | metric)
        for bound, name in (("low", "low"), ("estimate", "lift"), ("high", "high")):
            yield from _known("experiment_lift", one[name], of | metric | {"bound": bound})
    ratio = figures["sample_ratio"]
    if ratio["p_value"] is not None:
        yield Sample("experiment_sample_ratio_broken", float(ratio["alarm"]), of)


def _quality(connection: Connection, settings: Settings, now: datetime) -> Iterator[Sample]:
    """The champion as the watch would judge it now; nothing where nobody is watched."""
    from litgo_pipelines.rollout.watch import judge_watch
    from litgo_pipelines.rollout.watching import look_at_quality

    found = look_at_quality(connection, settings, now, with_features=False)
    if found is None:
        return
    state, quality = found
    evidence, version = quality.evidence, {"version": state.version}
    verdict = judge_watch(evidence).verdict
    if evidence.reference is not None and evidence.window_mean is not None:
        yield Sample("model_quality_ratio", evidence.window_mean / evidence.reference.mean, version)
    if verdict != "insufficient data":
        yield Sample("model_degraded", float(verdict == "degraded"), version)
    yield Sample("model_watch_timestamp_seconds", now.timestamp())


def _units(connection: Connection) -> Iterator[Sample]:
    """Clients of the running experiment by what they are shown; 0 on a side of its that nobody is on yet."""
    from sqlalchemy import text

    found = experiments.running(connection)
    if found is None:
        return
    expected = ("interleaved",) if found.mode == "interleaving" else ("control", "treatment")
    counts = dict.fromkeys(expected, 0)
    counts.update((row.variant, row.units) for row in connection.execute(text(_UNITS), {"id": found.id}))
    for variant, count in counts.items():
        yield Sample("experiment_units", count, {"experiment": str(found.id), "variant": variant})


def _known(metric: str, value: float | None, labels: Mapping[str, str]) -> Iterator[Sample]:
    if value is not None:
        yield Sample(metric, value, labels)
