"""What is signed: the PDF's words, its fields, its bytes."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from litgo_pipelines.casework.contract_documents import Document, Parties, Person, anchors, document_of, fee_clauses, parties_of, render
from litgo_pipelines.casework.contracts import Contract, of_row, read
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.casework.conftest import NOON, Town

ID = UUID("7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11")
CONTRACT: Contract = of_row(
    [ID, ID, ID, ID, "requested", None, None, {"type": "mixed", "value": 1500.0, "percent": 20.0}, None, None, NOON, 0, *[None] * 2, 0]
    + [None] * 8
)
PARTIES = Parties(
    Person("Maria da Conceição", "maria@example.com"), Person("Ana Gonçalves", "ana@example.com"), "OAB/SP 123456", "trabalhista"
)
SETTINGS = load_settings(litgo_controller_name="Casa Litgo", litgo_dpo_contact="dpo@example.com")


def pages(pdf: bytes) -> list[str]:
    """The text of each page, on one line."""
    return [" ".join(page.extract_text().split()) for page in PdfReader(io.BytesIO(pdf)).pages]


def test_the_document_says_who_what_and_for_how_much() -> None:
    """Parties, object, fees in figures and words, personal data, place of jurisdiction; the reference on every page."""
    found = pages(render(CONTRACT, PARTIES, SETTINGS))
    text = " ".join(found)
    for said in (
        "Maria da Conceição",
        "Ana Gonçalves",
        "OAB/SP 123.456",
        "da área trabalhista",
        "R$ 1.500,00 (mil e quinhentos reais)",
        "20% (vinte por cento)",
        "Lei nº 13.709/2018",
        "Casa Litgo",
        "dpo@example.com",
        "foro do domicílio do(a) CONTRATANTE",
        "10 de março de 2026",
    ):
        assert said in text, said
    assert all("Referência CT-2026-7E0B-3F6E-6D4C" in one for one in found)
    assert [f"Página {n} de {len(found)}" in one for n, one in enumerate(found, start=1)] == [True] * len(found)


def test_each_field_of_docusign_has_its_place_once() -> None:
    """An anchor that were missing, or there twice, would put a signature where it does not belong."""
    text = " ".join(pages(render(CONTRACT, PARTIES, SETTINGS)))
    wanted = [*anchors(CONTRACT, "client").values(), anchors(CONTRACT, "lawyer")["sign"], anchors(CONTRACT, "lawyer")["date"]]
    assert [text.count(one) for one in wanted] == [1] * 5
    assert anchors(CONTRACT, "lawyer")["id"] not in text


def test_the_same_contract_gives_the_same_bytes() -> None:
    """Whoever makes it, and whenever; another contract gives others."""
    made = render(CONTRACT, PARTIES, SETTINGS)
    assert render(CONTRACT, PARTIES, SETTINGS) == made
    assert render(replace(CONTRACT, id=UUID(int=1)), PARTIES, SETTINGS) != made


NASTY = [
    '#panic("run")',
    "#sys.inputs",
    "*bold* _italic_ $x^2$ `raw` <label> @ref",
    '"quoted" \\ back\\u{41} // comment /* more */',
    "= Heading\n- list\n#let x = 1",
    ']#eval("1")[',
    "São João d'Água & Cia. - ações",
]


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_a_name_whatever_it_holds(name: str) -> None:
    """Nothing that stands in a name is run, set or read as markup."""
    text = " ".join(pages(render(CONTRACT, replace(PARTIES, client=Person(name, None)), SETTINGS)))
    squeezed = re.sub(r"\s", "", text)
    assert re.sub(r"\s", "", name) in squeezed


@example("\u5c71\u7530\u82b1\u5b50", "\u06fa")
@settings(max_examples=15, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=80), st.text(st.characters(codec="utf-8"), max_size=80))
def test_any_text_gives_a_document(name: str, area: str) -> None:
    """No name and no area can keep a contract from being made."""
    pdf = render(CONTRACT, replace(PARTIES, client=Person(name, None), area=area), SETTINGS)
    assert "CT-2026-7E0B-3F6E-6D4C" in pages(pdf)[0]


def test_an_unknown_name_leaves_a_blank() -> None:
    """To be filled in by hand."""
    found = pages(render(CONTRACT, replace(PARTIES, client=Person(None, None), oab_number=None), SETTINGS))
    assert "None" not in " ".join(found)
    assert "inscrição na OAB a informar" in " ".join(found)


@pytest.mark.parametrize(
    ("fees", "said"),
    [
        ({"type": "fixed", "value": 3500.0}, ["R$ 3.500,00"]),
        ({"type": "hourly", "rate": 350.0}, ["R$ 350,00", "por hora"]),
        ({"type": "success", "percent": 30.0}, ["30% (trinta por cento)", "Sem proveito econômico"]),
        ({"type": "mixed", "value": 10.0, "percent": 5.0}, ["R$ 10,00", "5% (cinco por cento)"]),
        (None, ["termo aditivo"]),
    ],
)
def test_fees_are_told_as_they_were_agreed(fees: dict[str, Any] | None, said: list[str]) -> None:
    """Each model in words of its own, and nothing of another."""
    text = " ".join(fee_clauses(fees))
    assert all(one in text for one in said)
    assert ("êxito" in text) == (fees is not None and "percent" in fees)


@pytest.mark.parametrize("name", [None, "", " \u200b\n"])
def test_a_name_that_says_nothing_leaves_a_line_to_fill_in(name: str | None) -> None:
    """For whoever signs first; the party is told to be unknown, and not sent to DocuSign with an empty name."""
    unknown = replace(PARTIES, client=Person(name, "maria@example.com"), lawyer=Person(name, "ana@example.com"))
    assert unknown.missing == ["the client's name", "the lawyer's name"]
    text = " ".join(pages(render(CONTRACT, unknown, SETTINGS)))
    for said in ("CONTRATANTE: (nome completo, a preencher), cuja", "CONTRATADO(A): (nome completo, a preencher), OAB"):
        assert said in text, said
    assert text.count("Nome:") == 2


OUT = {
    "drafted": "draft_of = 'something else'",
    "by hand": "status = 'pending-signature', signing_method = 'manual'",
    "at DocuSign": "status = 'pending-signature', signing_method = 'docusign', envelope_id = 'e'",
    "canceled": "status = 'canceled'",
}


@pytest.mark.parametrize("how", OUT)
def test_a_document_says_what_is_known_until_it_leaves_the_house(town: Town, how: str) -> None:
    """A name that is learnt in time is in it; what somebody else may have stays as it is. Its reference never changes."""
    lawyer = town.lawyer(name="Ana Gonçalves", oab_number="OAB/SP 123456")
    contract = town.contract(lawyer, status="requested")

    def made(client: str | None) -> Document:
        with town.engine.begin() as connection:
            parties = parties_of(connection, [contract])[contract]
            return document_of(connection, read(connection, contract), replace(parties, client=Person(client, None)), SETTINGS, NOON)

    unnamed, named = made(None), made("Maria")
    assert "Maria" in pages(named.pdf)[0]
    assert (made("Maria"), named.reference) == (named, unnamed.reference)
    assert named.sha256 == hashlib.sha256(named.pdf).hexdigest() != unnamed.sha256
    town.execute(f"UPDATE litgo.contracts SET {OUT[how]} WHERE id = :id", id=contract)
    assert made("Maria da Conceição") == named
