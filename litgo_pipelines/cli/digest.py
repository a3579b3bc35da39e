"""`litgo digest`: the weekly digest as the operators are told it, without telling anybody."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from litgo_pipelines.cli.common import Json, as_json
from litgo_pipelines.cli.run import AsOf
from litgo_pipelines.settings import LitgoError


def digest(as_of: AsOf = None, json: Json = False) -> None:
    """Show what operators are told of the last seven days, in Portuguese; nothing is sent.

    On Mondays at 08:00 in São Paulo the schedule `weekly_digest` sends it. What has no history, such as messages that wait, is shown as it
    stands now, whatever `--as-of` says.

    Example: `litgo digest --as-of 2026-03-09T08:00-03:00`
    """
    from litgo_pipelines.casework.digest import read_digest
    from litgo_pipelines.casework.digest_text import as_text, subject
    from litgo_pipelines.cli.marketplace import open_marketplace

    now = datetime.now(UTC)
    if as_of is not None and as_of > now:
        raise LitgoError(f"--as-of {as_of.isoformat()} lies in the future: leave it out for the seven days up to now")
    with open_marketplace() as marketplace:
        found = read_digest(marketplace.engine, marketplace.settings, (as_of or now).astimezone(UTC))
        body = as_text(found, marketplace.settings.dagster_url)
    if json:
        typer.echo(as_json({"key": found.key, "subject": subject(found), "body": body, "digest": found}))
    else:
        typer.echo(f"{subject(found)}\n\n{body}", nl=False)
