"""HTTP settings: where the HTTP thread listens, and its limits. Apart from it: what serves no port loads no server."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from stream_balance.core.records import RoomSettings


class HttpSettings(RoomSettings):
    """Where the HTTP thread listens. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    report_wait_s: float = Field(default=10.0, gt=0)  # how long /report.json waits for the loop to make a fresh one
    refresh_s: float = Field(default=2.0, gt=0)  # age at which the pinned report is made anew
    stall_s: float = Field(default=30.0, gt=0)  # /health turns 503 when the loop has not turned for so long
    score_wait_s: float = Field(default=0.25, gt=0)  # how long /score waits for its turn before it answers 503
    switch_s: float = Field(default=0.0001, gt=0)  # how soon a busy loop lets the HTTP thread have the interpreter
    aside_s: float = Field(default=0.005, ge=0)  # how long the loop stands aside for a request to score, at most
    token_file: Path | None = None  # asked for as bearer token, by all but /health and /ready; None = open to all
    connections_max: int = Field(default=128, ge=8)  # beyond it 503
    streams_max: int = Field(default=32, ge=1)  # live pages open at once
