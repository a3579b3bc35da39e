"""Tellings that become cases over HTTP, while a vendor answers, hangs, or is not there at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from litgo_pipelines.casework.embedding import Embedding
from litgo_pipelines.casework.triage_examples import read_examples
from litgo_pipelines.integrations.openai_embeddings import OpenAIEmbedder
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.settings import Settings
from litgo_pipelines.simulation.vendors.openai import KEY, OpenAIStandIn
from litgo_pipelines.simulation.vendors.server import FaultyServer, Hang, Reply, faulty_server
from litgo_pipelines_tests.casework.embedders import WordModel
from litgo_pipelines_tests.serving.conftest import Marketplace, Served, serving, wait_until

if TYPE_CHECKING:
    import httpx

DISMISSED = "Fui demitida sem justa causa, o patrão não pagou minha rescisão nem depositou o FGTS."
VAGUE = "bom dia, preciso de ajuda"
DEADLINE = 0.6


def post(service: Served, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    sent = {"text": DISMISSED, "client_id": str(uuid4())} | body
    with service.client() as client:
        return client.post("/v1/triage", json=sent, headers=headers)


def test_a_telling_becomes_an_open_case(served: Served, marketplace: Marketplace) -> None:
    """Without any model: area, subarea, urgency and complexity are answered and stored, and the case can be matched with offers."""
    marketplace.lawyers(3, area="trabalhista")
    answer = post(served, lat=-23.5, lng=-46.6, radius_km=30).json()
    assert (answer["area"], answer["subarea"], answer["embedding_space"]) == ("trabalhista", "rescisão", "bm25")
    assert (answer["fallback"], answer["likely"]) == (False, [])
    assert answer["confidence"] >= 0.5
    assert {one["area"] for one in answer["nearest"]} == {"trabalhista"}
    (case,) = marketplace.rows("SELECT * FROM litgo.cases WHERE id = :id", id=answer["case_id"])
    assert (case.summary, case.status, case.radius_km, case.lat) == (DISMISSED, "open", 30, -23.5)
    assert (case.area, case.subarea, case.urgency_h, case.complexity) == tuple(
        answer[name] for name in ("area", "subarea", "urgency_h", "complexity")
    )
    (request,) = marketplace.rows("SELECT * FROM litgo.match_requests")
    assert (str(request.id), request.kind, request.status) == (answer["request_id"], "triage", "ok")
    with served.client() as client:
        matched = client.post("/v1/matches", json={"case_id": answer["case_id"], "create_offers": True})
    assert matched.status_code == 200


def test_what_says_nothing_waits_for_a_person(served: Served, marketplace: Marketplace) -> None:
    """No area, but the likeliest ones; the case takes no offers."""
    answer = post(served, text=VAGUE).json()
    assert (answer["area"], answer["subarea"], len(answer["likely"])) == (None, None, 3)
    (case,) = marketplace.rows("SELECT area, status FROM litgo.cases")
    assert (case.area, case.status) == (answer["likely"][0], "triage")
    with served.client() as client:
        refused = client.post("/v1/matches", json={"case_id": answer["case_id"], "create_offers": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "case_not_open")


def test_a_key_and_a_case_make_a_request_repeatable(served: Served, marketplace: Marketplace) -> None:
    """The same key with the same body, or the same case with the same content, is answered as before; nothing is stored twice."""
    client_id, case_id = str(uuid4()), str(uuid4())
    first = post(served, "k", client_id=client_id, case_id=case_id)
    for again in (post(served, "k", client_id=client_id, case_id=case_id), post(served, client_id=client_id, case_id=case_id)):
        assert again.json() == first.json()
        assert again.headers["Idempotent-Replayed"] == "true"
    assert marketplace.count("cases") == marketplace.count("match_requests") == 1
    other = post(served, "k", client_id=client_id, case_id=case_id, text=VAGUE)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    differing = post(served, client_id=client_id, case_id=case_id, text=VAGUE)
    assert (differing.status_code, differing.json()["error"]["code"], differing.json()["error"]["field"]) == (409, "case_differs", "text")


def test_a_case_of_another_origin_is_not_triaged(served: Served, marketplace: Marketplace) -> None:
    """A case that was stored with its area is refused, and stays as it is."""
    case_id = marketplace.case(summary=DISMISSED)
    answer = post(served, case_id=str(case_id), client_id=str(marketplace.client_id))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_triaged")
    assert marketplace.count("triages") == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "  "}, "text"),
        ({"lat": 1.0}, "lng"),
        ({"radius_km": 0}, "radius_km"),
        ({"area": "civil"}, "area"),
        ({"client_id": "x"}, "client_id"),
    ],
)
def test_what_cannot_be_meant_is_refused(served: Served, marketplace: Marketplace, body: dict[str, Any], field: str) -> None:
    """A field that cannot be used is named, and nothing is written."""
    answer = post(served, **body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert marketplace.count("match_requests") == 0


def test_a_token_is_asked_for_first(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> None:
    """Without a token nothing of the body is looked at."""
    guarded = serving_settings.model_copy(update={"litgo_api_keys": Settings(litgo_api_keys="secret").litgo_api_keys})
    with serving(database_url, guarded) as service:
        assert post(service, text="").status_code == 401


@dataclass
class Vendors:
    """A service with both models, and OpenAI's stand-in."""

    service: Served
    openai: FaultyServer
    local: WordModel

    def told(self) -> str:
        """All that the vendor was sent."""
        return "\n".join(one.body.decode() for one in self.openai.requests)


@contextmanager
def with_vendor(
    database_url: str, settings: Settings, marketplace: Marketplace, *, fallback: bool = True, ready: bool = True
) -> Iterator[Vendors]:
    stand_in = OpenAIStandIn()
    with faulty_server(stand_in.answer) as openai:
        if not ready:
            openai.answer = lambda _received: Hang()
        changed = {
            "openai_api_key": Settings(openai_api_key=KEY).openai_api_key,
            "openai_base_url": f"{openai.url}/v1",
            "openai_deadline": DEADLINE,
            "fallback_enabled": fallback,
            "litgo_breaker_failures": 100,
        }
        given = settings.model_copy(update=changed)
        patient = given.model_copy(update={"openai_deadline": 20.0}) if ready else given
        ledger = PostgresCallLedger(marketplace.engine)
        local = WordModel()
        embedding = Embedding(local, OpenAIEmbedder.of(patient, ledger), fallback)
        with serving(database_url, given, embedding=embedding) as service:
            keeper = service.app.state.service.triaging.examples
            wanted = embedding.spaces if ready else embedding.spaces[1:]
            wait_until(lambda: set(wanted) <= set(keeper.spaces), 30, "the examples have their vectors")
            yield Vendors(service, openai, local)


def test_a_vendor_that_hangs_is_stood_in_for_in_time(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> None:
    """While OpenAI answers its space is used; once it hangs the local one is, within the deadline and half a second, and both kept vectors
    of the case are those of the spaces that answered."""
    with with_vendor(database_url, serving_settings, marketplace) as house:
        preferred = post(house.service).json()
        assert (preferred["embedding_space"], preferred["fallback"]) == ("bm25+text-embedding-3-small@1:1536", False)
        asked = len(house.openai.requests)
        house.openai.answer = lambda _received: Hang()
        begun = time.monotonic()
        answer = post(house.service)
        assert time.monotonic() - begun < DEADLINE + 0.5
        assert answer.status_code == 200
        assert (answer.json()["embedding_space"], answer.json()["fallback"]) == ("bm25+words@1:256", True)
        assert answer.json()["area"] == "trabalhista"
        assert len(house.openai.requests) == asked + 1
        stored = {
            (str(one.entity_id), one.space)
            for one in marketplace.rows("SELECT entity_id, space FROM litgo.embeddings WHERE entity_type = 'case'")
        }
        assert stored == {
            (preferred["case_id"], "text-embedding-3-small@1:1536"),
            (preferred["case_id"], "words@1:256"),
            (answer.json()["case_id"], "words@1:256"),
        }


def test_personal_data_never_reach_the_vendor(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> None:
    """The case keeps the client's own words; what the vendor is sent has no CPF, address or number in it."""
    told = f"{DISMISSED} Meu CPF é 529.982.247-25, meu e-mail ana.souza@example.com, telefone (11) 98765-4321."
    with with_vendor(database_url, serving_settings, marketplace) as house:
        answer = post(house.service, text=told).json()
        assert "FGTS" in house.told()
        for secret in ("529.982.247-25", "ana.souza", "98765-4321"):
            assert secret not in house.told()
        assert marketplace.rows("SELECT summary FROM litgo.cases WHERE id = :id", id=answer["case_id"])[0].summary == told
        assert len([one for one in house.local.asked if one == read_examples()[0].text]) == 1


def test_without_fallback_the_vendor_is_named(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> None:
    """FALLBACK_ENABLED=false: 503 says which vendor; the request is counted as failed, no case is stored, and its key is free again."""
    with with_vendor(database_url, serving_settings, marketplace, fallback=False) as house:
        house.openai.answer = lambda _received: Reply(status=500)
        refused = post(house.service, "k")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "vendor_away")
        assert "openai" in refused.json()["error"]["message"]
        assert marketplace.count("cases") == 0
        (request,) = marketplace.rows("SELECT status, error_class FROM litgo.match_requests")
        assert tuple(request) == ("error", "VendorUnavailable")
        with house.service.client() as client:
            assert 'triage_duration_seconds_count{status="error"} 1.0' in client.get("/metrics").text
        house.openai.answer = OpenAIStandIn().answer
        assert post(house.service, "k").status_code == 200


def test_a_vendor_that_hangs_from_the_start_holds_nobody_up(
    database_url: str, marketplace: Marketplace, serving_settings: Settings
) -> None:
    """While the examples' vectors are still asked for in vain, tellings are judged by what is here."""
    with with_vendor(database_url, serving_settings, marketplace, ready=False) as house:
        begun = time.monotonic()
        answer = post(house.service)
        assert time.monotonic() - begun < DEADLINE + 0.5
        assert (answer.json()["area"], answer.json()["fallback"]) == ("trabalhista", True)
