"""The price of load, `a` of the offer rule, as a recorded fact: what is in force, who set it and why, and whether its refit is frozen.

The table `equity_prices` is read and written here alone. Which price would be the right one is not asked here, and
what a price does to the order of lawyers is `equity`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace.switches import Freeze as Freeze
from litgo_pipelines.marketplace.switches import switch, switched_on
from litgo_pipelines.settings import LitgoError, Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

MOST_PRICE: Final = 10.0
"""Acceptance is a probability: at this price a tenth of a month's load outweighs all of it. More is a slip of the keyboard."""

_FREEZE: Final = "equity_price"

_IN_FORCE = "SELECT id, price, decided_at, actor FROM litgo.equity_prices ORDER BY id DESC LIMIT 1"

# Before the first row counted what that row found, whatever the settings say today.
_AT = """
SELECT COALESCE((SELECT price FROM litgo.equity_prices WHERE decided_at <= :moment ORDER BY id DESC LIMIT 1),
                (SELECT previous FROM litgo.equity_prices ORDER BY id LIMIT 1))
"""

_SET_BY_A_PERSON = """
SELECT price FROM litgo.equity_prices WHERE decided_at > :since AND decided_at <= :until AND actor <> :refit ORDER BY id DESC LIMIT 1
"""

_ADD = """
INSERT INTO litgo.equity_prices (price, previous, actor, reason, evidence, dagster_run_id, decided_at)
VALUES (:price, :previous, :actor, :reason, CAST(:evidence AS jsonb), :run_id, GREATEST(:at, CAST(:since AS timestamptz)))
RETURNING id, price, decided_at, actor
"""

_HISTORY = """
SELECT id, price, previous, actor, reason, evidence, dagster_run_id, decided_at
FROM litgo.equity_prices ORDER BY id DESC LIMIT :most
"""

_TURN = "SELECT current_setting('transaction_isolation') FROM pg_advisory_xact_lock(hashtext('litgo equity price'))"


class PriceRefused(LitgoError, ValueError):
    """A price that cannot be meant, or a change without a name or a reason."""


@dataclass(frozen=True)
class PriceInForce:
    """The price that counts: its row, since when and by whom; all three None where it comes from the settings."""

    id: int | None
    price: float
    since: datetime | None
    actor: str | None


@dataclass(frozen=True)
class PriceChange:
    """One row of the history of prices; `evidence` is what it was chosen from."""

    id: int
    price: float
    previous: float
    actor: str
    reason: str
    evidence: dict[str, Any] | None
    dagster_run_id: str | None
    decided_at: datetime


def price_in_force(connection: Connection, default: float) -> PriceInForce:
    """The price recorded last; `default` where none ever was."""
    from sqlalchemy import text

    found = connection.execute(text(_IN_FORCE)).one_or_none()
    return PriceInForce(None, default, None, None) if found is None else PriceInForce(*found)


def offer_rule(connection: Connection, settings: Settings) -> OfferRule:
    """The offer rule as everybody applies it who decides: the price in force, bonus and exploration of the settings."""
    found = price_in_force(connection, settings.litgo_equity_price)
    return OfferRule(found.price, settings.litgo_new_lawyer_bonus, settings.litgo_exploration, found.id)


def price_at(connection: Connection, moment: datetime, default: float) -> float:
    """The price that was in force at `moment`; `default` where none was ever recorded."""
    from sqlalchemy import text

    found = connection.execute(text(_AT), {"moment": moment}).scalar_one()
    return default if found is None else float(found)


def price_to_move_from(connection: Connection, since: datetime, until: datetime, default: float, *, refit: str) -> float:
    """The price that moves between two moments are measured from: what a person set last in between, or what was in force at `since`.

    Args:
        refit: the actor whose prices are moves.
    """
    from sqlalchemy import text

    found = connection.execute(text(_SET_BY_A_PERSON), {"since": since, "until": until, "refit": refit}).scalar_one_or_none()
    return price_at(connection, since, default) if found is None else float(found)


def take_turn(connection: Connection) -> None:
    """Let nobody else set, freeze or unfreeze the price until this transaction ends; what is read from then on stays true.

    Raises:
        RuntimeError: the transaction is one of repeatable reads, which would miss what was written while it waited.
    """
    from sqlalchemy import text

    isolation = connection.execute(text(_TURN)).scalar_one()
    if isolation != "read committed":
        raise RuntimeError(f"prices are written in a transaction that is read committed, not {isolation}")


def set_price(
    connection: Connection,
    price: float,
    *,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any] | None,
    run_id: str | None,
    at: datetime,
    default: float,
) -> PriceInForce:
    """Put a price in force from the end of this transaction on, frozen or not: a freeze binds the weekly refit, which asks `frozen`.

    Writers follow one another: each row's `previous` is the price of the row before it.

    Args:
        price: what a fully used month costs in acceptance probability, 0 to `MOST_PRICE`.
        evidence: what it was chosen from, as JSON can hold it.
        run_id: the Dagster run that chose it.
        at: when it was decided; never recorded as earlier than the row before.
        default: the price in force where none was ever recorded.

    Raises:
        PriceRefused: the price is out of range, or actor or reason is empty; nothing is written.
        RuntimeError: see `take_turn`.
    """
    from sqlalchemy import text

    if not 0 <= price <= MOST_PRICE:  # NaN lies in no range.
        raise PriceRefused(f"{price:g} is no price of load: give a number from 0 to {MOST_PRICE:g}, such as 0.5")
    _require_said(actor, reason)
    take_turn(connection)
    before = price_in_force(connection, default)
    row = {
        "price": price,
        "previous": before.price,
        "actor": actor.strip(),
        "reason": reason.strip(),
        "evidence": None if evidence is None else json.dumps(evidence, allow_nan=False),
        "run_id": run_id,
        "at": at,
        "since": before.since,
    }
    return PriceInForce(*connection.execute(text(_ADD), row).one())


def price_history(connection: Connection, limit: int) -> list[PriceChange]:
    """The prices recorded, at most `limit` of them, newest first."""
    from sqlalchemy import text

    return [PriceChange(*row) for row in connection.execute(text(_HISTORY), {"most": limit})]


def frozen(connection: Connection) -> Freeze | None:
    """Who froze the price, if somebody did: the weekly refit then leaves it alone."""
    return switched_on(connection, _FREEZE)


def freeze(connection: Connection, actor: str, reason: str, at: datetime) -> Freeze:
    """Stop the weekly refit from moving the price; a person still may. Frozen again, it is for the newer reason.

    Raises:
        PriceRefused: actor or reason is empty; nothing is changed.
        RuntimeError: see `take_turn`.
    """
    _require_said(actor, reason)
    take_turn(connection)
    return switch(connection, _FREEZE, True, actor, reason, at)


def unfreeze(connection: Connection, actor: str, reason: str, at: datetime) -> Freeze | None:
    """Let the weekly refit move the price again. What was lifted; None, and nothing is changed, where nothing was frozen.

    Raises:
        PriceRefused: actor or reason is empty; nothing is changed.
        RuntimeError: see `take_turn`.
    """
    _require_said(actor, reason)
    take_turn(connection)
    lifted = frozen(connection)
    if lifted is not None:
        switch(connection, _FREEZE, False, actor, reason, at)
    return lifted


def _require_said(actor: str, reason: str) -> None:
    if not actor.strip():
        raise PriceRefused("nobody is named who changes the price of load: say who does")
    if not reason.strip():
        raise PriceRefused("no reason is given for changing the price of load: say why, for whoever reads the history")
