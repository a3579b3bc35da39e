"""The lawyers as arrays in memory, with their loads: what `matching.decide` looks at.

Read from PostgreSQL in two parts: profiles and track records, which change with reviews (seldom), and loads, which change with
every offer (often). Who is chosen is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, overload
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.equity.allocation import effective_load, never
from litgo_pipelines.marketplace.vectors import Vectors, read
from litgo_pipelines.ranking.features import PRIMARY_AREA_MATCH, SPECIALTY_AREA_MATCH
from litgo_pipelines.ranking.text import DIMENSION, vectorise

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FAR_FUTURE = np.iinfo(np.int64).max
_MOST_RECENT = 20

_PROFILES = """
SELECT l.id, l.primary_area, l.specialties, l.lat, l.lng, l.cv_score, l.tempo_resposta_h, l.avaliacao_media, l.kpi_softskill,
       COALESCE(r.won, 0), COALESCE(r.lost, 0), COALESCE(o.received, 0)
FROM litgo.lawyers l
LEFT JOIN (SELECT lawyer_id, count(*) FILTER (WHERE outcome = 'won') AS won, count(*) FILTER (WHERE outcome = 'lost') AS lost
           FROM litgo.reviews WHERE created_at <= :as_of GROUP BY lawyer_id) r ON r.lawyer_id = l.id
LEFT JOIN (SELECT lawyer_id, count(*) AS received FROM litgo.offers WHERE sent_at <= :as_of GROUP BY lawyer_id) o ON o.lawyer_id = l.id
ORDER BY l.id
"""

# The newest texts say best what a lawyer does, and bound what a start has to read.
RECENT_CASES = f"""
SELECT lawyer_id, case_id
FROM (SELECT lawyer_id, case_id, row_number() OVER (PARTITION BY lawyer_id ORDER BY created_at DESC, id) AS age
      FROM litgo.contracts WHERE status <> 'canceled' AND created_at <= :as_of) every
WHERE age <= {_MOST_RECENT}
"""
_HANDLED = f"SELECT lawyer_id, md5(string_agg(case_id::text, ' ' ORDER BY case_id)) FROM ({RECENT_CASES}) recent GROUP BY lawyer_id"
# In a fixed order: sums of floats in another one differ in their last bits.
_HANDLED_TEXTS = f"""
SELECT recent.lawyer_id, k.summary FROM ({RECENT_CASES}) recent JOIN litgo.cases k ON k.id = recent.case_id
WHERE recent.lawyer_id = ANY(:ids)
ORDER BY recent.lawyer_id, recent.case_id
"""
_TEXTS_AT_ONCE = 4096
LEAST_COVERAGE = 0.9
"""Share of the lawyers who handled something that must have a vector in a space before cases are compared there."""

_SPACES = "SELECT name FROM litgo.embedding_spaces ORDER BY name"

# The nightly count holds as of the newest snapshot; contracts made since are added, so that a day's signings count at once. After nights
# without a run the window is counted anew.
_LOADS = """
WITH base AS (
    SELECT CASE WHEN max(as_of) > CAST(:as_of AS timestamptz) - interval '2 days' THEN max(as_of) END AS counted_until
    FROM litgo.equity_snapshots
), signed AS (
    SELECT c.lawyer_id, count(*) AS contracts
    FROM litgo.contracts c
    WHERE c.status <> 'canceled' AND c.created_at <= :as_of
      AND c.created_at > COALESCE((SELECT counted_until FROM base), CAST(:as_of AS timestamptz) - interval '30 days')
      AND (CAST(:ids AS uuid[]) IS NULL OR c.lawyer_id = ANY(:ids))
    GROUP BY c.lawyer_id
), flying AS (
    SELECT o.lawyer_id, count(*) AS offers
    FROM litgo.offers o
    WHERE o.status IN ('pending', 'interested') AND (o.status = 'interested' OR o.expires_at > :as_of)
      AND (CAST(:ids AS uuid[]) IS NULL OR o.lawyer_id = ANY(:ids))
      AND EXISTS (SELECT FROM litgo.cases k WHERE k.id = o.case_id AND k.status = 'open')
      AND NOT EXISTS (SELECT FROM litgo.contracts c WHERE c.case_id = o.case_id AND c.status <> 'canceled')
    GROUP BY o.lawyer_id
)
SELECT l.id, l.status = 'active', l.available_until, l.available_from, l.capacidade_mensal, l.last_offered_at,
       CASE WHEN base.counted_until IS NULL THEN 0 ELSE l.cases_30d END + COALESCE(signed.contracts, 0), COALESCE(flying.offers, 0)
FROM litgo.lawyers l CROSS JOIN base
LEFT JOIN signed ON signed.lawyer_id = l.id LEFT JOIN flying ON flying.lawyer_id = l.id
WHERE CAST(:ids AS uuid[]) IS NULL OR l.id = ANY(:ids)
ORDER BY l.id
"""

# Contracts follow their offers by about a day; both are counted from indexes alone.
_CONTRACTS_PER_OFFER = """
SELECT (SELECT count(*) FROM litgo.offers
        WHERE sent_at > CAST(:as_of AS timestamptz) - interval '31 days' AND sent_at <= CAST(:as_of AS timestamptz) - interval '1 day'),
       (SELECT count(*) FROM litgo.contracts
        WHERE created_at > CAST(:as_of AS timestamptz) - interval '30 days' AND created_at <= :as_of AND status <> 'canceled')
"""
PRIOR_CONTRACTS, PRIOR_OFFERS = 20.0, 100.0
"""What draws the share of offers that become contracts towards one in five where there are few."""


@dataclass(frozen=True)
class AreaPool:
    """The lawyers who practise an area: indices, shape (n,), and their area match, shape (n,)."""

    members: NDArray[np.intp]
    match: NDArray[np.float64]


@dataclass(frozen=True)
class Profiles:
    """Who the lawyers are, all of shape (n,) unless said otherwise; NaN where unknown.

    Attributes:
        ids: 16 bytes each, ascending; `uuids` are the same as objects.
        row: index of a lawyer by id.
        pools: the practitioners of each area.
        texts: shape (n, DIMENSION), sum of the vectors of the cases they handled lately.
        handled: a digest of which cases those are, by lawyer; who handled none is not in it.
        meanings: the same cases by a model, one row a lawyer, by space; only spaces in which nearly all of them have a vector.
        won, lost, received: cases won and lost, offers received so far.
    """

    ids: NDArray[np.void]
    uuids: list[UUID]
    row: dict[bytes, int]
    pools: dict[str, AreaPool]
    lat: NDArray[np.float64]
    lng: NDArray[np.float64]
    qualification: NDArray[np.float64]
    response_h: NDArray[np.float64]
    rating: NDArray[np.float64]
    soft_skill: NDArray[np.float64]
    won: NDArray[np.int64]
    lost: NDArray[np.int64]
    received: NDArray[np.int64]
    texts: NDArray[np.float32]
    handled: dict[bytes, str]
    meanings: dict[str, Vectors] = field(default_factory=dict)


@dataclass(frozen=True)
class Loads:
    """How busy the lawyers are, shapes (n,); times in microseconds since the epoch.

    Attributes:
        active: whether the status is active.
        until, since: absence as declared; the greatest int64 and the least where nothing was.
        p_win: probability that an offer becomes a contract.
    """

    active: NDArray[np.bool_]
    until: NDArray[np.int64]
    since: NDArray[np.int64]
    capacity: NDArray[np.float64]
    last_offered: NDArray[np.int64]
    cases: NDArray[np.float64]
    in_flight: NDArray[np.float64]
    p_win: float


class FreshLoad(NamedTuple):
    """One lawyer's load as the database has it now."""

    active: bool
    cases: float
    in_flight: float
    capacity: float


@dataclass(frozen=True)
class Market:
    """Profiles and loads of the same lawyers, as read at `as_of`. Loads' arrays are written to by `note_offers` only."""

    profiles: Profiles
    loads: Loads
    as_of: datetime

    def available(self, members: NDArray[np.intp], at: int) -> NDArray[np.bool_]:
        """Which of `members` are active and not absent at `at` (microseconds). Shape of members."""
        until, since = self.loads.until[members], self.loads.since[members]
        returns = since > until
        away = np.where(returns, (at >= until) & (at < since), (at >= until) | (at < since))
        return np.asarray(self.loads.active[members] & ~away)

    def u_eff(self, members: NDArray[np.intp]) -> NDArray[np.float64]:
        """Effective load of `members`."""
        loads = self.loads
        return effective_load(loads.cases[members], loads.in_flight[members], loads.capacity[members], loads.p_win)

    def step(self, members: NDArray[np.intp]) -> NDArray[np.float64]:
        """What one more offer adds to the effective load of `members`. Shape of members."""
        return np.asarray(self.loads.p_win / np.maximum(1.0, self.loads.capacity[members]))

    def note_offers(self, members: NDArray[np.intp], at: int) -> None:
        """Count an offer sent to each of `members` before the next reading does."""
        self.loads.in_flight[members] += 1
        self.profiles.received[members] += 1
        self.loads.last_offered[members] = np.maximum(self.loads.last_offered[members], at)

    def with_own_loads(self) -> Market:
        """The same lawyers with a copy of all that `note_offers` and `note_loads` write to."""
        loads = self.loads
        copied = replace(
            loads,
            active=loads.active.copy(),
            capacity=loads.capacity.copy(),
            last_offered=loads.last_offered.copy(),
            cases=loads.cases.copy(),
            in_flight=loads.in_flight.copy(),
        )
        return Market(replace(self.profiles, received=self.profiles.received.copy()), copied, self.as_of)

    def note_loads(self, found: dict[bytes, FreshLoad]) -> None:
        """Take over loads as re-read from the database, by lawyer id."""
        loads = self.loads
        for lawyer, fresh in found.items():
            row = self.profiles.row[lawyer]
            loads.active[row], loads.cases[row], loads.in_flight[row], loads.capacity[row] = fresh


@overload
def micros(moment: datetime) -> int: ...


@overload
def micros(moment: datetime | None) -> int | None: ...


def micros(moment: datetime | None) -> int | None:
    """Microseconds since the epoch of an aware datetime."""
    return None if moment is None else round(moment.timestamp() * 1_000_000)


def as_void(ids: list[UUID]) -> NDArray[np.void]:
    """Ids as an array of 16 bytes each."""
    return np.frombuffer(b"".join(one.bytes for one in ids), dtype="V16")


def read_market(connection: Connection, as_of: datetime, known: Profiles | None = None, *, with_meanings: bool = False) -> Market:
    """Read lawyers, track records and loads as they are at `as_of`; `known` as for `read_profiles`.

    The transaction should be one of repeatable reads, so that both parts tell of the same lawyers.

    Args:
        with_meanings: whether to read the stored vectors of what lawyers handled, as they are at this moment.
    """
    profiles = read_profiles(connection, as_of, known)
    if with_meanings:
        profiles = replace(profiles, meanings=_read_meanings(connection, profiles))
    return Market(profiles, read_loads(connection, as_of), as_of)


def _read_meanings(connection: Connection, profiles: Profiles) -> dict[str, Vectors]:
    from sqlalchemy import text

    experienced = profiles.texts.any(axis=1)
    if not experienced.any():
        return {}
    found = {space: read(connection, space, "lawyer", profiles.uuids) for space in connection.execute(text(_SPACES)).scalars().all()}
    covered = {space: vectors.known[experienced].mean() for space, vectors in found.items()}
    return {space: vectors for space, vectors in found.items() if covered[space] >= LEAST_COVERAGE}


def refresh_loads(connection: Connection, market: Market, as_of: datetime) -> Market | None:
    """The same lawyers with loads read anew; None where lawyers came or went, so that all must be read."""
    from sqlalchemy import text

    known = connection.execute(text("SELECT id FROM litgo.lawyers ORDER BY id")).scalars().all()
    if b"".join(one.bytes for one in known) != market.profiles.ids.tobytes():
        return None
    return Market(market.profiles, read_loads(connection, as_of), as_of)


def read_profiles(connection: Connection, as_of: datetime, known: Profiles | None = None) -> Profiles:
    """Read who the lawyers are and what they handled up to `as_of`.

    Args:
        known: an earlier reading, from which the texts of those who handled nothing new since are taken over.
    """
    from sqlalchemy import text

    rows = connection.execute(text(_PROFILES), {"as_of": as_of}).all()
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * 12
    ids = as_void(list(columns[0]))
    row = {one.tobytes(): index for index, one in enumerate(ids)}
    places = [np.array(column, dtype=np.float64) for column in columns[3:5]]
    # Columns of 4 bytes travel as their shortest decimals: only as 4-byte floats are they what was written.
    shares = [np.array(column, dtype=np.float64).astype(np.float32).astype(np.float64) for column in columns[5:9]]
    counts = [np.array(column, dtype=np.int64) for column in columns[9:12]]
    texts, handled = _read_texts(connection, as_of, row, known)
    lat, lng, qualification, response_h, rating, soft_skill = *places, *shares
    won, lost, received = counts
    return Profiles(
        ids=ids,
        uuids=list(columns[0]),
        row=row,
        pools=area_pools(columns[1], columns[2]),
        lat=lat,
        lng=lng,
        qualification=qualification,
        response_h=response_h,
        rating=rating,
        soft_skill=soft_skill,
        won=won,
        lost=lost,
        received=received,
        texts=texts,
        handled=handled,
    )


def _read_texts(
    connection: Connection, as_of: datetime, row: dict[bytes, int], known: Profiles | None
) -> tuple[NDArray[np.float32], dict[bytes, str]]:
    """`texts` and `handled` of the lawyers in `row`. Only what changed since `known` is read and turned into vectors."""
    from sqlalchemy import text

    handled = {lawyer.bytes: digest for lawyer, digest in connection.execute(text(_HANDLED), {"as_of": as_of})}
    texts = np.zeros((len(row), DIMENSION), dtype=np.float32)
    changed = []
    for lawyer, digest in handled.items():
        if known is not None and known.handled.get(lawyer) == digest:
            texts[row[lawyer]] = known.texts[known.row[lawyer]]
        else:
            changed.append(UUID(bytes=lawyer))
    _add_texts(connection, as_of, row, changed, texts)
    return texts, handled


Vectoriser = Callable[[list[str]], NDArray[np.float32]]
"""Turns texts into vectors, as `ranking.text.vectorise` does."""


def _add_texts(
    connection: Connection,
    as_of: datetime,
    row: dict[bytes, int],
    lawyers: list[UUID],
    texts: NDArray[np.float32],
    vectors: Vectoriser = vectorise,
) -> None:
    """Add the texts of the cases that `lawyers` handled lately to their rows of `texts`, which are empty."""
    from sqlalchemy import text

    if not lawyers:
        return
    found = connection.execute(text(_HANDLED_TEXTS), {"as_of": as_of, "ids": lawyers})
    for part in found.partitions(_TEXTS_AT_ONCE):
        np.add.at(texts, [row[lawyer.bytes] for lawyer, _ in part], vectors([summary for _, summary in part]))


def reread_texts(
    connection: Connection, profiles: Profiles, lawyers: NDArray[np.intp], as_of: datetime, vectors: Vectoriser = vectorise
) -> None:
    """Bring the texts of some lawyers (indices) to what a fresh reading at `as_of` would have; `handled` stays as it was read.

    Args:
        vectors: stands in for `vectorise` where the same texts come again and again.
    """
    changed = np.unique(lawyers)
    profiles.texts[changed] = 0.0
    _add_texts(connection, as_of, profiles.row, [profiles.uuids[one] for one in changed.tolist()], profiles.texts, vectors)


def area_pools(primary: tuple[str, ...], specialties: tuple[list[str], ...]) -> dict[str, AreaPool]:
    """Practitioners of each area: the primary one counts fully, further specialties less."""
    found: dict[str, dict[int, float]] = {}
    for index, (first, others) in enumerate(zip(primary, specialties, strict=True)):
        for area in others:
            found.setdefault(area, {})[index] = SPECIALTY_AREA_MATCH
        found.setdefault(first, {})[index] = PRIMARY_AREA_MATCH
    return {
        area: AreaPool(np.fromiter(members, dtype=np.intp, count=len(members)), np.fromiter(members.values(), dtype=np.float64))
        for area, members in found.items()
    }


def read_loads(connection: Connection, as_of: datetime) -> Loads:
    """Read every lawyer's load at `as_of`, in the order of ids."""
    from sqlalchemy import text

    rows = connection.execute(text(_LOADS), {"as_of": as_of, "ids": None}).all()
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * 8
    return Loads(
        active=np.array(columns[1], dtype=bool),
        until=_times(columns[2], _FAR_FUTURE),
        since=_times(columns[3], int(never())),
        capacity=np.array(columns[4], dtype=np.float64),
        last_offered=_times(columns[5], int(never())),
        cases=np.array(columns[6], dtype=np.float64),
        in_flight=np.array(columns[7], dtype=np.float64),
        p_win=read_p_win(connection, as_of),
    )


def _times(moments: tuple[datetime | None, ...], unknown: int) -> NDArray[np.int64]:
    return np.array([unknown if moment is None else micros(moment) for moment in moments], dtype=np.int64)


def read_p_win(connection: Connection, as_of: datetime) -> float:
    """Contracts per offer over the last 30 days, drawn towards one in five where offers are few. At most 1."""
    from sqlalchemy import text

    offers, contracts = connection.execute(text(_CONTRACTS_PER_OFFER), {"as_of": as_of}).one()
    return min(1.0, float((contracts + PRIOR_CONTRACTS) / (offers + PRIOR_OFFERS)))


def reread_loads(connection: Connection, lawyers: list[UUID], as_of: datetime) -> dict[bytes, FreshLoad]:
    """Loads of some lawyers now, by id."""
    from sqlalchemy import text

    rows = connection.execute(text(_LOADS), {"as_of": as_of, "ids": lawyers}).all()
    return {
        one.bytes: FreshLoad(active, float(cases), float(flying), float(capacity)) for one, active, _, _, capacity, _, cases, flying in rows
    }
