"""What cases are compared by while models of embeddings come, go and fall silent, asked over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import text

from litgo_pipelines.casework.embedding import Embedding, refresh_cases, refresh_lawyers
from litgo_pipelines.casework.market import read_market
from litgo_pipelines.casework.matching import Case, score_candidates
from litgo_pipelines.integrations.calls import VendorUnavailable
from litgo_pipelines.integrations.embedders import Space
from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.vectors import SpacesDiffer, Vectors
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines.ranking.text import SPACE, hybrid_space
from litgo_pipelines_tests.serving.conftest import AREA, Marketplace, Served, serving

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from litgo_pipelines.integrations.policies import Deadline
    from litgo_pipelines.settings import Settings

# None of the words of one is in another.
DISMISSED, OVERTIME, NOISE = "fui despedido ontem", "jornada longa demais", "vizinho barulhento"
DIRECTIONS = {"despedido": 0, "jornada": 1, "barulhento": 2, "demissão": 0}


@dataclass
class Speller:
    """A model that knows a few words and can be away.

    Attributes:
        tilt: added to every component, so that two models differ.
        asked: texts that it was asked for.
    """

    space: Space
    tilt: float = 0.0
    away: bool = False
    asked: list[str] = field(default_factory=list)

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> NDArray[np.float32]:  # noqa: ARG002  # as every model's
        if self.away:
            raise VendorUnavailable("vendor gave no usable answer", "timeout", 3, maybe_taken=True)
        self.asked += texts
        rows = np.full((len(texts), 3), self.tilt, dtype=np.float32)
        for row, one in zip(rows, texts, strict=True):
            row[[axis for word, axis in DIRECTIONS.items() if word in one]] += 1.0
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


@pytest.fixture
def local() -> Speller:
    return Speller(Space("local", "1", 3))


@pytest.fixture
def vendor() -> Speller:
    return Speller(Space("vendor", "1", 3), tilt=0.5)


@dataclass
class House:
    """Three lawyers who each handled one case, of different things, and the models that know of it."""

    marketplace: Marketplace
    lawyers: list[UUID]
    url: str
    settings: Settings
    local: Speller
    vendor: Speller

    def embedding(self, **changes: Any) -> Embedding:
        return Embedding(**({"local": self.local, "vendor": self.vendor} | changes))

    def served(self, **changes: Any) -> AbstractContextManager[Served]:
        return serving(self.url, self.settings, embedding=self.embedding(**changes))

    def similarities(self, answer: dict[str, Any]) -> list[float]:
        """Feature S as it was recorded, in the order of `lawyers`."""
        rows = self.marketplace.rows("SELECT lawyer_id, feature_s FROM litgo.case_matches WHERE request_id = :id", id=answer["request_id"])
        found = {row.lawyer_id: row.feature_s for row in rows}
        return [found[one] for one in self.lawyers]


@pytest.fixture
def house(marketplace: Marketplace, database_url: str, serving_settings: Settings, local: Speller, vendor: Speller) -> House:
    lawyers = marketplace.lawyers(3)
    with marketplace.engine.begin() as connection:
        for lawyer, summary in zip(lawyers, (DISMISSED, OVERTIME, NOISE), strict=True):
            _handled(connection, marketplace.client_id, lawyer, summary)
    found = House(marketplace, lawyers, database_url, serving_settings, local, vendor)
    _refresh(marketplace, found.embedding())
    return found


def _handled(connection: Any, client: UUID, lawyer: UUID, summary: str) -> None:
    case_id, at = uuid4(), datetime.now(UTC) - timedelta(days=3)
    case = {"id": case_id, "client_id": client, "area": AREA, "urgency_h": 48, "summary": summary, "status": "closed", "created_at": at}
    connection.execute(tables.cases.insert(), case)
    contract = {"id": uuid4(), "case_id": case_id, "lawyer_id": lawyer, "client_id": client, "status": "closed", "created_at": at}
    connection.execute(tables.contracts.insert(), contract)


def _refresh(marketplace: Marketplace, embedding: Embedding) -> None:
    refresh_cases(marketplace.engine, embedding, datetime.now(UTC))
    refresh_lawyers(marketplace.engine, embedding, datetime.now(UTC))


def ask(served: Served, summary: str = "minha demissão") -> dict[str, Any]:
    case = {"area": AREA, "urgency_h": 48, "summary": summary}
    answer: dict[str, Any] = served.ask({"client_id": str(uuid4()), "case": case, "top_n": 3}).raise_for_status().json()
    return answer


def measured(served: Served, metric: str) -> float:
    with served.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{metric} "))


def fallbacks(served: Served) -> float:
    return measured(served, "serving_embedding_fallbacks_total")


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def test_a_model_finds_what_words_alone_do_not(house: House) -> None:
    """Other words for the same thing: half of the similarity is the preferred model's, and the answer and the record name both."""
    with house.served() as served:
        answer = ask(served)
        assert fallbacks(served) == 0
    assert answer["embedding_space"] == hybrid_space("vendor@1:3")
    (row,) = house.marketplace.rows("SELECT embedding_space FROM litgo.match_requests")
    assert row.embedding_space == answer["embedding_space"]
    same, other = 1 / 2, cosine((1.5, 0.5, 0.5), (0.5, 1.5, 0.5)) / 2
    assert house.similarities(answer) == pytest.approx([same, other, other], abs=2e-3)


def test_while_the_vendor_is_away_the_local_model_compares_both_sides(house: House) -> None:
    """Never one side in the one space and the other in the other: the answer is that of the local model, and it is counted."""
    house.vendor.away = True
    with house.served() as served:
        answer = ask(served)
        assert (fallbacks(served), measured(served, "serving_embedding_fallback")) == (1, 1)
        house.vendor.away = False
        ask(served, "outra demissão")
        assert (fallbacks(served), measured(served, "serving_embedding_fallback")) == (1, 0)
    assert answer["embedding_space"] == hybrid_space("local@1:3")
    assert house.similarities(answer) == pytest.approx([0.5, 0.0, 0.0], abs=2e-3)


def test_without_fallback_the_caller_is_told_who_is_away(house: House) -> None:
    """503, and the request counts as failed; nothing of an answer is recorded."""
    house.vendor.away = True
    with house.served(fallback_enabled=False) as served:
        case = {"area": AREA, "urgency_h": 48, "summary": "minha demissão"}
        response = served.ask({"client_id": str(uuid4()), "case": case})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "vendor_away")
    assert "FALLBACK_ENABLED" in response.json()["error"]["message"]
    assert [row.status for row in house.marketplace.rows("SELECT status FROM litgo.match_requests")] == ["error"]
    assert house.marketplace.count("case_matches") == 0


def test_a_stored_vector_is_not_asked_for_again(house: House) -> None:
    """A case that was embedded costs no request to a vendor, and is compared in the preferred space while the vendor is away."""
    case_id = house.marketplace.case(summary="minha demissão")
    _refresh(house.marketplace, house.embedding())
    house.vendor.away = True
    with house.served() as served:
        answer = served.ask({"case_id": str(case_id), "top_n": 3}).raise_for_status().json()
        assert fallbacks(served) == 0
    assert answer["embedding_space"] == hybrid_space("vendor@1:3")
    assert house.similarities(answer)[0] == pytest.approx(0.5, abs=2e-3)


def test_what_a_request_had_to_embed_is_kept(house: House) -> None:
    """In each space of the lawyers: the same case again, and the backfill, find what they would have asked the models for."""
    with house.served() as served:
        answer = ask(served)
        _refresh(house.marketplace, house.embedding())
        served.ask({"case_id": answer["case_id"]}).raise_for_status()
    assert [one.asked.count("minha demissão") for one in (house.vendor, house.local)] == [1, 1]
    kept = house.marketplace.rows("SELECT space FROM litgo.embeddings WHERE entity_id = :id ORDER BY space", id=answer["case_id"])
    assert [row.space for row in kept] == ["local@1:3", "vendor@1:3"]


def test_what_cannot_be_kept_is_answered_all_the_same(house: House, as_owner: Callable[[str], None]) -> None:
    """Vectors that the database refuses cost no answer."""
    as_owner("REVOKE INSERT ON litgo.embeddings FROM litgo_app")
    with house.served() as served:
        answer = ask(served)
    assert answer["embedding_space"] == hybrid_space("vendor@1:3")
    assert house.marketplace.rows("SELECT FROM litgo.embeddings WHERE entity_id = :id", id=answer["case_id"]) == []


def test_a_space_that_knows_few_of_the_lawyers_is_not_used(house: House) -> None:
    """Before the backfill of a vendor is there, everybody is compared in the space that has everybody; the vendor is not even asked."""
    with house.marketplace.engine.begin() as connection:
        connection.execute(
            text("DELETE FROM litgo.embeddings WHERE space = :space AND entity_type = 'lawyer' AND entity_id = :id"),
            {"space": "vendor@1:3", "id": house.lawyers[0]},
        )
    house.vendor.asked.clear()
    with house.served() as served:
        assert ask(served)["embedding_space"] == hybrid_space("local@1:3")
    assert "minha demissão" not in house.vendor.asked


def test_without_any_vectors_of_lawyers_words_alone_are_compared(house: House) -> None:
    """No model is asked for what could not be compared with anything."""
    with house.marketplace.engine.begin() as connection:
        connection.execute(text("DELETE FROM litgo.embeddings WHERE entity_type = 'lawyer'"))
    house.vendor.asked.clear()
    house.local.asked.clear()
    with house.served() as served:
        answer = ask(served, DISMISSED)
    assert answer["embedding_space"] == SPACE
    assert house.similarities(answer) == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    # The labelled examples of triage are embedded meanwhile.
    assert DISMISSED not in house.vendor.asked + house.local.asked


def test_a_vector_of_another_space_is_refused(house: House) -> None:
    """Whatever its length, it is never compared with vectors of another model."""
    with house.marketplace.engine.connect() as connection:
        market = read_market(connection, datetime.now(UTC), with_meanings=True)
    case = Case(uuid4(), uuid4(), AREA, None, 48, 50, "minha demissão")
    foreign = Vectors("another@1:3", np.array([[1.0, 0.0, 0.0]], dtype=np.float32))
    with pytest.raises(SpacesDiffer, match="another@1:3"):
        score_candidates(market, case, HandWeights(), datetime.now(UTC), meaning=foreign)
