"""`litgo db`: the schema of the marketplace's database, and the URLs in use."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from litgo_pipelines.settings import LitgoError, get_settings


class Service(StrEnum):
    """A database of which the URL can be asked."""

    LITGO = "litgo"
    DAGSTER = "dagster"
    MLFLOW = "mlflow"


def upgrade() -> None:
    """Bring the database's schema to this version; does nothing where it is there already.

    Example: `litgo db upgrade`
    """
    from litgo_pipelines.marketplace import database

    status = database.upgrade(database.services_for(get_settings()).database)
    typer.echo(f"The database is at revision {status.current}.")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say at which revision the database's schema is; exits with 1 if it needs `litgo db upgrade`.

    Example: `litgo db status --json`
    """
    from litgo_pipelines.marketplace import database

    found = database.schema_status(database.services_for(get_settings()).database)
    if as_json:
        typer.echo(json.dumps({"current": found.current, "head": found.head, "up_to_date": found.up_to_date}))
    elif found.up_to_date:
        typer.echo(f"The database is at revision {found.current}, as this version needs it.")
    else:
        place = "has no schema yet" if found.current is None else f"is at revision {found.current}"
        typer.echo(f"The database {place}, this version needs {found.head}: run `litgo db upgrade`.")
    if not found.up_to_date:
        raise typer.Exit(1)


def url(
    service: Annotated[Service, typer.Option(help="Whose database.")] = Service.LITGO,
) -> None:
    """Print the database's URL as it is in use, password included, starting the embedded server if that is the one.

    Example: `export DATABASE_URL=$(litgo db url)`
    """
    from litgo_pipelines.marketplace import database

    services = database.services_for(get_settings())
    urls = {Service.LITGO: services.database, Service.DAGSTER: services.dagster, Service.MLFLOW: services.mlflow}
    typer.echo(urls[service])


def stop() -> None:
    """Stop the embedded server, if one runs and no process uses it; it stops by itself unless its last user was killed.

    Example: `litgo db stop`
    """
    from litgo_pipelines.marketplace import embedded

    home = get_settings().litgo_home
    found = embedded.status(home)
    if not found.running:
        typer.echo("No embedded server runs.")
        return
    if found.leases:
        raise LitgoError(f"the embedded server is in use by the processes {', '.join(map(str, found.leases))}: end them first")
    embedded.acquire(home)
    embedded.release(home)
    typer.echo("The embedded server is stopped.")
