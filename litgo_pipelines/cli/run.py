"""`litgo run JOB`: one of the project's Dagster jobs, here and now, recorded on the project's instance."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.settings import LitgoError, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.orchestration.launch import Launched


def moment(text: str) -> datetime:
    """An ISO 8601 time as an aware UTC datetime; without a zone it is taken as UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: write it like 2026-01-31T02:00:00-03:00") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


AsOf = Annotated[
    datetime | None,
    typer.Option("--as-of", parser=moment, metavar="TIME", help="Take the facts as of this time (ISO 8601; UTC unless it says otherwise)."),
]


def use_project() -> None:
    """Let this process find the project's databases and Dagster instance; the schema must be that of this code."""
    from litgo_pipelines.cli.dagster import dagster_environment
    from litgo_pipelines.marketplace.database import ensure_schema, services_for

    settings = get_settings()
    services = services_for(settings)
    ensure_schema(settings, services.database)
    os.environ.update(dagster_environment(settings, services))


def run(
    job: Annotated[str, typer.Argument(help="Such as `calculate_equity_metrics` or `retrain_ranker`; an unknown name lists them all.")],
    as_of: AsOf = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print run id, status and each asset's metadata as JSON.")] = False,
) -> None:
    """Execute one Dagster job now; the run shows in the UI.

    A daily job takes the newest day that was complete at `--as-of`; exit code 1 if the run fails. `refit_equity_price --as-of` rehearses:
    nothing is put in force. `read_experiment` and `watch_champion` act on the present alone.

    Example: `litgo run retrain_ranker --json`
    """
    from litgo_pipelines.orchestration.launch import UnknownJob, job_names

    if job not in job_names():
        raise UnknownJob(f"there is no job {job!r}: choose one of {', '.join(job_names())}")
    if as_of is not None and as_of > datetime.now(UTC):
        raise LitgoError(f"--as-of {as_of.isoformat()} lies in the future")
    use_project()
    from litgo_pipelines.orchestration.launch import run_job

    launched = run_job(job, as_of=as_of)
    if as_json:
        typer.echo(json.dumps(as_dict(job, launched), indent=2))
    else:
        _print(job, launched)
    if not launched.success:
        raise typer.Exit(1)


def as_dict(job: str, launched: Launched) -> dict[str, object]:
    """The run as `--json` prints it."""
    return {
        "job": job,
        "run_id": launched.run_id,
        "status": "SUCCESS" if launched.success else "FAILURE",
        "partition": launched.partition,
        "assets": launched.assets,
        "checks": launched.checks,
        "remarks": launched.remarks,
        "errors": launched.errors,
    }


def _print(job: str, launched: Launched) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    state = "[green]succeeded[/]" if launched.success else "[red]failed[/]"
    console.print(f"{job} {state}  run {launched.run_id}" + (f"  partition {launched.partition}" if launched.partition else ""))
    for asset, metadata in launched.assets.items():
        table = Table(title=asset, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in metadata.items():
            table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
        console.print(table)
    for check, passed in launched.checks.items():
        told = f" ({escape(launched.remarks[check])})" if check in launched.remarks and not passed else ""
        console.print(f"check {check}: " + ("[green]passed[/]" if passed else f"[yellow]did not pass[/]{told}"))
    for error in launched.errors:
        console.print(f"[red]{error}[/]")
