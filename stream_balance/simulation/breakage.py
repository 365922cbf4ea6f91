"""Breakage: records that no one can read, or should believe. In: good lines. Out: now and then a broken one.

Kinds, in turn: cut short, a wrong type, NaN, the year 2099, the same line again (a duplicate id), an unknown schema.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

_TS = re.compile(rb'"ts":"[^"]*"')
_ID = re.compile(rb'"event_id":"([^"]*)"')
KINDS = ("cut", "wrong_type", "nan", "year_2099", "duplicate", "unknown_schema")


class Breakage:
    """Makes `share` broken records per good one, each after a good line and made from it, with an id of its own."""

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._rng = random.Random(f"{seed} breakage")
        self._made = 0

    def after(self, line: bytes) -> Iterator[bytes]:
        """The broken line that follows `line`, mostly none."""
        if self._rng.random() < self._share:
            kind = KINDS[self._made % len(KINDS)]
            self._made += 1
            yield self._break(kind, line)

    def _break(self, kind: str, line: bytes) -> bytes:
        if kind == "duplicate":
            return line
        other = _ID.sub(rb'"event_id":"\1-broken"', line, count=1)
        if kind == "cut":
            return other[: self._rng.randrange(1, len(other))]
        if kind == "wrong_type":
            return _ID.sub(rb'"event_id":7', line, count=1)
        if kind == "nan":
            return other.replace(b'"price":', b'"price":NaN,"was":', 1)
        if kind == "year_2099":
            return _TS.sub(b'"ts":"2099-01-01T00:00:00.000Z"', other, count=1)
        return other.replace(b'"schema":1', b'"schema":9', 1)
