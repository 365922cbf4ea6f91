"""Shape: reads records of another make. In: the JSON document of one record, and where its fields lie. Out: the same
record in our own shape, for the codec to check. Nothing behind the door knows that there was another.

A place is a dotted path (`card.id`, `codes.0`), a constant (`=patient`), or empty: there is no such field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stream_balance.core.records import RoomSettings

Kind = Literal["search", "purchase"]
_TO_MS = {"s": 1000.0, "ms": 1.0, "us": 0.001}
_NAMES = frozenset({"event_id", "user_id", "session_id", "query", "item_id", "category", "search_id", "label"})


class SearchPlaces(RoomSettings):
    """Where the fields of a search lie: of whatever is scored when it comes.

    `items` empty: the record is its own, only item. A path in `features` is one feature, named like the path; if an
    object lies there, each of its members is one, under its own name.
    """

    event_id: str = "event_id"
    ts: str = "ts"
    user_id: str = "user_id"
    session_id: str = "session_id"
    query: str = "query"
    features: tuple[str, ...] = ("features",)
    items: str = "items"


class ItemPlaces(RoomSettings):
    """Where the fields of an item lie, seen from the item."""

    item_id: str = "item_id"
    position: str = "position"
    price: str = "price"
    category: str = "category"
    features: tuple[str, ...] = ("features",)
    truth: str = "truth"


class OutcomePlaces(RoomSettings):
    """Where the fields of an outcome lie: a purchase, a chargeback, a diagnosis."""

    event_id: str = "event_id"
    ts: str = "ts"
    user_id: str = "user_id"
    item_id: str = "item_id"
    search_id: str = "search_id"
    price: str = "price"
    quantity: str = "quantity"
    label: str = "label"


class Shape:
    """Records of one make. `outcome_when`: a path that only outcomes have, or `path=value`; empty: they have no items.

    Numbers are taken for names (`"card_id": 4711`), truth values for 1 and 0 among features; times that are numbers
    are counted in `time_unit`.

    >>> shape = Shape(SearchPlaces(event_id="id", ts="at", user_id="card.id", features=("card.age",), items=""),
    ...               ItemPlaces(item_id="shop", price="sum"), OutcomePlaces(), "kind=back", "s")
    >>> shape.to_ours({"id": "t", "at": 1, "card": {"id": 7, "age": 3}, "shop": "m", "sum": 2.5})["items"]
    [{'item_id': 'm', 'price': 2.5}]
    >>> shape.place(("items", 0, "price"))
    'sum (price)'
    """

    def __init__(
        self, search: SearchPlaces, item: ItemPlaces, outcome: OutcomePlaces, outcome_when: str, time_unit: str
    ) -> None:
        self._search, self._item, self._outcome = search, item, outcome
        self._search_fields = _fields(search, leave="items")
        self._item_fields = _fields(item)
        self._outcome_fields = _fields(outcome)
        path, _, value = outcome_when.partition("=")
        self._when, self._value = tuple((path or search.items).split(".")), value or None
        self._there: Kind = "purchase" if outcome_when else "search"
        self._to_ms = _TO_MS[time_unit]

    def kind(self, document: Mapping[str, Any]) -> Kind:
        """What the record is."""
        value = _at(document, self._when)
        found = value is not None if self._value is None else str(value) == self._value
        return self._there if found else "search" if self._there == "purchase" else "purchase"

    def to_ours(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The record in our own shape; what is missing is missing there too."""
        if self.kind(document) == "purchase":
            return self._timed(_taken(document, self._outcome_fields))
        ours = self._timed(_taken(document, self._search_fields))
        ours |= _features(document, self._search.features)
        if not self._search.items:
            ours["items"] = [self._to_item(document)]
        else:
            items = _at(document, tuple(self._search.items.split(".")))
            if isinstance(items, list):
                items = [self._to_item(each) if isinstance(each, dict) else each for each in items]
            if items is not None:
                ours["items"] = items
        return ours

    def place(self, ours: Sequence[str | int], kind: Kind = "search") -> str:
        """Where a field of ours lies in their record, for a message."""
        first, last = ours[0], ours[-1]
        if kind == "purchase":
            return _told(getattr(self._outcome, str(first), ""), str(first))
        if first == "items" and len(ours) == 1:
            return _told(self._search.items, "items")
        if first != "items":
            return _told(getattr(self._search, str(first), ""), ".".join(map(str, ours)))
        at = f"{self._search.items}[{ours[1]}]" if self._search.items else ""
        path = getattr(self._item, str(ours[2]), "") if len(ours) > 2 else ""
        if not isinstance(path, str) or not path:
            return ".".join(filter(None, (at, *map(str, ours[2:]))))
        return _told(f"{at}.{path}" if at else path, str(last))

    def _to_item(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return _taken(document, self._item_fields) | _features(document, self._item.features)

    def _timed(self, ours: dict[str, Any]) -> dict[str, Any]:
        ts = ours.get("ts")
        if self._to_ms != 1.0 and isinstance(ts, int | float) and not isinstance(ts, bool):
            ours["ts"] = float(ts) * self._to_ms if abs(ts) < 1e30 else ts
        return ours


def _fields(places: RoomSettings, leave: str = "") -> list[tuple[str, tuple[str, ...], str | None]]:
    """Of each field that has a place: our name, the path, the constant."""
    found: list[tuple[str, tuple[str, ...], str | None]] = []
    for name, path in places:
        if name not in ("features", leave) and path:
            found.append((name, tuple(path.split(".")), path[1:] if path[0] == "=" else None))
    return found


def _at(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdecimal() and len(part) < 6 and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def _taken(document: Mapping[str, Any], fields: Sequence[tuple[str, tuple[str, ...], str | None]]) -> dict[str, Any]:
    ours: dict[str, Any] = {}
    for name, path, constant in fields:
        value = _at(document, path) if constant is None else constant
        if value is None:
            continue
        if name in _NAMES and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**30:
            value = str(value)
        ours[name] = value
    return ours


def _features(document: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    features: dict[str, Any] = {}
    for path in paths:
        value = _at(document, path.split("."))
        features |= value if isinstance(value, dict) else {path: value} if value is not None else {}
    if not features:
        return {}
    return {"features": {name: float(v) if isinstance(v, bool) else v for name, v in features.items()}}


def _told(path: object, name: str) -> str:
    if not isinstance(path, str) or not path or path == name:
        return name
    return f"{path} ({name})"
