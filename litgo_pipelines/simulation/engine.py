"""Time in the simulated marketplace: day after day, cases arrive, lawyers answer, clients choose, contracts end.

Matching is the product's own (`casework.matching`), the nightly figures too. Every simulated day is one transaction. What
happens to an offer or a contract follows from its id and the seed, so nothing about the future has to be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework import equity_run
from litgo_pipelines.casework.market import Market, micros, read_loads, read_market
from litgo_pipelines.casework.matching import Case, decide, derived_id, note_offers
from litgo_pipelines.casework.recording import Recording, record
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace import event_log, tables
from litgo_pipelines.marketplace.bulk import copy_rows
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.settings import LitgoError
from litgo_pipelines.simulation import behaviour, fate
from litgo_pipelines.simulation.world import Cases, make_cases, make_lawyers, subarea_needs

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

TOP_N = 8
"""Lawyers that a simulated case is offered to."""
_SHORTEST = timedelta(minutes=1)


class AlreadyLived(LitgoError):
    """The marketplace is past the moment that was asked for; time does not run back."""


class NotSimulated(LitgoError):
    """The database holds rows that the simulator did not make."""


@dataclass(frozen=True)
class Plan:
    """What to simulate.

    Attributes:
        lawyers, days, seed: size, length and seed of a new marketplace; an existing one keeps its own.
        utilisation: share of all lawyers' capacity that the demand would fill.
        before: share of a new marketplace's days during which lawyers are offered cases by relevance alone, as before this
            system was there.
    """

    lawyers: int
    days: float
    seed: int
    utilisation: float = 0.6
    before: float = 0.5


@dataclass(frozen=True)
class Conduct:
    """How the product behaves meanwhile: its ranker, offer rule and limits."""

    ranker: Ranker
    rule: OfferRule
    new_lawyer_offers: int
    offer_lifetime: timedelta
    recorded_candidates: int


@dataclass(frozen=True)
class Origin:
    """The marketplace as the database remembers it."""

    seed: int
    started_at: datetime
    rule_since: datetime
    utilisation: float
    simulated_until: datetime


@dataclass
class Progress:
    """What has been simulated: days done of all, and counts of rows."""

    days: float
    days_done: float
    lawyers: int
    cases: int = 0
    offers: int = 0
    contracts: int = 0
    reviews: int = 0


def simulate(
    engine: Engine, plan: Plan, conduct: Conduct, as_of: datetime, on_progress: Callable[[Progress], None] = lambda _: None
) -> Progress:
    """Let the marketplace live until `as_of`: a new one for `plan.days`, an existing one for the time that has passed.

    Args:
        engine: acts under the role `litgo_simulator`.
        as_of: aware datetime at which the simulated time ends.

    Raises:
        NotSimulated: the database holds rows that the simulator did not make; nothing is written.
        AlreadyLived: `as_of` lies before the moment up to which an existing marketplace has lived.
        ValueError: a plan that makes no sense.
    """
    if plan.lawyers < 1 or plan.days <= 0 or not 0 < plan.utilisation < 2 or not 0 <= plan.before <= 1:
        raise ValueError("a marketplace needs at least one lawyer, some days, and a utilisation between 0 and 2")
    with engine.begin() as connection:
        origin = read_origin(connection)
        if origin is None:
            origin = _found(connection, plan, as_of)
    if as_of < origin.simulated_until:
        raise AlreadyLived(f"the marketplace has lived until {origin.simulated_until.isoformat()}: {as_of.isoformat()} lies before that")
    needs = subarea_needs(origin.seed)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        market = read_market(connection, origin.simulated_until)
        people = fate.read_people(connection, market)
    total = max((as_of - origin.simulated_until).total_seconds() / 86400, 0.0)
    progress = Progress(days=total, days_done=0.0, lawyers=len(market.profiles.ids))
    on_progress(progress)
    for since, until in stretches(origin.simulated_until, as_of):
        share = (until - since).total_seconds() / 86400
        with engine.begin() as connection:
            # Tables grow faster here than their statistics are taken: whole-table plans would be chosen long after they are right.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL max_parallel_workers_per_gather = 0")
            event_log.write_history(connection)
            market = _live(connection, market, people, origin, conduct, since, until, needs, progress)
        progress.days_done += share
        on_progress(progress)
    return progress


def stretches(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Cut a stretch of time at every 02:00 in São Paulo, when the nightly figures are taken."""
    while until - since >= _SHORTEST:
        night = equity_run.as_of_partition(equity_run.latest_partition(since) + timedelta(days=1))
        end = min(night, until)
        yield since, end
        since = end


def read_origin(connection: Connection) -> Origin | None:
    """The simulated marketplace's origin; None in an empty database.

    Raises:
        NotSimulated: there are rows that the simulator did not make.
    """
    from sqlalchemy import text

    row = connection.execute(
        text("SELECT seed, started_at, rule_since, utilisation, simulated_until FROM litgo.marketplace_origin")
    ).one_or_none()
    if row is None:
        filled = [
            table
            for table in ("lawyers", "clients", "cases", "match_history")
            if connection.execute(text(f"SELECT EXISTS (SELECT FROM litgo.{table})")).scalar_one()
        ]
    else:
        foreign = (
            "SELECT EXISTS (SELECT FROM litgo.lawyers l WHERE NOT EXISTS (SELECT FROM litgo.simulation_truth t WHERE t.entity_id = l.id))"
        )
        filled = ["lawyers"] if connection.execute(text(foreign)).scalar_one() else []
        if connection.execute(text("SELECT EXISTS (SELECT FROM litgo.match_history)")).scalar_one():
            filled.append("match_history")
    if filled:
        raise NotSimulated(
            f"the database holds rows in {', '.join(filled)} that the simulator did not make: simulate in an empty database "
            "(set DATABASE_URL, or LITGO_HOME to a new folder)"
        )
    return None if row is None else Origin(*row)


def _make_reachable(connection: Connection, kind: str, people: Iterable[tuple[UUID, str]], at: datetime) -> None:
    """Give people a name and an address in the domain that belongs to nobody."""
    rows = ((person, kind, name, f"{kind}-{person.hex[:12]}@example.com", at) for person, name in people)
    copy_rows(connection, tables.contacts, ("person_id", "kind", "name", "email", "updated_at"), rows)


def _found(connection: Connection, plan: Plan, as_of: datetime) -> Origin:
    start = as_of - timedelta(days=plan.days)
    people = make_lawyers(plan.seed, plan.lawyers, start, as_of)
    connection.execute(
        tables.lawyers.insert(),
        [row | {"capacidade_mensal": int(most)} for row, most in zip(people.rows, people.capacity, strict=True)],
    )
    copy_rows(
        connection,
        tables.simulation_truth,
        ("entity_type", "entity_id", "traits"),
        (("lawyer", row["id"], traits) for row, traits in zip(people.rows, people.traits.tolist(), strict=True)),
    )
    _make_reachable(connection, "lawyer", ((row["id"], row["name"]) for row in people.rows), start)
    origin = Origin(plan.seed, start, start + timedelta(days=plan.days * plan.before), plan.utilisation, start)
    connection.execute(
        tables.marketplace_origin.insert(),
        {
            "origin": "simulated",
            "seed": origin.seed,
            "started_at": start,
            "rule_since": origin.rule_since,
            "utilisation": origin.utilisation,
            "simulated_until": start,
        },
    )
    return origin


def _live(
    connection: Connection,
    market: Market,
    people: fate.People,
    origin: Origin,
    conduct: Conduct,
    since: datetime,
    until: datetime,
    needs: dict[tuple[str, str], NDArray[np.float64]],
    progress: Progress,
) -> Market:
    """One stretch of time: cases come and are matched, then everything that was due happens. Returns the market after it."""
    share = (until - since).total_seconds() / 86400
    joined = people.created_at <= micros(since)
    expected = origin.utilisation * float(market.loads.capacity[joined].sum()) / 30 / behaviour.CONTRACTS_PER_CASE * share
    cases = make_cases(origin.seed, since, until, expected, needs)
    _add_cases(connection, cases)
    people.add_cases([row["id"] for row in cases.rows], cases.traits)
    vectors = people.vectorised([row["summary"] for row in cases.rows])
    rule = conduct.rule if since >= origin.rule_since else OfferRule(price=0.0, bonus=0.0, exploration=conduct.rule.exploration)
    decisions = []
    for row, vector in zip(cases.rows, vectors, strict=True):
        case = _as_case(row)
        decision = decide(
            market,
            case,
            conduct.ranker,
            rule,
            request_id=derived_id(case.id, "first request"),
            at=row["created_at"],
            top_n=TOP_N,
            new_lawyer_offers=conduct.new_lawyer_offers,
            vector=vector,
        )
        note_offers(market, decision)
        decisions.append(decision)
    if decisions:
        record(connection, market, decisions, Recording(conduct.offer_lifetime, conduct.recorded_candidates))
    progress.cases += len(decisions)
    progress.offers += sum(len(decision.allocation.chosen) for decision in decisions)
    contracts, reviews = fate.happen(connection, market, people, until)
    progress.contracts += contracts
    progress.reviews += reviews
    if until == equity_run.as_of_partition(equity_run.latest_partition(until)):
        equity_run.compute(connection, until, new_lawyer_offers=conduct.new_lawyer_offers)
    connection.execute(tables.marketplace_origin.update(), {"simulated_until": until})
    return Market(market.profiles, read_loads(connection, until), until)


def _add_cases(connection: Connection, cases: Cases) -> None:
    copy_rows(connection, tables.clients, ("id", "state", "city", "lat", "lng", "created_at"), cases.clients)
    if cases.clients:
        _make_reachable(
            connection, "client", ((client[0], f"Cliente {client[0].hex[:6]}") for client in cases.clients), cases.clients[-1][-1]
        )
    columns = tuple(cases.rows[0]) if cases.rows else ()
    if columns:
        copy_rows(connection, tables.cases, columns, (tuple(row.values()) for row in cases.rows))
    copy_rows(
        connection,
        tables.simulation_truth,
        ("entity_type", "entity_id", "traits"),
        (("case", row["id"], traits) for row, traits in zip(cases.rows, cases.traits.tolist(), strict=True)),
    )


def _as_case(row: dict[str, object]) -> Case:
    fields = ("id", "client_id", "area", "subarea", "urgency_h", "radius_km", "summary", "lat", "lng")
    return Case(**{name: row[name] for name in fields})  # type: ignore[arg-type]
