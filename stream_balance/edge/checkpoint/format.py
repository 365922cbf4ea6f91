"""Format: one checkpoint as one file. In: a header and a state. Out: bytes with a checksum, or what is wrong with them.

    magic (8) | length of the header (4) | header, JSON | state, a pickle of listed names | trailer

The trailer holds the length of the state, the SHA-256 of everything before it, its HMAC-SHA256 under the key (zeros
without one) and an end mark; it comes last because the state is written as it is made, never held as a whole. A file
that was cut, or whose bytes changed, is `Damaged`: the one before is taken. One that is whole but not signed with our
key is refused: somebody else wrote it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, BinaryIO

from stream_balance.edge.checkpoint.disk import Output
from stream_balance.errors import SettingsError, WorldError

MAGIC = b"\x89SBCKPT\n"
END = b"SBC-END\n"
FORMAT = 2  # of the bytes and of the state in them; see migrations
_LENGTH = struct.Struct("<I")
_TRAILER = struct.Struct("<Q32s32s8s")
_HEADER_MAX = 16_000_000
_PIECE = 1 << 20
UNSIGNED = bytes(32)


class Damaged(WorldError):  # noqa: N818  # says what the file is
    """A file that is not what was written: cut, or changed."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a checkpoint without its state. All plain data.

    `input` says what is read ("kafka", "log", "table"), `position` where to go on in it.
    """

    sequence: int
    created: str  # ISO 8601, UTC
    input: str
    position: dict[str, Any]
    settings: dict[str, Any]  # those that the state depends on
    settings_hash: str
    versions: dict[str, str]
    counts: dict[str, int] = field(default_factory=dict)  # events and examples so far, for people
    chosen: list[str] | None = None  # settings that were not their defaults; None: not written down then
    layouts: dict[str, str] = field(default_factory=dict)  # of the core's classes, see layout.py
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Trailer:
    """The end of a file: lengths in bytes, and what the content must come to."""

    state_bytes: int
    sha256: bytes
    signature: bytes

    @property
    def signed(self) -> bool:
        return self.signature != UNSIGNED

    def is_by(self, key: bytes) -> bool:
        """Whether this key has signed it."""
        return hmac.compare_digest(self.signature, hmac.digest(key, self.sha256, "sha256"))

    def packed(self) -> bytes:
        """As it is written."""
        return _TRAILER.pack(self.state_bytes, self.sha256, self.signature, END)

    def signed_with(self, key: bytes) -> Trailer:
        """The same under that key."""
        return replace(self, signature=hmac.digest(key, self.sha256, "sha256"))


class Summing:
    """Passes bytes on in large pieces, sums them up and signs the sum.

    Made before a fork and used after it: making a hash takes a lock that another thread may hold.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._target: Output | None = None
        self._sum = hashlib.sha256()
        self._signature = hmac.new(key, b"", "sha256") if key is not None else None
        self._gathered = bytearray()
        self.bytes = 0

    def attach(self, target: Output) -> None:
        """Where the bytes go."""
        self._target = target

    def write(self, data: Any, /) -> int:
        """Bytes, or whatever a pickler hands out in their place."""
        view = data if isinstance(data, bytes) else memoryview(data).cast("B")
        self.bytes += len(view)
        self._sum.update(view)
        self._gathered += view
        if len(self._gathered) >= _PIECE:
            self.flush()
        return len(view)

    def flush(self) -> None:
        """Everything so far is with the target."""
        assert self._target is not None, "attach() comes first"
        self._target.write(self._gathered)
        self._gathered = bytearray()

    def seal(self) -> tuple[bytes, bytes]:
        """The sum of everything so far, and its signature."""
        sha256 = self._sum.digest()
        if self._signature is None:
            return sha256, UNSIGNED
        self._signature.update(sha256)
        return sha256, self._signature.digest()


def write(target: Summing, header: Header, save: Callable[[Summing], None]) -> int:
    """Write a whole file; return its size. The caller syncs."""
    document = json.dumps(asdict(header), sort_keys=True).encode()
    target.write(MAGIC + _LENGTH.pack(len(document)) + document)
    before = target.bytes
    save(target)
    state_bytes = target.bytes - before
    target.write(Trailer(state_bytes, *target.seal()).packed())
    target.flush()
    return target.bytes


def read_header(source: BinaryIO, name: str) -> Header:
    """The header; leaves `source` at the state. Nothing is believed yet: `check` says whether the file is whole."""
    if source.read(len(MAGIC)) != MAGIC:
        raise Damaged(f"{name} does not begin as a checkpoint")
    raw = source.read(_LENGTH.size)
    length = _LENGTH.unpack(raw)[0] if len(raw) == _LENGTH.size else _HEADER_MAX + 1
    document = source.read(length) if length <= _HEADER_MAX else b""
    if len(document) != length:
        raise Damaged(f"{name} ends within its header")
    try:
        values = json.loads(document)
    except ValueError as error:
        raise Damaged(f"{name} has a header that is not JSON: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("format"), int):
        raise Damaged(f"{name} has a header without a format version")
    if values["format"] > FORMAT:
        raise SettingsError(
            f"{name} has format {values['format']}, this version knows formats up to {FORMAT}: a newer version wrote "
            "it. Start that version, or name an empty folder to begin again."
        )
    try:
        return Header(**{each.name: values[each.name] for each in fields(Header) if each.name in values})
    except TypeError as error:
        raise Damaged(f"{name} has a header that lacks something: {error}") from None


def pieces(source: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    """The next `size` bytes, a part at a time. Raises Damaged where there are fewer."""
    while size:
        piece = source.read(min(size, _PIECE))
        if not piece:
            raise Damaged(f"{name} ended while it was read")
        yield piece
        size -= len(piece)


def check(source: BinaryIO, size: int, name: str, key: bytes | None) -> Trailer:
    """Read the whole file and hold it against its trailer; raises Damaged, or SettingsError for a wrong signature."""
    content = size - _TRAILER.size
    if content < len(MAGIC) + _LENGTH.size:
        raise Damaged(f"{name} has {size} bytes, too few for a checkpoint")
    source.seek(0)
    if source.read(len(MAGIC)) != MAGIC:
        raise Damaged(f"{name} does not begin as a checkpoint: something else was put in its place")
    before = len(MAGIC) + _LENGTH.size + _LENGTH.unpack(source.read(_LENGTH.size))[0]
    source.seek(0)
    total = hashlib.sha256()
    for piece in pieces(source, content, name):
        total.update(piece)
    state_bytes, sha256, signature, end = _TRAILER.unpack(source.read(_TRAILER.size))
    if end != END:
        raise Damaged(f"{name} does not end as a checkpoint: it was cut")
    if before + state_bytes != content:
        raise Damaged(f"{name} has {content} bytes of content, its lengths say {before + state_bytes}")
    if total.digest() != sha256:
        raise Damaged(f"{name} has another SHA-256 than it was written with")
    trailer = Trailer(state_bytes, sha256, signature)
    if key is not None and not trailer.is_by(key):
        found = "is signed with another key" if trailer.signed else "is not signed"
        raise SettingsError(
            f"{name} {found}, and checkpoint.hmac_key_file asks for ours. Give the key it was written with; where you "
            "trust the folder, 'stream-balance checkpoint sign' signs it anew; or name an empty folder to begin again."
        )
    return trailer
