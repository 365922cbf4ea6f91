"""Lines: a file as numbered lines of bytes. Plain, gzip or zstd by its first bytes, whatever its name.

Promise: no more than one line's limit and one block are in memory; a longer line is cut and told so; of a damaged
file every whole line before the damage comes out first, then WorldError.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import zstandard

from stream_balance.errors import SettingsError, WorldError

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PARQUET_MAGIC = b"PAR1"
COMPRESSED = (".gz", ".zst")  # what such files are usually named
_BOM = b"\xef\xbb\xbf"
_READ_BYTES = 1 << 18
# Small, because what a few compressed bytes become may be large, and an error loses the slice it is found in.
_SLICE_BYTES = 2048
KEPT_BYTES = 4096  # of a line that is too long


class Line(NamedTuple):
    """One line without its end. `size` is its true length; `data` is its beginning only where `cut`."""

    number: int
    data: bytes
    size: int
    cut: bool = False


class ByteFile:
    """A file that is there, read decompressed; open only while it is read. Raises SettingsError if it is not one.

    `bytes_read` and `bytes_total` count the file as it lies on disk.
    """

    def __init__(self, path: Path, *, read_bytes: int = _READ_BYTES) -> None:
        self.path = path
        self._read_bytes = read_bytes
        if path.is_dir():
            raise SettingsError(f"{str(path)!r} is a folder; name a file.")
        try:
            with path.open("rb") as raw:
                self.magic = raw.read(4)
        except FileNotFoundError:
            raise SettingsError(f"{str(path)!r} does not exist. Check the path.") from None
        except OSError as error:
            raise SettingsError(f"{str(path)!r} cannot be opened: {error.strerror}.") from error
        self.bytes_total = path.stat().st_size
        self.bytes_read = 0

    @property
    def compressed(self) -> bool:
        return self.magic.startswith((GZIP_MAGIC, ZSTD_MAGIC))

    def blocks(self) -> Iterator[bytes]:
        """The content in blocks of any size. Raises WorldError where it is damaged."""
        if self.magic.startswith(GZIP_MAGIC):
            return self._inflate("gzip")
        if self.magic.startswith(ZSTD_MAGIC):
            return self._inflate("zstd")
        return self._plain()

    def _plain(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as raw:
                while block := raw.read(self._read_bytes):
                    self.bytes_read += len(block)
                    yield block
        except OSError as error:
            raise WorldError(f"{str(self.path)!r} cannot be read on: {error.strerror}") from error

    def _inflate(self, kind: str) -> Iterator[bytes]:
        """Member after member (gzip) or frame after frame (zstd), as `cat a.gz b.gz` makes them."""
        stream = None
        for block in self._plain():
            for start in range(0, len(block), _SLICE_BYTES):
                rest = block[start : start + _SLICE_BYTES]
                while rest:
                    if stream is None:
                        rest = rest.lstrip(b"\0")  # padding between members
                        if not rest:
                            break
                        stream = zlib.decompressobj(31) if kind == "gzip" else _zstd_stream()
                    try:
                        made = stream.decompress(rest)
                    except (zlib.error, zstandard.ZstdError) as error:
                        raise WorldError(f"{str(self.path)!r} is damaged {kind}: {error}") from error
                    if made:
                        yield made
                    rest, stream = (stream.unused_data, None) if stream.eof else (b"", stream)
        if stream is not None:
            raise WorldError(f"{str(self.path)!r} is {kind} that ends before its end")


class ByteChain:
    """Files one after the other, read as one: the segments of a recording. Names itself by `path`."""

    def __init__(self, path: Path, parts: Sequence[Path], *, read_bytes: int = _READ_BYTES) -> None:
        if not parts:
            raise SettingsError(f"{str(path)!r} has no whole segment yet. Stop its recorder, which closes one.")
        self.path = path
        self._files = [ByteFile(part, read_bytes=read_bytes) for part in parts]
        self.magic = self._files[0].magic
        self.compressed = self._files[0].compressed

    @property
    def bytes_total(self) -> int:
        return sum(file.bytes_total for file in self._files)

    @property
    def bytes_read(self) -> int:
        return sum(file.bytes_read for file in self._files)

    def blocks(self) -> Iterator[bytes]:
        """The content in blocks of any size. Raises WorldError where a file is damaged."""
        for file in self._files:
            yield from file.blocks()


def _zstd_stream() -> zstandard.ZstdDecompressionObj:
    return zstandard.ZstdDecompressor().decompressobj()


def read_blocks(file: ByteFile | ByteChain) -> Iterator[bytes]:
    """The blocks of a file. If it is damaged, WorldError says up to which line it was whole."""
    lines = 0
    try:
        for block in file.blocks():
            yield block
            lines += block.count(b"\n")
    except WorldError as error:
        raise WorldError(f"{error}; read up to line {lines}. Restore the file, or cut it there.") from error


def split_lines(file: ByteFile | ByteChain, line_max: int) -> Iterator[Line]:
    """The lines of a file, blank ones left out but counted. A line over `line_max` bytes comes cut to KEPT_BYTES.

    Raises WorldError, after the last whole line, if the file is damaged.
    """
    number, tail, size = 0, b"", 0  # `tail` is the unfinished line, or its beginning where it is too long already
    for block in read_blocks(file):
        head, newline, rest = block.partition(b"\n")
        size += len(head)
        tail = tail + head if size <= line_max else (tail + head[:KEPT_BYTES])[:KEPT_BYTES]
        if not newline:
            continue
        *whole, last = rest.split(b"\n")
        for data, true_size in [(tail, size), *((data, len(data)) for data in whole)]:
            number += 1
            line = _line(number, data, true_size, line_max)
            if line is not None:
                yield line
        tail, size = last, len(last)
    line = _line(number + 1, tail, size, line_max)
    if line is not None:
        yield line


def _line(number: int, data: bytes, size: int, line_max: int) -> Line | None:
    if size > line_max:
        return Line(number, data[:KEPT_BYTES], size, cut=True)
    if number == 1:
        data = data.removeprefix(_BOM)
    return Line(number, data, size) if data and not data.isspace() else None
