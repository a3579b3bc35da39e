"""The product's own side over HTTP: each request one transition, repeated safely, refused with a reason."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litgo_pipelines_tests.serving.conftest import serving, wait_until

if TYPE_CHECKING:
    import httpx

    from litgo_pipelines.settings import Settings
    from litgo_pipelines_tests.serving.conftest import Marketplace, Served

TABLES = ("offers", "contracts", "contract_signatures", "reviews", "contacts", "idempotent_answers", "notifications")
FEES = {"type": "success", "percent": 20.0}
SCAN = b"%PDF-1.7 signed"
EVIDENCE = {"name": "contrato assinado.pdf", "content": base64.b64encode(SCAN).decode()}
REPLAYED = "Idempotent-Replayed"


class Shop:
    """A service, and what it takes to bring a case as far as a test needs it."""

    def __init__(self, served: Served, marketplace: Marketplace) -> None:
        self.served, self.marketplace = served, marketplace

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        with self.served.client() as client:
            return client.request(method, f"/v1/{path}", json=body, headers=headers)

    def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        return self.send("POST", path, body, **({} if key is None else {"Idempotency-Key": key}))

    def get(self, path: str) -> Any:
        response = self.send("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    def offer(self, *, hours: float = 24, case: UUID | None = None) -> str:
        """A pending offer, sent an hour ago."""
        from litgo_pipelines.marketplace import tables

        sent = datetime.now(UTC) - timedelta(hours=1)
        row = {
            "id": uuid4(),
            "case_id": case or self.marketplace.case(),
            "lawyer_id": self.marketplace.lawyers(1)[0],
            "status": "pending",
            "sent_at": sent,
            "expires_at": sent + timedelta(hours=hours),
        }
        with self.marketplace.engine.begin() as connection:
            connection.execute(tables.offers.insert(), row)
        return str(row["id"])

    def interested(self) -> str:
        offer = self.offer()
        assert self.post(f"offers/{offer}/response", {"answer": "interested"}).status_code == 200
        return offer

    def contract(self) -> str:
        response = self.post("contracts", {"offer_id": self.interested(), "fee_model": FEES})
        assert response.status_code == 201, response.text
        return str(response.json()["contract_id"])

    def by_hand(self) -> str:
        """A contract that waits for signatures by hand."""
        contract = self.contract()
        self.execute("UPDATE litgo.contracts SET status = 'pending-signature', signing_method = 'manual'")
        return contract

    def active(self) -> str:
        contract = self.by_hand()
        for party in ("client", "lawyer"):
            assert self.post(f"contracts/{contract}/signatures", {"party": party, "evidence": EVIDENCE}).status_code == 200
        return contract

    def execute(self, statement: str) -> None:
        with self.marketplace.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    @contextmanager
    def held_until(self, waiting: int) -> Iterator[None]:
        """Nobody gets at a case before so many wait for a lock, so that they are surely there at once."""
        with self.marketplace.engine.begin() as connection:
            connection.exec_driver_sql("SELECT FROM litgo.cases ORDER BY id FOR UPDATE")
            yield
            wait_until(lambda: self._blocked() >= waiting, 10, "they wait for each other")

    def _blocked(self) -> int:
        return int(self.marketplace.rows("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")[0][0])

    def written(self) -> list[list[str]]:
        """All rows that a transition can touch: two equal answers mean that nothing was written in between."""
        return [sorted(map(repr, self.marketplace.rows(f"SELECT * FROM litgo.{table}"))) for table in (*TABLES, "cases")]


@pytest.fixture
def shop(served: Served, marketplace: Marketplace) -> Shop:
    return Shop(served, marketplace)


def error(response: httpx.Response) -> tuple[int, str, str | None]:
    found = response.json()["error"]
    assert found["message"]
    return response.status_code, found["code"], found.get("field")


def test_from_offer_to_review(shop: Shop) -> None:
    """Interest, contract, two signatures and the final review: each step answers with what is recorded then."""
    offer = shop.offer()
    before = shop.get(f"offers/{offer}")
    assert before["status"] == "pending"
    answered = shop.post(f"offers/{offer}/response", {"answer": "interested"}).json()
    assert answered == shop.get(f"offers/{offer}") == before | {"status": "interested", "responded_at": answered["responded_at"]}

    contact = {"name": "Maria Souza", "email": "maria@example.com"}
    made = shop.post("contracts", {"offer_id": offer, "fee_model": FEES, "client": contact})
    contract = made.json()
    assert (made.status_code, contract["status"], contract["fee_model"]) == (201, "requested", FEES)
    assert (contract["case_id"], contract["lawyer_id"]) == (answered["case_id"], answered["lawyer_id"])
    path = f"contracts/{contract['contract_id']}"
    assert shop.get(path) == contract
    (kept,) = shop.marketplace.rows("SELECT person_id, kind, name, email FROM litgo.contacts")
    assert tuple(kept) == (shop.marketplace.client_id, "client", "Maria Souza", "maria@example.com")

    shop.execute("UPDATE litgo.contracts SET status = 'pending-signature', signing_method = 'manual'")
    first = shop.post(f"{path}/signatures", {"party": "lawyer", "evidence": EVIDENCE}).json()
    assert (first["status"], first["signed_client"]) == ("pending-signature", None)
    assert first["signed_lawyer"] is not None
    yesterday = datetime.now(UTC) - timedelta(days=1)
    dated = {"party": "client", "evidence": EVIDENCE, "signed_at": yesterday.isoformat()}
    early = shop.post(f"{path}/signatures", dated)
    assert (early.status_code, "nobody can have signed it" in early.text) == (409, True)
    shop.execute("UPDATE litgo.contracts SET created_at = created_at - interval '2 days'")
    second = shop.post(f"{path}/signatures", dated).json()
    assert (second["status"], datetime.fromisoformat(second["signed_client"])) == ("active", yesterday)
    signed = shop.marketplace.rows("SELECT * FROM litgo.contract_signatures ORDER BY party")
    assert [(row.party, row.method, row.actor, bytes(row.evidence), row.evidence_name) for row in signed] == [
        (party, "manual", "api:anonymous", SCAN, "contrato assinado.pdf") for party in ("client", "lawyer")
    ]
    assert signed[0].evidence_sha256 == hashlib.sha256(SCAN).hexdigest()
    assert signed[0].recorded_at - yesterday >= timedelta(days=1)

    said = shop.post("reviews", {"contract_id": contract["contract_id"], "rating": 5, "outcome": "won", "comment": "Ótima"})
    assert (said.status_code, said.json()["outcome"], said.json()["rating"]) == (201, "won", 5)
    assert shop.get(path)["status"] == "closed"
    assert shop.marketplace.rows("SELECT status FROM litgo.cases")[0].status == "closed"


def test_a_step_that_does_not_lead_on_answers_409_and_says_why(shop: Shop) -> None:
    """Nothing is written; the message names the state."""
    late, declined, requested, by_hand = shop.offer(hours=0.5), shop.offer(), shop.contract(), shop.by_hand()
    shop.post(f"offers/{declined}/response", {"answer": "declined", "decline_reason": "fee"})
    shop.post(f"contracts/{by_hand}/signatures", {"party": "client", "evidence": EVIDENCE})
    shop.execute(f"UPDATE litgo.contracts SET status = 'requested', signing_method = NULL WHERE id = '{requested}'")
    before = shop.written()
    other = {"name": "outro.pdf", "content": base64.b64encode(b"other").decode()}
    asked: list[tuple[str, dict[str, Any], str]] = [
        (f"offers/{late}/response", {"answer": "interested"}, "ran out at"),
        (f"offers/{declined}/response", {"answer": "interested"}, "was declined (fee), and stays so"),
        ("contracts", {"offer_id": declined, "fee_model": FEES}, "is declined: a contract needs"),
        (f"contracts/{requested}/signatures", {"party": "client", "evidence": EVIDENCE}, "is requested"),
        (f"contracts/{by_hand}/signatures", {"party": "client", "evidence": other}, "nobody signs twice"),
        ("reviews", {"contract_id": requested, "rating": 3, "outcome": "won"}, "only a contract that both parties signed"),
    ]
    for path, body, why in asked:
        for key in (None, "k"):
            response = shop.post(path, body, key)
            assert error(response) == (409, "not_allowed", None)
            assert why in response.json()["error"]["message"]
    assert shop.written() == before
    assert shop.get(f"offers/{late}")["status"] == "expired"


def test_a_client_withdraws_a_case(shop: Shop) -> None:
    """Its offers are closed; again, with a key or without, the answer is the first one; a case with a contract is refused."""
    offer = shop.interested()
    case = shop.get(f"offers/{offer}")["case_id"]
    path, body = f"cases/{case}/withdrawal", {"reason": "fez um acordo"}
    first = shop.post(path, body, "one")
    assert (first.status_code, first.json()["case_id"], first.json()["status"]) == (200, case, "canceled")
    assert shop.get(f"offers/{offer}")["status"] == "closed"
    before = shop.written()
    for key, replayed in ((None, None), ("one", "true")):
        again = shop.post(path, body, key)
        assert (again.status_code, again.json(), again.headers.get(REPLAYED)) == (200, first.json(), replayed)
    assert error(shop.post(path, {"reason": "outro"}, "one")) == (409, "idempotency_key_reused", "Idempotency-Key")
    assert error(shop.post("contracts", {"offer_id": offer, "fee_model": FEES})) == (409, "not_allowed", None)
    assert shop.written() == before
    contract = shop.get(f"contracts/{shop.contract()}")
    before = shop.written()
    refused = shop.post(f"cases/{contract['case_id']}/withdrawal", body)
    assert error(refused) == (409, "not_allowed", None)
    assert "which is requested: cancel it first" in refused.json()["error"]["message"]
    assert shop.written() == before


def test_what_is_not_there_answers_404(shop: Shop) -> None:
    """Whatever the verb; nothing is written."""
    nobody = uuid4()
    before = shop.written()
    for response in (
        shop.send("GET", f"offers/{nobody}"),
        shop.send("GET", f"contracts/{nobody}"),
        shop.post(f"offers/{nobody}/response", {"answer": "interested"}),
        shop.post("contracts", {"offer_id": str(nobody), "fee_model": FEES}),
        shop.post(f"contracts/{nobody}/signatures", {"party": "client", "evidence": EVIDENCE}),
        shop.post("reviews", {"contract_id": str(nobody), "rating": 3, "outcome": "won"}, "k"),
        shop.post(f"cases/{nobody}/withdrawal", {"reason": "desistiu"}),
        shop.send("PUT", f"contacts/{nobody}", {"kind": "lawyer", "name": "Ana"}),
        shop.send("PUT", f"contacts/{shop.marketplace.client_id}", {"kind": "lawyer", "name": "Ana"}),
    ):
        assert error(response) == (404, "unknown", None)
        assert str(nobody) in response.text or str(shop.marketplace.client_id) in response.text
    assert shop.written() == before


def test_the_same_without_a_key_changes_nothing(shop: Shop) -> None:
    """Each transition repeated answers as before, 200 where the first made something, and leaves no row."""
    offer = shop.interested()
    contract = {"offer_id": offer, "fee_model": FEES}
    first = shop.post("contracts", contract)
    path = f"contracts/{first.json()['contract_id']}/signatures"
    shop.execute("UPDATE litgo.contracts SET status = 'pending-signature', signing_method = 'manual'")
    for party in ("client", "lawyer"):
        assert shop.post(path, {"party": party, "evidence": EVIDENCE}).status_code == 200
    review = {"contract_id": first.json()["contract_id"], "rating": 5, "outcome": "ongoing"}
    assert shop.post("reviews", review).status_code == 201
    before = shop.written()
    for where, body in (
        (f"offers/{offer}/response", {"answer": "interested"}),
        ("contracts", contract),
        (path, {"party": "client", "evidence": EVIDENCE}),
        ("reviews", review),
    ):
        again = shop.post(where, body)
        assert again.status_code == 200
        assert REPLAYED not in again.headers
    assert shop.written() == before


def test_a_key_repeats_the_first_answer_whatever_has_happened_since(shop: Shop) -> None:
    """Status and body, marked as repeated; the state that others made meanwhile stays as it is."""
    offer = shop.offer()
    first = shop.post(f"offers/{offer}/response", {"answer": "interested"}, "one")
    made = shop.post("contracts", {"offer_id": offer, "fee_model": FEES}, "two")
    assert (first.status_code, made.status_code) == (200, 201)
    shop.execute("UPDATE litgo.contracts SET status = 'canceled'; UPDATE litgo.offers SET status = 'closed'")
    before = shop.written()
    for path, body, key, earlier in (
        (f"offers/{offer}/response", {"answer": "interested"}, "one", first),
        ("contracts", {"offer_id": offer, "fee_model": FEES}, "two", made),
    ):
        again = shop.post(path, body, key)
        assert (again.status_code, again.json()) == (earlier.status_code, earlier.json())
        assert (earlier.headers.get(REPLAYED), again.headers.get(REPLAYED)) == (None, "true")
    assert shop.written() == before


def test_a_key_stands_for_one_request(shop: Shop) -> None:
    """Another body, or the same body sent elsewhere, is refused; a refused request leaves its key free."""
    first, second = shop.offer(), shop.offer()
    late = shop.offer(hours=0.5)
    assert error(shop.post(f"offers/{late}/response", {"answer": "interested"}, "k"))[1] == "not_allowed"
    assert shop.post(f"offers/{first}/response", {"answer": "interested"}, "k").status_code == 200
    for path, body in (
        (f"offers/{first}/response", {"answer": "declined"}),
        (f"offers/{second}/response", {"answer": "interested"}),
    ):
        assert error(shop.post(path, body, "k")) == (409, "idempotency_key_reused", "Idempotency-Key")
    assert [shop.get(f"offers/{one}")["status"] for one in (first, second)] == ["interested", "pending"]
    assert error(shop.post(f"offers/{second}/response", {"answer": "declined"}, "x" * 201)) == (422, "invalid_field", "Idempotency-Key")


def test_two_callers_never_share_a_key(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> None:
    """Each has an answer of its own; nothing is answered without a token."""
    from pydantic import SecretStr

    guarded = serving_settings.model_copy(update={"litgo_api_keys": [SecretStr("first"), SecretStr("second")]})
    with serving(database_url, guarded) as served:
        shop = Shop(served, marketplace)
        offers = [shop.offer(), shop.offer()]
        for token, offer in zip(("first", "second"), offers, strict=True):
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}
            assert shop.send("POST", f"offers/{offer}/response", {"answer": "interested"}, **headers).status_code == 200
        bare = [
            shop.send(method, path, {})
            for method, path in (
                ("GET", f"offers/{offers[0]}"),
                ("POST", f"offers/{offers[0]}/response"),
                ("POST", "contracts"),
                ("GET", f"contracts/{uuid4()}"),
                ("POST", f"contracts/{uuid4()}/signatures"),
                ("POST", "reviews"),
                ("POST", f"cases/{uuid4()}/withdrawal"),
                ("PUT", f"contacts/{uuid4()}"),
            )
        ]
    assert {error(response) for response in bare} == {(401, "unauthorised", "Authorization")}
    assert marketplace.count("idempotent_answers") == 2


def test_one_key_at_once_makes_one_transition(shop: Shop) -> None:
    """Twenty at once under one key: one made the contract, all have its answer."""
    body = {"offer_id": shop.interested(), "fee_model": FEES}
    with ThreadPoolExecutor(20) as pool:
        with shop.held_until(10):
            asked = [pool.submit(shop.post, "contracts", body, "same") for _ in range(20)]
        found = [one.result() for one in asked]
    assert {response.status_code for response in found} == {201}
    assert len({response.text for response in found}) == 1
    assert Counter(response.headers.get(REPLAYED) for response in found) == {None: 1, "true": 19}
    assert (shop.marketplace.count("contracts"), shop.marketplace.count("idempotent_answers")) == (1, 1)


def test_without_keys_at_once_there_is_still_one_of_each(shop: Shop) -> None:
    """Two lawyers' offers of one case become one contract; ten equal reviews become one."""
    case = shop.marketplace.case()
    offers = [shop.offer(case=case) for _ in range(2)]
    for offer in offers:
        shop.post(f"offers/{offer}/response", {"answer": "interested"})

    def ask(path: str, bodies: list[dict[str, Any]]) -> Counter[int]:
        with ThreadPoolExecutor(10) as pool:
            with shop.held_until(10):
                asked = [pool.submit(shop.post, path, body) for body in bodies]
            return Counter(one.result().status_code for one in asked)

    codes = ask("contracts", [{"offer_id": offers[place % 2], "fee_model": FEES} for place in range(10)])
    assert codes == {201: 1, 200: 4, 409: 5}
    assert shop.marketplace.count("contracts") == 1
    shop.execute("UPDATE litgo.contracts SET status = 'active'")
    (contract,) = shop.marketplace.rows("SELECT id FROM litgo.contracts")
    assert ask("reviews", [{"contract_id": str(contract.id), "rating": 4, "outcome": "settled"}] * 10) == {201: 1, 200: 9}
    assert shop.marketplace.count("reviews") == 1


def test_contacts_are_replaced_and_told_to_nobody(shop: Shop) -> None:
    """The last one counts whole; the log and the answers kept for keys hold neither name nor address."""
    (lawyer,) = shop.marketplace.lawyers(1)
    for body in ({"kind": "lawyer", "name": "Ana Lima", "email": "ana@example.com"}, {"kind": "lawyer", "email": "lima@example.com"}):
        response = shop.send("PUT", f"contacts/{lawyer}", body)
        assert (response.status_code, response.json()) == (200, {"name": None} | body)
    (kept,) = shop.marketplace.rows("SELECT person_id, kind, name, email FROM litgo.contacts")
    assert tuple(kept) == (lawyer, "lawyer", None, "lima@example.com")
    contact = {"name": "Maria Souza", "email": "maria@example.com"}
    shop.post("contracts", {"offer_id": shop.interested(), "fee_model": FEES, "client": contact}, "k")
    assert "aria" not in str(shop.marketplace.rows("SELECT key, request_hash, answer FROM litgo.idempotent_answers"))


_ID = str(UUID(int=7))
_BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", f"offers/{_ID}/response", {}, "answer"),
    ("POST", f"offers/{_ID}/response", {"answer": "maybe"}, "answer"),
    ("POST", f"offers/{_ID}/response", {"answer": "interested", "decline_reason": "fee"}, "decline_reason"),
    ("POST", f"offers/{_ID}/response", {"answer": "declined", "decline_reason": "mood"}, "decline_reason"),
    ("POST", f"offers/{_ID}/response", {"answer": "declined", "why": "fee"}, "why"),
    ("POST", "offers/7/response", {"answer": "declined"}, "offer_id"),
    ("POST", "contracts", {"offer_id": _ID}, "fee_model"),
    ("POST", "contracts", {"offer_id": _ID, "fee_model": {"type": "fixed"}}, "fee_model"),
    ("POST", "contracts", {"offer_id": _ID, "fee_model": {"type": "fixed", "value": "10"}}, "fee_model.value"),
    ("POST", "contracts", {"offer_id": _ID, "fee_model": {"type": "fixed", "value": 10, "percent": 3}}, "fee_model"),
    ("POST", "contracts", {"offer_id": _ID, "fee_model": {"type": "success", "percent": 51}}, "fee_model"),
    ("POST", "contracts", {"offer_id": _ID, "fee_model": FEES, "client": {"name": "Ana"}}, "client.email"),
    ("POST", "contracts", {"offer_id": _ID, "fee_model": FEES, "client": {"name": "A\nb", "email": "a@b"}}, "client.name"),
    ("POST", "contracts", {"offer_id": _ID, "fee_model": FEES, "client": {"name": "A", "email": "a@b\nBcc: c@d"}}, "client.email"),
    ("POST", f"contracts/{_ID}/signatures", {"party": "client"}, "evidence"),
    ("POST", f"contracts/{_ID}/signatures", {"party": "judge", "evidence": EVIDENCE}, "party"),
    ("POST", f"contracts/{_ID}/signatures", {"party": "client", "evidence": EVIDENCE | {"content": "no base64!"}}, "evidence.content"),
    ("POST", f"contracts/{_ID}/signatures", {"party": "client", "evidence": EVIDENCE | {"content": ""}}, "evidence.content"),
    ("POST", f"contracts/{_ID}/signatures", {"party": "client", "evidence": EVIDENCE | {"content": 7}}, "evidence.content"),
    ("POST", f"contracts/{_ID}/signatures", {"party": "client", "evidence": EVIDENCE | {"name": "../a.pdf"}}, "evidence.name"),
    ("POST", f"contracts/{_ID}/signatures", {"party": "client", "evidence": EVIDENCE, "signed_at": "2026-01-01T00:00:00"}, "signed_at"),
    ("POST", f"contracts/{_ID}/signatures", {"party": "client", "evidence": EVIDENCE, "signed_at": "2999-01-01T00:00:00Z"}, "signed_at"),
    ("POST", "reviews", {"contract_id": _ID, "rating": 6, "outcome": "won"}, "rating"),
    ("POST", "reviews", {"contract_id": _ID, "rating": 4.5, "outcome": "won"}, "rating"),
    ("POST", "reviews", {"contract_id": _ID, "rating": 5, "outcome": "draw"}, "outcome"),
    ("POST", "reviews", {"contract_id": _ID, "rating": 5, "outcome": "won", "comment": "a\x00"}, "comment"),
    ("POST", f"cases/{_ID}/withdrawal", {}, "reason"),
    ("POST", f"cases/{_ID}/withdrawal", {"reason": " "}, "reason"),
    ("POST", f"cases/{_ID}/withdrawal", {"reason": "a\x00"}, "reason"),
    ("POST", f"cases/{_ID}/withdrawal", {"reason": "x" * 1001}, "reason"),
    ("POST", "cases/7/withdrawal", {"reason": "desistiu"}, "case_id"),
    ("PUT", f"contacts/{_ID}", {"kind": "judge"}, "kind"),
    ("PUT", f"contacts/{_ID}", {"kind": "client", "email": "nobody"}, "email"),
    ("PUT", f"contacts/{_ID}", {"kind": "client", "email": "á@b.c"}, "email"),
]


def test_bad_input_is_refused_with_the_field_and_writes_nothing(shop: Shop) -> None:
    """Every fault gets a 422 that names where it is."""
    before = shop.written()
    told = [error(shop.send(method, path, body)) for method, path, body, _ in _BAD]
    assert told == [(422, "invalid_field", field) for *_, field in _BAD]
    assert shop.written() == before


def test_evidence_may_be_as_large_as_a_scan_and_no_larger(shop: Shop) -> None:
    """Ten megabytes are stored as they were; more is refused as too large a field, and much more as too large a body."""
    contract = shop.by_hand()
    scan = bytes(range(256)) * 4 * 1024 * 10

    def signed(content: bytes) -> httpx.Response:
        evidence = {"name": "scan.pdf", "content": base64.b64encode(content).decode()}
        return shop.post(f"contracts/{contract}/signatures", {"party": "client", "evidence": evidence}, "k")

    assert error(signed(scan + b"x")) == (422, "invalid_field", "evidence.content")
    assert error(signed(scan + scan[: 1024 * 1024])) == (413, "too_large", "body")
    assert signed(scan).status_code == 200
    assert signed(scan).headers[REPLAYED] == "true"
    (kept,) = shop.marketplace.rows("SELECT evidence FROM litgo.contract_signatures")
    assert bytes(kept.evidence) == scan
    large = {"contract_id": contract, "rating": 5, "outcome": "won", "comment": "x" * 600_000}
    assert error(shop.post("reviews", large)) == (413, "too_large", "body")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.uuids().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "type", "value", "x"]), inner, max_size=3),
    max_leaves=6,
)
_names = ["answer", "decline_reason", "offer_id", "fee_model", "client", "party", "evidence", "signed_at", "contract_id", "rating", "kind"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        [f"offers/{_ID}/response", "contracts", f"contracts/{_ID}/signatures", "reviews", "offers/%00/response", "contracts/x/signatures"]
    ),
    body=st.dictionaries(st.sampled_from(_names), _json, max_size=4) | _json,
)
def test_whatever_is_sent_is_refused_never_an_error_of_ours(shop: Shop, path: str, body: Any) -> None:
    """Any JSON to any route brings a 4xx in the one shape, and leaves no row."""
    import json

    before = shop.written()
    with shop.served.client() as client:
        response = client.post(f"/v1/{path}", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert error(response)[0] in (404, 422), response.text
    assert shop.written() == before


def test_offers_of_a_match_are_told_to_their_lawyers(shop: Shop) -> None:
    """Serving writes one message with each offer, in the same moment; a match without offers writes none."""
    shop.marketplace.lawyers(3)
    shop.served.app.state.service.market.refresh()
    case = str(shop.marketplace.case())
    assert shop.served.ask({"case_id": case, "top_n": 2}).status_code == 200
    assert shop.marketplace.count("notifications") == 0
    answer = shop.served.ask({"case_id": case, "top_n": 2, "create_offers": True}).json()
    told = shop.marketplace.rows("SELECT key, audience, recipient_id FROM litgo.notifications ORDER BY id")
    expected = [(f"offer:{match['offer_id']}", "lawyer", UUID(match["lawyer_id"])) for match in answer["matches"]]
    assert [tuple(row) for row in told] == expected
