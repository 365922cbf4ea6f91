"""Logs: any packing, any block size, any number of files give the same records in the same order."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_balance.core.order import order_key
from stream_balance.core.records import Purchase
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.lines import ByteFile, split_lines
from stream_balance.edge.logfile import LogRecord, LogSettings, read_events, read_lines, wrap
from stream_balance.errors import SettingsError, WorldError

START_MS = 1_772_366_400_000
DAY_MS = 86_400_000
YEAR_2099 = "2099-01-01T00:00:00Z"


def purchase(index: int, ts: object = None) -> bytes:
    at = START_MS + 1000 * index if ts is None else ts
    return json.dumps({"event_id": f"p{index}", "ts": at, "user_id": "u", "item_id": "i"}).encode()


def search(index: int, ts: object = None) -> bytes:
    at = START_MS + 1000 * index if ts is None else ts
    return json.dumps({"event_id": f"s{index}", "ts": at, "user_id": "u", "items": [{"item_id": "i"}]}).encode()


def read(*paths: Path, tie_max: int = 10_000, read_bytes: int = 1 << 18, **wire: int) -> list[LogRecord]:
    codec = Codec(WireSettings(**wire))  # type: ignore[arg-type]  # sizes only
    return list(read_events(paths, codec, LogSettings(tie_max=tie_max, read_bytes=read_bytes)))


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def seen(records: list[LogRecord]) -> list[tuple[object, ...]]:
    return [(r.event, r.bad and r.bad.reason, r.data, r.line_number, r.record_time_us) for r in records]


def reasons(records: list[LogRecord]) -> Counter[str]:
    return Counter(record.bad.reason for record in records if record.bad is not None)


MIXED = [search(0), b"{", purchase(1), b"", search(2, YEAR_2099), *(search(i) for i in range(3, 200)), b"\xff", b"[]"]


def test_the_packing_is_told_by_content_and_does_not_matter(tmp_path: Path) -> None:
    plain = write(tmp_path / "log", MIXED)
    content = plain.read_bytes()
    half = len(content) // 2
    (tmp_path / "gzip.zst").write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]) + b"\0\0")
    pack = zstandard.ZstdCompressor().compress
    (tmp_path / "zstd.gz").write_bytes(pack(content[:half]) + pack(content[half:]))
    expected = seen(read(plain))
    assert seen(read(tmp_path / "gzip.zst")) == expected
    assert seen(read(tmp_path / "zstd.gz")) == expected


@pytest.mark.parametrize("read_bytes", [1, 7, 4096])
def test_the_block_size_does_not_matter(tmp_path: Path, read_bytes: int) -> None:
    log = write(tmp_path / "log", MIXED)
    assert seen(read(log, read_bytes=read_bytes)) == seen(read(log))


def test_line_numbers_count_blank_lines_and_a_byte_order_mark_is_no_offence(tmp_path: Path) -> None:
    log = write(tmp_path / "log", [b"\xef\xbb\xbf" + search(0), b"", b"  \r", search(1) + b"\r"])
    assert [(r.line_number, r.bad) for r in read(log)] == [(1, None), (4, None)]


def test_good_and_bad_are_never_lost(tmp_path: Path) -> None:
    records = read(write(tmp_path / "log", MIXED))
    assert len(records) == len(MIXED) - 1
    assert reasons(records) == {"not_json": 1, "not_utf8": 1, "wrong_type": 1, "too_far_ahead": 1}


@given(place=st.floats(0, 1), step_ms=st.integers(0, DAY_MS), n=st.integers(4, 300), jitter=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_one_line_of_the_year_2099_is_found_wherever_it_stands(
    tmp_path_factory: pytest.TempPathFactory, place: float, step_ms: int, n: int, jitter: int
) -> None:
    rng = random.Random(n)
    at = sorted(range(n), key=lambda i: i + rng.uniform(0, jitter * 250 / max(step_ms, 250)))
    lines = [search(i, START_MS + step_ms * i) for i in at]
    lines[round(place * (n - 1))] = search(n, YEAR_2099)
    records = read(write(tmp_path_factory.mktemp("logs") / "log", lines))
    assert [r.event.event_id for r in records if r.event and r.event.event_id == f"s{n}"] == []
    assert reasons(records) == {"too_far_ahead": 1}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 20, 63, 64, 65, 66, 129, 130, 400])
@pytest.mark.parametrize("gap_at", [0, 1, 2, 3, 10, 64, 65, 128])
def test_a_quiet_night_is_no_offence(tmp_path: Path, n: int, gap_at: int) -> None:
    times = [START_MS + 1000 * i + (DAY_MS if i >= gap_at else 0) + (DAY_MS if i == n - 1 else 0) for i in range(n)]
    assert reasons(read(write(tmp_path / "log", [search(i, t) for i, t in enumerate(times)]))) == {}


def test_an_hour_ahead_in_the_middle_is_an_offence_and_ten_minutes_of_drift_are_not(tmp_path: Path) -> None:
    lines = [search(i) for i in range(300)]
    lines[150] = search(150, START_MS + 3_600_000)
    records = read(write(tmp_path / "log", lines))
    assert [(r.line_number, r.bad and r.bad.reason) for r in records if r.bad] == [(151, "too_far_ahead")]


def test_a_line_may_say_its_records_time_and_its_bytes_come_back(tmp_path: Path) -> None:
    inner = [purchase(0), b'{ "odd" ', b"two\nlines", b"\xff", purchase(1, YEAR_2099), b""]
    log = write(tmp_path / "log", [wrap(data, START_MS * 1000 + 999) for data in inner])
    records = read(log)
    by_line = sorted(records, key=lambda record: record.line_number)
    assert [record.data for record in by_line] == inner
    assert {record.record_time_us for record in records} == {START_MS * 1000}
    assert [record.bad and record.bad.reason for record in by_line][::4] == [None, "too_far_ahead"]


def test_one_file_or_two_files_give_the_same_order(tmp_path: Path) -> None:
    rng = random.Random(3)
    events = [(search if rng.random() < 0.6 else purchase)(i, START_MS + 1000 * rng.randrange(60)) for i in range(400)]
    codec = Codec(WireSettings())
    events.sort(key=lambda data: order_key(codec.parse(data), data))
    kinds = [isinstance(codec.parse(data), Purchase) for data in events]
    searches = write(tmp_path / "s", [data for data, bought in zip(events, kinds, strict=True) if not bought])
    purchases = write(tmp_path / "p", [data for data, bought in zip(events, kinds, strict=True) if bought])
    both = write(tmp_path / "both", events)
    assert [r.data for r in read(searches, purchases)] == [r.data for r in read(purchases, searches)] == events
    assert [r.data for r in read(both)] == events


@settings(deadline=None)
@given(st.permutations([(kind, i % 3) for kind in (search, purchase) for i in range(6)]))
def test_equal_times_come_in_total_order(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[object, int]]
) -> None:
    lines = [kind(i, START_MS) + b" " * n for n, (kind, i) in enumerate(events)]  # type: ignore[operator]
    lines.insert(5, b"bad")
    records = read(write(tmp_path_factory.mktemp("logs") / "log", lines))
    good = [record for record in records if record.event is not None]
    keys = [order_key(record.event, record.data) for record in good if record.event is not None]
    assert keys == sorted(keys)
    assert len(good) == 12


def test_ties_are_held_up_to_a_bound(tmp_path: Path) -> None:
    log = write(tmp_path / "log", [search(i, START_MS) for i in (3, 2, 1, 0)])
    assert [r.event.event_id for r in read(log, tie_max=2) if r.event] == ["s2", "s3", "s0", "s1"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_truncated_file_gives_its_whole_lines_and_then_says_where_it_ended(tmp_path: Path, pack: object) -> None:
    rng = random.Random(5)
    lines = [search(i) + b" " * rng.randrange(80) for i in range(2000)]
    packed = pack(b"\n".join(lines))
    log = tmp_path / "log.packed"
    log.write_bytes(packed[: len(packed) * 2 // 3])
    reader = read_events([log], Codec(WireSettings()))
    records: list[LogRecord] = []
    with pytest.raises(WorldError, match=r"log\.packed.*ends before its end; read up to line \d+") as caught:
        records.extend(iter(reader))
    assert f"line {len(records)}." in str(caught.value)
    assert [record.data for record in records] == lines[: len(records)]
    assert len(records) > 500


def test_a_line_beyond_the_limit_is_counted_and_never_held_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stream:
        stream.write(search(0) + b"\n")
        for _ in range(40):
            stream.write(b"x" * 262_144)
        stream.write(b"\n" + search(1) + b"\n" + b"y" * 2_000_000)
    cut = [line for line in split_lines(ByteFile(log), 1_048_576) if line.cut]
    assert [(line.number, line.size, len(line.data)) for line in cut] == [(2, 10_485_760, 4096), (4, 2_000_000, 4096)]
    records = read(log)
    assert reasons(records) == {"too_large": 2}
    assert sum(record.event is not None for record in records) == 2


def test_a_file_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty", [])
    table = tmp_path / "table"
    table.write_bytes(b"PAR1....")
    for path, told in [
        (tmp_path / "gone", "does not exist"),
        (tmp_path, "is a folder"),
        (empty, "has no records"),
        (table, "--rows"),
    ]:
        with pytest.raises(SettingsError, match=told) as caught:
            read(path)
        assert path.name in str(caught.value)


def test_an_empty_file_beside_a_full_one_is_no_offence(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "s", [search(0)]), write(tmp_path / "p", []))) == 1


def test_progress_counts_the_bytes_on_disk(tmp_path: Path) -> None:
    log = tmp_path / "log.gz"
    log.write_bytes(gzip.compress(b"\n".join(search(i) for i in range(1000))))
    reader = read_events([log], Codec(WireSettings()))
    assert (reader.bytes_read, reader.bytes_total) == (0, log.stat().st_size)
    assert sum(1 for _ in reader) == 1000
    assert reader.bytes_read == reader.bytes_total


def test_lines_in_memory_are_read_like_a_file(tmp_path: Path) -> None:
    assert seen(list(read_lines(MIXED, Codec(WireSettings())))) == seen(read(write(tmp_path / "log", MIXED)))
