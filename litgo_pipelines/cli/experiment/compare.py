"""`litgo experiment compare-modes`: how many cases an A/B test and interleaving need to tell the better ranker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import progress_bar
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from litgo_pipelines.simulation.duels import Findings, Repeat


def compare_modes(
    lawyers: Annotated[int, typer.Option(min=100, max=5_000, help="Size of each marketplace.")] = 400,
    cases: Annotated[
        int, typer.Option(min=200, max=100_000, help="Most cases of a repeat; who has no verdict by then did not decide.")
    ] = 8_000,
    repeats: Annotated[int, typer.Option(min=1, max=200, help="Marketplaces, each with a seed of its own.")] = 7,
    seed: Annotated[int, typer.Option(min=0, help="Of the first marketplace; the same seed finds the same.")] = 1,
    blur: Annotated[
        float, typer.Option(min=0, max=10, help="How far the champion's judgement of each lawyer is off, in logits; 0: both are equal.")
    ] = 1.8,
    top_n: Annotated[int, typer.Option(min=1, max=20, help="Offers a case.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
) -> None:
    """Count the cases until an A/B test of half and half, and interleaving, say which of two rankers is better.

    In each of several made-up marketplaces a ranker learns from 25 days of cases: the challenger. The champion is the same one with its
    judgement blurred. Both make a list for every case that follows, at the same loads: what the champion's offers bring about. The A/B test
    shows one list a client and compares the share of offers accepted within 24 hours; interleaving drafts both lists into one and compares
    whose lawyers accept more often. Verdicts are those of real experiments, read after every case.

    Interleaving gains most where lists are long and cases differ much from one another. It tells who is preferred, not by how much. No
    database is needed.

    Example: `litgo experiment compare-modes --repeats 5 --json`
    """
    from litgo_pipelines.ranking.training_set import InsufficientData
    from litgo_pipelines.simulation.duels import Setup, compare

    setup = Setup(lawyers=lawyers, cases=cases, repeats=repeats, seed=seed, blur=blur, top_n=top_n)
    with progress_bar("A/B test and interleaving", "marketplaces") as show:
        try:
            found = compare(setup, show)
        except InsufficientData as missing:
            raise LitgoError(f"the marketplace is too small: {missing}; take more --lawyers") from None
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        _print(found)


def _print(found: Findings) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Cases until a verdict: {found.lawyers:,} lawyers, {found.top_n} offers a case", title_justify="left")
    for name in ("seed", "champion accepts", "challenger accepts", "A/B test", "interleaving"):
        table.add_column(name, justify="right")
    for one in found.each:
        table.add_row(str(one.seed), f"{one.champion:.3f}", f"{one.challenger:.3f}", _cases(one, "ab"), _cases(one, "interleaving"))
    table.add_section()
    medians = [_median(one) for one in (found.ab_cases_median, found.interleaving_cases_median)]
    table.add_row("median", f"{found.champion_accepted:.3f}", f"{found.challenger_accepted:.3f}", *medians)
    console = Console()
    console.print(table)
    console.print(_told(found))


def _cases(one: Repeat, mode: str) -> str:
    cases, wrong = getattr(one, f"{mode}_cases"), getattr(one, f"{mode}_wrong")
    return "-" if cases is None else f"{cases:,}{' (wrong)' if wrong else ''}"


def _median(cases: float | None) -> str:
    return "-" if cases is None else f"{cases:,.0f}"


def _told(found: Findings) -> str:
    told = [f"The challenger's offers are accepted {found.lift:+.1%} more often."]
    if found.ratio is not None:
        told.append(f"Interleaving needed {found.ratio:.1f} times fewer cases.")
    undecided = f"A/B test {found.not_decided_ab}, interleaving {found.not_decided_interleaving} of {found.repeats}"
    return " ".join([*told, f"Without a verdict after {found.most_cases:,} cases: {undecided}."])
