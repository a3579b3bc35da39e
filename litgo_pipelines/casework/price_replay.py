"""The last 30 days offered again under other prices of load: how evenly would cases have spread, and at what cost?

Begins with the loads as they were 30 days ago and lets lawyers and clients answer as the record shows they do. Writes nothing.
How another ranker would spread offers, whatever comes of them, is `replay`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework import equity_run
from litgo_pipelines.casework.draws import as_numbers, uniform
from litgo_pipelines.casework.market import Market, as_void, micros, read_market, read_p_win
from litgo_pipelines.casework.matching import Candidates, Case, score_many
from litgo_pipelines.casework.rehearsal import DAY, WINDOW, Conditions, Contract, Reactions, Rehearsal
from litgo_pipelines.equity.allocation import OfferRule, never
from litgo_pipelines.equity.distribution import Distribution, Lawyers, distribution
from litgo_pipelines.equity.pricing import TradeOff
from litgo_pipelines.ranking.features import PRIMARY_AREA_MATCH
from litgo_pipelines.ranking.ranker import Ranker

if TYPE_CHECKING:
    from sqlalchemy import Connection

MOST_CASES = 15_000
"""Cases replayed at most. Of a larger marketplace a share of the lawyers is replayed, with the same share of the cases."""

_AT_ONCE = 250
_S_SAMPLE = 40

# What cases of before came to is given, however late it was signed: those cases are not offered again.
_CONTRACTS = """
SELECT c.lawyer_id, c.created_at FROM litgo.contracts c
WHERE c.status <> 'canceled' AND c.created_at > CAST(:since AS timestamptz) - interval '30 days' AND c.created_at <= :as_of
  AND (c.created_at <= :since OR EXISTS (SELECT FROM litgo.offers o WHERE o.case_id = c.case_id AND o.sent_at <= :since))
ORDER BY c.created_at, c.id
"""
# Each with the end of its hour, so that a window that ends at a full hour, as every night does, holds what it really held.
_SENT = """
SELECT LEAST(date_trunc('hour', sent_at - interval '1 microsecond') + interval '1 hour', :since), count(*) FROM litgo.offers
WHERE sent_at > CAST(:since AS timestamptz) - interval '32 days' AND sent_at <= :since GROUP BY 1 ORDER BY 1
"""
_BEFORE = """
SELECT l.id, l.created_at, COALESCE(o.received, 0) AS received, o.last_at
FROM litgo.lawyers l
LEFT JOIN (SELECT lawyer_id, count(*) AS received, max(sent_at) AS last_at FROM litgo.offers WHERE sent_at <= :since GROUP BY lawyer_id) o
    ON o.lawyer_id = l.id
ORDER BY l.id
"""
# Cases that were only asked about, without offers, load nobody. Who is offered one again later came first within two months.
_CASES = """
SELECT k.id, k.client_id, k.area, k.subarea, k.urgency_h, k.radius_km, k.summary, k.lat, k.lng, o.first_at
FROM (SELECT case_id, min(sent_at) AS first_at FROM litgo.offers
      WHERE sent_at > CAST(:since AS timestamptz) - interval '30 days' AND sent_at <= :as_of
      GROUP BY case_id HAVING min(sent_at) > :since) o
JOIN litgo.cases k ON k.id = o.case_id
ORDER BY o.first_at, k.id
"""


@dataclass(frozen=True)
class Past:
    """A stretch of time ready to be replayed. Arrays of shape (n,) are about the market's lawyers.

    Attributes:
        market: profiles as they are at the end, loads as they were at the beginning, which is its `as_of`.
        contracts, sent: what those loads consist of and what cases of before still came to, and offers sent before, for `Rehearsal`.
        cases: with the time each was first offered, oldest first.
        until: end of the stretch, microseconds.
        joined: when each lawyer did, microseconds.
        share: of the marketplace that is replayed.
    """

    market: Market
    contracts: Sequence[Contract]
    sent: Sequence[tuple[int, int]]
    cases: Sequence[tuple[Case, datetime]]
    until: int
    joined: NDArray[np.int64]
    share: float

    @classmethod
    def read(cls, connection: Connection, as_of: datetime, *, most: int = MOST_CASES) -> Past:
        """Read the 30 days before `as_of`, at most about `most` cases of them."""
        from sqlalchemy import text

        since = as_of - timedelta(days=30)
        market = read_market(connection, as_of)
        before = connection.execute(text(_BEFORE), {"since": since}).all()
        cases = [(Case(*row[:9]), row.first_at) for row in connection.execute(text(_CASES), {"as_of": as_of, "since": since})]
        row = market.profiles.row
        contracts = [
            Contract(row[lawyer.bytes], micros(at), micros(at) + WINDOW)
            for lawyer, at in connection.execute(text(_CONTRACTS), {"since": since, "as_of": as_of})
        ]
        held = np.array([one.lawyer for one in contracts if one.signed_at <= micros(since)], dtype=np.intp)
        loads = replace(
            market.loads,
            cases=np.bincount(held, minlength=len(before)).astype(np.float64),
            in_flight=np.zeros(len(before)),
            last_offered=np.array([int(never()) if one.last_at is None else micros(one.last_at) for one in before], dtype=np.int64),
            p_win=read_p_win(connection, since),
        )
        profiles = replace(market.profiles, received=np.array([one.received for one in before], dtype=np.int64))
        sent = [(micros(at), int(count)) for at, count in connection.execute(text(_SENT), {"since": since})]
        joined = np.array([micros(one.created_at) for one in before], dtype=np.int64)
        whole = cls(Market(profiles, loads, since), contracts, sent, cases, micros(as_of), joined, 1.0)
        return whole.thinned(most / len(cases)) if len(cases) > most else whole

    def thinned(self, share: float) -> Past:
        """A share of the lawyers, drawn by their ids, with the same share of the cases: the others neither get nor bring any."""
        kept = uniform(as_numbers(self.market.profiles.ids), _S_SAMPLE) < share
        numbers = as_numbers(as_void([case.id for case, _ in self.cases]))
        drawn = uniform(numbers, _S_SAMPLE) < share
        return replace(
            self,
            market=replace(self.market, loads=replace(self.market.loads, active=self.market.loads.active & kept)),
            cases=[one for one, keep in zip(self.cases, drawn, strict=True) if keep],
            share=share,
        )


def replay(
    past: Past,
    ranker: Ranker,
    rules: Sequence[OfferRule],
    reactions: Reactions,
    *,
    top_n: int,
    new_lawyer_offers: int,
    newcomer_days: int,
    least_lawyers: int,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> list[Replayed]:
    """Offer the cases in turn, once under each rule side by side: scoring, which takes longest, is done once for all.

    Args:
        newcomer_days, least_lawyers: as the distribution report has them.
        on_progress: told of cases done and of all.
    """
    conditions = Conditions(top_n=top_n, new_lawyer_offers=new_lawyer_offers)
    lanes = [_Lane(Rehearsal(past.market, reactions, conditions, rule, past.contracts, past.sent)) for rule in rules]
    eligible = np.zeros(len(past.joined), dtype=bool)
    night = _next_night(past.market.as_of)
    done = 0
    for first in range(0, len(past.cases), _AT_ONCE):
        batch = past.cases[first : first + _AT_ONCE]
        scored = score_many(past.market, batch, ranker)
        for (case, at), found in zip(batch, scored, strict=True):
            candidates = _joined_by(found, past.joined, micros(at))
            while at >= night:
                for lane in lanes:
                    lane.rehearsal.night(micros(night))
                night = _next_night(night)
            eligible[candidates.members] = True
            for lane in lanes:
                lane.offer(case, at, candidates, ranker.version)
        done += len(batch)
        on_progress(done, len(past.cases))
    newcomer = past.joined > past.until - newcomer_days * DAY
    return [lane.result(past, eligible, newcomer, least_lawyers) for lane in lanes]


def _joined_by(candidates: Candidates, joined: NDArray[np.int64], moment: int) -> Candidates:
    """Those of the candidates who had joined at a moment, microseconds."""
    there = joined[candidates.members] <= moment
    if there.all():
        return candidates
    return Candidates(candidates.members[there], candidates.features[there], candidates.raw[there], candidates.score[there])


@dataclass(frozen=True)
class Replayed:
    """What came of a replay under one rule.

    Attributes:
        utilisation: shape (m,), of the lawyers eligible for at least one of the cases, at the end.
        mean_relevance: mean P(accept) of the offers made; None without any.
        fill_rate: share of places in the lists that went to lawyers with room; None without any.
    """

    rule: OfferRule
    distribution: Distribution
    utilisation: NDArray[np.float64]
    mean_relevance: float | None
    fill_rate: float | None

    @property
    def trade_off(self) -> TradeOff:
        """The figures that prices are compared by."""
        found = self.distribution
        gaps = [one for one in (found.gap_area, found.gap_capacity, found.gap_new) if one is not None]
        return TradeOff(
            self.rule.price,
            found.gini_utilisation,
            found.gini_offers,
            found.share_offered,
            max(gaps, default=None),
            self.mean_relevance,
            self.fill_rate,
        )


class _Lane:
    """One rule's rehearsal, and sums over what it decided."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.rehearsal = rehearsal
        self._places, self._filled, self._relevance = 0, 0, 0.0

    def offer(self, case: Case, at: datetime, candidates: Candidates, model_version: str) -> None:
        found = self.rehearsal.offer(case, at, candidates, model_version).allocation
        self._places += len(found.chosen)
        self._filled += int(np.count_nonzero(found.filled))
        self._relevance += float(candidates.score[found.chosen].sum())

    def result(self, past: Past, counted: NDArray[np.bool_], newcomer: NDArray[np.bool_], least_lawyers: int) -> Replayed:
        self.rehearsal.advance(past.until)
        lawyers = lawyers_at(self.rehearsal, past.until, primary_areas(past.market), counted, newcomer)
        return Replayed(
            self.rehearsal.rule,
            distribution(lawyers, least_lawyers=least_lawyers),
            lawyers.utilisation,
            self._relevance / self._places if self._places else None,
            1 - self._filled / self._places if self._places else None,
        )


def lawyers_at(
    rehearsal: Rehearsal, until: int, areas: NDArray[np.str_], counted: NDArray[np.bool_], newcomer: NDArray[np.bool_]
) -> Lawyers:
    """The counted lawyers with their loads and the offers of the 30 days before `until` (microseconds). Shapes (n,)."""
    offers = np.zeros(len(counted), dtype=np.int64)
    for at, chosen in rehearsal.offers:
        if at > until - WINDOW:
            offers[chosen] += 1
    loads = rehearsal.market.loads
    return Lawyers(
        cases=loads.cases[counted].astype(np.int64),
        capacity=loads.capacity[counted].astype(np.int64),
        offers=offers[counted],
        area=areas[counted],
        newcomer=newcomer[counted],
    )


def primary_areas(market: Market) -> NDArray[np.str_]:
    """The main area of each lawyer, shape (n,)."""
    found = np.full(len(market.profiles.ids), "", dtype=object)
    for area, pool in market.profiles.pools.items():
        found[pool.members[pool.match == PRIMARY_AREA_MATCH]] = area
    return found.astype(np.str_)


def _next_night(moment: datetime) -> datetime:
    return equity_run.as_of_partition(equity_run.latest_partition(moment) + timedelta(days=1))
