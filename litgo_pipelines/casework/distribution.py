"""The distribution of a snapshot's month, read from the database and kept as a report.

The figures are defined in `equity.distribution`, the least possible gap in `equity.supply`; where demand and supply meet is read in
`casework.regions`. All of it is as of the snapshot's own moment, so that a day filled in later says what it would have said then; only
profiles (areas, state, when a lawyer joined) are those of the database.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from litgo_pipelines.casework.equity_run import TIMEZONE
from litgo_pipelines.casework.regions import Meeting, read_meetings
from litgo_pipelines.equity.distribution import Distribution, Lawyers, distribution
from litgo_pipelines.equity.promises import Limits
from litgo_pipelines.equity.supply import Group, SmallestGap, smallest_gap
from litgo_pipelines.rollout.outcomes import MarketGini
from litgo_pipelines.settings import LitgoError, Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

TREND = 30
"""Snapshots of the trend."""
WORST_OFF = 15
"""Lawyers listed whom the offers pass by."""

_WINDOW = "> CAST(:as_of AS timestamptz) - interval '30 days'"
# Lawyer by lawyer on an index. Statistics do not know of the newest snapshot, so a join with it could be planned as if it had one row.
_RECEIVED = f"(SELECT count(*) FROM litgo.offers o WHERE o.lawyer_id = s.lawyer_id AND o.sent_at {_WINDOW} AND o.sent_at <= :as_of)"

# In the order of the key: sums of floats in another one differ in their last bits.
_LAWYERS = f"""
SELECT s.cases_30d, s.capacidade_mensal, {_RECEIVED}, s.area,
       COALESCE(l.created_at > CAST(:as_of AS timestamptz) - make_interval(days => :newcomer_days), false)
FROM litgo.equity_snapshots s
LEFT JOIN litgo.lawyers l ON l.id = s.lawyer_id
WHERE s.as_of = :as_of AND s.eligible
ORDER BY s.lawyer_id
"""

# Lawyers who list the same areas in another order are brought together by the caller.
_GROUPS = """
SELECT s.area, COALESCE(l.specialties, '{}'), count(*), sum(s.capacidade_mensal)
FROM litgo.equity_snapshots s LEFT JOIN litgo.lawyers l ON l.id = s.lawyer_id
WHERE s.as_of = :as_of AND s.eligible
GROUP BY 1, 2 ORDER BY 1, 2
"""
_CONTRACTS = f"""
SELECT k.area, count(*) AS held
FROM litgo.contracts c
JOIN litgo.equity_snapshots s ON s.as_of = :as_of AND s.lawyer_id = c.lawyer_id AND s.eligible
JOIN litgo.cases k ON k.id = c.case_id
WHERE c.created_at {_WINDOW} AND c.created_at <= :as_of AND c.status <> 'canceled'
GROUP BY 1 ORDER BY 1
"""

_WORST_OFF = f"""
SELECT lawyer_id, area, state, capacity, cases, offers, EXTRACT(epoch FROM CAST(:as_of AS timestamptz) - last_at)::float8 / 86400
FROM (SELECT s.lawyer_id, s.area, l.state, s.capacidade_mensal AS capacity, s.cases_30d AS cases, {_RECEIVED} AS offers,
             s.last_offered_at AS last_at, l.created_at AS joined_at
      FROM litgo.equity_snapshots s LEFT JOIN litgo.lawyers l ON l.id = s.lawyer_id
      WHERE s.as_of = :as_of AND s.eligible) counted
ORDER BY offers::float8 / capacity, COALESCE(last_at, joined_at) NULLS FIRST, lawyer_id
LIMIT :count
"""

# A step to the next older moment each, where DISTINCT would read every row of every night.
_MOMENTS = """
WITH RECURSIVE moments AS (
    SELECT max(as_of) AS as_of, 1 AS number FROM litgo.equity_snapshots WHERE as_of <= :as_of
    UNION ALL
    SELECT (SELECT max(s.as_of) FROM litgo.equity_snapshots s WHERE s.as_of < moments.as_of), number + 1
    FROM moments WHERE number < :count AND as_of IS NOT NULL
)
SELECT as_of FROM moments WHERE as_of IS NOT NULL ORDER BY as_of
"""
_UNCOUNTED = "SELECT EXISTS (SELECT FROM litgo.lawyers WHERE status = 'active' AND created_at <= :as_of)"

_STORED = "SELECT as_of, figures FROM litgo.equity_reports WHERE as_of = ANY(:moments)"
_NEWEST_STORED = """
SELECT as_of, figures FROM litgo.equity_reports WHERE figures -> 'terms' = CAST(:terms AS jsonb) ORDER BY as_of DESC LIMIT 1
"""
_STORE = """
INSERT INTO litgo.equity_reports (as_of, figures) VALUES (:as_of, :figures)
ON CONFLICT (as_of) DO UPDATE SET figures = EXCLUDED.figures WHERE equity_reports.figures IS DISTINCT FROM EXCLUDED.figures
"""


class NoSnapshot(LitgoError):
    """There is nothing to report on; the message says how to come by a snapshot."""


@dataclass(frozen=True)
class Terms:
    """What a report's figures depend on besides the facts: least size of a group that is compared, and days a lawyer is a newcomer."""

    least_lawyers: int
    newcomer_days: int

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """The settings' terms."""
        return cls(settings.litgo_fairness_min_lawyers, settings.litgo_newcomer_days)


@dataclass(frozen=True)
class Report:
    """What the snapshot of `as_of` says, under which terms, and the least gap between areas that its contracts allowed."""

    as_of: datetime
    terms: Terms
    distribution: Distribution
    smallest: SmallestGap


@dataclass(frozen=True)
class Overview:
    """All that is shown of a snapshot's month besides the trend.

    Attributes:
        lawyers: those who count, in the order of their ids.
        changes: each figure less that of the snapshot seven days before, by name; None where one of them is unknown.
        worst_off: see `read_worst_off`.
        meetings: demand and supply by area and region.
    """

    report: Report
    lawyers: Lawyers
    changes: dict[str, float | None]
    worst_off: list[WorstOff]
    meetings: list[Meeting]


@dataclass(frozen=True)
class WorstOff:
    """A lawyer whom the offers pass by.

    Attributes:
        offers: received in the 30 days.
        days_waiting: since the last offer; None: there never was one.
    """

    lawyer_id: UUID
    area: str
    state: str | None
    capacity: int
    cases: int
    offers: int
    days_waiting: float | None


def limits_of(settings: Settings) -> Limits:
    """The settings' limits."""
    return Limits(
        settings.litgo_fairness_max_gini,
        settings.litgo_fairness_min_offered,
        settings.litgo_fairness_max_gap,
        settings.litgo_fairness_min_lawyers,
        settings.litgo_fairness_min_cases,
    )


def snapshot_moments(connection: Connection, as_of: datetime, count: int = 1) -> list[datetime]:
    """The moments of the newest `count` snapshots up to `as_of`, oldest first."""
    from sqlalchemy import text

    return list(connection.execute(text(_MOMENTS), {"as_of": as_of, "count": count}).scalars())


def newest_snapshot(connection: Connection, as_of: datetime) -> datetime:
    """The moment of the newest snapshot up to `as_of`.

    Raises:
        NoSnapshot: there is none.
    """
    found = snapshot_moments(connection, as_of)
    if not found:
        raise NoSnapshot(
            f"there is no snapshot up to {as_of.isoformat(timespec='seconds')}: run `litgo run calculate_equity_metrics`, "
            "with `--as-of` for a moment that has passed; without lawyers there is nothing to report"
        )
    return found[0]


def week_before(as_of: datetime) -> datetime:
    """The moment of the snapshot seven daily partitions earlier: the same time of day in São Paulo."""
    return (as_of.astimezone(TIMEZONE) - timedelta(days=7)).astimezone(as_of.tzinfo)


def read_lawyers(connection: Connection, as_of: datetime, *, newcomer_days: int) -> Lawyers:
    """The lawyers of a snapshot who count: active then, eligible in at least one area with demand, idle ones included.

    Raises:
        NoSnapshot: there are lawyers, but no snapshot of this moment. Before the first lawyer, nobody counts.
    """
    import numpy as np
    from sqlalchemy import text

    rows = connection.execute(text(_LAWYERS), {"as_of": as_of, "newcomer_days": newcomer_days}).all()
    if not rows and not _exists(connection, as_of) and connection.execute(text(_UNCOUNTED), {"as_of": as_of}).scalar_one():
        raise NoSnapshot(f"there is no snapshot of {as_of.isoformat(timespec='seconds')}: materialise equity_metrics of that day first")
    cases, capacity, offers, area, newcomer = zip(*rows, strict=True) if rows else ((),) * 5
    return Lawyers(
        np.array(cases, dtype=np.int64),
        np.array(capacity, dtype=np.int64),
        np.array(offers, dtype=np.int64),
        np.array(area, dtype=np.str_),
        np.array(newcomer, dtype=np.bool_),
    )


def read_smallest_gap(connection: Connection, as_of: datetime, *, least_lawyers: int) -> SmallestGap:
    """The least gap between areas that the contracts of the lawyers who count allowed, see `equity.supply`."""
    from sqlalchemy import text

    contracts: dict[str, int] = {row.area: row.held for row in connection.execute(text(_CONTRACTS), {"as_of": as_of})}
    people: dict[tuple[str, frozenset[str]], tuple[int, int]] = {}
    for area, specialties, lawyers, capacity in connection.execute(text(_GROUPS), {"as_of": as_of}):
        # What nobody asks for does not tell lawyers apart.
        key = area, frozenset({area, *specialties} & contracts.keys())
        before = people.get(key, (0, 0))
        people[key] = before[0] + lawyers, before[1] + capacity
    groups = [Group(area, practised, lawyers, capacity) for (area, practised), (lawyers, capacity) in people.items()]
    return smallest_gap(contracts, groups, least_lawyers=least_lawyers)


def compute_report(connection: Connection, as_of: datetime, terms: Terms) -> Report:
    """The report of the snapshot of `as_of`, from the facts.

    Raises:
        NoSnapshot: see `read_lawyers`.
    """
    return _report_on(connection, as_of, terms, read_lawyers(connection, as_of, newcomer_days=terms.newcomer_days))


def read_overview(connection: Connection, as_of: datetime, terms: Terms) -> Overview:
    """All that is to be shown of the snapshot of `as_of`, computed from the facts. Writes nothing.

    Raises:
        NoSnapshot: see `read_lawyers`.
    """
    lawyers = read_lawyers(connection, as_of, newcomer_days=terms.newcomer_days)
    report = _report_on(connection, as_of, terms, lawyers)
    return Overview(report, lawyers, week_change(connection, report), read_worst_off(connection, as_of), read_meetings(connection, as_of))


def write_report(connection: Connection, report: Report) -> None:
    """Keep a report in `equity_reports`, in place of an earlier one of the same moment."""
    from sqlalchemy import bindparam, text
    from sqlalchemy.dialects.postgresql import JSONB

    figures = {
        "terms": asdict(report.terms),
        "distribution": report.distribution.to_json(),
        "smallest_gap": report.smallest.to_json(),
    }
    statement = text(_STORE).bindparams(bindparam("figures", type_=JSONB))
    connection.execute(statement, {"as_of": report.as_of, "figures": figures})


def stored_reports(connection: Connection, moments: Sequence[datetime], terms: Terms) -> dict[datetime, Report]:
    """The reports kept of these moments under these terms, by moment. One made under other terms says something else: it is not there."""
    from sqlalchemy import text

    rows = connection.execute(text(_STORED), {"moments": list(moments)})
    return {row.as_of: found for row in rows if (found := _from_json(row.as_of, row.figures)).terms == terms}


def newest_stored(connection: Connection, terms: Terms) -> Report | None:
    """The newest report kept under these terms; None: there is none."""
    from sqlalchemy import text

    row = connection.execute(text(_NEWEST_STORED), {"terms": json.dumps(asdict(terms))}).one_or_none()
    return None if row is None else _from_json(row.as_of, row.figures)


def report_of(connection: Connection, as_of: datetime, terms: Terms) -> Report:
    """The report kept of this moment, or computed where there is none. Writes nothing.

    Raises:
        NoSnapshot: see `read_lawyers`.
    """
    return stored_reports(connection, [as_of], terms).get(as_of) or compute_report(connection, as_of, terms)


def gini_since(connection: Connection, began: datetime, as_of: datetime, terms: Terms) -> MarketGini:
    """Gini of utilisation by the newest snapshots up to both moments; None where there is none, or nobody in it counts."""
    return MarketGini(*(_newest_gini(connection, moment, terms) for moment in (began, as_of)))


def _newest_gini(connection: Connection, as_of: datetime, terms: Terms) -> float | None:
    try:
        return report_of(connection, newest_snapshot(connection, as_of), terms).distribution.gini_utilisation
    except NoSnapshot:
        return None


def reports(connection: Connection, as_of: datetime, terms: Terms, count: int = TREND) -> list[Report]:
    """The reports of the last `count` snapshots up to `as_of`, oldest first. Those that are missing are computed and kept."""
    moments = snapshot_moments(connection, as_of, count)
    found = stored_reports(connection, moments, terms)
    missing = [compute_report(connection, moment, terms) for moment in moments if moment not in found]
    # Last of all and in order: two runs that write the same ones wait for each other, briefly, and never in a circle.
    for report in missing:
        write_report(connection, report)
    return sorted([*found.values(), *missing], key=lambda report: report.as_of)


def week_change(connection: Connection, report: Report) -> dict[str, float | None]:
    """Each figure less that of the snapshot seven days before, by name; None where there is no such snapshot."""
    then = week_before(report.as_of)
    if not _exists(connection, then):
        return report.distribution.change_since(None)
    return report.distribution.change_since(report_of(connection, then, report.terms).distribution)


def read_worst_off(connection: Connection, as_of: datetime, count: int = WORST_OFF) -> list[WorstOff]:
    """Those of the lawyers who count with the fewest offers for their capacity; among equals who waited longest, since the last offer
    or, without one, since joining.
    """
    from sqlalchemy import text

    return [WorstOff(*row) for row in connection.execute(text(_WORST_OFF), {"as_of": as_of, "count": count})]


def _report_on(connection: Connection, as_of: datetime, terms: Terms, lawyers: Lawyers) -> Report:
    smallest = read_smallest_gap(connection, as_of, least_lawyers=terms.least_lawyers)
    return Report(as_of, terms, distribution(lawyers, least_lawyers=terms.least_lawyers), smallest)


def _exists(connection: Connection, moment: datetime) -> bool:
    return snapshot_moments(connection, moment) == [moment]


def _from_json(as_of: datetime, figures: dict[str, Any]) -> Report:
    return Report(as_of, Terms(**figures["terms"]), Distribution.from_json(figures["distribution"]), SmallestGap(**figures["smallest_gap"]))
