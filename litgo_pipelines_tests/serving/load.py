"""A bounded load for `litgo serve` on this machine: so many requests a second for so many seconds, then a verdict.

Run it as `python -m litgo_pipelines_tests.serving.load`. It talks to loopback only, stops by itself, and compares what was
answered with what is recorded. `--fill` makes the lawyers and cases it needs in a database that has none.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx
    from sqlalchemy import Connection

AREAS = ("Trabalhista", "Civil", "Família", "Consumidor", "Tributário")

_LAWYERS = """
INSERT INTO litgo.lawyers (id, name, primary_area, specialties, lat, lng, cv_score, tempo_resposta_h, avaliacao_media, kpi_softskill,
                           capacidade_mensal, cases_30d, equity_updated_at, last_offered_at)
SELECT gen_random_uuid(), 'Lawyer ' || n, (CAST(:areas AS text[]))[1 + n % 5], ARRAY[(CAST(:areas AS text[]))[1 + (n / 5) % 5]],
       -23.5 + random() - .5, -46.6 + random() - .5, random(), 48 * random(), 1 + 4 * random(), random(),
       10 + n % 21, floor(6 * random()), now() - interval '1 day', now() - interval '10 days' * random()
FROM generate_series(1, :lawyers) n
"""

_CASES = """
WITH client AS (INSERT INTO litgo.clients (id) SELECT gen_random_uuid() FROM generate_series(1, 500) RETURNING id),
numbered AS (SELECT id, row_number() OVER () AS n FROM client)
INSERT INTO litgo.cases (id, client_id, area, urgency_h, lat, lng, summary, status, created_at)
SELECT gen_random_uuid(), numbered.id, (CAST(:areas AS text[]))[1 + n.n % 5], 24 + n.n % 72, -23.5 + random() - .5, -46.6 + random() - .5,
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
    SELECT gen_random_uuid(), id, lawyer_id, 'interested', created_at, created_at + interval '1 day', created_at + interval '1 hour' FROM paired)
INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, status, created_at)
SELECT gen_random_uuid(), id, lawyer_id, client_id, 'active', created_at + interval '2 hours' FROM paired
"""


class Misuse(Exception):
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
    connection.execute(text(_CASES), {"total": cases + contracts, "contracts": contracts, "areas": list(AREAS)})
    if contracts:
        connection.execute(text(_CONTRACTS), {"lawyers": lawyers})
