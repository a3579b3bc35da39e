"""From facts to a promoted version, on a real database and a real MLflow store."""

from __future__ import annotations

import csv
import itertools
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import lightgbm
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import ArrayLike, NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import ndcg_score
from sqlalchemy import Engine

from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.bulk import copy_rows
from litgo_pipelines.marketplace.tables import FEATURE_COLUMNS, FEATURES
from litgo_pipelines.ranking.ranker import HandWeights, LightGBMRanker, Ranker
from litgo_pipelines.ranking.training_set import DatasetDamaged
from litgo_pipelines.rollout import decisions
from litgo_pipelines.rollout.bundle import ACCEPTANCE_FILE, GOLDEN_FILE, GoldenScoresDiffer
from litgo_pipelines.rollout.candidates import after_the_gate, note_gate
from litgo_pipelines.rollout.gate import GateEvidence, judge
from litgo_pipelines.rollout.handovers import CandidateRef, EvaluationRef, Metadata, PromotionResult, TrainingSetRef
from litgo_pipelines.rollout.registry import MODEL, Registry
from litgo_pipelines.rollout.steps import GATE_FILE, build_training_set, evaluate_candidate, train_candidate
from litgo_pipelines.rollout.tracking import Tracking
from litgo_pipelines.settings import PROJECT_FOLDER, load_settings

LABELS = {"lost": 0, "declined": 1, "accepted": 2, "won": 3}
NAMES = ("lost", "declined", "accepted", "won")
START = datetime(2026, 1, 1, tzinfo=UTC)
JURISTCU = PROJECT_FOLDER.parent / "shared" / "data" / "juristcu_dev.csv"


def write_history(engine: Engine, features: NDArray[np.floating[Any]], outcome: NDArray[np.integer[Any]], case: NDArray[np.int64]) -> None:
    """Import matches, one event a case, the cases a day apart, areas in turn; every third case without positions."""
    columns = ["event", "case_id", "lawyer_id", *FEATURE_COLUMNS, "label", "occurred_at", "ordered_at", "area", "position"]
    ids = [uuid.uuid4() for _ in range(int(case.max()) + 1)]
    rows = []
    for at in range(len(case)):
        moment = START + timedelta(days=int(case[at]))
        values = [None if np.isnan(value) else float(value) for value in features[at]]
        area = ("civil", "penal")[int(case[at]) % 2]
        position = None if case[at] % 3 == 2 else int((case[: at + 1] == case[at]).sum())
        rows.append(["match", ids[case[at]], uuid.uuid4(), *values, NAMES[outcome[at]], moment, moment, area, position])
    with engine.begin() as connection:
        copy_rows(connection, tables.match_history, columns, rows)


def write_learnable_history(engine: Engine, cases: int = 280, size: int = 5, seed: int = 0, *, shuffled: bool = False) -> None:
    """History whose outcomes follow what the hand weights hold in least regard; shuffled, they follow nothing."""
    generator = np.random.default_rng(seed)
    features = generator.random((cases * size, 8))
    worth = features[:, 7] + 0.6 * features[:, 6] + generator.normal(0, 0.1, len(features))
    outcome = np.digitize(worth, [0.5, 0.8, 1.1])
    write_history(engine, features, generator.permutation(outcome) if shuffled else outcome, np.arange(len(features)) // size)


@dataclass
class Rollout:
    """The three steps with the settings of a test, and what is done about their verdict."""

    engine: Engine
    database_url: str
    tracking: Tracking
    registry: Registry
    folder: Path
    seed: int = 0

    def build(self, **changes: Any) -> tuple[TrainingSetRef, Metadata]:
        given: dict[str, Any] = {
            "database_url": self.database_url,
            "as_of": START + timedelta(days=3000),
            "labels": LABELS,
            "held_out_share": 0.2,
            "embargo_days": 7.0,
            "pseudonym_key": b"test key",
            "datasets_folder": self.folder,
            "tracking": self.tracking,
        }
        return build_training_set(**(given | changes))

    def train(self, ref: TrainingSetRef) -> tuple[CandidateRef, Metadata]:
        return train_candidate(ref, seed=self.seed, threads=1, tracking=self.tracking, registry=self.registry)

    def evaluate(self, candidate: CandidateRef, **changes: Any) -> tuple[EvaluationRef, Metadata]:
        given: dict[str, Any] = {"tracking": self.tracking, "registry": self.registry, "min_improvement": 1.05, "min_held_out_cases": 50}
        return evaluate_candidate(candidate, **(given | changes))

    def promote(self, evaluation: EvaluationRef) -> PromotionResult:
        return after_the_gate(self.engine, self.registry, load_settings(), evaluation, clock=lambda: datetime.now(UTC))

    def all(self) -> PromotionResult:
        return self.promote(self.evaluate(self.train(self.build()[0])[0])[0])


@pytest.fixture
def rollout(engine: Engine, database_url: str, mlflow_uri: str, tmp_path: Path) -> Rollout:
    tracking = Tracking(mlflow_uri, (tmp_path / "artifacts").as_uri())
    return Rollout(engine, database_url, tracking, Registry(mlflow_uri), tmp_path / "datasets")


def outsiders_ndcg(rollout: Rollout, run_id: str, folder: Path) -> float:
    """NDCG@5 of a model that plain LightGBM trains from nothing but the run's artifact and parameters."""
    client = rollout.tracking.client
    (logged,) = client.list_artifacts(run_id, "dataset")
    table = pq.read_table(client.download_artifacts(run_id, logged.path, str(folder))).to_pandas()
    parameters = dict(client.get_run(run_id).data.params)
    learned = table[table["split"] == "train"]
    data = lightgbm.Dataset(
        learned[list(FEATURES)],
        label=learned["label"],
        group=learned.groupby("group", sort=True).size(),
        position=learned["position"].fillna(0).astype(int) if parameters["uses_position"] == "True" else None,
    )
    names = ("objective", "learning_rate", "num_leaves", "min_data_in_leaf", "lambdarank_truncation_level", "seed", "deterministic")
    given: dict[str, Any] = {name: parameters[name] for name in (*names, "force_row_wise", "lambdarank_position_bias_regularization")}
    given |= {name: json.loads(parameters[name]) for name in ("label_gain", "monotone_constraints")}
    booster = lightgbm.train(given | {"verbosity": -1, "num_threads": 1}, data, num_boost_round=int(parameters["num_boost_round"]))
    held_out = table[table["split"] == "held_out"].copy()
    held_out["score"] = booster.predict(held_out[list(FEATURES)])
    groups = [rows for _, rows in held_out.groupby("group") if rows["label"].nunique() > 1]
    return float(np.mean([ndcg_score([rows["label"]], [rows["score"]], k=5) for rows in groups]))


def test_a_better_model_is_trained_judged_and_promoted(rollout: Rollout, engine: Engine, tmp_path: Path) -> None:
    """Without a champion a candidate that beats the hand weights passes, becomes champion, and answers; its run tells everything."""
    write_learnable_history(engine)
    ref, shown = rollout.build(tags={"dagster_run_id": "abc"})
    assert (ref.rows, ref.cases, ref.held_out_cases, ref.insufficient) == (1400, 280, 56, None)
    assert shown["rows"] == 1400
    candidate, _ = rollout.train(ref)
    assert rollout.registry.champion() is None
    evaluation, shown = rollout.evaluate(candidate)
    assert (evaluation.verdict, evaluation.champion) == ("pass", None)
    assert float(shown["candidate_ndcg_at_5"]) > float(shown["hand_weights_ndcg_at_5"]) * 1.05
    result = rollout.promote(evaluation)
    assert (result.outcome, result.verdict, result.version, result.previous) == ("promoted", "pass", "1", None)
    assert rollout.registry.champion() == candidate.version == "1"
    run = rollout.tracking.client.get_run(ref.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["verdict"] == "pass"
    assert run.data.tags["dagster_run_id"] == "abc"
    assert rollout.registry.versions()[0].tags["verdict"] == "pass"
    assert {
        *(f"{who}_{what}" for who in ("candidate", "hand_weights") for what in ("ndcg_at_5", "ndcg_at_10", "precision_at_5")),
        *("calibration_error", "rows", "groups", "held_out_cases", "judged_cases", "seconds_training", "improvement_low"),
    } <= set(run.data.metrics)
    assert {"dataset_fingerprint", "num_boost_round", "learning_rate", "labels", "held_out_share"} <= set(run.data.params)
    files = {one.path for one in rollout.tracking.client.list_artifacts(ref.run_id)}
    assert {"gate.json", "golden_scores.json", "feature_importance.png", "calibration.json", "dataset", "model"} <= files


def test_an_outsider_finds_the_same_ndcg(rollout: Rollout, engine: Engine, tmp_path: Path) -> None:
    """Plain `lightgbm.train` on the logged data, split and parameters gives the logged NDCG@5 within 1e-9."""
    write_learnable_history(engine)
    ref, _ = rollout.build()
    _, shown = rollout.evaluate(rollout.train(ref)[0])
    assert outsiders_ndcg(rollout, ref.run_id, tmp_path) == pytest.approx(shown["candidate_ndcg_at_5"], abs=1e-9)


def test_the_same_data_again_give_the_same_model_and_no_promotion(rollout: Rollout, engine: Engine) -> None:
    """A second training on the same facts has the same fingerprint, equals the champion, and fails without being an error."""
    write_learnable_history(engine)
    assert rollout.all().outcome == "promoted"
    again, _ = rollout.build()
    evaluation, shown = rollout.evaluate(rollout.train(again)[0])
    assert again.fingerprint == rollout.build()[0].fingerprint
    assert (evaluation.verdict, evaluation.champion) == ("fail", "1")
    assert shown["candidate_ndcg_at_5"] == shown["champion_ndcg_at_5"]
    result = rollout.promote(evaluation)
    assert (result.outcome, rollout.registry.champion()) == ("not promoted", "1")


def test_an_alias_moved_since_the_verdict_supersedes_it(rollout: Rollout, engine: Engine) -> None:
    """Somebody who promoted another version after the candidate was judged keeps it; the step succeeds and says so."""
    write_learnable_history(engine)
    first, _ = rollout.train(rollout.build()[0])
    evaluation, _ = rollout.evaluate(rollout.train(rollout.build()[0])[0])
    assert evaluation.verdict == "pass"
    assert first.version is not None
    rollout.registry.promote(first.version, None)
    result = rollout.promote(evaluation)
    assert (result.outcome, rollout.registry.champion()) == ("superseded", first.version)


@pytest.mark.parametrize("cases", [0, 2])
def test_too_little_history_flows_through_as_a_verdict(rollout: Rollout, engine: Engine, cases: int) -> None:
    """With next to nothing to learn from, every step succeeds, no version is made, and the verdict is "insufficient data"."""
    if cases:
        write_learnable_history(engine, cases=cases)
    ref, shown = rollout.build()
    assert ref.insufficient is not None
    assert "insufficient_data" in shown
    candidate, _ = rollout.train(ref)
    evaluation, _ = rollout.evaluate(candidate)
    result = rollout.promote(evaluation)
    assert (candidate.version, evaluation.verdict, result.outcome) == (None, "insufficient data", "not promoted")
    assert rollout.registry.versions() == []
    assert rollout.tracking.client.get_run(ref.run_id).info.status == "FINISHED"


def test_requests_without_two_outcomes_are_insufficient(rollout: Rollout, engine: Engine) -> None:
    """Where every request ended the same way for all its lawyers there is nothing to learn: a verdict, and a finished run."""
    case = np.arange(200) // 2
    write_history(engine, np.random.default_rng(0).random((200, 8)), case % 4, case)
    ref, _ = rollout.build()
    assert ref.insufficient is None
    evaluation, _ = rollout.evaluate(rollout.train(ref)[0])
    assert evaluation.verdict == "insufficient data"
    assert rollout.tracking.client.get_run(ref.run_id).info.status == "FINISHED"


def test_few_held_out_cases_are_insufficient_however_good_the_model(rollout: Rollout, engine: Engine) -> None:
    """A model that is far better on 12 held-out cases is registered and not promoted."""
    write_learnable_history(engine, cases=60)
    evaluation, _ = rollout.evaluate(rollout.train(rollout.build()[0])[0])
    assert evaluation.verdict == "insufficient data"
    assert rollout.promote(evaluation).outcome == "not promoted"
    assert rollout.registry.versions()[0].tags["verdict"] == "insufficient data"


@pytest.mark.parametrize("seed", range(5))
def test_a_candidate_trained_on_shuffled_labels_never_passes(rollout: Rollout, engine: Engine, seed: int) -> None:
    """What follows nothing cannot be learned, and the gate is not taken in by chance."""
    write_learnable_history(engine, seed=seed, shuffled=True)
    evaluation, _ = rollout.evaluate(rollout.train(rollout.build()[0])[0], min_improvement=1.0)
    assert (evaluation.verdict, evaluation.candidate.version) == ("fail", "1")
    assert evaluation.reasons[0].startswith("NDCG@5"), "judged by its ranking"
    assert rollout.promote(evaluation).outcome == "not promoted"
    assert rollout.registry.champion() is None


def stored(registry: Registry, version: str, name: str) -> Path:
    """A file of a version where MLflow keeps it."""
    folder = Path(unquote(urlsplit(registry.client.get_model_version_download_uri(MODEL, version)).path))
    (file,) = folder.rglob(name)
    return file


def spoil(registry: Registry, version: str) -> None:
    """Change one golden score of a version after it was registered."""
    file = stored(registry, version, GOLDEN_FILE)
    golden = json.loads(file.read_text())
    golden["raw"][5] += 0.01
    file.write_text(json.dumps(golden))


@pytest.mark.parametrize("gone", [None, GOLDEN_FILE, ACCEPTANCE_FILE])
def test_a_candidate_that_does_not_load_as_it_was_trained_fails_the_gate(rollout: Rollout, engine: Engine, gone: str | None) -> None:
    """However good it is: a verdict with its reason, a finished run, and a decision that can be computed again."""
    write_learnable_history(engine)
    ref, _ = rollout.build()
    candidate, _ = rollout.train(ref)
    assert candidate.version is not None
    if gone is None:
        spoil(rollout.registry, candidate.version)
    else:
        stored(rollout.registry, candidate.version, gone).unlink()
    evaluation, shown = rollout.evaluate(candidate)
    assert (evaluation.verdict, shown["verdict"], shown["incumbent"]) == ("fail", "fail", "hand-weights")
    (reason,) = evaluation.reasons
    assert ("raw score of golden row 5 differs" if gone is None else f"carries no {gone}") in reason
    assert rollout.promote(evaluation).outcome == "not promoted"
    assert rollout.registry.champion() is None
    run = rollout.tracking.client.get_run(ref.run_id)
    assert (run.info.status, run.data.tags["verdict"]) == ("FINISHED", "fail")
    assert rollout.registry.versions()[0].tags["verdict"] == "fail"
    assert judge(GateEvidence.model_validate(evaluation.evidence)).reasons == evaluation.reasons


def test_a_champion_that_does_not_load_as_it_was_trained_fails_the_run(rollout: Rollout, engine: Engine) -> None:
    """Nothing can be told by comparison with it: that is a fault, and no verdict about the candidate."""
    write_learnable_history(engine)
    assert rollout.all().outcome == "promoted"
    spoil(rollout.registry, "1")
    # Another machine, that has not loaded it yet.
    rollout.registry = Registry(rollout.registry.uri)
    ref, _ = rollout.build()
    candidate, _ = rollout.train(ref)
    with pytest.raises(GoldenScoresDiffer, match="version 1"):
        rollout.evaluate(candidate)
    assert rollout.tracking.client.get_run(ref.run_id).info.status == "FAILED"


def test_what_the_gate_judges_by_is_measured_and_the_decision_recorded(rollout: Rollout, engine: Engine, tmp_path: Path) -> None:
    """Size and time of the candidate among it; the row of the history, like the file in MLflow, gives verdict and reasons again."""
    write_learnable_history(engine)
    ref, _ = rollout.build()
    evaluation, shown = rollout.evaluate(rollout.train(ref)[0])
    at = datetime.now(UTC)
    note_gate(engine, evaluation, at=at, run_id="abc")
    with engine.connect() as connection:
        (decision,) = decisions.history(connection, 10)
    assert (decision.action, decision.actor, decision.result) == ("gate", "candidate_evaluation", "pass")
    assert (decision.from_version, decision.to_version, decision.dagster_run_id, decision.decided_at) == (None, "1", "abc", at)
    evidence = GateEvidence.model_validate(decision.evidence)
    text = stored(rollout.registry, "1", "model.lgb").read_bytes()
    assert evidence.candidate_bytes == shown["candidate_bytes"] == pytest.approx(len(text), rel=0.01)
    assert evidence.candidate_scoring_ms is not None
    assert evidence.candidate_scoring_ms > 0
    again = judge(evidence)
    assert (again.verdict, "; ".join(again.reasons), again.evidence) == (decision.result, decision.reason, decision.evidence)
    logged = rollout.tracking.resume(ref.run_id).download(GATE_FILE, tmp_path / "gate")
    assert json.loads(logged.read_text()) == again.model_dump(mode="json")


def test_without_a_candidate_the_gate_decided_nothing(rollout: Rollout, engine: Engine) -> None:
    """Too little data leaves no row about a version that does not exist."""
    evaluation, _ = rollout.evaluate(rollout.train(rollout.build()[0])[0])
    note_gate(engine, evaluation, at=datetime.now(UTC))
    with engine.connect() as connection:
        assert decisions.history(connection, 10) == []


def test_a_replay_that_spreads_load_worse_fails_the_candidate(rollout: Rollout, engine: Engine) -> None:
    """The replay is asked about candidate and incumbent; a Gini that does not hold turns a pass into a fail, and is logged."""
    write_learnable_history(engine)
    asked: list[Ranker] = []

    def replay(ranker: Ranker) -> float:
        asked.append(ranker)
        return 0.4 if isinstance(ranker, LightGBMRanker) else 0.2

    ref, _ = rollout.build()
    evaluation, shown = rollout.evaluate(rollout.train(ref)[0], replay_gini=replay)
    assert evaluation.verdict == "fail"
    assert [type(one) for one in asked] == [LightGBMRanker, HandWeights]
    assert (shown["candidate_gini"], shown["hand_weights_gini"]) == (0.4, 0.2)


def test_hand_overs_survive_json(rollout: Rollout, engine: Engine) -> None:
    """Each step works from a hand-over that went through JSON, as between two processes."""
    write_learnable_history(engine)
    ref = TrainingSetRef.model_validate_json(rollout.build()[0].model_dump_json())
    candidate = CandidateRef.model_validate_json(rollout.train(ref)[0].model_dump_json())
    evaluation = EvaluationRef.model_validate_json(rollout.evaluate(candidate)[0].model_dump_json())
    result = rollout.promote(evaluation)
    assert PromotionResult.model_validate_json(result.model_dump_json()) == result
    assert result.outcome == "promoted"


def test_another_machine_fetches_the_training_set(rollout: Rollout, engine: Engine) -> None:
    """Without the local file the rows come from the run's artifacts."""
    write_learnable_history(engine)
    ref, _ = rollout.build()
    ref.path.unlink()
    assert rollout.train(ref)[0].version == "1"


def test_a_changed_training_set_is_refused_and_the_run_fails(rollout: Rollout, engine: Engine) -> None:
    """A stored set that is not the one that was logged raises, says what to do, and marks the run as failed."""
    write_learnable_history(engine)
    ref, _ = rollout.build()
    table = pq.read_table(ref.path)
    pq.write_table(table.slice(0, table.num_rows - 1), ref.path)
    with pytest.raises(DatasetDamaged, match="build the training set anew"):
        rollout.train(ref)
    assert rollout.tracking.client.get_run(ref.run_id).info.status == "FAILED"


def test_no_id_of_the_marketplace_is_logged(rollout: Rollout, engine: Engine) -> None:
    """The logged set holds neither a case's nor a lawyer's id."""
    write_learnable_history(engine, cases=60)
    ref, _ = rollout.build()
    with engine.connect() as connection:
        history = tables.match_history.c
        known = {
            one.hex
            for row in connection.execute(history.case_id.table.select().with_only_columns(history.case_id, history.lawyer_id))
            for one in row
        }
    table = pq.read_table(ref.path)
    assert len(known) > 300
    assert known.isdisjoint(table["case"].to_pylist())
    assert known.isdisjoint(table["lawyer"].to_pylist())


def _juristcu() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Portuguese legal queries and judged documents as eight features of 0..1, relevance 0..3, and the query's number."""
    with JURISTCU.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = {query: at for at, query in enumerate(dict.fromkeys(row["query_id"] for row in rows))}
    case = np.array([numbers[row["query_id"]] for row in rows])
    queries, texts = [row["query_text"] for row in rows], [row["doc_text"] for row in rows]

    def cosine(**options: Any) -> NDArray[np.float64]:
        model = TfidfVectorizer(**options).fit(texts)
        return np.asarray(model.transform(queries).multiply(model.transform(texts)).sum(axis=1)).ravel()

    words = [(set(query.lower().split()), text.lower().split()) for query, text in zip(queries, texts, strict=True)]
    overlap = [len(query & set(text)) / len(query) for query, text in words]
    first = [len(query & set(text[:20])) / len(query) for query, text in words]
    density = [min(1.0, 10 * sum(word in query for word in text) / max(1, len(text))) for query, text in words]
    length = [min(1.0, len(text) / 150) for _, text in words]
    columns: list[ArrayLike] = [
        overlap,
        cosine(sublinear_tf=True),
        cosine(ngram_range=(1, 2)),
        cosine(analyzer="char_wb", ngram_range=(3, 5)),
        first,
        density,
        length,
        [float(query in text) for query, text in zip(map(str.lower, queries), map(str.lower, texts), strict=True)],
    ]
    return (
        np.clip(np.column_stack([np.asarray(column) for column in columns]), 0, 1),
        np.array([int(row["relevance"]) for row in rows]),
        case,
    )


@pytest.mark.skipif(not JURISTCU.is_file(), reason="the judged queries of JurisTCU are not here")
def test_on_real_portuguese_queries_the_pipeline_agrees_with_plain_lightgbm(rollout: Rollout, engine: Engine, tmp_path: Path) -> None:
    """On 102 judged legal queries the logged NDCG@5 is that of plain LightGBM, and lies above that of a shuffled order."""
    features, relevance, case = _juristcu()
    write_history(engine, features, relevance, case)
    ref, _ = rollout.build()
    evaluation, shown = rollout.evaluate(rollout.train(ref)[0], min_held_out_cases=10)
    assert outsiders_ndcg(rollout, ref.run_id, tmp_path) == pytest.approx(shown["candidate_ndcg_at_5"], abs=0.01)
    assert ref.cases == 102
    generator = np.random.default_rng(0)
    by_query = [relevance[list(rows)] for _, rows in itertools.groupby(range(len(case)), key=lambda at: case[at])]
    chance = np.mean([ndcg_score([own], [generator.random(own.size)], k=5) for own in by_query if np.unique(own).size > 1])
    assert float(shown["candidate_ndcg_at_5"]) > chance + 0.1
    assert evaluation.verdict in {"pass", "fail"}
