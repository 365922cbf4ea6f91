"""Checks: what holds in a simulated world at each turn, at each commit, after each life and at the end. Assertions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import orjson
import zstandard

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.store import Store
from stream_balance.edge.codec import Codec
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.logfile import LogSettings, read_lines
from stream_balance.edge.merge import LaneKey
from stream_balance.edge.segments import read_manifest
from stream_balance.live_recording import records_in
from stream_balance.live_saving import lanes
from stream_balance.settings import Settings
from tests.simulation.broker import Kept, SimulatedBroker
from tests.simulation.disk import SimulatedDisk
from tests.simulation.world import SEARCHES, Logs, Place, is_bad


@dataclass(frozen=True)
class Checks:
    """Holds what the service did against its world. `order` is that of the records taken so far, and grows."""

    settings: Settings
    logs: Logs
    disk: SimulatedDisk
    broker: SimulatedBroker
    order: list[Place]
    night: SimulatedDisk | None = None  # the recording's
    key: bytes | None = None  # of checkpoints and journals

    def turn(self, source: KafkaSource, pipeline: Pipeline) -> None:
        """What holds whenever the loop comes round."""
        counts = pipeline.joiner.counts
        assert counts.in_ == counts.held + counts.matured + sum(counts.dropped.values()), counts
        assert records_in(pipeline) == len(self.order) == len(set(self.order)), (
            "a record was taken twice, or not at all"
        )
        handed_out = source.positions()
        for lane, log in self.logs.items():
            done = {offset for topic, partition, offset in self.order if (topic, partition) == lane}
            there = {record.offset for record in log if record.offset < handed_out.get(lane, 0)}
            assert done == there, f"{lane}: not everything before {handed_out.get(lane, 0)} was taken, or more"
        unsafe = self.disk.unsafe("journal")
        assert not unsafe, f"records are taken in an order that only {unsafe} knows, which may be lost"
        unsafe = self.disk.unsafe("fits")
        assert not unsafe, f"what was decided of fits has had its effect, and only {unsafe} knows it"

    def _safe_positions(self) -> dict[LaneKey, int] | None:
        """Where the newest checkpoint stands that a power failure would leave."""
        loaded = Store(self.disk.would_stay(), AllowList(), key=self.key).newest()
        return None if loaded is None else lanes(loaded.header.position["offsets"])

    def commit(self, committed: dict[LaneKey, int]) -> None:
        """What is committed is in a safe checkpoint, and its dead letters and predictions have been acknowledged."""
        safe = self._safe_positions()
        assert safe is not None, "offsets are committed and no checkpoint is safe"
        assert all(safe[lane] >= offset for lane, offset in committed.items()), (safe, committed)
        self._covered_by_recording(safe)
        dead = self._dead()
        codec = Codec(self.settings.wire)
        for lane, log in self.logs.items():
            for record in log:
                if record.offset < committed[lane] and is_bad(codec, record):
                    assert (*lane, record.offset) in dead, f"{lane}@{record.offset} is passed, and is no dead letter"

    def _covered_by_recording(self, safe: dict[LaneKey, int]) -> None:
        if self.night is None or not self.order:
            return
        manifest = read_manifest(self.night.would_stay())
        assert manifest is not None, "a checkpoint with records is safe, and no recording"
        written = lanes(manifest["positions"])
        assert all(written[lane] >= offset for lane, offset in safe.items()), (safe, written)

    def recording(self) -> None:
        """What was recorded is what was taken, to the byte, and in that order what has a place in it."""
        if self.night is None:
            return
        manifest = read_manifest(self.night)
        assert manifest is not None
        lines: list[bytes] = []
        for segment in manifest["segments"]:
            with self.night.open(segment["name"]) as source:
                lines += zstandard.ZstdDecompressor().stream_reader(source).read().splitlines()
        codec = Codec(self.settings.wire)
        found = [(r.data, r.record_time_us, r.event is None) for r in read_lines(lines, codec, LogSettings(tie_max=1))]
        by_place = {
            (r.topic, r.partition, r.offset): (r.value, r.timestamp * 1000, is_bad(codec, r))
            for r in self._everything()
        }
        taken = [by_place[place] for place in self.order]
        assert [each for each in found if not each[2]] == [each for each in taken if not each[2]]
        assert Counter(found) == Counter(taken)  # bad ones have no place in the order

    def _everything(self) -> list[Kept]:
        return [record for log in self.logs.values() for record in log]

    def kept(self) -> None:
        """After the end of a process: few files, and one that can be loaded if there ever was one."""
        names = self.disk.names()
        assert sum(name.endswith(".sbc") for name in names) <= self.settings.checkpoint.keep + 2, names
        Store(self.disk, AllowList(), key=self.key).newest()

    def _dead(self) -> set[Place]:
        found = set()
        for record in self.broker.published:
            headers = dict(record.headers)
            if "dead_letter.topic" in headers:
                place = [headers[f"dead_letter.{part}"].decode() for part in ("topic", "partition", "offset")]
                found.add((place[0], int(place[1]), int(place[2])))
        return found

    def outputs(self) -> None:
        """What left is whole, and the same whenever it left; every record was taken once."""
        predictions: dict[str, bytes] = {}
        for record in self.broker.published:
            if record.topic == self.settings.kafka.predictions_topic:
                search = orjson.loads(record.value)["search_id"]
                before = predictions.setdefault(search, record.value)
                assert before == record.value, f"two predictions of {search} differ:\n{before!r}\n{record.value!r}"
        codec = Codec(self.settings.wire)
        everything = self._everything()
        bad = {(r.topic, r.partition, r.offset) for r in everything if is_bad(codec, r)}
        assert self._dead() == bad
        good = [codec.parse(r.value) for r in everything if not is_bad(codec, r) and r.topic == SEARCHES]
        held_back = self.settings.order.disorder_max_s > 0
        missing = {search.event_id for search in good} - predictions.keys()
        assert held_back or not missing, f"searches without a prediction: {missing}"
        assert len(self.order) == len(set(self.order)) == len(everything), "records taken twice, or not at all"
