"""Packing: plain values and arrays as bytes, and back. In: JSON-like head, named arrays. Out: one block. No pickle.

Layout: magic, length of the head, head (JSON, sorted keys), the arrays as `core/arrays` lays them out, SHA-256 of all
before. The same values give the same bytes. What does not read exactly so is refused with a reason.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from stream_balance.core.arrays import Array
from stream_balance.core.arrays import pack as pack_arrays
from stream_balance.core.arrays import unpack as unpack_arrays

__all__ = ["TYPES", "Array", "pack", "unpack"]

MAGIC = b"SBPACK2\n"
TYPES = ("<f8", "<f4", "<i8", "|b1", "|u1")
_SIZE = struct.Struct("<Q")
_SUM = 32


def pack(head: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """One block of bytes. Raises TypeError for an array of another type than `TYPES`.

    >>> import numpy as np
    >>> head, arrays = unpack(pack({"seed": 1}, {"rows": np.ones((2, 1))}))
    >>> head, arrays["rows"].tolist()
    ({'seed': 1}, [[1.0], [1.0]])
    """
    for name, array in arrays.items():
        if array.dtype.str not in TYPES:
            raise TypeError(f"array {name!r} is of type {array.dtype.str}; these can be packed: {', '.join(TYPES)}")
    written = json.dumps(dict(head), sort_keys=True, separators=(",", ":")).encode()
    block = b"".join([MAGIC, _SIZE.pack(len(written)), written, pack_arrays(arrays)])
    return block + hashlib.sha256(block).digest()


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Head and arrays (read-only). Raises ValueError where the bytes are not a whole, unchanged block."""
    start = len(MAGIC) + _SIZE.size
    if len(data) < start + _SUM or not data.startswith(MAGIC):
        raise ValueError(f"{len(data)} bytes are no packed block: it begins with {MAGIC!r}")
    block = memoryview(data)[:-_SUM]
    if hashlib.sha256(block).digest() != data[-_SUM:]:
        raise ValueError("a packed block was changed or cut: its checksum does not fit")
    (length,) = _SIZE.unpack_from(data, len(MAGIC))
    head: dict[str, Any] = json.loads(bytes(block[start : start + length]))
    arrays = unpack_arrays(block[start + length :])
    for name, array in arrays.items():
        if array.dtype.str not in TYPES:
            raise ValueError(f"array {name!r} is of type {array.dtype.str!r}; these are known: {', '.join(TYPES)}")
    return head, arrays
