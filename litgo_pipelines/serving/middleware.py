"""What happens to every HTTP request before and after its route: a request id, a log line, a latency, a limit to its body."""

from __future__ import annotations

import re
import time
from uuid import uuid4

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.serving.errors import FAILED, problem
from litgo_pipelines.serving.lines import lines_of_a_request
from litgo_pipelines.serving.metrics import ServingMetrics

MOST_BODY_BYTES = 512 * 1024
MOST_EVIDENCE_BODY_BYTES = 14 * 1024 * 1024
"""Of a signature, with a scanned document of 10 MiB as base64."""
_EVIDENCE = re.compile(r"/v1/contracts/[^/]+/signatures")
_QUIET = {"/healthz", "/readyz", "/metrics"}
_log = get_logger(__name__)


class Observed:
    """Gives each request an id (`scope["state"]["request_id"]`, header `X-Request-Id`), measures it and logs it without its content.

    What nobody below has an answer for is answered here, so that the line about it and the answer have the request's id.
    """

    def __init__(self, app: ASGIApp, metrics: ServingMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        request_id = uuid4()
        scope.setdefault("state", {})["request_id"] = request_id
        status, begun_to_answer = 500, False

        async def marked(message: Message) -> None:
            nonlocal status, begun_to_answer
            if message["type"] == "http.response.start":
                status, begun_to_answer = message["status"], True
                MutableHeaders(scope=message)["X-Request-Id"] = str(request_id)
            await send(message)

        with lines_of_a_request(request_id) as known:
            try:
                await self._app(scope, receive, marked)
            except Exception as error:
                _log.error("a request failed unexpectedly", error=type(error).__name__, exc_info=error, **known)
                if begun_to_answer:
                    raise
                await JSONResponse(problem("internal", FAILED), 500)(scope, receive, marked)
            finally:
                seconds = time.perf_counter() - begun
                # The template of the route, never the path nor a method it does not have: labels must not grow with what callers send.
                route = getattr(scope.get("route"), "path", "unmatched")
                method = "any" if route == "unmatched" or status == 405 else scope["method"]
                self._metrics.request_seconds.labels(method, route, str(status)).observe(seconds)
                if route not in _QUIET:
                    told = known | scope["state"].get("told", {})
                    _log.info("request", route=route, status=status, duration_ms=round(1000 * seconds, 1), **told)


class BodyLimit:
    """Refuses bodies above `most` bytes with 413, by what they announce or by what arrives; evidence of a signature may be larger."""

    def __init__(self, app: ASGIApp, most: int = MOST_BODY_BYTES, most_evidence: int = MOST_EVIDENCE_BODY_BYTES) -> None:
        self._app, self._most, self._most_evidence = app, most, most_evidence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        arrived = int(announced) if announced.isdigit() else 0
        most = self._most_evidence if _EVIDENCE.fullmatch(scope["path"]) else self._most

        async def counted() -> Message:
            nonlocal arrived
            if arrived > most:
                raise HTTPException(413, f"the body exceeds {most} bytes")
            message = await receive()
            if not announced.isdigit():
                arrived += len(message.get("body", b""))
                if arrived > most:
                    raise HTTPException(413, f"the body exceeds {most} bytes")
            return message

        await self._app(scope, counted, send)
