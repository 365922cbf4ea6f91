"""Answers: the shapes of what the HTTP routes say, and of a request to score, as their OpenAPI document has them.

In: documents, the wire's limits. Out: responses, models, a JSON Schema. Pure.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Response
from pydantic import BaseModel, Field


class Problem(BaseModel):
    """Why a request was not answered."""

    reason: str
    message: str


class Health(BaseModel):
    """Whether the loop moves; independent of the broker."""

    status: str
    trouble: str | None
    loop_idle_s: float


class Ready(BaseModel):
    """Whether events are taken."""

    ready: bool


class ScoredItem(BaseModel):
    """One item. `probability` is a number, or by class name where there are several outcomes."""

    item_id: str
    position: int
    probability: float | dict[str, float]
    threshold: float
    rank: int


class Scores(BaseModel):
    """The items of a search, in the order given."""

    schema_: int = Field(alias="schema")
    search_id: str
    model_version: int
    items: list[ScoredItem]


class ModelCard(BaseModel):
    """Which model answers, and how old what it knows is."""

    version: int | None
    name: str
    strategy: str
    seed: int
    samples: int
    learned_s_ago: float | None
    reached: float | None = Field(description="Event time reached, seconds since 1970.")
    frozen_after_events: int | None
    arms: list[dict[str, Any]] | None


def search_schema(limits: Any) -> dict[str, Any]:
    """JSON Schema of a request to score, from the wire's limits."""
    if limits.shape() is not None:
        return {"type": "object", "description": "A record that is scored, in the shape that the section wire maps."}
    text = {"type": "string", "maxLength": limits.string_max}
    name = text | {"minLength": 1}
    optional: dict[str, Any] = {"anyOf": [text, {"type": "null"}]}
    number = {"type": "number", "minimum": -limits.number_max, "maximum": limits.number_max}
    numbers = {"type": "array", "items": number, "maxItems": limits.list_max}
    feature = {"anyOf": [number, text, numbers, {"type": "null"}]}
    features: dict[str, Any] = {
        "type": ["object", "null"], "propertyNames": {"minLength": 1, "maxLength": limits.string_max},
        "additionalProperties": feature, "maxProperties": limits.features_max,
    }  # fmt: skip
    price = {"anyOf": [number, {"type": "null"}]}
    position = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, {"type": "null"}]}
    item = {
        "type": "object",
        "required": ["item_id"],
        "properties": {"item_id": name, "position": position, "price": price, "category": optional,
                       "features": features},
    }  # fmt: skip
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "schema": {"enum": [1, "1", None]}, "event_id": name, "user_id": name,
            "query": optional, "session_id": optional, "features": features,
            "ts": {"anyOf": [{"type": "string", "format": "date-time", "pattern": "^20(0[1-9]|[1-9][0-9])-"},
                             {"type": "number", "minimum": 946_684_800_000, "maximum": 253_402_300_799_999}]},
            "items": {"type": "array", "minItems": 1, "maxItems": limits.items_max, "items": item},
        },
    }  # fmt: skip


def as_json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(document), status, headers, media_type="application/json")


def problem(status: int, reason: str, message: str) -> Response:
    """A refusal as JSON."""
    more = {401: {"www-authenticate": 'Basic realm="stream-balance", charset="UTF-8"'}, 503: {"retry-after": "1"}}
    return as_json({"reason": reason, "message": message}, status, more.get(status))


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for its documentation."""
    return {status: {"model": Problem} for status in statuses}


def model_card(report: dict[str, Any], state: dict[str, Any], now_s: float) -> dict[str, Any]:
    """What `/model` answers, from a report and the service's state."""
    chosen, watermark_us = report.get("settings") or {}, state.get("watermark_us")
    learned_at = (state.get("telemetry") or {}).get("learned_at_s")
    return {
        "version": state.get("model_version"),
        "name": (chosen.get("model") or {}).get("name") or "",
        "strategy": (chosen.get("balance") or {}).get("strategy") or "",
        "seed": report.get("seed", 0),
        "samples": sum(report["training"]["samples"].values()),
        "learned_s_ago": None if learned_at is None else max(0.0, now_s - learned_at),
        "reached": None if watermark_us is None else watermark_us / 1e6,
        "frozen_after_events": chosen.get("freeze_after_events"),
        "arms": report.get("arms"),
    }
