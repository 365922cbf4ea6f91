"""The door: every record is an event or a counted bad record, and what goes out comes back in."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_balance.core.records import Purchase, Search
from stream_balance.edge.codec import Codec, WireSettings, parse_time_us
from stream_balance.edge.wire import REASONS
from stream_balance.errors import BadRecord

NOON_US = 1_772_366_400_000_000
CODEC = Codec(WireSettings(classes=("bought", "refund")))

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
NUMBER = st.floats(-1e30, 1e30)
FEATURES = st.dictionaries(TEXT, NUMBER | TEXT | st.lists(NUMBER, max_size=3), max_size=4)
TIME_US = st.integers(946_684_800_000_000, 4_102_444_800_000_000)


@st.composite
def searches(draw: st.DrawFn) -> Search:
    n = draw(st.integers(1, 4))

    def column(values: st.SearchStrategy[Any]) -> tuple[Any, ...]:
        return tuple(draw(st.lists(values, min_size=n, max_size=n)))

    return Search(
        draw(TEXT), draw(TIME_US), draw(TEXT), column(TEXT), column(st.integers(0, 99)), column(st.none() | NUMBER),
        column(st.none() | TEXT), column(FEATURES), draw(FEATURES), draw(st.none() | TEXT), draw(st.none() | TEXT),
        draw(st.none() | st.just(column(st.floats(0, 1)))),
    )  # fmt: skip


PURCHASES = st.builds(
    Purchase, TEXT, TIME_US, TEXT, TEXT, st.none() | TEXT, st.none() | NUMBER, st.integers(1, 9), st.integers(1, 2)
)


def search_with(**changes: Any) -> bytes:
    item = {"item_id": "i1", "features": changes.pop("item_features", {})} | changes.pop("item", {})
    return json.dumps({"event_id": "s", "ts": NOON_US // 1000, "user_id": "u", "items": [item]} | changes).encode()


def purchase_with(**changes: Any) -> bytes:
    fields = {"event_id": "p", "ts": NOON_US // 1000, "user_id": "u", "item_id": "i1"} | changes
    return json.dumps({name: value for name, value in fields.items() if value != "-"}).encode()


def outcome(data: bytes) -> str:
    """ "event", or the reason why not; anything else that is raised fails the test."""
    try:
        CODEC.decode(data, NOON_US)
    except BadRecord as bad:
        return bad.reason
    return "event"


@settings(deadline=None)
@given(searches())
def test_a_search_that_goes_out_comes_back_the_same(search: Search) -> None:
    assert CODEC.decode(CODEC.encode_search(search)) == search


@settings(deadline=None)
@given(PURCHASES)
def test_a_purchase_that_goes_out_comes_back_the_same(purchase: Purchase) -> None:
    assert CODEC.decode(CODEC.encode_purchase(purchase)) == purchase


@settings(max_examples=300, deadline=None)
@given(searches(), st.integers(0, 2**32), st.integers(1, 12))
def test_whatever_the_bytes_nothing_but_a_bad_record_is_raised(search: Search, seed: int, changes: int) -> None:
    rng, data = random.Random(seed), bytearray(CODEC.encode_search(search))
    pieces = [b"NaN", b"null", b"true", b"1e999", b'"', b"{", b"]", b"\xff", b"\\ud800", b"9" * 30, b"", b"items"]
    for _ in range(changes):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.randrange(6)] = rng.choice(pieces)
    assert outcome(bytes(data)) in ("event", *REASONS)


FIELDS = st.sampled_from(["items", "item_id", "ts", "schema", "type", "features", "event_id", "user_id", "label"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner))


@settings(deadline=None)
@given(JSON)
def test_any_json_is_an_event_or_a_bad_record(value: Any) -> None:
    assert outcome(json.dumps(value).encode()) in ("event", *REASONS)


@pytest.mark.parametrize(
    ("data", "reason", "told"),
    [
        (b" " * 1_048_577, "too_large", "1048577 bytes, at most 1048576"),
        (b'{"event_id":"s","ts":17', "not_json", "EOF"),
        (b"", "not_json", "EOF"),
        (b"[" * 10_000, "not_json", "recursion"),
        (b'{"event_id":"\xff"}', "not_utf8", "byte 13"),
        (b"[1]", "wrong_type", "record is a list of 1, expected an object"),
        (search_with(schema=2), "unknown_schema", "schema is 2, expected 1"),
        (search_with(schema=2, items=7), "unknown_schema", "schema is 2"),
        (search_with(schema=True), "unknown_schema", "schema is true"),
        (search_with(type="refund"), "unknown_type", "says type 'refund'"),
        (purchase_with(item_id="-"), "unknown_type", "neither 'items' nor 'item_id'"),
        (purchase_with(user_id="-"), "missing_field", "user_id is missing"),
        (purchase_with(user_id=""), "missing_field", "user_id is ''"),
        (purchase_with(user_id=7), "wrong_type", "user_id is 7, expected a string"),
        (purchase_with(quantity=0), "out_of_range", "quantity is 0, expected at least 1"),
        (purchase_with(quantity=1.5), "wrong_type", "quantity is 1.5, expected an integer"),
        (purchase_with(price=float("nan")), "not_finite", "price is nan, expected a finite number"),
        (purchase_with(label="loan"), "unknown_label", "label is 'loan', expected one of: bought, refund"),
        (search_with(item={"item_id": None}), "wrong_type", "items[0].item_id is null, expected a string"),
        (search_with(item={"truth": 1.5}), "out_of_range", "items[0].truth is 1.5, expected at most 1"),
        (search_with(item_features={"a": True}), "wrong_type", "items[0].features.a is true, expected a number, a"),
        (search_with(item_features={"a": {}}), "wrong_type", "items[0].features.a is an object, expected a number"),
        (search_with(item_features={"a": [1, "b"]}), "wrong_type", "items[0].features.a[1] is 'b', expected a number"),
        (search_with(item_features={"a": [1, float("inf")]}), "not_finite", "items[0].features.a[1] is inf"),
        (search_with(features={"a": 1e31}), "out_of_range", "features.a is 1e+31, expected at most 1e+30"),
        (search_with(item_features={"a": [1, -1e31]}), "out_of_range", "a[1] is -1e+31, expected at least -1e+30"),
        (purchase_with(price=1e300), "out_of_range", "price is 1e+300, expected at most 1e+30"),
        (search_with(features={"a": float("-inf")}), "not_finite", "features.a is -inf, expected a finite number"),
        (search_with(features={"a": 10**400}), "not_finite", "(401 characters), expected a finite number"),
        (search_with(features={"a": 1}).replace(b"1}", b"1" * 9000 + b"}"), "not_finite", "beyond all range"),
        (search_with(features={"float": "x" * 513}), "string_too_long", "features.float is"),
        (search_with(features={"x" * 513: 1}), "string_too_long", "expected at most 512 characters"),
        (search_with(features={"a": [0.0] * 1025}), "list_too_long", "a list of 1025, expected at most 1024"),
        (search_with(features={str(i): i for i in range(201)}), "too_many_features", "expected at most 200"),
        (search_with(items=[]), "no_items", "items is a list of 0, expected at least one item"),
        (search_with(items=[{"item_id": "i"}] * 501), "too_many_items", "expected at most 500"),
        (search_with(items={}), "wrong_type", "items is an object, expected a list"),
        (search_with(ts="2026-03-01T09:30:00"), "bad_time", "no offset"),
        (search_with(ts="yesterday"), "bad_time", "'yesterday', expected ISO 8601"),
        (search_with(ts=1_772_366_400), "bad_time", "before 2000-01-01T00:00:00Z; numbers are read as milliseconds"),
        (search_with(ts=10**30), "bad_time", "beyond the year 9999"),
        (search_with(ts=float("nan")), "not_finite", "ts is nan"),
        (search_with(ts=None), "wrong_type", "ts is null"),
        (search_with(ts="2099-01-01T00:00:00Z"), "too_far_ahead", "days ahead of its record's time, at most 300 s"),
    ],
)  # fmt: skip
def test_a_bad_record_says_where_what_was_found_and_what_was_expected(data: bytes, reason: str, told: str) -> None:
    with pytest.raises(BadRecord) as caught:
        CODEC.decode(data, NOON_US)
    assert (caught.value.reason, told in str(caught.value)) == (reason, True), str(caught.value)


@pytest.mark.parametrize(
    ("wire", "expected_us"),
    [
        ("2026-03-01T12:00:00Z", NOON_US),
        ("2026-03-01T13:00:00.000001+01:00", NOON_US + 1),
        ("2026-03-01T12:00:00.123456Z", NOON_US + 123_456),
        (NOON_US // 1000, NOON_US),
        (NOON_US / 1000 + 0.5, NOON_US + 500),
    ],
)
def test_a_time_is_kept_to_the_microsecond(wire: object, expected_us: int) -> None:
    assert parse_time_us(wire) == expected_us


def test_the_documented_records_are_read() -> None:
    codec = Codec(WireSettings())
    search = codec.decode(
        b'{"schema": 1, "event_id": "s-1", "ts": "2026-03-01T09:30:00.123Z", "user_id": "u1", "session_id": "x", '
        b'"query": "red shoes", "features": {"device": "ios", "age_days": 3}, '
        b'"items": [{"item_id": "i1", "position": 1, "price": 19.9, "category": "shoes", '
        b'"features": {"rating": 4.5, "brand": "acme", "embedding": [0.1, 0.2]}}]}'
    )
    assert isinstance(search, Search)
    assert search.item_features == ({"rating": 4.5, "brand": "acme", "embedding": [0.1, 0.2]},)
    purchase = codec.decode(
        b'{"schema": 1, "event_id": "p-1", "ts": 1772357410000, "user_id": "u1", "item_id": "i1", "search_id": null, '
        b'"price": 19.9, "quantity": 2, "label": "bought"}'
    )
    assert purchase == Purchase("p-1", 1_772_357_410_000_000, "u1", "i1", None, 19.9, 2, 1)


def test_what_is_not_known_is_ignored_and_what_is_null_is_absent() -> None:
    data = search_with(colour="red", features={"a": None, "b": 2}, item={"price": None, "position": None, "extra": [1]})
    event = CODEC.decode(data)
    assert isinstance(event, Search)
    assert (event.features, event.prices, event.positions) == ({"b": 2.0}, (None,), (1,))


def test_the_kind_is_told_by_the_fields_or_by_type() -> None:
    both = orjson.loads(search_with(item_id="i9"))
    assert isinstance(CODEC.decode(json.dumps(both).encode()), Search)
    assert isinstance(CODEC.decode(json.dumps(both | {"type": "purchase"}).encode()), Purchase)
    assert isinstance(CODEC.decode(purchase_with(search_id="items", note={"items": 1})), Purchase)
    assert isinstance(CODEC.decode(search_with(schema="1.7")), Search)
    assert isinstance(CODEC.decode(search_with().replace(b'"items"', b'"\\u0069tems"')), Search)


def test_equal_ids_share_one_string_and_their_number_is_bounded() -> None:
    codec = Codec(WireSettings(interned_max=10))
    first, second = codec.decode(search_with()), codec.decode(search_with())
    assert isinstance(first, Search)
    assert isinstance(second, Search)
    assert first.item_ids[0] is second.item_ids[0]
    for index in range(50):
        codec.decode(search_with(user_id=f"u{index}"))
        assert len(codec._strings) <= 10 + 2
    assert codec.afresh > 0
