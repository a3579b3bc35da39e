"""The code location. `defs` is what Dagster loads; tests and commands build their own with other resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from litgo_pipelines.orchestration.assets import (
    contracts,
    digest,
    embeddings,
    equity,
    notifications,
    offers,
    pricing,
    ranker,
    retention,
    rollout,
)
from litgo_pipelines.orchestration.checks import CHECKS
from litgo_pipelines.orchestration.console import tidy
from litgo_pipelines.orchestration.handover import JsonHandOver
from litgo_pipelines.orchestration.jobs import JOBS
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.orchestration.schedules import SCHEDULES
from litgo_pipelines.orchestration.sensors.contracts import contracts_due
from litgo_pipelines.orchestration.sensors.embeddings import texts_to_embed
from litgo_pipelines.orchestration.sensors.notifications import notifications_due
from litgo_pipelines.orchestration.sensors.offers import offers_due
from litgo_pipelines.orchestration.sensors.operations import operations_watch
from litgo_pipelines.orchestration.sensors.quality import champion_watch
from litgo_pipelines.orchestration.sensors.registry import registry_changes
from litgo_pipelines.orchestration.sensors.reviews import new_reviews
from litgo_pipelines.orchestration.sensors.trials import experiment_due


def build_definitions(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All assets, checks, jobs, schedules and sensors.

    Args:
        resources: replace the standard ones by name: `project` (databases, settings) and `io_manager` (hand-overs between assets).
    """
    return dg.Definitions(
        assets=[
            *contracts.ASSETS,
            *digest.ASSETS,
            *embeddings.ASSETS,
            *equity.ASSETS,
            *notifications.ASSETS,
            *offers.ASSETS,
            *pricing.ASSETS,
            *ranker.ASSETS,
            *retention.ASSETS,
            *rollout.ASSETS,
        ],
        asset_checks=[*CHECKS, *embeddings.CHECKS],
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=[
            new_reviews,
            experiment_due,
            champion_watch,
            registry_changes,
            offers_due,
            contracts_due,
            notifications_due,
            texts_to_embed,
            operations_watch,
        ],
        resources={"project": Project(), "io_manager": JsonHandOver(), **(resources or {})},
        # Steps are short and share what they imported; a process each would cost more than the work.
        executor=dg.in_process_executor,
    )


# Before a run or a tick has a logger.
tidy()
defs = build_definitions()
