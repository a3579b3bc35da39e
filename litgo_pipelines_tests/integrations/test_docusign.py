"""DocuSign on the wire: tokens, drafts, sendings, lookups and voids, against a stand-in that keeps state; answers that are lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
from litgo_pipelines.integrations.docusign import DocuSign, Draft, Signer
from litgo_pipelines.settings import SettingsError, load_settings
from litgo_pipelines.simulation.vendors.docusign import DocuSignStandIn
from litgo_pipelines.simulation.vendors.server import FaultyServer, Hang, Reply, Reset, faulty_server
from litgo_pipelines_tests.integrations.published import published

if TYPE_CHECKING:
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

DRAFT = Draft(
    transaction_id="11111111-2222-3333-4444-555555555555",
    reference="CT-2026-AAAA-BBBB-CCCC",
    subject="Contrato CT-2026-AAAA-BBBB-CCCC para assinatura",
    message="Olá!",
    pdf=b"%PDF-1.7 a contract",
    signers=[
        Signer("client", "Maria Conceição", "maria@example.com", {"sign": "signclient1", "date": "dateclient1", "id": "idclient1"}),
        Signer("lawyer", "Ana Gonçalves", "ana@example.com", {"sign": "signlawyer1", "date": "datelawyer1"}),
    ],
)


@dataclass
class Office:
    """DocuSign as the product reaches it, and the stand-in behind it."""

    docusign: DocuSign
    stand_in: DocuSignStandIn
    server: FaultyServer
    public_key: str

    def paths(self) -> list[str]:
        return [f"{one.method} {one.path.removeprefix('/restapi/v2.1/accounts/')}" for one in self.server.requests]


@pytest.fixture(scope="session")
def keys() -> tuple[str, str]:
    """A private RSA key and its public one, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    return private, public


def given(server: FaultyServer, private_key: str, **more: Any) -> dict[str, Any]:
    """Settings of an account at a stand-in."""
    return {
        "docusign_base_url": f"{server.url}/restapi",
        "docusign_auth_url": server.url,
        "docusign_account_id": "acc",
        "docusign_integration_key": "the-integration",
        "docusign_user_id": "the-user",
        "docusign_private_key": SecretStr(private_key),
        "litgo_breaker_failures": 1000,
        **more,
    }


@pytest.fixture
def office(ledger: PostgresCallLedger, keys: tuple[str, str]) -> Iterator[Office]:
    stand_in = DocuSignStandIn()
    with faulty_server(stand_in.answer) as server:
        docusign = DocuSign.of(load_settings(**given(server, keys[0], docusign_deadline=4.0)), ledger)
        assert docusign is not None
        yield Office(docusign, stand_in, server, keys[1])


def test_a_token_is_asked_for_with_a_signed_assertion(office: Office) -> None:
    """RS256 under our key, for the host of the token service, within the hour, with the scopes of signing in a user's name."""
    office.docusign.read(["e"])
    claims = jwt.decode(
        office.stand_in.assertions[0], office.public_key, algorithms=["RS256"], audience=office.server.url.partition("//")[2]
    )
    assert (claims["iss"], claims["sub"], claims["scope"]) == ("the-integration", "the-user", "signature impersonation")
    assert 0 < claims["exp"] - claims["iat"] <= 3600


def test_a_token_is_used_until_shortly_before_it_ends(office: Office) -> None:
    """Two calls share a token; five minutes before its end a new one is fetched."""
    moment = [1000.0]
    docusign = replace(office.docusign, clock=lambda: moment[0])
    docusign.read(["e"])
    moment[0] += 3600 - 301
    docusign.read(["e"])
    assert len(office.stand_in.assertions) == 1
    moment[0] += 2
    docusign.read(["e"])
    assert len(office.stand_in.assertions) == 2


def test_a_token_that_ended_early_is_replaced_once(office: Office) -> None:
    """A 401 leads to one new token and one more request; a second 401 to an error that says nothing was asked for."""
    office.docusign.read(["e"])
    office.stand_in.expire_tokens()
    office.docusign.read(["e"])
    assert len(office.stand_in.assertions) == 2
    before = len(office.server.requests)
    office.server.fail(Reply(401), Reply.json({"access_token": "void", "expires_in": 3600}))
    with pytest.raises(VendorUnavailable, match="401") as caught:
        office.docusign.send("e")
    assert not caught.value.maybe_taken
    assert len(office.server.requests) - before == 3


@pytest.mark.parametrize("fault", [Reply(500), Reset(), Reply.json({"error": "invalid_grant"}, 400)], ids=["500", "reset", "refused"])
def test_without_a_token_nothing_was_sent(office: Office, fault: Any) -> None:
    """Whatever becomes of the token's request, the envelope was not touched, so that the contract may be signed elsewhere."""
    office.server.fail(*[fault] * 3)
    with pytest.raises(VendorUnavailable) as caught:
        office.docusign.send("e")
    assert not caught.value.maybe_taken
    assert all("/oauth/token" in one for one in office.paths())


def test_a_missing_consent_is_named(office: Office) -> None:
    """The one refusal that only a person can mend, and only once."""
    office.stand_in.refuse["token"] = Reply.json({"error": "consent_required"}, 400)
    with pytest.raises(VendorUnavailable, match="consent of DOCUSIGN_USER_ID"):
        office.docusign.read(["e"])


def test_an_envelope_is_drafted_then_sent_then_signed(office: Office) -> None:
    """The whole way: nobody is asked before it is sent, and the signatures come back by role."""
    made = office.docusign.draft(DRAFT)
    assert office.docusign.read([made])[made].status == "created"
    assert office.stand_in.out() == []
    office.docusign.send(made)
    assert office.docusign.read([made])[made].status == "sent"
    office.stand_in.sign(made, "client")
    assert set(office.docusign.read([made])[made].signed) == {"client"}
    office.stand_in.sign(made, "lawyer")
    done = office.docusign.read([made])[made]
    assert (done.status, set(done.signed)) == ("completed", {"client", "lawyer"})
    assert done.completed_at is not None
    assert done.completed_at.tzinfo is not None


def test_each_signer_has_fields_where_the_document_says(office: Office) -> None:
    """Anchors of both; a number is asked of the client alone; the document and its transaction are the draft's."""
    made = office.docusign.draft(DRAFT)
    sent = office.stand_in.envelopes[made].definition
    client, lawyer = sent["recipients"]["signers"]
    assert [one["anchorString"] for tabs in client["tabs"].values() for one in tabs] == ["signclient1", "dateclient1", "idclient1"]
    assert [one["anchorString"] for tabs in lawyer["tabs"].values() for one in tabs] == ["signlawyer1", "datelawyer1"]
    assert (client["recipientId"], lawyer["recipientId"]) == ("1", "2")
    assert sent["transactionId"] == DRAFT.transaction_id
    assert sent["status"] == "created"


def test_a_draft_whose_answer_was_lost_is_found_again(office: Office) -> None:
    """One request, never repeated, for a second one would make a second envelope."""
    office.stand_in.lose["create"] = [Reset()]
    with pytest.raises(VendorUnavailable) as caught:
        office.docusign.draft(DRAFT)
    assert caught.value.maybe_taken
    (made,) = office.stand_in.envelopes
    assert office.docusign.find([DRAFT.transaction_id, "another"]) == {DRAFT.transaction_id: office.docusign.read([made])[made]}


def test_a_sending_whose_answer_was_lost_happened_once(office: Office) -> None:
    """It is not repeated, and whoever tries again is refused by the vendor."""
    made = office.docusign.draft(DRAFT)
    office.stand_in.lose["send"] = [Reply(500)]
    with pytest.raises(VendorUnavailable) as caught:
        office.docusign.send(made)
    assert caught.value.maybe_taken
    with pytest.raises(VendorRefused):
        office.docusign.send(made)
    assert office.stand_in.envelopes[made].sendings == 1


def test_what_was_certainly_not_taken_is_repeated(office: Office) -> None:
    """A 429 says that nothing was done."""
    made = office.docusign.draft(DRAFT)
    office.server.fail(Reply(429))
    office.docusign.send(made)
    assert office.stand_in.envelopes[made].sendings == 1


def test_an_envelope_that_is_out_is_voided(office: Office) -> None:
    """A draft and what was voided before are refused."""
    made = office.docusign.draft(DRAFT)
    with pytest.raises(VendorRefused):
        office.docusign.void(made, "too early")
    office.docusign.send(made)
    office.docusign.void(made, "x" * 300)
    assert office.docusign.read([made])[made].status == "voided"
    assert office.stand_in.envelopes[made].voided_because == "x" * 200


def test_many_envelopes_are_read_with_few_requests(office: Office) -> None:
    """Fifty at a time, each of them found; an unknown one is left out."""
    made = [office.docusign.draft(replace(DRAFT, transaction_id=f"t{n}")) for n in range(60)]
    before = len(office.server.requests)
    assert set(office.docusign.read([*made, "unknown"])) == set(made)
    assert set(office.docusign.find([f"t{n}" for n in range(60)])) == {f"t{n}" for n in range(60)}
    assert len(office.server.requests) - before == 4
    assert office.docusign.read([]) == {}


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"envelopeId": 7}', b"<html>"])
def test_an_answer_of_another_shape_may_have_been_taken(office: Office, body: bytes) -> None:
    """Without the id nobody knows the draft; that it may be there must be known."""
    office.docusign.read(["e"])
    office.server.fail(Reply(201, body))
    with pytest.raises(VendorUnavailable) as caught:
        office.docusign.draft(DRAFT)
    assert caught.value.maybe_taken


def test_a_hanging_vendor_costs_its_deadline_once(office: Office) -> None:
    """Calls that share a deadline end with it: what comes after makes no request."""
    docusign = replace(office.docusign, policy=replace(office.docusign.policy, deadline=0.6))
    docusign.read(["e"])
    deadline = docusign.deadline()
    office.server.fail(Hang())
    with pytest.raises(VendorUnavailable):
        docusign.draft(DRAFT, deadline)
    requests = len(office.server.requests)
    with pytest.raises(VendorUnavailable) as caught:
        docusign.find([DRAFT.transaction_id], deadline)
    assert (len(office.server.requests), caught.value.outcome) == (requests, "no_time")


def test_requests_are_what_the_vendor_published(office: Office) -> None:
    """Every request of an envelope's life, against the vendor's own document."""
    document = published("docusign")
    made = office.docusign.draft(DRAFT)
    office.docusign.send(made)
    office.docusign.read([made])
    office.docusign.find([DRAFT.transaction_id])
    office.docusign.void(made, "no longer wanted")
    ours = [one for one in office.server.requests if one.path != "/oauth/token"]
    assert len(ours) == 5
    for received in ours:
        document.check(received)


def test_nothing_secret_or_personal_is_written_down(office: Office, ledger: PostgresCallLedger) -> None:
    """Neither in the ledger nor in an error: no token, key, name or address."""
    made = office.docusign.draft(DRAFT)
    with pytest.raises(VendorRefused) as caught:
        office.docusign.void(made, "too early")
    from sqlalchemy import text

    with ledger._engine.connect() as connection:
        rows = [dict(row._mapping) for row in connection.execute(text("SELECT * FROM litgo.external_calls"))]
    assert [row["operation"] for row in rows] == ["get_token", "create_draft", "void_envelope"]
    told = json.dumps(rows, default=str) + str(caught.value) + repr(office.docusign)
    for secret in ("maria", "Ana", "PRIVATE KEY", "Bearer", *office.stand_in.tokens):
        assert secret not in told


def test_an_account_needs_all_of_its_settings(keys: tuple[str, str], ledger: PostgresCallLedger) -> None:
    """None at all is a choice; some of them are a mistake, which is named."""
    assert DocuSign.of(load_settings(), ledger) is None
    with pytest.raises(SettingsError, match="not DOCUSIGN_USER_ID, DOCUSIGN_PRIVATE_KEY"):
        DocuSign.of(load_settings(docusign_account_id="acc", docusign_integration_key="k"), ledger)


def test_the_key_is_given_as_text_or_as_a_file(office: Office, keys: tuple[str, str], tmp_path: Path, ledger: PostgresCallLedger) -> None:
    """Also on one line, as files of variables hold it; what is neither is refused without being quoted."""
    file = tmp_path / "key.pem"
    file.write_text(keys[0])
    for key in (str(file), keys[0].replace("\n", "\\n")):
        docusign = DocuSign.of(load_settings(**given(office.server, key)), ledger)
        assert docusign is not None
        assert docusign.read(["e"]) == {}
    with pytest.raises(SettingsError, match="DOCUSIGN_PRIVATE_KEY") as caught:
        DocuSign.of(load_settings(**given(office.server, "s3cret")), ledger)
    assert "s3cret" not in str(caught.value)
    broken = DocuSign.of(load_settings(**given(office.server, "-----BEGIN PRIVATE KEY-----\ns3cret\n")), ledger)
    assert broken is not None
    with pytest.raises(SettingsError, match="no RSA key") as caught:
        broken.read(["e"])
    assert "s3cret" not in str(caught.value)
