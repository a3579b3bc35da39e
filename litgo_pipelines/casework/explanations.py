"""Why a lawyer was or was not offered a case, read from what was recorded when it was decided.

Reading is here; nothing is recomputed, and what was not recorded is None. Who practises which area, who is active and who
is away is known as of today only: where a finding rests on that, it says so. What an explanation
consists of is in `findings`, words are found in `wording` and `letters`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from litgo_pipelines.casework.findings import (
    COMPARED,
    FEATURE_NAMES,
    AnsweredRequest,
    Candidate,
    CaseExplanation,
    DayLoad,
    Decision,
    Finding,
    Lawyer,
    LawyerExplanation,
    Numbers,
    Offer,
    Peers,
    Request,
    Summary,
)
from litgo_pipelines.casework.oab import OabNumber, parse_oab
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_CASE_WINDOW = timedelta(days=30)

# The log of a request as a whole: offers it made, candidates recorded, and the least value of those who were recorded and not shown.
_REQUEST = """
SELECT r.id AS request_id, r.case_id, k.area, r.started_at, r.duration_ms, r.model_version, r.equity_price AS price, r.eligible, r.cutoff,
       r.exploration, log.offers_made, log.recorded, log.least_recorded,
"""
_LOG = """
CROSS JOIN LATERAL (
    SELECT (SELECT count(*) FROM litgo.case_matches s
            JOIN litgo.offers x ON x.case_id = r.case_id AND x.lawyer_id = s.lawyer_id AND x.match_id = s.id
            WHERE s.request_id = r.id) AS offers_made,
           count(*) AS recorded, min(c.fair_score) FILTER (WHERE c.outcome = 'not_shown') AS least_recorded
    FROM litgo.match_candidates c WHERE c.request_id = r.id
) log
"""
_FOUND = f"""
       c.outcome, c.reason, c.score, c.u_eff, c.fair_score, c.is_new, m.id AS match_id, m.position, m.score AS match_score,
       m.equity_price AS discount, m.fair_score AS match_fair_score, {", ".join(f"m.{name}" for name in FEATURE_COLUMNS)},
       o.match_id AS offer_match_id, o.status AS offer_status, o.decline_reason, o.sent_at, o.expires_at, o.responded_at
"""
_ANSWERED = "r.kind = 'matching' AND r.status = 'ok'"
_IN_PERIOD = "r.started_at > :since AND r.started_at <= :until"
_OF_LAWYER = f"""
{_REQUEST}{_FOUND}
FROM litgo.match_requests r
JOIN litgo.cases k ON k.id = r.case_id
LEFT JOIN litgo.match_candidates c ON c.request_id = r.id AND c.lawyer_id = :lawyer
LEFT JOIN litgo.case_matches m ON m.request_id = r.id AND m.lawyer_id = :lawyer
LEFT JOIN litgo.offers o ON o.case_id = r.case_id AND o.lawyer_id = :lawyer
{_LOG}
WHERE {_ANSWERED} AND
"""
_LAWYER_IN_PERIOD = f"""
{_OF_LAWYER} {_IN_PERIOD} AND (k.area = ANY(:areas) OR c.lawyer_id IS NOT NULL OR m.id IS NOT NULL)
ORDER BY r.started_at DESC, r.id
"""
_LAWYER_AND_CASE = f"{_OF_LAWYER} r.case_id = :case ORDER BY r.started_at DESC, r.id"

# Whoever was shown stays in case_matches after the record of those compared has expired.
_CANDIDATES = f"""
{_REQUEST} l.id AS lawyer_id, COALESCE(c.lawyer_id, m.lawyer_id) AS candidate, l.name, l.oab_number, {_FOUND}
FROM litgo.match_requests r
JOIN litgo.cases k ON k.id = r.case_id
{_LOG}
LEFT JOIN LATERAL (
    SELECT lawyer_id FROM litgo.match_candidates WHERE request_id = r.id
    UNION SELECT lawyer_id FROM litgo.case_matches WHERE request_id = r.id
) known ON true
LEFT JOIN litgo.match_candidates c ON c.request_id = r.id AND c.lawyer_id = known.lawyer_id
LEFT JOIN litgo.case_matches m ON m.request_id = r.id AND m.lawyer_id = known.lawyer_id
LEFT JOIN litgo.offers o ON o.case_id = r.case_id AND o.lawyer_id = known.lawyer_id
LEFT JOIN litgo.lawyers l ON l.id = known.lawyer_id
WHERE {_ANSWERED} AND r.case_id = :case
ORDER BY r.started_at DESC, r.id, m.position NULLS LAST, COALESCE(c.fair_score, c.score) DESC, known.lawyer_id
"""
_REQUESTS = f"SELECT count(*) FROM litgo.match_requests r WHERE {_ANSWERED} AND r.case_id IS NOT NULL AND {_IN_PERIOD}"
_RECORD_SINCE = f"SELECT min(r.started_at) FROM litgo.match_requests r WHERE {_ANSWERED} AND r.case_id IS NOT NULL"
_LAWYER = """
SELECT id, name, oab_number, status, primary_area, specialties, available_until, available_from, created_at
FROM litgo.lawyers WHERE id = :id
"""
_BY_DIGITS = """
SELECT id, oab_number, upper(state) AS state FROM litgo.lawyers
WHERE ltrim(regexp_replace(oab_number, '[^0-9]', '', 'g'), '0') = :digits ORDER BY id
"""
_LOAD = """
SELECT as_of, cases_30d, capacidade_mensal, utilisation FROM litgo.equity_snapshots
WHERE lawyer_id = :lawyer AND as_of > :since AND as_of <= :until ORDER BY as_of
"""
_PEERS = """
SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY utilisation), percentile_cont(0.5) WITHIN GROUP (ORDER BY offers)
FROM (SELECT s.utilisation,
             (SELECT count(*) FROM litgo.offers o WHERE o.lawyer_id = s.lawyer_id AND o.sent_at > :since AND o.sent_at <= :until) AS offers
      FROM litgo.equity_snapshots s
      WHERE s.area = :area
        AND s.as_of = (SELECT max(as_of) FROM litgo.equity_snapshots WHERE as_of > :since AND as_of <= :until)) peers
"""


class UnknownLawyer(LitgoError):
    """No lawyer has this id or OAB number."""


class AmbiguousLawyer(LitgoError):
    """Several lawyers have this OAB number; the message names their ids."""


class UnknownCase(LitgoError):
    """There is no case with this id."""


def find_lawyer(connection: Connection, number: str) -> UUID:
    """The lawyer with an OAB number in whatever spelling. A number registered without its section counts as of the lawyer's state.

    Raises:
        UnknownLawyer: the text is no OAB number, or nobody has it.
        AmbiguousLawyer: several have it.
    """
    from sqlalchemy import text

    wanted = parse_oab(number)
    if wanted is None:
        raise UnknownLawyer(f"{number!r} is no OAB number: write it like OAB/SP 123.456")
    found: list[tuple[UUID, OabNumber]] = []
    for row in connection.execute(text(_BY_DIGITS), {"digits": str(wanted.number)}):
        held = parse_oab(row.oab_number)
        if held is None or (held.number, held.suffix) != (wanted.number, wanted.suffix):
            continue
        section = held.section or row.state
        if wanted.section in (None, section):
            found.append((row.id, OabNumber(held.number, section, held.suffix)))
    if not found:
        raise UnknownLawyer(f"no lawyer has the number {wanted}: check the section and the suffix, or ask by --lawyer ID")
    if len(found) > 1:
        listed = ", ".join(f"{one} ({held})" for one, held in found)
        raise AmbiguousLawyer(f"{len(found)} lawyers have the number {wanted}: name the section, or choose one by --lawyer ID: {listed}")
    return found[0][0]


def explain_lawyer(connection: Connection, lawyer_id: UUID, since: datetime, until: datetime, *, least_peers: int) -> LawyerExplanation:
    """All that was decided about a lawyer in a period.

    The transaction should be one of repeatable reads, so that the counts are of the same rows.

    Args:
        since, until: aware datetimes; the first is not part of the period, the last is.
        least_peers: medians over fewer lawyers are not told, for they would tell of single ones.

    Raises:
        UnknownLawyer: there is no such lawyer.
    """
    from sqlalchemy import text

    lawyer = _read_lawyer(connection, lawyer_id)
    period = {"since": since, "until": until}
    rows = connection.execute(text(_LAWYER_IN_PERIOD), {"lawyer": lawyer_id, "areas": sorted(lawyer.areas), **period}).all()
    decisions = tuple(_decision(lawyer, row) for row in rows)
    requests = int(connection.execute(text(_REQUESTS), period).scalar_one())
    return _explanation(connection, lawyer, None, since, until, decisions, requests, least_peers)


def explain_decision(connection: Connection, lawyer_id: UUID, case_id: UUID, as_of: datetime, *, least_peers: int) -> LawyerExplanation:
    """What was decided about a lawyer in every request for one case, however old.

    Args:
        as_of: aware datetime; ends the period of load and peers where the case has no request.
        least_peers: as for `explain_lawyer`.

    Raises:
        UnknownLawyer, UnknownCase: there is none.
    """
    from sqlalchemy import text

    lawyer = _read_lawyer(connection, lawyer_id)
    _read_case(connection, case_id)
    rows = connection.execute(text(_LAWYER_AND_CASE), {"lawyer": lawyer_id, "case": case_id}).all()
    decisions = tuple(_decision(lawyer, row) for row in rows)
    until = decisions[0].request.at if decisions else as_of
    return _explanation(connection, lawyer, case_id, until - _CASE_WINDOW, until, decisions, len(decisions), least_peers)


def explain_case(connection: Connection, case_id: UUID) -> CaseExplanation:
    """Every answered request for a case, with every recorded candidate.

    Raises:
        UnknownCase: there is none.
    """
    from sqlalchemy import text

    area, created_at = _read_case(connection, case_id)
    found: dict[Request, list[Candidate]] = {}
    for row in connection.execute(text(_CANDIDATES), {"case": case_id}):
        known = found.setdefault(_request(row), [])
        if row.candidate is not None:
            known.append(_candidate(row))
    requests = tuple(AnsweredRequest(request, tuple(candidates), request.beyond) for request, candidates in found.items())
    return CaseExplanation(case_id, area, created_at, requests)


def is_absent(until: datetime | None, since: datetime | None, at: datetime) -> bool:
    """Whether somebody who declared to be available until and from these moments is away at `at`; the rule of `Market.available`."""
    if until is not None and since is not None and since > until:
        return until <= at < since
    return (until is not None and at >= until) or (since is not None and at < since)


def _read_lawyer(connection: Connection, lawyer_id: UUID) -> Lawyer:
    from sqlalchemy import text

    row = connection.execute(text(_LAWYER), {"id": lawyer_id}).one_or_none()
    if row is None:
        raise UnknownLawyer(f"there is no lawyer {lawyer_id}: ask by --oab NUMBER if the id is not at hand")
    return Lawyer(**(row._asdict() | {"specialties": tuple(row.specialties)}))


def _read_case(connection: Connection, case_id: UUID) -> tuple[str, datetime]:
    from sqlalchemy import text

    row = connection.execute(text("SELECT area, created_at FROM litgo.cases WHERE id = :id"), {"id": case_id}).one_or_none()
    if row is None:
        raise UnknownCase(f"there is no case {case_id}: check the id")
    return row.area, row.created_at


def _explanation(
    connection: Connection,
    lawyer: Lawyer,
    case_id: UUID | None,
    since: datetime,
    until: datetime,
    decisions: tuple[Decision, ...],
    requests: int,
    least_peers: int,
) -> LawyerExplanation:
    from sqlalchemy import text

    period = {"since": since, "until": until}
    load = connection.execute(text(_LOAD), {"lawyer": lawyer.id, **period}).all()
    count, utilisation, offers = connection.execute(text(_PEERS), {"area": lawyer.primary_area, **period}).one()
    enough = count >= least_peers
    return LawyerExplanation(
        lawyer=lawyer,
        case_id=case_id,
        since=since,
        until=until,
        record_since=connection.execute(text(_RECORD_SINCE)).scalar_one(),
        summary=_summary(decisions, requests),
        load=tuple(DayLoad(*row) for row in load),
        peers=Peers(lawyer.primary_area, count, utilisation if enough else None, offers if enough else None),
        decisions=decisions,
    )


def _summary(decisions: Sequence[Decision], requests: int) -> Summary:
    compared = [one for one in decisions if one.finding in COMPARED]
    offering = [one for one in compared if one.request.offers_made > 0]
    offered = sum(one.finding is Finding.OFFERED for one in decisions)
    findings = Counter(str(one.finding) for one in decisions)
    # The others were not read, because nothing but their area says why the lawyer was not compared.
    findings[str(Finding.OTHER_AREA)] += requests - len(decisions)
    return Summary(
        requests=requests,
        compared=len(compared),
        compared_recorded=sum(one.finding is not Finding.BEYOND_RECORD for one in compared),
        compared_for_offers=len(offering),
        offered=offered,
        offered_share=offered / len(offering) if offering else None,
        by_finding={str(finding): findings[str(finding)] for finding in Finding},
        by_reason=dict(sorted(_reasons(compared).items())),
    )


def _reasons(decisions: Iterable[Decision]) -> Counter[str]:
    return Counter(
        f"{'not_shown' if one.finding is Finding.NOT_SHOWN else 'shown'}:{one.reason}" for one in decisions if one.reason is not None
    )


def _decision(lawyer: Lawyer, row: Any) -> Decision:
    request = _request(row)
    finding = _finding(lawyer, request, row)
    shown = finding in (Finding.OFFERED, Finding.SHOWN)
    return Decision(
        request=request,
        finding=finding,
        reason=row.reason,
        position=row.position,
        numbers=_numbers(row) if shown or finding is Finding.NOT_SHOWN else None,
        features={name: getattr(row, column) for name, column in zip(FEATURE_NAMES, FEATURE_COLUMNS, strict=True)} if shown else None,
        offer=_offer(row) if finding in (Finding.OFFERED, Finding.ALREADY_OFFERED) else None,
    )


def _finding(lawyer: Lawyer, request: Request, row: Any) -> Finding:
    if row.match_id is not None:
        return Finding.OFFERED if row.offer_match_id == row.match_id else Finding.SHOWN
    if row.outcome is not None:
        return Finding.NOT_SHOWN
    answered_at = request.at + timedelta(milliseconds=row.duration_ms or 0)
    if row.sent_at is not None and row.sent_at <= answered_at:
        return Finding.ALREADY_OFFERED
    return _not_recorded(lawyer, request)


def _not_recorded(lawyer: Lawyer, request: Request) -> Finding:
    """What today's register says of a lawyer of whom the request has no record."""
    if request.area not in lawyer.areas:
        return Finding.OTHER_AREA
    if lawyer.created_at > request.at:
        return Finding.JOINED_LATER
    if lawyer.status != "active":
        return Finding.INACTIVE
    if is_absent(lawyer.available_until, lawyer.available_from, request.at):
        return Finding.ABSENT
    if request.beyond is None:
        return Finding.NO_RECORD
    return Finding.BEYOND_RECORD if request.beyond else Finding.NOT_COMPARED


def _request(row: Any) -> Request:
    return Request(
        id=row.request_id,
        case_id=row.case_id,
        area=row.area,
        at=row.started_at,
        model_version=row.model_version,
        price=row.price,
        eligible=row.eligible,
        cutoff=row.cutoff,
        exploration=row.exploration,
        offers_made=row.offers_made,
        recorded=row.recorded,
        least_recorded=row.least_recorded,
    )


def _numbers(row: Any) -> Numbers:
    """What is on record of a comparison; the bonus is what the recorded numbers leave for it."""
    score = row.match_score if row.score is None else row.score
    value = row.match_fair_score if row.fair_score is None else row.fair_score
    discount = row.discount
    if discount is None and row.price is not None and row.u_eff is not None:
        discount = row.price * row.u_eff
    bonus = 0.0 if row.is_new is False else None if value is None or discount is None else value - score + discount
    return Numbers(score, row.u_eff, discount, bonus, value, row.is_new)


def _offer(row: Any) -> Offer:
    return Offer(row.offer_status, row.decline_reason, row.sent_at, row.expires_at, row.responded_at)


def _candidate(row: Any) -> Candidate:
    made = row.match_id is not None and row.offer_match_id == row.match_id
    return Candidate(
        lawyer_id=row.candidate,
        name=row.name,
        oab_number=row.oab_number,
        outcome="shown" if row.match_id is not None else row.outcome,
        reason=row.reason,
        position=row.position,
        numbers=_numbers(row),
        offer=_offer(row) if made else None,
    )
