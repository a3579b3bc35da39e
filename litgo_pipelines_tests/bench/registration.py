"""Registering a trained ranker against what MLflow does by default, both on PostgreSQL.

MLflow infers what a model needs by loading it in a process of its own; ours says so, and checks the golden scores instead.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

from litgo_pipelines_tests.bench.measure import Measured, Target, seconds
from litgo_pipelines_tests.bench.scratch import Bench

if TYPE_CHECKING:
    import lightgbm

ROUNDS = 7
BASELINE_ROUNDS = 3
MOST_SECONDS = 0.1
TREES = 200


def run(bench: Bench) -> Iterator[Measured]:
    """Both sides in turns, each after one unmeasured call that opens connections and imports what is needed."""
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.rollout.tracking import Tracking

    with bench.empty_database("bench_mlflow", driver="psycopg2") as uri:
        bench.tell("MLflow sets its database up")
        artifacts = (bench.home / "artifacts").as_uri()
        _initialise(uri, artifacts)
        booster, folder = _trained(bench.home)
        tracking, registry = Tracking(uri, artifacts), Registry(uri, bench.home / "models")
        ours, baseline = [], []
        rounds = 1 if bench.small else BASELINE_ROUNDS
        with _default_mlflow(uri, artifacts):
            for number in range(rounds + 1):
                bench.tell(f"registering: round {number} of {rounds}")
                baseline.append(seconds(lambda: _by_default(booster)))
                for _ in range(-(-ROUNDS // BASELINE_ROUNDS)):
                    run_id = tracking.start_run({}).run_id
                    ours.append(seconds(lambda run_id=run_id: registry.register(run_id, folder, {"verdict": "none"})))  # type: ignore[misc]
        warm = -(-ROUNDS // BASELINE_ROUNDS)
        yield Measured(
            "register_model",
            f"Registry.register of a bundle of {TREES} trees, golden scores checked",
            "mlflow.lightgbm.log_model(…, registered_model_name=…) with MLflow's defaults",
            tuple(ours[warm:]),
            tuple(baseline[1:]),
            Target("ours", MOST_SECONDS),
            faster=True,
            note=f"in a process that has registered before; the first call, imports and connections included, took {ours[0]:.2g} s",
        )


def _trained(home: Path) -> tuple[lightgbm.Booster, Path]:
    """A booster of the size that training gives, and its bundle."""
    import lightgbm
    import numpy as np

    from litgo_pipelines.ranking.calibration import Acceptance
    from litgo_pipelines.ranking.training import parameters
    from litgo_pipelines.rollout.bundle import Bundle

    features = np.random.default_rng(0).random((5_000, 8)).astype(np.float32)
    label = np.digitize(features.mean(axis=1), [0.4, 0.5, 0.6])
    params = parameters(len(features), seed=0, threads=2)
    booster = lightgbm.train(params, lightgbm.Dataset(features, label=label, group=[10] * 500), num_boost_round=TREES)
    folder = home / "bundle"
    Bundle.of(booster, Acceptance("platt", x=(1.0, 0.0))).write(folder)
    return booster, folder


def _initialise(uri: str, artifacts: str) -> None:
    from litgo_pipelines.rollout.tracking import Tracking

    # The first client creates MLflow's tables, which takes seconds.
    Tracking(uri, artifacts).start_run({}).finish()


@contextmanager
def _default_mlflow(uri: str, artifacts: str) -> Iterator[None]:
    """MLflow's process-wide state pointed at the scratch database and put back; its progress is not ours to show."""
    import mlflow

    before = mlflow.get_tracking_uri()
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    # MLflow would keep the artifacts in the folder it is called from.
    experiment = mlflow.create_experiment("bench-default", artifact_location=f"{artifacts}/default")
    mlflow.set_experiment(experiment_id=experiment)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        logger.setLevel(level)


def _by_default(booster: lightgbm.Booster) -> None:
    import mlflow
    import mlflow.lightgbm

    # It tells every step on stderr.
    with redirect_stderr(io.StringIO()), mlflow.start_run():
        mlflow.lightgbm.log_model(booster, name="model", registered_model_name="bench-default")
