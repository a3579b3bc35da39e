"""Triaged cases as they are stored, the examples' vectors, and what a person decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from litgo_pipelines.casework.embedding import Embedding
from litgo_pipelines.casework.embedding_quality import labelled_examples, measure, with_kept_examples
from litgo_pipelines.casework.recording import RequestGivenUp, fail_request
from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines.casework.triage import Judged, Near
from litgo_pipelines.casework.triage_examples import keep_examples, read_examples
from litgo_pipelines.casework.triage_recording import (
    CaseStored,
    Telling,
    Waiting,
    decide,
    latest,
    open_triage,
    record,
    undecided,
    waiting,
)
from litgo_pipelines.integrations.calls import VendorUnavailable
from litgo_pipelines.settings import LitgoError
from litgo_pipelines_tests.casework.embedders import WordModel

if TYPE_CHECKING:
    from sqlalchemy import Engine

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SURE = Judged("civil", "cobrança", 720, "LOW", 0.9, "bm25", ("civil", "penal"), (Near("civ-01", "civil", "cobrança", 4.2),))
UNSURE = Judged(None, None, 48, "HIGH", 0.3, "bm25", ("família", "civil"), ())


def triaged(engine: Engine, judged: Judged, case_id: UUID | None = None, at: datetime = NOW) -> UUID:
    """A stored triage of a new client."""
    telling = Telling(case_id or uuid4(), uuid4(), "ele me deve", None, None, 50)
    request_id = uuid4()
    with engine.begin() as connection:
        open_triage(connection, request_id, at, None, None)
        record(connection, request_id, telling, judged, [], {"told": "this"}, at, 12.0)
    return telling.case_id


def one(engine: Engine, statement: str, **given: Any) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(statement), given).one()


def settle(engine: Engine, case_id: UUID, **changed: Any) -> None:
    given: dict[str, Any] = {"area": "família", "subarea": None, "by": "Rita", "reason": "read it", "at": NOW, "known": ["família"]}
    with engine.begin() as connection:
        decide(connection, case_id, **(given | changed))


def test_a_sure_triage_makes_an_open_case(engine: Engine) -> None:
    """Case, triage and request agree; the request is done and knows its case."""
    case_id = triaged(engine, SURE)
    found = one(
        engine,
        "SELECT k.area, k.subarea, k.status, t.area AS told, t.nearest, r.status AS request, r.kind, r.duration_ms, r.answer "
        "FROM litgo.cases k JOIN litgo.triages t ON t.case_id = k.id JOIN litgo.match_requests r ON r.case_id = k.id WHERE k.id = :id",
        id=case_id,
    )
    assert (found.area, found.subarea, found.status, found.told) == ("civil", "cobrança", "open", "civil")
    assert (found.request, found.kind, found.duration_ms, found.answer) == ("ok", "triage", 12.0, {"told": "this"})
    assert found.nearest[0]["example"] == "civ-01"


def test_an_unsure_triage_waits_under_the_likeliest_area(engine: Engine) -> None:
    """The case is not open, so that nobody is offered it, and it is on the list."""
    case_id = triaged(engine, UNSURE)
    assert tuple(one(engine, "SELECT area, subarea, status FROM litgo.cases WHERE id = :id", id=case_id)) == ("família", None, "triage")
    triaged(engine, SURE)
    with engine.connect() as connection:
        assert [found.case_id for found in undecided(connection, 10)] == [case_id]
        assert len(latest(connection, 10)) == 2


def test_the_operators_are_told_of_what_waits_for_them(engine: Engine) -> None:
    """Once, of the case, its likeliest area and its time, and nothing that the client said; of a case that is sure nothing is told."""
    case_id = triaged(engine, UNSURE)
    triaged(engine, SURE)
    told = one(engine, "SELECT * FROM litgo.notifications")
    assert (told.key, told.audience, told.created_at) == (f"undecided:{case_id}", "ops", NOW)
    assert told.details == {"case_id": str(case_id), "likeliest": "família", "urgency_h": 48}
    assert all(word in told.body for word in (str(case_id), "família", "2026-03-12 12:00 UTC", "litgo triage decide"))
    assert "ele me deve" not in f"{told.subject}{told.body}{told.details}"


def test_nobody_is_told_of_a_case_that_was_not_stored(engine: Engine) -> None:
    """The message is part of the case's transaction."""
    request_id = uuid4()
    with engine.begin() as connection:
        open_triage(connection, request_id, NOW, None, None)
        fail_request(connection, request_id, TimeoutError(), timedelta(seconds=1))
    with pytest.raises(RequestGivenUp), engine.begin() as connection:
        record(connection, request_id, Telling(uuid4(), uuid4(), "x", None, None, 50), UNSURE, [], {}, NOW, 1.0)
    assert one(engine, "SELECT count(*) FROM litgo.notifications")[0] == 0


def test_what_waits_is_counted_until_it_is_decided_or_withdrawn(engine: Engine) -> None:
    """A case is late once its own hours are over."""
    first, second, third = (triaged(engine, UNSURE) for _ in range(3))
    due = NOW + timedelta(hours=48)
    with engine.connect() as connection:
        assert waiting(connection, due) == Waiting(3, 0, due)
        assert waiting(connection, due + timedelta(seconds=1)) == Waiting(3, 3, due)
    settle(engine, first)
    with engine.begin() as connection:
        connection.execute(text("UPDATE litgo.cases SET status = 'canceled' WHERE id = :id"), {"id": second})
    with engine.connect() as connection:
        assert waiting(connection, NOW) == Waiting(1, 0, due)
    settle(engine, third)
    with engine.connect() as connection:
        assert waiting(connection, due) == Waiting(0, 0, None)


def test_a_case_is_stored_once(engine: Engine) -> None:
    """A second triage of the same case writes nothing, not even a client."""
    case_id = triaged(engine, SURE)
    with pytest.raises(CaseStored):
        triaged(engine, UNSURE, case_id)
    assert one(engine, "SELECT count(*) FROM litgo.clients")[0] == 1
    assert one(engine, "SELECT area FROM litgo.cases WHERE id = :id", id=case_id)[0] == "civil"


def test_a_request_that_was_given_up_is_not_completed(engine: Engine) -> None:
    """What is found after the request was marked as failed is not stored."""
    request_id = uuid4()
    with engine.begin() as connection:
        open_triage(connection, request_id, NOW, None, None)
        fail_request(connection, request_id, TimeoutError(), timedelta(seconds=1))
    with pytest.raises(RequestGivenUp), engine.begin() as connection:
        record(connection, request_id, Telling(uuid4(), uuid4(), "x", None, None, 50), SURE, [], {}, NOW, 1.0)
    assert one(engine, "SELECT count(*) FROM litgo.cases")[0] == 0


def test_a_person_decides_once(engine: Engine) -> None:
    """The case becomes open in the area named; who, when and why are kept; a second decision is refused and says by whom the first was."""
    case_id = triaged(engine, UNSURE)
    settle(engine, case_id, area="família", subarea="divórcio")
    assert tuple(one(engine, "SELECT area, subarea, status FROM litgo.cases WHERE id = :id", id=case_id)) == ("família", "divórcio", "open")
    assert tuple(one(engine, "SELECT area, decided_by, decided_at, decided_because FROM litgo.triages")) == (None, "Rita", NOW, "read it")
    with pytest.raises(NotAllowed, match="is open, as Rita decided"):
        settle(engine, case_id)
    with engine.connect() as connection:
        assert undecided(connection, 10) == []


def test_only_a_case_that_waits_is_decided(engine: Engine) -> None:
    """A sure one, an unknown one, an unknown area and a decision without a name are refused; nothing changes."""
    with pytest.raises(NotAllowed, match=r"is open, as the triage found \(civil\)"):
        settle(engine, triaged(engine, SURE))
    with pytest.raises(Unknown):
        settle(engine, uuid4())
    waiting = triaged(engine, UNSURE)
    with pytest.raises(LitgoError, match="there is no area 'familia': choose one of família"):
        settle(engine, waiting, area="familia")
    with pytest.raises(LitgoError, match="--by"):
        settle(engine, waiting, by=" ")
    assert one(engine, "SELECT status FROM litgo.cases WHERE id = :id", id=waiting)[0] == "triage"


def test_an_area_that_some_lawyer_practises_can_be_decided(engine: Engine) -> None:
    """Areas are those of the examples and those of the lawyers."""
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO litgo.lawyers (id, name, primary_area) VALUES (:id, 'Ana', 'administrativo')"),
            {"id": uuid4()},
        )
    waiting = triaged(engine, UNSURE)
    settle(engine, waiting, area="administrativo")
    assert one(engine, "SELECT area FROM litgo.cases WHERE id = :id", id=waiting)[0] == "administrativo"


def test_a_model_is_asked_for_each_example_once(engine: Engine) -> None:
    """What a failure interrupted goes on where it was; what is stored is read back in the order of the examples."""
    examples = read_examples()[:30]
    model = WordModel(answers=2)
    with pytest.raises(VendorUnavailable):
        keep_examples(engine, model, examples, 10, NOW)
    model.answers = None
    found = keep_examples(engine, model, examples, 10, NOW)
    again = keep_examples(engine, model, examples, 10, NOW)
    assert model.asked == [one.text for one in examples]
    assert (found.rows == again.rows).all()
    assert found.space == model.space.name
    assert abs(found.rows - model.embed([one.text for one in examples])).max() < 1e-3


def test_measuring_the_models_asks_each_for_an_example_once(engine: Engine) -> None:
    """What a second measurement needs is stored; the figures are those of the models themselves."""
    vendor, local = WordModel("vendor"), WordModel()
    embedding = with_kept_examples(Embedding(local, vendor), engine, NOW)
    first = measure(embedding, labelled_examples()[:1])
    assert len(vendor.asked) == len(set(vendor.asked)) == len(local.asked) >= 100
    asked = [*vendor.asked], [*local.asked]
    again = measure(embedding, labelled_examples()[:1])
    assert (vendor.asked, local.asked) == asked
    assert again == first
    plain = measure(Embedding(WordModel(), WordModel("vendor")), labelled_examples()[:1])
    assert [one.scorer for one in first.scored] == [one.scorer for one in plain.scored]
    assert first.of("hybrid") == pytest.approx(plain.of("hybrid"), abs=0.005)
