"""Keeper: when a checkpoint is made, and what follows from it. In: the loop's turns. Out: checkpoints in place.

At most one is under way. It counts once its outputs are acknowledged, it is written and synced, renamed, and the folder
synced; only then `settled` gives its positions for the broker. One that fails is told, and tried again at the next
interval; the last good one stays. The service leaves when none could be written for `failing_max_s`, when the folder
is not ours any more, or when a merge decision cannot be journaled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stream_balance.edge.checkpoint.compat import settings_hash
from stream_balance.edge.checkpoint.disk import Disk, disk_error
from stream_balance.edge.checkpoint.format import Header
from stream_balance.edge.checkpoint.journal import MergeJournal
from stream_balance.edge.checkpoint.layout import layouts
from stream_balance.edge.checkpoint.settings import CheckpointSettings
from stream_balance.edge.checkpoint.store import Loaded, Store, Tell, temporary_name, untold
from stream_balance.edge.checkpoint.writer import Outcome, Writer
from stream_balance.errors import WorldError

LOOK_AGAIN_S = 0.01  # while waiting for the last checkpoint


@dataclass(frozen=True, slots=True)
class About:
    """What every header of this service says the same."""

    input: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    chosen: list[str] | None = None  # settings that are not their defaults


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is to be saved: the state, where its input goes on, and how much it has seen."""

    state: Any
    position: dict[str, Any]
    counts: dict[str, int]


@dataclass(slots=True)
class _UnderWay:
    sequence: int
    position: dict[str, Any]
    may_settle: Callable[[], bool]  # the outputs before the snapshot are acknowledged
    events: int  # that it covers and the one before did not
    outcome: Outcome | None = None


class Keeper:
    """Makes the checkpoints of one running service."""

    def __init__(
        self,
        store: Store,
        disk: Disk,
        writer: Writer,
        settings: CheckpointSettings,
        about: About,
        *,
        is_ours: Callable[[], bool] = lambda: True,
        tell: Tell = untold,
        now_s: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._disk = disk
        self._writer = writer
        self._settings = settings
        self._about = about
        self._is_ours = is_ours
        self._tell = tell
        self._now_s = now_s
        self._now = now
        self._sleep = sleep
        self.journal = MergeJournal(disk, store.key)
        self._sequence = 0  # the last number given to a checkpoint or a segment
        self._under_way: _UnderWay | None = None
        self._tried_at_s = now_s()
        self._good_at_s = now_s()
        self._failing_since_s: float | None = None
        self._events = 0  # since the last snapshot
        self._why = ""  # the last one failed
        self.made = 0
        self.failures = 0
        self.latest = 0  # number of the last one that came into place
        self.last = Outcome()
        self.loop_stop_s = 0.0  # the longest time that a snapshot held up the loop

    # Start

    def resume(self, loaded: Loaded | None) -> list[dict[str, int]]:
        """Go on after this checkpoint: the plan of merge decisions since then. Clears what killed writers left."""
        layouts()  # they are remembered: the first time takes longer than a snapshot may stop the loop
        try:
            self._store.clear_temporary()
            since = loaded.header.sequence if loaded is not None else 0
            plan = self.journal.recover(since)
            numbers = [*self._store.sequences(), *self.journal.numbers()]
            self._sequence = max(numbers, default=0) + 1
            self.journal.begin(self._sequence)
        except OSError as error:
            raise disk_error(self._disk, "cannot be made ready", error) from error
        if self.journal.dropped:
            self._tell(f"merge journal: an unfinished entry ({self.journal.dropped} bytes) is left out")
        return plan

    # Turns

    def note(self, events: int) -> None:
        """So many records were taken."""
        self._events += events

    def note_decision(self, positions: Mapping[tuple[str, int], int]) -> None:
        """The merge took an order that times did not force; nothing made of it may leave before this returns."""
        try:
            self.journal.append(positions)
        except OSError as error:
            did = "a merge decision cannot be journaled, and its order must not be lost"
            raise disk_error(self._disk, did, error, "Mend the folder or its disk and start again.") from error
        if self.journal.size >= self._settings.journal_bytes_max:
            raise WorldError(
                f"checkpoint.dir {self._disk.where!r}: the merge journal has {self.journal.size} bytes, at most "
                f"{self._settings.journal_bytes_max} are allowed (checkpoint.journal_bytes_max), and no checkpoint "
                "could be made in time."
            )

    def is_due(self) -> bool:
        """Whether a snapshot should be taken now."""
        if self._under_way is not None:
            return False
        if not self._events:
            self._good_at_s = self._now_s()  # nothing has come that is not saved
            return False
        waited_s = self._now_s() - self._tried_at_s
        if waited_s >= self._settings.interval_s:
            return True
        if self._failing_since_s is not None:
            return False  # what failed is not tried again before its time
        early = self._events >= self._settings.interval_events
        return early or 2 * self.journal.size >= self._settings.journal_bytes_max

    def start(self, snapshot: Snapshot, may_settle: Callable[[], bool] = lambda: True) -> None:
        """Begin to save; `may_settle` says when the outputs made before have been acknowledged."""
        assert self._under_way is None, "one checkpoint at a time"
        began = self._now_s()
        self._check_ours()
        self._sequence += 1
        header = Header(
            sequence=self._sequence,
            created=self._now().isoformat(timespec="milliseconds"),
            input=self._about.input,
            position=snapshot.position,
            settings=dict(self._about.settings),
            settings_hash=settings_hash(self._about.settings),
            versions=dict(self._about.versions),
            counts=snapshot.counts,
            chosen=self._about.chosen,
        )
        self.journal.begin(self._sequence)
        self._under_way = _UnderWay(self._sequence, snapshot.position, may_settle, self._events)
        self._events = 0
        self._tried_at_s = began
        self._writer.start(self._store.write(header, snapshot.state))
        self.loop_stop_s = max(self.loop_stop_s, self._now_s() - began)

    def settled(self) -> dict[str, Any] | None:
        """The position of the checkpoint that has just come into place, once; None if none has."""
        under_way = self._under_way
        if under_way is None:
            return None
        if under_way.outcome is None:
            under_way.outcome = self._writer.poll()
            if under_way.outcome is None:
                return None
            if under_way.outcome.error is not None:
                self._failed(under_way, under_way.outcome.error)
                return None
        if not under_way.may_settle():
            return None
        try:
            self._check_ours()
            self._store.install(under_way.sequence)
        except OSError as error:
            self._failed(under_way, f"it cannot be put into place: {error.strerror or error}")
            return None
        self._came_into_place(under_way.sequence, under_way.outcome)
        return under_way.position

    def _came_into_place(self, sequence: int, outcome: Outcome) -> None:
        self._under_way = None
        self.made += 1
        self.latest = sequence
        self.last = outcome
        self._good_at_s = self._now_s()
        if self._failing_since_s is not None:
            self._tell("checkpoints can be written again", checkpoint=sequence)
            self._failing_since_s = None
        self.journal.settled(sequence)
        try:
            kept = self._store.prune(self._settings.keep)
            self.journal.forget(kept[0])
        except OSError as error:  # it is in place; what is too much will be removed the next time
            self._tell(f"old checkpoints cannot be removed: {error.strerror or error}")

    def _failed(self, under_way: _UnderWay, reason: str) -> None:
        self._under_way = None
        self._why = reason
        self._events += under_way.events
        self.failures += 1
        now_s = self._now_s()
        self._tell("checkpoint failed, the last good one stays", checkpoint=under_way.sequence, reason=reason)
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        self._clear(under_way)
        if now_s - self._failing_since_s >= self._settings.failing_max_s:
            raise WorldError(
                f"checkpoint.dir {self._disk.where!r}: no checkpoint could be written for "
                f"{now_s - self._failing_since_s:.0f} s (checkpoint.failing_max_s), the last time because: {reason}. "
                "The last good one is kept; mend the disk and start again."
            )

    def _clear(self, under_way: _UnderWay) -> None:
        with suppress(OSError):  # a later start clears it
            self._disk.remove(temporary_name(under_way.sequence))

    def _check_ours(self) -> None:
        if not self._is_ours():
            raise WorldError(
                f"checkpoint.dir {self._disk.where!r} was removed or replaced while we ran: another process may use "
                "that name now. Restore the folder, or name a new one, and start again."
            )

    # End

    def finish(self, take: Callable[[], Snapshot], serve: Callable[[], None], until_s: float) -> dict[str, Any]:
        """Save the present state and wait for it: give up what is under way; the position once it is in place.

        Raises WorldError if that fails or takes until `until_s`; the last good one stays.
        """
        self.abandon()
        failures = self.failures
        self.start(take())
        while True:
            position = self.settled()
            if position is not None:
                return position
            if self.failures > failures:
                raise WorldError(
                    f"checkpoint.dir {self._disk.where!r}: no checkpoint could be written: {self._why}. The last good "
                    "one is kept; what came after it will be done again at the next start."
                )
            if self._now_s() >= until_s:
                self.abandon()
                raise WorldError(
                    f"checkpoint.dir {self._disk.where!r}: the checkpoint was not done in time. The last good one is "
                    "kept; what came after it will be done again at the next start (checkpoint.stop_max_s at a stop)."
                )
            serve()
            self._sleep(LOOK_AGAIN_S)

    def abandon(self) -> None:
        """Give up what is under way."""
        self._writer.kill()
        if self._under_way is not None:
            self._clear(self._under_way)
            self._under_way = None

    def close(self) -> None:
        """Leave the folder as it is."""
        self.abandon()
        self.journal.close()

    # Telling

    def trouble(self) -> str | None:
        """That no checkpoint can be written, for how long and why; None while they can."""
        if self._failing_since_s is None:
            return None
        failing_s = self._now_s() - self._failing_since_s
        return (
            f"No checkpoint could be written to {self._disk.where!r} for {failing_s:.0f} s, at most "
            f"{self._settings.failing_max_s:g} s are borne (checkpoint.failing_max_s): {self._why}."
        )

    def state(self) -> dict[str, Any]:
        """Figures for the exporter."""
        return {
            "age_s": self._now_s() - self._good_at_s,
            "made": self.made,
            "failures": self.failures,
            "passed_over": self._store.passed_over,
            "write_s": self.last.seconds,
            "bytes": self.last.bytes,
            "loop_stop_s": self.loop_stop_s,
            "journal_bytes": self.journal.size,
            "journal_entries": self.journal.entries,
        }
