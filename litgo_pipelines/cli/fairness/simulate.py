"""`litgo fairness simulate`: ways of offering cases compared in a marketplace that answers back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import progress_bar
from litgo_pipelines.settings import LitgoError, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.simulation.closed_loop import Findings, Setup

_ALL = "all"
_PRICED = "price"
_REPLAY = "replay"
_ROWS = {
    "gini_utilisation": "Gini of utilisation",
    "gini_offers": "Gini of offers over capacity",
    "share_offered": "share of lawyers offered (30 days)",
    "mean_utilisation": "mean utilisation",
    "max_minus_min": "max - min of utilisation (points)",
    "p95_minus_p5": "P95 - P5 of utilisation (points)",
    "utilisation_gap_area": "gap between areas",
    "utilisation_gap_capacity": "gap between capacity bands",
    "utilisation_gap_new": "gap newcomers / established",
    "mean_relevance": "mean hidden relevance of offers",
    "ndcg5_loss": "NDCG@5 lost to the ranker's order",
    "available_ndcg5": "NDCG@5 among lawyers with room",
    "fill_rate": "places filled by lawyers with room",
    "load_offer_correlation": "load / next day's offers (Spearman)",
    "rerank_p50_us": "choosing, p50 (µs a case)",
}


def simulate(
    seed: Annotated[int, typer.Option(min=0, help="The same seed lives through the same.")] = 1,
    utilisation: Annotated[
        float,
        typer.Option(
            min=0.05, max=1.5, help="Demand as a share of all lawyers' capacity, at .85 contracts a case; what comes of it is printed."
        ),
    ] = 0.6,
    policy: Annotated[str, typer.Option(help="relevance, relevance_cap, predecessor, price; or all, side by side.")] = "price",
    price: Annotated[
        str | None,
        typer.Option(
            help="Price of load under the policy `price`: a number, or `replay` to let a replay choose. Default: LITGO_EQUITY_PRICE."
        ),
    ] = None,
    stale: Annotated[bool, typer.Option("--stale", help="Decide by the loads of the last night alone, up to a day old.")] = False,
    lawyers: Annotated[int, typer.Option(min=100, max=5_000, help="Size of the marketplace.")] = 800,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON; a list where several policies are asked for.")
    ] = False,
) -> None:
    """Live through 85 days of a made-up marketplace in memory under a policy, and measure the last 30.

    25 days are offered by the hand weights; a ranker learns from them and scores from then on, under every policy alike. Gini and
    gaps are those of the daily report; relevance is the hidden one, which no product code sees. No database is needed.

    `relevance` offers to the best scores whoever is full, `relevance_cap` to the best with room, `predecessor` as an older backend did,
    `price` by the offer rule.

    Example: `litgo fairness simulate --seed 11 --utilisation 0.6 --policy all`
    """
    from litgo_pipelines.casework.responses import TooLittleRecorded
    from litgo_pipelines.equity.policies import POLICIES
    from litgo_pipelines.ranking.training_set import InsufficientData
    from litgo_pipelines.simulation.closed_loop import live

    if policy != _ALL and policy not in POLICIES:
        raise typer.BadParameter(f"there is no policy {policy!r}: choose one of {', '.join(POLICIES)}, {_ALL}", param_hint="--policy")
    if price is not None and policy not in (_ALL, _PRICED):
        raise typer.BadParameter(f"the policy {policy!r} has no price: leave it out, or choose {_PRICED}, {_ALL}", param_hint="--price")
    found = []
    for name in list(POLICIES) if policy == _ALL else [policy]:
        with progress_bar(name, "days") as show:
            try:
                found.append(live(_setup(seed, utilisation, name, price, stale, lawyers), show))
            except (InsufficientData, TooLittleRecorded) as missing:
                raise LitgoError(f"the marketplace is too small: {missing}; take more --lawyers or a higher --utilisation") from None
    if as_json:
        told = [one.to_json() for one in found]
        typer.echo(json.dumps(told if policy == _ALL else told[0], indent=2))
    else:
        _print(found)


def _setup(seed: int, utilisation: float, policy: str, price: str | None, stale: bool, lawyers: int) -> Setup:
    from litgo_pipelines.equity.allocation import OfferRule
    from litgo_pipelines.simulation.closed_loop import Setup

    settings = get_settings()
    rule = OfferRule(_price(price, settings.litgo_equity_price), settings.litgo_new_lawyer_bonus, settings.litgo_exploration)
    return Setup(
        seed,
        utilisation,
        policy,
        rule,
        replayed_price=price == _REPLAY and policy == _PRICED,
        stale=stale,
        lawyers=lawyers,
        new_lawyer_offers=settings.litgo_new_lawyer_offers,
        newcomer_days=settings.litgo_newcomer_days,
        least_lawyers=settings.litgo_fairness_min_lawyers,
        target_gini=settings.litgo_equity_target_gini,
        most_gap=settings.litgo_fairness_max_gap,
    )


def _price(text: str | None, default: float) -> float:
    if text is None or text == _REPLAY:
        return default
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 10:
        raise typer.BadParameter(f"{text!r} is neither a number from 0 to 10 nor `{_REPLAY}`", param_hint="--price")
    return found


def _print(found: list[Findings]) -> None:
    from rich.console import Console
    from rich.table import Table

    first = found[0]
    table = Table(
        title=f"seed {first.seed}, {first.lawyers:,} lawyers, utilisation {first.utilisation:g}; the last 30 of 85 days",
        title_justify="left",
    )
    table.add_column("")
    for one in found:
        table.add_column(one.policy if one.price is None else f"{one.policy} {one.price:g}", justify="right")
    for name, told in _ROWS.items():
        values = [one.to_json()[name] for one in found]
        digits = 0 if name == "rerank_p50_us" else 1 if name in ("max_minus_min", "p95_minus_p5") else 3
        table.add_row(told, *("-" if not isinstance(value, float) else f"{value:.{digits}f}" for value in values))
    Console().print(table)
