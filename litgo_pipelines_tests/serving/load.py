"""A bounded load for `litgo serve` on this machine: so many requests a second for so many seconds, then a verdict.

Run it as `python -m litgo_pipelines_tests.serving.load`. It talks to loopback only, stops by itself, and compares what was
answered with what is recorded. `--fill` makes the lawyers and cases it needs in a database that has none.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    import httpx
    from sqlalchemy import Connection

AREAS = ("Trabalhista", "Civil", "Família", "Consumidor", "Tributário", "Penal", "Empresarial", "Previdenciário")

_LAWYERS = """
INSERT INTO litgo.lawyers (id, name, primary_area, specialties, lat, lng, cv_score, tempo_resposta_h, avaliacao_media, kpi_softskill,
                           capacidade_mensal, cases_30d, equity_updated_at, last_offered_at)
SELECT gen_random_uuid(), 'Lawyer ' || n, (CAST(:areas AS text[]))[1 + n % 8], ARRAY[(CAST(:areas AS text[]))[1 + (n / 8) % 8]],
       -23.5 + random() - .5, -46.6 + random() - .5, random(), 48 * random(), 1 + 4 * random(), random(),
       10 + n % 21, floor(6 * random()), now() - interval '1 day', now() - interval '10 days' * random()
FROM generate_series(1, :lawyers) n
"""

_CASES = """
WITH client AS (INSERT INTO litgo.clients (id) SELECT gen_random_uuid() FROM generate_series(1, 500) RETURNING id),
numbered AS (SELECT id, row_number() OVER () AS n FROM client)
INSERT INTO litgo.cases (id, client_id, area, urgency_h, lat, lng, summary, status, created_at)
SELECT gen_random_uuid(), numbered.id, (CAST(:areas AS text[]))[1 + n.n % 8], 24 + n.n % 72, -23.5 + random() - .5, -46.6 + random() - .5,
       (SELECT string_agg((ARRAY['rescisão', 'contrato', 'divórcio', 'guarda', 'imposto', 'multa', 'aluguel', 'dívida', 'demissão', 'horas',
                                 'consumidor', 'produto', 'herança', 'acidente', 'seguro'])[1 + CAST(floor(15 * random()) AS int)], ' ')
        FROM generate_series(1, 30 + n.n % 20)),
       CASE WHEN n.n <= :contracts THEN 'contracted' ELSE 'open' END,
       now() - CASE WHEN n.n <= :contracts THEN interval '60 days' * random() ELSE interval '0' END
FROM generate_series(1, CAST(:total AS int)) n(n) JOIN numbered ON numbered.n = 1 + n.n % 500
"""

_CONTRACTS = """
WITH lawyer AS (SELECT id, row_number() OVER () - 1 AS n FROM litgo.lawyers),
handled AS (SELECT id, client_id, created_at, row_number() OVER () AS n FROM litgo.cases WHERE status = 'contracted'),
paired AS (SELECT handled.*, lawyer.id AS lawyer_id FROM handled JOIN lawyer ON lawyer.n = handled.n % :lawyers),
offered AS (
    INSERT INTO litgo.offers (id, case_id, lawyer_id, status, sent_at, expires_at, responded_at)
    SELECT gen_random_uuid(), id, lawyer_id, 'interested', created_at, created_at + interval '1 day', created_at + interval '1 hour'
    FROM paired)
INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, status, created_at)
SELECT gen_random_uuid(), id, lawyer_id, client_id, 'active', created_at + interval '2 hours' FROM paired
"""


_SNAPSHOTS = """
INSERT INTO litgo.equity_snapshots (as_of, lawyer_id, cases_30d, capacidade_mensal, utilisation, area, capacity_band, is_new, eligible)
SELECT now() - interval '1 day', id, cases_30d, capacidade_mensal, cases_30d::real / capacidade_mensal, primary_area, '11-15', false, true
FROM litgo.lawyers
"""

# What is recorded of each request, to be compared with what its caller was told.
_RECORDED = """
SELECT r.id, r.status, r.model_version, r.eligible,
       ARRAY(SELECT m.lawyer_id FROM litgo.case_matches m WHERE m.request_id = r.id ORDER BY m.position) AS shown,
       ARRAY(SELECT c.lawyer_id FROM litgo.match_candidates c WHERE c.request_id = r.id AND c.outcome = 'shown') AS logged,
       (SELECT count(*) FROM litgo.case_matches m JOIN litgo.offers o ON o.match_id = m.id WHERE m.request_id = r.id) AS offers
FROM litgo.match_requests r WHERE r.id = ANY(:ids)
"""


class Misuse(LitgoError):
    """The tool was asked for something it does not do."""


def fill(connection: Connection, *, lawyers: int, cases: int, contracts: int) -> None:
    """Make lawyers, open cases, and `contracts` handled ones with their texts, in a database without lawyers.

    Raises:
        Misuse: there are lawyers already.
    """
    from sqlalchemy import text

    if connection.execute(text("SELECT EXISTS (SELECT FROM litgo.lawyers)")).scalar_one():
        raise Misuse("the database holds lawyers already: --fill wants an empty one")
    connection.execute(text(_LAWYERS), {"lawyers": lawyers, "areas": list(AREAS)})
    connection.execute(text(_SNAPSHOTS))
    connection.execute(text(_CASES), {"total": cases + contracts, "contracts": contracts, "areas": list(AREAS)})
    if contracts:
        connection.execute(text(_CONTRACTS), {"lawyers": lawyers})


@dataclass(frozen=True)
class Told:
    """What one request brought: its status (0: none), how long it took from the moment it was due, and its answer."""

    status: int
    seconds: float
    answer: dict[str, Any] | None


@dataclass(frozen=True)
class Report:
    """What a load brought. Milliseconds are counted from the moment a request was due, so that waiting in line counts."""

    requests: int
    seconds: float
    statuses: dict[str, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    models: dict[str, int]
    offers: int
    recorded_wrongly: list[str]


def press(url: str, token: str | None, bodies: Sequence[dict[str, Any]], rate: float, clients: int) -> list[Told]:
    """Send each body when it is due, `rate` a second, by at most `clients` at the same time."""
    import httpx

    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    with httpx.Client(base_url=url, headers=headers, timeout=30, limits=limits) as client, ThreadPoolExecutor(clients) as pool:
        begun = time.perf_counter() + 0.5
        waiting = []
        for number, body in enumerate(bodies):
            due = begun + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            waiting.append(pool.submit(_ask, client, body, due))
        return [one.result() for one in waiting]


def _ask(client: httpx.Client, body: dict[str, Any], due: float) -> Told:
    import httpx

    try:
        response = client.post("/v1/matches", json=body)
    except httpx.HTTPError:
        return Told(0, time.perf_counter() - due, None)
    return Told(response.status_code, time.perf_counter() - due, response.json() if response.status_code == 200 else None)


def questions(connection: Connection, count: int, offers: float, inline: float, seed: int = 0) -> list[dict[str, Any]]:
    """Bodies about open stored cases, a share of them with offers, and a share about inline ones.

    Raises:
        Misuse: there is no open case.
    """
    from sqlalchemy import text

    rows = connection.execute(text("SELECT id, client_id, area, summary FROM litgo.cases WHERE status = 'open' ORDER BY id")).all()
    if not rows:
        raise Misuse("the database has no open case: use --fill on an empty one")
    draw = random.Random(seed)
    draw.shuffle(rows := list(rows))
    bodies: list[dict[str, Any]] = []
    for number in range(count):
        row = rows[number % len(rows)]
        wanted: dict[str, Any] = {"create_offers": draw.random() < offers, "top_n": 5}
        if draw.random() < inline:
            case = {"id": str(uuid4()), "area": row.area, "urgency_h": 48, "summary": row.summary, "lat": -23.5, "lng": -46.6}
            bodies.append(wanted | {"case": case, "client_id": str(row.client_id)})
        else:
            bodies.append(wanted | {"case_id": str(row.id)})
    return bodies


def compare(connection: Connection, told: Sequence[Told]) -> list[str]:
    """What is recorded otherwise than it was told, one line each; empty where every answer is recorded exactly once."""
    from sqlalchemy import text

    answers = {UUID(one.answer["request_id"]): one.answer for one in told if one.answer is not None}
    rows = {row.id: row for row in connection.execute(text(_RECORDED), {"ids": list(answers)})}
    wrong = [f"{request}: not recorded" for request in answers.keys() - rows.keys()]
    for request, row in rows.items():
        answer = answers[request]
        shown = [UUID(match["lawyer_id"]) for match in answer["matches"]]
        recorded = (row.status, row.model_version, row.eligible, list(row.shown), set(row.logged), row.offers)
        if recorded != ("ok", answer["model_version"], answer["eligible"], shown, set(shown), answer["offers_created"]):
            wrong.append(f"{request}: recorded as {recorded}")
    if len(answers) != sum(one.answer is not None for one in told):
        wrong.append("two answers carry the same request id")
    return wrong


def summarise(told: Sequence[Told], seconds: float, wrong: list[str]) -> Report:
    """Latencies and counts of a load."""
    import numpy as np

    p50, p95, p99, most = np.percentile([1000 * one.seconds for one in told], [50, 95, 99, 100]).round(1).tolist()
    answers = [one.answer for one in told if one.answer is not None]
    return Report(
        len(told),
        round(seconds, 1),
        {str(status): count for status, count in Counter(one.status for one in told).items()},
        p50,
        p95,
        p99,
        most,
        dict(Counter(answer["model_version"] for answer in answers)),
        sum(answer["offers_created"] for answer in answers),
        wrong,
    )


def _loopback(url: str) -> str:
    host = urlsplit(url).hostname or ""
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise argparse.ArgumentTypeError(f"{host} is not this machine: the load stays on loopback")
    return url


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m litgo_pipelines_tests.serving.load", description=__doc__.partition("\n")[0])
    parser.add_argument("--url", type=_loopback, default="http://127.0.0.1:8000", help="where litgo serve answers; loopback only")
    parser.add_argument("--token", help="bearer token")
    parser.add_argument(
        "--database-url", help="the service's database, to take cases from and compare answers with; default: as litgo finds it"
    )
    parser.add_argument("--fill", type=int, metavar="LAWYERS", help="first make so many lawyers, cases and contracts in an empty database")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second (at most 200)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (at most 600)")
    parser.add_argument("--clients", type=int, default=50, help="requests under way at once (at most 200)")
    parser.add_argument("--offers", type=float, default=0.5, help="share of requests that create offers")
    parser.add_argument("--inline", type=float, default=0.2, help="share of requests with an inline case")
    parser.add_argument("--p95-ms", type=float, default=150.0, help="above this the load fails")
    found = parser.parse_args(given)
    if not (0 < found.rate <= 200 and 0 < found.seconds <= 600 and 0 < found.clients <= 200):
        parser.error("the load is bounded: at most 200 a second, 600 seconds, 200 clients")
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Run a load; 0 where every request was answered in time and recorded once."""
    from litgo_pipelines.marketplace.database import open_engine, services_for
    from litgo_pipelines.settings import get_settings

    asked = _arguments(given)
    engine = open_engine(asked.database_url or services_for(get_settings()).database)
    with engine.begin() as connection:
        if asked.fill:
            fill(connection, lawyers=asked.fill, cases=3000, contracts=3 * asked.fill)
            sys.stdout.write("filled: start the service and run again without --fill\n")
            return 0
        bodies = questions(connection, round(asked.rate * asked.seconds), asked.offers, asked.inline)
    begun = time.perf_counter()
    told = press(asked.url, asked.token, bodies, asked.rate, asked.clients)
    seconds = time.perf_counter() - begun
    with engine.connect() as connection:
        report = summarise(told, seconds, compare(connection, told))
    engine.dispose()
    sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n")
    in_time = report.p95_ms <= asked.p95_ms
    return 0 if in_time and set(report.statuses) == {"200"} and not report.recorded_wrongly else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LitgoError as error:
        sys.exit(f"load: {error}")
