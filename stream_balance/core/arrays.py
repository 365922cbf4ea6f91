"""Arrays as bytes: what goes to a child process and comes back. In: named arrays. Out: bytes, and back. No pickles.

The same arrays give the same bytes on every machine of one byte order: a JSON list of (name, type, shape), then the
arrays' memory, one after the other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_LENGTH = struct.Struct("<Q")
_KINDS = "fiub"  # plain numbers only


def pack(arrays: Mapping[str, Array]) -> bytes:
    """All arrays, in their order. Raises TypeError for anything but numbers.

    >>> unpack(pack({"a": np.arange(3)}))["a"].tolist()
    [0, 1, 2]
    """
    head, parts = [], []
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"'{name}' is an array of {array.dtype}; only plain numbers can be packed")
        head.append([name, array.dtype.str, list(array.shape)])
        parts.append(np.ascontiguousarray(array).tobytes())
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *parts])


def unpack(data: bytes | memoryview) -> dict[str, Array]:
    """What `pack` was given; the arrays are read-only views. Raises ValueError when the bytes are not of that form."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        head = json.loads(bytes(data[_LENGTH.size : _LENGTH.size + length]))
        at, found = _LENGTH.size + length, {}
        for name, kind, shape in head:
            dtype = np.dtype(kind)
            if dtype.kind not in _KINDS:
                raise ValueError(f"'{name}' is an array of {dtype}")
            count = int(np.prod(shape, dtype=np.int64))
            found[name] = np.frombuffer(data, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
    except (struct.error, TypeError, ValueError) as error:
        raise ValueError(f"these {len(data)} bytes are no packed arrays: {error}") from None
    if at != len(data):
        raise ValueError(f"packed arrays end at byte {at}, {len(data)} were given")
    return found
