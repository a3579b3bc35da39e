"""One triage request from a client's words to a stored case, and the labelled examples that are kept ready for it.

How a telling is judged is `casework.triage`'s, what is written `casework.triage_recording`'s, what an idempotency key means `requests`';
here are the request's own rules: what a case that is told again means, and what happens while a vendor is away.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

from anyio import CapacityLimiter
from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPBearer

from litgo_pipelines.casework.embedding import Texts
from litgo_pipelines.casework.triage import Judged, Triage, space_name
from litgo_pipelines.casework.triage_examples import keep_examples, read_examples
from litgo_pipelines.casework.triage_recording import CaseStored, Telling, open_triage, record, stored_case
from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
from litgo_pipelines.integrations.policies import Deadline
from litgo_pipelines.marketplace.vectors import Vectors
from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.serving import requests
from litgo_pipelines.serving.errors import Refusal
from litgo_pipelines.serving.guards import Guarded, Waiting, idempotency_key, in_time
from litgo_pipelines.serving.lines import note
from litgo_pipelines.serving.metrics import ServingMetrics
from litgo_pipelines.serving.periodic import Periodic
from litgo_pipelines.serving.schemas import ErrorAnswer
from litgo_pipelines.serving.triage_schemas import NearestExample, TriageAnswer, TriageRequest

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.integrations.embedders import TextEmbedder
    from litgo_pipelines.settings import Settings

LOOK_SECONDS = 60.0
"""How often a space in which the examples have no vectors yet is tried again."""
LOCALLY_AT_ONCE = 8
"""Examples that the model on this machine embeds at once: a request that needs it waits for no more."""
LOADING_SECONDS = 60.0
"""What loading the model on this machine takes at most; a process that ended in the middle of it would crash."""
_log = get_logger(__name__)


class ExamplesKeeper:
    """The labelled examples with their vectors in every space, made in the background and kept until the end.

    Args:
        embedding: the models; None: tellings are compared by their words alone.
    """

    def __init__(self, engine: Engine, embedding: Embedding | None, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._engine, self._embedding, self._clock = engine, embedding, clock
        self._triage = Triage(tuple(read_examples()), settings.litgo_triage_confidence)
        self._ready = threading.Event()
        self._thread = Periodic("triage-examples", self._look, LOOK_SECONDS)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop(LOADING_SECONDS)

    @property
    def spaces(self) -> list[str]:
        """Spaces in which the examples have vectors."""
        return [one.space for one in self._triage.corpora]

    def triage(self, deadline: Deadline) -> Triage:
        """What judges now; waits for the model on this machine, not for a vendor's.

        Raises:
            Refusal: it was not ready in time.
        """
        if not self._ready.wait(max(0.0, deadline.left())):
            raise Refusal(503, "not_ready", "the labelled examples were not read yet: ask again in a few seconds", retry_after=2)
        return self._triage

    def _look(self) -> None:
        """Add the spaces that are missing, that of the model on this machine first: it answers for sure."""
        if self._embedding is None:
            self._ready.set()
            return
        for one in reversed(self._embedding.embedders):
            vendor = one is self._embedding.vendor
            if vendor:
                self._ready.set()
            if one.space.name not in self.spaces:
                self._add(one, self._embedding.batch if vendor else LOCALLY_AT_ONCE)
        self._ready.set()

    def _add(self, embedder: TextEmbedder, batch: int) -> None:
        try:
            corpus = keep_examples(self._engine, embedder, self._triage.examples, batch, self._clock())
            grown = self._triage.with_corpus(corpus)
            # Fitted before anybody waits for it.
            grown.prepare()
            self._triage = grown
        except Exception as error:
            # Whatever a vendor, a model or the database fails with: tellings are judged without this space until the next look.
            _log.warning("no vectors of the labelled examples", space=embedder.space.name, error=type(error).__name__)


@dataclass(frozen=True)
class TriageQuestion:
    """What was asked: under which idempotency key (already told apart by caller), and the id it is recorded under."""

    body: TriageRequest
    request_id: UUID
    key: str | None = None

    @property
    def digest(self) -> str:
        """The same for the same question."""
        return hashlib.sha256(f"triage\n{self.body.model_dump_json()}".encode()).hexdigest()


@dataclass(frozen=True)
class TriageAnswered:
    """An answer, and whether it was given before."""

    answer: TriageAnswer
    replayed: bool = False


class Triaging:
    """Answers triage requests.

    Args:
        embedding: the models; None: tellings are compared by their words alone.
        clock: the time, as an aware datetime.
        workers: requests worked on at the same time, those of other routes included.
    """

    def __init__(
        self,
        engine: Engine,
        embedding: Embedding | None,
        settings: Settings,
        metrics: ServingMetrics,
        clock: Callable[[], datetime],
        workers: CapacityLimiter,
    ) -> None:
        self._engine, self._embedding, self._metrics, self._clock = engine, embedding, metrics, clock
        self._seconds = settings.openai_deadline
        self.workers = workers
        self.examples = ExamplesKeeper(engine, embedding, settings, clock)

    def answer(self, question: TriageQuestion) -> TriageAnswered:
        """Judge and record, or repeat what was answered under the same key or for the same case.

        Raises:
            Refusal: the request cannot be answered as it is, or not now.
            RequestGivenUp: see `triage_recording.record`.
            SQLAlchemyError: the database is away or refuses; nothing of the answer is written.
        """
        deadline, begun = Deadline.after(self._seconds), self._clock()
        body = question.body
        telling = Telling(body.case_id or uuid4(), body.client_id, body.text, body.lat, body.lng, body.radius_km)
        note(case_id=body.case_id)
        earlier = self._open(question, telling, begun)
        if earlier is not None:
            note(case_id=earlier.case_id)
            return TriageAnswered(earlier, replayed=True)
        note(case_id=telling.case_id)
        try:
            answer = self._judge_and_record(question, telling, deadline, begun)
        except CaseStored as error:
            # The same case under two requests at once: the other one was quicker.
            self._give_up(question.request_id, error, begun)
            with self._engine.connect() as connection:
                return TriageAnswered(_answered(stored_case(connection, telling.case_id), telling), replayed=True)
        except (VendorUnavailable, VendorRefused) as error:
            self._give_up(question.request_id, error, begun)
            raise Refusal(503, "vendor_away", f"{error} (FALLBACK_ENABLED is false)", retry_after=5) from None
        except BaseException as error:
            self._give_up(question.request_id, error, begun)
            raise
        self._metrics.triage_seconds.labels("ok").observe((self._clock() - begun).total_seconds())
        return TriageAnswered(answer)

    def _judge_and_record(self, question: TriageQuestion, telling: Telling, deadline: Deadline, begun: datetime) -> TriageAnswer:
        texts = Texts({}) if self._embedding is None else self._embedding.texts([telling.text], deadline, self.examples.spaces)
        vectors = [Vectors(space, rows) for space, rows in texts.by_space.items()]
        judged = self.examples.triage(deadline).judge(telling.text, vectors)
        fallback = self._in_fallback(judged, texts)
        answer = answer_of(judged, question.request_id, telling.case_id, fallback)
        duration_ms = (self._clock() - begun).total_seconds() * 1000
        known = [one for one in vectors if one.space in self.examples.spaces]
        with self._engine.begin() as connection:
            record(connection, question.request_id, telling, judged, known, answer.model_dump(mode="json"), begun, duration_ms)
        return answer

    def _in_fallback(self, judged: Judged, texts: Texts) -> bool:
        """Whether something stood in for the preferred model.

        Raises:
            Refusal: it did, and nothing may.
        """
        embedding = self._embedding
        if embedding is None or not embedding.embedders:
            return False
        if judged.space == space_name(embedding.spaces[0]):
            self._metrics.embedded(in_fallback=False)
            return False
        if not embedding.fallback_enabled:
            message = "the labelled examples have no vectors of the preferred model yet (FALLBACK_ENABLED is false): ask again later"
            raise Refusal(503, "not_ready", message, retry_after=5)
        self._metrics.embedded(in_fallback=True)
        _log.warning("a telling is triaged in fallback", space=judged.space, trouble=texts.trouble)
        return True

    def _open(self, question: TriageQuestion, telling: Telling, at: datetime) -> TriageAnswer | None:
        """Write that the request begins; or find what was answered before, under its key or for its case."""

        def opened(connection: Connection) -> TriageAnswer | None:
            earlier = requests.answered(connection, question.key, question.digest, at)
            if earlier is not None:
                return TriageAnswer.model_validate(earlier)
            stored = None if question.body.case_id is None else stored_case(connection, telling.case_id)
            if stored is not None:
                return _answered(stored, telling)
            open_triage(connection, question.request_id, at, question.key, None if question.key is None else question.digest)
            return None

        return requests.begin(self._engine, opened)

    def _give_up(self, request_id: UUID, error: BaseException, begun: datetime) -> None:
        duration = self._clock() - begun
        self._metrics.triage_seconds.labels("error").observe(duration.total_seconds())
        requests.give_up(self._engine, request_id, error, duration)


def _answered(stored: Any, telling: Telling) -> TriageAnswer:
    """What was answered for a stored case.

    Raises:
        Refusal: it is another one, or was not stored by a triage.
    """
    differing = telling.differing(stored)
    if differing:
        message = f"case {telling.case_id} is stored already with another {', '.join(differing)}"
        raise Refusal(409, "case_differs", message, field=differing[0] if len(differing) == 1 else "case_id")
    if stored.answer is None:
        raise Refusal(409, "not_triaged", f"case {telling.case_id} was stored without a triage: its area is known", field="case_id")
    return TriageAnswer.model_validate(stored.answer)


def answer_of(judged: Judged, request_id: UUID, case_id: UUID, fallback: bool) -> TriageAnswer:
    """What the caller is told of a telling as it is recorded."""
    return TriageAnswer(
        request_id=request_id,
        case_id=case_id,
        area=judged.area,
        subarea=judged.subarea,
        urgency_h=judged.urgency_h,
        complexity=judged.complexity,
        confidence=judged.confidence,
        embedding_space=judged.space,
        fallback=fallback,
        likely=[] if judged.area is not None else list(judged.likely),
        nearest=[NearestExample(id=one.example, area=one.area, subarea=one.subarea) for one in judged.nearest],
    )


_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "No token, or one that is not accepted."},
    409: {
        "model": ErrorAnswer,
        "description": "The case is stored with another content or without a triage, or the idempotency key stands for another question or "
        "for one that is still worked on (then with `Retry-After`).",
    },
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    422: {"model": ErrorAnswer, "description": "A field cannot be used; nothing was written."},
    503: {
        "model": ErrorAnswer,
        "description": "Not now: ask again after `Retry-After`. `vendor_away` names the vendor, where nothing may stand in for it.",
    },
}


async def _triaging(request: Request) -> Triaging:
    triaging: Triaging = request.app.state.service.triaging
    return triaging


def triage_api() -> APIRouter:
    """The route; it finds its `Triaging` at the application's service."""
    router = APIRouter(prefix="/v1", route_class=Guarded, dependencies=[Depends(HTTPBearer(auto_error=False)), Depends(Waiting())])

    @router.post("/triage", summary="Say what a client's case is about", responses=_ERRORS, tags=["triage"])
    async def triage(
        body: TriageRequest,
        triaging: Annotated[Triaging, Depends(_triaging)],
        request: Request,
        response: Response,
        key: Annotated[str | None, Depends(idempotency_key)],
    ) -> TriageAnswer:
        """Classify what a client tells in Portuguese, and store it as a case.

        A telling of which it is not sure is no error: `area` is null, `likely` has the likeliest ones, and the case waits for a person.
        With a `case_id` or an `Idempotency-Key` the request may be repeated safely; a repeated answer carries the header
        `Idempotent-Replayed: true`.
        """
        scoped = None if key is None else requests.scoped_key(request.state.caller, key)
        question = TriageQuestion(body, request.state.request_id, scoped)
        found = await in_time(partial(triaging.answer, question), triaging.workers)
        if found.replayed:
            response.headers["Idempotent-Replayed"] = "true"
        request.state.told = {"area": found.answer.area, "fallback": found.answer.fallback, "replayed": found.replayed}
        return found.answer

    return router
