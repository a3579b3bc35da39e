"""Recording under real concurrency: processes with threads and connections of their own, who want the same few lawyers at once."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import numpy as np
import pytest

from litgo_pipelines.casework.matching import Case, Decision, decide, decide_anew, note_offers
from litgo_pipelines.casework.recording import Recording, record
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines.ranking.text import DIMENSION
from litgo_pipelines_tests.casework.conftest import NOON, Town

THREADS, TOP_N = 4, 3
ROOM = 5
"""Offers in flight that fill a lawyer with a capacity of 1, where one offer in five becomes a contract."""

RULE = OfferRule(exploration=0.0)
OFFERING = Recording(offer_lifetime=timedelta(days=1), recorded_candidates=20)

# Texts do not matter here, and their vectors would cost each process an import of seconds.
_ANY_TEXT = np.zeros(DIMENSION, dtype=np.float32)

_all_ready: Barrier


class Job(NamedTuple):
    """A request to be answered, at a moment of its own."""

    request: UUID
    case: Case
    at: datetime


class Share(NamedTuple):
    """What one process answers, and how many requests it records in one transaction."""

    jobs: list[Job]
    at_once: int


def _know(all_ready: Barrier) -> None:
    global _all_ready
    _all_ready = all_ready


def answer_share(url: str, share: Share) -> dict[UUID, list[UUID]]:
    """Answer requests as a service does: one market in memory, choices noted in turn, recorded by several threads. Whom each was given.

    Every process reads the market before any of them records, so that all begin equally ignorant of each other.
    """
    engine = open_engine(url, pool_size=THREADS)
    market, noting = Town(engine).market(), threading.Lock()

    def answer(jobs: list[Job]) -> list[Decision]:
        decisions = []
        for job in jobs:
            given: dict[str, Any] = {"request_id": job.request, "at": job.at, "top_n": TOP_N, "new_lawyer_offers": 10}
            decision = decide(market, job.case, HandWeights(), RULE, **given, vector=_ANY_TEXT)
            with noting:
                decisions.append(decide_anew(market, decision))
                note_offers(market, decisions[-1])
        return record(engine, market, decisions, OFFERING)

    parts = [share.jobs[first : first + share.at_once] for first in range(0, len(share.jobs), share.at_once)]
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            _all_ready.wait(60)
            return {decision.request_id: decision.chosen_ids for written in pool.map(answer, parts) for decision in written}
    finally:
        engine.dispose()


def answer_everywhere(url: str, shares: list[Share]) -> dict[UUID, list[UUID]]:
    """Answer each share in a process of its own; an error in any of them is raised here."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(shares), context, _know, (context.Barrier(len(shares)),)) as pool:
        found = list(pool.map(partial(answer_share, url), shares, timeout=120))
    return {request: lawyers for told in found for request, lawyers in told.items()}


# Offers are numbered as they are written. What is written takes a moment, which leaves room to whoever does not wait for a turn.
_WATCH = """
ALTER TABLE litgo.offers ADD COLUMN seq bigint GENERATED ALWAYS AS IDENTITY;
CREATE FUNCTION litgo.linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END $$;
CREATE TRIGGER linger BEFORE INSERT ON litgo.offers FOR EACH STATEMENT EXECUTE FUNCTION litgo.linger();
CREATE FUNCTION litgo.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'last_offered_at goes back'; END $$;
CREATE TRIGGER never_back BEFORE UPDATE ON litgo.lawyers FOR EACH ROW
WHEN (OLD.last_offered_at IS NOT NULL AND (NEW.last_offered_at >= OLD.last_offered_at) IS NOT TRUE) EXECUTE FUNCTION litgo.refuse();
"""


@pytest.fixture
def watched(town: Town, database_url: str) -> Town:
    """A town whose database numbers offers, and refuses to take a lawyer's last offer back."""
    owner = open_engine(database_url, role=None)
    with owner.begin() as connection:
        connection.exec_driver_sql(_WATCH)
    owner.dispose()
    return town


def test_processes_that_want_the_same_lawyers_share_their_room(watched: Town, database_url: str) -> None:
    """72 offers for a room of 50: nobody gets one at capacity while somebody else is free, and all is recorded once and in its time."""
    town = watched
    lawyers = [town.lawyer(max_concurrent_cases=1, capacidade_mensal=1, cv_score=share / 10) for share in range(9)]
    lawyers.append(town.lawyer(max_concurrent_cases=1, capacidade_mensal=1, cv_score=1.0, last_offered_at=NOON + timedelta(days=5)))
    cases = [town.as_case(town.case()) for _ in range(12)]
    # Each case is asked about by two processes, and later requests are not the newer ones.
    jobs = [Job(uuid4(), cases[number % 12], NOON + timedelta(minutes=number * 7 % 24)) for number in range(24)]
    told = answer_everywhere(database_url, [Share(jobs[:8], at_once=4), Share(jobs[8:16], at_once=1), Share(jobs[16:], at_once=1)])

    sent = _sent(town)
    assert _offered_at_capacity_while_others_were_free(sent, set(lawyers)) == []
    assert sum(row.reason == "filled" for row in sent) >= len(sent) - ROOM * len(lawyers) == 22
    assert _recorded(town) == told
    assert set(told) == {job.request for job in jobs}
    assert Counter(row.request for row in sent) == dict.fromkeys(told, TOP_N)
    latest = {one: max([row.sent_at for row in sent if row.lawyer == one], default=None) for one in lawyers[:-1]}
    found = {row.id: row.last_offered_at for row in town.rows("SELECT id, last_offered_at FROM litgo.lawyers")}
    assert found == latest | {lawyers[-1]: NOON + timedelta(days=5)}


def _sent(town: Town) -> list[Any]:
    """All offers in the order in which they were written, with the reason recorded for each."""
    return town.rows(
        "SELECT o.seq, o.lawyer_id AS lawyer, o.case_id AS case, o.sent_at, m.request_id AS request, c.reason FROM litgo.offers o "
        "JOIN litgo.case_matches m ON m.id = o.match_id "
        "JOIN litgo.match_candidates c ON c.request_id = m.request_id AND c.lawyer_id = o.lawyer_id ORDER BY o.seq"
    )


def _recorded(town: Town) -> dict[UUID, list[UUID]]:
    """Whom each answered request was given, by its matches."""
    rows = town.rows(
        "SELECT r.id, array_agg(m.lawyer_id ORDER BY m.position) AS lawyers FROM litgo.match_requests r "
        "JOIN litgo.case_matches m ON m.request_id = r.id WHERE r.status = 'ok' GROUP BY r.id"
    )
    return {row.id: row.lawyers for row in rows}


def _offered_at_capacity_while_others_were_free(sent: list[Any], lawyers: set[UUID]) -> list[str]:
    """What is wrong with offers in the order in which they were written.

    A lawyer's offers are written one after the other, under lock. Somebody whom a request saw full had all the offers that fill before
    that request wrote its own; so whoever has fewer by then was free.
    """
    faults, had = [], Counter[UUID]()
    of_request, of_case = defaultdict(set), defaultdict(set)
    for row in sent:
        of_request[row.request].add(row.lawyer)
    for row in sent:
        at_capacity = had[row.lawyer] >= ROOM
        if at_capacity != (row.reason == "filled"):
            faults.append(f"offer {row.seq} was the lawyer's {had[row.lawyer] + 1}., recorded as {row.reason}")
        others = lawyers - of_case[row.case] - of_request[row.request]
        free = [one for one in others if had[one] < ROOM]
        if at_capacity and free:
            faults.append(f"offer {row.seq} went to a lawyer at capacity while {len(free)} were free")
        had[row.lawyer] += 1
        of_case[row.case].add(row.lawyer)
    return faults
