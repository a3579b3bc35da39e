"""Which lawyers a case is shown to. Pure: nothing here reads or writes a database.

Serving, the simulator and every replay decide here. How candidates are scored is `ranking`'s, in which order they are offered is
`equity`'s; here both meet. Writing what was decided, on which the database's loads have the last word, is `recording`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.market import Market, Profiles, micros
from litgo_pipelines.equity.allocation import Allocation, OfferRule, Policy, allocate
from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.vectors import SpacesDiffer, Vectors
from litgo_pipelines.ranking.features import distance_km, feature_matrix
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.ranking.text import SPACE, cosine_to_sums, hybrid, hybrid_space, vectorise
from litgo_pipelines.rollout.assignment import Variant
from litgo_pipelines.rollout.interleaving import Team, team_draft


@dataclass(frozen=True)
class Case:
    """What matching needs to know of a case; distances in kilometres, urgency in hours."""

    id: UUID
    client_id: UUID
    area: str
    subarea: str | None
    urgency_h: int
    radius_km: int
    summary: str
    lat: float | None = None
    lng: float | None = None


@dataclass(frozen=True)
class Exposure:
    """That a request takes part in an experiment: on which side, at which step of the ramp, and the model of the other side.

    Interleaved, the champion's scores are the request's own and `other` is the challenger.
    """

    experiment_id: UUID
    variant: Variant
    step: int
    other: Ranker


@dataclass(frozen=True)
class Candidates:
    """The eligible lawyers of a case, scored. Shapes (n,) but for features (n, 8)."""

    members: NDArray[np.intp]
    features: NDArray[np.float32]
    raw: NDArray[np.float64]
    score: NDArray[np.float64]


def score_candidates(
    market: Market,
    case: Case,
    ranker: Ranker,
    at: datetime,
    *,
    exclude: frozenset[UUID] = frozenset(),
    vector: NDArray[np.float32] | None = None,
    meaning: Vectors | None = None,
) -> Candidates:
    """Score every eligible lawyer for a case: active, not absent at `at`, practising the area, not in `exclude`.

    Args:
        vector: the case text's hashed words, where they are known already.
        meaning: the text by a model, one row, in a space in which the market has the lawyers too; None: words alone are compared.

    Raises:
        SpacesDiffer: the market has no vectors in that space.
    """
    members, features = _eligible(market, case, at, exclude, vectorise([case.summary])[0] if vector is None else vector, meaning)
    return _scored([members], features, ranker)[0]


def score_many(
    market: Market, cases: Sequence[tuple[Case, datetime]], ranker: Ranker, vectors: NDArray[np.float32] | None = None
) -> list[Candidates]:
    """`score_candidates` for each case at its time, with one call to the ranker for all.

    Args:
        vectors: shape (cases, DIMENSION), of the cases' texts, where they are known already.
    """
    if vectors is None:
        vectors = vectorise([case.summary for case, _ in cases])
    found = [_eligible(market, case, at, frozenset(), vector) for (case, at), vector in zip(cases, vectors, strict=True)]
    if not found:
        return []
    return _scored([members for members, _ in found], np.concatenate([features for _, features in found]), ranker)


def _eligible(
    market: Market, case: Case, at: datetime, exclude: frozenset[UUID], vector: NDArray[np.float32], meaning: Vectors | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Indices of the eligible lawyers, shape (n,), and their features, shape (n, 8)."""
    pool = market.profiles.pools.get(case.area)
    if pool is None:
        return np.zeros(0, dtype=np.intp), np.zeros((0, len(tables.FEATURES)), dtype=np.float32)
    moment = micros(at)
    eligible = market.available(pool.members, moment)
    if exclude:
        away = [row for one in exclude if (row := market.profiles.row.get(one.bytes)) is not None]
        eligible &= ~np.isin(pool.members, away)
    members, match = pool.members[eligible], pool.match[eligible]
    profiles = market.profiles
    similarity = cosine_to_sums(vector, profiles.texts[members])
    if meaning is not None:
        similarity = hybrid(similarity, _alike(profiles, members, meaning))
    features = feature_matrix(
        area_match=match,
        similarity=similarity,
        won=profiles.won[members],
        lost=profiles.lost[members],
        distance_km=distance_km(
            profiles.lat[members],
            profiles.lng[members],
            np.nan if case.lat is None else case.lat,
            np.nan if case.lng is None else case.lng,
        ),
        radius_km=case.radius_km,
        qualification=profiles.qualification[members],
        response_h=profiles.response_h[members],
        urgency_h=case.urgency_h,
        rating=profiles.rating[members],
        soft_skill=profiles.soft_skill[members],
    )
    return members, features


def _alike(profiles: Profiles, members: NDArray[np.intp], meaning: Vectors) -> NDArray[np.float64]:
    """Cosine of a text with what lawyers handled, by a model; NaN where they have no vector. Shape of members."""
    theirs = profiles.meanings.get(meaning.space)
    if theirs is None:
        raise SpacesDiffer(f"what the lawyers handled has no vectors in {meaning.space}: run `litgo embeddings backfill`")
    return np.asarray(Vectors(theirs.space, theirs.rows[members]).cosines(meaning)[:, 0], dtype=np.float64)


def _scored(members: list[NDArray[np.intp]], features: NDArray[np.float32], ranker: Ranker) -> list[Candidates]:
    """Candidates of each list of members, whose features follow one another in `features`."""
    raw = ranker.score(features) if len(features) else np.zeros(0)
    score = ranker.acceptance(features, raw) if len(features) else np.zeros(0)
    ends = np.cumsum([len(one) for one in members])[:-1]
    parts = zip(members, np.split(features, ends), np.split(raw, ends), np.split(score, ends), strict=True)
    return [Candidates(*part) for part in parts]


def decide(
    market: Market,
    case: Case,
    ranker: Ranker,
    rule: OfferRule,
    *,
    request_id: UUID,
    at: datetime,
    top_n: int,
    new_lawyer_offers: int,
    exclude: frozenset[UUID] = frozenset(),
    vector: NDArray[np.float32] | None = None,
    meaning: Vectors | None = None,
    exposure: Exposure | None = None,
) -> Decision:
    """Choose up to `top_n` lawyers for a case. Pure: nothing is read or written but the arguments.

    Whether this request explores, and what it draws, follows from its id.

    Args:
        new_lawyer_offers: offers received after which a lawyer is no longer new.
        exclude: lawyers who are not to be shown, such as those who have an offer for the case.
        vector, meaning: see `score_candidates`.
        exposure: the experiment that the request takes part in.
    """
    candidates = score_candidates(market, case, ranker, at, exclude=exclude, vector=vector, meaning=meaning)
    space = hybrid_space(None if meaning is None else meaning.space)
    ask = _Ask(request_id, case, at, ranker.version, rule, top_n, new_lawyer_offers, allocate, space, exposure)
    return _allocated(market, ask, candidates)


def decide_among(
    market: Market,
    case: Case,
    candidates: Candidates,
    model_version: str,
    rule: OfferRule,
    *,
    request_id: UUID,
    at: datetime,
    top_n: int,
    new_lawyer_offers: int,
    policy: Policy = allocate,
) -> Decision:
    """`decide` where the candidates are scored already, or under another policy than the offer rule."""
    return _allocated(market, _Ask(request_id, case, at, model_version, rule, top_n, new_lawyer_offers, policy, SPACE, None), candidates)


def decide_anew(market: Market, decision: Decision, among: Candidates | None = None) -> Decision:
    """The same candidates with the same scores, chosen among by the loads as they are in `market` now. Cheap beside `decide`.

    Args:
        among: those of the candidates who still come into question; by default all.
    """
    return _allocated(market, decision.ask, decision.candidates if among is None else among)


@dataclass(frozen=True)
class _Ask:
    """What was asked, apart from how the candidates look."""

    request_id: UUID
    case: Case
    at: datetime
    model_version: str
    rule: OfferRule
    top_n: int
    new_lawyer_offers: int
    policy: Policy
    space: str
    exposure: Exposure | None


@dataclass(frozen=True)
class Decision:
    """Who is shown a case, with all that explains it. Arrays have one entry a candidate, shape (n,).

    Attributes:
        lawyers: ids, 16 bytes each.
        names: ids of the whole market, by its indices.
        u_eff: load when it was decided.
        step: what one more offer adds to it.
        is_new: whether the bonus is due.
        last_offered: when each was offered a case last, before this one; as `equity.allocation.allocate` takes it.
        p_win: probability that an offer becomes a contract.
        allocation: the outcome of the offer rule.
        teams: whose each place is, shape (k,), where the request is interleaved.
    """

    ask: _Ask
    candidates: Candidates
    lawyers: NDArray[np.void]
    names: Sequence[UUID]
    u_eff: NDArray[np.float64]
    step: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    last_offered: NDArray[np.int64]
    p_win: float
    allocation: Allocation
    teams: tuple[Team, ...] | None

    @property
    def request_id(self) -> UUID:
        """The request that this answers."""
        return self.ask.request_id

    @property
    def case(self) -> Case:
        """The case that lawyers were sought for."""
        return self.ask.case

    @property
    def model_version(self) -> str:
        """What scored the candidates."""
        return self.ask.model_version

    @property
    def other_scores(self) -> NDArray[np.float64] | None:
        """Acceptance by the model of the other side for those shown, shape (k,); None outside of an experiment."""
        exposure = self.ask.exposure
        if exposure is None:
            return None
        return _acceptance(exposure.other, self.candidates.features[self.allocation.chosen])

    @property
    def chosen(self) -> NDArray[np.intp]:
        """Indices into the market of the lawyers shown, best first."""
        return self.candidates.members[self.allocation.chosen]

    @property
    def chosen_ids(self) -> list[UUID]:
        """The lawyers shown, best first."""
        return [self.names[one] for one in self.chosen.tolist()]

    def match_id(self, position: int) -> UUID:
        """Id of the match at a position (from 1)."""
        return derived_id(self.request_id, f"match {position}")

    def offer_id(self, position: int) -> UUID:
        """Id of the offer made to the lawyer at a position (from 1), where offers are made."""
        return derived_id(self.request_id, f"offer {position}")


def derived_id(origin: UUID, purpose: str) -> UUID:
    """A stable id for something that belongs to `origin`."""
    return UUID(bytes=hashlib.blake2b(origin.bytes + purpose.encode(), digest_size=16).digest())


def _allocated(market: Market, ask: _Ask, candidates: Candidates) -> Decision:
    members = candidates.members
    u_eff = market.u_eff(members)
    step = market.step(members)
    lawyers = market.profiles.ids[members]
    is_new = market.profiles.received[members] < ask.new_lawyer_offers
    last_offered = market.loads.last_offered[members]

    def by(score: NDArray[np.float64]) -> Allocation:
        return ask.policy(
            score,
            u_eff,
            is_new,
            last_offered,
            lawyers,
            ask.case.id.bytes,
            ask.top_n,
            ask.rule,
            step=step,
            explore=None if interleaved else _explorer(ask.request_id, ask.rule.exploration),
        )

    exposure = ask.exposure
    interleaved = exposure is not None and exposure.variant == "interleaved"
    allocation, teams = by(candidates.score), None
    if exposure is not None and interleaved:
        challenger = by(_acceptance(exposure.other, candidates.features))
        allocation, teams = _interleaved(allocation, challenger, ask.request_id)
    return Decision(
        ask, candidates, lawyers, market.profiles.uuids, u_eff, step, is_new, last_offered, market.loads.p_win, allocation, teams
    )


def _acceptance(ranker: Ranker, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return ranker.acceptance(features, ranker.score(features)) if len(features) else np.zeros(0)


def _interleaved(champion: Allocation, challenger: Allocation, request_id: UUID) -> tuple[Allocation, tuple[Team, ...]]:
    """One list of both models' lists, told by the champion's values; who is full depends on loads alone, so both agree on that."""
    drawn = hashlib.blake2b(request_id.bytes, digest_size=8, person=b"draft").digest()
    generator = np.random.default_rng(int.from_bytes(drawn))
    drafted = team_draft(champion.chosen.tolist(), challenger.chosen.tolist(), len(champion.chosen), generator)
    chosen = np.array(drafted.order, dtype=np.intp)
    filled = champion.full[chosen]
    cutoff = float(champion.value[chosen[~filled]].min()) if (~filled).any() else float("nan")
    return replace(champion, chosen=chosen, filled=filled, propensity=np.ones(len(chosen)), cutoff=cutoff), tuple(drafted.teams)


def _explorer(request_id: UUID, share: float) -> np.random.Generator | None:
    drawn = hashlib.blake2b(request_id.bytes, digest_size=16, person=b"explore").digest()
    if int.from_bytes(drawn[:8]) / 2**64 >= share:
        return None
    return np.random.default_rng(int.from_bytes(drawn[8:]))


def note_offers(market: Market, decision: Decision) -> None:
    """Count the offers of a decision in memory at once, before they are written: the next decision must see them."""
    moment = micros(decision.ask.at)
    market.note_offers(decision.chosen, moment)
