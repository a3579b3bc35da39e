"""The routes, and how errors become answers. How the process is started lives in `server`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from anyio import CapacityLimiter
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.rollout.registry import CHAMPION
from litgo_pipelines.serving.auth import Tokens
from litgo_pipelines.serving.errors import FAILED, Refusal, first_fault, problem
from litgo_pipelines.serving.experiments import ArmsKeeper
from litgo_pipelines.serving.guards import Guarded, Waiting, idempotency_key, in_time
from litgo_pipelines.serving.markets import MarketKeeper
from litgo_pipelines.serving.matches import CaseNotOpen, Matching, Question, RequestGivenUp, TooBusy
from litgo_pipelines.serving.metrics import ServingMetrics
from litgo_pipelines.serving.middleware import BodyLimit, Observed
from litgo_pipelines.serving.models import LastChampion, ModelKeeper, ModelSource
from litgo_pipelines.serving.product import Product, product_api
from litgo_pipelines.serving.reference import reference_page
from litgo_pipelines.serving.requests import scoped_key
from litgo_pipelines.serving.schemas import ErrorAnswer, ExperimentAnswer, MatchAnswer, MatchRequest, ModelAnswer, Readiness
from litgo_pipelines.serving.triage import Triaging, triage_api

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.settings import Settings

WORKERS = 16
"""Requests decided and written at the same time; each holds at most one connection."""
READY_MARKET_SECONDS = 60.0
_log = get_logger(__name__)

_DESCRIPTION = """Which lawyers is a case shown to, and what becomes of their offers?

Matches come from the promoted model, corrected by how busy each lawyer is, and every answer is recorded before it is given. Answers to
offers, contracts, signatures and reviews are one step each of what is recorded: a step that does not lead on from there answers 409.
Send `Authorization: Bearer <token>` where the service has tokens. Every error has the body of `ErrorAnswer`; its `field` names the part of
the request at fault.
"""

_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "No token, or one that is not accepted."},
    404: {"model": ErrorAnswer, "description": "There is no such case."},
    409: {
        "model": ErrorAnswer,
        "description": "The case takes no more offers, it is stored with another content, or the idempotency key stands for another "
        "question or for one that is still worked on (then with `Retry-After`).",
    },
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    422: {"model": ErrorAnswer, "description": "A field cannot be used; nothing was written."},
    503: {
        "model": ErrorAnswer,
        "description": "Not now (the database is away, or too much is asked at once): ask again after `Retry-After`.",
    },
}


@dataclass(frozen=True)
class Service:
    """What the routes use."""

    tokens: Tokens
    market: MarketKeeper
    model: ModelKeeper
    arms: ArmsKeeper
    matching: Matching
    metrics: ServingMetrics
    workers: CapacityLimiter
    product: Product
    triaging: Triaging


def _now() -> datetime:
    return datetime.now(UTC)


def create_app(engine: Engine, open_registry: Callable[[], ModelSource], settings: Settings, embedding: Embedding | None = None) -> FastAPI:
    """The application; its lifespan starts and stops the threads that follow the market, the model and the experiment.

    Args:
        engine: see `server.serving_engine`; closed by whoever made it.
        open_registry: makes the registry, in the background.
        embedding: the models that embed texts; None: texts are compared by their words alone.
    """
    metrics = ServingMetrics()
    market = MarketKeeper(engine, settings, metrics)
    model = ModelKeeper(open_registry, LastChampion(settings.litgo_home / "serving"), settings.litgo_model_poll_seconds, metrics)
    arms = ArmsKeeper(engine, open_registry, lambda: model.ranker, settings.litgo_refresh_seconds, metrics)
    matching = Matching(
        engine, lambda: market.current, lambda: market.rule, lambda: model.ranker, settings, metrics, _now, arms.side, embedding
    )
    workers = CapacityLimiter(WORKERS)
    product = Product(engine, _now, workers)
    triaging = Triaging(engine, embedding, settings, metrics, _now, workers)
    service = Service(Tokens(settings.litgo_api_keys), market, model, arms, matching, metrics, workers, product, triaging)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        market.start()
        model.start()
        arms.start()
        triaging.examples.start()
        yield
        market.stop()
        model.stop()
        arms.stop()
        triaging.examples.stop()

    app = FastAPI(title="litgo matching", description=_DESCRIPTION, version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(BodyLimit)
    app.add_middleware(Observed, metrics=metrics)
    app.include_router(_api())
    app.include_router(product_api())
    app.include_router(triage_api())
    app.include_router(_operations())
    metrics.expect((method, route.path) for route in app.routes if isinstance(route, APIRoute) for method in route.methods or ())
    _answer_errors(app)
    return app


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Used = Annotated[Service, Depends(_service)]


def _api() -> APIRouter:
    router = APIRouter(prefix="/v1", route_class=Guarded, dependencies=[Depends(HTTPBearer(auto_error=False))])

    @router.post("/matches", summary="Match a case with lawyers", responses=_ERRORS, dependencies=[Depends(Waiting())], tags=["matching"])
    async def matches(
        body: MatchRequest, service: Used, request: Request, response: Response, key: Annotated[str | None, Depends(idempotency_key)]
    ) -> MatchAnswer:
        """Decide which lawyers a stored or an inline case is shown to, record it, and send offers where asked.

        An area nobody practises is no error: `matches` is empty and `eligible` is 0. With an `Idempotency-Key` the request may be
        repeated safely; a repeated answer carries the header `Idempotent-Replayed: true`.
        """
        scoped = None if key is None else scoped_key(request.state.caller, key)
        question = Question(body, request.state.request_id, scoped)
        found = await in_time(partial(service.matching.answer, question), service.workers)
        if found.replayed:
            response.headers["Idempotent-Replayed"] = "true"
        answer = found.answer
        request.state.told = {
            "model_version": answer.model_version,
            "eligible": answer.eligible,
            "shown": len(answer.matches),
            "offers": answer.offers_created,
            "replayed": found.replayed,
        }
        return answer

    @router.get("/model", summary="Which model answers", responses={401: _ERRORS[401]}, tags=["matching"])
    async def model(service: Used) -> ModelAnswer:
        """The version that answers and whether it is the one the registry's alias points to, and the price of load."""
        state, rule, running = service.model.state(), service.market.rule, service.arms.recorded
        return ModelAnswer(
            version=state.answering.ranker.version,
            source=state.answering.source,
            alias=CHAMPION,
            loaded_at=state.answering.loaded_at,
            last_checked_at=state.last_checked_at,
            wanted_version=state.wanted_version,
            stale=state.stale,
            error=state.error,
            equity_price=None if rule is None else rule.price,
            price_id=None if rule is None else rule.price_id,
            experiment=None
            if running is None
            else ExperimentAnswer(
                id=running.id,
                mode=running.mode,
                champion=running.champion,
                challenger=running.challenger,
                share=running.split.share,
                error=service.arms.error,
            ),
        )

    return router


def _operations() -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> dict[str, str]:
        """Always answers while the process does; asks nobody else."""
        return {"status": "alive"}

    @router.get("/readyz", summary="Whether requests should come here", responses={503: {"model": Readiness}})
    async def readyz(service: Used, response: Response) -> Readiness:
        """503 until lawyers and model were looked at, and while what is in memory is older than a minute."""
        found = readiness(service)
        response.status_code = 200 if found.ready else 503
        return found

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    async def metrics(service: Used) -> Response:
        """Latencies, model and market of this process; business counters are exported elsewhere."""
        from prometheus_client import CONTENT_TYPE_LATEST

        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(reference_page(request.app.openapi()))

    return router


def readiness(service: Service) -> Readiness:
    """Whether requests should come here, and why not."""
    age, market = service.market.age, service.market.current
    reasons = []
    if age is None:
        reasons.append("the lawyers were not read yet")
    elif age > READY_MARKET_SECONDS:
        reasons.append(f"lawyers and loads are {age:.0f} s old: is the database there?")
    if not service.model.looked:
        reasons.append("the registry was not looked at yet")
    return Readiness(
        ready=not reasons,
        reasons=reasons,
        market_age_seconds=None if age is None else round(age, 3),
        lawyers=None if market is None else len(market.profiles.ids),
        model_version=service.model.ranker.version,
    )


def _answer(status: int, code: str, message: str, field: str | None = None, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(problem(code, message, field), status, headers)


def _answer_errors(app: FastAPI) -> None:
    """Every error leaves in one shape. What a database says may quote rows, so of its errors only kind and code are logged."""
    from sqlalchemy.exc import SQLAlchemyError

    @app.exception_handler(Refusal)
    async def refusal(_request: Request, error: Refusal) -> JSONResponse:
        return _answer(error.status, error.code, error.message, error.field, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        field, message = first_fault(error.errors())
        return _answer(422, "invalid_field", message, field)

    @app.exception_handler(CaseNotOpen)
    async def not_open(_request: Request, error: CaseNotOpen) -> JSONResponse:
        return _answer(409, "case_not_open", str(error), "create_offers")

    @app.exception_handler(NotAllowed)
    async def not_allowed(_request: Request, error: NotAllowed) -> JSONResponse:
        return _answer(409, "not_allowed", str(error))

    @app.exception_handler(Unknown)
    async def unknown(_request: Request, error: Unknown) -> JSONResponse:
        return _answer(404, "unknown", str(error))

    @app.exception_handler(TooBusy)
    @app.exception_handler(RequestGivenUp)
    async def busy(_request: Request, error: Exception) -> JSONResponse:
        return _answer(503, "too_busy", str(error), headers={"Retry-After": "1"})

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 400: "malformed"}
        field = "body" if error.status_code in (400, 413) else None
        return _answer(error.status_code, codes.get(error.status_code, "refused"), str(error.detail), field, dict(error.headers or {}))

    @app.exception_handler(SQLAlchemyError)
    async def database(_request: Request, error: SQLAlchemyError) -> JSONResponse:
        kind, state = type(error).__name__, getattr(getattr(error, "orig", None), "sqlstate", None)
        if _is_away(error, state):
            _log.error("the database is away or too slow", error=kind, sqlstate=state)
            return _answer(503, "database_away", "the database does not answer: ask again later", headers={"Retry-After": "5"})
        _log.error("the database refused a request", error=kind, sqlstate=state, constraint=_constraint(error))
        return _answer(500, "internal", FAILED)


def _is_away(error: Any, state: str | None) -> bool:
    """Whether a database error says nothing about the request: no connection, no time, no room, shutting down."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
    from sqlalchemy.exc import TimeoutError as PoolTimeout

    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    # 08 connection, 53 resources, 55P03 lock not available, 57 operator (timeouts, shutdown), 40 rolled back; none: no answer at all.
    return state is None or state[:2] in {"08", "53", "57", "40"} or state == "55P03"


def _constraint(error: Any) -> str | None:
    return getattr(getattr(getattr(error, "orig", None), "diag", None), "constraint_name", None)
