"""Live recording: what a live session takes, written down in the order in which it takes it, so that a replay comes to
the same state. In: records. Out: a recording. A segment is closed before each checkpoint, so none gets ahead of it;
what a service takes again after a kill, in the same order, is known by its offsets and not written twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.carried import carry
from stream_balance.edge.checkpoint.disk import Disk
from stream_balance.edge.merge import LaneKey, Polled
from stream_balance.edge.recording import Recording, RecordSettings
from stream_balance.edge.segments import TAKEN
from stream_balance.errors import SettingsError
from stream_balance.live_saving import lanes, named


def records_in(pipeline: Pipeline) -> int:
    """How many records are in a pipeline's state, those included that it holds back."""
    return sum(pipeline.events.values()) + sum(pipeline.bad.values()) + len(pipeline.reorder)


class LiveRecording:
    """Writes to `folder`; `state` is the checkpoint folder, whose journal of fits goes along."""

    def __init__(self, folder: Path | Disk, settings: RecordSettings, state: Disk) -> None:
        self._state = state
        self._recording = Recording(folder, settings, order=TAKEN)
        self._done = lanes(self._recording.positions)
        self._topic_ids = self._recording.topic_ids
        self._known: dict[LaneKey, int] = {}  # where that was taken before ends; as long as it is taken again

    def begin(
        self, positions: Mapping[LaneKey, int], topic_ids: Mapping[str, str], *, afresh: bool, taken: int
    ) -> bool:
        """The service goes on at these after so many records, or begins afresh; whether the recording has all of them,
        which it has not where a topic was created anew. Raises SettingsError for one of another service's life.
        """
        if not self._done:
            return taken == 0
        if self._forget_former(topic_ids):
            self._known = dict(self._done)
            return False
        for lane, offset in positions.items():
            done = self._done.get(lane, 0)
            if afresh or offset > done:
                raise SettingsError(
                    f"recording {self._recording.disk.where!r} ends at {lane[0]}[{lane[1]}]@{done}, the service "
                    f"{'begins afresh' if afresh else f'goes on at {offset}'}: they do not fit together. Name an empty "
                    "folder for the recording."
                )
        self._known = dict(self._done)
        return True

    def _forget_former(self, topic_ids: Mapping[str, str]) -> set[str]:
        """Topics that were created anew: what was written of the former ones says nothing of their offsets."""
        former = {topic for topic, id_ in topic_ids.items() if self._topic_ids.get(topic, id_) != id_}
        self._done = {lane: offset for lane, offset in self._done.items() if lane[0] not in former}
        self._topic_ids = dict(topic_ids)
        return former

    def take(self, record: Polled) -> None:
        """One record, about to be taken. Raises WorldError."""
        lane = (record.topic, record.partition)
        if record.offset >= self._known.get(lane, 0):
            self._known.pop(lane, None)
            self._recording.append(record.value, record.record_time_us)

    def settle(self, positions: Mapping[LaneKey, int], topic_ids: Mapping[str, str]) -> None:
        """All that was taken, up to these positions, is safe on return. Raises WorldError."""
        self._forget_former(topic_ids)
        for lane, offset in positions.items():
            self._done[lane] = max(self._done.get(lane, 0), offset)
        if self._recording.rotate(named(self._done), topic_ids) is not None:
            carry(self._state, self._recording.disk)

    def close(self) -> None:
        """Leave the folder; what was not settled is taken again."""
        self._recording.abandon()
