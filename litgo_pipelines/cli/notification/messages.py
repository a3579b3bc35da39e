"""`litgo notification list` and `show`: messages to lawyers, clients and operators, and why one was not delivered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from litgo_pipelines.casework.notifications import Status
from litgo_pipelines.cli.common import Json, answer, as_json, moment, transaction
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from litgo_pipelines.casework.notifications import Notification

Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="Number of a message, as `litgo notification list` shows it.")]

_NOT_SENT: tuple[Status, ...] = ("queued", "sending", "unknown", "failed")
_COLOURS: dict[Status, str] = {"queued": "cyan", "sending": "cyan", "sent": "green", "unknown": "yellow", "failed": "red"}


def list_messages(
    status: Annotated[
        list[str] | None,
        typer.Option(help="queued, sending, sent, unknown or failed; may be given several times. Default: all that were not sent."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    json: Json = False,
) -> None:
    """List messages, the newest first: to whom, by which channel, how each stands and why.

    `unknown` means that nobody can tell whether it arrived: send it again (`litgo notification resend ID`) or say what became of it
    (`litgo notification settle ID`).

    Example: `litgo notification list --status unknown --status failed`
    """
    from litgo_pipelines.casework import notifications

    with transaction() as connection:
        found = notifications.listed(connection, _statuses(status), limit)
    if json:
        typer.echo(as_json({"messages": found}))
    elif found:
        _print(found)
    else:
        typer.echo("There are no such messages." if status else "Every message was sent.")


def _statuses(given: Sequence[str] | None) -> tuple[Status, ...]:
    known: tuple[Status, ...] = get_args(Status)
    strange = [one for one in given or () if one not in known]
    if strange:
        raise LitgoError(f"no message is {strange[0]!r}: --status takes {', '.join(known)}")
    return tuple(one for one in known if one in given) if given else _NOT_SENT


def show(number: Number, json: Json = False) -> None:
    """Show one message with its text, what the vendor calls it, and what people did about it.

    Example: `litgo notification show 12`
    """
    from litgo_pipelines.casework import notifications

    with transaction() as connection:
        found = notifications.find(connection, number)
    answer(json, found, *told(found))


def told(found: Notification) -> list[str]:
    """A message, a line for each of its facts, its text last."""
    facts = {
        "key": found.key,
        "to": _whom(found),
        "channel": found.channel,
        "created": moment(found.created_at),
        "due": moment(found.due_at) if found.status == "queued" else None,
        "sent": None if found.sent_at is None else moment(found.sent_at),
        "tries": f"{found.tries} in vain" if found.tries else None,
        "trouble": found.trouble,
        "vendor id": found.vendor_id,
    }
    lines = [f"Message {found.id}: {found.status}", *(f"  {name:<9} {value}" for name, value in facts.items() if value is not None)]
    handled = found.details.get("delivery", {}).get("handled", [])
    lines += [f"  handled   {one['action']} by {one['by']}" + (f": {one['reason']}" if one["reason"] else "") for one in handled]
    return [*lines, f"  subject   {found.subject}", "", found.body]


def _whom(found: Notification) -> str:
    return "the operators" if found.recipient_id is None else f"{found.audience} {found.recipient_id}"


def _print(found: Sequence[Notification]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("ID", "created", "to", "channel", "status", "subject", "trouble"):
        table.add_column(name, justify="right" if name == "ID" else "left", no_wrap=name in ("ID", "created"))
    for one in found:
        state = f"[{_COLOURS[one.status]}]{one.status}[/]"
        table.add_row(str(one.id), moment(one.created_at), _whom(one), one.channel, state, escape(one.subject), escape(one.trouble or ""))
    Console().print(table)
