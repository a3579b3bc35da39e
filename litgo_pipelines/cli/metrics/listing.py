"""`litgo metrics list`: every metric there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import Json, as_json

if TYPE_CHECKING:
    from litgo_pipelines.observability.metrics import Metric


def list_metrics(
    containing: Annotated[str | None, typer.Argument(metavar="TEXT", help="Only names that contain this.")] = None,
    json: Json = False,
) -> None:
    """List the metrics that the collector (`litgo metrics serve`) and the service (`litgo serve`) show: kind, labels, meaning.

    A label with all the values that it can take is shown as `label=a|b`. A histogram is stored as NAME_bucket, NAME_sum and NAME_count.

    Example: `litgo metrics list contract`
    """
    from litgo_pipelines.observability.metrics import METRICS

    found = [metric for name, metric in METRICS.items() if (containing or "") in name]
    if json:
        typer.echo(as_json({"metrics": found}))
    elif found:
        _print(found)
    else:
        typer.echo(f"No metric's name contains {containing!r}.")


def _print(found: list[Metric]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("metric", "kind", "meaning"):
        table.add_column(name, overflow="fold", no_wrap=name == "metric")
    for one in found:
        labels = [f"{label}={'|'.join(one.known[label])}" if label in one.known else label for label in one.labels]
        told = "".join(f"\n  [cyan]{escape(label)}[/]" for label in labels)
        table.add_row(one.name, f"{one.kind}\n[dim]{one.exporter}[/]", escape(one.help) + told)
    Console().print(table)
