"""`litgo embeddings search`: what is nearest to a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from litgo_pipelines.cli.common import Json, as_json
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.marketplace.vectors import Neighbour

_ABOUT = {
    "case": "SELECT id, area, subarea FROM litgo.cases WHERE id = ANY(:ids)",
    "lawyer": "SELECT id, primary_area, array_to_string(specialties, ', ') FROM litgo.lawyers WHERE id = ANY(:ids)",
}


def search(
    text: Annotated[str, typer.Argument(help="In Portuguese, as a client would tell it.")],
    entity: Annotated[Literal["case", "lawyer"], typer.Option("--of", help="Search cases, or lawyers by what they handled.")] = "case",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")] = 10,
    space: Annotated[str | None, typer.Option("--space", help="Default: the preferred one that the text has.")] = None,
    json: Json = False,
) -> None:
    """Find the cases or lawyers whose vectors are nearest to a text, through the index of the space.

    Nobody is shown a case by this: it is for looking at what the models take to be alike.

    Example: `litgo embeddings search "fui demitido sem justa causa" --limit 5`
    """
    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
    from litgo_pipelines.marketplace.vectors import nearest

    with open_marketplace() as marketplace:
        found = Embedding.of(marketplace.settings, PostgresCallLedger(marketplace.engine)).texts([text])
        chosen = next(iter(found.by_space), None) if space is None else space
        vector = None if chosen is None else found.vectors(chosen)
        if chosen is None or vector is None:
            known = ", ".join(found.by_space) or f"none ({found.trouble})"
            raise LitgoError(f"the text has no vector in {chosen or 'any space'}: its spaces are {known}")
        with marketplace.engine.begin() as connection:
            neighbours = nearest(connection, chosen, entity, vector, limit)
            rows = _described(connection, entity, neighbours)
    if json:
        typer.echo(as_json({"space": chosen, "in_fallback": found.in_fallback, "found": rows}))
        return
    _print(chosen, entity, rows)


def _described(connection: Connection, entity: str, neighbours: list[Neighbour]) -> list[dict[str, Any]]:
    from sqlalchemy import text

    about = {row[0]: row[1:] for row in connection.execute(text(_ABOUT[entity]), {"ids": [one.entity_id for one in neighbours]})}
    unknown = (None, None)
    return [
        {"id": one.entity_id, "cosine": one.cosine, "area": area, "more": more}
        for one in neighbours
        for area, more in [about.get(one.entity_id, unknown)]
    ]


def _print(space: str, entity: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        typer.echo(f"No {entity} has a vector in {space}: run `litgo embeddings backfill`.")
        return
    table = Table(title=f"Nearest {entity}s in {space}")
    table.add_column("cosine", justify="right", no_wrap=True)
    table.add_column("id", no_wrap=True)
    table.add_column("area")
    table.add_column("subarea" if entity == "case" else "specialties")
    for row in rows:
        table.add_row(f"{row['cosine']:.3f}", str(row["id"]), row["area"] or "", row["more"] or "")
    Console().print(table)
