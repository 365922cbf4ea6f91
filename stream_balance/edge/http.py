"""HTTP: the thread that serves the API. In: settings, the board. Out: a listening server.

Binds to loopback unless told otherwise; asks for a token if there is one; bounded in connections.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from time import perf_counter

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from stream_balance.edge.api import make_app
from stream_balance.edge.board import Board
from stream_balance.edge.codec import WireSettings
from stream_balance.edge.guard import read_token
from stream_balance.edge.http_settings import HttpSettings
from stream_balance.edge.scoring import Scoring
from stream_balance.errors import SettingsError, WorldError


def knocking(board: Board) -> type[H11Protocol]:
    """The protocol of a connection, which knocks at the loop's door while a request to score is under way."""

    class Knocking(H11Protocol):
        """Knocks as early as can be: what is read, parsed and written goes at once then, not beside the loop."""

        knocked: Scoring | None = None
        began = 0.0

        def data_received(self, data: bytes) -> None:
            scoring = board.scoring
            if self.knocked is None and scoring is not None and data.startswith(b"POST /score"):
                self.began = perf_counter()
                self.knocked = scoring
                scoring.turn.knock()
            super().data_received(data)

        def on_response_complete(self) -> None:
            if self.knocked is not None:
                self.knocked.tally.took(self.began)
            self._gone()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._gone()
            super().connection_lost(exc)

        def _gone(self) -> None:
            scoring, self.knocked = self.knocked, None
            if scoring is not None:
                scoring.turn.gone()

    return Knocking


class HttpServer:
    """The HTTP thread. `start` binds first, so that a taken port is a clear error before any event is read."""

    def __init__(
        self, board: Board, exposition: Callable[[], bytes], settings: HttpSettings, limits: WireSettings
    ) -> None:
        self._settings = settings
        config = uvicorn.Config(
            make_app(board, exposition, settings, read_token(settings.token_file), limits),
            http=knocking(board),
            log_level="error", access_log=False, lifespan="off", workers=1, server_header=False,
            limit_concurrency=settings.connections_max, timeout_keep_alive=30,
            timeout_graceful_shutdown=1, h11_max_incomplete_event_size=65_536,
        )  # fmt: skip
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
        # Named TCP: asyncio sends small answers at once (TCP_NODELAY) only on sockets that say so; else 40 ms each.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
