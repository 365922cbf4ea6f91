"""Codec: the door. In: the bytes of one record. Out: a Search or a Purchase, or a BadRecord that says where and why.

Promise: whatever the bytes, nothing but BadRecord is raised, its reason is one of `wire.REASONS`, and equal ids share
one string. Limits: every size is a setting. Unknown fields are ignored; a feature that is null is absent. Of duplicate
keys the last counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from pydantic_core import ValidationError, from_json

from stream_balance.core.records import Event, Purchase, Search
from stream_balance.edge.shape import Kind, Shape
from stream_balance.edge.wire import WireSettings, blame_field, blame_json, found, purchase_validator, search_validator
from stream_balance.errors import BadRecord

__all__ = ["Codec", "WireSettings", "parse_time_us"]

SCHEMA_MAJOR = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_MAX_US = 253_402_300_799_999_999  # the last microsecond of year 9999


class Codec:
    """Bytes to events and back. Counts how often its table of shared strings was started afresh (`afresh`).

    `hide_user` takes the place of each user id that comes in.

    >>> codec = Codec(WireSettings())
    >>> data = b'{"event_id":"p","ts":"2026-03-01T09:30:00.000123Z","user_id":"u","item_id":"i"}'
    >>> codec.decode(data).ts_us
    1772357400000123
    >>> codec.decode(b'{"event_id":"p","ts":1772357400000,"user_id":"u","item_id":7}')
    Traceback (most recent call last):
    stream_balance.errors.BadRecord: item_id is 7, expected a string
    """

    def __init__(self, settings: WireSettings, hide_user: Callable[[str], str] | None = None) -> None:
        self.settings = settings
        self._hide_user = hide_user
        self.afresh = 0
        self._bytes_max = settings.record_bytes_max
        self._skew_us = round(settings.max_skew_s * 1e6)
        self._time_min_us = parse_time_us(settings.time_min)
        self._labels = {name: index for index, name in enumerate(settings.classes, start=1)}
        self._search = search_validator(settings)
        self._purchase = purchase_validator(settings)
        self._shape = settings.shape()
        self._strings: dict[str, str] = {}

    def decode(self, data: bytes, record_time_us: int | None = None) -> Event:
        """The event in `data`. Raises BadRecord."""
        event = self.parse(data)
        self.check_time(event, record_time_us)
        return event

    def parse(self, data: bytes) -> Event:
        """The event in `data`, its time not yet held against its record's time. Raises BadRecord."""
        if len(data) > self._bytes_max:
            raise BadRecord("too_large", f"record has {len(data)} bytes, at most {self._bytes_max} are allowed")
        if self._shape is not None:
            return self._parse_theirs(data, self._shape)
        # A guess by a substring saves a second parse; a wrong guess is found out below.
        search_like = b'"items"' in data
        try:
            fields = (self._search if search_like else self._purchase).validate_json(data)
        except ValidationError as error:
            return self._look_again(data, error)
        schema = fields.get("schema", SCHEMA_MAJOR)
        guessed = "search" if search_like else "purchase"
        if schema.__class__ is not int or schema != SCHEMA_MAJOR or fields.get("type", guessed) != guessed:
            return self._look_again(data, None)
        if not search_like and "items" in fields:
            return self._look_again(data, None)
        return self._to_search(fields) if search_like else self._to_purchase(fields)

    def parse_request(self, fields: dict[str, Any], defaults: dict[str, Any]) -> Event:
        """The event in a request; `defaults`, under our names, stand in for what it leaves out. Raises BadRecord."""
        if self._shape is None:
            return self.parse(orjson.dumps(defaults | fields))
        return self._check_theirs(defaults | self._shape.to_ours(fields), self._shape, self._shape.kind(fields))

    def check_time(self, event: Event, record_time_us: int | None) -> None:
        """Raise BadRecord if the event is more than `max_skew_s` ahead of its record; None = no record time known."""
        if record_time_us is not None and event.ts_us - record_time_us > self._skew_us:
            ahead, allowed = _span((event.ts_us - record_time_us) / 1e6), f"{self.settings.max_skew_s:g} s"
            raise BadRecord("too_far_ahead", f"ts is {ahead} ahead of its record's time, at most {allowed} are allowed")

    # -- out

    def encode_search(self, search: Search) -> bytes:
        """One line of JSON without its newline; `parse` gives the same search back."""
        items: list[dict[str, Any]] = []
        for index, item_id in enumerate(search.item_ids):
            item: dict[str, Any] = {"item_id": item_id, "position": search.positions[index]}
            item |= _present(price=search.prices[index], category=search.categories[index])
            if search.item_features[index]:
                item["features"] = dict(search.item_features[index])
            if search.truths is not None:
                item["truth"] = search.truths[index]
            items.append(item)
        fields = {
            "schema": SCHEMA_MAJOR,
            "event_id": search.event_id,
            "ts": _to_wire_time(search.ts_us),
            "user_id": search.user_id,
            **_present(session_id=search.session_id, query=search.query),
        }
        if search.features:
            fields["features"] = dict(search.features)
        return orjson.dumps(fields | {"items": items})

    def encode_purchase(self, purchase: Purchase) -> bytes:
        """One line of JSON without its newline; `parse` gives the same purchase back."""
        fields = {
            "schema": SCHEMA_MAJOR,
            "event_id": purchase.event_id,
            "ts": _to_wire_time(purchase.ts_us),
            "user_id": purchase.user_id,
            "item_id": purchase.item_id,
            **_present(search_id=purchase.search_id, price=purchase.price),
            "quantity": purchase.quantity,
        }
        if purchase.label != 1:
            fields["label"] = self.settings.classes[purchase.label - 1]
        return orjson.dumps(fields)

    # -- in

    def _to_search(self, fields: Mapping[str, Any]) -> Search:
        strings = self._strings
        if len(strings) > self.settings.interned_max:
            strings.clear()
            self.afresh += 1
        share = strings.setdefault
        items = fields["items"]
        ids = [item["item_id"] for item in items]
        categories = [item.get("category") for item in items]
        positions = [item.get("position") for item in items]
        truths = tuple([item["truth"] for item in items if "truth" in item])
        user_id = self._user_id(fields)
        return Search(
            fields["event_id"],
            self._time_us(fields["ts"]),
            share(user_id, user_id),
            tuple(map(share, ids, ids)),
            tuple([index if at is None else at for index, at in enumerate(positions, start=1)]),
            tuple([item.get("price") for item in items]),
            tuple([share(name, name) if name is not None else None for name in categories]),
            tuple([item.get("features") or {} for item in items]),
            fields.get("features") or {},
            fields.get("session_id"),
            fields.get("query"),
            truths if len(truths) == len(items) else None,
        )

    def _to_purchase(self, fields: Mapping[str, Any]) -> Purchase:
        name = fields.get("label")
        label = 1 if name is None else self._labels.get(name)
        if label is None:
            known = ", ".join(self._labels)
            raise BadRecord("unknown_label", f"label is {found(name)}, expected one of: {known}")
        share = self._strings.get
        user_id, item_id = self._user_id(fields), fields["item_id"]
        return Purchase(
            fields["event_id"],
            self._time_us(fields["ts"]),
            share(user_id, user_id),
            share(item_id, item_id),
            fields.get("search_id"),
            fields.get("price"),
            fields.get("quantity") or 1,
            label,
        )

    def _parse_theirs(self, data: bytes, shape: Shape) -> Event:
        """A record of another make."""
        try:
            document = from_json(data)
        except ValueError as error:
            raise blame_json(data, str(error)) from None
        if not isinstance(document, dict):
            raise BadRecord("wrong_type", f"record is {found(document)}, expected an object")
        return self._check_theirs(shape.to_ours(document), shape, shape.kind(document))

    def _check_theirs(self, ours: dict[str, Any], shape: Shape, kind: Kind) -> Event:
        try:
            if kind == "search":
                return self._to_search(self._search.validate_python(ours))
            return self._to_purchase(self._purchase.validate_python(ours))
        except ValidationError as error:
            raise blame_field(error, lambda place: shape.place(place, kind)) from None
        except BadRecord as bad:  # of a time or a label, which it names first
            field, _, rest = str(bad).partition(" ")
            raise BadRecord(bad.reason, f"{shape.place((field,), kind)} {rest}") from None

    def _user_id(self, fields: Mapping[str, Any]) -> str:
        user_id: str = fields["user_id"]
        return user_id if self._hide_user is None else self._hide_user(user_id)

    def _time_us(self, value: object) -> int:
        """ISO 8601 with an offset, or epoch milliseconds, as microseconds since the epoch."""
        ts_us = parse_time_us(value)
        if ts_us < self._time_min_us:
            raise BadRecord(
                "bad_time",
                f"ts is {found(value)}, before {self.settings.time_min}; numbers are read as milliseconds since 1970",
            )
        return ts_us

    def _look_again(self, data: bytes, error: ValidationError | None) -> Event:
        """The slow way, for what the quick way could not take: schema first, then type, then the fields."""
        if error is not None:
            first = error.errors(include_url=False, include_input=False)[0]
            if first["type"] == "json_invalid":
                raise blame_json(data, str(first["ctx"]["error"]))
        fields = from_json(data)
        if not isinstance(fields, dict):
            raise BadRecord("wrong_type", f"record is {found(fields)}, expected an object")
        _check_schema(fields.get("schema"))
        kind = fields.get("type")
        if kind is None:
            kind = "search" if "items" in fields else "purchase" if "item_id" in fields else None
        if kind not in ("search", "purchase"):
            says = "has neither 'items' nor 'item_id'" if kind is None else f"says type {found(kind)}"
            raise BadRecord("unknown_type", f"record {says}; a search has 'items', a purchase has 'item_id'")
        try:
            if kind == "search":
                return self._to_search(self._search.validate_json(data))
            return self._to_purchase(self._purchase.validate_json(data))
        except ValidationError as again:
            raise blame_field(again) from None


def parse_time_us(value: object, name: str = "ts") -> int:
    """ISO 8601 with an offset, or epoch milliseconds, as microseconds since the epoch. Raises BadRecord.

    >>> parse_time_us("2000-01-01T01:00:00.000001+01:00"), parse_time_us(946684800000)
    (946684800000001, 946684800000000)
    """
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            raise BadRecord(
                "bad_time", f"{name} is {found(value)}, expected ISO 8601 or milliseconds since 1970"
            ) from None
        if when.tzinfo is None:
            raise BadRecord("bad_time", f"{name} is {found(value)}, which has no offset; write Z for UTC")
        since = when - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRecord("wrong_type", f"{name} is {found(value)}, expected ISO 8601 or milliseconds since 1970")
    if not math.isfinite(value):
        raise BadRecord("not_finite", f"{name} is {found(value)}, expected a finite number")
    if abs(value) > _TIME_MAX_US / 1000:
        raise BadRecord(
            "bad_time", f"{name} is {found(value)}, beyond the year 9999; numbers are read as milliseconds since 1970"
        )
    return round(value * 1000)


def _check_schema(schema: object) -> None:
    """Raise BadRecord unless the major version is ours: 1, "1", 1.4 and "1.4" are; absent is 1."""
    known = str(SCHEMA_MAJOR)
    if schema is not None and (isinstance(schema, bool) or str(schema)[:20].partition(".")[0] != known):
        raise BadRecord("unknown_schema", f"schema is {found(schema)}, expected {known}")


def _to_wire_time(ts_us: int) -> int | str:
    """Milliseconds where they are exact, else ISO 8601."""
    if ts_us % 1000 == 0:
        return ts_us // 1000
    return (_EPOCH + timedelta(microseconds=ts_us)).isoformat()


def _span(seconds: float) -> str:
    return f"{seconds / 86_400:.0f} days" if seconds > 172_800 else f"{seconds:.0f} s"


def _present(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
