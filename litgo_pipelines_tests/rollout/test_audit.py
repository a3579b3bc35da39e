"""The auditor's report: the facts it is made of, and the page it becomes."""

from __future__ import annotations

import json
import re
import uuid
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.bulk import copy_rows
from litgo_pipelines.marketplace.tables import FEATURE_COLUMNS
from litgo_pipelines.rollout import candidates, decisions, experiments, freezes, states
from litgo_pipelines.rollout.audit import Facts, UnknownVersion, gate_tests, gather, people, shares
from litgo_pipelines.rollout.audit_page import Controller, audit_page
from litgo_pipelines.rollout.gate import AreaEvidence, GateEvidence, judge
from litgo_pipelines.rollout.readings import keep_reading
from litgo_pipelines.rollout.readout import Arms, ExperimentEvidence, Guardrail, Stratum, Tally, judge_experiment
from litgo_pipelines.rollout.reconcile import reconcile
from litgo_pipelines.rollout.registry import Registry
from litgo_pipelines.rollout.steps import CALIBRATION_FILE, GATE_FILE, build_training_set, train_candidate
from litgo_pipelines.rollout.tracking import Tracking
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.rollout.conftest import NOON

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines_tests.rollout.conftest import House

AREAS = (
    AreaEvidence(area="civil", cases=40, candidate=0.9, champion=0.8),
    AreaEvidence(area="penal", cases=3, candidate=0.1, champion=0.8),
)
GATE = GateEvidence(
    incumbent="1",
    held_out_cases=200,
    min_held_out_cases=50,
    min_improvement=1.05,
    candidate_ndcg_5=0.9,
    champion_ndcg_5=0.8,
    difference_low=0.05,
    difference_high=0.15,
    areas=AREAS,
    candidate_gini=0.2,
    champion_gini=0.25,
)
OFFICE = Controller("Banca & Filhos", "dpo@example.com")
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """What a browser would see: tags, attributes and text; unbalanced tags are an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "background")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def facts(house: House, version: str) -> Facts:
    tracking = Tracking(house.registry.uri)
    with house.engine.connect() as connection:
        return gather(connection, house.registry, tracking, version, as_of=house.clock())


def read(found: Facts) -> Reader:
    page = audit_page(found, OFFICE)
    assert "url(" not in page
    assert "@import" not in page
    return Reader(page)


def settings(**changes: Any) -> Any:
    return load_settings(**{"litgo_ramp": [25.0, 50.0], "litgo_ramp_hours": 0.0, **changes})


def log_training(house: House, version: str) -> None:
    """What a training leaves in MLflow, beside the bundle."""
    run_id = next(one.run_id for one in house.registry.versions() if one.version == version)
    assert run_id is not None
    run = Tracking(house.registry.uri).resume(run_id)
    run.log_parameters({"as_of": "2026-03-09T12:00:00+00:00", "dataset_fingerprint": "f" * 64, "labels": {"lost": 0, "won": 3}, "seed": 7})
    run.log_metrics({"rows": 1234.0, "cases": 321.0, "groups": 400.0, "gain_a": 0.25, "gain_g": 0.75})
    run.log_json(GATE_FILE, judge(GATE).model_dump(mode="json"))
    run.log_json(
        CALIBRATION_FILE, {"method": "platt", "log_loss": {"platt": 0.2}, "score_error": 0.012, "features_error": None, "error": 0.012}
    )


def reading(units: int) -> ExperimentEvidence:
    def tally(rate: float) -> Tally:
        return Tally(units=units, conversions=int(units * rate), total=units * rate, squares=units * rate * 0.7)

    stratum = Stratum(step=0, share=0.5, exposed=(units, units), metrics={"accepted": Arms(control=tally(0.3), treatment=tally(0.36))})
    guardrail = Guardrail(name="latency p95 (ms)", control=100.0, treatment=110.0, most_ratio=1.5)
    given: dict[str, Any] = {"champion": "1", "challenger": "2", "days": units / 100, "max_days": 28, "guardrails": (guardrail,)}
    return ExperimentEvidence(mode="ab", strata=(stratum,), **given)


def run_experiment(house: House) -> experiments.Experiment:
    """Version 2 on trial against version 1, read three times."""
    house.promote("1", None)
    candidates.put_on_trial(house.engine, house.registry, settings(), "2", "1", judge(GATE).evidence, reason="it passed", clock=house.clock)
    with house.engine.connect() as connection:
        found = experiments.running(connection)
    assert found is not None
    with house.engine.begin() as connection:
        for variant in ("control", "treatment"):
            row = {"e": found.id, "c": uuid.uuid4(), "v": variant, "r": uuid.uuid4(), "at": house.clock()}
            connection.execute(text("INSERT INTO litgo.exposures VALUES (:e, :c, :v, 0, :r, :at)"), row)
    for units in (200, 600, 1200):
        house.clock.pass_by(days=1)
        with house.engine.begin() as connection:
            keep_reading(connection, found, judge_experiment(reading(units)), at=house.clock())
    return found


def test_a_version_of_which_nothing_is_known_is_reported_all_the_same(house: House) -> None:
    """Registered and nothing else: every section that has no facts says so, and none invents any."""
    told = read(facts(house, "3")).text
    for sentence in (
        "Não há registro dos dados",
        "Não há registro de calibração",
        "Não há registro de comparação prévia",
        "Não houve experimento.",
        "Nenhum pedido respondido",
        "Não há decisões registradas",
        "Nenhuma pessoa tomou decisão registrada",
        "não atende nenhum cliente",
    ):
        assert sentence in told
    assert not re.search(r"\bNone\b|\bnan\b|\{\}", told)


def test_a_version_that_is_not_there_is_said_so(house: House) -> None:
    """The message says how to see which there are."""
    with pytest.raises(UnknownVersion, match="litgo model list"):
        facts(house, "99")


def test_the_whole_story_of_a_version_stands_on_one_page(house: House) -> None:
    """Training, gate, experiment with its pictures, decisions, people, freeze and how to check it; nothing is fetched, nothing runs."""
    log_training(house, "2")
    run_experiment(house)
    with house.engine.begin() as connection:
        freezes.freeze(connection, actor="Rui", reason="auditoria", at=house.clock() + timedelta(days=400))
    house.promote("2", "1", by_itself=False, actor="Ana <script>alert(1)</script>", reason="escolha & motivo", evidence={})
    page = read(facts(house, "2"))
    assert not {"script", "link", "iframe", "object", "form"} & page.tags
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert sum(link.startswith("data:") for link in page.links) == 2
    for piece in (
        "Banca & Filhos",
        "Ana <script>alert(1)</script>",
        "escolha & motivo",
        "321 casos",
        "0,9000 0,8000 > 0,8400 passou",
        "área civil, 40 casos",
        "não são testadas em separado: penal",
        "0,0120 (dentro do tolerado)",
        "1.200 / 1.200",
        "disputam os mesmos advogados",
        "Congelamento por Rui",
        "litgo model replay",
        "atende 100% dos clientes",
        "f" * 64,
    ):
        assert piece in page.text, piece


def test_a_change_that_nobody_explained_is_pointed_out(house: House) -> None:
    """Done in MLflow's own pages: a warning on top, until somebody says why."""
    house.promote("1", None)
    house.move("2")
    (moved,) = reconcile(house.engine, house.registry, clock=house.clock).recorded
    found = facts(house, "2")
    assert found.unexplained == (moved.id,)
    assert f"sem explicação até esta data (decisão {moved.id})" in read(found).text
    with house.engine.begin() as connection:
        decisions.annotate(connection, moved.id, actor="Ana", reason="hotfix", at=house.clock())
    after = facts(house, "2")
    assert after.unexplained == ()
    assert "sem explicação" not in read(after).text
    assert [(one.name, set(one.acts)) for one in people(after.decisions)] == [("mlflow-ui", {"alias moved"}), ("Ana", {"annotation"})]


def test_what_answers_how_many_clients(house: House) -> None:
    """In an experiment the challenger has its step's share and the champion the rest; without a champion the hand weights answer."""
    assert shares(None, None) == {"hand-weights": 1.0}
    found = run_experiment(house)
    assert shares("1", found) == {"1": 0.75, "2": 0.25}
    assert (facts(house, "1").share, facts(house, "2").share, facts(house, "3").share) == (0.75, 0.25, 0.0)


def test_use_and_watch_are_told_of_a_champion_that_was_withdrawn(house: House) -> None:
    """When it answered, what it was compared with, and why it went; the gate is told from the decision where MLflow has none."""
    with house.engine.begin() as connection:
        gate = judge(GATE)
        decisions.record(
            connection, "gate", actor=decisions.GATE, reason="x", at=house.clock(), result="pass", to_version="2", evidence=gate.evidence
        )
    house.prove("1")
    house.promote("2", "1")
    with house.engine.begin() as connection:
        states.set_reference(connection, "2", {"mean": 0.4321, "sd": 0.1, "count": 512, "space": "s"})
    running = read(facts(house, "2")).text
    assert "chance média de 43,2%, de 512 decisões" in running
    assert "Foi aprovada na comparação prévia, em que foi medida contra a versão 1" in running
    assert "até hoje" in running
    house.roll_back("2", reason="fell to .7")
    told = read(facts(house, "2"))
    assert "esta versão está bloqueada" in told.text
    assert "retorno a outra versão: feita" in told.text
    assert "até hoje" not in told.text
    assert "quem responde é a versão 1" in told.text


def test_readings_become_the_curve_of_an_experiment(house: House) -> None:
    """Each look is there with its figures; the newest decision's verdict is computed anew."""
    run_experiment(house)
    (trial,) = facts(house, "2").trials
    assert [figures[0].units for _, figures in trial.readouts] == [(200, 200), (600, 600), (1200, 1200)]
    assert trial.exposed == {(0, "control"): 1, (0, "treatment"): 1}
    assert trial.result is not None
    assert trial.result.verdict == "promote"


@given(
    candidate=st.floats(0, 1),
    champion=st.floats(0, 1),
    low=st.floats(-1, 1),
    improvement=st.sampled_from([1.0, 1.05, 1.3]),
    cases=st.integers(0, 60),
    gini=st.none() | st.floats(0, 1),
    areas=st.lists(
        st.builds(AreaEvidence, area=st.just("x"), cases=st.integers(0, 60), candidate=st.floats(0, 1), champion=st.floats(0, 1)),
        max_size=3,
    ),
)
def test_the_tests_shown_agree_with_the_gate(
    candidate: float, champion: float, low: float, improvement: float, cases: int, gini: float | None, areas: list[AreaEvidence]
) -> None:
    """The table passes in all its lines exactly where the gate passes, and is empty exactly where it has too little to say anything."""
    changes = {"candidate_ndcg_5": candidate, "champion_ndcg_5": champion, "difference_low": low, "min_improvement": improvement}
    evidence = GATE.model_copy(update={**changes, "held_out_cases": cases, "candidate_gini": gini, "areas": tuple(areas)})
    shown, verdict = gate_tests(evidence), judge(evidence).verdict
    assert (not shown) == (verdict == "insufficient data")
    if shown:
        assert all(one.passed for one in shown) == (verdict == "pass")
    json.dumps([one.figure for one in shown], allow_nan=False)


def write_history(engine: Engine, cases: int = 120, size: int = 5) -> None:
    """Imported matches, a case a day, whose outcomes follow two of the features."""
    generator = np.random.default_rng(0)
    features = generator.random((cases * size, 8))
    outcome = np.digitize(features[:, 7] + 0.6 * features[:, 6] + generator.normal(0, 0.1, cases * size), [0.5, 0.8, 1.1])
    rows = []
    for at, values in enumerate(features.tolist()):
        moment = NOON + timedelta(days=at // size - cases)
        case, label = uuid.UUID(int=at // size), ("lost", "declined", "accepted", "won")[outcome[at]]
        rows.append(["match", case, uuid.uuid4(), *values, label, moment, moment, "civil", at % size + 1])
    columns = ["event", "case_id", "lawyer_id", *FEATURE_COLUMNS, "label", "occurred_at", "ordered_at", "area", "position"]
    with engine.begin() as connection:
        copy_rows(connection, tables.match_history, columns, rows)


def test_the_training_data_are_found_again_and_compared(database_url: str, engine: Engine, mlflow_uri: str, tmp_path: Path) -> None:
    """The logged file is fetched and its fingerprint computed anew; a file that was changed since is pointed out."""
    tracking, registry = Tracking(mlflow_uri, (tmp_path / "artifacts").as_uri()), Registry(mlflow_uri)
    write_history(engine)
    built, _ = build_training_set(
        database_url=database_url,
        as_of=NOON,
        labels={"lost": 0, "declined": 1, "accepted": 2, "won": 3},
        held_out_share=0.2,
        embargo_days=7.0,
        pseudonym_key=b"key",
        datasets_folder=tmp_path / "datasets",
        tracking=tracking,
    )
    train_candidate(built, seed=0, threads=1, tracking=tracking, registry=registry)
    with engine.connect() as connection:
        found = gather(connection, registry, tracking, "1", as_of=NOON).data
    assert found is not None
    assert found.found == found.fingerprint == built.fingerprint
    assert (found.rows, found.cases, sum(rows for rows, _ in found.parts.values())) == (600, 120, 600)
    assert (found.first, found.last) == (NOON - timedelta(days=120), NOON - timedelta(days=1))
    (file,) = (tmp_path / "artifacts").rglob("dataset/*.parquet")
    pq.write_table(pq.read_table(file).slice(5), file)
    with engine.connect() as connection:
        changed = gather(connection, registry, tracking, "1", as_of=NOON)
    assert "não é o que foi registrado" in read(changed).text
