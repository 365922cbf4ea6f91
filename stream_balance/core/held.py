"""Held: how held searches are saved. In: Scored, oldest first. Out: columns, and the same searches back.

A search saved by itself costs a call and ten attribute names; a million of them take minutes of a checkpoint's time.
Saved as columns they are a handful of lists. Strings and tuples that are shared stay shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Scored

Packed = dict[str, Any]  # field name -> values, one a search

# Whole numbers, saved as one array each.
_INTEGERS: dict[str, type[np.signedinteger[Any]]] = {"width": np.int32}
_FIELDS: Sequence[str] = Scored.__slots__


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


def _listed(column: list[Any] | npt.NDArray[np.signedinteger[Any]]) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column
