"""What is signed: the parties of a contract, and its PDF, made from `contract.typ` and kept; anew while nothing of it has left the house.

The same contract and parties give the same bytes: nothing looks at a clock. Texts from outside go in as data, which nothing evaluates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from litgo_pipelines.casework import wording as say
from litgo_pipelines.casework.amounts import money, percentage
from litgo_pipelines.casework.contracts import Contract, Party, lock
from litgo_pipelines.casework.equity_run import TIMEZONE
from litgo_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

TEMPLATE: Final = Path(__file__).with_name("contract.typ")

_PARTIES = """
SELECT k.id, client.name, client.email, l.name, lawyer.email, l.oab_number, c.area
FROM litgo.contracts k
JOIN litgo.cases c ON c.id = k.case_id
JOIN litgo.lawyers l ON l.id = k.lawyer_id
LEFT JOIN litgo.contacts client ON client.person_id = k.client_id
LEFT JOIN litgo.contacts lawyer ON lawyer.person_id = k.lawyer_id
WHERE k.id = ANY(:ids)
"""
_DOCUMENT = "SELECT reference, made_of, sha256, pdf FROM litgo.contract_documents WHERE contract_id = :id"
_KEEP = """
INSERT INTO litgo.contract_documents (contract_id, reference, made_of, sha256, pdf, created_at)
VALUES (:id, :reference, :made_of, :sha256, :pdf, :at) ON CONFLICT (contract_id) DO UPDATE
SET made_of = EXCLUDED.made_of, sha256 = EXCLUDED.sha256, pdf = EXCLUDED.pdf, created_at = EXCLUDED.created_at
"""


@dataclass(frozen=True)
class Person:
    """Somebody who signs; None: not known."""

    name: str | None
    email: str | None


@dataclass(frozen=True)
class Parties:
    """Who makes a contract, and the area of the case it is about."""

    client: Person
    lawyer: Person
    oab_number: str | None
    area: str

    def person(self, party: Party) -> Person:
        return self.client if party == "client" else self.lawyer

    @property
    def missing(self) -> list[str]:
        """What DocuSign would need and nobody told us."""
        wanted = {
            "the client's name": self.client.name,
            "the client's e-mail address": self.client.email,
            "the lawyer's name": self.lawyer.name,
            "the lawyer's e-mail address": self.lawyer.email,
        }
        return [what for what, told in wanted.items() if not say.plain(told or "")]


@dataclass(frozen=True)
class Document:
    """A contract's PDF."""

    reference: str
    sha256: str
    pdf: bytes


def parties_of(connection: Connection, contract_ids: Iterable[UUID]) -> dict[UUID, Parties]:
    """The parties of contracts, by contract."""
    from sqlalchemy import text

    rows = connection.execute(text(_PARTIES), {"ids": list(contract_ids)})
    return {
        contract: Parties(Person(client, client_mail), Person(lawyer, lawyer_mail), oab, area)
        for contract, client, client_mail, lawyer, lawyer_mail, oab, area in rows
    }


def document_of(connection: Connection, contract: Contract, parties: Parties, settings: Settings, at: datetime) -> Document:
    """A contract's document, which is kept; while nothing of it has left the house, it is made anew where it would tell something else.

    Locks the contract.
    """
    from sqlalchemy import text

    in_the_house = lock(connection, contract.id).in_the_house
    there = connection.execute(text(_DOCUMENT), {"id": contract.id}).one_or_none()
    told = made_of(contract, parties, settings)
    if there is not None and (there.made_of == told or not in_the_house):
        return Document(there.reference, there.sha256, bytes(there.pdf))
    pdf = render(contract, parties, settings)
    made = Document(contract.reference, hashlib.sha256(pdf).hexdigest(), pdf)
    row = {"reference": made.reference, "made_of": told, "sha256": made.sha256, "pdf": pdf}
    connection.execute(text(_KEEP), row | {"id": contract.id, "at": at})
    return made


def made_of(contract: Contract, parties: Parties, settings: Settings) -> str:
    """A hash of all that a document made at this moment would tell: two documents with the same one say the same."""
    told = json.dumps(_told(contract, parties, settings), ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(_template() + told.encode()).hexdigest()


def anchors(contract: Contract, party: Party) -> dict[str, str]:
    """The words in white that mark where a party's fields belong: `sign`, `date`, `id` (the client's CPF or CNPJ).

    They hold the contract's id, so that nobody's name can be one of them by design.
    """
    return {kind: f"{kind}{party}{contract.id.hex[:12]}" for kind in ("sign", "date", "id")}


def render(contract: Contract, parties: Parties, settings: Settings) -> bytes:
    """The PDF of a contract: PDF/A-2a in typst's own fonts; plain PDF with this machine's fonts where those lack a letter."""
    import typst

    told = {"data": json.dumps(_told(contract, parties, settings), ensure_ascii=False)}
    at = int(contract.created_at.timestamp())
    try:
        made = typst.compile(
            TEMPLATE, root=TEMPLATE.parent, ignore_system_fonts=True, format="pdf", pdf_standards="a-2a", sys_inputs=told, timestamp=at
        )
    except typst.TypstError as error:
        if "could not be displayed" not in error.message:
            raise
        made = typst.compile(TEMPLATE, root=TEMPLATE.parent, format="pdf", sys_inputs=told, timestamp=at)
    assert isinstance(made, bytes)
    return made


@cache
def _template() -> bytes:
    return TEMPLATE.read_bytes()


def _told(contract: Contract, parties: Parties, settings: Settings) -> dict[str, Any]:
    day = contract.created_at.astimezone(TIMEZONE)
    return {
        "reference": contract.reference,
        "client": say.plain(parties.client.name or "") or None,
        "lawyer": say.plain(parties.lawyer.name or "") or None,
        "oab": say.oab(parties.oab_number) if parties.oab_number else "inscrição na OAB a informar",
        "case": say.case_reference(contract.case_id),
        "area": say.plain(parties.area),
        "fees": fee_clauses(contract.fee_model),
        "date": say.long_date(day),
        "made": {"year": day.year, "month": day.month, "day": day.day},
        "controller": say.plain(settings.litgo_controller_name),
        "dpo": say.plain(settings.litgo_dpo_contact),
        "anchors": {party: anchors(contract, party) for party in ("client", "lawyer")},
    }


def fee_clauses(fees: dict[str, Any] | None) -> list[str]:
    """What the client pays, one sentence a clause."""
    if fees is None:
        return ["Os honorários serão ajustados pelas partes em termo aditivo escrito, que passará a fazer parte deste contrato."]
    parts = {
        "value": "honorários fixos de {}, em parcela única, em até 10 (dez) dias da assinatura deste contrato",
        "rate": "honorários de {} por hora de trabalho, apurados em relatório mensal, com vencimento em 10 (dez) dias do envio deste",
        "percent": "honorários de êxito de {} sobre o proveito econômico que obtiver, devidos quando e na medida em que o receber",
    }
    amounts = {"value": money, "rate": money, "percent": percentage}
    told = [parts[name].format(amounts[name](fees[name])) for name in parts if name in fees]
    clauses = [f"Pelos serviços, o(a) CONTRATANTE pagará ao(à) CONTRATADO(A) {say.listed(told)}."]
    if "percent" in fees:
        clauses.append(
            "Sem proveito econômico, nada é devido a título de êxito. A soma dos honorários não pode superar a vantagem obtida pelo(a) "
            "CONTRATANTE."
        )
    return clauses
