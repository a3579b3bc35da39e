"""POST /v1/matches: what is answered, what is recorded of it, and what is refused."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litgo_pipelines_tests.serving.conftest import serving

if TYPE_CHECKING:
    import httpx

    from litgo_pipelines.settings import Settings
    from litgo_pipelines_tests.serving.conftest import Marketplace, Served

TABLES = ("clients", "cases", "match_requests", "match_candidates", "case_matches", "offers")


def inline(**changes: Any) -> dict[str, Any]:
    return {"area": "Trabalhista", "urgency_h": 48, "summary": "rescisão sem justa causa"} | changes


def error(response: httpx.Response) -> tuple[int, str, str | None]:
    found = response.json()["error"]
    assert found["message"]
    return response.status_code, found["code"], found.get("field")


def assert_recorded(marketplace: Marketplace, answer: dict[str, Any]) -> None:
    """Compare an answer with every row that should tell of it."""
    (request,) = marketplace.rows("SELECT * FROM litgo.match_requests WHERE id = :id", id=answer["request_id"])
    assert (request.status, request.kind, str(request.case_id)) == ("ok", "matching", answer["case_id"])
    assert (request.model_version, request.embedding_space) == (answer["model_version"], answer["embedding_space"])
    assert request.eligible == answer["eligible"]
    assert request.duration_ms > 0
    shown = marketplace.rows("SELECT * FROM litgo.case_matches WHERE request_id = :id ORDER BY position", id=answer["request_id"])
    assert [(str(row.id), str(row.lawyer_id), row.position) for row in shown] == [
        (match["match_id"], match["lawyer_id"], match["position"]) for match in answer["matches"]
    ]
    for row, match in zip(shown, answer["matches"], strict=True):
        told = (match["raw_score"], match["acceptance"], match["equity_price"], match["fair_score"])
        assert (row.raw_score, row.score, row.equity_price, row.fair_score) == pytest.approx(told, rel=1e-5, abs=1e-6)
    logged = marketplace.rows(
        "SELECT lawyer_id FROM litgo.match_candidates WHERE request_id = :id AND outcome = 'shown'", id=answer["request_id"]
    )
    assert {str(row.lawyer_id) for row in logged} == {match["lawyer_id"] for match in answer["matches"]}
    offered = marketplace.rows(
        "SELECT o.* FROM litgo.offers o JOIN litgo.case_matches m ON m.id = o.match_id WHERE m.request_id = :id ORDER BY m.position",
        id=answer["request_id"],
    )
    assert [str(row.id) for row in offered] == [match["offer_id"] for match in answer["matches"] if match["offer_id"]]
    assert answer["offers_created"] == len(offered)


def test_an_answer_for_a_stored_case_is_recorded_as_it_was_given(served: Served, marketplace: Marketplace) -> None:
    """Request, shown matches and candidates hold the numbers of the answer; no offer is made unasked."""
    lawyers = marketplace.lawyers(8)
    case_id = marketplace.case()
    _refreshed(served)
    response = served.ask({"case_id": str(case_id), "top_n": 3})
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["X-Request-Id"] == answer["request_id"]
    assert [match["lawyer_id"] for match in answer["matches"]] == [str(one) for one in lawyers[:4:-1]]
    assert (answer["eligible"], answer["offers_created"], answer["model_version"]) == (8, 0, "hand-weights")
    assert_recorded(marketplace, answer)
    assert marketplace.count("match_candidates") == 8


def test_asked_for_offers_they_are_sent_to_exactly_those_shown(served: Served, marketplace: Marketplace) -> None:
    """Each match carries its offer, pending for the configured hours, and the lawyers' last offer is moved."""
    marketplace.lawyers(4)
    case_id = marketplace.case()
    _refreshed(served)
    answer = served.ask({"case_id": str(case_id), "top_n": 2, "create_offers": True}).json()
    assert answer["offers_created"] == 2
    assert_recorded(marketplace, answer)
    offers = marketplace.rows("SELECT status, expires_at - sent_at AS lifetime FROM litgo.offers")
    assert [(row.status, row.lifetime) for row in offers] == [("pending", timedelta(hours=24))] * 2
    touched = marketplace.rows("SELECT id FROM litgo.lawyers WHERE last_offered_at IS NOT NULL")
    assert {str(row.id) for row in touched} == {match["lawyer_id"] for match in answer["matches"]}


def test_lawyers_who_have_an_offer_for_the_case_are_not_shown_again(served: Served, marketplace: Marketplace) -> None:
    """A second request for the same case goes to others, until nobody is left."""
    lawyers = marketplace.lawyers(5)
    case_id = marketplace.case()
    _refreshed(served)
    body = {"case_id": str(case_id), "top_n": 3, "create_offers": True}
    answers = [served.ask(body).json() for _ in range(3)]
    assert [len(answer["matches"]) for answer in answers] == [3, 2, 0]
    assert [answer["eligible"] for answer in answers] == [5, 2, 0]
    shown = [match["lawyer_id"] for answer in answers for match in answer["matches"]]
    assert sorted(shown) == sorted(map(str, lawyers))
    for answer in answers:
        assert_recorded(marketplace, answer)


def test_an_inline_case_is_stored_with_its_client(served: Served, marketplace: Marketplace) -> None:
    """A client and a case that nobody knew exist afterwards, the case open and as it was sent."""
    marketplace.lawyers(2)
    _refreshed(served)
    client = str(uuid4())
    case = inline(id=str(uuid4()), subarea="Rescisão", lat=-23.5, lng=-46.6, radius_km=30, complexity="HIGH")
    answer = served.ask({"case": case, "client_id": client}).json()
    assert answer["case_id"] == case["id"]
    assert_recorded(marketplace, answer)
    (row,) = marketplace.rows("SELECT * FROM litgo.cases WHERE id = :id", id=case["id"])
    stored = {name: getattr(row, name) for name in case} | {"id": str(row.id)}
    assert stored == case
    assert (str(row.client_id), row.status) == (client, "open")


def test_the_same_inline_case_again_is_the_same_case(served: Served, marketplace: Marketplace) -> None:
    """Equal content is taken as the stored case; other content under the id is refused and writes nothing."""
    marketplace.lawyers(2)
    _refreshed(served)
    body = {"case": inline(id=str(uuid4())), "client_id": str(marketplace.client_id)}
    assert [served.ask(body).status_code for _ in range(2)] == [200, 200]
    assert (marketplace.count("cases"), marketplace.count("match_requests")) == (1, 2)
    other = body | {"case": body["case"] | {"urgency_h": 49}}  # type: ignore[operator]
    assert error(served.ask(other)) == (409, "case_differs", "case.id")
    stranger = body | {"client_id": str(uuid4())}
    assert error(served.ask(stranger)) == (409, "case_differs", "client_id")
    assert (marketplace.count("clients"), marketplace.count("cases"), marketplace.count("match_requests")) == (1, 1, 2)


def test_an_area_nobody_practises_is_answered_with_nobody(served: Served, marketplace: Marketplace) -> None:
    """No lawyer is no error: the request is recorded with nobody eligible."""
    marketplace.lawyers(2)
    _refreshed(served)
    answer = served.ask({"case": inline(area="Marítimo"), "client_id": str(marketplace.client_id), "create_offers": True}).json()
    assert (answer["matches"], answer["eligible"], answer["offers_created"]) == ([], 0, 0)
    assert_recorded(marketplace, answer)


def test_inactive_and_absent_lawyers_are_not_shown(served: Served, marketplace: Marketplace) -> None:
    """Only who is active and present is eligible."""
    now = datetime.now(UTC)
    (there,) = marketplace.lawyers(1)
    marketplace.lawyers(1, status="suspended")
    marketplace.lawyers(1, available_until=now - timedelta(days=1))
    _refreshed(served)
    answer = served.ask({"case_id": str(marketplace.case())}).json()
    assert [match["lawyer_id"] for match in answer["matches"]] == [str(there)]


_CASES: list[tuple[str, dict[str, Any], int, str]] = [
    ("nothing", {}, 422, "case_id"),
    ("both", {"case_id": str(uuid4()), "case": inline(), "client_id": str(uuid4())}, 422, "case_id"),
    ("no uuid", {"case_id": "abc"}, 422, "case_id"),
    ("unknown case", {"case_id": str(uuid4())}, 404, "case_id"),
    ("no client", {"case": inline()}, 422, "client_id"),
    ("top_n 0", {"case_id": str(uuid4()), "top_n": 0}, 422, "top_n"),
    ("top_n 51", {"case_id": str(uuid4()), "top_n": 51}, 422, "top_n"),
    ("top_n text", {"case_id": str(uuid4()), "top_n": "5"}, 422, "top_n"),
    ("offers text", {"case_id": str(uuid4()), "create_offers": "yes"}, 422, "create_offers"),
    ("surplus", {"case_id": str(uuid4()), "topn": 5}, 422, "topn"),
]
_INLINE: list[tuple[str, dict[str, Any], str]] = [
    ("surplus", {"colour": "red"}, "case.colour"),
    ("empty area", {"area": " "}, "case.area"),
    ("long area", {"area": "x" * 201}, "case.area"),
    ("NUL in area", {"area": "a\x00"}, "case.area"),
    ("NUL in subarea", {"subarea": "a\x00"}, "case.subarea"),
    ("empty summary", {"summary": "\n"}, "case.summary"),
    ("long summary", {"summary": "x" * 20_001}, "case.summary"),
    ("NUL in summary", {"summary": "a\x00b"}, "case.summary"),
    ("half a character", {"summary": "a\ud800"}, "case.summary"),
    ("no urgency", {"urgency_h": None}, "case.urgency_h"),
    ("urgency 0", {"urgency_h": 0}, "case.urgency_h"),
    ("urgency true", {"urgency_h": True}, "case.urgency_h"),
    ("urgency huge", {"urgency_h": 2**40}, "case.urgency_h"),
    ("radius 0", {"radius_km": 0}, "case.radius_km"),
    ("north of the pole", {"lat": 90.1, "lng": 0}, "case.lat"),
    ("beyond the date line", {"lat": 0, "lng": 180.1}, "case.lng"),
    ("lat alone", {"lat": 1.0}, "case.lng"),
    ("lng alone", {"lng": 1.0}, "case.lat"),
    ("no number", {"lat": float("nan"), "lng": 0}, "case.lat"),
    ("infinite", {"lat": 0, "lng": float("inf")}, "case.lng"),
    ("complexity", {"complexity": "high"}, "case.complexity"),
    ("id", {"id": "7"}, "case.id"),
]


def test_bad_input_is_refused_with_the_field_and_writes_nothing(served: Served, marketplace: Marketplace) -> None:
    """Every fault gets a 4xx that names where it is."""
    import json

    before = [marketplace.count(table) for table in TABLES]
    asked = [(name, body, status, field) for name, body, status, field in _CASES] + [
        (name, {"case": inline(**change), "client_id": str(uuid4())}, 422, field) for name, change, field in _INLINE
    ]
    told = {}
    with served.client() as client:
        for name, body, _, _ in asked:
            # json.dumps writes NaN, Infinity and lone surrogates, which httpx refuses to send itself.
            response = client.post("/v1/matches", content=json.dumps(body), headers={"Content-Type": "application/json"})
            status, _, field = error(response)
            told[name, str(body)] = (status, field)
    assert told == {(name, str(body)): (status, field) for name, body, status, field in asked}
    assert [marketplace.count(table) for table in TABLES] == before


@pytest.mark.parametrize(
    ("content", "field"), [(b"{no", "body"), (b"", "body"), (b"[]", "body"), (b'"x"', "body"), (b"\xff\xfe{}", "body"), (b"null", "body")]
)
def test_a_body_that_is_no_object_is_refused(served: Served, content: bytes, field: str) -> None:
    """What is not JSON, or not an object, names the body."""
    with served.client() as client:
        response = client.post("/v1/matches", content=content, headers={"Content-Type": "application/json"})
    status, _, named = error(response)
    assert (status in (400, 422), named) == (True, field)


def test_a_body_too_large_is_refused(served: Served) -> None:
    """Above half a megabyte the answer is 413, whether the length is announced or not."""
    with served.client() as client:
        announced = client.post("/v1/matches", content=b"x" * 600_000, headers={"Content-Type": "application/json"})
        chunked = client.post("/v1/matches", content=iter([b"x" * 300_000] * 2), headers={"Content-Type": "application/json"})
    assert error(announced) == (413, "too_large", "body")
    assert error(chunked) == (413, "too_large", "body")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.uuids().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["area", "id", "lat", "lng", "x"]), inner, max_size=3),
    max_leaves=6,
)
_fields = st.fixed_dictionaries(
    {},
    optional={
        "area": st.text() | _json,
        "subarea": _json,
        "urgency_h": st.integers() | _json,
        "radius_km": st.integers() | _json,
        "summary": st.text() | _json,
        "lat": st.floats() | _json,
        "lng": st.floats() | _json,
        "complexity": _json,
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=_fields, top_n=st.integers(-3, 60) | _json, offers=st.booleans() | _json)
def test_whatever_is_sent_is_answered_or_refused_never_an_error_of_ours(
    served: Served, marketplace: Marketplace, case: dict[str, Any], top_n: Any, offers: Any
) -> None:
    """Any JSON brings either a recorded answer or a 4xx that names a field and leaves no row."""
    import json

    body = {"case": inline() | case, "client_id": str(marketplace.client_id), "top_n": top_n, "create_offers": offers}
    before = [marketplace.count(table) for table in TABLES]
    with served.client() as client:
        response = client.post("/v1/matches", content=json.dumps(body), headers={"Content-Type": "application/json"})
    if response.status_code == 200:
        assert_recorded(marketplace, response.json())
    else:
        assert response.status_code == 422, response.text
        assert response.json()["error"]["field"]
        assert [marketplace.count(table) for table in TABLES] == before


def test_a_case_of_another_client_is_refused(served: Served, marketplace: Marketplace) -> None:
    """A client given with a stored case must be the case's."""
    case_id = str(marketplace.case())
    assert error(served.ask({"case_id": case_id, "client_id": str(uuid4())})) == (422, "wrong_client", "client_id")
    assert served.ask({"case_id": case_id, "client_id": str(marketplace.client_id)}).status_code == 200
    assert marketplace.count("match_requests") == 1


@pytest.mark.parametrize("status", ["contracted", "closed", "canceled"])
def test_a_case_that_is_not_open_takes_no_offers(served: Served, marketplace: Marketplace, status: str) -> None:
    """Offers are refused and nothing is written; without offers the case is still answered."""
    case_id = str(marketplace.case(status=status))
    assert error(served.ask({"case_id": case_id, "create_offers": True})) == (409, "case_not_open", "create_offers")
    assert marketplace.count("match_requests") == 0
    assert served.ask({"case_id": case_id}).status_code == 200


def test_the_same_key_repeats_the_first_answer(served: Served, marketplace: Marketplace) -> None:
    """A repeat says that it is one, brings the same answer and writes nothing."""
    marketplace.lawyers(6)
    body = {"case_id": str(marketplace.case()), "create_offers": True, "top_n": 3}
    _refreshed(served)
    first, second = (served.ask(body, **{"Idempotency-Key": "order 1"}) for _ in range(2))
    assert first.json() == second.json()
    assert len(first.json()["matches"]) == 3
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (marketplace.count("match_requests"), marketplace.count("offers")) == (1, 3)
    assert_recorded(marketplace, first.json())


def test_a_key_used_for_another_question_is_refused(served: Served, marketplace: Marketplace) -> None:
    """409, and nothing is written; spelling out a default is no other question."""
    body: dict[str, Any] = {"case_id": str(marketplace.case())}
    assert served.ask(body, **{"Idempotency-Key": "k"}).status_code == 200
    assert served.ask(body | {"top_n": 5}, **{"Idempotency-Key": "k"}).headers["Idempotent-Replayed"] == "true"
    assert error(served.ask(body | {"top_n": 4}, **{"Idempotency-Key": "k"})) == (409, "idempotency_key_reused", "Idempotency-Key")
    assert marketplace.count("match_requests") == 1


@pytest.mark.parametrize("key", ["", "k" * 201, "tab\there", "ação".encode()])
def test_a_key_that_cannot_be_kept_is_refused(served: Served, marketplace: Marketplace, key: str | bytes) -> None:
    """Keys are 1 to 200 printable ASCII characters."""
    with served.client() as client:
        response = client.post("/v1/matches", json={"case_id": str(marketplace.case())}, headers=[(b"Idempotency-Key", key)])  # type: ignore[list-item]
    assert error(response) == (422, "invalid_field", "Idempotency-Key")
    assert marketplace.count("match_requests") == 0


def test_twenty_at_once_with_one_key_get_one_answer(served: Served, marketplace: Marketplace) -> None:
    """Whoever comes while the first is worked on is told to ask again, and then gets the same answer."""
    import time

    marketplace.lawyers(8)
    body = {"case": inline(), "client_id": str(marketplace.client_id), "create_offers": True, "top_n": 4}
    _refreshed(served)
    together = threading.Barrier(20)

    def ask() -> dict[str, Any]:
        together.wait()
        while (response := served.ask(body, **{"Idempotency-Key": "same"})).status_code == 409:
            assert error(response)[1] == "in_progress"
            assert response.headers["Retry-After"] == "1"
            time.sleep(0.1)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    with ThreadPoolExecutor(20) as pool:
        answers = [one.result() for one in [pool.submit(ask) for _ in range(20)]]
    assert all(answer == answers[0] for answer in answers)
    assert [marketplace.count(table) for table in ("cases", "match_requests", "case_matches", "offers")] == [1, 1, 4, 4]
    assert_recorded(marketplace, answers[0])


def test_a_request_lost_with_its_process_gives_its_key_free(served: Served, marketplace: Marketplace) -> None:
    """A started row is waited for; after a minute it counts as lost, and the key answers anew."""
    from litgo_pipelines.serving.matches import Question
    from litgo_pipelines.serving.requests import scoped_key
    from litgo_pipelines.serving.schemas import MatchRequest

    case_id = marketplace.case()
    question = Question(MatchRequest(case_id=case_id), uuid4(), scoped_key("anonymous", "k"))
    _started(marketplace, question.request_id, case_id, question.key, question.digest, age=timedelta(seconds=30))
    assert error(served.ask({"case_id": str(case_id)}, **{"Idempotency-Key": "k"})) == (409, "in_progress", "Idempotency-Key")
    _older(marketplace, question.request_id, timedelta(seconds=61))
    response = served.ask({"case_id": str(case_id)}, **{"Idempotency-Key": "k"})
    assert response.status_code == 200
    assert_recorded(marketplace, response.json())
    (lost,) = marketplace.rows("SELECT * FROM litgo.match_requests WHERE id = :id", id=question.request_id)
    assert (lost.status, lost.error_class, lost.idempotency_key) == ("error", "Abandoned", None)


def test_fifty_clients_never_overload_a_lawyer_while_others_are_free(served: Served, marketplace: Marketplace) -> None:
    """Lawyers with room for 120 offers get exactly these, each up to capacity; further lists are filled up, and all is recorded once."""
    lawyers = marketplace.lawyers(12, capacity=2)
    _refreshed(served)
    p_win = served.app.state.service.market.current.loads.p_win
    room = int(2 / p_win)
    assert room == 10
    answers = _ask_by_fifty([served], [marketplace.case() for _ in range(room * len(lawyers))])
    loads = marketplace.rows(
        "SELECT l.id, count(o.id) * :p_win / l.capacidade_mensal AS u_eff FROM litgo.lawyers l "
        "LEFT JOIN litgo.offers o ON o.lawyer_id = l.id AND o.status = 'pending' GROUP BY l.id",
        p_win=p_win,
    )
    assert {row.id: round(row.u_eff, 9) for row in loads} == dict.fromkeys(lawyers, 1.0)
    assert Counter(_reasons(marketplace)) == dict.fromkeys(((one, "value") for one in lawyers), room)
    answers += _ask_by_fifty([served], [marketplace.case() for _ in range(24)])
    assert Counter(reason for _, reason in _reasons(marketplace)) == {"value": 120, "filled": 24}
    assert len({answer["request_id"] for answer in answers}) == marketplace.count("match_requests") == 144
    assert marketplace.count("offers") == marketplace.count("case_matches") == 144
    for answer in answers:
        assert_recorded(marketplace, answer)


def test_two_services_that_know_nothing_of_each_other_overload_nobody(
    served: Served, marketplace: Marketplace, database_url: str, serving_settings: Settings
) -> None:
    """What one offers the other learns from the database alone, under lock: the room is used up exactly."""
    lawyers = marketplace.lawyers(6, capacity=2)
    with serving(database_url, serving_settings) as other:
        for one in (served, other):
            _refreshed(one)
            one.app.state.service.market.stop()
        answers = _ask_by_fifty([served, other], [marketplace.case() for _ in range(60)])
    assert Counter(_reasons(marketplace)) == dict.fromkeys(((one, "value") for one in lawyers), 10)
    assert marketplace.count("match_requests") == len({answer["request_id"] for answer in answers}) == 60


def test_memory_that_sees_everybody_full_fills_nobody_up(served: Served, marketplace: Marketplace) -> None:
    """Where memory overrates the loads, the database tells who is free, and nobody is carried above capacity."""
    full, free = marketplace.lawyers(2, capacity=1)
    for _ in range(5):
        marketplace.offer(marketplace.case(), full)
    _refreshed(served)
    served.app.state.service.market.stop()
    market = served.app.state.service.market.current
    market.loads.in_flight[market.profiles.row[free.bytes]] = 50
    answer = served.ask({"case_id": str(marketplace.case()), "create_offers": True, "top_n": 1}).json()
    assert [match["lawyer_id"] for match in answer["matches"]] == [str(free)]
    assert _reasons(marketplace) == [(free, "value")]


def test_memory_that_is_behind_overloads_nobody(served: Served, marketplace: Marketplace) -> None:
    """A lawyer whom others filled or who left since the last reading is passed over."""
    first, second, third = reversed(marketplace.lawyers(3, capacity=1))
    _refreshed(served)
    served.app.state.service.market.stop()
    for _ in range(5):
        marketplace.offer(marketplace.case(), first)
    with marketplace.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE litgo.lawyers SET status = 'inactive' WHERE id = %(id)s", {"id": second})
    answer = served.ask({"case_id": str(marketplace.case()), "create_offers": True, "top_n": 1}).json()
    assert [match["lawyer_id"] for match in answer["matches"]] == [str(third)]
    assert_recorded(marketplace, answer)


def _ask_by_fifty(services: list[Served], cases: list[UUID]) -> list[dict[str, Any]]:
    """Have fifty clients, in turn at each of the services, ask for an offer for each case, as fast as they are answered."""
    begin = threading.Barrier(50)

    def client(place: int) -> list[httpx.Response]:
        mine = cases[place::50]
        with services[place % len(services)].client() as http:
            begin.wait()
            return [http.post("/v1/matches", json={"case_id": str(one), "create_offers": True, "top_n": 1}) for one in mine]

    with ThreadPoolExecutor(50) as pool:
        responses = [response for found in pool.map(client, range(50)) for response in found]
    assert Counter(response.status_code for response in responses) == {200: len(cases)}
    return [response.json() for response in responses]


def _reasons(marketplace: Marketplace) -> list[tuple[UUID, str]]:
    """Lawyer of every offer, and why it went there."""
    rows = marketplace.rows(
        "SELECT m.lawyer_id, c.reason FROM litgo.offers o JOIN litgo.case_matches m ON m.id = o.match_id "
        "JOIN litgo.match_candidates c ON c.request_id = m.request_id AND c.lawyer_id = m.lawyer_id"
    )
    return [(row.lawyer_id, row.reason) for row in rows]


def _refreshed(served: Served) -> None:
    """Have the service read the lawyers now."""
    served.app.state.service.market.refresh()


def _started(marketplace: Marketplace, request_id: UUID, case_id: UUID, key: str | None, digest: str, *, age: timedelta) -> None:
    from litgo_pipelines.casework.recording import open_request

    with marketplace.engine.begin() as connection:
        open_request(connection, request_id=request_id, case_id=case_id, at=datetime.now(UTC) - age, key=key, request_hash=digest)


def _older(marketplace: Marketplace, request_id: UUID, age: timedelta) -> None:
    from litgo_pipelines.marketplace import tables

    requests = tables.match_requests
    with marketplace.engine.begin() as connection:
        connection.execute(requests.update().where(requests.c.id == request_id), {"started_at": datetime.now(UTC) - age})
