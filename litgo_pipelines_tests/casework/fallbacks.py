"""How soon work goes on without a vendor, and after how many requests: a text, a contract and a message, each with a vendor at fault.

`python -m litgo_pipelines_tests.casework.fallbacks` measures it with all default settings (about three minutes) and ends with 1 if one
came later than 30 s. The suite does the same with short deadlines.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from litgo_pipelines.casework import contracts
from litgo_pipelines.casework.contract_signing import process
from litgo_pipelines.casework.delivery import Carriers, deliver
from litgo_pipelines.casework.embedding import Embedding
from litgo_pipelines.integrations.attempts import Attempt, CallLedger
from litgo_pipelines.integrations.docusign import DocuSign
from litgo_pipelines.integrations.policies import Deadline
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.settings import Settings, load_settings
from litgo_pipelines.simulation.vendors.faults import Fault, Kind
from litgo_pipelines.simulation.vendors.house import Vendor, vendors
from litgo_pipelines_tests.casework.conftest import Town

if TYPE_CHECKING:
    from sqlalchemy import Engine

FAULTS: Final[tuple[Kind, ...]] = ("hang", "trickle", "reset", "error")
NO_LATER_THAN: Final = 30.0


@dataclass(frozen=True)
class Fallback:
    """What came of one piece of work.

    Attributes:
        instead: how it was done in the end.
        requests: to the vendor at fault.
        deadline: of a call to it, in seconds.
    """

    vendor: Vendor
    fault: Kind
    instead: str
    seconds: float
    requests: int
    deadline: float


class _Counting:
    """The real ledger, and how many requests it was told of.

    A breaker that other measurements have opened would hide what this one costs, so it looks back on nothing.
    """

    def __init__(self, ledger: CallLedger) -> None:
        self._ledger = ledger
        self.requests = 0

    def record(self, attempt: Attempt) -> None:
        self.requests += attempt.number > 0
        self._ledger.record(attempt)

    def recent(self, service: str, since: datetime, most: int) -> Sequence[Any]:  # noqa: ARG002  # as a ledger is asked
        return []

    def probe(self, service: str) -> Any:
        return self._ledger.probe(service)


def measure(engine: Engine, deadline: float | None = None, faults: Sequence[Kind] = FAULTS) -> list[Fallback]:
    """Do each piece of work with its vendor at fault, one after the other.

    Args:
        deadline: of every vendor, in seconds; None: the settings' default.
    """
    short = {} if deadline is None else {f"{one}_deadline": deadline for one in ("openai", "docusign", "onesignal", "sendgrid")}
    found: list[Fallback] = []
    for fault in faults:
        # SendGrid is what messages fall back to.
        with tempfile.TemporaryDirectory() as folder, vendors(Path(folder), {one: Fault(fault) for one in WORK}) as house:
            given = {name.lower(): value for name, value in house.environment.items()}
            timed = partial(_timed, engine, load_settings(**(given | short)), fault)
            # One after the other: a contract sends messages too.
            found += [timed(vendor) for vendor in WORK]
    return found


def _timed(engine: Engine, settings: Settings, fault: Kind, vendor: Vendor) -> Fallback:
    ledger = _Counting(PostgresCallLedger(engine))
    begun = time.monotonic()
    instead = WORK[vendor](engine, settings, ledger)
    seconds = time.monotonic() - begun
    requests = ledger.requests - (instead == "email")
    return Fallback(vendor, fault, instead, round(seconds, 2), requests, float(getattr(settings, f"{vendor}_deadline")))


def _a_text(_engine: Engine, settings: Settings, ledger: CallLedger) -> str:
    embedding = Embedding.of(settings, ledger)
    found = embedding.texts(["fui demitido sem justa causa"], Deadline.after(settings.openai_deadline))
    assert found.in_fallback
    (space,) = found.by_space
    return space


def _a_contract(engine: Engine, settings: Settings, ledger: CallLedger) -> str:
    town, at = Town(engine), datetime.now(UTC)
    lawyer, client = town.lawyer(name="Ana Gonçalves"), town.add("clients", created_at=at)
    offer = town.offer(lawyer, status="interested", case=town.case(client_id=client))
    for person, kind in ((lawyer, "lawyer"), (client, "client")):
        statement = "INSERT INTO litgo.contacts (person_id, kind, name, email) VALUES (:id, :kind, 'Ana', 'ana@example.com')"
        town.execute(statement, id=person, kind=kind)
    with engine.begin() as connection:
        made, _ = contracts.request_contract(connection, offer_id=offer, fee_model={"type": "fixed", "value": 1500.0}, at=at)
    process(engine, DocuSign.of(settings, ledger), settings, lambda: datetime.now(UTC))
    with engine.connect() as connection:
        return str(contracts.read(connection, made.id).signing_method)


def _a_message(engine: Engine, settings: Settings, ledger: CallLedger) -> str:
    town, person, key = Town(engine), uuid4(), f"fallback:{uuid4()}"
    town.execute("DELETE FROM litgo.notifications")
    town.execute("INSERT INTO litgo.contacts (person_id, kind, name, email) VALUES (:id, 'lawyer', 'Ana', 'ana@example.com')", id=person)
    with engine.begin() as connection:
        tell(connection, key=key, subject="Olá", body="Olá!", at=datetime.now(UTC), audience="lawyer", recipient=person)
    while True:
        deliver(engine, Carriers.of(settings, ledger), settings, clock=lambda: datetime.now(UTC))
        ((status, channel),) = town.rows("SELECT status, channel FROM litgo.notifications WHERE key = :key", key=key)
        if status == "sent":
            return str(channel)


WORK: Final[Mapping[Vendor, Callable[[Engine, Settings, CallLedger], str]]] = {
    "openai": _a_text,
    "docusign": _a_contract,
    "onesignal": _a_message,
}
"""What is done with each vendor, and how it was done in the end."""


def main(arguments: Sequence[str] | None = None) -> int:
    from rich.console import Console
    from rich.table import Table

    from litgo_pipelines.marketplace.database import open_engine
    from litgo_pipelines.observability.logs import configure_logging
    from litgo_pipelines_tests.bench.scratch import scratch

    configure_logging(load_settings(litgo_log_level="error"))
    parser = argparse.ArgumentParser(prog="python -m litgo_pipelines_tests.casework.fallbacks", description=__doc__)
    parser.add_argument("--deadline", type=float, default=None, help="of every vendor, in seconds; default: the settings'")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args(arguments)
    progress = Console(stderr=True)
    with progress.status("starting") as shown, scratch(False, shown.update) as bench, bench.database("fallbacks") as url:
        engine = open_engine(url)
        shown.update("modules and the local model are loaded")
        measure(engine, wanted.deadline, ["error"])
        shown.update("vendors hang, trickle, reset and fail")
        found = measure(engine, wanted.deadline)
        engine.dispose()
    if wanted.json:
        print(json.dumps([asdict(one) for one in found], indent=2))  # noqa: T201
    else:
        table = Table("vendor", "fault", "instead", "seconds", "requests", "deadline")
        for one in found:
            table.add_row(one.vendor, one.fault, one.instead, f"{one.seconds:.2f}", str(one.requests), f"{one.deadline:g}")
        Console().print(table)
    return 0 if all(one.seconds <= NO_LATER_THAN for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
