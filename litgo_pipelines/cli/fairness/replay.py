"""`litgo fairness replay` and `litgo fairness what-if`: the last 30 days under prices of load that were not in force."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from litgo_pipelines.cli.run import AsOf
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from litgo_pipelines.casework.price_replay import Replayed
    from litgo_pipelines.casework.refit import LastMonth

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_MOST_PRICE = 10.0


class NothingToReplay(LitgoError):
    """The record of the last 30 days is too short to replay; the message says what is missing."""


def numbers(text: str) -> tuple[float, ...]:
    """Prices separated by commas, ascending, each once."""
    try:
        found = tuple(sorted({float(one) for one in text.split(",")}))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of prices: write it like 0.2,0.5,1", param_hint="--prices") from None
    if not all(0 <= one <= _MOST_PRICE for one in found):
        raise typer.BadParameter(f"a price lies between 0 and {_MOST_PRICE:g}", param_hint="--prices")
    return found


def replay(
    prices: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Prices to replay; default: the curve that the weekly refit draws.")
    ] = None,
    as_of: AsOf = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to draw the curve; default: in LITGO_HOME/pictures.")] = None,
    as_json: Json = False,
) -> None:
    """Replay the requests of the last 30 days under alternative prices of load.

    Each price begins with the loads of 30 days ago and meets the same cases; lawyers and clients answer as the record says they do.
    Nothing is put in force (`litgo fairness price set` does that, and the weekly job `refit_equity_price`).

    Example: `litgo fairness replay --prices 0.2,0.5,1`
    """
    from litgo_pipelines.equity.pictures import trade_off_picture
    from litgo_pipelines.equity.pricing import PRICES

    found = _replayed(PRICES if prices is None else numbers(prices), as_of)
    curve = [one.trade_off for one in found.replayed]
    settings = found.month.settings
    png = trade_off_picture(
        curve, target_gini=settings.litgo_equity_target_gini, most_gap=settings.litgo_fairness_max_gap, before=found.month.rule.price
    )
    path = _keep(png, picture or settings.litgo_home / "pictures" / "replay.png")
    if as_json:
        typer.echo(json.dumps(found.to_json() | {"picture": str(path)}, indent=2))
    else:
        _print(found, path)


def what_if(
    price: Annotated[float, typer.Option(min=0, max=_MOST_PRICE, help="A price of load that is not in force.")],
    as_of: AsOf = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to draw both spreads; default: in LITGO_HOME/pictures.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What would the last 30 days have looked like under another price of load? Table and picture, beside the price in force.

    Example: `litgo fairness what-if --price 0.8`
    """
    from litgo_pipelines.equity.pictures import comparison_picture

    found = _replayed((price,), as_of)
    by_price = {one.rule.price: one for one in found.replayed}
    sides = [(one.trade_off, one.utilisation) for one in (by_price[found.month.rule.price], by_price[price])]
    path = _keep(comparison_picture(sides[0], sides[1]), picture or found.month.settings.litgo_home / "pictures" / f"what-if-{price:g}.png")
    if as_json:
        typer.echo(json.dumps(found.to_json() | {"asked_price": price, "picture": str(path)}, indent=2))
    else:
        _print(found, path)


@dataclass(frozen=True)
class _Found:
    """Replays in ascending order of price, and the observed Gini of the newest snapshot, where there is one."""

    month: LastMonth
    replayed: list[Replayed]
    observed_gini: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "as_of": self.month.as_of.isoformat(),
            "price_in_force": self.month.rule.price,
            "cases": len(self.month.past.cases),
            "share": self.month.past.share,
            "offers_a_case": self.month.top_n,
            "observed_gini_utilisation": self.observed_gini,
            "replayed": [asdict(one.trade_off) | {"lawyers": one.distribution.lawyers} for one in self.replayed],
        }


def _replayed(prices: Sequence[float], as_of: datetime | None) -> _Found:
    """Replay these prices and the one in force."""
    from litgo_pipelines.casework.refit import LastMonth
    from litgo_pipelines.casework.responses import TooLittleRecorded
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.rollout.registry import Registry

    moment = as_of or datetime.now(UTC)
    with open_marketplace() as place:
        ranker = Registry(place.services.mlflow, place.settings.litgo_home / "models").answering()
        with place.snapshot() as connection:
            try:
                month = LastMonth.read(connection, moment, ranker, place.settings)
            except TooLittleRecorded as missing:
                raise NothingToReplay(f"too little is recorded to replay: {missing}; try again when more was offered") from None
            observed = _observed(connection, moment)
    with _progress_bar() as show:
        return _Found(month, month.under(sorted({*prices, month.rule.price}), ranker, show), observed)


def _observed(connection: Any, moment: datetime) -> float | None:
    from sqlalchemy import text

    from litgo_pipelines.casework.equity_run import utilisation
    from litgo_pipelines.equity.inequality import gini

    night = connection.execute(
        text("SELECT max(as_of) FROM litgo.equity_snapshots WHERE as_of <= :moment"), {"moment": moment}
    ).scalar_one()
    used = None if night is None else utilisation(connection, night)
    return gini(used) if used is not None and used.any() else None


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TextColumn("cases"), TimeRemainingColumn())
    console = Console(stderr=True)
    # A bar that vanishes leaves an empty line where it cannot be drawn.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("replaying", total=None)
        yield lambda done, of: bar.update(task, total=of, completed=done)


def _keep(png: bytes, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
    except OSError as error:
        raise LitgoError(f"cannot write the picture {path}: {error.strerror}; name another place with --picture") from error
    return path.absolute()


def _print(found: _Found, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    month, settings = found.month, found.month.settings
    most_gini, most_gap = settings.litgo_equity_target_gini, settings.litgo_fairness_max_gap
    title = f"{len(month.past.cases):,} cases of the 30 days before {month.as_of:%Y-%m-%d %H:%M} UTC, replayed"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("price", "Gini", "of offers", "greatest gap", "offered", "P(accept)", "filled", ""):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for one in found.replayed:
        row = one.trade_off
        table.add_row(
            f"{row.price:g}",
            _bounded(row.gini_utilisation, most_gini),
            _bounded(row.gini_offers, None),
            _bounded(row.gap, most_gap),
            _percent(row.share_offered),
            _bounded(row.mean_relevance, None),
            _percent(row.fill_rate),
            "in force" if row.price == month.rule.price else "",
        )
    console = Console()
    console.print(table)
    console.print(f"[red]Red[/]: Gini above its target of {most_gini:g}, or a gap between groups above {most_gap:g}.")
    if found.observed_gini is not None:
        console.print(f"Observed on the newest night: Gini {found.observed_gini:.3f}. Compare prices with one another: a replay estimates.")
    if month.past.share < 1:
        console.print(f"A share of {month.past.share:.0%} of lawyers and cases was replayed.")
    console.print(f"Picture: {path}", soft_wrap=True)


def _bounded(value: float | None, most: float | None) -> str:
    told = "-" if value is None else f"{value:.3f}"
    return f"[red]{told}[/]" if value is not None and most is not None and value > most else told


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
