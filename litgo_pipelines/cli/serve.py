"""`litgo serve`: the HTTP service that answers match requests."""

from __future__ import annotations

from typing import Annotated

import typer

from litgo_pipelines.settings import get_settings


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to bind to; default: LITGO_SERVE_HOST. Other than loopback needs LITGO_API_KEYS.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; default: LITGO_SERVE_PORT.")] = None,
) -> None:
    """Answer match requests over HTTP with the promoted model, until Ctrl-C or SIGTERM.

    Example: `litgo serve --port 8000`
    """
    from litgo_pipelines.serving import server

    settings = get_settings()
    server.serve(settings, settings.litgo_serve_host if host is None else host, settings.litgo_serve_port if port is None else port)
