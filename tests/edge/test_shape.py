"""Records of another make come out as the same events, and what is wrong with them is told in their own words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream_balance.core.records import Purchase, Search
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.presets import PRESETS
from stream_balance.edge.wire import REASONS
from stream_balance.errors import BadRecord, SettingsError
from stream_balance.settings import load
from stream_balance.testing import make_purchase, make_search
from tests.edge.test_codec import searches

OURS = Codec(WireSettings())
NESTED = Codec(
    WireSettings.model_validate(
        {
            "outcome_when": "meta.kind=sold",
            "search": {
                "event_id": "meta.id", "ts": "meta.at", "user_id": "meta.who.0", "session_id": "s", "query": "q",
                "features": ["context"], "items": "body.lines",
            },
            "item": {"item_id": "sku.code", "position": "row", "price": "cost", "category": "kind", "truth": "p"},
            "outcome": {"event_id": "meta.id", "ts": "meta.at", "user_id": "meta.who.0", "item_id": "sku",
                        "search_id": "ref", "price": "cost", "quantity": "n", "label": "as"},
        }
    )
)  # fmt: skip
TRANSACTION: dict[str, Any] = {
    "transaction_id": "t-1", "time": "2026-03-01T09:30:00Z", "card": {"id": 4711, "country": "DE"}, "amount": 12.5,
    "merchant": {"id": "m-1", "category": "fuel", "country": "FR"}, "checks": {"cvv": True, "last_hour": 2},
}  # fmt: skip


def nested(line: bytes) -> bytes:
    """A line of ours in the nested make."""
    old = orjson.loads(line)
    meta = {"id": old["event_id"], "at": old["ts"], "who": [old["user_id"]]}
    if "items" in old:
        lines = [
            {"sku": {"code": item["item_id"]}, "row": item.get("position"), "cost": item.get("price"),
             "kind": item.get("category"), "features": item.get("features"), "p": item.get("truth")}
            for item in old["items"]
        ]  # fmt: skip
        more = {"s": old.get("session_id"), "q": old.get("query"), "context": old.get("features")}
        return orjson.dumps({"meta": meta, "body": {"lines": lines}, **more})
    names = {"sku": "item_id", "ref": "search_id", "cost": "price", "n": "quantity", "as": "label"}
    return orjson.dumps({"meta": meta | {"kind": "sold"}, **{new: old.get(name) for new, name in names.items()}})


@given(searches())
def test_a_search_of_another_make_is_the_same_search(search: Search) -> None:
    line = OURS.encode_search(search)
    assert NESTED.parse(nested(line)) == OURS.parse(line)


def test_a_purchase_of_another_make_is_the_same_purchase() -> None:
    for purchase in (
        make_purchase(ts=1e9, search_id="s-1"),
        make_purchase(ts=1e9, price=2.5, quantity=3),
    ):
        assert isinstance(purchase, Purchase)
        line = OURS.encode_purchase(purchase)
        assert NESTED.parse(nested(line)) == purchase


@given(st.dictionaries(st.sampled_from([*TRANSACTION, "chargeback_id", "card_id", "truth"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda deeper: st.lists(deeper, max_size=2) | st.dictionaries(st.sampled_from(["id", "country", "cvv"]), deeper),
    max_leaves=4,
)))  # fmt: skip
def test_whatever_stands_in_it_it_is_an_event_or_a_bad_record(changes: dict[str, Any]) -> None:
    codec = Codec(WireSettings(preset="card_fraud"))
    try:
        data = orjson.dumps(TRANSACTION | changes)
    except TypeError:  # an integer that JSON writers refuse
        return
    reason = None
    try:
        assert isinstance(codec.parse(data), Search | Purchase)
    except BadRecord as bad:
        reason = bad.reason
    assert reason is None or reason in REASONS


def test_numbers_are_taken_for_names_and_truth_values_for_features() -> None:
    search = Codec(WireSettings(preset="card_fraud")).parse(orjson.dumps(TRANSACTION))
    assert isinstance(search, Search)
    assert (search.user_id, search.item_ids, search.prices, search.categories) == ("4711", ("m-1",), (12.5,), ("fuel",))
    assert search.features == {"card.country": "DE", "cvv": 1.0, "last_hour": 2.0}
    assert search.item_features == ({"merchant.country": "FR"},)


@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        ({"card": {}}, "missing_field", "card.id (user_id) is missing"),
        ({"merchant": {"id": ""}}, "missing_field", "merchant.id (item_id) is '', expected a text that is not empty"),
        ({"amount": "12"}, "wrong_type", "amount (price) is '12', expected a number"),
        ({"time": "noon"}, "bad_time", "time (ts) is 'noon', expected ISO 8601 or milliseconds since 1970"),
        ({"checks": {"cvv": {}}}, "wrong_type", "features.cvv is an object, expected a number, a string or a list"),
        ({"chargeback_id": 1}, "missing_field", "card_id (user_id) is missing"),
    ],
)
def test_what_is_wrong_is_told_by_the_names_of_their_record(change: dict[str, Any], reason: str, told: str) -> None:
    with pytest.raises(BadRecord) as caught:
        Codec(WireSettings(preset="card_fraud")).parse(orjson.dumps(TRANSACTION | change))
    assert (caught.value.reason, str(caught.value)[: len(told)]) == (reason, told)


def test_an_item_is_told_with_its_number() -> None:
    line = orjson.loads(nested(OURS.encode_search(make_search(items=["i1", "i2"]))))
    del line["body"]["lines"][1]["sku"]
    with pytest.raises(BadRecord, match=r"body\.lines\[1\]\.sku\.code \(item_id\) is missing"):
        NESTED.parse(orjson.dumps(line))


def test_a_diagnosis_that_is_not_listed_is_told_by_its_own_name() -> None:
    record = {"diagnosis_id": 1, "recorded_at": 1_772_357_400_000, "admission_id": 2, "patient_id": 3}
    codec = Codec(WireSettings(preset="admissions"))
    stroke = codec.parse(orjson.dumps(record | {"diagnosis": "stroke"}))
    assert isinstance(stroke, Purchase)
    assert (stroke.label, stroke.search_id, stroke.user_id) == (2, "2", "3")
    with pytest.raises(BadRecord, match=r"diagnosis \(label\) is 'gout', expected one of: sepsis, stroke, embolism"):
        codec.parse(orjson.dumps(record | {"diagnosis": "gout"}))


def test_times_may_be_seconds() -> None:
    seconds = Codec(WireSettings.model_validate({"preset": "card_fraud", "time_unit": "s"}))
    assert seconds.parse(orjson.dumps(TRANSACTION | {"time": 1_772_357_400})).ts_us == 1_772_357_400_000_000


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_stays_what_it_is_when_it_is_written_down(preset: str) -> None:
    chosen = load(flags={"wire": {"preset": preset, "search": {"user_id": "owner"}}}, environment={}).wire
    assert chosen.search.user_id == "owner"
    assert WireSettings.model_validate(chosen.model_dump(mode="json")) == chosen


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(SettingsError, match="preset 'card' is unknown, expected one of: shop, card_fraud"):
        load(flags={"wire": {"preset": "card"}}, environment={})
    with pytest.raises(SettingsError, match=r"'wire.search.user'.*Did you mean 'user_id'"):
        load(flags={"wire": {"preset": "card_fraud", "search": {"user": "x"}}}, environment={})
    with pytest.raises(ValidationError, match="outcome_when is needed"):
        WireSettings.model_validate({"search": {"items": ""}})
