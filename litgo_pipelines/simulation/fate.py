"""What becomes of offers and contracts in the simulated marketplace, by hidden traits and fixed draws.

Reads what is open from the database and writes what was due, within the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.draws import as_numbers
from litgo_pipelines.casework.market import Market, as_void, micros, reread_texts
from litgo_pipelines.casework.matching import derived_id
from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.bulk import copy_rows
from litgo_pipelines.ranking.features import distance_km
from litgo_pipelines.ranking.text import DIMENSION, vectorise
from litgo_pipelines.simulation import behaviour, truth

if TYPE_CHECKING:
    from sqlalchemy import Connection

_OPEN_OFFERS = """
SELECT o.id, o.case_id, o.lawyer_id, o.status, (EXTRACT(EPOCH FROM o.sent_at) * 1000000)::bigint,
       (EXTRACT(EPOCH FROM o.expires_at) * 1000000)::bigint, (EXTRACT(EPOCH FROM o.responded_at) * 1000000)::bigint,
       COALESCE(m.position, 1), k.lat, k.lng, k.radius_km, k.urgency_h, l.primary_area = k.area
FROM litgo.cases k
JOIN litgo.offers o ON o.case_id = k.id
JOIN litgo.lawyers l ON l.id = o.lawyer_id
LEFT JOIN litgo.case_matches m ON m.id = o.match_id
WHERE k.status = 'open' AND o.sent_at <= :until
ORDER BY o.case_id, 8
"""
_OPEN_CONTRACTS = "SELECT id, created_at FROM litgo.contracts WHERE status = 'active' ORDER BY id"
_CONTRACTS = """
SELECT c.id, c.case_id, c.lawyer_id, c.created_at, k.lat, k.lng, k.radius_km, k.urgency_h, l.primary_area = k.area, c.client_id
FROM litgo.contracts c JOIN litgo.cases k ON k.id = c.case_id JOIN litgo.lawyers l ON l.id = c.lawyer_id
WHERE c.id = ANY(:ids)
ORDER BY c.id
"""


@dataclass
class People:
    """Hidden traits: of the market's lawyers, shape (n, 7), with the moment they joined, shape (n,); and of cases by id.

    Keeps the vectors of case texts as well, by text.
    """

    traits: NDArray[np.float64]
    created_at: NDArray[np.int64]
    cases: dict[bytes, NDArray[np.float64]] = field(default_factory=dict)
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def vectorised(self, texts: list[str]) -> NDArray[np.float32]:
        """`ranking.text.vectorise` with a memory: simulated clients share a few thousand tellings."""
        new = [one for one in dict.fromkeys(texts) if one not in self.vectors]
        self.vectors.update(zip(new, vectorise(new), strict=True))
        return np.array([self.vectors[one] for one in texts], dtype=np.float32).reshape(len(texts), DIMENSION)

    def add_cases(self, ids: Sequence[UUID], traits: NDArray[np.float64]) -> None:
        self.cases.update({one.bytes: row for one, row in zip(ids, traits, strict=True)})

    def case_traits(self, ids: Sequence[UUID]) -> NDArray[np.float64]:
        """Traits of cases, shape (n, 5); a case that people entered through the product is an ordinary one."""
        ordinary = np.zeros(len(truth.CASE_TRAITS))
        return np.array([self.cases.get(one.bytes, ordinary) for one in ids]).reshape(len(ids), len(truth.CASE_TRAITS))


def lawyer_traits(connection: Connection, market: Market) -> NDArray[np.float64]:
    """Hidden traits of the market's lawyers, shape (n, 7). Needs the simulator's role."""
    from sqlalchemy import text

    found = connection.execute(text("SELECT entity_id, traits FROM litgo.simulation_truth WHERE entity_type = 'lawyer'"))
    known = {row.entity_id: row.traits for row in found}
    return np.array([known[one] for one in market.profiles.uuids]).reshape(len(market.profiles.ids), len(truth.LAWYER_TRAITS))


def read_people(connection: Connection, market: Market) -> People:
    """Read hidden traits of the market's lawyers and of the cases that are still alive. Needs the simulator's role."""
    from sqlalchemy import text

    joined = connection.execute(text("SELECT created_at FROM litgo.lawyers ORDER BY id")).scalars()
    people = People(lawyer_traits(connection, market), np.array([micros(at) for at in joined], dtype=np.int64))
    cases = connection.execute(
        text(
            "SELECT k.id, t.traits FROM litgo.cases k JOIN litgo.simulation_truth t ON t.entity_type = 'case' AND t.entity_id = k.id "
            "WHERE k.status IN ('open', 'contracted')"
        )
    ).all()
    people.add_cases([one for one, _ in cases], np.array([traits for _, traits in cases]))
    return people


def happen(connection: Connection, market: Market, people: People, until: datetime) -> tuple[int, int]:
    """Let everything that is due by `until` happen; returns the numbers of new contracts and of new reviews."""
    signed = _answer_and_choose(connection, market, people, until)
    canceled, reviews = _end_contracts(connection, market, people, until)
    # Profiles in memory stay in step with the contracts, so that a simulation that is taken up again goes on as it would have.
    reread_texts(connection, market.profiles, np.concatenate([signed, canceled]), until, people.vectorised)
    return len(signed), reviews


@dataclass(frozen=True)
class _Pairs:
    """Pairs of case and lawyer from the database, as arrays of shape (n,)."""

    lawyer: NDArray[np.intp]
    relevance: NDArray[np.float64]


def _pairs(market: Market, people: People, columns: dict[str, Any]) -> _Pairs:
    lawyer = np.array([market.profiles.row[one.bytes] for one in columns["lawyer_id"]], dtype=np.intp)
    kilometres = distance_km(
        market.profiles.lat[lawyer],
        market.profiles.lng[lawyer],
        np.array(columns["lat"], dtype=np.float64),
        np.array(columns["lng"], dtype=np.float64),
    )
    near = np.nan_to_num(np.clip(1 - kilometres / np.array(columns["radius_km"]), 0, 1))
    primary = np.array(columns["primary"], dtype=np.float64)
    in_time = np.clip(1 - market.profiles.response_h[lawyer] / np.array(columns["urgency_h"]), 0, 1)
    found = truth.relevance(people.traits[lawyer], people.case_traits(columns["case_id"]), near, in_time, primary)
    return _Pairs(lawyer, found)


def _columns(names: str, rows: Sequence[Any]) -> dict[str, tuple[Any, ...]]:
    return dict(zip(names.split(), zip(*rows, strict=True), strict=True))


def _times(moments: Sequence[datetime | None]) -> NDArray[np.int64]:
    return np.array([np.iinfo(np.int64).max if one is None else micros(one) for one in moments], dtype=np.int64)


def _answer_and_choose(connection: Connection, market: Market, people: People, until: datetime) -> NDArray[np.intp]:
    """Offers are answered and clients choose. Returns the lawyers who got a contract, as indices into the market."""
    from sqlalchemy import text

    rows = connection.execute(text(_OPEN_OFFERS), {"until": until}).all()
    if not rows:
        return np.zeros(0, dtype=np.intp)
    seen = _columns("id case_id lawyer_id status sent expires responded position lat lng radius_km urgency_h primary", rows)
    pairs = _pairs(market, people, seen)
    draws = as_numbers(as_void(list(seen["id"])))
    answers = _answers(seen, market, people, pairs, draws, micros(until))
    choices = _choices(seen, pairs, draws, answers, micros(until))
    _write_answers(connection, seen, answers, choices)
    closed, signed = choices.closed.tolist(), choices.signed.tolist()
    _set_status(connection, "cases", [seen["case_id"][i] for i in closed], "closed")
    _set_status(connection, "cases", [seen["case_id"][i] for i in signed], "contracted")
    _sign(connection, seen, signed, choices.moments)
    return pairs.lawyer[choices.signed]


@dataclass(frozen=True)
class _Answers:
    """What lawyers have said by now to each offer; shapes (n,).

    Attributes:
        status: as it will be in `offers`, before the client chooses.
        settled: microseconds at which the offer was answered or ran out, or will.
        due: whether that has happened.
        changed: whether it happened just now.
        reason: of a decline.
    """

    status: NDArray[np.object_]
    settled: NDArray[np.int64]
    due: NDArray[np.bool_]
    changed: NDArray[np.bool_]
    reason: NDArray[np.str_]


def _answers(seen: dict[str, Any], market: Market, people: People, pairs: _Pairs, draws: NDArray[np.uint64], until: int) -> _Answers:
    """Lawyers answer after a while, or do not in time."""
    status = np.array(seen["status"], dtype=object)
    pending = status == "pending"
    never = np.iinfo(np.int64).max
    sent, expires = np.array(seen["sent"]), np.array(seen["expires"])
    responded = np.array([never if at is None else at for at in seen["responded"]])
    answers = sent + behaviour.answer_delay(draws, people.traits[pairs.lawyer, 2])
    silent = behaviour.is_silent(draws) | (answers >= expires)
    settled = np.where(pending, np.where(silent, expires, answers), np.minimum(responded, expires))
    due = settled <= until
    utilisation = market.loads.cases[pairs.lawyer] / market.loads.capacity[pairs.lawyer]
    accepts = behaviour.accepts(draws, pairs.relevance, utilisation)
    reason = behaviour.decline_reason(draws, pairs.relevance)
    changed = pending & due
    status[changed] = np.where(silent, "expired", np.where(accepts, "interested", "declined"))[changed]
    return _Answers(status, settled, due, changed, reason)


@dataclass(frozen=True)
class _Choices:
    """What clients have decided: indices of the winning offers with their moments, of one offer of each case that ends without
    a contract, and which offers belong to a decided case, shape (n,)."""

    signed: NDArray[np.intp]
    moments: NDArray[np.int64]
    closed: NDArray[np.intp]
    decided: NDArray[np.bool_]


def _choices(seen: dict[str, Any], pairs: _Pairs, draws: NDArray[np.uint64], answers: _Answers, until: int) -> _Choices:
    """Clients whose offers are all settled choose one of the interested lawyers, or nobody."""
    case_of = as_void(list(seen["case_id"]))
    begins = np.r_[True, case_of[1:] != case_of[:-1]]
    starts, group = np.flatnonzero(begins), np.cumsum(begins) - 1
    first = draws[starts]
    moment = np.maximum.reduceat(answers.settled, starts) + behaviour.pondering(first)
    ready = np.logical_and.reduceat(answers.due, starts) & (moment <= until)
    interested = answers.status == "interested"
    drawn = np.where(interested, behaviour.attraction(draws, pairs.relevance, np.array(seen["position"])), -np.inf)
    best = np.maximum.reduceat(drawn, starts)
    leaves = behaviour.walks_away(first) | np.isneginf(best)
    signed = np.flatnonzero(interested & (drawn == best[group]) & (ready & ~leaves)[group])
    return _Choices(signed, moment[group[signed]], starts[ready & leaves], ready[group])


def _write_answers(connection: Connection, seen: dict[str, Any], answers: _Answers, choices: _Choices) -> None:
    """Write each offer's final state once: a decided case closes the offers of those who were interested."""
    interested = answers.status == "interested"
    answers.status[interested & choices.decided] = "closed"
    changed = np.flatnonzero(answers.changed | (interested & choices.decided))
    ids = [seen["id"][i] for i in changed.tolist()]
    _update_offers(connection, ids, answers.status[changed], answers.settled[changed], answers.reason[changed])


def _update_offers(
    connection: Connection, ids: list[UUID], status: NDArray[np.object_], at: NDArray[np.int64], reason: NDArray[np.str_]
) -> None:
    from sqlalchemy import text

    answered = [None if one == "expired" else moment for one, moment in zip(status, at.tolist(), strict=True)]
    reasons = [why if one == "declined" else None for one, why in zip(status, reason.tolist(), strict=True)]
    connection.execute(
        text(
            "UPDATE litgo.offers o SET status = n.status, decline_reason = n.reason, responded_at = 'epoch'::timestamptz "
            "+ n.at * interval '1 microsecond' "
            "FROM (SELECT unnest(CAST(:ids AS uuid[])) AS id, unnest(CAST(:status AS text[])) AS status, "
            "unnest(CAST(:reasons AS text[])) AS reason, unnest(CAST(:at AS bigint[])) AS at) n WHERE o.id = n.id"
        ),
        {"ids": ids, "status": status.tolist(), "reasons": reasons, "at": answered},
    )


def _set_status(connection: Connection, table: str, ids: list[UUID], status: str) -> None:
    from sqlalchemy import text

    connection.execute(text(f"UPDATE litgo.{table} SET status = :status WHERE id = ANY(:ids)"), {"ids": ids, "status": status})


def _sign(connection: Connection, seen: dict[str, Any], winners: list[int], moments: NDArray[np.int64]) -> None:
    from sqlalchemy import text

    found = connection.execute(
        text("SELECT id, client_id FROM litgo.cases WHERE id = ANY(:ids)"), {"ids": [seen["case_id"][i] for i in winners]}
    )
    clients = {row.id: row.client_id for row in found}
    rows = []
    for i, at in zip(winners, moments.tolist(), strict=True):
        signed, case_id = datetime.fromtimestamp(at / 1_000_000, tz=UTC), seen["case_id"][i]
        contract = derived_id(case_id, "contract")
        rows.append((contract, case_id, seen["lawyer_id"][i], clients[case_id], "active", "docusign", signed, signed, signed))
    columns = ("id", "case_id", "lawyer_id", "client_id", "status", "signing_method", "signed_client", "signed_lawyer", "created_at")
    copy_rows(connection, tables.contracts, columns, rows)


def _end_contracts(connection: Connection, market: Market, people: People, until: datetime) -> tuple[NDArray[np.intp], int]:
    """Contracts whose time has come end: canceled, or closed with an outcome and mostly a review.

    Returns:
        The lawyers whose contracts were canceled, as indices into the market, and the number of reviews.
    """
    from sqlalchemy import text

    rows = connection.execute(text(_OPEN_CONTRACTS)).all()
    nobody = np.zeros(0, dtype=np.intp)
    if not rows:
        return nobody, 0
    all_draws = as_numbers(as_void([row[0] for row in rows]))
    ends = _times([row[1] for row in rows]) + behaviour.contract_length(all_draws)
    due = np.flatnonzero(ends <= micros(until))
    if due.size == 0:
        return nobody, 0
    details = connection.execute(text(_CONTRACTS), {"ids": [rows[i][0] for i in due.tolist()]}).all()
    seen = _columns("id case_id lawyer_id created lat lng radius_km urgency_h primary client_id", details)
    pairs, draws = _pairs(market, people, seen), all_draws[due]
    canceled = behaviour.is_canceled(draws)
    _set_status(connection, "contracts", [seen["id"][i] for i in np.flatnonzero(canceled)], "canceled")
    _set_status(connection, "contracts", [seen["id"][i] for i in np.flatnonzero(~canceled)], "closed")
    _set_status(connection, "cases", list(seen["case_id"]), "closed")
    outcome = behaviour.outcome(draws, pairs.relevance)
    rating = behaviour.rating(draws, pairs.relevance, outcome)
    reviewed = np.flatnonzero(~canceled & behaviour.is_reviewed(draws))
    _review(connection, seen, reviewed, outcome, rating, ends[due])
    _learn_reviews(connection, market, pairs.lawyer[reviewed], outcome[reviewed], rating[reviewed])
    for one in seen["case_id"]:
        people.cases.pop(one.bytes, None)
    return pairs.lawyer[canceled], len(reviewed)


def _review(
    connection: Connection,
    seen: dict[str, Any],
    reviewed: NDArray[np.intp],
    outcome: NDArray[np.str_],
    rating: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> None:
    copy_rows(
        connection,
        tables.reviews,
        ("id", "contract_id", "lawyer_id", "client_id", "rating", "outcome", "created_at"),
        (
            (
                derived_id(seen["id"][i], "review"),
                seen["id"][i],
                seen["lawyer_id"][i],
                seen["client_id"][i],
                int(rating[i]),
                str(outcome[i]),
                datetime.fromtimestamp(int(ends[i]) / 1_000_000, tz=UTC),
            )
            for i in reviewed.tolist()
        ),
    )


def _learn_reviews(
    connection: Connection, market: Market, lawyers: NDArray[np.intp], outcome: NDArray[np.str_], rating: NDArray[np.int64]
) -> None:
    """The product's app would update a lawyer's mean rating; track records in memory follow too."""
    from sqlalchemy import text

    profiles = market.profiles
    np.add.at(profiles.won, lawyers, outcome == "won")
    np.add.at(profiles.lost, lawyers, outcome == "lost")
    for lawyer, stars in zip(lawyers.tolist(), rating.tolist(), strict=True):
        profiles.rating[lawyer] += (stars - profiles.rating[lawyer]) / behaviour.RATING_MEMORY
    changed = np.unique(lawyers)
    # The column is a 4-byte float: a fresh reading has no more digits.
    profiles.rating[changed] = profiles.rating[changed].astype(np.float32)
    connection.execute(
        text(
            "UPDATE litgo.lawyers l SET avaliacao_media = n.rating "
            "FROM (SELECT unnest(CAST(:ids AS uuid[])) AS id, unnest(CAST(:ratings AS real[])) AS rating) n WHERE l.id = n.id"
        ),
        {"ids": [UUID(bytes=profiles.ids[i].tobytes()) for i in changed], "ratings": profiles.rating[changed].tolist()},
    )
