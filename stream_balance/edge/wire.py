"""The wire format as rules: limits, one pre-built validator per kind of record, and how a breach of them is told.

The rules are pydantic's core schemas, not models: a search of 20 items becomes plain dicts in one pass over the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticOmit, SchemaValidator, ValidationError
from pydantic_core import core_schema as cs

from stream_balance.core.records import FeatureValue, RoomSettings
from stream_balance.edge.presets import over
from stream_balance.edge.shape import ItemPlaces, OutcomePlaces, SearchPlaces, Shape
from stream_balance.errors import BadRecord

REASONS = (
    "too_large", "not_utf8", "not_json", "unknown_schema", "unknown_type", "missing_field", "wrong_type",
    "out_of_range", "not_finite", "no_items", "too_many_items", "too_many_features", "list_too_long",
    "string_too_long", "bad_time", "too_far_ahead", "unknown_label",
)  # fmt: skip

_INT_MAX = 2**31 - 1
# pydantic's words -> (reason, what was expected); of several at one place the first listed here is told.
_KINDS: dict[str, tuple[str, str]] = {
    "finite_number": ("not_finite", "a finite number"),
    "string_too_long": ("string_too_long", "at most {max_length} characters"),
    "too_long": ("list_too_long", "at most {max_length}"),
    "too_short": ("no_items", "at least one item"),
    "missing": ("missing_field", "a value"),
    "string_too_short": ("missing_field", "a text that is not empty"),
    "greater_than_equal": ("out_of_range", "at least {ge}"),
    "less_than_equal": ("out_of_range", "at most {le}"),
    "int_parsing_size": ("out_of_range", "a 32-bit integer"),
    "float_type": ("wrong_type", "a number"),
    "int_type": ("wrong_type", "an integer"),
    "int_from_float": ("wrong_type", "an integer"),
    "string_type": ("wrong_type", "a string"),
    "string_unicode": ("not_utf8", "UTF-8 text"),
    "list_type": ("wrong_type", "a list"),
    "dict_type": ("wrong_type", "an object"),
}
_PRECEDENCE = {kind: rank for rank, kind in enumerate(_KINDS)}


class WireSettings(RoomSettings):
    """Limits of one record; beyond them it is a bad record. And where its fields lie, if its make is not ours."""

    preset: str = "shop"  # card_fraud, admissions, credit_risk: values for the keys below; what is set goes before them
    record_bytes_max: PositiveInt = 1_048_576  # Kafka's own default
    items_max: PositiveInt = 500  # per search
    features_max: PositiveInt = 200  # per item, and per search
    list_max: PositiveInt = 1024  # numbers of one embedding
    number_max: PositiveFloat = 1e30  # size of a number, with either sign: beyond it arithmetic overflows
    string_max: PositiveInt = 512  # characters of an id, a query, a feature's name or value
    max_skew_s: NonNegativeFloat = 300.0  # an event may be this far ahead of its record's time
    time_min: str = "2000-01-01T00:00:00Z"  # older than this is a mistake of units, not an event
    classes: tuple[str, ...] = Field(default=("bought",), min_length=1)  # outcomes 1..C-1; class 0 is "no outcome"
    interned_max: PositiveInt = 1_000_000  # strings shared between records; beyond it the table starts afresh
    outcome_when: str = ""  # a path that only outcomes have, or path=value; empty: what has no items is an outcome
    time_unit: Literal["s", "ms", "us"] = "ms"  # of times that are numbers
    search: SearchPlaces = SearchPlaces()
    item: ItemPlaces = ItemPlaces()
    outcome: OutcomePlaces = OutcomePlaces()

    @model_validator(mode="before")
    @classmethod
    def _preset_below(cls, given: Any) -> Any:
        preset = given.get("preset", "shop") if isinstance(given, dict) else "shop"
        return over(preset, given) if isinstance(preset, str) and isinstance(given, dict) else given

    @model_validator(mode="after")
    def _outcomes_can_be_told(self) -> WireSettings:
        if not self.search.items and not self.outcome_when:
            raise ValueError("wire.outcome_when is needed where wire.search.items is empty: what tells an outcome")
        return self

    def shape(self) -> Shape | None:
        """How records of another make are read; None: they are of ours."""
        ours = (SearchPlaces(), ItemPlaces(), OutcomePlaces(), "", "ms")
        theirs = (self.search, self.item, self.outcome, self.outcome_when, self.time_unit)
        return None if theirs == ours else Shape(*theirs)

    @field_validator("time_min")
    @classmethod
    def _time_has_offset(cls, text: str) -> str:
        if datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("needs an offset, for example 2000-01-01T00:00:00Z")
        return text

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("two classes have the same name")
        return names


def search_validator(settings: WireSettings) -> SchemaValidator:
    text, number = _text(settings), _number(settings)
    features = _features(settings)
    item = cs.typed_dict_schema(
        {
            "item_id": _field(_text(settings, length_min=1), required=True),
            "position": _field(cs.nullable_schema(cs.int_schema(strict=True, ge=0, le=_INT_MAX))),
            "price": _field(cs.nullable_schema(number)),
            "category": _field(cs.nullable_schema(text)),
            "features": _field(features),
            "truth": _field(cs.float_schema(strict=True, ge=0.0, le=1.0, allow_inf_nan=False)),
        }
    )
    items = cs.list_schema(item, min_length=1, max_length=settings.items_max, fail_fast=True, strict=True)
    return SchemaValidator(
        cs.typed_dict_schema(
            _head(settings)
            | {
                "session_id": _field(cs.nullable_schema(text)),
                "query": _field(cs.nullable_schema(text)),
                "features": _field(features),
                "items": _field(items, required=True),
            }
        ),
        cs.CoreConfig(cache_strings="all"),
    )


def purchase_validator(settings: WireSettings) -> SchemaValidator:
    text = _text(settings)
    return SchemaValidator(
        cs.typed_dict_schema(
            _head(settings)
            | {
                "item_id": _field(_text(settings, length_min=1), required=True),
                "search_id": _field(cs.nullable_schema(text)),
                "price": _field(cs.nullable_schema(_number(settings))),
                "quantity": _field(cs.nullable_schema(cs.int_schema(strict=True, ge=1, le=_INT_MAX))),
                "label": _field(cs.nullable_schema(text)),
                "items": _field(cs.any_schema()),  # only to find a wrong guess out
            }
        ),
        cs.CoreConfig(cache_strings="all"),
    )


def _head(settings: WireSettings) -> dict[str, cs.TypedDictField]:
    identity = _text(settings, length_min=1)
    return {
        "schema": _field(cs.any_schema()),
        "type": _field(cs.any_schema()),
        "event_id": _field(identity, required=True),
        "ts": _field(cs.any_schema(), required=True),
        "user_id": _field(identity, required=True),
    }


def _field(schema: cs.CoreSchema, *, required: bool = False) -> cs.TypedDictField:
    return cs.typed_dict_field(schema, required=required)


def _text(settings: WireSettings, length_min: int = 0) -> cs.CoreSchema:
    return cs.str_schema(strict=True, min_length=length_min, max_length=settings.string_max)


def _number(settings: WireSettings) -> cs.CoreSchema:
    return cs.float_schema(strict=True, allow_inf_nan=False, ge=-settings.number_max, le=settings.number_max)


def _features(settings: WireSettings) -> cs.CoreSchema:
    absent = cs.no_info_after_validator_function(_omit, cs.none_schema())
    embedding = cs.list_schema(_number(settings), max_length=settings.list_max, fail_fast=True, strict=True)
    value = cs.union_schema([_number(settings), _text(settings), embedding, absent], mode="left_to_right")
    features = cs.dict_schema(_text(settings, length_min=1), value, max_length=settings.features_max, strict=True)
    return cs.nullable_schema(features)


def _omit(_: None) -> FeatureValue:
    raise PydanticOmit


def found(value: object) -> str:
    """A value as a message shows it: short, and whatever it is."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


def blame_json(data: bytes, message: str) -> BadRecord:
    """The BadRecord for bytes that are not one JSON value."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRecord("not_utf8", f"record is not UTF-8 at byte {error.start}: {error.reason}")
    if message.startswith("number out of range"):
        return BadRecord("not_finite", f"record has a number beyond all range: {message}")
    return BadRecord("not_json", f"record is not JSON: {message}")


def told_place(place: Sequence[str | int]) -> str:
    """A place in a record as a message shows it: `items[3].price`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".") or "record"


def blame_field(error: ValidationError, told_as: Callable[[Sequence[str | int]], str] = told_place) -> BadRecord:
    """The BadRecord for the first field that breaks a rule: where (`told_as` puts it in words), found, expected."""
    errors = error.errors(include_url=False)
    first = _place(errors[0]["loc"])[:_FEATURE_DEPTH]
    here = [one for one in errors if _place(one["loc"])[: len(first)] == first]
    told = min(here, key=lambda one: (_PRECEDENCE.get(one["type"], len(_PRECEDENCE)), -len(one["loc"])))
    place = _place(told["loc"])
    path = told_as(place)
    reason, expected = _reason(told, place)
    if told["type"] == "missing":
        return BadRecord(reason, f"{path} is missing")
    return BadRecord(reason, f"{path[:200]} is {found(told['input'])}, expected {expected}")


_FEATURE_DEPTH = 4  # items, index, features, name


def _place(location: Sequence[str | int]) -> tuple[str | int, ...]:
    """pydantic's location without the tag of the union's branch, which follows a feature's name."""
    parts = tuple(location)
    name_at = 4 if parts[2:3] == ("features",) else 2 if parts[:1] == ("features",) else len(parts)
    return parts[:name_at] + parts[name_at + 1 :]


def _reason(error: ErrorDetails, place: tuple[str | int, ...]) -> tuple[str, str]:
    reason, expected = _KINDS.get(error["type"], ("wrong_type", error["msg"]))
    expected = expected.format(**error.get("ctx", {}))
    if error["type"] == "too_long" and place == ("items",):
        return "too_many_items", expected
    if error["type"] == "too_long" and place[-1] == "features":
        return "too_many_features", expected
    if reason == "wrong_type" and "features" in place[-2:-1]:
        return reason, "a number, a string or a list of numbers"
    return reason, expected
