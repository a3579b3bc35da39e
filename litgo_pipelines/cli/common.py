"""What verbs share: options, a transaction on the marketplace, a progress bar, and how moments and JSON are shown."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.cli.marketplace import Marketplace
    from litgo_pipelines.rollout.freezes import Freeze
    from litgo_pipelines.rollout.registry import Registry

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever reads the history.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides this; default: the user of this machine.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def transaction() -> Iterator[Connection]:
    """A transaction on the marketplace's database."""
    from litgo_pipelines.cli.marketplace import open_marketplace

    with open_marketplace() as marketplace, marketplace.engine.begin() as connection:
        yield connection


@contextmanager
def progress_bar(label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr; the function is told how many of all units are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, of: bar.update(task, total=of, completed=done)


def registry_of(marketplace: Marketplace) -> Registry:
    """The registry of this marketplace's services."""
    from litgo_pipelines.rollout.registry import Registry

    return Registry(marketplace.services.mlflow, marketplace.settings.litgo_home / "models")


def name_of(by: str | None) -> str:
    """Who decides: the name given, or else that of this machine's user.

    Raises:
        LitgoError: neither is there.
    """
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # What there is where a container's user has no name; which of the two depends on the Python.
        raise LitgoError("this machine's user has no name: say with --by who decides this") from None


def moment(at: datetime) -> str:
    """2026-03-10 12:00 UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def version_name(version: str | None) -> str:
    """A version as people are told of it: its number, or the hand weights where there is none."""
    from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION

    return version or HAND_WEIGHTS_VERSION


def held_told(held: Freeze | None) -> str:
    """Whether models move by themselves."""
    if held is None:
        return "Models are not frozen: promotions, rollbacks and experiments go on by themselves."
    return f"Models are frozen by {held.actor} since {moment(held.changed_at)}: {held.reason}. A person may still move them."


def percent(share: float) -> str:
    """A share of one in hundredths, with as many digits as tell it: 0.5%, 1%, 12.3%, 250%."""
    hundredths = 100 * share
    return f"{hundredths:,.0f}%" if abs(hundredths) >= 100 else f"{hundredths:.3g}%"


def answer(json: bool, found: Any, *told: str) -> None:
    """Print what a verb did on stdout: as JSON for machines, in words for people."""
    for one in [as_json(found)] if json else told:
        typer.echo(one)


def as_json(found: Any) -> str:
    """As JSON; dataclasses are objects, moments ISO 8601 in UTC, ids text."""
    return json.dumps(_plain(found), ensure_ascii=False, indent=2, allow_nan=False)


def _plain(found: Any) -> Any:
    if is_dataclass(found) and not isinstance(found, type):
        return _plain(asdict(found))
    if isinstance(found, Mapping):
        return {str(name): _plain(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(one) for one in found]
    if isinstance(found, datetime):
        return found.astimezone(UTC).isoformat()
    return str(found) if isinstance(found, UUID) else found
