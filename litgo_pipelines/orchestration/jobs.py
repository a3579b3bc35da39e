"""The jobs, by the names that schedules, sensors, people and `litgo run` use."""

from __future__ import annotations

import dagster as dg

from litgo_pipelines.orchestration.assets.equity import equity_metrics
from litgo_pipelines.orchestration.assets.ranker import candidate_evaluation, promotion, ranker_candidate, training_set

CALCULATE_EQUITY_METRICS = "calculate_equity_metrics"
RETRAIN_RANKER = "retrain_ranker"

# Runs with the same value of this tag take turns (dagster.yaml).
_EXCLUSIVE = "litgo/exclusive"

calculate_equity_metrics = dg.define_asset_job(
    CALCULATE_EQUITY_METRICS,
    selection=dg.AssetSelection.assets(equity_metrics),
    description="Load and capacity of every lawyer, each night at 02:00 in São Paulo.",
    tags={"dagster/max_runtime": 1800},
)

retrain_ranker = dg.define_asset_job(
    RETRAIN_RANKER,
    selection=dg.AssetSelection.assets(training_set, ranker_candidate, candidate_evaluation, promotion),
    description="Train a ranker on all decided matches, judge it against the champion, and promote it if it passed.",
    tags={_EXCLUSIVE: RETRAIN_RANKER},
)

JOBS = [calculate_equity_metrics, retrain_ranker]
