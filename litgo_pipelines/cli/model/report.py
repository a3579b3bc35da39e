"""`litgo model report`: what an external auditor is given about one version, as one HTML page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from litgo_pipelines.cli.common import Json, answer, registry_of
from litgo_pipelines.settings import LitgoError

Output = Annotated[
    Path | None,
    typer.Option("--output", "--out", metavar="FILE.html", help="Where to; default: relatorio-modelo-VERSION.html in this folder."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file of --output.")]


def report(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Number of a version, as `litgo model list` shows it.")],
    output: Output = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the auditor's report about a version: data, training, gate, experiment, decisions, people, state, and how to check it.

    One self-contained HTML page in Portuguese, to be opened in a browser or printed; it fetches nothing and names no lawyer or client.

    Example: `litgo model report 3 --output modelo-3.html`
    """
    target = output or Path(f"relatorio-modelo-{version}.html")
    _require_place(target, force=force or output is None)
    page = _page(version)
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise LitgoError(f"the report cannot be written to {target}: {error.strerror}") from None
    answer(json, {"path": str(target.absolute())}, f"Written to {target}.")


def _require_place(target: Path, *, force: bool) -> None:
    """Before anything is read, so that a mistake costs no waiting."""
    if target.is_dir():
        raise LitgoError(f"{target} is a folder: name a file in it")
    if not target.absolute().parent.is_dir():
        raise LitgoError(f"the folder {target.absolute().parent} does not exist: make it first")
    if target.exists() and not force:
        raise LitgoError(f"{target} exists: choose another name, or overwrite it with --force")


def _page(version: str) -> str:
    from rich.console import Console

    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.rollout.audit import gather
    from litgo_pipelines.rollout.audit_page import Controller, audit_page
    from litgo_pipelines.rollout.tracking import Tracking

    with Console(stderr=True).status("gathering what is recorded"), open_marketplace() as marketplace:
        settings, services = marketplace.settings, marketplace.services
        tracking = Tracking(services.mlflow, services.mlflow_artifacts)
        with marketplace.snapshot() as connection:
            facts = gather(connection, registry_of(marketplace), tracking, version, as_of=datetime.now(UTC))
    return audit_page(facts, Controller(settings.litgo_controller_name, settings.litgo_dpo_contact))
