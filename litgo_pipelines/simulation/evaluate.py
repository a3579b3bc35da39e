"""How good a ranking truly is: NDCG against the hidden relevance. Only the simulator's role can read what this needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.market import read_market
from litgo_pipelines.casework.matching import score_candidates
from litgo_pipelines.casework.replay import recent_cases
from litgo_pipelines.marketplace.names import FEATURES
from litgo_pipelines.ranking.features import PRIMARY_AREA_MATCH, distance_km
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.simulation import truth
from litgo_pipelines.simulation.fate import lawyer_traits

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True)
class FeatureAlone:
    """Ranks by one feature and nothing else: what a ranker's gain has to be seen against."""

    feature: str

    @property
    def version(self) -> str:
        """The feature's name."""
        return self.feature

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The feature, .5 where it is unknown. Shape (n, 8) to (n,)."""
        return np.nan_to_num(features[:, FEATURES.index(self.feature)].astype(np.float64), nan=0.5)

    def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002 (the protocol's shape)
        """The feature itself. Shape (n,)."""
        return raw


def hidden_ndcg(engine: Engine, rankers: Mapping[str, Ranker], as_of: datetime, *, cases: int = 400, k: int = 5) -> dict[str, float]:
    """Mean NDCG@k of each ranker over the newest cases, among all lawyers eligible for each.

    The gain is the hidden relevance itself (0..1), linear, ties averaged, as `sklearn.metrics.ndcg_score` has it.

    Args:
        engine: acts under the role `litgo_simulator`.

    Raises:
        ValueError: there is no case with at least two eligible lawyers.
    """
    from sklearn.metrics import ndcg_score
    from sqlalchemy import text

    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        market = read_market(connection, as_of)
        traits = lawyer_traits(connection, market)
        chosen = recent_cases(connection, as_of, cases)
        found = connection.execute(
            text("SELECT entity_id, traits FROM litgo.simulation_truth WHERE entity_type = 'case' AND entity_id = ANY(:ids)"),
            {"ids": [case.id for case, _ in chosen]},
        )
        needs = {row.entity_id: np.array(row.traits) for row in found}
    values: dict[str, list[float]] = {name: [] for name in rankers}
    for case, _ in chosen:
        for name, ranker in rankers.items():
            candidates = score_candidates(market, case, ranker, as_of)
            if len(candidates.members) < 2 or case.id not in needs:
                continue
            members = candidates.members
            kilometres = distance_km(
                market.profiles.lat[members],
                market.profiles.lng[members],
                np.nan if case.lat is None else case.lat,
                np.nan if case.lng is None else case.lng,
            )
            near = np.nan_to_num(np.clip(1 - kilometres / case.radius_km, 0, 1))
            primary = (candidates.features[:, 0] == PRIMARY_AREA_MATCH).astype(np.float64)
            in_time = np.clip(1 - market.profiles.response_h[members] / case.urgency_h, 0, 1)
            relevance = truth.relevance(traits[members], needs[case.id], near, in_time, primary)
            values[name].append(float(ndcg_score([relevance], [candidates.raw], k=k)))
    if not all(values.values()):
        raise ValueError("there is no simulated case with at least two eligible lawyers: simulate more days or lawyers")
    return {name: float(np.mean(one)) for name, one in values.items()}
