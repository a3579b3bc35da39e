"""From PostgreSQL to LightGBM's Dataset: 1,000,000 shown matches of 16 columns, from the live tables and from imported history.

Against the same rows read from a parquet file and turned into the same Dataset. Each round of each side is a fresh process, so
that memory can be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from litgo_pipelines_tests.bench.measure import Measured, Target, in_child
from litgo_pipelines_tests.bench.scratch import AREAS, Bench, fill

ROWS = 1_000_000
COLUMNS = 16
A_CASE = 5
ROUNDS = 5
SMALL_ROUNDS = 2
MOST_MEGABYTES = 500

AS_OF = datetime(2026, 3, 31, 5, 0, tzinfo=UTC)
_START = AS_OF - timedelta(days=150)
_END = AS_OF - timedelta(days=30)

_FEATURES = ", ".join(["random()"] * 8)
_FEATURE_NAMES = "feature_a, feature_s, feature_t, feature_g, feature_q, feature_u, feature_r, feature_c"

_HISTORY = {
    "history": f"""
        INSERT INTO litgo.match_history (event, case_id, lawyer_id, {_FEATURE_NAMES}, label, occurred_at, ordered_at, position, area)
        SELECT 'match', md5('case' || n / %(a_case)s)::uuid, md5('lawyer' || n %% 99991)::uuid, {_FEATURES},
               (ARRAY['lost', 'declined', 'accepted', 'won'])[1 + floor(4 * random())::int], moment, moment,
               1 + n %% %(a_case)s, (%(areas)s::text[])[1 + n / %(a_case)s %% 8]
        FROM (SELECT n, %(start)s + (%(end)s - %(start)s) * (n / %(a_case)s) / %(cases)s AS moment
              FROM generate_series(0, %(rows)s - 1) n) numbered
    """
}

# Of the lawyers who were shown, the first took the case, two declined, and two were interested when it was gone.
_LIVE = {
    "clients and lawyers": """
        WITH client AS (INSERT INTO litgo.clients (id) SELECT md5('client' || n)::uuid FROM generate_series(0, 999) n)
        INSERT INTO litgo.lawyers (id, name, primary_area, created_at)
        SELECT md5('lawyer' || n)::uuid, 'Lawyer ' || n, (%(areas)s::text[])[1 + n %% 8], %(start)s FROM generate_series(0, 99990) n
    """,
    "cases": """
        INSERT INTO litgo.cases (id, client_id, area, urgency_h, summary, status, created_at)
        SELECT md5('case' || n)::uuid, md5('client' || n %% 1000)::uuid, (%(areas)s::text[])[1 + n %% 8], 48,
               'rescisão de contrato com multa', 'closed', %(start)s + (%(end)s - %(start)s) * n / %(cases)s
        FROM generate_series(0, %(cases)s - 1) n
    """,
    "requests": """
        INSERT INTO litgo.match_requests (id, kind, case_id, status, started_at)
        SELECT md5('request' || n)::uuid, 'matching', md5('case' || n)::uuid, 'ok', %(start)s + (%(end)s - %(start)s) * n / %(cases)s
        FROM generate_series(0, %(cases)s - 1) n
    """,
    "matches": f"""
        INSERT INTO litgo.case_matches (id, request_id, case_id, lawyer_id, position, {_FEATURE_NAMES}, raw_score, score, equity_price,
                                        fair_score, propensity, created_at)
        SELECT md5('match' || n)::uuid, md5('request' || n / %(a_case)s)::uuid, md5('case' || n / %(a_case)s)::uuid,
               md5('lawyer' || n %% 99991)::uuid, 1 + n %% %(a_case)s, {_FEATURES}, random(), random(), .1, .5, 1,
               %(start)s + (%(end)s - %(start)s) * (n / %(a_case)s) / %(cases)s
        FROM generate_series(0, %(rows)s - 1) n
    """,
    "offers": """
        INSERT INTO litgo.offers (id, case_id, lawyer_id, match_id, status, decline_reason, sent_at, expires_at, responded_at)
        SELECT md5('offer' || m.id)::uuid, m.case_id, m.lawyer_id, m.id,
               CASE WHEN m.position = 1 THEN 'interested' WHEN m.position <= 3 THEN 'declined' ELSE 'closed' END,
               CASE WHEN m.position IN (2, 3) THEN 'not_interested' END,
               m.created_at, m.created_at + interval '1 day', m.created_at + interval '2 hours'
        FROM litgo.case_matches m
    """,
    "contracts": """
        INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, status, created_at)
        SELECT md5('contract' || o.id)::uuid, o.case_id, o.lawyer_id, c.client_id, 'closed', o.sent_at + interval '3 hours'
        FROM litgo.offers o JOIN litgo.cases c ON c.id = o.case_id
        WHERE o.status = 'interested'
    """,
    "reviews": """
        INSERT INTO litgo.reviews (id, contract_id, lawyer_id, client_id, rating, outcome, created_at)
        SELECT md5('review' || k.id)::uuid, k.id, k.lawyer_id, k.client_id, 1 + floor(5 * random())::int,
               (ARRAY['won', 'lost', 'settled'])[1 + floor(3 * random())::int], k.created_at + interval '20 days'
        FROM litgo.contracts k
    """,
}


def run(bench: Bench) -> Iterator[Measured]:
    """Time and memory, from the live tables and from imported history."""
    rows = bench.scaled(ROWS)
    parameters: dict[str, Any] = {
        "rows": rows,
        "cases": rows // A_CASE,
        "a_case": A_CASE,
        "areas": list(AREAS),
        "start": _START,
        "end": _END,
    }
    sources = (("live", "case_matches, offers, contracts and reviews", _LIVE), ("history", "match_history", _HISTORY))
    for source, told, statements in sources:
        with bench.database(f"bench_{source}") as url:
            fill(url, statements, parameters, bench.tell)
            yield from _measured(bench, url, source, told, rows)


def _measured(bench: Bench, url: str, source: str, told: str, rows: int) -> Iterator[Measured]:
    file = bench.home / f"{source}.parquet"
    _write_parquet(url, file, rows)
    rounds = SMALL_ROUNDS if bench.small else ROUNDS
    ours, baseline = [], []
    for number in range(1, rounds + 1):
        bench.tell(f"dataset from {source}: round {number} of {rounds}")
        baseline.append(in_child("dataset_child", ["parquet", str(file)]))
        ours.append(in_child("dataset_child", ["postgresql", url]))
    found = {one["rows"] for one in (*ours, *baseline)}
    if found != {rows}:
        raise RuntimeError(f"the two sides made Datasets of {sorted(found)} rows, {rows} were expected")
    what = f"PostgreSQL to Dataset, {rows:,} x {COLUMNS} from {told}"
    against = "the same rows from parquet to the same Dataset"
    yield Measured(
        f"dataset_{source}",
        what,
        against,
        tuple(one["seconds"] for one in ours),
        tuple(one["seconds"] for one in baseline),
        Target("ratio", 2.5),
        note="reading and grouping included; libraries are loaded before the clock starts",
    )
    yield Measured(
        f"dataset_{source}_memory",
        f"{what}: peak memory on top of the loaded libraries",
        against,
        tuple(one["megabytes"] for one in ours),
        tuple(one["megabytes"] for one in baseline),
        Target("ours", MOST_MEGABYTES),
        unit="MB",
    )


def _write_parquet(url: str, file: Path, rows: int) -> None:
    import pyarrow.parquet as pq

    from litgo_pipelines.marketplace.match_log import read_matches

    matches = read_matches(url, AS_OF)
    if (matches.num_rows, matches.num_columns) != (rows, COLUMNS):
        raise RuntimeError(f"the match log gave {matches.num_rows} x {matches.num_columns}, {rows} x {COLUMNS} were expected")
    pq.write_table(matches, file)
