"""`litgo embeddings status`: how many cases and lawyers have a vector in each space."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from litgo_pipelines.cli.common import Json, as_json, percent

if TYPE_CHECKING:
    from litgo_pipelines.casework.embedding import Coverage


def status(json: Json = False) -> None:
    """Show how far each space is: which vectors are current, made of something that changed since, or missing.

    A space is a model in one state; vectors of two spaces are never compared. Spaces of models that are configured no longer keep their
    vectors, and are listed with their number alone.

    Example: `litgo embeddings status --json`
    """
    from litgo_pipelines.casework.embedding import Embedding, coverage
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
    from litgo_pipelines.marketplace.vectors import counts

    with open_marketplace() as marketplace:
        embedding = Embedding.of(marketplace.settings, PostgresCallLedger(marketplace.engine))
        now = datetime.now(UTC)
        with marketplace.snapshot() as connection:
            found = [one for entity in ("case", "lawyer") for one in coverage(connection, embedding.spaces, entity, now)]
            stored = counts(connection)
    retired = {f"{space} ({entity})": count for (space, entity), count in stored.items() if space not in embedding.spaces}
    if json:
        told = [{**vars(one), "missing": one.missing, "share": one.share} for one in found]
        typer.echo(as_json({"coverage": told, "retired": retired, "trouble": embedding.trouble}))
    else:
        print_coverage(found)
        for name, count in retired.items():
            typer.echo(f"Not in use any more: {name}, {count:,} vectors.")
        if embedding.trouble is not None:
            typer.echo(f"No local model: {embedding.trouble}")


def print_coverage(found: Sequence[Coverage]) -> None:
    """As a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Embeddings")
    table.add_column("space", overflow="fold")
    table.add_column("of", no_wrap=True)
    for heading in ("wanted", "current", "outdated", "missing", "coverage"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        numbers = (one.wanted, one.current, one.outdated, one.missing)
        share = "-" if one.share is None else percent(one.share)
        table.add_row(one.space, f"{one.entity}s", *(f"{number:,}" for number in numbers), share)
    Console().print(table)
