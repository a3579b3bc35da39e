"""All that is recorded about one version of the ranker, gathered for somebody from outside. How it is told lives in `audit_page`.

Facts come from MLflow (the training), from the logged training set, and from the marketplace's records (experiments, decisions, use).
What is not recorded is None or empty, never guessed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION
from litgo_pipelines.rollout import decisions, following
from litgo_pipelines.rollout import decisions as history
from litgo_pipelines.rollout import experiments as trials
from litgo_pipelines.rollout.decisions import Action, Decision
from litgo_pipelines.rollout.experiments import Experiment
from litgo_pipelines.rollout.freezes import Freeze, frozen
from litgo_pipelines.rollout.gate import (
    GINI_SLACK,
    GINI_TARGET,
    LEAST_CASES_OF_AN_AREA,
    MOST_LOSS_OF_AN_AREA,
    GateEvidence,
    GateResult,
    judge,
)
from litgo_pipelines.rollout.readout import ExperimentEvidence, ExperimentResult, Figure, judge_experiment
from litgo_pipelines.rollout.registry import CHAMPION, Registry, Version
from litgo_pipelines.rollout.replays import judgements
from litgo_pipelines.rollout.states import State, states
from litgo_pipelines.rollout.steps import CALIBRATION_FILE, DATASET_FOLDER, GATE_FILE
from litgo_pipelines.rollout.tracking import RegistryUnavailable, Tracking, unavailable_as_such
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection

MOST_DECISIONS = 1000

SYSTEM: Final = frozenset({decisions.GATE, decisions.PROMOTION, decisions.READOUT, decisions.WATCH, following.FOUND, decisions.RECONCILE})
"""Actors that are parts of this system; all others are people, `mlflow-ui` one whom MLflow does not name."""

_USE = """
SELECT count(*), min(started_at), max(started_at) FROM litgo.match_requests WHERE model_version = :version AND status = 'ok'
"""

_REIGNS = """
SELECT observed_at, until, actor FROM (
    SELECT version, actor, observed_at, lead(observed_at) OVER (ORDER BY id) AS until FROM litgo.alias_observations
) seen WHERE version = :version ORDER BY observed_at
"""

_EXPOSED = """
SELECT step, variant, count(*) FROM litgo.exposures WHERE experiment_id = :id GROUP BY step, variant ORDER BY step, variant
"""

_READOUTS = "SELECT read_at, figures FROM litgo.experiment_readouts WHERE experiment_id = :id ORDER BY read_at"


class UnknownVersion(LitgoError):
    """The registry has no version of that number."""


@dataclass(frozen=True)
class Data:
    """The training set as it was logged, and as it was found again for this report.

    Attributes:
        fingerprint: as logged when it was written.
        found: fingerprint of the file as it is now; None where the file could not be fetched or read.
        columns: of the file.
        parts: rows and cases of each part of the split, by its name.
        first, last: times of the oldest and of the newest case that has one.
    """

    fingerprint: str
    found: str | None
    columns: tuple[str, ...]
    rows: int | None
    requests: int | None
    cases: int | None
    parts: dict[str, tuple[int, int]]
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Training:
    """What MLflow has of the run that made a version. Parameters are text, as they were logged."""

    run_id: str
    started_at: datetime | None
    ended_at: datetime | None
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    libraries: tuple[str, ...]
    python: str | None
    calibration: dict[str, Any] | None
    gate: GateResult | None


@dataclass(frozen=True)
class Trial:
    """An experiment that the version took part in.

    Attributes:
        exposed: clients by ramp step and variant.
        readouts: what each look saw of every metric, oldest first.
        result: of the newest reading that was recorded as a decision, computed again from its evidence; None where none was.
    """

    experiment: Experiment
    exposed: dict[tuple[int, str], int]
    readouts: tuple[tuple[datetime, tuple[Figure, ...]], ...]
    result: ExperimentResult | None


@dataclass(frozen=True)
class Reign:
    """A time during which the alias `champion` was seen to point to the version; `until` None: it does."""

    since: datetime
    until: datetime | None
    actor: str


@dataclass(frozen=True)
class Person:
    """Somebody who took decisions about the version: the decisions' numbers by what was done."""

    name: str
    acts: dict[Action, tuple[int, ...]]


@dataclass(frozen=True)
class Use:
    """Requests that the version answered."""

    requests: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Facts:
    """All about one version.

    Attributes:
        gate: what the offline gate said, as logged with the training, or else as recorded as a decision.
        decisions: oldest first, outcomes and intents; those about all models, such as a freeze, among them.
        share: of the clients that it answers now, 0..1.
        champion: what answers now, by number, or `hand-weights`.
        unexplained: numbers of decisions that happened in MLflow's own pages and that nobody explained.
    """

    version: Version
    as_of: datetime
    data: Data | None
    training: Training | None
    gate: GateResult | None
    trials: tuple[Trial, ...]
    decisions: tuple[Decision, ...]
    people: tuple[Person, ...]
    reigns: tuple[Reign, ...]
    use: Use
    state: State | None
    share: float
    champion: str
    freeze: Freeze | None
    unexplained: tuple[int, ...]

    @property
    def is_champion(self) -> bool:
        return CHAMPION in self.version.aliases


def gather(connection: Connection, registry: Registry, tracking: Tracking, number: str, *, as_of: datetime) -> Facts:
    """Read all that is known of a version.

    Raises:
        UnknownVersion: the registry has none of that number.
        RegistryUnavailable: MLflow cannot be reached.
    """
    known = registry.versions()
    version = find_version(known, number)
    training, data = (None, None) if version.run_id is None else _training(tracking, version.run_id)
    decided = _decisions(connection, version)
    gate = None if training is None else training.gate
    unexplained = {one.id for one in history.unexplained(connection)}
    champion = next((one.version for one in known if CHAMPION in one.aliases), None)
    return Facts(
        version=version,
        as_of=as_of,
        data=data,
        training=training,
        gate=gate or _gate_of(decided, number),
        trials=tuple(_trial(connection, one, decided) for one in reversed(trials.of_version(connection, number))),
        decisions=decided,
        people=people(decided),
        reigns=_reigns(connection, number),
        use=_use(connection, number),
        state=states(connection).get(number),
        share=shares(champion, trials.running(connection)).get(number, 0.0),
        champion=champion or HAND_WEIGHTS_VERSION,
        freeze=frozen(connection),
        unexplained=tuple(one.id for one in decided if one.id in unexplained),
    )


def find_version(known: Sequence[Version], number: str) -> Version:
    """The version of a number.

    Raises:
        UnknownVersion: there is none.
    """
    for one in known:
        if one.version == number:
            return one
    raise UnknownVersion(f"there is no version {number} of the model: `litgo model list` shows which there are")


def shares(champion: str | None, running: Experiment | None) -> dict[str, float]:
    """Share of the clients that each version answers, 0..1; the hand weights by their name.

    In an experiment that interleaves, those who see both count for both.
    """
    answering = champion or HAND_WEIGHTS_VERSION
    if running is None:
        return {answering: 1.0}
    tried = running.split.share
    return {answering: 1.0 if running.mode == "interleaving" else 1.0 - tried, running.challenger: tried}


def people(decided: Sequence[Decision]) -> tuple[Person, ...]:
    """Who took decisions, in the order of their first; whoever acted in MLflow's own pages is named as the record does."""
    acts: dict[str, dict[Action, list[int]]] = {}
    for one in decided:
        if one.stage == "outcome" and one.actor not in SYSTEM:
            acts.setdefault(one.actor, {}).setdefault(one.action, []).append(one.id)
    return tuple(Person(name, {action: tuple(numbers) for action, numbers in found.items()}) for name, found in acts.items())


def _decisions(connection: Connection, version: Version) -> tuple[Decision, ...]:
    """Those about the version, and those about all models alike since it was registered, oldest first."""
    about = history.history(connection, MOST_DECISIONS, version=version.version)
    newest = history.history(connection, MOST_DECISIONS)
    general = [one for one in newest if one.action in ("freeze", "unfreeze") and one.decided_at >= version.created_at]
    return tuple(sorted({one.id: one for one in [*about, *general]}.values(), key=lambda one: one.id))


def _gate_of(decided: Sequence[Decision], number: str) -> GateResult | None:
    for one in reversed(decided):
        if one.action == "gate" and one.to_version == number and one.evidence:
            return judge(GateEvidence.model_validate(one.evidence))
    return None


def _trial(connection: Connection, experiment: Experiment, decided: Sequence[Decision]) -> Trial:
    from sqlalchemy import text

    exposed = {(int(step), str(variant)): int(count) for step, variant, count in connection.execute(text(_EXPOSED), {"id": experiment.id})}
    readouts = tuple((at, _figures(found)) for at, found in connection.execute(text(_READOUTS), {"id": experiment.id}))
    read = [found for one in decided if _within(one, experiment) and (found := reading(one.evidence)) is not None]
    return Trial(experiment, exposed, readouts, judge_experiment(read[-1]) if read else None)


def _figures(found: dict[str, Any]) -> tuple[Figure, ...]:
    return tuple(Figure.model_validate(one) for one in found["figures"])


def reading(evidence: dict[str, Any]) -> ExperimentEvidence | None:
    """The evidence of a reading of an experiment that a decision rests on; None where it rests on none."""
    found = (one.rests_on for one in judgements(evidence))
    return next((one for one in found if isinstance(one, ExperimentEvidence)), None)


def _within(decision: Decision, experiment: Experiment) -> bool:
    if decision.action not in ("experiment read", "experiment ended"):
        return False
    if decision.to_version != experiment.challenger or experiment.started_at is None:
        return False
    return experiment.started_at <= decision.decided_at and (experiment.ended_at is None or decision.decided_at <= experiment.ended_at)


def _reigns(connection: Connection, number: str) -> tuple[Reign, ...]:
    from sqlalchemy import text

    return tuple(Reign(since, until, actor) for since, until, actor in connection.execute(text(_REIGNS), {"version": number}))


def _use(connection: Connection, number: str) -> Use:
    from sqlalchemy import text

    return Use(*connection.execute(text(_USE), {"version": number}).one())


def _training(tracking: Tracking, run_id: str) -> tuple[Training | None, Data | None]:
    """What MLflow has of a run; None where somebody deleted the run for good."""
    try:
        with unavailable_as_such(tracking.uri):
            run = tracking.client.get_run(run_id)
    except RegistryUnavailable:
        # The registry answered a moment ago: what is missing is this run.
        return None, None
    with tempfile.TemporaryDirectory() as folder:
        fetched = _Artifacts(tracking, run_id, Path(folder))
        gate = fetched.json(GATE_FILE)
        training = Training(
            run_id=run_id,
            started_at=_moment(run.info.start_time),
            ended_at=_moment(run.info.end_time),
            parameters=dict(run.data.params),
            metrics=dict(run.data.metrics),
            tags=dict(run.data.tags),
            libraries=tuple(line for line in (fetched.text("model/requirements.txt") or "").splitlines() if line.strip()),
            python=_python(fetched.text("model/python_env.yaml")),
            calibration=fetched.json(CALIBRATION_FILE),
            gate=None if gate is None else GateResult.model_validate(gate),
        )
        return training, _data(training, fetched)


class _Artifacts:
    """The files of a run, fetched one by one."""

    def __init__(self, tracking: Tracking, run_id: str, folder: Path) -> None:
        self._run, self._folder = tracking.resume(run_id), folder

    def path(self, name: str) -> Path | None:
        """Where a file lies, once fetched; None where it cannot be had."""
        try:
            return self._run.download(name, self._folder)
        except RegistryUnavailable:
            # MLflow's own answer was had before: what is missing is this file.
            return None

    def text(self, name: str) -> str | None:
        found = self.path(name)
        return None if found is None else found.read_text(encoding="utf-8")

    def json(self, name: str) -> dict[str, Any] | None:
        found = self.text(name)
        return None if found is None else dict(json.loads(found))


def _data(training: Training, fetched: _Artifacts) -> Data | None:
    logged = training.parameters.get("dataset_fingerprint")
    if logged is None:
        return None
    path = fetched.path(f"{DATASET_FOLDER}/{logged}.parquet")
    counts = {name: int(training.metrics[name]) if name in training.metrics else None for name in ("rows", "groups", "cases")}
    if path is None:
        return Data(logged, None, (), counts["rows"], counts["groups"], counts["cases"], {}, None, None)
    return _read_data(logged, path)


def _read_data(logged: str, path: Path) -> Data:
    import pyarrow.parquet as pq

    from litgo_pipelines.ranking.training_set import PARTS, UNKNOWN_TIME, from_table

    table = pq.read_table(path)
    rows = from_table(table)
    times = rows.time[rows.time != UNKNOWN_TIME]
    parts = {name: rows.of(name) for name in PARTS}
    return Data(
        fingerprint=logged,
        found=rows.fingerprint(),
        columns=tuple(table.column_names),
        rows=rows.rows,
        requests=rows.groups,
        cases=rows.cases,
        parts={name: (one.rows, one.cases) for name, one in parts.items()},
        first=_microseconds(int(times.min())) if times.size else None,
        last=_microseconds(int(times.max())) if times.size else None,
    )


def _microseconds(since_epoch: int) -> datetime:
    return datetime.fromtimestamp(since_epoch / 1e6, UTC)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _python(environment: str | None) -> str | None:
    for line in (environment or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "python":
            return value.strip()
    return None


@dataclass(frozen=True)
class GateTest:
    """One test of the gate.

    Attributes:
        what: improvement (of NDCG@5), error (1 - NDCG@5, where no improvement can be had), certainty, area or evenness.
        figure: what was measured; None where there was nothing to measure.
        threshold: what it is compared with.
        before: of the incumbent, where it has one.
        area, cases: of an area's test.
    """

    what: Literal["improvement", "error", "certainty", "area", "evenness"]
    figure: float | None
    threshold: float | None
    passed: bool
    before: float | None = None
    area: str | None = None
    cases: int | None = None


def gate_tests(evidence: GateEvidence) -> list[GateTest]:
    """The tests that `gate.judge` makes of this evidence, each with figure and threshold; none where it says insufficient data."""
    candidate, champion, low = evidence.candidate_ndcg_5, evidence.champion_ndcg_5, evidence.difference_low
    if candidate is None or champion is None or low is None or judge(evidence).verdict == "insufficient data":
        return []
    wanted = champion * evidence.min_improvement
    if wanted < 1:
        first = GateTest("improvement", candidate, wanted, candidate > wanted, champion)
    else:
        most = (1 - champion) * (1 - (evidence.min_improvement - 1))
        first = GateTest("error", 1 - candidate, most, 1 - candidate <= most, 1 - champion)
    areas = [
        GateTest("area", one.candidate, least, one.candidate >= least, one.champion, one.area, one.cases)
        for one in evidence.areas
        if one.cases >= LEAST_CASES_OF_AN_AREA
        for least in [one.champion * (1 - MOST_LOSS_OF_AN_AREA)]
    ]
    return [first, GateTest("certainty", low, 0.0, low > 0), *areas, _evenness(evidence)]


def _evenness(evidence: GateEvidence) -> GateTest:
    gini = evidence.candidate_gini
    most = max(evidence.champion_gini or 0.0, GINI_TARGET) + GINI_SLACK
    return GateTest("evenness", gini, most, gini is None or gini <= most, evidence.champion_gini)
