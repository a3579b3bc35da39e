"""One match request from question to recorded answer: open it, decide, record, or note that it failed.

Deciding and recording are `casework`'s, what an idempotency key means is `requests`'; here is what a case may be.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from litgo_pipelines.casework.market import Market
from litgo_pipelines.casework.matching import Case, Decision, decide, decide_anew, note_offers
from litgo_pipelines.casework.recording import CaseNotOpen, Recording, RequestGivenUp, TooBusy, not_open, open_request, record
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace import tables
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.serving import requests
from litgo_pipelines.serving.errors import Refusal
from litgo_pipelines.serving.experiments import Side
from litgo_pipelines.serving.lines import note
from litgo_pipelines.serving.meanings import Meanings
from litgo_pipelines.serving.metrics import ServingMetrics
from litgo_pipelines.serving.schemas import InlineCase, Match, MatchAnswer, MatchRequest

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.settings import Settings

_STORED_CASE = """
SELECT c.id, c.client_id, c.area, c.subarea, c.urgency_h, c.radius_km, c.summary, c.lat, c.lng, c.complexity, c.status,
       ARRAY(SELECT o.lawyer_id FROM litgo.offers o WHERE o.case_id = c.id) AS offered
FROM litgo.cases c WHERE c.id = :id
"""


@dataclass(frozen=True)
class Question:
    """What was asked: by whom, under which idempotency key (already told apart by caller), and the id it is recorded under."""

    body: MatchRequest
    request_id: UUID
    key: str | None = None

    @property
    def digest(self) -> str:
        """The same for the same question."""
        return hashlib.sha256(self.body.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class Answered:
    """An answer, and whether it was given before under the same key."""

    answer: MatchAnswer
    replayed: bool = False


@dataclass(frozen=True)
class _Opened:
    """A case ready to be decided; lawyers in `exclude` have an offer for it."""

    case: Case
    exclude: frozenset[UUID]


class Matching:
    """Answers match requests.

    Args:
        market: gives the lawyers and loads in memory; None while there are none.
        rule: gives the offer rule in memory; None while there is none.
        ranker: gives what answers now.
        clock: the time, as an aware datetime.
        side: gives what answers a client who takes part in an experiment; None for the others.
        embedding: the models that embed a case's text; None: words alone are compared.
    """

    def __init__(
        self,
        engine: Engine,
        market: Callable[[], Market | None],
        rule: Callable[[], OfferRule | None],
        ranker: Callable[[], Ranker],
        settings: Settings,
        metrics: ServingMetrics,
        clock: Callable[[], datetime],
        side: Callable[[UUID], Side | None] = lambda _client: None,
        embedding: Embedding | None = None,
    ) -> None:
        self._engine, self._market, self._rule, self._ranker = engine, market, rule, ranker
        self._clock, self._metrics, self._side = clock, metrics, side
        self._meanings = Meanings(engine, embedding, metrics, settings.openai_deadline)
        self._new_lawyer_offers = settings.litgo_new_lawyer_offers
        self._offer_lifetime = timedelta(hours=settings.litgo_offer_hours)
        self._recorded_candidates = settings.litgo_recorded_candidates
        self._noting = threading.Lock()

    def answer(self, question: Question) -> Answered:
        """Decide and record, or repeat what was answered under the same key.

        Raises:
            Refusal: the request cannot be answered as it is, or not now.
            CaseNotOpen, TooBusy, RequestGivenUp: see `casework.recording.record`.
            SQLAlchemyError: the database is away or refuses; nothing of the answer is written.
        """
        market, rule = self._market(), self._rule()
        if market is None or rule is None:
            raise Refusal(503, "not_ready", "the lawyers were not read yet: ask again in a few seconds", retry_after=2)
        begun = self._clock()
        note(case_id=question.body.case_id)
        opened = self._open(question, begun)
        if isinstance(opened, MatchAnswer):
            note(case_id=opened.case_id)
            return Answered(opened, replayed=True)
        note(case_id=opened.case.id)
        try:
            decision = self._decide(market, rule, opened, question, begun)
            (decision,) = record(self._engine, market, [decision], self._recording(question))
        except BaseException as error:
            duration = self._clock() - begun
            self._metrics.matching_seconds.labels("error").observe(duration.total_seconds())
            requests.give_up(self._engine, question.request_id, error, duration)
            raise
        duration = self._clock() - begun
        self._metrics.matching_seconds.labels("ok").observe(duration.total_seconds())
        self._metrics.model_seconds.labels(decision.ask.model_version).observe(duration.total_seconds())
        return Answered(answer_of(decision, offered=question.body.create_offers))

    def _decide(self, market: Market, rule: OfferRule, opened: _Opened, question: Question, at: datetime) -> Decision:
        side = self._side(opened.case.client_id)
        ranker = self._ranker() if side is None else side.ranker
        note(model_version=ranker.version)
        decision = decide(
            market,
            opened.case,
            ranker,
            rule,
            request_id=question.request_id,
            at=at,
            top_n=question.body.top_n,
            new_lawyer_offers=self._new_lawyer_offers,
            exclude=opened.exclude,
            meaning=self._meanings.of(market, opened.case, at),
            exposure=None if side is None else side.exposure,
        )
        if not question.body.create_offers:
            return decision
        # One at a time, so that each choice sees the offers of the one before. Scoring takes longest and needs no turn.
        with self._noting:
            decision = decide_anew(market, decision)
            note_offers(market, decision)
        return decision

    def _recording(self, question: Question) -> Recording:
        def stored(decision: Decision) -> str:
            return answer_of(decision, offered=question.body.create_offers).model_dump_json()

        return Recording(
            self._offer_lifetime if question.body.create_offers else None,
            self._recorded_candidates,
            opened=True,
            clock=self._clock,
            answer=None if question.key is None else stored,
            tell_lawyers=True,
        )

    def _open(self, question: Question, at: datetime) -> _Opened | MatchAnswer:
        """Write that the request begins, with the case where it is new; or find what was answered before under its key."""

        def opened(connection: Connection) -> _Opened | MatchAnswer:
            earlier = requests.answered(connection, question.key, question.digest, at)
            if earlier is not None:
                return MatchAnswer.model_validate(earlier)
            found = _find_case(connection, question.body, at)
            digest = None if question.key is None else question.digest
            open_request(connection, request_id=question.request_id, case_id=found.case.id, at=at, key=question.key, request_hash=digest)
            return found

        return requests.begin(self._engine, opened)


def _find_case(connection: Connection, body: MatchRequest, at: datetime) -> _Opened:
    """The case asked about; an inline one is stored first.

    Raises:
        Refusal: unknown, another client's, or sent before with another content.
        CaseNotOpen: offers for a case that takes none.
    """
    from sqlalchemy import text

    case_id = body.case_id
    if body.case is not None:
        assert body.client_id is not None
        case_id = _store_case(connection, body.case, body.client_id, at)
    found = connection.execute(text(_STORED_CASE), {"id": case_id}).one_or_none()
    if found is None:
        raise Refusal(404, "unknown_case", f"there is no case {case_id}", field="case_id")
    if body.case is not None:
        _require_same(body.case, body.client_id, found)
    elif body.client_id not in (None, found.client_id):
        raise Refusal(422, "wrong_client", "the case is not this client's", field="client_id")
    if body.create_offers and found.status != "open":
        raise not_open(found.id, found.status)
    case = Case(found.id, found.client_id, found.area, found.subarea, found.urgency_h, found.radius_km, found.summary, found.lat, found.lng)
    return _Opened(case, frozenset(found.offered))


def _store_case(connection: Connection, case: InlineCase, client_id: UUID, at: datetime) -> UUID:
    """Store client and case where they are new; the case's id."""
    from sqlalchemy.dialects.postgresql import insert

    case_id = case.id or uuid4()
    connection.execute(insert(tables.clients).values(id=client_id, created_at=at).on_conflict_do_nothing())
    row = case.model_dump(exclude={"id"}) | {"id": case_id, "client_id": client_id, "status": "open", "created_at": at}
    connection.execute(insert(tables.cases).values(row).on_conflict_do_nothing())
    return case_id


def _require_same(case: InlineCase, client_id: UUID | None, found: Any) -> None:
    sent = case.model_dump(exclude={"id"}) | {"client_id": client_id}
    differing = [name for name, value in sent.items() if getattr(found, name) != value]
    if differing:
        named = "client_id" if differing == ["client_id"] else "case.id"
        raise Refusal(409, "case_differs", f"case {found.id} is stored already with another {', '.join(differing)}", field=named)


def answer_of(decision: Decision, *, offered: bool) -> MatchAnswer:
    """What the caller is told of a decision as it is recorded."""
    found, seen = decision.allocation, decision.candidates
    numbers = zip(
        decision.chosen_ids,
        seen.raw[found.chosen].tolist(),
        seen.score[found.chosen].tolist(),
        (decision.ask.rule.price * decision.u_eff[found.chosen]).tolist(),
        found.value[found.chosen].tolist(),
        strict=True,
    )
    matches = [
        Match(
            lawyer_id=lawyer,
            position=position,
            raw_score=raw,
            acceptance=score,
            equity_price=price,
            fair_score=value,
            match_id=decision.match_id(position),
            offer_id=decision.offer_id(position) if offered else None,
        )
        for position, (lawyer, raw, score, price, value) in enumerate(numbers, start=1)
    ]
    return MatchAnswer(
        request_id=decision.request_id,
        case_id=decision.case.id,
        model_version=decision.model_version,
        embedding_space=decision.ask.space,
        offers_created=len(matches) if offered else 0,
        eligible=len(seen.members),
        matches=matches,
    )


__all__ = [
    "Answered",
    "CaseNotOpen",
    "Matching",
    "Question",
    "RequestGivenUp",
    "TooBusy",
    "answer_of",
]
