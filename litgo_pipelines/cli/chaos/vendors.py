"""`litgo chaos vendors` and `litgo chaos fault`: the vendors' stand-ins on this machine, and how they fail."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from litgo_pipelines.settings import LitgoError, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.simulation.vendors.faults import Fault
    from litgo_pipelines.simulation.vendors.house import House, Vendor
    from litgo_pipelines.simulation.vendors.server import Received

Faults = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="VENDOR=KIND[:SHARE[:SECONDS]]",
        help="How a vendor fails: openai=hang, sendgrid=lost:0.3, docusign=latency:1:8. May be given for each vendor.",
    ),
]


class NoStandIns(LitgoError):
    """No stand-ins run that could be told how to fail."""


def vendors(
    context: typer.Context,
    fault: Faults = None,
    seed: Annotated[int, typer.Option(min=0, help="Of which requests meet a fault.")] = 0,
) -> None:
    """Run stand-ins for OpenAI, DocuSign, OneSignal and SendGrid that fail as told, to see how the product goes on without them.

    With a command behind `--` it is run with the settings that lead to them, and they end with it. Without one the settings are printed,
    to be taken over by another shell. What fails can be changed meanwhile with `litgo chaos fault`. They listen on this machine alone.

    Example: `litgo chaos vendors --fault openai=hang --fault sendgrid=lost:0.3 -- litgo up`
    """
    from litgo_pipelines.cli.processes import run_child
    from litgo_pipelines.simulation.vendors.house import vendors as running

    settings, told = get_settings(), _Told()
    folder = settings.litgo_home / "chaos"
    with running(folder, _parsed(fault or []), told, seed) as house:
        _note(folder, house)
        try:
            if context.args:
                raise typer.Exit(run_child(_command(context.args), house.environment))
            for name, value in house.environment.items():
                typer.echo(f"export {name}={shlex.quote(value)}")
            typer.echo("# the stand-ins run until Ctrl-C; requests are told below", err=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            typer.echo("the stand-ins end", err=True)
        finally:
            _file(folder).unlink(missing_ok=True)


def fault(
    faults: Annotated[list[str] | None, typer.Argument(metavar="VENDOR=KIND[:SHARE[:SECONDS]]...", help="Such as openai=hang.")] = None,
) -> None:
    """Tell running stand-ins how to fail from now on; without arguments, list the kinds of faults there are.

    Example: `litgo chaos fault openai=none docusign=error:0.3`
    """
    import httpx

    from litgo_pipelines.simulation.vendors.faults import CONTROL, TOLD

    if not faults:
        for kind, words in TOLD.items():
            typer.echo(f"{kind:<11} {words}")
        return
    wanted, file = _parsed(faults), _file(get_settings().litgo_home / "chaos")
    try:
        urls: dict[str, str] = json.loads(file.read_text())
        for vendor, one in wanted.items():
            httpx.put(f"{urls[vendor]}{CONTROL}", json={"fault": _written(one)}, timeout=5).raise_for_status()
            typer.echo(f"{vendor} {TOLD[one.kind]} ({one.share:.0%} of the requests)")
    except (FileNotFoundError, httpx.TransportError):
        raise NoStandIns("no stand-ins run here: start them with `litgo chaos vendors`") from None


def _command(words: list[str]) -> list[str]:
    """What is to be run; `litgo` is this one, wherever the shell would find another or none.

    Raises:
        LitgoError: there is no such program.
    """
    if words[0] == "litgo":
        return [sys.executable, "-m", "litgo_pipelines.cli", *words[1:]]
    if shutil.which(words[0]) is None:
        raise LitgoError(f"there is no program {words[0]!r} to run among the stand-ins: check what stands behind --")
    return words


class _Told:
    """Tells of each request in a line on stderr."""

    def __call__(self, vendor: Vendor, received: Received, met: Fault) -> None:
        path = received.path.partition("?")[0]
        typer.echo(f"{vendor:<9} {received.method:<4} {path}{'' if met.kind == 'none' else f'  -> {met.kind}'}", err=True)


def _parsed(words: list[str]) -> dict[Vendor, Fault]:
    from litgo_pipelines.simulation.vendors.faults import Fault, NoSuchFault
    from litgo_pipelines.simulation.vendors.house import VENDORS

    found: dict[Any, Fault] = {}
    for one in words:
        vendor, separator, kind = one.partition("=")
        if not separator or vendor not in VENDORS:
            raise NoSuchFault(f"{one!r} cannot be read: write VENDOR=KIND, the vendor being one of {', '.join(VENDORS)}")
        found[vendor] = Fault.parsed(kind)
    return found


def _written(one: Fault) -> str:
    return f"{one.kind}:{one.share}" + ("" if one.seconds is None else f":{one.seconds}")


def _file(folder: Path) -> Path:
    return folder / "vendors.json"


def _note(folder: Path, house: House) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _file(folder).write_text(json.dumps(dict(house.urls)))
