"""`litgo dagster …`: Dagster's own command with the project's instance, storage and definitions.

`dagster_environment` is what every process of ours that uses Dagster is started with.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from litgo_pipelines.cli.processes import run_child
from litgo_pipelines.settings import PROJECT_FOLDER, LitgoError, Settings, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.marketplace.database import Services

DEFINITIONS = "litgo_pipelines.definitions"

# Dagster's verbs that load definitions; the others refuse to be told which.
_AIMED = frozenset(
    {
        ("asset", "list"),
        ("asset", "materialize"),
        ("definitions", "validate"),
        ("dev",),
        *(("job", verb) for verb in ("backfill", "execute", "launch", "list", "print", "scaffold_config")),
        *(("schedule", verb) for verb in ("list", "logs", "preview", "restart", "start", "stop")),
        *(("sensor", verb) for verb in ("cursor", "list", "preview", "start", "stop")),
    }
)
_TARGETS = frozenset(
    {"-m", "-w", "-f", "--module-name", "--workspace", "--python-file", "--package-name", "--autoload-defs-module-name"}
    | {"--grpc-port", "--grpc-socket", "--empty-workspace"}
)


def dagster_environment(settings: Settings, services: Services) -> dict[str, str]:
    """The environment variables of a process that uses Dagster; makes its DAGSTER_HOME ready.

    Raises:
        LitgoError: the project's `dagster.yaml` is missing, LITGO_HOME cannot be written, or Dagster's storage is not PostgreSQL.
    """
    source, target = PROJECT_FOLDER / "dagster.yaml", settings.dagster_home / "dagster.yaml"
    if not source.exists():
        raise LitgoError(f"{source} is missing: install litgo-pipelines from its checkout with `make setup`")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != source.read_bytes():
            # Another process may read it at this moment, so it is replaced as a whole.
            fresh = target.with_suffix(f".{os.getpid()}")
            shutil.copyfile(source, fresh)
            fresh.replace(target)
    except OSError as error:
        raise LitgoError(f"cannot write {target}: {error.strerror}; set LITGO_HOME to a folder that is yours") from error
    return services.environment(settings) | {"DAGSTER_POSTGRES_URL": _storage_url(services.dagster), "DAGSTER_DISABLE_TELEMETRY": "1"}


def _storage_url(url: str) -> str:
    """The URL with the one driver that Dagster's storage works with."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise LitgoError(f"DAGSTER_POSTGRES_URL must start with postgresql+psycopg2://, not with {scheme!r}")
    return f"postgresql+psycopg2://{rest}"


def aimed(arguments: Sequence[str]) -> list[str]:
    """The arguments for Dagster, told to load the project's definitions where that is due and nothing else was asked for."""
    due = any(tuple(arguments[:length]) in _AIMED for length in (1, 2))
    told = any(word.partition("=")[0] in _TARGETS for word in arguments)
    return [*arguments, "-m", DEFINITIONS] if due and not told and "--help" not in arguments else list(arguments)


def dagster(context: typer.Context) -> None:
    """Call Dagster's own command with the project's storage, instance and definitions.

    Example: `litgo dagster definitions validate`
    """
    from litgo_pipelines.marketplace.database import services_for

    settings = get_settings()
    environment = dagster_environment(settings, services_for(settings))
    arguments = aimed(context.args)
    # In the checkout `dagster dev` would warn that dagster.yaml goes unused there, although its copy is in use.
    folder = settings.dagster_home if context.args[:1] == ["dev"] and arguments != context.args else None
    raise typer.Exit(run_child([sys.executable, "-m", "dagster", *arguments], environment, folder))
