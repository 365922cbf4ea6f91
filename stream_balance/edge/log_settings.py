"""Log settings: how lines look. Apart from the log: a command that writes none loads no library for it."""

from __future__ import annotations

from typing import Literal

from stream_balance.core.records import RoomSettings


class LogSettings(RoomSettings):
    """How log lines look, and which are written."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"
