"""Writing what `matching` decided: the database's loads have the last word, and all of a decision is written or nothing.

Here are the transaction of an answer, its locks, its retries, and the row of a request that begins or fails. Who is shown a case
is `matching`, which columns a decision fills `decision_rows`, what a repeated request means the service's own business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework import decision_rows as rows
from litgo_pipelines.casework.market import FreshLoad, Market, reread_loads
from litgo_pipelines.casework.matching import Candidates, Decision, decide_anew, note_offers
from litgo_pipelines.equity.allocation import effective_load, is_full
from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.bulk import copy_rows
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_OPTIMISTIC_ATTEMPTS = 3
_MOST_ATTEMPTS = 12


class CaseNotOpen(LitgoError):
    """Offers were asked for a case that is contracted, closed or canceled."""


def not_open(case_id: UUID, status: str) -> CaseNotOpen:
    """Why no offers are made for a case of this status."""
    if status == "triage":
        return CaseNotOpen(f"case {case_id} waits for a person to say its area: `litgo triage decide`, then ask again")
    return CaseNotOpen(f"case {case_id} is {status}: it takes no more offers")


class TooBusy(LitgoError):
    """Other requests kept taking the same lawyers; asking again is safe, nothing was written."""


class RequestGivenUp(LitgoError):
    """The request was marked as failed before its answer could be written; nothing of the answer was."""


@dataclass(frozen=True)
class Recording:
    """How decisions are written.

    Attributes:
        offer_lifetime: time to answer; None: no offers are made.
        recorded_candidates: candidates logged per request, those shown included.
        opened: whether the request's row exists already (`open_request`), so that it is completed instead of added.
        clock: asked for the end of the request; None leaves the duration unknown.
        answer: what is kept to answer a repeat of the same idempotency key.
        tell_lawyers: whether each offer's lawyer is sent a message.
    """

    offer_lifetime: timedelta | None
    recorded_candidates: int
    opened: bool = False
    clock: Callable[[], datetime] | None = None
    answer: Callable[[Decision], str] | None = None
    tell_lawyers: bool = False


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
        left = _without(own, decision.candidates, taken.get(decision.case.id, frozenset()))
        anew.append(decide_anew(own, decision, left))
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

    locked = connection.execute(
        text("SELECT id, status FROM litgo.cases WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"), {"ids": case_ids}
    ).all()
    for case_id, status in locked:
        if status != "open":
            raise not_open(case_id, status)
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


def _write(connection: Connection, decisions: list[Decision], how: Recording) -> None:
    if how.opened:
        for decision in decisions:
            _finish_request(connection, decision, how)
    else:
        copy_rows(connection, tables.match_requests, rows.REQUEST, (rows.request_row(d, _duration(d, how)) for d in decisions))
    copy_rows(connection, tables.case_matches, rows.MATCH, (row for d in decisions for row in rows.match_rows(d)))
    most = how.recorded_candidates
    copy_rows(connection, tables.match_candidates, rows.CANDIDATE, (row for d in decisions for row in rows.candidate_rows(d, most)))
    if how.offer_lifetime is not None:
        lifetime = how.offer_lifetime
        copy_rows(connection, tables.offers, rows.OFFER, (row for d in decisions for row in rows.offer_rows(d, lifetime)))
        if how.tell_lawyers:
            told = (row for d in decisions for row in rows.message_rows(d, lifetime))
            copy_rows(connection, tables.notifications, rows.MESSAGE, told)
        _touch_lawyers(connection, decisions)
        _expose(connection, decisions)


def _expose(connection: Connection, decisions: list[Decision]) -> None:
    """Count the clients of an experiment by their first request with offers: without offers nothing can become of it."""
    from sqlalchemy.dialects.postgresql import insert

    exposed = [dict(zip(rows.EXPOSURE, row, strict=True)) for row in map(rows.exposure_row, decisions) if row is not None]
    if exposed:
        connection.execute(insert(tables.exposures).on_conflict_do_nothing(), exposed)


def _duration(decision: Decision, how: Recording) -> float | None:
    return None if how.clock is None else (how.clock() - decision.ask.at).total_seconds() * 1000


def _finish_request(connection: Connection, decision: Decision, how: Recording) -> None:
    values = dict(zip(rows.EXPLAINED, rows.explained(decision), strict=True))
    values |= {"status": "ok", "duration_ms": _duration(decision, how)}
    if how.answer is not None:
        values["answer"] = json.loads(how.answer(decision))
    opened = (tables.match_requests.c.id == decision.request_id) & (tables.match_requests.c.status == "started")
    if connection.execute(tables.match_requests.update().where(opened), values).rowcount != 1:
        raise RequestGivenUp(f"request {decision.request_id} was given up before it was answered: ask again, nothing was written")


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
