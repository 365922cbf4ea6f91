"""API: the routes of the HTTP thread, with their OpenAPI document. In: the board, the Prometheus text. Out: an app.

Reads pinned, immutable reports; only `/score` looks at live state, in its turn, and changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_balance.core.report import Report
from stream_balance.edge.answers import (
    Health,
    ModelCard,
    Ready,
    Scores,
    as_json,
    model_card,
    problem,
    refusals,
    search_schema,
)
from stream_balance.edge.board import Board
from stream_balance.edge.follow import follow
from stream_balance.edge.guard import Refused, check_token, read_body
from stream_balance.edge.page import ASSETS, asset, runbook
from stream_balance.edge.turn import Busy
from stream_balance.errors import BadRecord

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Guarded:
    """The token before, the headers after every answer. Plain ASGI: streams pass as they are."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if scope["type"] == "http":
                check_token(self._token, scope["path"], Headers(scope=scope).get("authorization"))
        except Refused as refused:
            await problem(refused.status, refused.reason, str(refused))(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def make_app(board: Board, exposition: Callable[[], bytes], settings: Any, token: str | None, limits: Any) -> FastAPI:
    """The routes over one board. `exposition` renders the Prometheus text, `limits` are the wire's."""
    app = FastAPI(
        title="stream-balance",
        description="Shows the last report of the learning loop, and scores searches without learning from them.",
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.add_middleware(Guarded, token=token)
    _add_pages(app, exposition)
    _add_probes(app, board)
    _add_documents(app, board, settings.report_wait_s)
    _add_score(app, board, settings.score_wait_s, limits)
    _add_stream(app, board, settings.streams_max)
    return app


def _add_pages(app: FastAPI, exposition: Callable[[], bytes]) -> None:
    def add(path: str, content: str, kind: str) -> None:
        @app.get(path, include_in_schema=False)
        async def page() -> Response:
            return Response(content, media_type=f"{kind}; charset=utf-8")

    for path, (name, kind) in ASSETS.items():
        add(path, asset(name), kind)
    add("/runbook", runbook(), "text/html")

    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get("/metrics", response_class=Response, responses={**text, **refusals(401)})
    def metrics() -> Response:
        """Prometheus text; every metric is in docs/metrics.md."""
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_probes(app: FastAPI, board: Board) -> None:
    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """200 while the loop moves, whatever the broker does."""
        healthy = board.healthy()
        status = "stalled" if not healthy else "ok" if board.trouble is None else "trouble"
        body = {"status": status, "trouble": board.trouble, "loop_idle_s": round(board.stalled_s(), 3)}
        return as_json(body, 200 if healthy else 503)

    @app.get("/ready", response_model=Ready, responses={503: {"model": Ready}})
    async def ready() -> Response:
        """200 once events are taken."""
        return as_json({"ready": board.ready}, 200 if board.ready else 503)


def _add_documents(app: FastAPI, board: Board, wait_s: float) -> None:
    @app.get("/report.json", response_model=Report, responses=refusals(401, 503))
    def report(fresh: bool = True) -> Response:
        """The report; made anew by the loop unless `fresh` is false. Each field is in docs/report.md."""
        pinned = board.fresh(wait_s) if fresh else board.latest()
        if pinned is None:
            return problem(503, "no_report", "the loop has not turned once; try again in a second")
        return as_json(pinned.document)

    @app.get("/state.json", response_model=dict[str, Any], responses=refusals(401))
    async def state() -> Response:
        """What the service notes beside the report: lag, latencies, vitals."""
        pinned = board.latest()
        return as_json(pinned.state if pinned else {})

    @app.get("/model", response_model=ModelCard, responses=refusals(401, 503))
    async def model() -> Response:
        """Which model answers."""
        pinned = board.latest()
        if pinned is None:
            return problem(503, "no_report", "the loop has not turned once; try again in a second")
        return as_json(model_card(pinned.document, pinned.state, time.time()))


def _add_score(app: FastAPI, board: Board, wait_s: float, limits: Any) -> None:
    body = {"required": True, "content": {"application/json": {"schema": search_schema(limits)}}}

    @app.post(
        "/score", response_model=Scores, responses=refusals(400, 401, 413, 415, 422, 503),
        openapi_extra={"requestBody": body},
    )  # fmt: skip
    async def score(request: Request) -> Response:
        """Score the items of a search event now, without learning from it."""
        scoring = board.scoring
        if scoring is None:
            return problem(503, "not_ready", "the model is not there yet; try again in a second")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            scoring.tally.count("refused")
            return problem(415, "wrong_content_type", "send the search as application/json")
        try:
            search = scoring.read(await read_body(request.stream(), scoring.body_bytes_max))
            answer = as_json(await scoring.answer(search, wait_s))
            scoring.tally.count("scored")
            return answer
        except Refused as refused:
            scoring.tally.count("refused")
            return problem(refused.status, refused.reason, str(refused))
        except BadRecord as bad:
            scoring.tally.count("refused")
            return problem(400 if bad.reason in ("not_json", "not_utf8") else 422, bad.reason, str(bad))
        except Busy:
            scoring.tally.count("busy")
            return problem(503, "busy", f"the loop did not give a turn within {wait_s:g} s; try again")


def _add_stream(app: FastAPI, board: Board, streams_max: int) -> None:
    @app.get("/events", include_in_schema=False)
    async def events() -> Response:
        if len(board.open_pages) >= streams_max:
            return problem(503, "too_many_streams", f"{streams_max} pages are open already (http.streams_max)")
        return StreamingResponse(follow(board), media_type="text/event-stream")
