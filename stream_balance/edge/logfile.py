"""Log file: recorded events in order. In: paths of JSON lines. Out: LogRecord, for `replay` and `produce`.

Each file is read in its own order; files are merged by the total order (ts, search before purchase, event_id, content
hash), smallest head first. Within a file, but for what `run --record` wrote, neighbouring good records with equal ts
are put in total order, at most `tie_max` at a time. Bad records have no place in the order: they come out when met.

**Record time.** A line `{"record_time": ms, "record": {...}}` says it. Else it is estimated from the decodable ones
among the `NEAR` lines before and after. In a sorted log the neighbour of rank b, where b lines come before, is just the
one that follows; the estimate is the one `RANK_SLACK` ranks later (for a full neighbourhood: just above the median), so
that a little disorder at a gap is no offence. At a log's end nothing follows: there the estimate is the neighbour of
rank `END_SPARED` from the top (in a short log the median), and because a log may well end after a quiet night, what is
at most `END_SLACK_S` ahead of that, or twice the time its neighbours span, is taken at its word. So one line of the
year 2099 is found wherever it stands, also as the first or the last, from three neighbours on. Lines alone decide: no
block size, no clock.
"""

from __future__ import annotations

import heapq
import re
from base64 import b64decode, b64encode
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import PositiveInt

from stream_balance.core.order import OrderKey, order_key
from stream_balance.core.records import Event, RoomSettings
from stream_balance.edge.codec import Codec
from stream_balance.edge.lines import COMPRESSED, PARQUET_MAGIC, ByteChain, ByteFile, Line, split_lines
from stream_balance.edge.segments import is_as_taken, segments
from stream_balance.errors import BadRecord, SettingsError, WorldError

NEAR = 64  # lines on either side
RANK_SLACK = 4
END_SPARED = 8  # so many lines of a log's end may be bad
END_SLACK_S = 7 * 86_400.0
NEIGHBOURS_MIN = 3
_WRAPPER_BYTES = 256
_WRAPPED = re.compile(rb'\s*\{\s*"record_time"\s*:\s*(-?\d{1,15})\s*,\s*"(record|record_base64)"\s*:\s*')


class LogSettings(RoomSettings):
    """How a log is read. No setting but `tie_max` can change what comes out."""

    tie_max: PositiveInt = 10_000  # equal times put in order at once; a longer run is cut there
    read_bytes: PositiveInt = 1 << 18


@dataclass(slots=True)
class LogRecord:
    """One record of a log: `event` or `bad`, never both. `data` is the record as it was; of one beyond the limit its
    beginning, and `cut_from` says how many bytes it had.
    """

    event: Event | None
    bad: BadRecord | None
    data: bytes
    path: Path
    line_number: int
    record_time_us: int | None  # whole milliseconds, as Kafka keeps them; None = nobody can say
    cut_from: int | None = None


def wrap(data: bytes, record_time_us: int) -> bytes:
    """A log line that remembers its record's time; `data` comes back byte for byte."""
    head = f'{{"record_time": {record_time_us // 1000}, '.encode()
    if data.startswith(b"{") and b"\n" not in data:
        return head + b'"record": ' + data + b"}"
    return head + b'"record_base64": "' + b64encode(data) + b'"}'


def read_events(paths: Sequence[Path], codec: Codec, settings: LogSettings | None = None) -> LogReader:
    """The records of one log or several, merged. Raises SettingsError if a file is missing or all are empty."""
    return LogReader(paths, codec, settings)


def read_lines(lines: Iterable[bytes], codec: Codec, settings: LogSettings | None = None) -> Iterator[LogRecord]:
    """Lines that are in memory, or still being made, as a file of them would be read; looks NEAR lines ahead."""
    numbered = (Line(number, data, len(data)) for number, data in enumerate(lines, start=1) if data.strip())
    return _read_lines(numbered, Path("-"), codec, settings or LogSettings())


class LogReader:
    """Iterates over LogRecord once. Counts bytes of the files as they lie on disk, for a progress bar.

    Raises SettingsError at birth for what is no file and at the end if there was no record at all; WorldError where a
    file is damaged, after every good record before it.
    """

    def __init__(self, paths: Sequence[Path], codec: Codec, settings: LogSettings | None = None) -> None:
        if not paths:
            raise SettingsError("no log is named. Name at least one file.")
        self._codec = codec
        self._settings = settings or LogSettings()
        self._files = [_open(path, self._settings.read_bytes) for path in paths]
        for file in self._files:
            if file.magic == PARQUET_MAGIC:
                raise SettingsError(f"{str(file.path)!r} is Parquet, not a log of events. For a table add --rows.")
        self.bytes_total = sum(file.bytes_total for file in self._files)
        self.records = 0
        self._records = self._read()

    @property
    def names(self) -> str:
        """The files, for a message."""
        return ", ".join(repr(str(file.path)) for file in self._files)

    @property
    def disguise(self) -> str:
        """What a message should say of files that are not what their names promise; "" if all are."""
        odd = [file.path.suffix for file in self._files if file.path.suffix in COMPRESSED and not file.compressed]
        return f" It is named {odd[0]} and is neither gzip nor zstd." if odd else ""

    @property
    def bytes_read(self) -> int:
        return sum(file.bytes_read for file in self._files)

    def __iter__(self) -> Iterator[LogRecord]:
        return self

    def __next__(self) -> LogRecord:
        record = next(self._records)
        self.records += 1
        return record

    def close(self) -> None:
        """Let go of the files; a reader that has come to its end has done so."""
        self._records.close()

    def _read(self) -> Generator[LogRecord, None, None]:
        streams = [self._read_one(file) for file in self._files]
        yield from streams[0] if len(streams) == 1 else _merged(streams)
        if self.records == 0:
            raise SettingsError(f"{self.names} has no records. Expected JSON lines, one event each.")

    def _read_one(self, file: ByteFile | ByteChain) -> Iterator[LogRecord]:
        lines = split_lines(file, self._codec.settings.record_bytes_max + _WRAPPER_BYTES)
        in_turn = {"tie_max": 1} if file.path.is_dir() and is_as_taken(file.path) else {}
        return _read_lines(lines, file.path, self._codec, self._settings.model_copy(update=in_turn))


def _open(path: Path, read_bytes: int) -> ByteFile | ByteChain:
    """A file, or the segments of a recording's folder as one."""
    return (
        ByteChain(path, segments(path), read_bytes=read_bytes)
        if path.is_dir()
        else ByteFile(path, read_bytes=read_bytes)
    )


def _read_lines(lines: Iterator[Line], path: Path, codec: Codec, settings: LogSettings) -> Iterator[LogRecord]:
    parsed = (_parse(codec, path, line) for line in lines)
    return _tied(_timed(parsed, codec), settings.tie_max)


def _parse(codec: Codec, path: Path, line: Line) -> LogRecord:
    """The record of a line; its record time only where the line says it."""
    data, time_us = line.data, None
    event, bad = None, None
    try:
        if line.cut:
            limit = codec.settings.record_bytes_max
            raise BadRecord("too_large", f"record has {line.size} bytes, at most {limit} are allowed")
        if b'"record_time"' in data[:64]:
            data, time_us = _unwrap(data)
        event = codec.parse(data)
    except BadRecord as caught:
        bad = caught.to_keep()
    return LogRecord(event, bad, data, path, line.number, time_us, line.size if line.cut else None)


def _unwrap(line: bytes) -> tuple[bytes, int | None]:
    match = _WRAPPED.match(line)
    inner = line.rstrip()
    if match is None or not inner.endswith(b"}"):
        return line, None  # no wrapper, or a broken one: the codec will say
    data = inner[match.end() : -1]
    if match[2] == b"record_base64":
        try:
            data = b64decode(data.strip(b'"'), validate=True)
        except ValueError:
            raise BadRecord("not_json", "record_base64 is not base64") from None
    return data, int(match[1]) * 1000


def _timed(parsed: Iterator[LogRecord], codec: Codec) -> Iterator[LogRecord]:
    """Give each record its time, and refuse those too far ahead of it. Looks NEAR lines ahead."""
    near: list[int] = []  # sorted ts of the decodable lines before, at and after the one in turn
    before: deque[int | None] = deque()
    waiting: deque[LogRecord] = deque()
    damage = None
    while True:
        try:
            record = next(parsed, None)
        except WorldError as error:
            record, damage = None, error
        if record is not None:
            waiting.append(record)
            if record.event is not None:
                insort(near, record.event.ts_us)
            if len(waiting) <= NEAR:
                continue
        elif not waiting:
            break
        turn = waiting.popleft()
        ts_us = None if turn.event is None else turn.event.ts_us
        if turn.record_time_us is None:
            known_before = len(before) - before.count(None)
            turn.record_time_us = _estimate_us(near, ts_us, known_before)
        before.append(ts_us)
        if len(before) > NEAR:
            left = before.popleft()
            if left is not None:
                del near[bisect_left(near, left)]
        yield _checked(turn, codec)
    if damage is not None:
        raise damage


def _estimate_us(near: list[int], own_us: int | None, before: int) -> int | None:
    """Record time from the sorted times `near`, `own_us` among them, `before` of the others before it in the file."""
    others = len(near) - (own_us is not None)
    if others < NEIGHBOURS_MIN:
        return own_us if own_us is None else own_us // 1000 * 1000
    rank, rank_max = before + RANK_SLACK, others - 1 - END_SPARED
    at_end = rank > rank_max
    if at_end:
        rank = max(rank_max, others // 2)
    if own_us is not None and rank >= bisect_left(near, own_us):
        rank += 1  # `near` holds the own time too; step over it
    estimate = near[rank]
    if at_end and own_us is not None:
        slack_us = max(END_SLACK_S * 1e6, 2 * (estimate - near[rank // 4]))  # a sparse log goes on in its own steps
        if 0 < own_us - estimate <= slack_us:
            estimate = own_us
    return estimate // 1000 * 1000


def _checked(record: LogRecord, codec: Codec) -> LogRecord:
    if record.event is not None:
        try:
            codec.check_time(record.event, record.record_time_us)
        except BadRecord as bad:
            record.event, record.bad = None, bad
    return record


def _tied(records: Iterator[LogRecord], tie_max: int) -> Iterator[LogRecord]:
    """Put runs of equal ts in total order; let bad records pass."""
    run: list[LogRecord] = []
    run_us = 0
    damage = None
    while True:
        try:
            record = next(records, None)
        except WorldError as error:
            record, damage = None, error
        if record is None:
            break
        if record.event is None:
            yield record
            continue
        if run and (record.event.ts_us != run_us or len(run) >= tie_max):
            yield from sorted(run, key=_key) if len(run) > 1 else run
            run.clear()
        run_us = record.event.ts_us
        run.append(record)
    yield from sorted(run, key=_key)
    if damage is not None:
        raise damage


def _merged(streams: list[Iterator[LogRecord]]) -> Iterator[LogRecord]:
    """Smallest head first; a bad record passes before the head behind it is looked at."""
    heads: list[tuple[OrderKey, int, LogRecord]] = []
    for index in range(len(streams)):
        yield from _advance(streams, index, heads)
    while heads:
        _, index, record = heapq.heappop(heads)
        yield record
        yield from _advance(streams, index, heads)


def _advance(
    streams: list[Iterator[LogRecord]], index: int, heads: list[tuple[OrderKey, int, LogRecord]]
) -> Iterator[LogRecord]:
    for record in streams[index]:
        if record.event is not None:
            heapq.heappush(heads, (_key(record), index, record))
            return
        yield record


def _key(record: LogRecord) -> OrderKey:
    assert record.event is not None
    return order_key(record.event, record.data)
