"""A case whose offers have all come to nothing is offered to the next lawyers, as if its client had asked again.

Who is chosen is decided and written as for any request: by `matching` and `recording`, with the model of the client's side and the price
of load in force. A case that is too old for that, or was offered on too often, is told to the operators. What becomes of an offer is
`offers`'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID, uuid4

from litgo_pipelines.casework.embedding import Embedding, stored_meaning
from litgo_pipelines.casework.market import Market, read_market
from litgo_pipelines.casework.matching import Case, decide, note_offers
from litgo_pipelines.casework.offer_wording import dropped, many_dropped, nobody_left
from litgo_pipelines.casework.prices import offer_rule
from litgo_pipelines.casework.recording import Recording, TooBusy, fail_request, open_request, record
from litgo_pipelines.casework.sides import Arms
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.observability.logs import bound
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.rollout import experiments
from litgo_pipelines.rollout.bundle import GoldenScoresDiffer, NoGoldenScores
from litgo_pipelines.settings import LitgoError, Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.rollout.registry import Registry

MOST_AT_ONCE: Final = 2000
"""Cases that one run looks at, so that no run keeps offers from running out for long."""

TOLD_ONE_BY_ONE: Final = 20
"""Cases that dropped out and are told in a message each; more at once are told in one, at most once an hour."""

_LATELY: Final = timedelta(days=1)
"""What dropped out earlier is history."""

_TOLD = "EXISTS (SELECT FROM litgo.notifications n WHERE n.key = 'nobody-left:' || k.id)"
# A client's own second request is a round as well: it went to further lawyers. Offers of which the request is not known are one.
_ROUNDS = """
(SELECT count(DISTINCT COALESCE(m.request_id, k.id)) FROM litgo.offers o LEFT JOIN litgo.case_matches m ON m.id = o.match_id
 WHERE o.case_id = k.id)
"""
# A case begins anew when its contract is canceled.
_YOUNG = """
(k.created_at > CAST(:as_of AS timestamptz) - CAST(:lasting AS interval)
 OR EXISTS (SELECT FROM litgo.contracts c
            WHERE c.case_id = k.id AND c.status = 'canceled' AND c.ended_at > CAST(:as_of AS timestamptz) - CAST(:lasting AS interval)))
"""
_UNANSWERED = """
k.status = 'open'
AND EXISTS (SELECT FROM litgo.offers o WHERE o.case_id = k.id)
AND NOT EXISTS (SELECT FROM litgo.offers o
                WHERE o.case_id = k.id AND (o.status = 'interested' OR (o.status = 'pending' AND o.expires_at > :as_of)))
AND NOT EXISTS (SELECT FROM litgo.contracts c WHERE c.case_id = k.id AND c.status <> 'canceled')
"""
_WAITS = f"{_UNANSWERED} AND {_YOUNG} AND {_ROUNDS} <= :rounds"
_CASES = f"""
SELECT k.id, k.client_id, k.area, k.subarea, k.urgency_h, k.radius_km, k.summary, k.lat, k.lng, {_TOLD} AS told
FROM litgo.cases k WHERE {_WAITS} ORDER BY told, k.created_at, k.id LIMIT :most
"""
_DUE = f"""
SELECT count(*) FILTER (WHERE NOT told), count(*) FILTER (WHERE told), COALESCE(md5(string_agg(id::text, ' ' ORDER BY id)), '')
FROM (SELECT k.id, {_TOLD} AS told FROM litgo.cases k WHERE {_WAITS}) waiting
"""
_LOCK = "SELECT id FROM litgo.cases WHERE id = :id FOR NO KEY UPDATE SKIP LOCKED"
_STILL = f"""
SELECT ARRAY(SELECT o.lawyer_id FROM litgo.offers o WHERE o.case_id = k.id) FROM litgo.cases k WHERE k.id = :id AND {_WAITS}
"""

# When an offer came to nothing; of one that a contract closed it is not known, and that contract's end counts.
_OFFER_ENDED = """
CASE o.status WHEN 'declined' THEN o.responded_at WHEN 'closed' THEN o.responded_at + CAST(:interest AS interval) ELSE o.expires_at END
"""
_ENDED_LATELY = f"""
(EXISTS (SELECT FROM litgo.offers o WHERE o.case_id = k.id AND {_OFFER_ENDED} > :lately AND {_OFFER_ENDED} <= :as_of)
 OR EXISTS (SELECT FROM litgo.contracts c
            WHERE c.case_id = k.id AND c.status = 'canceled' AND c.ended_at > :lately AND c.ended_at <= :as_of))
"""
_TOLD_AS_DROPPED = """
(EXISTS (SELECT FROM litgo.notifications n WHERE n.key = 'dropped:' || k.id)
 OR EXISTS (SELECT FROM litgo.notifications n
            WHERE n.key = ANY(:summaries) AND jsonb_exists(n.details -> 'case_ids', CAST(k.id AS text))))
"""
_DROPPED = f"""
SELECT k.id, k.area, (SELECT count(*) FROM litgo.offers o WHERE o.case_id = k.id), {_ROUNDS} > :rounds
FROM litgo.cases k
WHERE {_UNANSWERED} AND (NOT {_YOUNG} OR {_ROUNDS} > :rounds) AND {_ENDED_LATELY} AND NOT {_TOLD_AS_DROPPED}
ORDER BY k.created_at, k.id LIMIT :most
"""

Outcome = Literal["offered", "nobody left", "waits no more", "too busy"]


class CasesFailed(LitgoError):
    """Some of the cases could not be offered on; the others were."""


@dataclass(frozen=True)
class Terms:
    """Which cases are offered on.

    Attributes:
        lasting: since a case came, or came back from a contract that was canceled; an older one is not.
        lawyers: whom a case is offered to at a time.
        rounds: how often at most.
        interest: after which a lawyer's interest lapses.
    """

    lasting: timedelta
    lawyers: int
    rounds: int
    interest: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """The settings' terms."""
        return cls(
            timedelta(days=settings.litgo_next_offer_days),
            settings.litgo_next_offer_lawyers,
            settings.litgo_next_offer_rounds,
            timedelta(days=settings.litgo_interest_days),
        )


@dataclass(frozen=True)
class Waiting:
    """Cases that wait for the next lawyers.

    Attributes:
        cases: that are to be offered on.
        in_vain: that nobody was left for when they last were.
        digest: of which cases these are.
    """

    cases: int
    in_vain: int
    digest: str


@dataclass(frozen=True)
class Dropped:
    """An open case that came to nothing lately, is offered to nobody any more, and has not been told of.

    Attributes:
        offers: that it had.
        rounds: whether it was offered on as often as it may be; else its time is over.
    """

    id: UUID
    area: str
    offers: int
    rounds: bool


@dataclass(frozen=True)
class Rounds:
    """What came of a run.

    Attributes:
        cases: how many cases came to each outcome.
        offers: made in all.
        model_version: that answers whoever takes part in no experiment; None: nobody had to be answered.
    """

    cases: Counter[Outcome]
    offers: int = 0
    model_version: str | None = None


@dataclass(frozen=True)
class _Waiting:
    """A case that waits, and whether the operators know that nobody is left for it."""

    case: Case
    told: bool


@dataclass(frozen=True)
class _State:
    """What all cases of a run are decided by.

    Attributes:
        spaces: in which they may be compared with the lawyers, the preferred one first.
    """

    market: Market
    rule: OfferRule
    champion: Ranker
    arms: Arms | None
    spaces: Sequence[str]
    settings: Settings
    terms: Terms

    @property
    def recording(self) -> Recording:
        lifetime = timedelta(hours=self.settings.litgo_offer_hours)
        return Recording(lifetime, self.settings.litgo_recorded_candidates, tell_lawyers=True)


def waiting(connection: Connection, as_of: datetime, terms: Terms) -> Waiting:
    """How many cases wait for the next lawyers: open, young enough, without a live offer or a contract, and not offered on too often."""
    from sqlalchemy import text

    return Waiting(*connection.execute(text(_DUE), _given(as_of, terms)).one())


def dropped_out(connection: Connection, as_of: datetime, terms: Terms) -> list[Dropped]:
    """The cases that dropped out and are still to be told of, the oldest first; none where no case is ever offered on."""
    from sqlalchemy import text

    if not terms.lasting:
        return []
    lately = as_of - _LATELY
    hours = range(int(_LATELY / timedelta(hours=1)) + 1)
    given = {"interest": terms.interest, "lately": lately, "summaries": [_summary_key(lately + timedelta(hours=one)) for one in hours]}
    rows = connection.execute(text(_DROPPED), _given(as_of, terms) | given | {"most": MOST_AT_ONCE})
    return [Dropped(*row) for row in rows]


def tell_dropped(connection: Connection, as_of: datetime, terms: Terms) -> int:
    """Tell the operators of each case that dropped out, once; of how many."""
    found = dropped_out(connection, as_of, terms)
    if len(found) > TOLD_ONE_BY_ONE:
        return _tell_many(connection, [one.id for one in found], as_of)
    for one in found:
        said = dropped(one.id, one.area, one.offers, rounds=one.rounds)
        tell(connection, key=f"dropped:{one.id}", subject=said.subject, body=said.body, at=as_of, details={"case_id": str(one.id)})
    return len(found)


def _tell_many(connection: Connection, cases: Sequence[UUID], at: datetime) -> int:
    """In one message an hour: what comes too soon after it is told with the next."""
    said = many_dropped(cases)
    details = {"case_ids": [str(one) for one in cases]}
    return len(cases) * tell(connection, key=_summary_key(at), subject=said.subject, body=said.body, at=at, details=details)


def _summary_key(at: datetime) -> str:
    return f"dropped:{at.astimezone(UTC):%Y-%m-%dT%H}"


def offer_next(engine: Engine, registry: Registry, settings: Settings, *, clock: Callable[[], datetime]) -> Rounds:
    """Offer each case that waits to the next lawyers, in a transaction of its own; at most `MOST_AT_ONCE` cases.

    A case is locked and looked at again before it is decided: whatever happens at the same time, it gets one round. Where nobody is left
    the operators are told, once a case.

    Args:
        clock: the time, as an aware datetime.

    Raises:
        RegistryUnavailable, NoGoldenScores, GoldenScoresDiffer: it is not known which model answers, or it does not load.
        CasesFailed: a defect; all other cases were offered on, and the failed ones are recorded as failed requests.
    """
    terms = Terms.of(settings)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        begun = clock()
        cases = _cases(connection, begun, terms)
        if not cases:
            return Rounds(Counter())
        market = read_market(connection, begun, with_meanings=True)
        rule, running = offer_rule(connection, settings), experiments.running(connection)
    spaces = Embedding.of(settings, PostgresCallLedger(engine)).spaces_of(market)
    state = _State(market, rule, registry.answering(), _arms(registry, running), spaces, settings, terms)
    outcomes: Counter[Outcome] = Counter()
    errors: list[Exception] = []
    offers = 0
    for one in cases:
        with bound(case_id=str(one.case.id), model_version=state.champion.version):
            try:
                outcome, made = _one_round(engine, state, one, clock)
            except Exception as error:
                _failed(error)
                errors.append(error)
            else:
                outcomes[outcome] += 1
                offers += made
    if errors:
        kinds = ", ".join(sorted({type(error).__name__ for error in errors}))
        raise CasesFailed(f"{len(errors)} of {len(cases)} cases could not be offered on ({kinds}): see the log") from errors[0]
    return Rounds(outcomes, offers, state.champion.version)


def _one_round(engine: Engine, state: _State, one: _Waiting, clock: Callable[[], datetime]) -> tuple[Outcome, int]:
    """What came of a case, and how many offers were made. A request that fails is recorded as such."""
    request_id, at = uuid4(), clock()
    try:
        with engine.begin() as connection:
            return _decided(connection, state, one, request_id, at)
    except Exception as error:
        with engine.begin() as connection:
            open_request(connection, request_id=request_id, case_id=one.case.id, at=at, key=None, request_hash=None)
            fail_request(connection, request_id, error, clock() - at)
        if isinstance(error, TooBusy):
            return "too busy", 0
        raise


def _decided(connection: Connection, state: _State, one: _Waiting, request_id: UUID, at: datetime) -> tuple[Outcome, int]:
    offered = _locked(connection, one.case.id, at, state.terms)
    if offered is None:
        return "waits no more", 0
    side = None if state.arms is None else state.arms.side(one.case.client_id, state.champion)
    decision = decide(
        state.market,
        one.case,
        state.champion if side is None else side.ranker,
        state.rule,
        request_id=request_id,
        at=at,
        top_n=state.terms.lawyers,
        new_lawyer_offers=state.settings.litgo_new_lawyer_offers,
        exclude=frozenset(offered),
        # No model is asked: the case was embedded long ago, or is compared by its words alone.
        meaning=stored_meaning(connection, one.case.id, state.spaces),
        exposure=None if side is None else side.exposure,
    )
    if one.told and not decision.allocation.chosen.size:
        return "nobody left", 0
    note_offers(state.market, decision)
    (decision,) = record(connection, state.market, [decision], state.recording)
    if decision.allocation.chosen.size:
        return "offered", len(decision.allocation.chosen)
    told = nobody_left(one.case.id, one.case.area, len(offered))
    details = {"case_id": str(one.case.id)}
    tell(connection, key=f"nobody-left:{one.case.id}", subject=told.subject, body=told.body, at=at, details=details)
    return "nobody left", 0


def _locked(connection: Connection, case_id: UUID, at: datetime, terms: Terms) -> Sequence[UUID] | None:
    """The lawyers who have an offer for a case that still waits; None where it does not, or somebody is at work on it."""
    from sqlalchemy import text

    if connection.execute(text(_LOCK), {"id": case_id}).one_or_none() is None:
        return None
    # A statement of its own: only what starts after the lock is held sees what others wrote before.
    found: Sequence[UUID] | None = connection.execute(text(_STILL), _given(at, terms) | {"id": case_id}).scalar_one_or_none()
    return found


def _cases(connection: Connection, as_of: datetime, terms: Terms) -> list[_Waiting]:
    from sqlalchemy import text

    rows = connection.execute(text(_CASES), _given(as_of, terms) | {"most": MOST_AT_ONCE})
    return [_Waiting(Case(*case), told) for *case, told in rows]


def _given(as_of: datetime, terms: Terms) -> dict[str, Any]:
    return {"as_of": as_of, "lasting": terms.lasting, "rounds": terms.rounds}


def _arms(registry: Registry, running: experiments.Experiment | None) -> Arms | None:
    """The experiment with its challenger; None without one, and where the challenger does not load: nobody takes part then."""
    import structlog

    if running is None:
        return None
    try:
        return Arms(running, registry.load(running.challenger))
    except (NoGoldenScores, GoldenScoresDiffer) as error:
        structlog.get_logger(__name__).warning(
            "the challenger does not load: nobody takes part", version=running.challenger, reason=str(error)
        )
        return None


def _failed(error: Exception) -> None:
    import structlog

    # Of errors of a database the kind alone: their texts quote what clients wrote.
    structlog.get_logger(__name__).error("a case could not be offered on", error=type(error).__name__)
