"""Which lawyers a case is shown to: `decide` is pure, `record` writes what was decided.

Serving, the simulator and every replay use these two. How candidates are scored is `ranking`'s, in which order they are
offered is `equity`'s; here both meet, and the database's word on loads is final.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.market import FreshLoad, Market, micros, reread_loads
from litgo_pipelines.equity.allocation import Allocation, OfferRule, allocate, effective_load, is_full
from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.bulk import copy_rows
from litgo_pipelines.ranking.features import distance_km, feature_matrix
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.ranking.text import SPACE, cosine_to_sums, vectorise
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_OPTIMISTIC_ATTEMPTS = 3
_MOST_ATTEMPTS = 12


class CaseNotOpen(LitgoError):
    """Offers were asked for a case that is contracted, closed or canceled."""


class TooBusy(LitgoError):
    """Other requests kept taking the same lawyers; asking again is safe, nothing was written."""


class RequestGivenUp(LitgoError):
    """The request was marked as failed before its answer could be written; nothing of the answer was."""


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
) -> Candidates:
    """Score every eligible lawyer for a case: active, not absent at `at`, practising the area, not in `exclude`.

    Args:
        vector: the case text's vector, where it is known already.
    """
    pool = market.profiles.pools.get(case.area)
    if pool is None:
        none = np.zeros(0)
        return Candidates(none.astype(np.intp), np.zeros((0, len(tables.FEATURES)), dtype=np.float32), none, none)
    moment = micros(at)
    assert moment is not None
    eligible = market.available(pool.members, moment)
    if exclude:
        away = [row for one in exclude if (row := market.profiles.row.get(one.bytes)) is not None]
        eligible &= ~np.isin(pool.members, away)
    members, match = pool.members[eligible], pool.match[eligible]
    profiles = market.profiles
    if vector is None:
        vector = vectorise([case.summary])[0]
    features = feature_matrix(
        area_match=match,
        similarity=cosine_to_sums(vector, profiles.texts[members]),
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
    raw = ranker.score(features) if len(members) else np.zeros(0)
    score = ranker.acceptance(features, raw) if len(members) else np.zeros(0)
    return Candidates(members, features, raw, score)


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
) -> Decision:
    """Choose up to `top_n` lawyers for a case. Pure: nothing is read or written but the arguments.

    Whether this request explores, and what it draws, follows from its id.

    Args:
        new_lawyer_offers: offers received after which a lawyer is no longer new.
        exclude: lawyers who are not to be shown, such as those who have an offer for the case.
    """
    candidates = score_candidates(market, case, ranker, at, exclude=exclude, vector=vector)
    ask = _Ask(request_id, case, at, ranker.version, rule, top_n, new_lawyer_offers)
    return _allocated(market, ask, candidates)


def decide_anew(market: Market, decision: Decision) -> Decision:
    """The same candidates with the same scores, chosen among by the loads as they are in `market` now. Cheap beside `decide`."""
    return _allocated(market, decision.ask, decision.candidates)


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


@dataclass(frozen=True)
class Decision:
    """Who is shown a case, with all that explains it. Arrays have one entry a candidate, shape (n,).

    Attributes:
        lawyers: ids, 16 bytes each.
        names: ids of the whole market, by its indices.
        u_eff: load when it was decided.
        step: what one more offer adds to it.
        p_win: probability that an offer becomes a contract.
        allocation: the outcome of the offer rule.
    """

    ask: _Ask
    candidates: Candidates
    lawyers: NDArray[np.void]
    names: Sequence[UUID]
    u_eff: NDArray[np.float64]
    step: NDArray[np.float64]
    p_win: float
    allocation: Allocation

    @property
    def request_id(self) -> UUID:
        return self.ask.request_id

    @property
    def case(self) -> Case:
        return self.ask.case

    @property
    def model_version(self) -> str:
        return self.ask.model_version

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
    step = market.loads.p_win / np.maximum(1.0, market.loads.capacity[members])
    lawyers = market.profiles.ids[members]
    allocation = allocate(
        candidates.score,
        u_eff,
        market.profiles.received[members] < ask.new_lawyer_offers,
        market.loads.last_offered[members],
        lawyers,
        ask.case.id.bytes,
        ask.top_n,
        ask.rule,
        step=step,
        explore=_explorer(ask.request_id, ask.rule.exploration),
    )
    return Decision(ask, candidates, lawyers, market.profiles.uuids, u_eff, step, market.loads.p_win, allocation)


def _explorer(request_id: UUID, share: float) -> np.random.Generator | None:
    drawn = hashlib.blake2b(request_id.bytes, digest_size=16, person=b"explore").digest()
    if int.from_bytes(drawn[:8]) / 2**64 >= share:
        return None
    return np.random.default_rng(int.from_bytes(drawn[8:]))


def note_offers(market: Market, decision: Decision) -> None:
    """Count the offers of a decision in memory at once, before they are written: the next decision must see them."""
    moment = micros(decision.ask.at)
    assert moment is not None
    market.note_offers(decision.chosen, moment)


@dataclass(frozen=True)
class Recording:
    """How decisions are written.

    Attributes:
        offer_lifetime: time to answer; None: no offers are made.
        recorded_candidates: candidates logged per request, those shown included.
        opened: whether the request's row exists already (`open_request`), so that it is completed instead of added.
        clock: asked for the end of the request; None leaves the duration unknown.
        answer: what is kept to answer a repeat of the same idempotency key.
    """

    offer_lifetime: timedelta | None
    recorded_candidates: int
    opened: bool = False
    clock: Callable[[], datetime] | None = None
    answer: Callable[[Decision], str] | None = None


class _Disagreed(Exception):
    """The database's loads did not bear the decisions out; carries new ones."""

    def __init__(self, decisions: list[Decision]) -> None:
        self.decisions = decisions


def record(bind: Engine | Connection, market: Market, decisions: Sequence[Decision], how: Recording) -> list[Decision]:
    """Write matches, candidates and offers of many decisions in one transaction.

    Where offers are made, the chosen lawyers are locked in the order of their ids and their loads read again; a decision that
    would carry one of them above capacity is taken anew. The offers of `decisions` must have been noted in `market`.

    Args:
        bind: an engine, for a transaction of its own, or the connection of a transaction that this becomes a part of.

    Returns:
        The decisions as written, in the same order.

    Raises:
        CaseNotOpen: offers for a case that takes none; nothing is written.
        TooBusy: the lawyers kept being taken by others; nothing is written.
        RequestGivenUp: an opened request was ended in the meantime; nothing is written.
    """
    from psycopg import errors
    from sqlalchemy import Connection
    from sqlalchemy.exc import DBAPIError

    current = list(decisions)
    for attempt in range(_MOST_ATTEMPTS):
        try:
            if isinstance(bind, Connection):
                with bind.begin_nested():
                    return _agreed_and_written(bind, market, current, how, lock_all=attempt >= _OPTIMISTIC_ATTEMPTS)
            with bind.begin() as connection:
                return _agreed_and_written(connection, market, current, how, lock_all=attempt >= _OPTIMISTIC_ATTEMPTS)
        except _Disagreed as disagreed:
            current = disagreed.decisions
        except DBAPIError as error:
            if not isinstance(error.orig, errors.DeadlockDetected | errors.SerializationFailure):
                raise
    raise TooBusy("other requests kept taking the same lawyers: ask again, nothing was written")


def _agreed_and_written(
    connection: Connection, market: Market, decisions: list[Decision], how: Recording, *, lock_all: bool
) -> list[Decision]:
    if how.offer_lifetime is not None:
        agreed = _agree(connection, market, decisions, lock_all=lock_all)
        if agreed is not decisions and not lock_all:
            raise _Disagreed(agreed)
        decisions = agreed
    _write(connection, decisions, how)
    return decisions


def _agree(connection: Connection, market: Market, decisions: list[Decision], *, lock_all: bool) -> list[Decision]:
    """Lock cases and lawyers, and compare with the database's loads. The same list where all holds, else new decisions.

    With `lock_all` every candidate is locked, so that new decisions hold as well.
    """
    taken = _lock_cases(connection, [decision.case.id for decision in decisions])
    shown = [d.lawyers if lock_all else d.lawyers[d.allocation.chosen] for d in decisions]
    # A list is filled up only while nobody else is free, which the loads of those who were not chosen tell.
    others = [d.lawyers for d in decisions if not lock_all and d.allocation.filled.any()]
    fresh = _lock_lawyers(connection, _distinct(shown), _distinct(shown + others), decisions)
    if not lock_all and _fits(decisions, fresh, taken):
        return decisions
    # A copy of our own: what other threads note meanwhile in the shared loads must not hide what was just read.
    own = market.with_own_loads()
    own.note_loads(fresh)
    anew = []
    for decision in decisions:
        candidates = _without(own, decision.candidates, taken.get(decision.case.id, frozenset()))
        anew.append(_allocated(own, decision.ask, candidates))
        note_offers(own, anew[-1])
    market.note_loads(fresh)
    for decision in anew:
        note_offers(market, decision)
    return anew


def _distinct(lawyers: list[NDArray[np.void]]) -> list[UUID]:
    return [UUID(bytes=one.tobytes()) for one in np.unique(np.concatenate([*lawyers, np.zeros(0, "V16")]))]


def _lock_cases(connection: Connection, case_ids: list[UUID]) -> dict[UUID, frozenset[UUID]]:
    """Lock the cases and tell which lawyers have an offer for each."""
    from sqlalchemy import text

    rows = connection.execute(
        text("SELECT id, status FROM litgo.cases WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"), {"ids": case_ids}
    ).all()
    for case_id, status in rows:
        if status != "open":
            raise CaseNotOpen(f"case {case_id} is {status}: it takes no more offers")
    taken: dict[UUID, set[UUID]] = {}
    for case_id, lawyer in connection.execute(
        text("SELECT case_id, lawyer_id FROM litgo.offers WHERE case_id = ANY(:ids)"), {"ids": case_ids}
    ):
        taken.setdefault(case_id, set()).add(lawyer)
    return {case_id: frozenset(lawyers) for case_id, lawyers in taken.items()}


def _lock_lawyers(connection: Connection, lawyers: list[UUID], look_at: list[UUID], decisions: list[Decision]) -> dict[bytes, FreshLoad]:
    """Lock `lawyers`, then read the loads of `look_at`; who was deleted meanwhile counts as inactive."""
    from sqlalchemy import text

    connection.execute(text("SELECT FROM litgo.lawyers WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"), {"ids": lawyers})
    # A statement of its own: only what starts after the locks are held sees what others wrote before.
    found = reread_loads(connection, look_at, max(decision.ask.at for decision in decisions))
    gone = FreshLoad(active=False, cases=0.0, in_flight=0.0, capacity=1.0)
    return {one.bytes: found.get(one.bytes, gone) for one in look_at}


def _fits(decisions: list[Decision], fresh: dict[bytes, FreshLoad], taken: dict[UUID, frozenset[UUID]]) -> bool:
    """Whether each decision still holds when loads and earlier offers are as read and the decisions follow one another."""
    offers = {lawyer: one.in_flight for lawyer, one in fresh.items()}
    for decision in decisions:
        offered = {one.bytes for one in taken.get(decision.case.id, frozenset())}
        chosen = [one.tobytes() for one in decision.lawyers[decision.allocation.chosen]]
        free = set(_free(chosen, fresh, offers, decision.p_win))
        for lawyer, filled in zip(chosen, decision.allocation.filled, strict=True):
            if lawyer in offered or not fresh[lawyer].active or filled == (lawyer in free):
                return False
            offers[lawyer] += 1
        if decision.allocation.filled.any():
            passed_over = {one.tobytes() for one in decision.lawyers}.difference(chosen, offered)
            if _free(list(passed_over), fresh, offers, decision.p_win):
                return False
    return True


def _free(lawyers: list[bytes], fresh: dict[bytes, FreshLoad], offers: dict[bytes, float], p_win: float) -> list[bytes]:
    """Those of `lawyers` who can take one more offer."""
    there = [one for one in lawyers if fresh[one].active]
    cases = np.array([fresh[one].cases for one in there])
    capacity = np.maximum(1.0, np.array([fresh[one].capacity for one in there]))
    full = is_full(effective_load(cases, np.array([offers[one] for one in there]), capacity, p_win), p_win / capacity)
    return [one for one, busy in zip(there, full, strict=True) if not busy]


def _without(market: Market, candidates: Candidates, lawyers: frozenset[UUID]) -> Candidates:
    """The candidates who are still active and not among `lawyers`."""
    away = [market.profiles.row[one.bytes] for one in lawyers if one.bytes in market.profiles.row]
    keep = market.loads.active[candidates.members] & ~np.isin(candidates.members, away)
    return Candidates(candidates.members[keep], candidates.features[keep], candidates.raw[keep], candidates.score[keep])


def open_request(
    connection: Connection, *, request_id: UUID, case_id: UUID, at: datetime, key: str | None, request_hash: str | None
) -> None:
    """Add the row of a request that begins. Commit it before anything else: requests that fail must count as well."""
    connection.execute(
        tables.match_requests.insert(),
        {
            "id": request_id,
            "kind": "matching",
            "case_id": case_id,
            "status": "started",
            "started_at": at,
            "idempotency_key": key,
            "request_hash": request_hash,
        },
    )


def fail_request(connection: Connection, request_id: UUID, error: BaseException, duration: timedelta) -> None:
    """Note that a request failed, and free its idempotency key so that it can be tried again. One that was answered stays so."""
    connection.execute(
        tables.match_requests.update().where(tables.match_requests.c.id == request_id, tables.match_requests.c.status == "started"),
        {
            "status": "error",
            "error_class": type(error).__name__,
            "duration_ms": duration.total_seconds() * 1000,
            "idempotency_key": None,
        },
    )


_REQUEST = (
    "id",
    "kind",
    "case_id",
    "status",
    "started_at",
    "duration_ms",
    "model_version",
    "embedding_space",
    "eligible",
    "cutoff",
    "exploration",
)
_MATCH = (
    "id",
    "request_id",
    "case_id",
    "lawyer_id",
    "position",
    *tables.FEATURE_COLUMNS,
    "raw_score",
    "score",
    "equity_price",
    "fair_score",
    "propensity",
    "created_at",
)
_OFFER = ("id", "case_id", "lawyer_id", "match_id", "status", "sent_at", "expires_at")


def _write(connection: Connection, decisions: list[Decision], how: Recording) -> None:
    if how.opened:
        for decision in decisions:
            _finish_request(connection, decision, how)
    else:
        rows = ((d.request_id, "matching", d.case.id, "ok", d.ask.at, _duration(d, how), *_seen(d)) for d in decisions)
        copy_rows(connection, tables.match_requests, _REQUEST, rows)
    copy_rows(connection, tables.case_matches, _MATCH, (row for d in decisions for row in _match_rows(d)))
    copy_rows(
        connection,
        tables.match_candidates,
        ("request_id", "lawyer_id", "score", "u_eff", "outcome", "reason"),
        (row for d in decisions for row in _candidate_rows(d, how.recorded_candidates)),
    )
    if how.offer_lifetime is not None:
        lifetime = how.offer_lifetime
        copy_rows(connection, tables.offers, _OFFER, (row for d in decisions for row in _offer_rows(d, lifetime)))
        _touch_lawyers(connection, decisions)


def _duration(decision: Decision, how: Recording) -> float | None:
    return None if how.clock is None else (how.clock() - decision.ask.at).total_seconds() * 1000


def _seen(decision: Decision) -> tuple[str, str, int, float | None, bool]:
    """model_version, embedding_space, eligible, cutoff, exploration of a request."""
    found = decision.allocation
    cutoff = None if np.isnan(found.cutoff) else found.cutoff
    return decision.model_version, SPACE, len(decision.candidates.members), cutoff, found.explored


def _finish_request(connection: Connection, decision: Decision, how: Recording) -> None:
    values = dict(zip(_REQUEST[6:], _seen(decision), strict=True))
    values |= {"status": "ok", "duration_ms": _duration(decision, how)}
    if how.answer is not None:
        values["answer"] = json.loads(how.answer(decision))
    opened = (tables.match_requests.c.id == decision.request_id) & (tables.match_requests.c.status == "started")
    if connection.execute(tables.match_requests.update().where(opened), values).rowcount != 1:
        raise RequestGivenUp(f"request {decision.request_id} was given up before it was answered: ask again, nothing was written")


def _match_rows(decision: Decision) -> Iterable[tuple[object, ...]]:
    found, seen = decision.allocation, decision.candidates
    chosen = found.chosen
    price = (decision.ask.rule.price * decision.u_eff[chosen]).tolist()
    features = [[None if one != one else one for one in row] for row in seen.features[chosen].tolist()]
    numbers = zip(
        decision.chosen_ids,
        features,
        seen.raw[chosen].tolist(),
        seen.score[chosen].tolist(),
        price,
        found.value[chosen].tolist(),
        found.propensity.tolist(),
        strict=True,
    )
    for position, (lawyer, row, raw, score, paid, value, propensity) in enumerate(numbers, start=1):
        yield (
            decision.match_id(position),
            decision.request_id,
            decision.case.id,
            lawyer,
            position,
            *row,
            raw,
            score,
            paid,
            value,
            propensity,
            decision.ask.at,
        )


def _candidate_rows(decision: Decision, most: int) -> Iterable[tuple[object, ...]]:
    """Those shown, then the best of the others, `most` in all."""
    found = decision.allocation
    others = np.delete(np.arange(len(found.value)), found.chosen)
    room = max(0, most - len(found.chosen))
    if others.size > room:
        others = others[np.argpartition(-found.value[others], room)[:room]] if room else others[:0]
    recorded = np.concatenate([found.chosen, others])
    seen = zip(
        decision.candidates.members[recorded].tolist(),
        decision.candidates.score[recorded].tolist(),
        decision.u_eff[recorded].tolist(),
        ["filled" if filled else "explored" if found.explored else "value" for filled in found.filled.tolist()]
        + ["full" if full else "below_cutoff" for full in found.full[others].tolist()],
        strict=True,
    )
    for place, (member, score, u_eff, reason) in enumerate(seen):
        outcome = "shown" if place < len(found.chosen) else "not_shown"
        yield decision.request_id, decision.names[member], score, u_eff, outcome, reason


def _offer_rows(decision: Decision, lifetime: timedelta) -> Iterable[tuple[object, ...]]:
    at = decision.ask.at
    for position, lawyer in enumerate(decision.chosen_ids, start=1):
        yield (
            decision.offer_id(position),
            decision.case.id,
            lawyer,
            decision.match_id(position),
            "pending",
            at,
            at + lifetime,
        )


def _touch_lawyers(connection: Connection, decisions: list[Decision]) -> None:
    from sqlalchemy import text

    latest: dict[UUID, datetime] = {}
    for decision in decisions:
        for lawyer in decision.chosen_ids:
            latest[lawyer] = max(decision.ask.at, latest.get(lawyer, decision.ask.at))
    connection.execute(
        text(
            "UPDATE litgo.lawyers l SET last_offered_at = GREATEST(l.last_offered_at, n.at) "
            "FROM (SELECT unnest(CAST(:ids AS uuid[])) AS id, unnest(CAST(:times AS timestamptz[])) AS at) n WHERE l.id = n.id"
        ),
        {"ids": list(latest), "times": list(latest.values())},
    )
