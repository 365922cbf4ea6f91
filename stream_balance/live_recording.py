"""Live recording: what a live session takes, written down in the order in which it takes it, so that a replay comes to
the same state. In: records. Out: a recording. A segment is closed before each checkpoint, so none gets ahead of it;
what a service takes again after a kill, in the same order, is known by its offsets and not written twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stream_balance.edge.carried import carry
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.merge import LaneKey, Polled
from stream_balance.edge.recording import Recording, RecordSettings
from stream_balance.edge.segments import TAKEN
from stream_balance.errors import SettingsError
from stream_balance.live_saving import lanes, named


class LiveRecording:
    """Writes to `folder`; `state` is the checkpoint folder, whose journal of fits goes along."""

    def __init__(self, folder: Path, settings: RecordSettings, state: Path) -> None:
        self._folder = folder
        self._state = state
        self._recording = Recording(folder, settings, order=TAKEN)
        self._done = lanes(self._recording.positions)

    def begin(self, positions: Mapping[LaneKey, int], *, afresh: bool) -> bool:
        """The service goes on at these, or begins; whether the recording has all that was before. Raises SettingsError
        for one of another service's life.
        """
        if not self._done:
            return afresh
        for lane, offset in positions.items():
            done = self._done.get(lane, 0)
            if afresh or offset > done:
                raise SettingsError(
                    f"recording {str(self._folder)!r} ends at {lane[0]}[{lane[1]}]@{done}, the service "
                    f"{'begins afresh' if afresh else f'goes on at {offset}'}: they do not fit together. Name an empty "
                    "folder for the recording."
                )
        return True

    def take(self, record: Polled) -> None:
        """One record, about to be taken. Raises WorldError."""
        if record.offset >= self._done.get((record.topic, record.partition), 0):
            self._recording.append(record.value, record.record_time_us)

    def settle(self, source: KafkaSource) -> None:
        """All that was taken is safe on return. Raises WorldError."""
        for lane, offset in source.positions().items():
            self._done[lane] = max(self._done.get(lane, 0), offset)
        if self._recording.rotate(named(self._done), source.topic_ids()) is not None:
            carry(self._state, self._folder)

    def close(self) -> None:
        """Leave the folder; what was not settled is taken again."""
        self._recording.abandon()
