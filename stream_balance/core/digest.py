"""Digest: SHA-256 over a canonical encoding of state. In: plain nested values. Out: hex. No pickles, no identity.

Each value is encoded as tag, length, bytes; floats by their bits (every NaN alike), arrays with shape and dtype.
Equal states give equal digests whatever PYTHONHASHSEED, the folder or the read batch was; containers keep their order,
so whoever describes a state lists it in an order that does not depend on hashing.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sized

import numpy as np
import numpy.typing as npt

_NAN = struct.pack("<d", float("nan"))


class Trail:
    """A running hash of everything that happened, as a chain: head <- SHA-256(head + data). Can be saved and restored.

    >>> one = Trail()
    >>> one.add_bytes(b"a")
    >>> len(one.hex())
    64
    """

    __slots__ = ("_head",)

    def __init__(self) -> None:
        self._head = b""

    def add_bytes(self, data: bytes) -> None:
        """One more thing happened."""
        self._head = hashlib.sha256(self._head + data).digest()

    def hex(self) -> str:
        """The head of the chain."""
        return self._head.hex()


class Digest:
    """A running SHA-256 over values.

    >>> one, two = Digest(), Digest()
    >>> one.add({"a": 1, "b": [2.0, None]})
    >>> two.add({"a": 1, "b": [2.0, None]})
    >>> one.hex() == two.hex()
    True
    """

    __slots__ = ("_sha",)

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def hex(self) -> str:
        """The digest of everything added so far; more may be added afterwards."""
        return self._sha.hexdigest()

    def add_bytes(self, data: bytes) -> None:
        """Add raw bytes, length first."""
        self._sha.update(b"y%d:" % len(data))
        self._sha.update(data)

    def add(self, value: object) -> None:
        """Add a nested value. Raises TypeError for anything but plain data and numpy arrays."""
        if value is None or isinstance(value, bool | int):
            self._sha.update(b"i%s;" % str(value).encode())
        elif isinstance(value, float):
            self._sha.update(b"f" + (_NAN if math.isnan(value) else struct.pack("<d", value)))
        elif isinstance(value, str):
            data = value.encode("utf-8", "surrogatepass")
            self._sha.update(b"s%d:" % len(data))
            self._sha.update(data)
        elif isinstance(value, bytes | bytearray):
            self.add_bytes(bytes(value))
        else:
            self._add_container(value)

    def _add_container(self, value: object) -> None:
        if isinstance(value, np.generic):
            self.add(value.item())
        elif isinstance(value, np.ndarray):
            self._add_array(value)
        elif isinstance(value, Mapping):
            self._sha.update(b"d%d:" % len(value))
            for key, item in value.items():
                self.add(key)
                self.add(item)
        elif isinstance(value, Iterable) and not isinstance(value, set | frozenset):
            items = value if isinstance(value, Sized) else list(value)
            self._sha.update(b"l%d:" % len(items))
            for item in items:
                self.add(item)
        else:
            raise TypeError(f"a {type(value).__name__} has no canonical encoding; describe it with plain values")

    def _add_array(self, value: npt.NDArray[np.generic]) -> None:
        array = np.ascontiguousarray(value)
        if array.dtype.kind == "f" and np.isnan(array).any():
            array = np.where(np.isnan(array), np.nan, array)
        self._sha.update(f"a{array.dtype.str}{array.shape}:".encode())
        self._sha.update(array.tobytes())
