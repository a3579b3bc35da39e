"""The nightly equity run over 100,000 lawyers and 1,000,000 contracts of 120 days.

Against the least that any such run must do (the aggregate over the window, and the snapshot's rows inserted), and against asking
the database lawyer by lawyer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from litgo_pipelines_tests.bench.measure import Measured, Target, seconds
from litgo_pipelines_tests.bench.scratch import AREAS, Bench, fill, vacuum

if TYPE_CHECKING:
    from sqlalchemy import Engine

LAWYERS = 100_000
CONTRACTS = 1_000_000
DAYS = 120
SAMPLE = 2_000
ROUNDS = 5
MOST = 2.5
NIGHTS_BEFORE = 4
NEW_LAWYER_OFFERS = 10

# 02:00 in São Paulo. Facts reach beyond the first night, for the nights that follow it.
FIRST_NIGHT = datetime(2026, 3, 31, 5, 0, 30, tzinfo=UTC)
_LAST_FACT = FIRST_NIGHT + timedelta(days=ROUNDS + 2)

# Facts lie on whole minutes, nights half a minute beside them: a night one second later sees the same facts.
_FACTS = {
    "lawyers": """
        INSERT INTO litgo.lawyers (id, name, oab_number, primary_area, specialties, anos_experiencia, tipo_atuacao, success_rate,
                                   max_concurrent_cases, created_at, updated_at)
        SELECT md5('lawyer' || n)::uuid, 'Lawyer ' || n, n::text, (%(areas)s::text[])[1 + n %% 8],
               ARRAY[(%(areas)s::text[])[1 + n / 8 %% 8]], n %% 25,
               (ARRAY['individual', 'escritorio_pequeno', 'escritorio_medio', 'escritorio_grande'])[1 + n %% 4],
               random(), CASE WHEN n %% 3 = 0 THEN 5 + n %% 20 END, %(start)s, %(start)s
        FROM generate_series(1, %(lawyers)s) n
    """,
    "clients": "INSERT INTO litgo.clients (id) SELECT md5('client' || n)::uuid FROM generate_series(1, 1000) n",
    "cases": """
        INSERT INTO litgo.cases (id, client_id, area, urgency_h, summary, status, created_at)
        SELECT md5('case' || n)::uuid, md5('client' || 1 + n %% 1000)::uuid, (%(areas)s::text[])[1 + n %% 8], 48,
               'rescisão de contrato com multa', 'contracted',
               date_trunc('minute', %(start)s + random() * (%(end)s - %(start)s))
        FROM generate_series(1, %(contracts)s) n
    """,
    "contracts": """
        INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, status, created_at)
        SELECT gen_random_uuid(), c.id, md5('lawyer' || 1 + floor(%(lawyers)s * random() ^ 1.5)::int)::uuid, md5('client1')::uuid,
               CASE WHEN random() < .05 THEN 'canceled' ELSE 'active' END, c.created_at + interval '2 hours'
        FROM litgo.cases c
    """,
}

_WINDOW = """
SELECT sum(cases) FROM (
    SELECT lawyer_id, count(*) AS cases FROM litgo.contracts
    WHERE created_at > CAST(:as_of AS timestamptz) - interval '30 days' AND created_at <= :as_of AND status <> 'canceled'
    GROUP BY lawyer_id
) counted
"""
_COLUMNS = "lawyer_id, cases_30d, capacidade_mensal, utilisation, area, capacity_band, is_new, eligible, last_offered_at"
_BARE_TABLES = (
    "CREATE SCHEMA bare",
    "CREATE TABLE bare.snapshots (LIKE litgo.equity_snapshots INCLUDING ALL)",
    f"CREATE TABLE bare.ready AS SELECT {_COLUMNS} FROM litgo.equity_snapshots WHERE as_of = :as_of ORDER BY md5(lawyer_id::text)",
    f"INSERT INTO bare.snapshots (as_of, {_COLUMNS}) SELECT :as_of, {_COLUMNS} FROM bare.ready",
)
_BARE_INSERT = f"INSERT INTO bare.snapshots (as_of, {_COLUMNS}) SELECT :as_of, {_COLUMNS} FROM bare.ready"

_COUNT_ONE = """
SELECT count(*) FROM litgo.contracts
WHERE lawyer_id = :lawyer AND created_at > CAST(:as_of AS timestamptz) - interval '30 days' AND created_at <= :as_of
  AND status <> 'canceled'
"""
_LATEST_ONE = "SELECT max(sent_at) FROM litgo.offers WHERE lawyer_id = :lawyer AND sent_at <= :as_of"
_SNAPSHOT_ONE = f"""
INSERT INTO bare.snapshots (as_of, {_COLUMNS})
SELECT :night, id, :cases, capacidade_mensal, :cases ::real / capacidade_mensal, primary_area, '1-10', true, true, :latest
FROM litgo.lawyers WHERE id = :lawyer
"""
_UPDATE_ONE = "UPDATE litgo.lawyers SET cases_30d = :cases, updated_at = now() WHERE id = :lawyer"


def run(bench: Bench) -> Iterator[Measured]:
    """Unchanged nights, next days, and lawyer by lawyer."""
    lawyers = bench.scaled(LAWYERS)
    with marketplace(bench, lawyers, bench.scaled(CONTRACTS)) as (url, engine):
        quiet, changed = nights(bench, url, engine, ROUNDS)
        size = f"{lawyers:,} lawyers, {bench.scaled(CONTRACTS):,} contracts of {DAYS} days"
        yield quiet.measured("equity_unchanged_night", f"equity run in which no lawyer changes ({size})", (0, 0))
        yield changed.measured("equity_next_day", f"equity run of the next day ({size})", (lawyers // 50, lawyers))
        bench.tell("lawyer by lawyer")
        yield _lawyer_by_lawyer(engine, lawyers, tuple(quiet.ours))


@contextmanager
def marketplace(bench: Bench, lawyers: int, contracts: int) -> Iterator[tuple[str, Engine]]:
    """A database with this many of both that nights have written to: not one that was just filled to the brim."""
    from litgo_pipelines.marketplace.database import open_engine

    with bench.database("bench_equity") as url:
        window = {"start": _LAST_FACT - timedelta(days=DAYS), "end": _LAST_FACT}
        fill(url, _FACTS, {"areas": list(AREAS), "lawyers": lawyers, "contracts": contracts, **window}, bench.tell)
        engine = open_engine(url, role=None)
        try:
            bench.tell("the nights before")
            for number in range(NIGHTS_BEFORE, -1, -1):
                _ours(engine, FIRST_NIGHT - timedelta(days=number))
                vacuum(url, "litgo.lawyers", "litgo.equity_snapshots")
            _prepare_bare(engine)
            yield url, engine
        finally:
            engine.dispose()


def nights(bench: Bench, url: str, engine: Engine, rounds: int) -> tuple[Rounds, Rounds]:
    """Unchanged nights, then next days."""
    quiet, changed = Rounds(url, engine), Rounds(url, engine)
    for number in range(1, rounds + 1):
        bench.tell(f"unchanged nights: round {number} of {rounds}")
        quiet.play(FIRST_NIGHT + timedelta(seconds=number))
    for number in range(1, rounds + 1):
        bench.tell(f"next days: round {number} of {rounds}")
        changed.play(FIRST_NIGHT + timedelta(days=number))
    return quiet, changed


def _ours(engine: Engine, as_of: datetime) -> int:
    """The product's run; how many lawyers changed."""
    from litgo_pipelines.casework.equity_run import run_equity

    return run_equity(engine, as_of, new_lawyer_offers=NEW_LAWYER_OFFERS).rows_changed


def _prepare_bare(engine: Engine) -> None:
    """A table like the snapshots', and rows to insert that are ready, in no order, as an aggregate gives them."""
    from sqlalchemy import text

    with engine.begin() as connection:
        for statement in _BARE_TABLES:
            connection.execute(text(statement.replace(":as_of", f"'{FIRST_NIGHT.isoformat()}'")))


def _bare(engine: Engine, as_of: datetime) -> None:
    """The least: the aggregate, whose rows stay on the server, and ready rows inserted, in one transaction."""
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text(_WINDOW), {"as_of": as_of}).all()
        connection.execute(text(_BARE_INSERT), {"as_of": as_of})


class Rounds:
    """Both sides in turns, one round a night."""

    def __init__(self, url: str, engine: Engine) -> None:
        self._url = url
        self._engine = engine
        self.ours: list[float] = []
        self._baseline: list[float] = []
        self._changed: list[int] = []

    def play(self, as_of: datetime) -> None:
        """One night on both sides."""
        self._between()
        self._baseline.append(seconds(lambda: _bare(self._engine, as_of)))
        self._between()
        self.ours.append(seconds(lambda: self._changed.append(_ours(self._engine, as_of))))

    def _between(self) -> None:
        vacuum(self._url, "litgo.lawyers", "litgo.equity_snapshots", "bare.snapshots")

    def measured(self, name: str, what: str, changed: tuple[int, int]) -> Measured:
        """What came out.

        Raises:
            RuntimeError: another number of lawyers changed than the rounds were made for.
        """
        least, largest = min(self._changed), max(self._changed)
        if not (changed[0] <= least and largest <= changed[1]):
            raise RuntimeError(f"{name}: {least} to {largest} lawyers changed, {changed[0]} to {changed[1]} were expected")
        return Measured(
            name,
            what,
            "bare aggregate over the window + the same snapshot rows inserted",
            tuple(self.ours),
            tuple(self._baseline),
            Target("ratio", MOST),
            note=f"{least:,} to {largest:,} lawyers changed a night",
        )


def _lawyer_by_lawyer(engine: Engine, lawyers: int, ours: tuple[float, ...]) -> Measured:
    """The same figures lawyer by lawyer over the product's indexes, the way a client of a REST interface gets and puts them."""
    ids = _sampled(engine, min(SAMPLE, lawyers))
    share = lawyers / len(ids)
    merely = seconds(lambda: _count(engine, ids)) * share
    same = seconds(lambda: _one_by_one(engine, ids)) * share
    return Measured(
        "equity_lawyer_by_lawyer",
        "equity run in which no lawyer changes",
        "for each lawyer a count, the latest offer, an update and a snapshot row, each a transaction of its own",
        ours,
        (same,),
        Target("ratio", 150, least=True),
        faster=True,
        note=f"{len(ids):,} lawyers measured, scaled to {lawyers:,}; over a local socket, without a network. "
        f"The counts alone, in one transaction that writes nothing, take {merely:.3g} s: {merely / min(ours):.3g}x",
    )


def _sampled(engine: Engine, sample: int) -> list[object]:
    from sqlalchemy import text

    with engine.connect() as connection:
        statement = text("SELECT id FROM litgo.lawyers ORDER BY md5(id::text) LIMIT :n")
        return list(connection.execute(statement, {"n": sample}).scalars())


def _one_by_one(engine: Engine, ids: list[object]) -> None:
    """What a run does, four statements a lawyer."""
    from sqlalchemy import text

    statements = [text(one) for one in (_COUNT_ONE, _LATEST_ONE, _UPDATE_ONE, _SNAPSHOT_ONE)]
    # A night of its own, so that the rows are new ones.
    night = FIRST_NIGHT - timedelta(days=400)
    for one in ids:
        found: dict[str, object] = {"lawyer": one, "as_of": FIRST_NIGHT, "night": night}
        for name, statement in zip(("cases", "latest", None, None), statements, strict=True):
            with engine.begin() as connection:
                result = connection.execute(statement, found)
                if name is not None:
                    found[name] = result.scalar_one()


def _count(engine: Engine, ids: list[object]) -> None:
    """A count a lawyer, nothing written."""
    from sqlalchemy import text

    count = text(_COUNT_ONE)
    with engine.connect() as connection:
        for one in ids:
            connection.execute(count, {"lawyer": one, "as_of": FIRST_NIGHT}).scalar_one()
