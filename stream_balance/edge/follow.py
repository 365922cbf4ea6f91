"""Follow: the server-sent events that the live page listens to. In: the board. Out: bytes, as reports come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

from stream_balance.edge.board import Board, Pinned

LOOK_S, PULSE_S = 0.2, 5.0  # of a stream: how often it looks for a new report, and speaks if there is none


async def follow(board: Board) -> AsyncIterator[bytes]:
    """Server-sent events: the history once, then each report as it is pinned, until the loop has ended."""
    me = object()
    board.open_pages.add(me)
    try:
        yield _event("history", board.history.points())
        shown, quiet_s = None, 0.0
        while True:
            pinned = board.latest()
            if pinned is not None and pinned is not shown:
                shown, quiet_s = pinned, 0.0
                yield _event("report", _now(board, pinned))
            elif quiet_s >= PULSE_S:
                quiet_s = 0.0
                yield _event("pulse", _pulse(board))
            if board.ended:
                yield _event("ended", {})
                return
            await asyncio.sleep(LOOK_S)
            quiet_s += LOOK_S
    finally:
        board.open_pages.discard(me)


def _event(kind: str, document: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(document))


def _pulse(board: Board) -> dict[str, Any]:
    return {
        "healthy": board.healthy(), "ready": board.ready, "trouble": board.trouble, "idle_s": board.stalled_s(),
        "ended": board.ended,
    }  # fmt: skip


def _now(board: Board, pinned: Pinned) -> dict[str, Any]:
    report = {name: part for name, part in pinned.document.items() if name not in ("settings", "versions")}
    chosen = pinned.document.get("settings") or {}
    names = {
        "model": (chosen.get("model") or {}).get("name"),
        "strategy": (chosen.get("balance") or {}).get("strategy"),
    }
    points = board.history.points()
    point = points[-1] if points else None
    return {"report": report, "state": pinned.state, "pulse": _pulse(board), "point": point, "names": names}
