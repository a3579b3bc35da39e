"""`litgo embeddings backfill`: makes the vectors that are missing or outdated."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from litgo_pipelines.cli.common import Json, as_json, progress_bar
from litgo_pipelines.cli.embeddings.status import print_coverage
from litgo_pipelines.settings import LitgoError

Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many cases in each space, the newest ones; default: all.")
]


def backfill(limit: Limit = None, json: Json = False) -> None:
    """Embed every case whose vector is missing or outdated, in every space, and bring the lawyers' vectors up to date.

    What is done is kept: stopped at any moment, it goes on where it was. A vendor that does not answer holds up its own space alone;
    Dagster's job `embed_texts` does the same by itself whenever something is due.

    Example: `litgo embeddings backfill --limit 5000`
    """
    from litgo_pipelines.casework.embedding import Embedding, coverage, refresh_cases, refresh_lawyers
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    with open_marketplace() as marketplace:
        embedding = Embedding.of(marketplace.settings, PostgresCallLedger(marketplace.engine))
        if not embedding.spaces:
            raise LitgoError(f"there is no model to embed with: {embedding.trouble}")
        now = datetime.now(UTC)
        with progress_bar("cases", "vectors") as progress:
            cases = refresh_cases(marketplace.engine, embedding, now, limit, progress)
        with progress_bar("lawyers", "vectors") as progress:
            lawyers = refresh_lawyers(marketplace.engine, embedding, now, progress=progress)
        with marketplace.snapshot() as connection:
            found = [one for entity in ("case", "lawyer") for one in coverage(connection, embedding.spaces, entity, now)]
    if json:
        typer.echo(as_json({"cases": cases, "lawyers": lawyers, "coverage": found}))
        return
    print_coverage(found)
    for one in cases:
        if one.trouble is not None:
            typer.echo(f"{one.space} was not finished: {one.trouble}")
