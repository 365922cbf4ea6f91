"""Recording: whole segments are there for good, what a crash cut is recorded again, and a folder is one log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.logfile import read_events
from stream_balance.edge.merge import Polled
from stream_balance.edge.recording import Recording, RecordSettings
from stream_balance.edge.segments import MANIFEST, MERGED, TAKEN, segments
from stream_balance.errors import SettingsError
from stream_balance.live_recording import LiveRecording

TIME_US = 1_772_357_400_000_000


def values(folder: Path) -> list[bytes]:
    return [record.data for record in read_events([folder], Codec(WireSettings()))]


def line(number: int) -> bytes:
    return b'{"event_id":"p%d","ts":%d,"user_id":"u","item_id":"i"}' % (number, TIME_US // 1000 + number)


def record(recording: Recording, first: int, last: int) -> None:
    for number in range(first, last):
        recording.append(line(number), TIME_US + number * 1000)


def test_what_was_recorded_is_read_again_in_order_with_its_record_time(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "night", RecordSettings())
    record(recording, 0, 5)
    recording.append(b"not json\nat all \xff", TIME_US)
    recording.rotate({"a/0": 6}, {"a": "id"})
    record(recording, 5, 9)
    recording.rotate({"a/0": 10}, {"a": "id"})
    found = list(read_events([tmp_path / "night"], Codec(WireSettings())))
    assert [each.data for each in found if each.event] == [line(number) for number in range(9)]
    assert [each.data for each in found if each.bad] == [b"not json\nat all \xff"]
    assert all(each.record_time_us is not None and each.record_time_us >= TIME_US for each in found)


def test_it_goes_on_where_the_last_whole_segment_ended(tmp_path: Path) -> None:
    first = Recording(tmp_path, RecordSettings())
    record(first, 0, 4)
    first.rotate({"a/0": 4}, {"a": "id"})
    record(first, 4, 7)
    first.abandon()  # what a kill leaves
    second = Recording(tmp_path, RecordSettings())
    assert (second.positions, second.topic_ids) == ({"a/0": 4}, {"a": "id"})
    assert not list(tmp_path.glob("*.part"))
    record(second, 4, 9)
    second.rotate({"a/0": 9}, {"a": "id"})
    assert values(tmp_path) == [line(number) for number in range(9)]


def test_a_segment_that_the_manifest_does_not_name_is_recorded_again(tmp_path: Path) -> None:
    recording = Recording(tmp_path, RecordSettings())
    record(recording, 0, 3)
    recording.rotate({"a/0": 3}, {})
    manifest = (tmp_path / MANIFEST).read_bytes()
    record(recording, 3, 6)
    recording.rotate({"a/0": 6}, {})
    (tmp_path / MANIFEST).write_bytes(manifest)  # killed between the rename and the manifest
    again = Recording(tmp_path, RecordSettings())
    assert again.positions == {"a/0": 3}
    record(again, 3, 6)
    again.rotate({"a/0": 6}, {})
    assert values(tmp_path) == [line(number) for number in range(6)]


@pytest.mark.parametrize("order", [MERGED, TAKEN])
def test_equal_times_are_put_in_order_unless_a_service_took_them_so(order: str, tmp_path: Path) -> None:
    recording = Recording(tmp_path, RecordSettings(), order=order)
    lines = [line(0).replace(b"p0", name) for name in (b"b", b"a")]
    for each in lines:
        recording.append(each, TIME_US)
    recording.rotate({"a/0": 2}, {})
    assert values(tmp_path) == (lines if order == TAKEN else lines[::-1])
    with pytest.raises(SettingsError, match="whose order may be another"):
        Recording(tmp_path, RecordSettings(), order=MERGED if order == TAKEN else TAKEN)


def test_a_live_recording_fits_its_service_or_is_refused(tmp_path: Path) -> None:
    night, state = tmp_path / "night", tmp_path / "state"
    state.mkdir()
    lane = ("s", 0)
    for afresh in (True, False):
        assert LiveRecording(night, RecordSettings(), LocalDisk(state)).begin({lane: 5}, {}, afresh=afresh, taken=0)
    assert not LiveRecording(night, RecordSettings(), LocalDisk(state)).begin({lane: 5}, {}, afresh=False, taken=5)
    before = Recording(night, RecordSettings(), order=TAKEN)
    before.append(line(0), TIME_US)
    before.rotate({"s/0": 6}, {})
    assert LiveRecording(night, RecordSettings(), LocalDisk(state)).begin({lane: 5}, {}, afresh=False, taken=5)
    for positions, afresh in (({lane: 7}, False), ({lane: 0}, True), ({lane: 6, ("s", 1): 1}, False)):
        with pytest.raises(SettingsError, match="they do not fit together"):
            LiveRecording(night, RecordSettings(), LocalDisk(state)).begin(positions, {}, afresh=afresh, taken=5)


@pytest.mark.parametrize("when", ["across a restart", "while it runs"])
def test_of_a_topic_created_anew_all_is_recorded_and_the_gap_is_told(when: str, tmp_path: Path) -> None:
    night, state, lane = tmp_path / "night", tmp_path / "state", ("s", 0)
    state.mkdir()

    def take(recording: LiveRecording, offset: int, number: int) -> None:
        recording.take(Polled(*lane, offset, TIME_US + number * 1000, line(number)))

    recording = LiveRecording(night, RecordSettings(), LocalDisk(state))
    assert recording.begin({lane: 0}, {"s": "old"}, afresh=True, taken=0)
    for offset in range(5):
        take(recording, offset, offset)
    recording.settle({lane: 5}, {"s": "old"})
    if when == "across a restart":
        recording.close()
        recording = LiveRecording(night, RecordSettings(), LocalDisk(state))
        assert not recording.begin({lane: 0}, {"s": "new"}, afresh=False, taken=5)
    for offset in range(3):
        take(recording, offset, 5 + offset)
    recording.settle({lane: 3}, {"s": "new"})
    recording.close()
    assert values(night) == [line(number) for number in range(8)]
    again = LiveRecording(night, RecordSettings(), LocalDisk(state))
    assert again.begin({lane: 2}, {"s": "new"}, afresh=False, taken=5)
    take(again, 2, 7)  # known
    take(again, 3, 8)
    again.settle({lane: 4}, {"s": "new"})
    assert values(night) == [line(number) for number in range(9)]


def test_positions_that_moved_without_a_record_are_noted(tmp_path: Path) -> None:
    night, lane = tmp_path / "night", ("s", 0)
    first = LiveRecording(night, RecordSettings(), LocalDisk(tmp_path))
    first.settle({lane: 0}, {})
    assert not (night / MANIFEST).exists()
    first.take(Polled(*lane, 0, TIME_US, line(0)))
    first.settle({lane: 1}, {})
    first.settle({lane: 2}, {})  # a transaction's end
    first.close()
    assert LiveRecording(night, RecordSettings(), LocalDisk(tmp_path)).begin({lane: 2}, {}, afresh=False, taken=1)


def test_only_the_latest_segments_are_kept(tmp_path: Path) -> None:
    recording = Recording(tmp_path, RecordSettings(segments_max=2))
    for turn in range(5):
        record(recording, turn, turn + 1)
        recording.rotate({"a/0": turn + 1}, {})
    assert values(tmp_path) == [line(3), line(4)]
    assert recording.removed == 3
    assert len(list(tmp_path.glob("events-*"))) == 2


def test_a_segment_is_full_by_size_or_age(tmp_path: Path) -> None:
    recording = Recording(tmp_path, RecordSettings(segment_bytes_max=500, segment_age_max_s=60))
    assert not recording.is_full(1e9), "nothing is open"
    record(recording, 0, 1)
    assert not recording.is_full(59)
    assert recording.is_full(60)
    record(recording, 1, 20)
    assert recording.is_full(0)
    assert recording.rotate({}, {}) == "events-000001.jsonl.zst"
    assert recording.rotate({}, {}) is None


def test_a_folder_that_is_no_recording_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"recording\.json"):
        segments(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({"version": 9}))
    with pytest.raises(SettingsError, match="version 1"):
        Recording(tmp_path, RecordSettings())
    (tmp_path / MANIFEST).write_text(json.dumps({"version": 1, "next": 1, "segments": [], "positions": {}}))
    with pytest.raises(SettingsError, match="no whole segment"):
        values(tmp_path)
