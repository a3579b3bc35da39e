"""How many cases an A/B test and interleaving need to tell the better of two rankers, in a marketplace in memory. Nothing is stored.

Lawyers, cases and answers are those of the simulated marketplace; lists, drafts and verdicts are the product's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from litgo_pipelines.casework.draws import as_numbers, paired, uniform
from litgo_pipelines.casework.market import micros
from litgo_pipelines.casework.matching import Candidates, decide_among, derived_id, score_many
from litgo_pipelines.casework.rehearsal import Conditions, Rehearsal
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.ranking.ranker import HandWeights, LightGBMRanker, Ranker
from litgo_pipelines.ranking.training_set import from_matches
from litgo_pipelines.rollout.assignment import place
from litgo_pipelines.rollout.interleaving import credit, team_draft
from litgo_pipelines.rollout.readout import METRICS, Counts, Measured, Metric, Minima, measure
from litgo_pipelines.rollout.steps import fit_ranker
from litgo_pipelines.simulation import behaviour
from litgo_pipelines.simulation.engine import TOP_N
from litgo_pipelines.simulation.memory import START, SimulatedCase, World
from litgo_pipelines.simulation.reactions import OFFER_LIFETIME, TrueReactions, match_log

LEARNING_DAYS = 25
"""Days offered by the hand weights, which the challenger learns from."""

_TREES = 60
_MOST_DAYS = 365
_LABELS = {"lost": 0, "declined": 1, "accepted": 2, "won": 3}
_RULE = OfferRule(exploration=0.0)
_EVEN = np.array([0.5])
_S_BLUR = 0
_ODD = np.array([0x9E3779B97F4A7C15 * (2 * one + 1) % 2**64 | 1 for one in range(8)], dtype=np.uint64)


@dataclass(frozen=True)
class Setup:
    """What is compared.

    Attributes:
        lawyers: size of the marketplace.
        cases: most cases of a repeat.
        repeats: marketplaces, each with a seed of its own.
        blur: how far the champion's judgement of each lawyer is off, in logits.
        utilisation: demand as a share of all lawyers' capacity.
        top_n: offers a case.
    """

    lawyers: int = 400
    cases: int = 8_000
    repeats: int = 7
    seed: int = 1
    blur: float = 1.8
    utilisation: float = 0.6
    top_n: int = TOP_N
    new_lawyer_offers: int = 10


@dataclass(frozen=True)
class Repeat:
    """One marketplace.

    Attributes:
        cases: that came in until both verdicts were there, or the cases were used up.
        champion, challenger: share of offers accepted within 24 hours, had each answered every case.
        ab_cases, interleaving_cases: by which the verdict said who is better; None: it did not.
        ab_wrong, interleaving_wrong: whether it named the worse.
    """

    seed: int
    cases: int
    champion: float
    challenger: float
    ab_cases: int | None
    interleaving_cases: int | None
    ab_wrong: bool
    interleaving_wrong: bool


@dataclass(frozen=True)
class Findings:
    """All repeats; field names are those of `--json`.

    Attributes:
        champion_accepted, challenger_accepted: mean shares of offers accepted.
        lift: of the challenger, relative.
        ab_cases_median, interleaving_cases_median: None where half of the repeats or more did not decide.
        ratio: of the medians.
    """

    lawyers: int
    top_n: int
    repeats: int
    most_cases: int
    seed: int
    blur: float
    champion_accepted: float
    challenger_accepted: float
    lift: float
    ab_cases_median: float | None
    interleaving_cases_median: float | None
    ratio: float | None
    not_decided_ab: int
    not_decided_interleaving: int
    wrong_ab: int
    wrong_interleaving: int
    each: list[Repeat]
    seconds: float

    def to_json(self) -> dict[str, object]:
        """By name; what is unknown is None."""
        return asdict(self)


@dataclass(frozen=True)
class Blurred:
    """A ranker whose judgement of every pair is off by chance, of the same pair always alike; the mean of many is about right."""

    ranker: Ranker
    blur: float

    @property
    def version(self) -> str:
        return f"{self.ranker.version}-blurred"

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """As the ranker itself. Shape (n, 8) to (n,)."""
        return self.ranker.score(features)

    def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(accept), off by normal noise in logits. Shapes (n, 8) and (n,) to (n,)."""
        bits = np.ascontiguousarray(features, dtype=np.float32).view(np.uint32).astype(np.uint64)
        noise = ndtri(np.clip(uniform((bits * _ODD).sum(axis=1, dtype=np.uint64), _S_BLUR), 1e-9, 1 - 1e-9))
        return np.asarray(expit(logit(self.ranker.acceptance(features, raw)) + self.blur * noise))


def compare(setup: Setup, on_repeat: Callable[[int, int], None] = lambda _done, _of: None) -> Findings:
    """Let both ways of comparing find out which ranker is better, on the same cases, in several marketplaces.

    A ranker learns from 25 days under the hand weights: it is the challenger. The champion is the same ranker with its judgement blurred.
    Then cases come in; for each, both make their list under the offer rule at the same loads, which are those that the champion's offers
    make. The A/B test offers one of the lists, by a hash of the client; interleaving offers the draft of both. A lawyer answers the same in
    whichever list.

    Both are read after every case, an answer counting as soon as the offer is made. The A/B test judges by the metric `accepted` alone, at
    its part of the level; a real one may also be decided by contracts.

    Args:
        on_repeat: told of repeats done and of all.

    Raises:
        ValueError: a setup that makes no sense.
        InsufficientData: so small a marketplace that no ranker can be trained.
    """
    if setup.lawyers < 1 or setup.cases < 1 or setup.repeats < 1 or setup.blur < 0 or setup.top_n < 1 or not 0 < setup.utilisation < 2:
        raise ValueError("a comparison needs lawyers, cases, repeats and offers, a blur of 0 or more, and a utilisation between 0 and 2")
    began = time.perf_counter()
    each = []
    for number in range(setup.repeats):
        each.append(_Duel(setup, setup.seed + number).fight())
        on_repeat(number + 1, setup.repeats)
    champion, challenger = (float(np.mean([getattr(one, name) for one in each])) for name in ("champion", "challenger"))
    ab, interleaving = _median([one.ab_cases for one in each]), _median([one.interleaving_cases for one in each])
    return Findings(
        lawyers=setup.lawyers,
        top_n=setup.top_n,
        repeats=setup.repeats,
        most_cases=setup.cases,
        seed=setup.seed,
        blur=setup.blur,
        champion_accepted=champion,
        challenger_accepted=challenger,
        lift=challenger / champion - 1,
        ab_cases_median=ab,
        interleaving_cases_median=interleaving,
        ratio=None if ab is None or interleaving is None else ab / interleaving,
        not_decided_ab=sum(one.ab_cases is None for one in each),
        not_decided_interleaving=sum(one.interleaving_cases is None for one in each),
        wrong_ab=sum(one.ab_wrong for one in each),
        wrong_interleaving=sum(one.interleaving_wrong for one in each),
        each=each,
        seconds=time.perf_counter() - began,
    )


def _median(cases: list[int | None]) -> float | None:
    """Undecided repeats count as later than all others."""
    found = float(np.median([math.inf if one is None else one for one in cases]))
    return found if math.isfinite(found) else None


@dataclass
class _Seen:
    """What came of each case so far, in their order."""

    champion: list[float] = field(default_factory=list)
    challenger: list[float] = field(default_factory=list)
    treated: list[bool] = field(default_factory=list)
    wins: list[int] = field(default_factory=list)
    """1: the challenger's, -1: the champion's."""

    def ab(self) -> Measured:
        """The A/B test after each case, shape (cases,)."""
        treated = np.array(self.treated)
        arms = [_shares(np.array(of), mine) for of, mine in ((self.champion, ~treated), (self.challenger, treated))]
        return _measured(METRICS["ab"][0], *arms)

    def interleaving(self) -> Measured:
        """Interleaving after each case, shape (cases,)."""
        wins = np.array(self.wins)
        return _measured(METRICS["interleaving"][0], *(_won(wins == of) for of in (-1, 1)))


def _shares(share: NDArray[np.float64], mine: NDArray[np.bool_]) -> Counts:
    columns = (np.ones_like(share), (share > 0).astype(np.float64), share, share**2)
    return Counts(*(np.cumsum(mine * one)[:, None] for one in columns))


def _won(won: NDArray[np.bool_]) -> Counts:
    cases = np.arange(1.0, won.size + 1)[:, None]
    wins = np.cumsum(won)[:, None].astype(np.float64)
    return Counts(cases, wins, wins, wins)


def _measured(metric: Metric, champion: Counts, challenger: Counts) -> Measured:
    return measure(metric, champion, challenger, _EVEN, Minima())


def _decided(found: Measured) -> tuple[int | None, bool]:
    """The first case after which there was a verdict, counted from 1, and whether the verdict was for the champion."""
    at = np.flatnonzero(found.won | found.harmed)
    return (int(at[0]) + 1, bool(found.harmed[at[0]])) if at.size else (None, False)


class _Duel:
    """One marketplace, and what was seen in it."""

    def __init__(self, setup: Setup, seed: int) -> None:
        self._setup, self._seed = setup, seed
        self._world = World.make(seed, setup.lawyers, _MOST_DAYS)
        self._reactions = TrueReactions(self._world)
        conditions = Conditions(top_n=setup.top_n, new_lawyer_offers=setup.new_lawyer_offers)
        self._rehearsal = Rehearsal(self._world.market, self._reactions, conditions, OfferRule(price=0.0, bonus=0.0))
        self._conditions = conditions
        self._seen = _Seen()

    def fight(self) -> Repeat:
        """Learn, then let cases come until both know who is better."""
        challenger = self._learned()
        champion = Blurred(challenger, self._setup.blur)
        self._rehearsal.change(self._conditions, _RULE)
        day = LEARNING_DAYS
        ab: tuple[int | None, bool] = (None, False)
        interleaving = ab
        while (ab[0] is None or interleaving[0] is None) and len(self._seen.wins) < self._setup.cases and day < _MOST_DAYS:
            for one, candidates in self._scored(day, champion):
                if len(self._seen.wins) < self._setup.cases:
                    self._show_both(one, candidates, champion, challenger)
            self._night(day + 1)
            day += 1
            if self._seen.wins:
                ab, interleaving = _decided(self._seen.ab()), _decided(self._seen.interleaving())
        seen = self._seen
        shares = float(np.mean(seen.champion)), float(np.mean(seen.challenger))
        return Repeat(self._seed, len(seen.wins), *shares, ab[0], interleaving[0], ab[1], interleaving[1])

    def _scored(self, day: int, ranker: Ranker) -> Iterator[tuple[SimulatedCase, Candidates]]:
        """The cases of a day in turn, scored, with everything due before each done and its hidden relevance known to who answers."""
        cases = self._world.day(day, self._setup.utilisation)
        vectors = np.array([one.vector for one in cases])
        scored = score_many(self._rehearsal.market, [(one.case, one.at) for one in cases], ranker, vectors)
        for one, candidates in zip(cases, scored, strict=True):
            self._reactions.relevance = self._world.relevance(one, candidates)
            self._rehearsal.advance(micros(one.at))
            yield one, candidates

    def _night(self, day: int) -> None:
        self._rehearsal.night(micros(START + timedelta(days=day)))

    def _learned(self) -> Ranker:
        """Live through the days of the hand weights, and train on them."""
        hand_weights = HandWeights()
        for day in range(LEARNING_DAYS):
            for one, candidates in self._scored(day, hand_weights):
                self._rehearsal.offer(one.case, one.at, candidates, hand_weights.version)
            self._night(day + 1)
        known = match_log(self._reactions.record, micros(START + timedelta(days=LEARNING_DAYS)))
        booster, bundle, _ = fit_ranker(from_matches(known, _LABELS).split(0.2, 0.0), seed=self._seed, threads=1, rounds=_TREES)
        return LightGBMRanker("challenger", booster, bundle.acceptance)

    def _show_both(self, one: SimulatedCase, candidates: Candidates, champion: Ranker, challenger: Ranker) -> None:
        """Note what both lists and their draft would have come to; the champion's is offered, and moves the loads."""
        accepts = self._accepts(one, candidates)
        score = challenger.acceptance(candidates.features, candidates.raw)
        theirs = self._chosen(one, replace(candidates, score=score), challenger)
        ours = self._rehearsal.offer(one.case, one.at, candidates, champion.version).allocation.chosen
        if not ours.size:
            return
        draft = team_draft(ours.tolist(), theirs.tolist(), ours.size, np.random.default_rng(derived_id(one.case.id, "draft").int))
        winner = credit(draft.teams, accepts[draft.order].tolist())
        self._seen.champion.append(float(accepts[ours].mean()))
        self._seen.challenger.append(float(accepts[theirs].mean()))
        self._seen.treated.append(place(one.case.client_id, f"duel {self._seed}") < 0.5)
        self._seen.wins.append(0 if winner is None else 1 if winner == "challenger" else -1)

    def _chosen(self, one: SimulatedCase, candidates: Candidates, ranker: Ranker) -> NDArray[np.intp]:
        """Whom a ranker would offer the case to at the loads as they are, as indices into the candidates, shape (k,)."""
        decision = decide_among(
            self._rehearsal.market,
            one.case,
            candidates,
            ranker.version,
            self._rehearsal.rule,
            request_id=derived_id(one.case.id, "rehearsed"),
            at=one.at,
            top_n=self._setup.top_n,
            new_lawyer_offers=self._setup.new_lawyer_offers,
        )
        return decision.allocation.chosen

    def _accepts(self, one: SimulatedCase, candidates: Candidates) -> NDArray[np.bool_]:
        """Who would accept the case within a day if offered it, shape (n,): the draws of `TrueReactions`."""
        members, loads = candidates.members, self._rehearsal.market.loads
        draws = paired(self._world.numbers[members], as_numbers(np.frombuffer(one.case.id.bytes, dtype="V16"))[0])
        silent = behaviour.is_silent(draws) | (behaviour.answer_delay(draws, self._world.traits[members, 2]) >= OFFER_LIFETIME)
        utilisation = loads.cases[members] / loads.capacity[members]
        return np.asarray(~silent & behaviour.accepts(draws, self._reactions.relevance, utilisation))
