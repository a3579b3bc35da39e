"""`litgo fairness price`: what load costs in the offer rule, who set it, and whether the weekly refit may move it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import By, Json, Reason, as_json, moment, name_of, transaction
from litgo_pipelines.settings import get_settings

if TYPE_CHECKING:
    from litgo_pipelines.casework.prices import Freeze, PriceChange, PriceInForce


def show(json: Json = False) -> None:
    """Say which price of load is in force, since when, by whom, and whether the weekly refit may move it.

    Example: `litgo fairness price show --json`
    """
    from litgo_pipelines.casework.prices import frozen, price_in_force

    with transaction() as connection:
        found, held = price_in_force(connection, get_settings().litgo_equity_price), frozen(connection)
    if json:
        typer.echo(as_json(asdict(found) | {"frozen": None if held is None else asdict(held)}))
        return
    typer.echo(_told(found))
    typer.echo(_may_move(held))


def set_price(
    price: Annotated[float, typer.Argument(help="What a fully used month costs in acceptance probability, from 0 to 10.")],
    reason: Reason,
    by: By = None,
) -> None:
    """Put a price of load in force. Everybody who decides uses it within seconds; nothing is restarted.

    It may be set while it is frozen: freezing holds the weekly refit alone.

    Example: `litgo fairness price set 0.6 --reason "Gini above target since the new office joined"`
    """
    from litgo_pipelines.casework import prices

    with transaction() as connection:
        found = prices.set_price(
            connection,
            price,
            actor=name_of(by),
            reason=reason,
            evidence=None,
            run_id=None,
            at=datetime.now(UTC),
            default=get_settings().litgo_equity_price,
        )
        (change,), held = prices.price_history(connection, 1), prices.frozen(connection)
    typer.echo(f"{_told(found)} Before it was {change.previous:g}.")
    typer.echo(_may_move(held))


def freeze(reason: Reason, by: By = None) -> None:
    """Stop the weekly refit from moving the price; `set` still works.

    Example: `litgo fairness price freeze --reason "experiment until Friday"`
    """
    from litgo_pipelines.casework import prices

    with transaction() as connection:
        found = prices.freeze(connection, name_of(by), reason, datetime.now(UTC))
    typer.echo(_may_move(found))


def unfreeze(reason: Reason, by: By = None) -> None:
    """Let the weekly refit move the price again.

    Example: `litgo fairness price unfreeze --reason "experiment is over"`
    """
    from litgo_pipelines.casework import prices

    with transaction() as connection:
        lifted = prices.unfreeze(connection, name_of(by), reason, datetime.now(UTC))
    typer.echo("The price was not frozen." if lifted is None else f"Lifted: frozen by {lifted.actor} since {moment(lifted.changed_at)}.")
    typer.echo(_may_move(None))


def history(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    json: Json = False,
) -> None:
    """List the prices that were put in force, newest first, with who, why, and what the price was before.

    Example: `litgo fairness price history --limit 5`
    """
    from litgo_pipelines.casework.prices import price_history

    with transaction() as connection:
        found = price_history(connection, limit)
    if json:
        typer.echo(as_json({"prices": [asdict(one) for one in found]}))
    elif found:
        _print(found)
    else:
        typer.echo(f"None was recorded: {get_settings().litgo_equity_price:g} is in force, as LITGO_EQUITY_PRICE says.")


def _told(found: PriceInForce) -> str:
    if found.since is None:
        return f"The price of load is {found.price:g}, as LITGO_EQUITY_PRICE says; none was recorded."
    return f"The price of load is {found.price:g}, set by {found.actor} on {moment(found.since)} (number {found.id})."


def _may_move(held: Freeze | None) -> str:
    if held is None:
        return "The weekly refit may move it."
    return f"The weekly refit may not move it: frozen by {held.actor} since {moment(held.changed_at)}: {held.reason}"


def _print(changes: list[PriceChange]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("number", "since", "price", "before", "by", "reason"):
        table.add_column(name, justify="right" if name in ("number", "price", "before") else "left")
    for one in changes:
        table.add_row(str(one.id), moment(one.decided_at), f"{one.price:g}", f"{one.previous:g}", escape(one.actor), escape(one.reason))
    Console().print(table)
