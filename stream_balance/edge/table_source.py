"""Table sources: a CSV (plain, gzip, zstd) or Parquet file as a header and rows of cells, without meaning yet.

Promise: rows come in the file's order, each with its bytes for the dead letters; a row that cannot be split into cells
is a BadRecord and the rows after it still come.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stream_balance.edge.lines import PARQUET_MAGIC, ByteFile, read_blocks
from stream_balance.errors import BadRecord, SettingsError, WorldError

_PIECE_CHARS = 1 << 20  # a "line" longer than this is handed on in pieces
_BATCH_ROWS = 1000  # of Parquet
_NOT_UTF8 = re.compile("[\udc80-\udcff]")

Cell = Any  # str of a CSV; str, bool, int, float, list, datetime or None of Parquet


class RawRow(NamedTuple):
    """Cells in the header's order, or why there are none."""

    cells: list[Cell]
    line_number: int
    bad: BadRecord | None = None


class TableSource:
    """A table file. `header` is there after birth, `rows()` may be read once. Raises SettingsError for what is none."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self.path = path
        self.delimiter = delimiter
        self._file = ByteFile(path)
        self._batches: Any = None
        self._rows_read, self._rows_total = 0, 0
        if self._file.magic == PARQUET_MAGIC:
            self._parquet = _open_parquet(path)
            self._rows_total = self._parquet.metadata.num_rows
            names = list(self._parquet.schema_arrow.names)
        else:
            self._parquet = None
            self._reader = csv.reader(_text_lines(self._file), delimiter=delimiter)
            names = self._csv_header()
        self.header = [name.strip() or f"column_{index}" for index, name in enumerate(names, start=1)]
        twice = sorted({name for name in self.header if self.header.count(name) > 1})
        if twice:
            raise SettingsError(f"{str(path)!r} has more than one column {twice[0]!r}. Rename one of them.")

    @property
    def bytes_total(self) -> int:
        return self._file.bytes_total

    @property
    def bytes_read(self) -> int:
        if self._parquet is None:
            return self._file.bytes_read
        return self.bytes_total * self._rows_read // max(1, self._rows_total)

    def rows(self) -> Iterator[RawRow]:
        """The rows below the header. Raises WorldError where the file is damaged."""
        return self._csv_rows() if self._parquet is None else self._parquet_rows()

    def encode(self, cells: list[Cell]) -> bytes:
        """A row as CSV bytes, as the dead letters keep it."""
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator="").writerow(cells)
        return text.getvalue().encode("utf-8", "surrogateescape")

    def _csv_header(self) -> list[str]:
        try:
            header = next((row for row in self._reader if row), None)
        except csv.Error as error:
            raise SettingsError(f"{str(self.path)!r} is not CSV: {error}.") from None
        if header is None:
            raise SettingsError(f"{str(self.path)!r} has no records. Expected a line of column names, then rows.")
        if _NOT_UTF8.search("".join(header)) or "\0" in "".join(header):
            raise SettingsError(f"{str(self.path)!r} is not text in UTF-8. Expected CSV, gzip, zstd or Parquet.")
        return header

    def _csv_rows(self) -> Iterator[RawRow]:
        width, reader = len(self.header), self._reader
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield RawRow([], reader.line_num, BadRecord("wrong_type", f"row is not CSV: {error}"))
                continue
            if cells is None:
                return
            if not cells:
                continue
            bad = None
            if len(cells) != width:
                reason = "missing_field" if len(cells) < width else "wrong_type"
                bad = BadRecord(reason, f"row has {len(cells)} cells, expected {width} as in the header")
            elif not (joined := "".join(cells)).isascii() and _NOT_UTF8.search(joined):
                bad = BadRecord("not_utf8", "row is not UTF-8")
            yield RawRow(cells, reader.line_num, bad)

    def _parquet_rows(self) -> Iterator[RawRow]:
        import pyarrow  # noqa: PLC0415  # an extra

        try:
            for batch in self._parquet.iter_batches(batch_size=_BATCH_ROWS):
                columns = [column.to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    self._rows_read += 1
                    yield RawRow(list(cells), self._rows_read)
        except (pyarrow.ArrowException, OSError) as error:
            raise WorldError(f"{str(self.path)!r} is damaged Parquet after row {self._rows_read}: {error}") from error


def _open_parquet(path: Path) -> Any:
    try:
        import pyarrow  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        hint = "pip install 'stream-balance[parquet]'"
        raise SettingsError(f"{str(path)!r} is Parquet, and pyarrow is not installed. Install it: {hint}") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise WorldError(f"{str(path)!r} is damaged Parquet: {error}") from error


def _text_lines(file: ByteFile) -> Iterator[str]:
    """Lines with their ends, decoded; bytes that are not UTF-8 become lone surrogates, found later."""
    decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
    tail = ""
    for block in read_blocks(file):
        *lines, tail = (tail + decode(block)).split("\n")
        for line in lines:
            yield line + "\n"
        if len(tail) > _PIECE_CHARS:
            yield tail
            tail = ""
    if tail:
        yield tail
