"""What the lines of a served request say: its ids, and nothing of what the client wrote, however it ends."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from litgo_pipelines.observability.logs import configure_logging
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.serving.conftest import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litgo_pipelines.settings import Settings
    from litgo_pipelines_tests.serving.conftest import Marketplace, Served

TELLING = (
    "Sou Maria Aparecida da Silva, CPF 529.982.247-25, moro na Rua das Acácias. Fui demitida sem justa causa da Padaria Estrela, "
    "CNPJ 11.222.333/0001-81, e não recebi o FGTS. Processo 0001234-56.2024.8.26.0100, telefone (11) 98765-4321, maria@example.com."
)
PERSONAL = ("Maria", "529.982", "Acácias", "Padaria", "11.222", "0001234-56", "98765", "example.com", "demitida", "Silva")
CASE = {"area": "Trabalhista", "urgency_h": 48, "summary": TELLING, "lat": -23.5432, "lng": -46.6321}


class Lines:
    """What is logged while a test runs."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        configure_logging(load_settings(litgo_log_format="json", litgo_log_level="debug"), self.stream)

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.stream.getvalue().splitlines()) if line["event"] == event]

    def require_nothing_personal(self, *more: str) -> None:
        written = self.stream.getvalue()
        assert [one for one in (*PERSONAL, "-23.54", *more) if one in written] == []


@pytest.fixture
def lines() -> Lines:
    """To be asked for before anything is served."""
    return Lines()


@pytest.fixture
def service(lines: Lines, database_url: str, marketplace: Marketplace, serving_settings: Settings) -> Iterator[Served]:
    """A service that is logged, with one lawyer."""
    marketplace.lawyers(1)
    with serving(database_url, serving_settings) as found:
        yield found


def ask(service: Served, **changes: Any) -> Any:
    return service.ask({"case": CASE, "client_id": str(uuid4()), "create_offers": True} | changes)


def tell(service: Served, **changes: Any) -> Any:
    with service.client() as client:
        return client.post("/v1/triage", json={"text": TELLING, "client_id": str(uuid4()), "lat": -23.5432, "lng": -46.6321} | changes)


def test_a_match_is_told_with_its_ids(lines: Lines, service: Served) -> None:
    """Request, case and model version, once it is answered; a repeated answer has them as well."""
    answer = ask(service).raise_for_status().json()
    (line,) = lines.of("request")
    expected = {name: answer[name] for name in ("request_id", "case_id", "model_version")}
    assert {name: line[name] for name in expected} == expected
    assert (line["route"], line["status"], line["offers"]) == ("/v1/matches", 200, 1)
    lines.require_nothing_personal(str(answer["matches"]))


def test_a_triage_is_told_with_its_ids(lines: Lines, service: Served) -> None:
    """Request and case."""
    answer = tell(service).raise_for_status().json()
    (line,) = lines.of("request")
    assert (line["request_id"], line["case_id"]) == (answer["request_id"], answer["case_id"])
    lines.require_nothing_personal()


def test_a_defect_is_told_with_its_ids_and_its_place(lines: Lines, service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer's header leads to the line, which shows the way and not the message, for that may quote anything."""
    from litgo_pipelines.serving import matches, triage

    def broken(*given: Any, **named: Any) -> Any:
        raise ValueError(f"cannot judge {given} {named} {TELLING}")

    monkeypatch.setattr(matches, "decide", broken)
    monkeypatch.setattr(triage, "record", broken)
    for number, (response, version) in enumerate(((ask(service), "hand-weights"), (tell(service), None))):
        assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
        failed, ended = lines.of("a request failed unexpectedly")[number], lines.of("request")[number]
        for line in (failed, ended):
            assert line["request_id"] == response.headers["X-Request-Id"]
            assert line.get("model_version") == version
            assert line["case_id"] == failed["case_id"]
        assert "broken" in failed["exception"]
        assert failed["exception"].endswith("ValueError")
    lines.require_nothing_personal()


def test_what_the_database_quotes_is_not_repeated(lines: Lines, service: Served, marketplace: Marketplace) -> None:
    """PostgreSQL shows the failing row in its message, the telling included."""
    with marketplace.engine.begin() as connection:
        connection.execute(text("RESET ROLE"))
        connection.execute(text("ALTER TABLE litgo.cases ADD CONSTRAINT quiet CHECK (summary NOT LIKE '%CPF%')"))
    assert ask(service).status_code == 500
    assert tell(service).status_code == 500
    for line in lines.of("the database refused a request"):
        assert (line["sqlstate"], line["constraint"]) == ("23514", "quiet")
    assert len(lines.of("the database refused a request")) == 2
    lines.require_nothing_personal()


def test_what_is_refused_is_not_repeated(lines: Lines, service: Served) -> None:
    """Wrong fields, an unknown case, and a case that was stored with another text."""
    case_id = str(uuid4())
    assert ask(service, case=CASE | {"urgency_h": TELLING}).status_code == 422
    assert ask(service, case=CASE | {TELLING: 1}).status_code == 422
    assert tell(service, text=[TELLING]).status_code == 422
    assert service.ask({"case_id": case_id}).status_code == 404
    assert lines.of("request")[-1]["case_id"] == case_id
    client_id = str(uuid4())
    assert tell(service, case_id=case_id, client_id=client_id).status_code == 200
    assert tell(service, case_id=case_id, client_id=client_id, text=TELLING + " Obrigada").status_code == 409
    assert lines.of("request")[-1]["case_id"] == case_id
    lines.require_nothing_personal(client_id)


def test_a_product_change_is_told_with_its_ids(lines: Lines, service: Served) -> None:
    """Offer and case; one that is refused with the offer that was asked for."""
    offer_id = ask(service).json()["matches"][0]["offer_id"]
    with service.client() as client:
        good = client.post(f"/v1/offers/{offer_id}/response", json={"answer": "interested"})
        unknown = str(uuid4())
        bad = client.post(f"/v1/offers/{unknown}/response", json={"answer": "interested"})
    assert (good.status_code, bad.status_code) == (200, 404)
    _, answered, refused = lines.of("request")
    assert (answered["offer_id"], answered["case_id"]) == (offer_id, good.json()["case_id"])
    assert refused["offer_id"] == unknown
