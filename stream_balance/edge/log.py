"""Log: one line per change of state on standard error, JSON or for people. In: settings, a stream. Out: a logger.

Made once and handed to whoever speaks; no global configuration. Promise: no secret and no user id is written: a line
that carries a field of such a name is an error of ours.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from stream_balance.edge.log_settings import LogSettings

Log = structlog.typing.FilteringBoundLogger
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
NEVER = frozenset({"user", "user_id", "password", "token", "secret", "key", "value", "query", "session_id"})


def _refuse_private(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    private = NEVER & fields.keys()
    assert not private, f"log line {fields.get('event')!r} carries {sorted(private)}, which are never logged"
    return fields


def make_log(settings: LogSettings, stream: TextIO) -> Log:
    """A logger that writes whole lines to `stream`.

    >>> import sys
    >>> make_log(LogSettings(format="json"), sys.stdout).info("release adopted", version=7)  # doctest: +ELLIPSIS
    {"version": 7, "event": "release adopted", "level": "info", "time": "...Z"}
    """
    last: Any = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time", pad_event_to=28)
    )
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            _refuse_private,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
    )
    return log


def silent_log() -> Log:
    """A logger that writes nothing: for replays and tests."""
    log: Log = structlog.wrap_logger(structlog.PrintLogger(), processors=[_drop])
    return log


def _drop(_logger: Any, _method: str, _fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent
