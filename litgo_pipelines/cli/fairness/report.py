"""`litgo fairness report`: how the last 30 days' cases and offers were spread over the lawyers, in the terminal.

The same figures as the asset `offer_distribution` shows, computed from the newest snapshot. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from litgo_pipelines.cli.marketplace import open_marketplace
from litgo_pipelines.cli.run import AsOf
from litgo_pipelines.settings import LitgoError, get_settings

if TYPE_CHECKING:
    from rich.console import Console

    from litgo_pipelines.casework.distribution import Overview, WorstOff
    from litgo_pipelines.casework.regions import Meeting
    from litgo_pipelines.equity.distribution import GroupFigures
    from litgo_pipelines.equity.promises import Judgement, Verdict

MOST_MISFITS = 10

_SHARE, _GAP, _POINTS = "share", "gap", "points"
"""Units: a share is shown in percent, a gap in utilisation and what is in points already in percentage points; changes of all in points."""
_FIGURES = (
    ("gini_utilisation", "Gini of utilisation", None),
    ("gini_offers", "Gini of offers over capacity", None),
    ("share_offered", "lawyers with an offer", _SHARE),
    ("mean_utilisation", "mean utilisation", _SHARE),
    ("p95_minus_p5", "utilisation, P95 - P5", _POINTS),
    ("max_minus_min", "utilisation, greatest - least", _POINTS),
    ("gap_area", "gap between primary areas", _GAP),
    ("gap_capacity", "gap between capacity bands", _GAP),
    ("gap_new", "gap newcomers - established", _GAP),
)
_COLOURS: dict[Verdict, str] = {"pass": "green", "fail": "red", "insufficient data": "yellow"}


def report(
    as_of: AsOf = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, numbers unrounded.")] = False,
) -> None:
    """Show how evenly cases and offers of 30 days were spread over the lawyers, and whether that keeps the limits.

    Reads the newest snapshot (with `--as-of`, the newest up to then). Lawyers are named by their ids.

    Example: `litgo fairness report --as-of 2026-03-09 --json`
    """
    from litgo_pipelines.casework.distribution import limits_of
    from litgo_pipelines.equity.promises import judge

    if as_of is not None and as_of > datetime.now(UTC):
        raise LitgoError(f"--as-of {as_of.isoformat()} lies in the future")
    overview = _read(as_of or datetime.now(UTC))
    judgements = judge(overview.report.distribution, limits_of(get_settings()), overview.report.smallest)
    if as_json:
        typer.echo(json.dumps(as_dict(overview, judgements), ensure_ascii=False, indent=2))
    else:
        _print(overview, judgements)


def _read(as_of: datetime) -> Overview:
    from litgo_pipelines.casework.distribution import Terms, newest_snapshot, read_overview

    with open_marketplace() as marketplace, marketplace.snapshot() as connection:
        return read_overview(connection, newest_snapshot(connection, as_of), Terms.of(marketplace.settings))


def as_dict(overview: Overview, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """The report as `--json` prints it; what is unknown is null."""
    from litgo_pipelines.casework.regions import misfits

    found = overview.report.distribution
    return {
        "as_of": overview.report.as_of.astimezone(UTC).isoformat(),
        "figures": found.figures(),
        "changes": overview.changes,
        "smallest_area_gap": overview.report.smallest.to_json(),
        "verdicts": [asdict(one) for one in judgements],
        "areas": [asdict(one) for one in found.areas],
        "capacity_bands": [asdict(one) for one in found.bands],
        "tenure": [asdict(one) for one in found.tenure],
        "worst_off": [{**asdict(one), "lawyer_id": str(one.lawyer_id)} for one in overview.worst_off],
        "misfits": [{**asdict(one), "ratio": one.ratio, "misfit": one.misfit} for one in misfits(overview.meetings)],
    }


def _print(overview: Overview, judgements: Sequence[Judgement]) -> None:
    from rich.console import Console
    from rich.text import Text

    from litgo_pipelines.casework.equity_run import TIMEZONE
    from litgo_pipelines.casework.regions import misfits

    console, found = Console(highlight=False), overview.report.distribution
    at = overview.report.as_of.astimezone(TIMEZONE)
    console.print(f"[bold]The 30 days up to {at:%Y-%m-%d %H:%M}[/] (São Paulo)")
    console.print(f"{found.lawyers:,} lawyers who practise an area with demand, {found.cases:,} contracts, {found.offers:,} offers\n")
    _figures(console, overview, judgements)
    for one in judgements:
        if one.verdict != "pass":
            console.print(Text(f"{one.verdict}: {one.reason}", style=_COLOURS[one.verdict]))
    console.print()
    for name, groups in (("primary area", found.areas), ("capacity", found.bands), ("tenure", found.tenure)):
        _groups(console, name, groups)
    _worst_off(console, overview.worst_off)
    _misfits(console, misfits(overview.meetings))


def _figures(console: Console, overview: Overview, judgements: Sequence[Judgement]) -> None:
    by_name = {one.figure: one for one in judgements}
    figures = overview.report.distribution.figures()
    rows = []
    for name, label, unit in _FIGURES:
        judged = by_name.get(name)
        limit, verdict = ("", "") if judged is None else (_number(judged.limit, unit), f"[{_COLOURS[judged.verdict]}]{judged.verdict}[/]")
        rows.append((label, _number(figures[name], unit), limit, verdict, _change(overview.changes[name], unit)))
        if name == "gap_area":
            rows.append(("  smallest possible", _number(overview.report.smallest.gap, unit), "", "", ""))
    _table(console, "", ("figure", "", "limit", "verdict", "in a week"), rows, right=(1, 2, 4))


def _groups(console: Console, name: str, groups: Sequence[GroupFigures]) -> None:
    from rich.markup import escape

    rows = [
        (f"{escape(one.name):<16}", f"{one.lawyers:,}", _number(one.mean_utilisation, _SHARE), _number(one.gini, None)) for one in groups
    ]
    _table(console, "", (name, "lawyers", "mean utilisation", "Gini"), rows, right=(1, 2, 3))


def _worst_off(console: Console, lawyers: Sequence[WorstOff]) -> None:
    from rich.markup import escape

    rows = []
    for one in lawyers:
        waiting = "never" if one.days_waiting is None else f"{one.days_waiting:.1f}"
        rows.append(
            (str(one.lawyer_id), escape(one.area), escape(one.state or ""), str(one.capacity), str(one.cases), str(one.offers), waiting)
        )
    title = "Fewest offers for their capacity (cap; days: since the last offer)"
    _table(console, title, ("lawyer", "area", "state", "cap", "cases", "offers", "days"), rows, right=(3, 4, 5, 6))


def _misfits(console: Console, found: Sequence[Meeting]) -> None:
    from rich.markup import escape

    rows = [
        (
            escape(f"{one.area}, {one.region}"),
            str(one.misfit),
            str(one.cases),
            f"{one.contracts:.1f}",
            f"{one.capacity:.1f}",
            "-" if one.ratio is None else f"{one.ratio:.1f}",
        )
        for one in found[:MOST_MISFITS]
    ]
    title = "Where demand and supply differ (ratio: contracts expected over capacity)"
    _table(console, title, ("area and state", "misfit", "cases", "contracts", "capacity", "ratio"), rows, right=(2, 3, 4, 5))
    if len(found) > MOST_MISFITS:
        console.print(f"… and {len(found) - MOST_MISFITS} more: see `--json`", style="dim")


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    from rich.table import Table

    if not rows:
        return
    if title:
        console.print(title, style="bold")
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table, "")


def _number(value: float | None, unit: str | None) -> str:
    """A share in percent, gaps in points, anything else with three decimals; a dash where it is unknown."""
    if value is None:
        return "-"
    if unit is None:
        return f"{value:.3f}"
    return f"{100 * value:.1f} %" if unit == _SHARE else f"{value if unit == _POINTS else 100 * value:.1f} pts"


def _change(value: float | None, unit: str | None) -> str:
    if value is None:
        return "-"
    return f"{value:+.3f}" if unit is None else f"{value if unit == _POINTS else 100 * value:+.1f} pts"
