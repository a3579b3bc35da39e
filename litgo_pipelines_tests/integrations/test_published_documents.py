"""The checks of requests against published documents find what they should; which requests are checked is in each vendor's own tests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from litgo_pipelines.simulation.vendors.server import Received
from litgo_pipelines_tests.integrations.published import Vendor, prism_is_here, published

MAIL: dict[str, Any] = {
    "personalizations": [{"to": [{"email": "ana@example.com"}]}],
    "from": {"email": "litgo@example.com"},
    "subject": "Olá",
    "content": [{"type": "text/plain", "value": "Olá"}],
}
EMBED: dict[str, Any] = {"model": "text-embedding-3-small", "input": ["a"]}
# Prism looks for the kind of key that each document asks for.
KEYS = {"Authorization": "Bearer key", "Content-Type": "application/json"}


def sent(path: str, body: dict[str, Any], method: str = "POST") -> Received:
    return Received(method, path, KEYS, json.dumps(body).encode())


RIGHT: list[tuple[Vendor, Received]] = [("sendgrid", sent("/v3/mail/send", MAIL)), ("openai", sent("/v1/embeddings", EMBED))]
WRONG: dict[str, tuple[Vendor, Received]] = {
    "misspelt": ("openai", sent("/v1/embeddings", EMBED | {"modell": "x"})),
    "misspelt below": ("docusign", sent("/restapi/v2.1/accounts/a/envelopes", {"recipients": {"signers": [{"emaill": "x"}]}})),
    "misspelt in a composed schema": ("onesignal", sent("/notifications", {"app_id": "a", "target_channell": "push"})),
    "missing": ("openai", sent("/v1/embeddings", {"input": ["a"]})),
    "of another kind": ("sendgrid", sent("/v3/mail/send", MAIL | {"personalizations": "ana@example.com"})),
    "another path": ("sendgrid", sent("/v3/mail/sent", MAIL)),
    "another method": ("openai", sent("/v1/embeddings", EMBED, "PUT")),
    "no such parameter": ("docusign", Received("GET", "/restapi/v2.1/accounts/a/envelopes?transaction_idss=1", KEYS, b"")),
    "no JSON": ("openai", Received("POST", "/v1/embeddings", KEYS, b"{")),
}


@pytest.mark.parametrize(("vendor", "received"), RIGHT)
def test_what_the_document_allows_passes(vendor: Vendor, received: Received) -> None:
    """Nothing is found where nothing is wrong."""
    assert published(vendor).faults(received) == []


@pytest.mark.parametrize("what", WRONG)
def test_what_the_document_does_not_allow_is_found(what: str) -> None:
    """However deep it lies."""
    vendor, received = WRONG[what]
    assert published(vendor).faults(received) != []


@pytest.mark.skipif(not prism_is_here(), reason="Prism is not installed: npm install -g @stoplight/prism-cli")
def test_prism_finds_it_too() -> None:
    """It takes what the document allows and refuses what lacks a field."""
    for vendor, received in RIGHT:
        assert published(vendor).faults_by_prism(received) == []
    vendor, received = WRONG["missing"]
    assert published(vendor).faults_by_prism(received) != []
