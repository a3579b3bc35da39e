"""A marketplace rehearsed in memory: cases are offered in turn under a policy, answers follow, load comes and goes. Writes nothing.

What lawyers and clients answer is given (`Reactions`): estimated from the record for a replay, hidden truth for a simulation. Choosing is
`matching`'s, so that what is rehearsed is what answers.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.market import PRIOR_CONTRACTS, PRIOR_OFFERS, Market, micros
from litgo_pipelines.casework.matching import Candidates, Case, Decision, decide_among, derived_id
from litgo_pipelines.equity.allocation import OfferRule, Policy, allocate

DAY = 86_400_000_000
"""Microseconds."""
WINDOW = 30 * DAY


class Contract(NamedTuple):
    """A case that a lawyer (index into the market) took; microseconds from when until when it counts as load."""

    lawyer: int
    signed_at: int
    counts_until: int


@dataclass(frozen=True)
class Reaction:
    """What comes of the offers of one decision, times in microseconds.

    Attributes:
        free_at: shape (k,), when each offer is no longer in flight.
        contract: what the client and one of the lawyers agree on; None: nothing.
    """

    free_at: NDArray[np.int64]
    contract: Contract | None


class Reactions(Protocol):
    """Lawyers and clients."""

    def __call__(self, decision: Decision, utilisation: NDArray[np.float64]) -> Reaction:
        """Answer a decision; `utilisation` of the chosen, shape (k,), is cases over capacity when they are asked."""


@dataclass(frozen=True)
class Conditions:
    """What a rehearsal keeps fixed.

    Attributes:
        policy: how candidates are chosen among.
        top_n: offers a case.
        new_lawyer_offers: offers received after which a lawyer is no longer new.
        stale: decisions see loads as they were at night, and nothing of the day.
    """

    policy: Policy = allocate
    top_n: int = 5
    new_lawyer_offers: int = 10
    stale: bool = False


class Rehearsal:
    """One marketplace under one policy. Cases must come in the order of time.

    Args:
        market: lawyers, and loads to begin with; not changed.
        rule: of the policy; `change` replaces it.
        contracts: those that make up `market.loads.cases`, so that they leave the window; and those of cases offered before, signed
            after the market's `as_of`, so that they come. In the order of time.
        sent: (moment, number) of earlier offers, in the order of time.

    Attributes:
        offers: (moment, lawyers as indices) of every decision.
        contracts: all that were signed here.
    """

    def __init__(
        self,
        market: Market,
        reactions: Reactions,
        conditions: Conditions,
        rule: OfferRule,
        contracts: Sequence[Contract] = (),
        sent: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.market = market.with_own_loads()
        self._seen = market.with_own_loads() if conditions.stale else self.market
        self._reactions, self._conditions = reactions, conditions
        self.rule = rule
        self.offers: list[tuple[int, NDArray[np.intp]]] = []
        self.contracts: list[Contract] = []
        self._signed: list[int] = []
        self._sent = list(sent)
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        for one in contracts:
            if one.signed_at > micros(market.as_of):
                self._at(one.signed_at, self._signer(one))
                continue
            self._signed.append(one.signed_at)
            self._at(one.counts_until, self._leaver(one.lawyer))

    def offer(self, case: Case, at: datetime, candidates: Candidates, model_version: str) -> Decision:
        """Everything due by `at` happens, then the case is offered."""
        moment = micros(at)
        self.advance(moment)
        conditions = self._conditions
        decision = decide_among(
            self._seen,
            case,
            candidates,
            model_version,
            self.rule,
            request_id=derived_id(case.id, "rehearsed"),
            at=at,
            top_n=conditions.top_n,
            new_lawyer_offers=conditions.new_lawyer_offers,
            policy=conditions.policy,
        )
        chosen = decision.chosen
        loads = self.market.loads
        reaction = self._reactions(decision, loads.cases[chosen] / loads.capacity[chosen])
        self.market.note_offers(chosen, moment)
        self.offers.append((moment, chosen))
        self._sent.append((moment, len(chosen)))
        for lawyer, free_at in zip(chosen.tolist(), reaction.free_at.tolist(), strict=True):
            self._at(free_at, self._freer(lawyer))
        if reaction.contract is not None:
            self._at(reaction.contract.signed_at, self._signer(reaction.contract))
        return decision

    def change(self, conditions: Conditions, rule: OfferRule) -> None:
        """Go on under another policy or price."""
        self._conditions, self.rule = conditions, rule
        self._seen = self.market.with_own_loads() if conditions.stale else self.market

    def advance(self, until: int) -> None:
        """Let everything happen that is due by `until` (microseconds)."""
        while self._due and self._due[0][0] <= until:
            heapq.heappop(self._due)[2]()

    def night(self, at: int) -> None:
        """02:00: what an offer is worth is reckoned anew, and a stale reader sees the loads as they are."""
        self.advance(at)
        self.market = replace(self.market, loads=replace(self.market.loads, p_win=self._p_win(at)))
        self._seen = self.market.with_own_loads() if self._conditions.stale else self.market

    def _p_win(self, at: int) -> float:
        """As `market.read_p_win`: contracts of 30 days per offer of the 30 days that ended a day earlier."""
        signed = bisect_right(self._signed, at) - bisect_right(self._signed, at - WINDOW)
        first = bisect_right(self._sent, at - WINDOW - DAY, key=lambda one: one[0])
        last = bisect_right(self._sent, at - DAY, key=lambda one: one[0])
        sent = sum(count for _, count in self._sent[first:last])
        return min(1.0, (signed + PRIOR_CONTRACTS) / (sent + PRIOR_OFFERS))

    def _at(self, moment: int, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (moment, self._count, event))

    def _freer(self, lawyer: int) -> Callable[[], None]:
        def free() -> None:
            self.market.loads.in_flight[lawyer] -= 1

        return free

    def _signer(self, contract: Contract) -> Callable[[], None]:
        def sign() -> None:
            self.market.loads.cases[contract.lawyer] += 1
            self.contracts.append(contract)
            self._signed.append(contract.signed_at)
            self._at(contract.counts_until, self._leaver(contract.lawyer))

        return sign

    def _leaver(self, lawyer: int) -> Callable[[], None]:
        def leave() -> None:
            self.market.loads.cases[lawyer] -= 1

        return leave
