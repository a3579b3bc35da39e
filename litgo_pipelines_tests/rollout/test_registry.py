"""Versions, the alias `champion`, and what happens when MLflow is away, on real stores."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import lightgbm
import numpy as np
import pytest

from litgo_pipelines.ranking.calibration import Acceptance
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines.rollout.bundle import EXTRA_FILES, Bundle, GoldenScoresDiffer, NoGoldenScores
from litgo_pipelines.rollout.registry import CHAMPION, MODEL, Registry, RegistryUnavailable, Superseded
from litgo_pipelines.rollout.tracking import EXPERIMENT, Tracking


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    features = np.random.default_rng(0).random((300, 8)).astype(np.float32)
    data = lightgbm.Dataset(features, label=np.digitize(features[:, 0], [0.3, 0.7]), group=[10] * 30)
    booster = lightgbm.train({"objective": "lambdarank", "verbosity": -1, "num_threads": 1}, data, num_boost_round=10)
    folder = tmp_path_factory.mktemp("bundle")
    Bundle.of(booster, Acceptance("platt", x=(1.0, 0.0))).write(folder)
    return folder


@pytest.fixture
def tracking(mlflow_uri: str, tmp_path: Path) -> Tracking:
    return Tracking(mlflow_uri, (tmp_path / "artifacts").as_uri())


@pytest.fixture
def registry(mlflow_uri: str) -> Registry:
    return Registry(mlflow_uri)


def _registered(tracking: Tracking, registry: Registry, folder: Path) -> str:
    return registry.register(tracking.start_run({}).run_id, folder, {"dataset_fingerprint": "abc"})


def test_without_any_version_there_is_no_champion(registry: Registry) -> None:
    """An empty registry has no champion and no versions: both are answers, not errors."""
    assert registry.champion() is None
    assert registry.versions() == []


def test_a_version_is_no_champion_until_it_is_promoted(tracking: Tracking, registry: Registry, bundle_folder: Path) -> None:
    """Registering counts up and moves no alias; promoting moves it; the list tells both, newest first."""
    assert [_registered(tracking, registry, bundle_folder) for _ in range(2)] == ["1", "2"]
    assert registry.champion() is None
    registry.promote("1", None)
    registry.promote("2", "1")
    assert registry.champion() == "2"
    assert [(one.version, one.aliases) for one in registry.versions()] == [("2", (CHAMPION,)), ("1", ())]
    assert registry.versions()[0].tags == {"dataset_fingerprint": "abc"}


def test_what_answers_is_the_champion_or_else_the_hand_weights(tracking: Tracking, registry: Registry, bundle_folder: Path) -> None:
    """A version that is not promoted does not answer; one whose alias is taken away no longer does."""
    assert isinstance(registry.answering(), HandWeights)
    version = _registered(tracking, registry, bundle_folder)
    assert isinstance(registry.answering(), HandWeights)
    registry.promote(version, None)
    features = np.random.default_rng(1).random((20, 8)).astype(np.float32)
    answering = registry.answering()
    assert answering.version == version
    assert np.array_equal(answering.score(features), registry.load(version).score(features))
    registry.client.delete_registered_model_alias(MODEL, CHAMPION)
    assert isinstance(registry.answering(), HandWeights)


def test_an_alias_that_moved_meanwhile_is_left_alone(tracking: Tracking, registry: Registry, bundle_folder: Path) -> None:
    """A promotion decided against another champion is superseded, whether the alias was moved, set or removed."""
    for _ in range(3):
        _registered(tracking, registry, bundle_folder)
    with pytest.raises(Superseded, match="no version is champion"):
        registry.promote("3", "1")
    registry.client.set_registered_model_alias(MODEL, CHAMPION, "2")
    for expected in (None, "1"):
        with pytest.raises(Superseded, match="2 is champion now"):
            registry.promote("3", expected)
    assert registry.champion() == "2"


def test_a_champion_is_taken_away_only_where_it_still_is(tracking: Tracking, registry: Registry, bundle_folder: Path) -> None:
    """Afterwards nobody is champion; one that is not champion, or not any more, is not taken away."""
    for _ in range(2):
        _registered(tracking, registry, bundle_folder)
    registry.promote("1", None)
    with pytest.raises(Superseded, match="1 is champion now"):
        registry.demote("2")
    assert registry.champion() == "1"
    registry.demote("1")
    assert registry.champion() is None
    with pytest.raises(Superseded, match="no version is champion now"):
        registry.demote("1")


@pytest.mark.parametrize("store", ["mlflow_uri", "mlflow_postgres_uri"])
def test_a_deleted_version_does_not_exist_and_takes_its_alias_with_it(
    store: str, request: pytest.FixtureRequest, tmp_path: Path, bundle_folder: Path
) -> None:
    """MLflow removes the alias together with the version, in a file and on PostgreSQL; other versions stay."""
    uri = request.getfixturevalue(store)
    tracking, registry = Tracking(uri, (tmp_path / "artifacts").as_uri()), Registry(uri)
    assert not registry.exists("1")
    for _ in range(2):
        _registered(tracking, registry, bundle_folder)
    registry.promote("1", None)
    registry.client.delete_model_version(MODEL, "1")
    assert (registry.champion(), registry.exists("1"), registry.exists("2")) == (None, False, True)
    assert not registry.exists("hand-weights")
    with pytest.raises(RegistryUnavailable):
        registry.promote("1", None)


def test_a_loaded_version_scores_like_the_one_that_was_registered(tracking: Tracking, registry: Registry, bundle_folder: Path) -> None:
    """Loading gives the ranker with its acceptance and its version; the second time nothing is fetched."""
    version = _registered(tracking, registry, bundle_folder)
    ranker = registry.load(version)
    features = np.random.default_rng(1).random((20, 8)).astype(np.float32)
    expected = Bundle.read(bundle_folder).ranker("x")
    assert ranker.version == version
    assert np.array_equal(ranker.score(features), expected.score(features))
    assert np.array_equal(ranker.acceptance(features, ranker.score(features)), expected.acceptance(features, expected.score(features)))
    for file in (Path(registry.client.get_model_version_download_uri(MODEL, version).removeprefix("file://"))).rglob("*"):
        if file.is_file():
            file.unlink()
    assert np.array_equal(registry.load(version).score(features), ranker.score(features))


def test_plain_mlflow_loads_a_version_and_the_champion(
    tracking: Tracking, registry: Registry, bundle_folder: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own `load_model` returns the booster by number and by alias; the run shows the files; nothing lies in the cwd."""
    import mlflow.lightgbm

    version = _registered(tracking, registry, bundle_folder)
    registry.promote(version, None)
    # MLflow's global is set and put back: the project itself never sets it.
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(mlflow_uri)
    try:
        for name in (f"models:/{MODEL}/{version}", f"models:/{MODEL}@{CHAMPION}"):
            assert isinstance(mlflow.lightgbm.load_model(name), lightgbm.Booster)
    finally:
        mlflow.set_tracking_uri(before)
    run_id = registry.versions()[0].run_id
    assert run_id is not None
    shown = {one.path for one in registry.client.list_artifacts(run_id, "model")}
    assert {"model/MLmodel", "model/model.lgb", "model/extra_files"} <= shown
    assert {one.path for one in registry.client.list_artifacts(run_id, "model/extra_files")} == {
        f"model/extra_files/{name}" for name in EXTRA_FILES
    }


def test_a_version_made_elsewhere_is_not_loaded(tracking: Tracking, registry: Registry, tmp_path: Path, bundle_folder: Path) -> None:
    """A version that somebody registered without golden scores is refused; so is one whose booster was changed."""
    run = tracking.start_run({})
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "model.lgb").write_text("tree")
    registry.client.log_artifacts(run.run_id, str(folder), "model")
    registry.client.create_registered_model(MODEL)
    source = f"{registry.client.get_run(run.run_id).info.artifact_uri}/model"
    foreign = registry.client.create_model_version(MODEL, source, run.run_id).version
    with pytest.raises(NoGoldenScores, match=f"version {foreign}"):
        registry.load(str(foreign))


def test_a_version_that_scores_otherwise_is_not_loaded(tracking: Tracking, registry: Registry, bundle_folder: Path) -> None:
    """Stored files that no longer give the golden scores are refused."""
    version = _registered(tracking, registry, bundle_folder)
    stored = Path(registry.client.get_model_version_download_uri(MODEL, version).removeprefix("file://"))
    acceptance = stored / "extra_files" / "acceptance.json"
    acceptance.write_text(Acceptance("platt", x=(1.0, 0.5)).to_json())
    with pytest.raises(GoldenScoresDiffer, match=f"version {version}"):
        registry.load(version)


def test_a_registry_on_postgresql_keeps_versions_and_alias(mlflow_postgres_uri: str, tmp_path: Path, bundle_folder: Path) -> None:
    """Registering, alias, loading and listing work there as in a file; `make bench` tells how long registering takes."""
    tracking, registry = Tracking(mlflow_postgres_uri, tmp_path.as_uri()), Registry(mlflow_postgres_uri)
    runs = [tracking.start_run({}) for _ in range(4)]
    for run in runs:
        registry.register(run.run_id, bundle_folder, {})
    assert registry.champion() is None
    registry.promote("4", None)
    assert registry.champion() == "4"
    assert registry.load("4").version == "4"
    assert len(registry.versions()) == 4


@pytest.fixture
def mlflow_server(mlflow_uri: str, tmp_path: Path) -> Iterator[str]:
    """The address of a real MLflow server that keeps the artifacts itself."""
    address = f"http://127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", mlflow_uri, "--workers", "1"]
    command += ["--artifacts-destination", str(tmp_path / "served"), "--port", address.rpartition(":")[2]]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not _healthy(address):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _healthy(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2).is_success
    except httpx.TransportError:
        return False


def test_a_server_answers_as_a_database_does(mlflow_server: str, bundle_folder: Path) -> None:
    """Through MLflow's HTTP server no champion is None, versions are registered, promoted, superseded, loaded and listed."""
    tracking, registry = Tracking(mlflow_server), Registry(mlflow_server)
    assert registry.champion() is None
    assert _registered(tracking, registry, bundle_folder) == "1"
    assert registry.champion() is None
    registry.promote("1", None)
    with pytest.raises(Superseded):
        registry.promote("1", None)
    assert registry.champion() == registry.load("1").version == registry.versions()[0].version == "1"
    registry.demote("1")
    assert registry.champion() is None
    assert registry.exists("1")
    assert not registry.exists("2")


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        kept: list[socket.socket] = []
        stop = threading.Event()

        def accept() -> None:
            listening.settimeout(0.2)
            while not stop.is_set():
                try:
                    kept.append(listening.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield int(listening.getsockname()[1])
        stop.set()
        thread.join()
        for one in kept:
            one.close()


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_a_refused_connection_is_said_within_seconds(scheme: str) -> None:
    """With nobody listening, `champion` says within 15 s that MLflow is away, and shows no password."""
    uri = f"{scheme}://user:geheim@127.0.0.1:{_free_port()}" + ("/mlflow" if scheme.startswith("p") else "")
    started = time.monotonic()
    with pytest.raises(RegistryUnavailable, match="MLFLOW_TRACKING_URI") as raised:
        Registry(uri).champion()
    assert time.monotonic() - started < 15
    assert "geheim" not in str(raised.value)


def test_a_silent_database_is_said_within_seconds(silent_port: int) -> None:
    """A database that accepts and never answers is given up after seconds, not minutes."""
    started = time.monotonic()
    with pytest.raises(RegistryUnavailable):
        Registry(f"postgresql+psycopg2://user@127.0.0.1:{silent_port}/mlflow").champion()
    assert time.monotonic() - started < 15


def test_telemetry_is_off_before_mlflow_is_imported() -> None:
    """A fresh process that opens a client imports MLflow with telemetry disabled."""
    script = (
        "import sys\n"
        "from litgo_pipelines.rollout.registry import Registry\n"
        "assert 'mlflow' not in sys.modules\n"
        "Registry('sqlite://').client\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "assert is_telemetry_disabled()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in {"MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI"}}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_one_experiment_holds_all_runs(tracking: Tracking, tmp_path: Path) -> None:
    """Runs land in `litgo-ranker`, below the artifact root that was given; a deleted experiment is brought back."""
    first = tracking.start_run({"who": "me"})
    experiment = tracking.experiment_id()
    tracking.client.delete_experiment(experiment)
    assert tracking.experiment_id() == experiment
    run = tracking.client.get_run(tracking.start_run({}).run_id)
    assert run.info.experiment_id == experiment
    assert run.info.artifact_uri.startswith((tmp_path / "artifacts" / EXPERIMENT).as_uri())
    assert tracking.client.get_run(first.run_id).data.tags["who"] == "me"


def test_a_run_is_resumed_by_its_id(tracking: Tracking, mlflow_uri: str, tmp_path: Path) -> None:
    """What a second step writes through the id alone lands in the run of the first; NaN is left out; a file comes back."""
    run = tracking.start_run({})
    run.log_parameters({"learning_rate": 0.05, "label_gain": [0, 1, 3]})
    again = Tracking(mlflow_uri).resume(run.run_id)
    again.log_metrics({"ndcg_at_5": 0.8, "undefined": float("nan")})
    again.log_json("gate.json", {"verdict": "pass"})
    again.finish()
    found = tracking.client.get_run(run.run_id)
    assert found.data.params == {"learning_rate": "0.05", "label_gain": "[0, 1, 3]"}
    assert found.data.metrics == {"ndcg_at_5": 0.8}
    assert found.info.status == "FINISHED"
    assert '"pass"' in again.download("gate.json", tmp_path / "fetched").read_text()


def test_a_step_that_raises_marks_the_run_as_failed(tracking: Tracking) -> None:
    """The error goes on, and MLflow shows the run as failed."""
    run = tracking.start_run({})
    with pytest.raises(ZeroDivisionError), run.failing():
        1 / 0  # noqa: B018 (what raises)
    assert tracking.client.get_run(run.run_id).info.status == "FAILED"
