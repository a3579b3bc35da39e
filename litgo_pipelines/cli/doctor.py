"""`litgo doctor`: looks at everything that the project needs and says what is wrong and what to do about it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.integrations.policies import CREDENTIALS
from litgo_pipelines.settings import LitgoError, Settings, SettingsError, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.marketplace.database import Services

_CHECK_SECONDS = 20.0
_DAEMON_SILENT_SECONDS = 120.0
_GIB = 1024**3
_OLD_MESSAGE = timedelta(hours=1)
_VENDORS = {
    "OpenAI": (CREDENTIALS["openai"], "texts are embedded by the local model alone"),
    "DocuSign": (CREDENTIALS["docusign"], "contracts are signed by hand"),
    "OneSignal": (CREDENTIALS["onesignal"], "lawyers and clients are told by mail"),
    "SendGrid": (CREDENTIALS["sendgrid"], "no mail leaves, and nobody is told of an alert"),
}
"""What each vendor needs, and what happens without it."""


class Level(StrEnum):
    """How bad a finding is. A warning needs a person at some time, a fault stops something from working."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """What one check found, and what to do next where that is not nothing."""

    check: str
    level: Level
    text: str
    advice: str | None = None


@dataclass(frozen=True)
class Check:
    """Something to look at, and what to advise when looking itself fails."""

    name: str
    look: Callable[[], Finding]
    advice: str | None = None


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check the databases, Dagster, the model registry, ports and disk; exits with 1 if something is at fault.

    Example: `litgo doctor --json`
    """
    findings = examine()
    _print_json(findings) if as_json else _print_table(findings)
    if any(finding.level is Level.FAULT for finding in findings):
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """All findings. Each check has a limited time; without settings or a server those that need them are left out."""
    from litgo_pipelines.cli import dagster
    from litgo_pipelines.marketplace import database

    try:
        settings = get_settings()
    except SettingsError as error:
        return [Finding("settings", Level.FAULT, str(error), "see `litgo settings` for what each variable may hold")]
    # What libraries would log on the way is in the findings.
    logging.disable(logging.CRITICAL)
    findings = [Finding("settings", Level.OK, f"LITGO_HOME is {settings.litgo_home}")]
    findings += [_bounded(Check("disk", lambda: _disk(settings))), _bounded(Check("ports", lambda: _ports(settings)))]
    findings.append(_bounded(Check("vendors", lambda: _vendors(settings))))
    findings.append(_bounded(Check("embeddings", lambda: _embeddings(settings))))
    found: list[Services] = []

    def find_services() -> Finding:
        found.append(database.services_for(settings))
        os.environ.update(dagster.dagster_environment(settings, found[0]))
        return _server(settings)

    findings.append(_bounded(Check("server", find_services)))
    return findings + [_bounded(check) for check in _checks_of(settings, found[0])] if found else findings


def _checks_of(settings: Settings, services: Services) -> list[Check]:
    return [
        Check("database", lambda: _database(services), "see that the server of DATABASE_URL runs and lets this user in"),
        Check("notifications", lambda: _notifications(services), "see that the server of DATABASE_URL runs and lets this user in"),
        Check("triage", lambda: _triage(services), "see that the server of DATABASE_URL runs and lets this user in"),
        Check("dagster", lambda: _dagster(settings), "see that the server of DAGSTER_POSTGRES_URL runs and lets this user in"),
        Check("definitions", _definitions, "run `litgo dagster definitions validate`"),
        Check("champion", lambda: _champion(services), "move the alias `champion` of `litgo-ranker` in MLflow to a version that loads"),
    ]


def _bounded(check: Check) -> Finding:
    """The check's finding. One that raises or does not end in time is a fault, never the end of the others."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.append(check.look())
        except Exception as error:
            reason = str(error) if isinstance(error, LitgoError) else f"{type(error).__name__}: {error}"
            found.append(Finding(check.name, Level.FAULT, " ".join(reason.split()), check.advice))

    # Not in the main thread: what hangs in a driver must not keep the command from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_CHECK_SECONDS)
    late = Finding(check.name, Level.FAULT, f"no answer within {_CHECK_SECONDS:.0f} s", check.advice)
    return found[0] if found else late


def _disk(settings: Settings) -> Finding:
    folder = settings.litgo_home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / _GIB:.1f} GiB free for {settings.litgo_home}"
    if free < _GIB:
        return Finding("disk", Level.FAULT, text, "free some space, or set LITGO_HOME to another disk")
    if free < 5 * _GIB:
        return Finding("disk", Level.WARNING, text, "free some space soon: databases, models and datasets grow")
    return Finding("disk", Level.OK, text)


def _ports(settings: Settings) -> Finding:
    from litgo_pipelines.cli.up import is_free, listeners, owner

    wanted = listeners(settings)
    taken = [each for each in wanted if not is_free(each.host, each.port)]
    running = owner(settings.litgo_home)
    ours = _listening(running) if running is not None else set()
    strange = ", ".join(f"{each.port} ({each.setting})" for each in taken if each.port not in ours)
    if strange:
        return Finding(
            "ports", Level.WARNING, f"taken by another program: {strange}", "set these variables to free ports before `litgo up`"
        )
    numbers = ", ".join(str(each.port) for each in wanted)
    if running is not None:
        return Finding("ports", Level.OK, f"{numbers}: `litgo up` runs (pid {running}) and holds {len(taken)} of them")
    return Finding("ports", Level.OK, f"{numbers} are free for `litgo up`")


def _listening(pid: int) -> set[int]:
    """Ports on which this process or one below it listens."""
    import psutil

    found: set[int] = set()
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            found |= {each.laddr.port for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}
    except psutil.NoSuchProcess:
        return found
    return found


def _server(settings: Settings) -> Finding:
    from litgo_pipelines.marketplace import embedded

    given = [name for name in ("database_url", "dagster_postgres_url", "mlflow_tracking_uri") if getattr(settings, name) is not None]
    if len(given) == 3:
        return Finding("server", Level.OK, "the embedded PostgreSQL is not needed: all three databases are given")
    status = embedded.status(settings.litgo_home)
    users = len(status.leases)
    return Finding(
        "server", Level.OK, f"the embedded PostgreSQL {status.version} runs (pid {status.pid}), used by {users} process{'es' * (users > 1)}"
    )


def _database(services: Services) -> Finding:
    from sqlalchemy import text

    from litgo_pipelines.marketplace import database

    status = database.schema_status(services.database)
    if not status.up_to_date:
        place = "no schema yet" if status.current is None else f"at revision {status.current}, this version needs {status.head}"
        level = Level.WARNING if status.current is None else Level.FAULT
        return Finding("database", level, place, "run `litgo db upgrade`")
    engine = database.open_engine(services.database)
    try:
        with engine.connect() as connection:
            version = connection.execute(text("SELECT current_setting('server_version')")).scalar_one()
            vector = connection.execute(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).scalar()
    finally:
        engine.dispose()
    extension = "pgvector not in use" if vector is None else f"pgvector {vector}"
    return Finding("database", Level.OK, f"PostgreSQL {version}, {extension}, schema at revision {status.current}")


def _vendors(settings: Settings) -> Finding:
    given = {vendor: [name for name in names if getattr(settings, name) is not None] for vendor, (names, _) in _VENDORS.items()}
    complete = [vendor for vendor, (names, _) in _VENDORS.items() if len(given[vendor]) == len(names)]
    unusable = _unusable_docusign(settings) if "DocuSign" in complete else None
    told = [f"{vendor} is configured" for vendor in complete if vendor != "DocuSign" or unusable is None]
    instead = "are signed by hand" if settings.fallback_enabled else "wait"
    told += [f"DocuSign cannot be used as it is set, and contracts {instead}: {unusable}"] if unusable else []
    told += [f"without {vendor} {instead}" for vendor, (_, instead) in _VENDORS.items() if vendor not in complete]
    halves = [vendor for vendor in _VENDORS if given[vendor] and vendor not in complete]
    if halves:
        missing = [name.upper() for vendor in halves for name in _VENDORS[vendor][0] if name not in given[vendor]]
        return Finding("vendors", Level.WARNING, "; ".join(told), f"{', '.join(halves)} also needs {', '.join(missing)}")
    if unusable:
        return Finding("vendors", Level.WARNING, "; ".join(told), "mend it as docs/runbooks/manual-signature.md says")
    if "SendGrid" not in complete or not settings.litgo_ops_emails:
        if "SendGrid" in complete:
            told.append("LITGO_OPS_EMAILS names nobody who would be told of an alert")
        return Finding("vendors", Level.WARNING, "; ".join(told), "set SENDGRID_API_KEY, SENDGRID_FROM and LITGO_OPS_EMAILS")
    return Finding("vendors", Level.OK, "; ".join(told))


def _unusable_docusign(settings: Settings) -> str | None:
    from litgo_pipelines.integrations.docusign import check_settings

    try:
        check_settings(settings)
    except SettingsError as error:
        return str(error)
    return None


def _embeddings(settings: Settings) -> Finding:
    from litgo_pipelines.integrations.local_embeddings import LocalEmbedder, ModelMissing

    try:
        local = LocalEmbedder.of(settings)
    except ModelMissing as error:
        return Finding("embeddings", Level.WARNING, "no local model: without a vendor texts are compared by their words alone", str(error))
    return Finding("embeddings", Level.OK, f"the local model is {local.space.name}")


def _notifications(services: Services) -> Finding:
    from litgo_pipelines.casework.notifications import standing
    from litgo_pipelines.marketplace import database

    if not database.schema_status(services.database).up_to_date:
        return Finding("notifications", Level.WARNING, "not looked at: the schema is not that of this version", "run `litgo db upgrade`")
    engine = database.open_engine(services.database)
    try:
        with engine.connect() as connection:
            left = standing(connection)
    finally:
        engine.dispose()
    counts = {status: sum(one.messages for one in left if one.status == status) for status in ("queued", "sending", "unknown", "failed")}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "every message was sent"
    waiting = [one.oldest for one in left if one.status in ("queued", "sending")]
    if waiting:
        minutes = (datetime.now(UTC) - min(waiting)).total_seconds() / 60
        told += f"; the oldest of those that wait is {minutes:.0f} min old"
    if counts["unknown"] or counts["failed"]:
        return Finding("notifications", Level.WARNING, told, "see `litgo notification list`, then resend or settle each")
    if waiting and datetime.now(UTC) - min(waiting) > _OLD_MESSAGE:
        return Finding("notifications", Level.WARNING, told, "see `litgo notification list` for what keeps them, and that `litgo up` runs")
    return Finding("notifications", Level.OK, told)


def _triage(services: Services) -> Finding:
    from litgo_pipelines.casework.triage_recording import waiting
    from litgo_pipelines.marketplace import database

    if not database.schema_status(services.database).up_to_date:
        return Finding("triage", Level.WARNING, "not looked at: the schema is not that of this version", "run `litgo db upgrade`")
    engine, now = database.open_engine(services.database), datetime.now(UTC)
    try:
        with engine.connect() as connection:
            found = waiting(connection, now)
    finally:
        engine.dispose()
    if found.next_due is None:
        return Finding("triage", Level.OK, "no case waits for a person to decide its area")
    told = f"{found.cases} undecided case{'s' * (found.cases > 1)}"
    advice = "see `litgo triage list --undecided`, then `litgo triage decide` each"
    hours = abs((found.next_due - now).total_seconds()) / 3600
    if found.overdue:
        return Finding("triage", Level.WARNING, f"{told}, {found.overdue} of them too late, by up to {hours:.0f} h", advice)
    return Finding("triage", Level.OK, f"{told}; the most urgent one has {hours:.0f} h left", advice)


def _dagster(settings: Settings) -> Finding:
    from litgo_pipelines.cli.up import owner
    from litgo_pipelines.orchestration.health import daemon_health_here

    health = daemon_health_here(datetime.now(UTC))
    silent = health.silent_seconds
    if silent is not None and silent <= _DAEMON_SILENT_SECONDS:
        if health.errors:
            return Finding("dagster", Level.FAULT, f"the daemon reports: {health.errors[0]}", "see Deployment > Daemons in Dagster's UI")
        return Finding("dagster", Level.OK, f"the storage answers, the daemon's last heartbeat is {max(0.0, silent):.0f} s old")
    text = "the storage answers, the daemon has never run" if silent is None else f"the daemon has been silent for {silent:.0f} s"
    if silent is not None and owner(settings.litgo_home) is not None:
        return Finding("dagster", Level.FAULT, text, "restart `litgo up`: no schedule and no sensor runs")
    return Finding("dagster", Level.WARNING, text, "start `litgo up`: without it no schedule and no sensor runs")


def _definitions() -> Finding:
    # In a process of its own: what it imports stays out of this one, and it can be stopped.
    code = "import dagster, litgo_pipelines.definitions as found; dagster.Definitions.validate_loadable(found.defs)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=_CHECK_SECONDS)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Finding("definitions", Level.FAULT, reason, "run `litgo dagster definitions validate`")
    return Finding("definitions", Level.OK, "Dagster's code location loads")


def _champion(services: Services) -> Finding:
    from litgo_pipelines.rollout.registry import Registry, RegistryUnavailable

    registry = Registry(services.mlflow)
    try:
        version = registry.champion()
    except RegistryUnavailable as error:
        return Finding("champion", Level.FAULT, str(error), "see that the server of MLFLOW_TRACKING_URI runs")
    if version is None:
        return Finding("champion", Level.WARNING, "no champion yet: the hand weights answer", "run `litgo run retrain_ranker`")
    registry.load(version)
    return Finding("champion", Level.OK, f"version {version} loads and reproduces its golden scores")


def _print_json(findings: Sequence[Finding]) -> None:
    faults = sum(finding.level is Level.FAULT for finding in findings)
    typer.echo(json.dumps({"faults": faults, "findings": [asdict(finding) for finding in findings]}))


def _print_table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        lines = [finding.text, *([f"Next: {finding.advice}"] if finding.advice else [])]
        table.add_row(f"[{colours[finding.level]}]{finding.level.value}[/]", finding.check, escape("\n".join(lines)))
    Console().print(table)
