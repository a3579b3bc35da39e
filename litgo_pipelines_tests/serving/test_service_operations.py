"""Running the service: who may ask, when it is ready, what happens while the database is away, how it starts and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from litgo_pipelines.serving.auth import OpenToEverybody, Tokens, require_guarded
from litgo_pipelines_tests.serving.conftest import serving, through, wait_until

if TYPE_CHECKING:
    from litgo_pipelines.settings import Settings
    from litgo_pipelines_tests.serving.conftest import Marketplace, Served, Wire


@contextmanager
def guarded(database_url: str, settings: Settings, *keys: str) -> Iterator[Served]:
    with serving(database_url, settings.model_copy(update={"litgo_api_keys": [SecretStr(key) for key in keys]})) as found:
        yield found


def test_with_tokens_everything_under_v1_needs_one(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> None:
    """Without a token, with a wrong one or another scheme: 401; health and metrics stay open."""
    case_id = str(marketplace.case())
    with guarded(database_url, serving_settings, "first", "second") as served:
        for token in ("first", "second"):
            with served.client(token) as client:
                assert client.post("/v1/matches", json={"case_id": case_id}).status_code == 200
                assert client.get("/v1/model").status_code == 200
        with served.client() as client:
            for header in ({}, {"Authorization": "Bearer third"}, {"Authorization": "Basic first"}, {"Authorization": "Bearer"}):
                for refused in (client.get("/v1/model", headers=header), client.post("/v1/matches", content=b"{no", headers=header)):
                    assert refused.status_code == 401
                    assert refused.headers["WWW-Authenticate"] == "Bearer"
                    assert refused.json()["error"]["field"] == "Authorization"
            for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
                assert client.get(path).status_code == 200
    assert marketplace.count("match_requests") == 2


def test_two_callers_may_use_the_same_idempotency_key(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> None:
    """A key belongs to the token it came with."""
    cases = [str(marketplace.case()) for _ in range(2)]
    with guarded(database_url, serving_settings, "first", "second") as served:
        for token, case_id in zip(("first", "second"), cases, strict=True):
            with served.client(token) as client:
                answer = client.post("/v1/matches", json={"case_id": case_id}, headers={"Idempotency-Key": "1"})
            assert (answer.status_code, answer.json()["case_id"]) == (200, case_id)
    keys = [row.idempotency_key for row in marketplace.rows("SELECT idempotency_key FROM litgo.match_requests")]
    assert len(set(keys)) == 2
    assert not any("first" in key or "second" in key for key in keys)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "no.such.host.invalid"])
def test_without_tokens_only_loopback_is_bound(host: str) -> None:
    """Any other address is refused in one line; with a token it is not."""
    with pytest.raises(OpenToEverybody, match="LITGO_API_KEYS"):
        require_guarded(host, Tokens([]))
    require_guarded(host, Tokens([SecretStr("key")]))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    """Whoever is on this machine may ask."""
    require_guarded(host, Tokens([]))


def test_it_is_ready_once_lawyers_and_registry_were_looked_at(
    database_url: str, marketplace: Marketplace, serving_settings: Settings
) -> None:
    """Before, readiness says what is missing and a request is told to come again; health is never in doubt."""
    marketplace.lawyers(3)
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def champion(self) -> str | None:
            begun.set()
            go_on.wait(30)
            return None

        def exists(self, version: str) -> bool:
            raise AssertionError(version)

        def load(self, version: str) -> Any:
            raise AssertionError(version)

    with serving(database_url, serving_settings, Slow, until_ready=False) as served, served.client() as client:
        assert begun.wait(20)
        waiting = client.get("/readyz")
        assert waiting.status_code == 503
        assert "the registry was not looked at yet" in waiting.json()["reasons"]
        assert client.get("/healthz").json() == {"status": "alive"}
        go_on.set()
        wait_until(lambda: client.get("/readyz").status_code == 200, 10, "ready")
        found = client.get("/readyz").json()
        assert (found["lawyers"], found["reasons"], found["model_version"]) == (3, [], "hand-weights")
        assert 0 <= found["market_age_seconds"] < 10


def test_what_is_old_is_not_ready_but_still_answers(served: Served, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness tells the age; requests are answered with what is in memory."""
    from litgo_pipelines.serving import app

    served.app.state.service.market.stop()
    monkeypatch.setattr(app, "READY_MARKET_SECONDS", 0.0)
    with served.client() as client:
        found = client.get("/readyz")
    assert found.status_code == 503
    assert [reason for reason in found.json()["reasons"] if "s old: is the database there?" in reason] == found.json()["reasons"] != []
    assert served.ask({"case_id": str(marketplace.case())}).status_code == 200


def test_a_flood_is_refused_soon(served: Served, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """More requests in the house than it holds: 503 with the time to come again, and nothing is written; then all is as before."""
    from litgo_pipelines.serving import guards

    body = {"case_id": str(marketplace.case())}
    with monkeypatch.context() as patch:
        patch.setattr(guards, "MOST_WAITING", 0)
        refused = served.ask(body)
    assert (refused.status_code, refused.json()["error"]["code"], refused.headers["Retry-After"]) == (503, "too_busy", "1")
    assert marketplace.count("match_requests") == 0
    assert served.ask(body).status_code == 200


def test_before_the_first_reading_a_request_is_told_to_come_again(
    wire: Wire, database_url: str, marketplace: Marketplace, serving_settings: Settings
) -> None:
    """Without lawyers in memory the answer is 503, and nothing is written."""
    case_id = str(marketplace.case())
    wire.cut()
    with serving(through(wire, database_url), serving_settings, until_ready=False) as served:
        response = served.ask({"case_id": case_id})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
        assert response.headers["Retry-After"]
        wire.mend()
        with served.client() as client:
            wait_until(lambda: client.get("/readyz").status_code == 200, 20, "ready")
        assert served.ask({"case_id": case_id}).status_code == 200
    assert marketplace.count("match_requests") == 1


def test_lawyers_who_come_and_loads_that_change_are_seen_within_seconds(served: Served, marketplace: Marketplace) -> None:
    """The market in memory follows the database."""
    case_id = str(marketplace.case())
    assert served.ask({"case_id": case_id}).json()["eligible"] == 0
    marketplace.lawyers(2)
    wait_until(lambda: served.ask({"case_id": case_id}).json()["eligible"] == 2, 10, "new lawyers are seen")
    with marketplace.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE litgo.lawyers SET status = 'inactive'")
    wait_until(lambda: served.ask({"case_id": case_id}).json()["eligible"] == 0, 10, "their leaving is seen")


def test_what_a_lawyer_newly_handled_is_read_without_reading_the_rest_again(served: Served, marketplace: Marketplace) -> None:
    """A later reading of profiles equals one from scratch."""
    import numpy as np
    from sqlalchemy import func, select

    from litgo_pipelines.casework.market import read_profiles
    from litgo_pipelines.marketplace import tables

    first, second = marketplace.lawyers(2)
    with marketplace.engine.begin() as connection:
        now = connection.execute(select(func.now())).scalar_one()
        _contract(connection, tables, marketplace, first, "divórcio consensual")
        before = read_profiles(connection, now)
        _contract(connection, tables, marketplace, first, "guarda dos filhos")
        _contract(connection, tables, marketplace, second, "imposto de renda")
        later, scratch = read_profiles(connection, now, before), read_profiles(connection, now)
    assert not np.array_equal(before.texts, later.texts)
    np.testing.assert_allclose(later.texts, scratch.texts, atol=1e-6)
    assert later.handled == scratch.handled


def _contract(connection: Any, tables: Any, marketplace: Marketplace, lawyer: Any, summary: str) -> None:
    case_id = uuid4()
    case = {"id": case_id, "client_id": marketplace.client_id, "area": "Família", "urgency_h": 1, "summary": summary}
    connection.execute(tables.cases.insert(), case)
    contract = {"id": uuid4(), "case_id": case_id, "lawyer_id": lawyer, "client_id": marketplace.client_id}
    connection.execute(tables.contracts.insert(), contract)


def test_while_the_database_is_away_requests_fail_soon_and_recover(
    wire: Wire, database_url: str, marketplace: Marketplace, serving_settings: Settings
) -> None:
    """503 within seconds, no half-written row; once it is back, requests are answered again."""
    marketplace.lawyers(3)
    case_id = str(marketplace.case())
    with serving(through(wire, database_url), serving_settings) as served:
        assert served.ask({"case_id": case_id}).status_code == 200
        wire.cut()
        begun = time.monotonic()
        away = served.ask({"case_id": case_id, "create_offers": True})
        assert time.monotonic() - begun < 10
        assert (away.status_code, away.json()["error"]["code"]) == (503, "database_away")
        assert away.headers["Retry-After"]
        wire.mend()
        assert served.ask({"case_id": case_id, "create_offers": True}).status_code == 200
    assert [marketplace.count(table) for table in ("match_requests", "case_matches", "offers")] == [2, 6, 3]


def test_a_database_that_falls_silent_does_not_hang_a_request(
    wire: Wire, database_url: str, marketplace: Marketplace, serving_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that stay open and say nothing end in 503 at the deadline; a repeat with the key finds one answer."""
    from litgo_pipelines.serving import guards

    monkeypatch.setattr(guards, "ANSWER_SECONDS", 1.0)
    marketplace.lawyers(3)
    body = {"case_id": str(marketplace.case()), "create_offers": True}
    with serving(through(wire, database_url), serving_settings) as served:
        wire.fall_silent()
        begun = time.monotonic()
        silent = served.ask(body, **{"Idempotency-Key": "k"})
        assert time.monotonic() - begun < 5
        assert (silent.status_code, silent.json()["error"]["code"]) == (503, "too_slow")
        wire.mend()

        def answered() -> bool:
            return served.ask(body, **{"Idempotency-Key": "k"}).status_code == 200

        wait_until(answered, 20, "the repeat is answered")
    assert [marketplace.count(table) for table in ("match_requests", "offers")] == [1, 3]


def test_a_request_that_fails_after_it_began_counts_and_frees_its_key(
    served: Served, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row says which error it was, no other row is left, and the key may be used again."""
    from litgo_pipelines.casework.recording import TooBusy
    from litgo_pipelines.serving import matches

    marketplace.lawyers(3)
    wait_until(lambda: served.app.state.service.market.current.profiles.ids.size == 3, 10, "lawyers are read")
    body = {"case_id": str(marketplace.case()), "create_offers": True}
    with monkeypatch.context() as patch:

        def busy(*_: Any) -> Any:
            raise TooBusy("others were quicker")

        patch.setattr(matches, "record", busy)
        failed = served.ask(body, **{"Idempotency-Key": "k"})
    assert (failed.status_code, failed.json()["error"]["code"], failed.headers["Retry-After"]) == (503, "too_busy", "1")
    (row,) = marketplace.rows("SELECT * FROM litgo.match_requests")
    assert (str(row.id), row.status, row.error_class) == (failed.headers["X-Request-Id"], "error", "TooBusy")
    assert [marketplace.count(table) for table in ("case_matches", "match_candidates", "offers")] == [0, 0, 0]
    again = served.ask(body, **{"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["offers_created"]) == (200, 3)


def test_a_defect_is_answered_in_the_same_shape_and_counted(
    served: Served, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours is a 500 that quotes nothing, and the request is recorded as failed."""
    from litgo_pipelines.serving import matches

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(matches, "decide", broken)
    response = served.ask({"case_id": str(marketplace.case())})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert [row.error_class for row in marketplace.rows("SELECT * FROM litgo.match_requests")] == ["ZeroDivisionError"]


def test_a_request_given_up_meanwhile_writes_nothing(served: Served, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow request whose key was taken over is not answered a second time."""
    from litgo_pipelines.serving import matches

    marketplace.lawyers(3)
    wait_until(lambda: served.app.state.service.market.current.profiles.ids.size == 3, 10, "lawyers are read")
    recorded = matches.record

    def late(*given: Any) -> Any:
        with marketplace.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE litgo.match_requests SET status = 'error', idempotency_key = NULL")
        return recorded(*given)

    monkeypatch.setattr(matches, "record", late)
    response = served.ask({"case_id": str(marketplace.case()), "create_offers": True}, **{"Idempotency-Key": "k"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "too_busy")
    assert [marketplace.count(table) for table in ("case_matches", "match_candidates", "offers")] == [0, 0, 0]


def test_metrics_tell_latencies_by_route_and_nothing_by_what_callers_send(served: Served, marketplace: Marketplace) -> None:
    """Unknown paths and methods share one label each; a match request counts once."""
    served.ask({"case_id": str(marketplace.case())})
    with served.client() as client:
        for number in range(3):
            assert client.get(f"/nowhere/{number}").status_code == 404
        for method in ("DELETE", "PROPFIND"):
            assert client.request(method, "/v1/matches").status_code == 405
        text = client.get("/metrics").text
    assert 'serving_request_duration_seconds_count{method="POST",route="/v1/matches",status="200"} 1.0' in text
    assert 'serving_request_duration_seconds_count{method="any",route="unmatched",status="404"} 3.0' in text
    assert 'serving_request_duration_seconds_count{method="any",route="/v1/matches",status="405"} 2.0' in text
    assert 'matching_duration_seconds_count{status="ok"} 1.0' in text
    assert "nowhere" not in text
    assert "PROPFIND" not in text
    assert "serving_market_age_seconds" in text


def test_logs_tell_the_request_and_nothing_the_client_wrote(
    served: Served, marketplace: Marketplace, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the summary nor the client appears, whether the request succeeds or fails."""
    client_id = str(uuid4())
    case = {"area": "Civil", "urgency_h": 48, "summary": "segredo-de-justica"}
    good = served.ask({"case": case, "client_id": client_id})
    bad = served.ask({"case": case | {"urgency_h": 0}, "client_id": client_id})
    assert (good.status_code, bad.status_code) == (200, 422)
    written = caplog.text + "".join(capfd.readouterr())
    assert good.json()["request_id"] in written
    assert "segredo" not in written
    assert client_id not in written
    assert "segredo" not in bad.text


def test_the_reference_is_served_whole_from_here(served: Served) -> None:
    """/docs loads nothing from elsewhere and shows routes, fields and examples."""
    with served.client() as client:
        page = client.get("/docs").text
        document = client.get("/openapi.json").json()
    assert "<script" not in page
    assert "http://" not in page.replace(served.url, "")
    assert "https://" not in page
    for word in (
        "POST /v1/matches",
        "Idempotency-Key",
        "create_offers",
        "Retry-After",
        "MatchAnswer",
        "decline_reason",
        "CT-2026-3C0F-5B0A-9A5E",
    ):
        assert word in page
    product = {
        "offers/{offer_id}",
        "offers/{offer_id}/response",
        "contracts",
        "contracts/{contract_id}",
        "contracts/{contract_id}/signatures",
    }
    product |= {"reviews", "contacts/{person_id}", "cases/{case_id}/withdrawal"}
    operations = {"/healthz", "/readyz", "/metrics"}
    assert set(document["paths"]) == {"/v1/matches", "/v1/model", "/v1/triage", *(f"/v1/{path}" for path in product), *operations}
    assert document["components"]["schemas"]["MatchRequest"]["examples"]


def _start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "litgo_pipelines.cli", "serve", *arguments],
        env={**os.environ, "LITGO_LOG_FORMAT": "json", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def environment(database_url: str, mlflow_uri: str, tmp_path: Path) -> dict[str, str]:
    """Where the command finds its services."""
    return {
        "DATABASE_URL": database_url,
        "MLFLOW_TRACKING_URI": mlflow_uri,
        "DAGSTER_POSTGRES_URL": database_url.replace("+psycopg:", "+psycopg2:"),
        "LITGO_HOME": str(tmp_path / "home"),
    }


def test_the_command_serves_until_sigterm_and_ends_well(environment: dict[str, str], marketplace: Marketplace) -> None:
    """It answers, finishes on SIGTERM with status 0, and its log is JSON lines."""
    marketplace.lawyers(2)
    case_id = str(marketplace.case())
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    process = _start("--port", str(port), **environment)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.poll() is not None or _is_ready(url), 60, "the command is ready")
        assert httpx.post(f"{url}/v1/matches", json={"case_id": case_id}, timeout=30).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=40)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {"serving", "request", "stopped"} <= {line["event"] for line in lines}
    (request,) = [line for line in lines if line["event"] == "request"]
    assert (request["route"], request["status"], request["model_version"]) == ("/v1/matches", 200, "hand-weights")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("fault", ["taken port", "open to everybody", "no schema", "no database"])
def test_what_keeps_it_from_starting_is_one_line_and_status_2(environment: dict[str, str], empty_database_url: str, fault: str) -> None:
    """The line says what to do; there is no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments, changed, expected = {
            "taken port": (["--port", port], {}, "--port"),
            "open to everybody": (["--host", "0.0.0.0", "--port", port], {}, "LITGO_API_KEYS"),
            "no schema": (["--port", "0"], {"DATABASE_URL": empty_database_url}, "litgo db upgrade"),
            "no database": (["--port", "0"], {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}, "cannot use the database"),
        }[fault]
        if arguments[-1] == "0":
            with socket.create_server(("127.0.0.1", 0)) as free:
                arguments[-1] = str(free.getsockname()[1])
        process = _start(*arguments, **(environment | changed))
        output, log = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, ""), log
    (line,) = log.splitlines()
    assert line.startswith("litgo: ")
    assert expected in line
