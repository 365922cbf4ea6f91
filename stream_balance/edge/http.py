"""HTTP: one thread that reads the board. Routes: / /metrics /health /ready /report.json and the OpenAPI document.

Binds to loopback unless told otherwise. Never touches the loop's state: all it shows is the pinned, immutable report.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Response
from pydantic import Field

from stream_balance.core.records import RoomSettings
from stream_balance.edge.board import Board
from stream_balance.edge.page import page as live_page
from stream_balance.edge.page import runbook
from stream_balance.errors import SettingsError, WorldError


class HttpSettings(RoomSettings):
    """Where the HTTP thread listens. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    report_wait_s: float = Field(default=10.0, gt=0)  # how long /report.json waits for the loop to make a fresh one
    refresh_s: float = Field(default=2.0, gt=0)  # age at which the pinned report is made anew
    stall_s: float = Field(default=30.0, gt=0)  # /health turns 503 when the loop has not turned for so long


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status_code=status, media_type="application/json")


def make_app(board: Board, exposition: Callable[[], bytes], settings: HttpSettings) -> FastAPI:
    """The routes over one board. `exposition` renders the Prometheus text."""
    document = live_page()
    app = FastAPI(title="stream-balance", description="Reads the last report of the learning loop.")

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return Response(document, media_type="text/html; charset=utf-8")

    @app.get("/runbook", include_in_schema=False)
    def what_to_do() -> Response:
        return Response(runbook(), media_type="text/html; charset=utf-8")

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/health")
    def health() -> Response:
        healthy = board.healthy()
        status = "stalled" if not healthy else "ok" if board.trouble is None else "trouble"
        body = {"status": status, "trouble": board.trouble, "loop_idle_s": round(board.stalled_s(), 3)}
        return _json(body, 200 if healthy else 503)

    @app.get("/ready")
    def ready() -> Response:
        return _json({"ready": board.ready}, 200 if board.ready else 503)

    @app.get("/report.json")
    def report(fresh: bool = True) -> Response:
        pinned = board.fresh(settings.report_wait_s) if fresh else board.latest()
        if pinned is None:
            return _json({"error": "no report yet: the loop has not turned once; try again in a second"}, 503)
        return _json(pinned.document)

    @app.get("/state.json")
    def state() -> Response:
        pinned = board.latest()
        return _json(pinned.state if pinned else {})

    return app


class HttpServer:
    """The HTTP thread. `start` binds first, so that a taken port is a clear error before any event is read."""

    def __init__(self, board: Board, exposition: Callable[[], bytes], settings: HttpSettings) -> None:
        self._settings = settings
        config = uvicorn.Config(
            make_app(board, exposition, settings), log_level="warning", access_log=False, lifespan="off", workers=1
        )
        self._server = uvicorn.Server(config)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens, once started."""
        if self._socket is None:
            raise AssertionError("the HTTP server has not been started")
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self) -> None:
        """Bind and serve. Raises WorldError if the port is taken, SettingsError if the host cannot be bound."""
        host, port = self._settings.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            if isinstance(error, socket.gaierror) or error.errno in (99, 22):
                raise SettingsError(f"http.host {host!r} is not an address of this machine ({error}).") from error
            raise WorldError(
                f"port {port} on {host} cannot be had ({error.strerror}); "
                "stop what holds it, or pass --port N (0 = any free one)."
            ) from error
        listener.listen(128)
        self._socket = listener
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="http", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Finish the requests under way and leave."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self._socket is not None:
            self._socket.close()
