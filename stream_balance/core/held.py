"""Held: how held searches are saved and summed up. In: Scored, oldest first. Out: columns, and the same searches back.

A search saved by itself costs a call and ten attribute names; a million of them take minutes of a checkpoint's time.
Saved as columns they are a handful of lists. Strings and tuples that are shared stay shared. For the digest they are
columns too: value by value a million searches take it longer than a service has for leaving.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Scored

Packed = dict[str, Any]  # field name -> values, one a search

# Whole numbers, saved as one array each.
_INTEGERS: dict[str, type[np.signedinteger[Any]]] = {"width": np.int32}
_FIELDS: Sequence[str] = Scored.__slots__
_TOGETHER = 4096  # searches


def pack(searches: Iterable[Scored]) -> Packed:
    """The fields of the searches as columns, in their order."""
    listed = list(searches)
    columns: Packed = {name: [getattr(scored, name) for scored in listed] for name in _FIELDS}
    for name, dtype in _INTEGERS.items():
        columns[name] = np.array(columns[name], dtype=dtype)
    return columns


def unpack(packed: Packed) -> list[Scored]:
    """The searches that were packed.

    >>> from stream_balance.testing import make_scored
    >>> searches = [make_scored("s1", items=["i1", "i2"]), make_scored("s2", ts=3)]
    >>> unpack(pack(searches)) == searches
    True
    """
    columns = [_listed(packed[name]) for name in _FIELDS]
    return list(map(Scored, *columns))


class Described:
    """Searches as a digest takes them: columns of some thousand at a time, so that little is copied at once."""

    def __init__(self, searches: Iterable[Scored]) -> None:
        self._searches = list(searches)

    def __len__(self) -> int:
        return len(range(0, len(self._searches), _TOGETHER))

    def __iter__(self) -> Iterator[list[object]]:
        for begin in range(0, len(self._searches), _TOGETHER):
            yield _columns(self._searches[begin : begin + _TOGETHER])


def _columns(searches: list[Scored]) -> list[object]:
    truths = [(), *(scored.truths for scored in searches if scored.truths is not None)]
    return [
        np.array([len(scored.item_ids) for scored in searches], np.int64),
        np.array([scored.width for scored in searches], np.int64),
        np.array([-1 if scored.truths is None else len(scored.truths) for scored in searches], np.int64),
        np.array(list(chain.from_iterable(scored.positions for scored in searches)), np.int64),
        np.array(list(chain.from_iterable(truths)), np.float64),
        *_strings([scored.event_id for scored in searches]),
        *_strings([scored.user_id for scored in searches]),
        *_strings(list(chain.from_iterable(scored.item_ids for scored in searches))),
        *_bytes([scored.tiers for scored in searches]),
        *_bytes([scored.block for scored in searches]),
        *_bytes([scored.said for scored in searches]),
    ]


def _strings(values: list[str]) -> tuple[object, object]:
    return np.array(list(map(len, values)), np.int64), "".join(values)


def _bytes(values: list[bytes]) -> tuple[object, object]:
    return np.array(list(map(len, values)), np.int64), b"".join(values)


def _listed(column: list[Any] | npt.NDArray[np.signedinteger[Any]]) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column
