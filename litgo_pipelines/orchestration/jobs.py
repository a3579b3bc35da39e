"""The jobs, by the names that schedules, sensors, people and `litgo run` use."""

from __future__ import annotations

from typing import Any

import dagster as dg

from litgo_pipelines.orchestration.assets.contracts import contract_signatures
from litgo_pipelines.orchestration.assets.digest import weekly_digest
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
SEND_WEEKLY_DIGEST = "send_weekly_digest"

# Runs with the same value of this tag take turns (dagster.yaml).
_EXCLUSIVE = "litgo/exclusive"


def _job(name: str, what: str, *assets: dg.AssetsDefinition, minutes: int | None = None, exclusive: bool = True) -> Any:
    """A job that makes these assets.

    Args:
        minutes: after which a run is stopped; None: the instance says (dagster.yaml).
        exclusive: whether its runs take turns.
    """
    tags = {_EXCLUSIVE: name} if exclusive else {}
    if minutes is not None:
        tags["dagster/max_runtime"] = str(60 * minutes)
    return dg.define_asset_job(name, selection=dg.AssetSelection.assets(*assets), description=what, tags=tags)


calculate_equity_metrics = _job(
    CALCULATE_EQUITY_METRICS,
    "Load and capacity of every lawyer and what they say of the distribution, each night at 02:00 in São Paulo.",
    equity_metrics,
    offer_distribution,
    minutes=30,
    exclusive=False,
)
refit_equity_price = _job(
    REFIT_EQUITY_PRICE,
    "Replay the last 30 days under other prices of load and put the right one in force, each Monday at 03:00 in São Paulo.",
    equity_price,
    minutes=60,
)
retrain_ranker = _job(
    RETRAIN_RANKER,
    "Train a ranker on all decided matches, judge it against the champion, and put it on trial if it passed.",
    training_set,
    ranker_candidate,
    candidate_evaluation,
    promotion,
)
read_experiment = _job(
    READ_EXPERIMENT,
    "Judge the experiment that runs, carry the verdict out, and let the next one begin.",
    experiment_readout,
    minutes=15,
)
watch_champion = _job(
    WATCH_CHAMPION,
    "Judge the champion by its decisions, and roll it back if it is degraded.",
    model_quality,
    minutes=15,
)
expire_records = _job(
    EXPIRE_RECORDS,
    "Delete logs and ledgers that are older than they are kept, each night at 04:00 in São Paulo.",
    expired_records,
    minutes=60,
)
embed_texts = _job(
    EMBED_TEXTS,
    "Make the vectors of cases and lawyers that are missing or outdated, and see how good they are without a vendor.",
    case_embeddings,
    lawyer_embeddings,
    minutes=120,
)
move_offers = _job(
    MOVE_OFFERS,
    "Let offers past their time run out, and offer cases that nobody took to the next lawyers.",
    offer_rounds,
    minutes=15,
)
process_contracts = _job(
    PROCESS_CONTRACTS,
    "Send the contracts that are due for signature, look what became of those that are out, and fall back to manual signature.",
    contract_signatures,
    minutes=60,
)
deliver_notifications = _job(
    DELIVER_NOTIFICATIONS,
    "Push or mail the messages that are due.",
    notifications_delivered,
    minutes=15,
)
send_weekly_digest = _job(
    SEND_WEEKLY_DIGEST,
    "Tell the operators of the last seven days, each Monday at 08:00 in São Paulo.",
    weekly_digest,
    minutes=15,
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
    send_weekly_digest,
]
