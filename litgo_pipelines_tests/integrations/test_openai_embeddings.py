"""Embedding at OpenAI: what is asked, what an answer must hold, and that trouble ends in time."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
from litgo_pipelines.integrations.openai_embeddings import MOST_BYTES, OpenAIEmbedder
from litgo_pipelines.integrations.policies import Deadline
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.settings import SettingsError, load_settings
from litgo_pipelines.simulation.vendors.openai import KEY, OpenAIStandIn, vector
from litgo_pipelines.simulation.vendors.server import Behaviour, Cut, FaultyServer, Hang, Received, Reply, Reset, faulty_server
from litgo_pipelines_tests.integrations.published import document, published

SLACK = 0.5
MODEL = "text-embedding-3-small"
PERSONAL = "Maria, CPF 529.982.247-25, maria@exemplo.com.br, (11) 91234-5678, autos 0001234-56.2023.5.02.0011, OAB/SP 123.456"


@pytest.fixture
def vendor() -> OpenAIStandIn:
    return OpenAIStandIn()


@pytest.fixture
def server(vendor: OpenAIStandIn) -> Iterator[FaultyServer]:
    with faulty_server(vendor.answer) as found:
        yield found


def embedder(server: FaultyServer, ledger: Any, **changes: Any) -> OpenAIEmbedder:
    given = {"openai_base_url": f"{server.url}/v1", "openai_api_key": KEY, "openai_timeout": 0.6, "openai_deadline": 4.0}
    found = OpenAIEmbedder.of(load_settings(**(given | changes)), ledger)
    assert found is not None
    return found


def rows(engine: Engine) -> list[tuple[str, str, int]]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT operation, outcome, number FROM litgo.external_calls ORDER BY id"))
        return [(row.operation, row.outcome, row.number) for row in found]


def test_each_text_gets_its_own_vector(server: FaultyServer, vendor: OpenAIStandIn, ledger: PostgresCallLedger, engine: Engine) -> None:
    """By the index in the answer, whatever its order; of unit length, whatever the vendor's."""

    def backwards(received: Received) -> Behaviour:
        reply = vendor.answer(received)
        assert isinstance(reply, Reply)
        answer = json.loads(reply.body)
        for one in answer["data"]:
            stretched = np.frombuffer(base64.b64decode(one["embedding"]), dtype="<f4") * 3
            one["embedding"] = base64.b64encode(stretched.tobytes()).decode()
        answer["data"].reverse()
        return Reply.json(answer)

    server.answer = backwards
    texts = ["fui demitido sem justa causa", "o vizinho invadiu o terreno", "o voo foi cancelado"]
    found = embedder(server, ledger).embed(texts)
    np.testing.assert_allclose(found, [vector(one, 1536) for one in texts], atol=1e-6)
    assert found.dtype == np.float32
    assert rows(engine) == [("embed", "ok", 1)]


def test_the_request_is_one_that_openai_documents(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """By its published schema; the key is in its header alone."""
    embedder(server, ledger).embed(["a", "b"])
    (received,) = server.requests
    published("openai").check(received)
    assert received.json() == {"model": MODEL, "input": ["a", "b"], "encoding_format": "base64"}
    assert {name.lower(): value for name, value in received.headers.items()}["authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in received.body


def test_nothing_personal_leaves_the_house(server: FaultyServer, ledger: PostgresCallLedger, engine: Engine) -> None:
    """Nor is any of it, or of the text, written down here."""
    embedder(server, ledger).embed([PERSONAL])
    (received,) = server.requests
    assert received.json()["input"] == ["Maria, CPF [CPF], [E-MAIL], [TELEFONE], autos [PROCESSO], [OAB]"]
    with engine.connect() as connection:
        row = connection.execute(text("SELECT external_calls::text FROM litgo.external_calls")).scalar_one()
    assert "Maria" not in row
    assert KEY not in row


def test_many_texts_go_in_several_requests_and_keep_their_order(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """So many at once as the setting says, and none where there are none."""
    texts = [f"caso {number}" for number in range(10)]
    one = embedder(server, ledger, litgo_embedding_batch=4)
    np.testing.assert_allclose(one.embed(texts), [vector(text, 1536) for text in texts], atol=1e-6)
    assert [len(received.json()["input"]) for received in server.requests] == [4, 4, 2]
    assert one.embed([]).shape == (0, 1536)
    assert len(server.requests) == 3


def test_requests_stay_within_what_the_endpoint_takes(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """The stand-in refuses empty texts, texts above 8,192 tokens and requests above 300,000; to it each byte is a token."""
    texts = ["", " \n", "\ud800", "🙂" * 9000, *["ã" * 20_000] * 80]
    found = embedder(server, ledger, litgo_embedding_batch=2048).embed(texts)
    assert found.shape == (84, 1536)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    sent = [one for received in server.requests for one in received.json()["input"]]
    assert len(server.requests) == 3
    assert [len(one.encode()) for one in sent[3:]] == [MOST_BYTES] * 81


@pytest.mark.parametrize(
    ("faults", "requests", "outcome"),
    [
        ([Hang()], 1, "timeout"),
        ([Reply(latency=30)], 1, "timeout"),
        ([Reply(body=b" " * 50, trickle=0.1)], 1, "timeout"),
        ([Reply(trickle=0.2, trickle_from="head")], 1, "timeout"),
        ([Reply(429, headers={"Retry-After": "60"})], 1, "http_429"),
        ([Reset()] * 3, 3, "broken"),
        ([Cut()] * 3, 3, "broken"),
        ([Reply(500)] * 3, 3, "http_5xx"),
    ],
)
def test_trouble_ends_in_time(
    faults: Sequence[Behaviour], requests: int, outcome: str, server: FaultyServer, ledger: PostgresCallLedger, engine: Engine
) -> None:
    """Within the deadline, after as many requests as fit it, each with its row: the SDK adds none of its own."""
    server.fail(*faults)
    deadline = 0.6 if requests == 1 else 4.0
    started = time.monotonic()
    with pytest.raises(VendorUnavailable) as told:
        embedder(server, ledger, openai_deadline=deadline).embed([PERSONAL])
    assert time.monotonic() - started <= deadline + SLACK
    assert (told.value.outcome, told.value.requests) == (outcome, requests)
    assert len(server.requests) == requests
    assert rows(engine) == [("embed", outcome, number + 1) for number in range(requests)]
    assert "Maria" not in str(told.value)


@pytest.mark.parametrize("fault", [Reset(), Cut(), Reply(503), Reply(429, headers={"Retry-After": "1"})])
def test_what_passes_is_tried_again(fault: Behaviour, server: FaultyServer, ledger: PostgresCallLedger, engine: Engine) -> None:
    """One more request brings the vectors."""
    server.fail(fault)
    np.testing.assert_allclose(embedder(server, ledger).embed(["a"]), [vector("a", 1536)], atol=1e-6)
    assert len(server.requests) == 2
    assert rows(engine)[1] == ("embed", "ok", 2)


def answer(*vectors: object, indices: Sequence[int] | None = None, **changes: Any) -> Reply:
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in zip(indices or range(9), vectors, strict=False)]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return Reply.json({"object": "list", "model": MODEL, "data": data, "usage": usage} | changes)


def packed(*numbers: float, dim: int = 1536) -> str:
    return base64.b64encode(np.resize(np.asarray(numbers, dtype="<f4"), dim).tobytes()).decode()


GOOD = packed(0.5, -0.5)
LIES: dict[str, Reply] = {
    "no JSON": Reply(200, b"<html>"),
    "no object": Reply.json([]),
    "an error with a status of success": Reply.json({"error": {"message": "no", "type": "server_error", "param": None, "code": None}}),
    "nothing": Reply(200, b""),
    "no vectors": answer(),
    "fewer vectors": answer(GOOD),
    "more vectors": answer(GOOD, GOOD, GOOD),
    "one twice": answer(GOOD, GOOD, indices=[0, 0]),
    "counted from one": answer(GOOD, GOOD, indices=[1, 2]),
    "a short vector": answer(GOOD, packed(1, dim=1535)),
    "not a number": answer(GOOD, packed(1, float("nan"))),
    "without end": answer(GOOD, packed(1, float("inf"))),
    "no direction": answer(GOOD, packed(0)),
    "no base64": answer(GOOD, "?"),
    "a word in place of numbers": answer(GOOD, ["one"] * 1536),
    "numbers too large": answer(GOOD, [10**400] * 1536),
    "null": answer(GOOD, None),
    "nested without end": Reply(200, b"[" * 200_000),
    "another model": answer(GOOD, GOOD, model="text-embedding-ada-002"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_an_answer_that_cannot_be_true_is_none(lie: Reply, server: FaultyServer, ledger: PostgresCallLedger, engine: Engine) -> None:
    """It counts against the vendor and is not asked for again: whoever called goes on without."""
    server.fail(lie)
    with pytest.raises(VendorUnavailable, match="malformed"):
        embedder(server, ledger).embed(["a", "b"])
    assert rows(engine) == [("embed", "malformed", 1)]


def test_numbers_in_place_of_base64_are_taken(server: FaultyServer, ledger: PostgresCallLedger) -> None:
    """Others who speak OpenAI's language do not all know base64."""
    server.fail(answer([0.0, 2.0] * 768, headers={}))
    found = embedder(server, ledger).embed(["a"])
    np.testing.assert_allclose(found, [np.tile([0.0, 768**-0.5], 768)], atol=1e-6)


def test_a_wrong_key_is_a_refusal(server: FaultyServer, ledger: PostgresCallLedger, engine: Engine) -> None:
    """Asked once; the message names no key."""
    with pytest.raises(VendorRefused, match="openai refused embed with 401") as told:
        embedder(server, ledger, openai_api_key="sk-wrong").embed(["a"])
    assert told.value.status == 401
    assert "sk-wrong" not in str(told.value)
    assert rows(engine) == [("embed", "http_4xx", 1)]


def test_one_deadline_bounds_all_requests(server: FaultyServer, vendor: OpenAIStandIn, ledger: PostgresCallLedger) -> None:
    """Where the caller gives one; without, each request has its own, so that a long backfill is no slow call."""

    def slow(received: Received) -> Behaviour:
        time.sleep(0.3)
        return vendor.answer(received)

    server.answer = slow
    one = embedder(server, ledger, litgo_embedding_batch=1, openai_deadline=1.0, openai_timeout=1.0)
    started = time.monotonic()
    with pytest.raises(VendorUnavailable):
        one.embed(["a"] * 10, Deadline.after(0.6))
    assert time.monotonic() - started <= 0.6 + SLACK
    assert one.embed(["a"] * 4).shape == (4, 1536)


def test_without_a_key_there_is_no_model() -> None:
    """The local model embeds alone then."""
    assert OpenAIEmbedder.of(load_settings(), ledger=None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_API_KEY", "chave secreta"),
        ("OPENAI_API_KEY", "ação"),
        ("OPENAI_API_KEY", " "),
        ("OPENAI_BASE_URL", "https://"),
        ("OPENAI_BASE_URL", "http://[::1"),
        ("OPENAI_EMBEDDING_MODEL", "gpt-9"),
    ],
)
def test_settings_that_cannot_work_fail_at_once(variable: str, value: str) -> None:
    """With the variable's name and without the key."""
    settings = load_settings(**({"openai_api_key": KEY} | {variable.lower(): value}))
    with pytest.raises(SettingsError, match=variable) as told:
        OpenAIEmbedder.of(settings, ledger=None)  # type: ignore[arg-type]
    assert KEY not in str(told.value)
    assert "secreta" not in str(told.value)


def test_the_key_is_not_shown(server: FaultyServer) -> None:
    """Where the embedder is printed, or a traceback shows it."""
    assert KEY not in repr(embedder(server, ledger=None))


def test_the_space_is_named_by_the_model(server: FaultyServer) -> None:
    """The same in every process and for every address."""
    assert embedder(server, ledger=None).space.name == "text-embedding-3-small@1:1536"
    assert embedder(server, None, openai_embedding_model="text-embedding-3-large").space.name == "text-embedding-3-large@1:3072"


def post(vendor: OpenAIStandIn, body: object, key: str = KEY, path: str = "/v1/embeddings") -> tuple[int, Any]:
    reply = vendor.answer(Received("POST", path, {"Authorization": f"Bearer {key}"}, json.dumps(body).encode()))
    assert isinstance(reply, Reply)
    return reply.status, json.loads(reply.body)


def test_the_stand_in_answers_as_documented(vendor: OpenAIStandIn) -> None:
    """With numbers as with base64, which are the same."""
    from jsonschema import Draft202012Validator

    schemas = json.loads(document("openai").read_text(encoding="utf-8"))
    as_numbers, as_base64 = (post(vendor, {"model": MODEL, "input": "um caso", "encoding_format": form})[1] for form in ("float", "base64"))
    Draft202012Validator({"$ref": "#/components/schemas/CreateEmbeddingResponse", "components": schemas["components"]}).validate(as_numbers)
    unpacked = np.frombuffer(base64.b64decode(as_base64["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_array_equal(unpacked, np.asarray(as_numbers["data"][0]["embedding"], dtype=np.float32))
    refused = post(vendor, {"model": MODEL, "input": ""})[1]
    Draft202012Validator({"$ref": "#/components/schemas/ErrorResponse", "components": schemas["components"]}).validate(refused)


@pytest.mark.parametrize(
    ("ask", "status", "code"),
    [
        (lambda one: post(one, {"model": MODEL, "input": "a"}, key="sk-other"), 401, "invalid_api_key"),
        (lambda one: post(one, {"model": "gpt-9", "input": "a"}), 404, "model_not_found"),
        (lambda one: post(one, {"model": MODEL, "input": "a"}, path="/v1/embedding"), 404, None),
        (lambda one: post(one, {"model": MODEL}), 400, None),
        (lambda one: post(one, [1]), 400, None),
        (lambda one: post(one, {"model": MODEL, "input": ["a", ""]}), 400, None),
        (lambda one: post(one, {"model": MODEL, "input": []}), 400, None),
        (lambda one: post(one, {"model": MODEL, "input": ["a"] * 2049}), 400, None),
        (lambda one: post(one, {"model": MODEL, "input": ["a" * 8193]}), 400, None),
        (lambda one: post(one, {"model": MODEL, "input": ["a" * 8000] * 40}), 400, None),
    ],
)
def test_the_stand_in_refuses_what_openai_does(
    ask: Callable[[OpenAIStandIn], tuple[int, Any]], status: int, code: str | None, vendor: OpenAIStandIn
) -> None:
    """In the shape of its errors."""
    got, body = ask(vendor)
    assert (got, body["error"]["code"]) == (status, code)


def test_the_stand_in_finds_similar_texts_similar() -> None:
    """By their words."""
    one, like, unlike = (vector(each, 1536) for each in ("fui demitido sem justa causa", "demitido sem causa", "o voo foi cancelado"))
    assert one @ like > 0.5 > 0.2 > one @ unlike
