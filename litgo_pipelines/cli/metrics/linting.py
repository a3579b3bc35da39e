"""`litgo metrics lint`: what is wrong with the expressions of rules and dashboards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import Json, answer

if TYPE_CHECKING:
    from litgo_pipelines.observability.lint import Finding


def lint(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES", help="Rules (.yaml) and dashboards (.json); default: all below deploy/.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every expression of alert rules, recording rules and dashboards against the metrics there are.

    It finds what Prometheus accepts and answers with nothing, or with something else than was meant: metrics and labels that nobody
    exports, counters without a rate, quantiles without le, alerts on a share of too few events. See docs/dashboards.md.
    Exits with 1 if there is anything.

    Example: `litgo metrics lint deploy/prometheus/rules/alerts.yaml`
    """
    from litgo_pipelines.observability import lint as linter

    chosen = files or linter.deployed()
    found = linter.lint(chosen)
    answer(json, {"findings": found}, *map(_told, found), _sum(found, len(chosen)))
    if found:
        raise typer.Exit(1)


def _told(found: Finding) -> str:
    expression = "\n    ".join(found.expression.splitlines())
    lines = [f"{found.file}: {found.where}: {found.rule}", f"    {expression}"]
    if found.part != found.expression:
        lines.append(f"  in {found.part}")
    return "\n".join([*lines, f"  {found.wrong}", f"  write {found.instead}", ""])


def _sum(found: list[Finding], files: int) -> str:
    return f"{len(found)} {'finding' if len(found) == 1 else 'findings'} in {files} {'file' if files == 1 else 'files'}."
