"""`litgo dashboards build`: Grafana's dashboards, written from code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def build(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 and a diff if a file is not what is built.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Folder of the files; default: deploy/grafana/dashboards.")
    ] = None,
) -> None:
    """Write the dashboards as JSON for Grafana. What is built again is the same, byte by byte.

    Example: `litgo dashboards build --check`
    """
    from litgo_pipelines.observability.dashboards import files

    folder = output or files.DASHBOARDS
    if not check:
        typer.echo("\n".join(files.write(folder)) or f"{folder} is as it was.")
        return
    found = files.drift(folder)
    typer.echo("".join(found.values()) + (f"litgo dashboards build writes {', '.join(found)} anew." if found else f"{folder} is as built."))
    if found:
        raise typer.Exit(1)
