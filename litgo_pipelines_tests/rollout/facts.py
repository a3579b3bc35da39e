"""Clients of an experiment or of a watched version, and what became of their requests, written as facts in bulk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from litgo_pipelines.marketplace.names import FEATURE_COLUMNS
from litgo_pipelines.ranking.text import SPACE

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_MATCH = (
    "id",
    "request_id",
    "case_id",
    "lawyer_id",
    "position",
    *FEATURE_COLUMNS,
    "raw_score",
    "score",
    "equity_price",
    "fair_score",
    "propensity",
    "team",
    "created_at",
)
_OFFER = ("id", "case_id", "lawyer_id", "match_id", "status", "decline_reason", "sent_at", "expires_at", "responded_at")
_CONTRACT = ("id", "case_id", "lawyer_id", "client_id", "status", "signed_client", "signed_lawyer", "created_at")
_REVIEW = ("id", "contract_id", "lawyer_id", "client_id", "rating", "outcome", "created_at")


@dataclass(frozen=True)
class Offer:
    """An offer and its answer; `hours`: until it came, None where none did."""

    status: str = "pending"
    hours: float | None = None
    reason: str | None = None
    team: str | None = None
    score: float = 0.5


def yes(hours: float = 1.0, **changes: Any) -> Offer:
    """An offer that was accepted."""
    return Offer("interested", hours, **changes)


def no(reason: str = "fee", **changes: Any) -> Offer:
    """An offer that was declined after an hour."""
    return Offer("declined", 1.0, reason, **changes)


@dataclass(frozen=True)
class Unit:
    """A client's request with offers, and what became of it; all that is not said is ordinary.

    Attributes:
        signed: after which a contract was signed by both; None: none was.
        rating: of the contract, a day after it was signed.
        client: None: one of its own.
        exposed: whether the request is the one that its client is counted by.
    """

    at: datetime
    variant: str | None = None
    offers: Sequence[Offer] = (Offer(),)
    step: int = 0
    signed: timedelta | None = None
    rating: int | None = None
    client: UUID | None = None
    exposed: bool = True
    version: str = "1"
    status: str = "ok"
    space: str | None = SPACE
    duration_ms: float = 5.0
    features: Sequence[float | None] = (0.5,) * len(FEATURE_COLUMNS)


def write(engine: Engine, units: Iterable[Unit], experiment: UUID | None = None) -> None:
    """Write units, as clients of an experiment where one is given."""
    with engine.begin() as connection:
        _write(connection, list(units), experiment)


def _write(connection: Connection, units: list[Unit], experiment: UUID | None) -> None:
    from litgo_pipelines.marketplace import tables
    from litgo_pipelines.marketplace.bulk import copy_rows

    most = max(len(one.offers) for one in units)
    lawyers = [uuid4() for _ in range(most)]
    copy_rows(connection, tables.lawyers, ("id", "name", "primary_area"), ((one, "L", "civil") for one in lawyers))
    rows = [(unit, unit.client or uuid4(), uuid4(), uuid4(), uuid4()) for unit in units]
    known = {row[0] for row in connection.exec_driver_sql("SELECT id FROM litgo.clients")}
    clients = {client for _, client, *_ in rows} - known
    copy_rows(connection, tables.clients, ("id", "created_at"), ((one, units[0].at) for one in clients))
    copy_rows(
        connection,
        tables.cases,
        ("id", "client_id", "area", "urgency_h", "summary", "created_at"),
        ((case, client, "civil", 48, "cobrança", unit.at) for unit, client, case, _, _ in rows),
    )
    copy_rows(
        connection,
        tables.match_requests,
        (
            "id",
            "kind",
            "case_id",
            "status",
            "started_at",
            "duration_ms",
            "model_version",
            "embedding_space",
            "exploration",
            "experiment_id",
            "variant",
        ),
        (
            (
                request,
                "matching",
                case,
                unit.status,
                unit.at,
                unit.duration_ms,
                unit.version,
                unit.space,
                False,
                None if unit.variant is None else experiment,
                unit.variant,
            )
            for unit, _, case, request, _ in rows
        ),
    )
    offers = [
        (unit, case, request, lawyer, position, offer, uuid4())
        for unit, _, case, request, _ in rows
        for position, (offer, lawyer) in enumerate(zip(unit.offers, lawyers, strict=False), start=1)
    ]
    copy_rows(
        connection,
        tables.case_matches,
        _MATCH,
        (
            (match, request, case, lawyer, position, *unit.features, 0.0, offer.score, 0.0, offer.score, 1.0, offer.team, unit.at)
            for unit, case, request, lawyer, position, offer, match in offers
        ),
    )
    copy_rows(
        connection,
        tables.offers,
        _OFFER,
        (
            (
                uuid4(),
                case,
                lawyer,
                match,
                offer.status,
                offer.reason,
                unit.at,
                unit.at + timedelta(hours=24),
                None if offer.hours is None else unit.at + timedelta(hours=offer.hours),
            )
            for unit, case, _, lawyer, _, offer, match in offers
        ),
    )
    signed = [(unit, client, case, contract, unit.at + unit.signed) for unit, client, case, _, contract in rows if unit.signed is not None]
    copy_rows(
        connection,
        tables.contracts,
        _CONTRACT,
        ((contract, case, lawyers[0], client, "active", at, at, at) for _, client, case, contract, at in signed),
    )
    copy_rows(
        connection,
        tables.reviews,
        _REVIEW,
        (
            (uuid4(), contract, lawyers[0], client, unit.rating, "won", at + timedelta(days=1))
            for unit, client, _, contract, at in signed
            if unit.rating is not None
        ),
    )
    if experiment is not None:
        copy_rows(
            connection,
            tables.exposures,
            ("experiment_id", "client_id", "variant", "step", "request_id", "exposed_at"),
            (
                (experiment, client, unit.variant, unit.step, request, unit.at)
                for unit, client, _, request, _ in rows
                if unit.exposed and unit.variant is not None
            ),
        )
