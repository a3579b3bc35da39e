"""From facts to a verdict on a new version in three steps. Each takes the hand-over of the one before and returns the next one.

A hand-over is small and JSON-serialisable; the data behind it lies in a parquet file and in MLflow. Too little data flows
through as a verdict. Who calls these steps, and when, is none of their business; what is done about the verdict is `candidates`'s.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from litgo_pipelines.ranking.calibration import CalibrationReport, Offered, expected_calibration_error, fit_acceptance
from litgo_pipelines.ranking.evaluation import Comparison, Evaluation, compare, evaluate
from litgo_pipelines.ranking.pictures import importance_picture
from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION, HandWeights, LightGBMRanker, Ranker
from litgo_pipelines.ranking.training import ROUNDS, feature_gains, parameters, positions, train
from litgo_pipelines.ranking.training_set import PARTS, DatasetDamaged, InsufficientData, TrainingSet, from_matches, from_table
from litgo_pipelines.rollout.bundle import GOLDEN_FILE, Bundle, GoldenScoresDiffer, NoGoldenScores, golden_features
from litgo_pipelines.rollout.gate import AreaEvidence, GateEvidence, GateResult, judge
from litgo_pipelines.rollout.handovers import CandidateRef, EvaluationRef, Metadata, TrainingSetRef
from litgo_pipelines.rollout.registry import Registry
from litgo_pipelines.rollout.tracking import TrackedRun, Tracking

ReplayGini = Callable[[Ranker], float | None]
"""Inequality of load after a replay of the marketplace under a ranker; None where there is nobody to replay."""

DATASET_FOLDER = "dataset"
GATE_FILE = "gate.json"
IMPORTANCE_FILE = "feature_importance.png"
CALIBRATION_FILE = "calibration.json"

_SCORED, _TRIES = 1_000, 7


def build_training_set(
    *,
    database_url: str,
    as_of: datetime,
    labels: Mapping[str, int],
    held_out_share: float,
    embargo_days: float,
    pseudonym_key: bytes,
    datasets_folder: Path,
    tracking: Tracking,
    tags: Mapping[str, str] | None = None,
) -> tuple[TrainingSetRef, Metadata]:
    """Read the match log as of a moment, split it by time, write it down under pseudonyms, and begin an MLflow run with it.

    Raises:
        DatabaseError, RegistryUnavailable: a store cannot be reached.
    """
    started = time.perf_counter()
    reviews, whole = _read(database_url, as_of, labels)
    insufficient = None
    try:
        whole = whole.split(held_out_share, embargo_days)
    except InsufficientData as error:
        insufficient = str(error)
    fingerprint = whole.fingerprint()
    path = _write_dataset(whole.pseudonymise(pseudonym_key), datasets_folder / f"{fingerprint}.parquet")
    held_out_cases = 0 if insufficient else whole.of("held_out").cases
    run = tracking.start_run({"dataset_fingerprint": fingerprint, **(tags or {})}, name=f"ranker-{as_of:%Y%m%d-%H%M%S}")
    counts = {"rows": whole.rows, "groups": whole.groups, "cases": whole.cases, "held_out_cases": held_out_cases, "reviews_seen": reviews}
    with run.failing():
        run.log_parameters(
            {
                "as_of": as_of.isoformat(),
                "dataset_fingerprint": fingerprint,
                "labels": dict(labels),
                "held_out_share": held_out_share,
                "embargo_days": embargo_days,
            }
        )
        run.log_file(path, DATASET_FOLDER)
        seconds = time.perf_counter() - started
        run.log_metrics({**counts, "seconds_dataset": seconds, **_part_rows(whole)})
    ref = TrainingSetRef(run_id=run.run_id, path=path, fingerprint=fingerprint, as_of=as_of, insufficient=insufficient, **counts)
    return ref, _metadata({**counts, "fingerprint": fingerprint, "mlflow_run_id": run.run_id, "seconds": seconds}, insufficient)


def train_candidate(
    training_set: TrainingSetRef, *, seed: int, threads: int, tracking: Tracking, registry: Registry
) -> tuple[CandidateRef, Metadata]:
    """Train on the part "train", calibrate on the part "calibration", register the result as a version.

    Raises:
        DatasetDamaged: the stored rows are not those that were logged.
        RegistryUnavailable: MLflow cannot be reached.
    """
    if training_set.insufficient is not None:
        return _no_candidate(training_set, training_set.insufficient)
    run = tracking.resume(training_set.run_id)
    with run.failing():
        started = time.perf_counter()
        rows = load_training_set(training_set, tracking)
        try:
            booster, bundle, report = fit_ranker(rows, seed=seed, threads=threads)
        except InsufficientData as error:
            return _no_candidate(training_set, str(error))
        gains = feature_gains(booster)
        learned = rows.of("train")
        run.log_parameters(
            {
                **parameters(learned.rows, seed=seed, threads=threads),
                "num_boost_round": ROUNDS,
                "uses_position": positions(learned) is not None,
                "acceptance_method": report.method,
            }
        )
        run.log_bytes(IMPORTANCE_FILE, importance_picture(gains))
        run.log_json(CALIBRATION_FILE, _without_nan(asdict(report)))
        run.log_bytes(GOLDEN_FILE, bundle.golden.to_json().encode())
        version = _register(run, bundle, registry, {"dataset_fingerprint": training_set.fingerprint})
        seconds = time.perf_counter() - started
        run.log_metrics({"seconds_training": seconds, **{f"gain_{name}": share for name, share in gains.items()}})
    shown: Metadata = {"version": version, "seconds": seconds, "train_rows": learned.rows, "acceptance_method": report.method}
    return CandidateRef(training_set=training_set, version=version), _metadata(shown, None)


def evaluate_candidate(
    candidate: CandidateRef,
    *,
    tracking: Tracking,
    registry: Registry,
    min_improvement: float,
    min_held_out_cases: int,
    replay_gini: ReplayGini | None = None,
) -> tuple[EvaluationRef, Metadata]:
    """Measure candidate, champion and hand weights on the same held-out cases, ask the gate, and close the MLflow run.

    Args:
        candidate: what `train_candidate` returned.
        min_improvement: see `gate.judge`.
        min_held_out_cases: see `gate.judge`.
        replay_gini: replays the marketplace under a ranker; None: nothing is replayed.

    Raises:
        DatasetDamaged: the stored rows are not those that were logged.
        NoGoldenScores, GoldenScoresDiffer: the champion cannot be trusted; a candidate that cannot fails the gate.
        RegistryUnavailable: MLflow cannot be reached.
    """
    run = tracking.resume(candidate.training_set.run_id)
    with run.failing():
        if candidate.version is None:
            return _nothing_to_judge(candidate, run)
        started = time.perf_counter()
        champion = registry.champion()
        rankers: dict[str, Ranker] = {"hand_weights": HandWeights()}
        if champion is not None:
            rankers["champion"] = registry.load(champion)
        try:
            rankers["candidate"] = registry.load(candidate.version)
        except (NoGoldenScores, GoldenScoresDiffer) as error:
            return _unfit(candidate, candidate.version, champion, str(error), run, registry)
        rows = load_training_set(candidate.training_set, tracking).of("held_out")
        measured = {name: evaluate(ranker, rows) for name, ranker in rankers.items()}
        incumbent = "hand_weights" if champion is None else "champion"
        comparison = compare(measured["candidate"], measured[incumbent], rows)
        ginis = [None if replay_gini is None else replay_gini(rankers[name]) for name in ("candidate", incumbent)]
        evidence = _evidence(measured, incumbent, champion, comparison, ginis, min_improvement, min_held_out_cases)
        evidence = evidence.model_copy(update=_weight(rankers["candidate"]))
        result = judge(evidence)
        metrics = _metrics(measured, comparison, rankers["candidate"], rows, ginis, incumbent)
        metrics |= {name: value for name, value in _sizes(evidence).items() if value is not None}
        run.log_metrics({**metrics, "seconds_evaluation": time.perf_counter() - started})
        _note_verdict(run, registry, candidate.version, result, evidence.incumbent)
    ref = EvaluationRef(candidate=candidate, champion=champion, verdict=result.verdict, reasons=result.reasons, evidence=result.evidence)
    known = {name: value for name, value in metrics.items() if not math.isnan(value)}
    return ref, {
        **known,
        "verdict": result.verdict,
        "reasons": "; ".join(result.reasons),
        "version": candidate.version,
        "incumbent": evidence.incumbent,
    }


def load_training_set(ref: TrainingSetRef, tracking: Tracking) -> TrainingSet:
    """The rows behind a hand-over, from this machine or else from the run's artifacts.

    Raises:
        DatasetDamaged: they are not those that were logged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = ref.path
    if not path.is_file():
        path = tracking.resume(ref.run_id).download(f"{DATASET_FOLDER}/{path.name}", path.parent / ".fetched")
    try:
        rows = from_table(pq.read_table(path))
    except (pa.ArrowException, KeyError) as error:
        raise DatasetDamaged(f"{path} cannot be read as a training set ({error}): delete it and build the training set anew") from error
    found = rows.fingerprint()
    if found != ref.fingerprint:
        raise DatasetDamaged(f"{path} has the fingerprint {found}, {ref.fingerprint} was logged: delete it and build the training set anew")
    return rows


def _read(database_url: str, as_of: datetime, labels: Mapping[str, int]) -> tuple[int, TrainingSet]:
    from litgo_pipelines.marketplace.database import open_engine
    from litgo_pipelines.marketplace.match_log import read_matches, reviews_seen

    engine = open_engine(database_url)
    try:
        # Counted first: a review that comes in between counts as new the next time.
        with engine.connect() as connection:
            reviews = reviews_seen(connection, as_of)
    finally:
        engine.dispose()
    return reviews, from_matches(read_matches(database_url, as_of), labels)


def _write_dataset(rows: TrainingSet, path: Path) -> Path:
    """Write whole or not at all: another run may be reading the file of the same fingerprint."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=".parquet")
    os.close(descriptor)
    try:
        pq.write_table(rows.to_table(), partial)
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)
    return path


def _part_rows(rows: TrainingSet) -> dict[str, float]:
    return {f"rows_{name}": float((rows.part == at).sum()) for at, name in enumerate(PARTS)}


def fit_ranker(rows: TrainingSet, *, seed: int, threads: int, rounds: int = ROUNDS) -> tuple[Any, Bundle, CalibrationReport]:
    """Train on the part "train", calibrate on "calibration": the booster, what is registered of it, and how it was calibrated.

    Raises:
        InsufficientData: there is too little to learn from.
    """
    learned = rows.of("train")
    booster = train(learned, seed=seed, threads=threads, rounds=rounds)

    def offered(part: TrainingSet) -> Offered:
        return Offered(part.features, np.asarray(booster.predict(part.features, num_threads=threads)), part.accepted, part.group)

    unscored = Offered(learned.features, np.zeros(learned.rows), learned.accepted, learned.group)
    acceptance, report = fit_acceptance(unscored, offered(rows.of("calibration")), offered(rows.of("held_out")), seed=seed, threads=threads)
    return booster, Bundle.of(booster, acceptance), report


def _register(run: TrackedRun, bundle: Bundle, registry: Registry, tags: Mapping[str, str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        bundle.write(Path(folder))
        return registry.register(run.run_id, Path(folder), tags)


def _no_candidate(training_set: TrainingSetRef, missing: str) -> tuple[CandidateRef, Metadata]:
    return CandidateRef(training_set=training_set, version=None, insufficient=missing), _metadata({}, missing)


def _nothing_to_judge(candidate: CandidateRef, run: TrackedRun) -> tuple[EvaluationRef, Metadata]:
    missing = candidate.insufficient or "no candidate was trained"
    run.set_tags({"verdict": "insufficient data"})
    run.log_json(GATE_FILE, GateResult(verdict="insufficient data", reasons=[missing], evidence={}).model_dump(mode="json"))
    run.finish()
    ref = EvaluationRef(candidate=candidate, champion=None, verdict="insufficient data", reasons=[missing])
    return ref, _metadata({"verdict": "insufficient data"}, missing)


def _note_verdict(run: TrackedRun, registry: Registry, version: str, result: GateResult, incumbent: str) -> None:
    run.log_json(GATE_FILE, result.model_dump(mode="json"))
    run.set_tags({"verdict": result.verdict, "incumbent": incumbent})
    registry.tag(version, {"verdict": result.verdict})
    run.finish()


def _unfit(
    candidate: CandidateRef, version: str, champion: str | None, because: str, run: TrackedRun, registry: Registry
) -> tuple[EvaluationRef, Metadata]:
    """The gate's verdict on a candidate that does not load as it was trained."""
    incumbent = champion or HAND_WEIGHTS_VERSION
    result = judge(
        GateEvidence(
            incumbent=incumbent,
            held_out_cases=0,
            min_held_out_cases=0,
            min_improvement=1.0,
            candidate_ndcg_5=None,
            champion_ndcg_5=None,
            difference_low=None,
            difference_high=None,
            golden=because,
        )
    )
    _note_verdict(run, registry, version, result, incumbent)
    ref = EvaluationRef(candidate=candidate, champion=champion, verdict=result.verdict, reasons=result.reasons, evidence=result.evidence)
    return ref, {"verdict": result.verdict, "reasons": "; ".join(result.reasons), "version": version, "incumbent": incumbent}


def _weight(candidate: Ranker) -> dict[str, float | int]:
    """Size of the candidate's text in bytes, and milliseconds to score 1,000 candidates, the median of some tries."""
    features = np.tile(golden_features(), (math.ceil(_SCORED / len(golden_features())), 1))[:_SCORED]
    tries = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        candidate.acceptance(features, candidate.score(features))
        tries.append(time.perf_counter() - began)
    found: dict[str, float | int] = {"candidate_scoring_ms": round(1000 * float(np.median(tries)), 3)}
    if isinstance(candidate, LightGBMRanker):
        found["candidate_bytes"] = len(candidate.booster.model_to_string().encode())
    return found


def _sizes(evidence: GateEvidence) -> dict[str, float | int | None]:
    return {"candidate_bytes": evidence.candidate_bytes, "candidate_scoring_ms": evidence.candidate_scoring_ms}


def _evidence(
    measured: Mapping[str, Evaluation],
    incumbent: str,
    champion: str | None,
    comparison: Comparison,
    ginis: list[float | None],
    min_improvement: float,
    min_held_out_cases: int,
) -> GateEvidence:
    return GateEvidence(
        incumbent=champion or HAND_WEIGHTS_VERSION,
        held_out_cases=comparison.cases,
        min_held_out_cases=min_held_out_cases,
        min_improvement=min_improvement,
        candidate_ndcg_5=_known(measured["candidate"].means()["ndcg_at_5"]),
        champion_ndcg_5=_known(measured[incumbent].means()["ndcg_at_5"]),
        difference_low=_known(comparison.low),
        difference_high=_known(comparison.high),
        areas=tuple(AreaEvidence(**asdict(area)) for area in comparison.areas),
        candidate_gini=ginis[0],
        champion_gini=ginis[1],
    )


def _metrics(
    measured: Mapping[str, Evaluation],
    comparison: Comparison,
    candidate: Ranker,
    rows: TrainingSet,
    ginis: list[float | None],
    incumbent: str,
) -> dict[str, float]:
    probability = candidate.acceptance(rows.features, candidate.score(rows.features))
    found = {f"{ranker}_{name}": value for ranker, one in measured.items() for name, value in one.means().items()}
    found |= {
        "calibration_error": expected_calibration_error(probability, rows.accepted),
        "judged_cases": comparison.cases,
        "judged_groups": comparison.groups,
        "left_out_groups": comparison.left_out,
        "improvement": comparison.difference,
        "improvement_low": comparison.low,
        "improvement_high": comparison.high,
    }
    return found | {f"{name}_gini": gini for name, gini in zip(("candidate", incumbent), ginis, strict=True) if gini is not None}


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


def _without_nan(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _without_nan(value) for name, value in found.items()}
    return None if isinstance(found, float) and math.isnan(found) else found


def _metadata(found: Mapping[str, float | int | str], insufficient: str | None) -> Metadata:
    return {**found} if insufficient is None else {**found, "insufficient_data": insufficient}
