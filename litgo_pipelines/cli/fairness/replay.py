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

from litgo_pipelines.casework.prices import MOST_PRICE
from litgo_pipelines.cli.run import AsOf
from litgo_pipelines.settings import LitgoError, Settings, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.casework.price_replay import Replayed
    from litgo_pipelines.casework.refit import LastMonth
    from litgo_pipelines.equity.distribution import Distribution

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
MOST_PRICES = 20


class NothingToReplay(LitgoError):
    """The record of the last 30 days is too short to replay; the message says what is missing."""


def numbers(text: str) -> tuple[float, ...]:
    """Prices separated by commas, ascending, each once."""
    try:
        found = tuple(sorted({float(one) for one in text.split(",")}))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of prices: write it like 0.2,0.5,1", param_hint="--prices") from None
    if not all(0 <= one <= MOST_PRICE for one in found) or len(found) > MOST_PRICES:
        raise typer.BadParameter(f"give at most {MOST_PRICES} prices between 0 and {MOST_PRICE:g}", param_hint="--prices")
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

    wanted = PRICES if prices is None else numbers(prices)
    path = _place(picture, "replay.png")
    found = _replayed(wanted, as_of)
    curve = [one.trade_off for one in found.replayed]
    settings = found.month.settings
    png = trade_off_picture(
        curve, target_gini=settings.litgo_equity_target_gini, most_gap=settings.litgo_fairness_max_gap, before=found.month.rule.price
    )
    _keep(png, path)
    if as_json:
        typer.echo(json.dumps(found.to_json() | {"picture": str(path)}, indent=2))
    else:
        _print(found, path)


def what_if(
    price: Annotated[float, typer.Option(min=0, max=MOST_PRICE, help="A price of load that is not in force.")],
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

    path = _place(picture, f"what-if-{price:g}.png")
    found = _replayed((price,), as_of, other=True)
    by_price = {one.rule.price: one for one in found.replayed}
    sides = [(one.trade_off, one.utilisation) for one in (by_price[found.month.rule.price], by_price[price])]
    _keep(comparison_picture(sides[0], sides[1]), path)
    if as_json:
        typer.echo(json.dumps(found.to_json() | {"asked_price": price, "picture": str(path)}, indent=2))
    else:
        _print(found, path)


@dataclass(frozen=True)
class _Found:
    """Replays in ascending order of price."""

    month: LastMonth
    replayed: list[Replayed]

    def to_json(self) -> dict[str, Any]:
        seen = self.month.observed
        return {
            "as_of": self.month.as_of.isoformat(),
            "price_in_force": self.month.rule.price,
            "cases": len(self.month.past.cases),
            "share": self.month.past.share,
            "offers_a_case": self.month.top_n,
            "observed": None if seen is None else {"lawyers": seen.lawyers, **_shown(seen)},
            "replayed": [
                {"lawyers": one.distribution.lawyers, **asdict(one.trade_off), **_shown(one.distribution)} for one in self.replayed
            ],
        }


def _shown(found: Distribution) -> dict[str, float | None]:
    names = ("gini_utilisation", "gini_offers", "share_offered", "gap_area", "gap_capacity", "gap_new")
    return {name: getattr(found, name) for name in names}


def _replayed(prices: Sequence[float], as_of: datetime | None, *, other: bool = False) -> _Found:
    """Replay these prices and the one in force, which with `other` must not be among them."""
    from litgo_pipelines.casework.refit import LastMonth
    from litgo_pipelines.casework.responses import TooLittleRecorded
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.rollout.registry import Registry

    now = datetime.now(UTC)
    if as_of is not None and as_of > now:
        raise LitgoError(f"--as-of {as_of.isoformat()} lies in the future")
    with open_marketplace() as place:
        ranker = Registry(place.services.mlflow, place.settings.litgo_home / "models").answering()
        with place.snapshot() as connection:
            try:
                month = LastMonth.read(connection, as_of or now, ranker, place.settings)
            except TooLittleRecorded as missing:
                raise NothingToReplay(f"too little is recorded to replay: {missing}; try again when more was offered") from None
    if other and month.rule.price in prices:
        raise LitgoError(f"{month.rule.price:g} is the price in force: ask about another one")
    with _progress_bar() as show:
        return _Found(month, month.under(sorted({*prices, month.rule.price}), ranker, show))


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


def _place(picture: Path | None, name: str) -> Path:
    """Where a picture is to be kept: found out before anything long is begun."""
    path = (picture or get_settings().litgo_home / "pictures" / name).absolute()
    if path.is_dir():
        raise LitgoError(f"--picture {path} is a folder: name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LitgoError(f"cannot make the folder {path.parent}: {error.strerror}; name another place with --picture") from error
    return path


def _keep(png: bytes, path: Path) -> None:
    try:
        path.write_bytes(png)
    except OSError as error:
        raise LitgoError(f"cannot write the picture {path}: {error.strerror}; name another place with --picture") from error


def _print(found: _Found, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    month, settings = found.month, found.month.settings
    title = f"{len(month.past.cases):,} cases of the 30 days before {month.as_of:%Y-%m-%d %H:%M} UTC, replayed"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name in ("price", "Gini", "(offers)", "areas", "capacity", "newcomers", "offered", "P(accept)", "filled", ""):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    if month.observed is not None:
        table.add_row("", *_figures(month.observed, settings), "", "", "observed")
    for one in found.replayed:
        row = one.trade_off
        note = "in force" if row.price == month.rule.price else ""
        quality = (_bounded(row.mean_relevance, None), _percent(row.fill_rate))
        table.add_row(f"{row.price:g}", *_figures(one.distribution, settings), *quality, note)
    console = Console()
    console.print(table)
    console.print(
        "Gini of utilisation and of offers; gaps in mean utilisation between areas, capacity bands, newcomers and established. "
        f"[red]Red[/]: Gini above {settings.litgo_equity_target_gini:g}, gap above {settings.litgo_fairness_max_gap:g}. "
        "A replay estimates: compare prices with one another."
    )
    if month.past.share < 1:
        console.print(f"A share of {month.past.share:.0%} of lawyers and cases was replayed.")
    console.print(f"Picture: {path}", soft_wrap=True)


def _figures(found: Distribution, settings: Settings) -> list[str]:
    gaps = (found.gap_area, found.gap_capacity, found.gap_new)
    return [
        _bounded(found.gini_utilisation, settings.litgo_equity_target_gini),
        _bounded(found.gini_offers, None),
        *(_bounded(gap, settings.litgo_fairness_max_gap) for gap in gaps),
        _percent(found.share_offered),
    ]


def _bounded(value: float | None, most: float | None) -> str:
    told = "-" if value is None else f"{value:.3f}"
    return f"[red]{told}[/]" if value is not None and most is not None and value > most else told


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
