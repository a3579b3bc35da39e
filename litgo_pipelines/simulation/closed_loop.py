"""The closed loop: ways of offering cases compared where what is decided shapes load, and load what is decided next. Nothing is stored.

Lawyers, cases and behaviour are those of the simulated marketplace; scoring, training, the offer rule and its price are the product's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.market import micros
from litgo_pipelines.casework.matching import Candidates, score_many
from litgo_pipelines.casework.price_replay import Past, lawyers_at, replay
from litgo_pipelines.casework.rehearsal import DAY, WINDOW, Conditions, Rehearsal
from litgo_pipelines.casework.responses import fit_responses
from litgo_pipelines.equity.allocation import Allocation, OfferRule, Policy, is_full, never
from litgo_pipelines.equity.distribution import Distribution, distribution
from litgo_pipelines.equity.policies import POLICIES
from litgo_pipelines.equity.pricing import choose
from litgo_pipelines.ranking.ranker import HandWeights, LightGBMRanker, Ranker
from litgo_pipelines.ranking.training_set import from_matches
from litgo_pipelines.rollout.steps import fit_ranker
from litgo_pipelines.simulation import behaviour
from litgo_pipelines.simulation.memory import START, SimulatedCase, World
from litgo_pipelines.simulation.reactions import Settled, TrueReactions, answers, match_log
from litgo_pipelines.simulation.yardstick import Yardstick

LEARNING_DAYS, SETTLING_DAYS, MEASURED_DAYS = 25, 30, 30
"""Days offered by the hand weights without a price, then days under the policy until its loads have settled, then days measured."""

REPLAYED_PRICES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
_TREES = 60
_RULE = OfferRule()
_LABELS = {"lost": 0, "declined": 1, "accepted": 2, "won": 3}


@dataclass(frozen=True)
class Setup:
    """What to live through.

    Attributes:
        utilisation: demand as a share of all lawyers' capacity.
        policy: a name of `policies.POLICIES`.
        rule: of the policy `price`.
        replayed_price: after the days of settling, let a replay of them choose the price among `REPLAYED_PRICES`.
        stale: decisions see loads as they were at night, and nothing of the day.
        lawyers, top_n: size of the marketplace, offers a case.
    """

    seed: int
    utilisation: float = 0.6
    policy: str = "price"
    rule: OfferRule = _RULE
    replayed_price: bool = False
    stale: bool = False
    lawyers: int = 800
    top_n: int = 5
    new_lawyer_offers: int = 10
    newcomer_days: int = 90
    least_lawyers: int = 30
    target_gini: float = 0.27
    most_gap: float = 0.20

    @property
    def days(self) -> int:
        """In all."""
        return LEARNING_DAYS + SETTLING_DAYS + MEASURED_DAYS


@dataclass(frozen=True)
class Findings:
    """What the last 30 days and their last night show; field names are those of `--json`. Relevance is the hidden one.

    Attributes:
        price: a of the offer rule in the end; None under other policies.
        load_offer_correlation: Spearman's, between load at 02:00 and offers over capacity in the 24 hours after, within an area;
            mean over areas and nights.
        rerank_p50_us: median microseconds to choose among the scored candidates of a case.
    """

    policy: str
    seed: int
    utilisation: float
    price: float | None
    gini_utilisation: float | None
    gini_offers: float | None
    share_offered: float | None
    mean_utilisation: float | None
    max_minus_min: float | None
    p95_minus_p5: float | None
    utilisation_gap_area: float | None
    utilisation_gap_capacity: float | None
    utilisation_gap_new: float | None
    mean_relevance: float
    ndcg5_loss: float
    available_ndcg5: float
    fill_rate: float
    load_offer_correlation: float
    rerank_p50_us: float
    lawyers: int
    cases: int
    contracts: int
    seconds: float

    def to_json(self) -> dict[str, object]:
        """By name; what is unknown is None."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def live(setup: Setup, on_day: Callable[[int, int], None] = lambda _done, _of: None) -> Findings:
    """Live through one marketplace.

    Args:
        on_day: told of days done and of all.

    Raises:
        ValueError: a policy or size that makes no sense.
        InsufficientData: so small a marketplace that no ranker can be trained.
        TooLittleRecorded: so small a marketplace that nothing can be replayed.
    """
    if setup.policy not in POLICIES or setup.lawyers < 1 or setup.top_n < 1 or not 0 < setup.utilisation < 2:
        raise ValueError("a marketplace needs a known policy, at least one lawyer and offer, and a utilisation between 0 and 2")
    began = time.perf_counter()
    loop = _Loop(setup)
    for day in range(setup.days):
        if day == LEARNING_DAYS:
            loop.begin_policy()
        if day == LEARNING_DAYS + SETTLING_DAYS and setup.replayed_price:
            loop.refit_price(day)
        loop.live_day(day)
        on_day(day + 1, setup.days)
    return loop.findings(time.perf_counter() - began)


class _Timed:
    """A policy, and how long each of its calls took."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.seconds: list[float] = []

    def __call__(self, *arguments: object, **options: object) -> Allocation:
        began = time.perf_counter()
        found = self._policy(*arguments, **options)  # type: ignore[arg-type]  # passed on as they come
        self.seconds.append(time.perf_counter() - began)
        return found


class _Loop:
    """The state of one marketplace between days."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._world = World.make(setup.seed, setup.lawyers, setup.days)
        self._reactions = TrueReactions(self._world)
        self._ranker: Ranker = HandWeights()
        self._policy = _Timed(POLICIES[setup.policy])
        self._conditions = Conditions(top_n=setup.top_n, new_lawyer_offers=setup.new_lawyer_offers)
        self._rehearsal = Rehearsal(self._world.market, self._reactions, self._conditions, OfferRule(price=0.0, bonus=0.0))
        self._yardstick = Yardstick()
        self._lately: list[list[SimulatedCase]] = []
        self._nights: list[tuple[int, NDArray[np.float64]]] = []
        self._unsigned: list[tuple[Settled, NDArray[np.float32]]] = []

    def begin_policy(self) -> None:
        """A ranker learns from the days so far, and answers from here on, under the policy."""
        rows = from_matches(match_log(self._reactions.record, micros(self._now(LEARNING_DAYS))), _LABELS).split(0.2, 0.0)
        booster, bundle, _ = fit_ranker(rows, seed=self._setup.seed, threads=1, rounds=_TREES)
        self._ranker = LightGBMRanker("learned", booster, bundle.acceptance)
        self._conditions = replace(self._conditions, policy=self._policy, stale=self._setup.stale)
        self._rehearsal.change(self._conditions, self._setup.rule)

    def refit_price(self, day: int) -> None:
        """The price that a replay of the days of settling would choose, as the weekly refit does."""
        model = fit_responses(answers(self._reactions.record, self._now(day), self._ranker.version))
        found = replay(
            self._past(self._now(day - SETTLING_DAYS), self._now(day)),
            self._ranker,
            [replace(self._setup.rule, price=price) for price in REPLAYED_PRICES],
            model,
            top_n=self._setup.top_n,
            new_lawyer_offers=self._setup.new_lawyer_offers,
            newcomer_days=self._setup.newcomer_days,
            least_lawyers=self._setup.least_lawyers,
        )
        curve = [one.trade_off for one in found]
        choice = choose(curve, REPLAYED_PRICES, target_gini=self._setup.target_gini, most_gap=self._setup.most_gap)
        self._rehearsal.change(self._conditions, replace(self._setup.rule, price=choice.price))

    def _past(self, since: datetime, until: datetime) -> Past:
        """What happened between two moments, ready to be replayed: as `Past.read`, without what was signed later for cases of before."""
        market, contracts = self._world.market, self._rehearsal.contracts
        held = [one for one in contracts if one.signed_at <= micros(since) < one.counts_until]
        sent = [(at, chosen) for at, chosen in self._rehearsal.offers if at <= micros(since)]
        received, last_offered = np.zeros_like(market.profiles.received), np.full_like(market.loads.last_offered, never())
        for at, chosen in sent:
            received[chosen] += 1
            last_offered[chosen] = at
        cases = np.bincount([one.lawyer for one in held], minlength=len(received)).astype(np.float64)
        return Past(
            market=replace(
                market,
                profiles=replace(market.profiles, received=received),
                loads=replace(market.loads, cases=cases, last_offered=last_offered),
                as_of=since,
            ),
            contracts=held,
            sent=[(at, len(chosen)) for at, chosen in sent],
            cases=[(one.case, one.at) for day in self._lately for one in day if since < one.at <= until],
            until=micros(until),
            joined=self._world.joined,
            share=1.0,
        )

    def live_day(self, number: int) -> None:
        """Offer the day's cases, then let it be night."""
        cases = self._world.day(number, self._setup.utilisation)
        self._lately = [*self._lately[-SETTLING_DAYS:], cases]
        measured = number >= self._setup.days - MEASURED_DAYS
        if measured:
            loads = self._rehearsal.market.loads
            self._nights.append((micros(self._now(number)), loads.cases / loads.capacity))
        vectors = np.array([one.vector for one in cases])
        scored = score_many(self._rehearsal.market, [(one.case, one.at) for one in cases], self._ranker, vectors)
        for one, candidates in zip(cases, scored, strict=True):
            relevance = self._world.relevance(one, candidates)
            self._reactions.relevance = relevance
            # As it is, which under `stale` is not as the decision sees it.
            full = self._full(one, candidates)
            found = self._rehearsal.offer(one.case, one.at, candidates, self._ranker.version).allocation
            if measured:
                self._yardstick.note(relevance, candidates.score, found.chosen, full)
        settled = self._reactions.record[len(self._reactions.record) - len(cases) :]
        self._unsigned += [(one, case.vector) for one, case in zip(settled, cases, strict=True) if one.winner >= 0]
        self._night(number + 1)

    def _full(self, one: SimulatedCase, candidates: Candidates) -> NDArray[np.bool_]:
        """Which candidates have no room when the case comes in, shape (n,)."""
        self._rehearsal.advance(micros(one.at))
        market = self._rehearsal.market
        return is_full(market.u_eff(candidates.members), market.step(candidates.members))

    def _night(self, number: int) -> None:
        until = micros(self._now(number))
        self._rehearsal.night(until)
        profiles = self._world.market.profiles
        for review in [one for one in self._reactions.reviews if one.at <= until]:
            profiles.won[review.lawyer] += review.outcome == "won"
            profiles.lost[review.lawyer] += review.outcome == "lost"
            profiles.rating[review.lawyer] += (review.stars - profiles.rating[review.lawyer]) / behaviour.RATING_MEMORY
        self._reactions.reviews = [one for one in self._reactions.reviews if one.at > until]
        for settled, vector in self._unsigned:
            if settled.is_signed(until):
                profiles.texts[settled.decision.chosen[settled.winner]] += vector
        self._unsigned = [(settled, vector) for settled, vector in self._unsigned if not settled.is_signed(until)]

    def findings(self, seconds: float) -> Findings:
        """Measure."""
        setup, world, until = self._setup, self._world, micros(self._now(self._setup.days))
        there = world.joined <= until
        newcomer = world.joined > until - setup.newcomer_days * DAY
        lawyers = lawyers_at(self._rehearsal, until, world.areas, there, newcomer)
        found: Distribution = distribution(lawyers, least_lawyers=setup.least_lawyers)
        return Findings(
            policy=setup.policy,
            seed=setup.seed,
            utilisation=setup.utilisation,
            price=self._rehearsal.rule.price if setup.policy == "price" else None,
            gini_utilisation=found.gini_utilisation,
            gini_offers=found.gini_offers,
            share_offered=found.share_offered,
            mean_utilisation=found.mean_utilisation,
            max_minus_min=found.max_minus_min,
            p95_minus_p5=found.p95_minus_p5,
            utilisation_gap_area=found.gap_area,
            utilisation_gap_capacity=found.gap_capacity,
            utilisation_gap_new=found.gap_new,
            mean_relevance=self._yardstick.mean_relevance,
            ndcg5_loss=self._yardstick.ndcg5_loss,
            available_ndcg5=self._yardstick.available_ndcg5,
            fill_rate=self._yardstick.fill_rate,
            load_offer_correlation=self._correlation(),
            rerank_p50_us=float(np.median(self._policy.seconds) * 1e6),
            lawyers=found.lawyers,
            cases=self._yardstick.lists,
            contracts=sum(one.signed_at > until - WINDOW for one in self._rehearsal.contracts),
            seconds=seconds,
        )

    def _correlation(self) -> float:
        """See `Findings.load_offer_correlation`."""
        from scipy.stats import spearmanr

        capacity = self._world.market.loads.capacity
        found = []
        for night, used in self._nights:
            offers = np.zeros(len(used))
            for at, chosen in self._rehearsal.offers:
                if night < at <= night + DAY:
                    offers[chosen] += 1
            for area in np.unique(self._world.areas):
                those = (self._world.areas == area) & (self._world.joined <= night)
                if np.count_nonzero(those) >= self._setup.least_lawyers and np.ptp(used[those]) > 0 and np.ptp(offers[those]) > 0:
                    found.append(float(spearmanr(used[those], offers[those] / capacity[those]).statistic))
        return float(np.mean(found)) if found else float("nan")

    @staticmethod
    def _now(day: int) -> datetime:
        return START + timedelta(days=day)
