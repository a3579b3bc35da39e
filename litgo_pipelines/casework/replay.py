"""Past cases offered again, as another ranker would have done: how evenly would its offers spread the load?

Writes nothing. Acceptance is not replayed: each offer counts with its probability of becoming a contract, whatever a ranker promises.
What other prices would bring about, answers included, is `price_replay`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from litgo_pipelines.casework.market import Market, read_market
from litgo_pipelines.casework.matching import Case, decide, derived_id, note_offers
from litgo_pipelines.equity.allocation import OfferRule, never
from litgo_pipelines.equity.inequality import gini
from litgo_pipelines.ranking.ranker import Ranker

if TYPE_CHECKING:
    from sqlalchemy import Connection

_WINDOW = timedelta(days=30)


def recent_cases(connection: Connection, as_of: datetime, most: int) -> list[tuple[Case, datetime]]:
    """The newest cases of the last 30 days, at most `most`, oldest first, each with the time it came in."""
    from sqlalchemy import text

    rows = connection.execute(
        text(
            "SELECT id, client_id, area, subarea, urgency_h, radius_km, summary, lat, lng, created_at FROM litgo.cases "
            "WHERE created_at <= :as_of AND created_at > :since ORDER BY created_at DESC, id LIMIT :most"
        ),
        {"as_of": as_of, "since": as_of - _WINDOW, "most": most},
    ).all()
    return [(Case(*row[:9]), row.created_at) for row in reversed(rows)]


def replayed_gini(
    market: Market, cases: list[tuple[Case, datetime]], ranker: Ranker, rule: OfferRule, *, top_n: int, new_lawyer_offers: int
) -> float | None:
    """Gini of load over capacity after `cases` were offered in turn, beginning with nobody having anything.

    Args:
        market: profiles and capacities; its loads are not read and not changed.

    Returns:
        Over the lawyers who were eligible for at least one of the cases; None where there is no case or no lawyer.
    """
    empty = market.with_own_loads()
    empty.loads.cases[:] = 0
    empty.loads.in_flight[:] = 0
    # As of now these lie after the cases, so that nobody would move to the end of the line.
    empty.loads.last_offered[:] = never()
    eligible = np.zeros(len(market.profiles.ids), dtype=bool)
    for case, at in cases:
        decision = decide(
            empty, case, ranker, rule, request_id=derived_id(case.id, "replay"), at=at, top_n=top_n, new_lawyer_offers=new_lawyer_offers
        )
        eligible[decision.candidates.members] = True
        note_offers(empty, decision)
    if not eligible.any():
        return None
    return gini(empty.u_eff(np.flatnonzero(eligible)))


@dataclass(frozen=True)
class GiniReplay:
    """The last 30 days ready to be replayed under any ranker: call it with one."""

    market: Market
    cases: list[tuple[Case, datetime]]
    rule: OfferRule
    new_lawyer_offers: int
    top_n: int = 5

    @classmethod
    def read(cls, connection: Connection, as_of: datetime, *, rule: OfferRule, new_lawyer_offers: int, most: int = 3_000) -> GiniReplay:
        """Read lawyers and the newest cases, at most `most`."""
        return cls(read_market(connection, as_of), recent_cases(connection, as_of, most), rule, new_lawyer_offers)

    def __call__(self, ranker: Ranker) -> float | None:
        """See `replayed_gini`."""
        return replayed_gini(self.market, self.cases, ranker, self.rule, top_n=self.top_n, new_lawyer_offers=self.new_lawyer_offers)
