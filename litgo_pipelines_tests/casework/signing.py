"""A desk at which contracts are signed: a town, a stand-in of DocuSign, and a clock that a test sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from sqlalchemy import Engine

from litgo_pipelines.casework import contracts
from litgo_pipelines.casework.contract_signing import Processed, process
from litgo_pipelines.casework.contracts import Contract
from litgo_pipelines.integrations.docusign import DocuSign
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.settings import Settings, load_settings
from litgo_pipelines.simulation.vendors.docusign import DocuSignStandIn
from litgo_pipelines.simulation.vendors.server import FaultyServer, faulty_server
from litgo_pipelines_tests.casework.conftest import NOON, Town

FEES = {"type": "mixed", "value": 1500.0, "percent": 20.0}


@dataclass
class Desk:
    """A town whose contracts are signed at a stand-in of DocuSign, with a clock that a test sets."""

    town: Town
    stand_in: DocuSignStandIn
    server: FaultyServer
    settings: Settings
    now: datetime = NOON

    def docusign(self, settings: Settings | None = None) -> DocuSign:
        """The account; each call one request at most, so that a test waits for no pauses."""
        found = DocuSign.of(settings or self.settings, PostgresCallLedger(self.town.engine))
        assert found is not None
        return replace(found, policy=replace(found.policy, attempts=1))

    def process(self, limit: int | None = None, **changes: Any) -> Processed:
        settings = self.settings.model_copy(update=changes)
        return process(self.town.engine, self.docusign(settings), settings, lambda: self.now, limit)

    def requested(self, *, email: bool = True) -> UUID:
        """A contract that was requested, of people who can be reached."""
        lawyer = self.town.lawyer(name="Ana Gonçalves")
        client = self.town.add("clients", created_at=NOON)
        case = self.town.case(client_id=client)
        offer = self.town.offer(lawyer, status="interested", case=case)
        for person, kind, name in ((lawyer, "lawyer", "Ana Gonçalves"), (client, "client", "Maria Conceição")):
            address = f"{person}@example.com" if email else None
            self.town.execute(
                "INSERT INTO litgo.contacts (person_id, kind, name, email) VALUES (:id, :kind, :name, :email)",
                id=person,
                kind=kind,
                name=name,
                email=address,
            )
        with self.town.engine.begin() as connection:
            made, _ = contracts.request_contract(connection, offer_id=offer, fee_model=FEES, at=self.now)
        return made.id

    def contract(self, contract: UUID) -> Contract:
        with self.town.engine.connect() as connection:
            return contracts.read(connection, contract)

    def state(self, contract: UUID) -> tuple[str, str | None]:
        found = self.contract(contract)
        return found.status, found.signing_method

    def told(self) -> Counter[str]:
        return Counter(row[0] for row in self.town.rows("SELECT audience FROM litgo.notifications"))

    def cancel(self, contract: UUID) -> None:
        with self.town.engine.begin() as connection:
            contracts.cancel(connection, contract, reason="changed their mind", actor="ana", at=self.now)

    @property
    def envelope(self) -> Any:
        (only,) = self.stand_in.envelopes.values()
        return only


def account(server: FaultyServer, private_key: str) -> dict[str, Any]:
    """The settings of an account at a stand-in; its breaker stays out of the way."""
    return {
        "docusign_base_url": f"{server.url}/restapi",
        "docusign_auth_url": server.url,
        "docusign_account_id": "acc",
        "docusign_integration_key": "key",
        "docusign_user_id": "user",
        "docusign_private_key": SecretStr(private_key),
        "litgo_breaker_failures": 1000,
    }


@pytest.fixture(scope="session", name="private_key")
def rsa_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


@pytest.fixture(name="desk")
def signing_desk(engine: Engine, private_key: str) -> Iterator[Desk]:
    stand_in = DocuSignStandIn()
    with faulty_server(stand_in.answer) as server:
        yield Desk(Town(engine), stand_in, server, load_settings(**account(server, private_key)))
