"""The jobs, by the names that schedules, sensors, people and `litgo run` use."""

from __future__ import annotations

import dagster as dg

from litgo_pipelines.orchestration.assets.contracts import contract_signatures
from litgo_pipelines.orchestration.assets.embeddings import case_embeddings, lawyer_embeddings
from litgo_pipelines.orchestration.assets.equity import equity_metrics, offer_distribution
from litgo_pipelines.orchestration.assets.notifications import notifications_delivered
from litgo_pipelines.orchestration.assets.offers import offer_rounds
from litgo_pipelines.orchestration.assets.pricing import equity_price
from litgo_pipelines.orchestration.assets.ranker import candidate_evaluation, promotion, ranker_candidate, training_set
from litgo_pipelines.orchestration.assets.retention import expired_records
from litgo_pipelines.orchestration.assets.rollout import experiment_readout, model_quality

CALCULATE_EQUITY_METRICS = "calculate_equity_metrics"
REFIT_EQUITY_PRICE = "refit_equity_price"
RETRAIN_RANKER = "retrain_ranker"
READ_EXPERIMENT = "read_experiment"
WATCH_CHAMPION = "watch_champion"
DELIVER_NOTIFICATIONS = "deliver_notifications"
MOVE_OFFERS = "move_offers"
PROCESS_CONTRACTS = "process_contracts"
EMBED_TEXTS = "embed_texts"
EXPIRE_RECORDS = "expire_records"

# Runs with the same value of this tag take turns (dagster.yaml).
_EXCLUSIVE = "litgo/exclusive"

calculate_equity_metrics = dg.define_asset_job(
    CALCULATE_EQUITY_METRICS,
    selection=dg.AssetSelection.assets(equity_metrics, offer_distribution),
    description="Load and capacity of every lawyer and what they say of the distribution, each night at 02:00 in São Paulo.",
    tags={"dagster/max_runtime": 1800},
)

refit_equity_price = dg.define_asset_job(
    REFIT_EQUITY_PRICE,
    selection=dg.AssetSelection.assets(equity_price),
    description="Replay the last 30 days under other prices of load and put the right one in force, each Monday at 03:00 in São Paulo.",
    tags={_EXCLUSIVE: REFIT_EQUITY_PRICE, "dagster/max_runtime": 3600},
)

retrain_ranker = dg.define_asset_job(
    RETRAIN_RANKER,
    selection=dg.AssetSelection.assets(training_set, ranker_candidate, candidate_evaluation, promotion),
    description="Train a ranker on all decided matches, judge it against the champion, and put it on trial if it passed.",
    tags={_EXCLUSIVE: RETRAIN_RANKER},
)

read_experiment = dg.define_asset_job(
    READ_EXPERIMENT,
    selection=dg.AssetSelection.assets(experiment_readout),
    description="Judge the experiment that runs, carry the verdict out, and let the next one begin.",
    tags={_EXCLUSIVE: READ_EXPERIMENT, "dagster/max_runtime": 900},
)

watch_champion = dg.define_asset_job(
    WATCH_CHAMPION,
    selection=dg.AssetSelection.assets(model_quality),
    description="Judge the champion by its decisions, and roll it back if it is degraded.",
    tags={_EXCLUSIVE: WATCH_CHAMPION, "dagster/max_runtime": 900},
)

expire_records = dg.define_asset_job(
    EXPIRE_RECORDS,
    selection=dg.AssetSelection.assets(expired_records),
    description="Delete logs and ledgers that are older than they are kept, each night at 04:00 in São Paulo.",
    tags={_EXCLUSIVE: EXPIRE_RECORDS, "dagster/max_runtime": 3600},
)

embed_texts = dg.define_asset_job(
    EMBED_TEXTS,
    selection=dg.AssetSelection.assets(case_embeddings, lawyer_embeddings),
    description="Make the vectors of cases and lawyers that are missing or outdated, and see how good they are without a vendor.",
    tags={_EXCLUSIVE: EMBED_TEXTS, "dagster/max_runtime": 7200},
)

move_offers = dg.define_asset_job(
    MOVE_OFFERS,
    selection=dg.AssetSelection.assets(offer_rounds),
    description="Let offers past their time run out, and offer cases that nobody took to the next lawyers.",
    tags={_EXCLUSIVE: MOVE_OFFERS, "dagster/max_runtime": 900},
)

process_contracts = dg.define_asset_job(
    PROCESS_CONTRACTS,
    selection=dg.AssetSelection.assets(contract_signatures),
    description="Send the contracts that are due for signature, look what became of those that are out, and fall back to manual signature.",
    tags={_EXCLUSIVE: PROCESS_CONTRACTS, "dagster/max_runtime": 3600},
)

deliver_notifications = dg.define_asset_job(
    DELIVER_NOTIFICATIONS,
    selection=dg.AssetSelection.assets(notifications_delivered),
    description="Push or mail the messages that are due.",
    tags={_EXCLUSIVE: DELIVER_NOTIFICATIONS, "dagster/max_runtime": 900},
)

JOBS = [
    calculate_equity_metrics,
    refit_equity_price,
    retrain_ranker,
    read_experiment,
    watch_champion,
    move_offers,
    process_contracts,
    deliver_notifications,
    embed_texts,
    expire_records,
]
