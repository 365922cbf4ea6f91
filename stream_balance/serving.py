"""Serving: the HTTP thread beside a loop. In: the board, settings. Out: a server that listens while the block runs.

Apart from the service, so that a command that serves no port loads no server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stream_balance.edge.board import Board
from stream_balance.edge.exporter import make_exposition, render
from stream_balance.edge.http import HttpServer
from stream_balance.edge.pauses import handing_over
from stream_balance.service import versions
from stream_balance.settings import Settings


@contextmanager
def serving(board: Board, settings: Settings) -> Iterator[HttpServer]:
    """The HTTP thread, for as long as the block runs."""
    registry = make_exposition(board, versions())
    server = HttpServer(board, lambda: render(registry), settings.http, settings.wire)
    server.start()
    try:
        with handing_over(settings.http.switch_s):
            yield server
    finally:
        server.stop()
