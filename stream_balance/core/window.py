"""Window: the latest examples of each class and tier. In: matured rows. Out: matrices. Remembers; decides nothing.

Bounded by count (`size_max` per class and tier) and by age; counts what it lets go.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from pydantic import PositiveFloat, PositiveInt

from stream_balance.core.records import TIERS, Floats, RoomSettings

_FIRST_CAPACITY = 64

WAITING_ROWS = 256  # of class 0 that are taken in together


class WindowSettings(RoomSettings):
    """How much is remembered of each class and tier."""

    size_max: PositiveInt = 5_000  # rows per class and tier; beyond it the oldest leaves
    age_max_s: PositiveFloat = 7 * 86_400.0  # an older row (than the newest of all) is no longer shown


class _Ring:
    """Rows of one class and tier in a matrix that doubles up to `size_max`, then overwrites its oldest row."""

    __slots__ = ("count", "size_max", "stamps", "start", "values")

    def __init__(self, size_max: int, width: int) -> None:
        capacity = min(_FIRST_CAPACITY, size_max)
        self.size_max = size_max
        self.start = 0  # index of the oldest row
        self.count = 0
        self.values: Floats = np.full((capacity, width), np.nan)
        self.stamps: npt.NDArray[np.int64] = np.zeros((capacity, 2), dtype=np.int64)  # (ts_us, sequence number)

    def make_room(self, rows: int, width: int) -> None:
        """Widen to `width` columns; grow towards `size_max` so that `rows` more fit where that is allowed."""
        capacity, known = self.values.shape
        wanted = capacity
        while wanted < self.count + rows and wanted < self.size_max:
            wanted = min(2 * wanted, self.size_max)
        if wanted == capacity and width <= known:
            return
        order = self.order()
        values = np.full((wanted, max(width, known)), np.nan)
        values[: self.count, :known] = self.values[order]
        stamps = np.zeros((wanted, 2), dtype=np.int64)
        stamps[: self.count] = self.stamps[order]
        self.values, self.stamps, self.start = values, stamps, 0

    def order(self) -> npt.NDArray[np.intp]:
        """Indices of the rows, oldest first."""
        return (self.start + np.arange(self.count)) % len(self.values)

    def forget(self, older_than: int) -> int:
        """Forget rows with a number below this one; how many those were."""
        old = int(np.searchsorted(self.stamps[self.order(), 1], older_than))
        self.start = (self.start + old) % len(self.values)
        self.count -= old
        return old

    def expire(self, oldest_us: int) -> int:
        """Forget rows from before `oldest_us`; how many those were."""
        before = self.count
        capacity = len(self.values)
        while self.count and self.stamps[self.start, 0] < oldest_us:
            self.start = (self.start + 1) % capacity
            self.count -= 1
        return before - self.count


class Window:
    """The latest `size_max` rows of each class and tier, at most `age_max_s` old, and their exact counts.

    A row narrower than the widest one seen has NaN in the columns it lacks. `add` costs about a microsecond.

    >>> window = Window(WindowSettings(size_max=2))
    >>> for ts_us, price in enumerate((1.0, 2.0, 3.0)):
    ...     window.add(np.array([price]), label=0, tier=0, ts_us=ts_us)
    >>> window.rows(0).tolist(), window.size(0), window.counts()
    ([[2.0], [3.0]], 2, {0: (2, 0)})
    """

    def __init__(self, settings: WindowSettings) -> None:
        self._size_max = settings.size_max
        self._age_us = round(settings.age_max_s * 1e6)
        self._rings: list[_Ring | None] = []  # at label * tiers + tier
        self._sequence = 0
        # Rows of whole searches of which those of class 0 wait: values, labels, tiers, ts_us, sequence before them.
        self._waiting: list[tuple[Floats, Sequence[int], bytes, int, int]] = []
        self._waiting_rows = 0
        self._newest_us: int | None = None
        self.evicted_by_count = 0
        self.evicted_by_age = 0
        self.forgotten = 0

    def _ring(self, index: int, width: int) -> _Ring:
        while len(self._rings) <= index:
            self._rings.append(None)
        ring = self._rings[index]
        if ring is None:
            ring = self._rings[index] = _Ring(self._size_max, width)
        return ring

    def add(self, row: Floats, label: int, tier: int, ts_us: int) -> None:
        """Remember one row, shape (d,). The window keeps a copy."""
        self._settle()
        self._sequence += 1
        self._put(row, label, tier, ts_us, self._sequence)
        if self._newest_us is None or ts_us > self._newest_us:
            self._newest_us = ts_us

    def _put(self, row: Floats, label: int, tier: int, ts_us: int, sequence: int) -> None:
        index = label * len(TIERS) + tier
        rings = self._rings
        ring = rings[index] if index < len(rings) else None
        width = len(row)
        if ring is None:
            ring = self._ring(index, width)
        capacity, known = ring.values.shape
        count = ring.count
        if width > known or (count == capacity and capacity < self._size_max):
            ring.make_room(1, width)
            capacity, known = ring.values.shape
        if count < capacity:
            place = ring.start + count
            if place >= capacity:
                place -= capacity
            ring.count = count + 1
        else:
            place = ring.start
            ring.start = place + 1 if place + 1 < capacity else 0
            self.evicted_by_count += 1
        if width == known:
            ring.values[place] = row
        else:
            ring.values[place, :width] = row
            ring.values[place, width:] = np.nan
        ring.stamps[place] = (ts_us, sequence)

    def add_many(self, values: Floats, labels: Sequence[int], tiers: bytes, ts_us: int) -> None:
        """Remember a matured search: `values` (n, d), its labels and tiers, as `add` for each row would, but faster.

        Rows of class 0 are taken in together with those of later searches, at the latest when somebody asks for them.
        """
        n = len(values)
        if self._newest_us is None or ts_us > self._newest_us:
            self._newest_us = ts_us
        if any(labels):
            for place, label in enumerate(labels):
                if label:
                    self._put(values[place], label, tiers[place], ts_us, self._sequence + place + 1)
        waiting = self._waiting
        if waiting and waiting[0][0].shape[1] != values.shape[1]:
            self._settle()
        waiting.append((values, labels, tiers, ts_us, self._sequence))
        self._sequence += n
        self._waiting_rows += n
        if self._waiting_rows >= min(WAITING_ROWS, self._size_max):
            self._settle()

    def _settle(self) -> None:
        """Take in the rows of class 0 that wait."""
        if not self._waiting:
            return
        waiting, rows = self._waiting, self._waiting_rows
        values = np.concatenate([each[0] for each in waiting])
        tiers = np.frombuffer(b"".join([each[2] for each in waiting]), dtype=np.uint8)
        negative = np.fromiter(chain.from_iterable([each[1] for each in waiting]), dtype=np.int64, count=rows) == 0
        stamps = np.empty((rows, 2), dtype=np.int64)
        sizes = [len(each[2]) for each in waiting]
        stamps[:, 0] = np.repeat([each[3] for each in waiting], sizes)
        stamps[:, 1] = np.arange(waiting[0][4] + 1, waiting[0][4] + rows + 1)
        waiting.clear()
        self._waiting_rows = 0
        for tier in range(len(TIERS)):
            mine = np.flatnonzero(negative & (tiers == tier))
            for first in range(0, len(mine), self._size_max):  # a ring takes at most what it holds at once
                part = mine[first : first + self._size_max]
                self._extend(tier, values[part], stamps[part])

    def _extend(self, index: int, values: Floats, stamps: npt.NDArray[np.int64]) -> None:
        n, width = values.shape
        ring = self._ring(index, width)
        ring.make_room(n, width)
        capacity = len(ring.values)
        overflow = max(ring.count + n - capacity, 0)
        first = (ring.start + ring.count) % capacity
        ring.start = (ring.start + overflow) % capacity
        ring.count += n - overflow
        self.evicted_by_count += overflow
        ahead = min(n, capacity - first)  # rows before the matrix wraps
        self._write(ring, first, values[:ahead], stamps[:ahead])
        if ahead < n:
            self._write(ring, 0, values[ahead:], stamps[ahead:])

    @staticmethod
    def _write(ring: _Ring, first: int, values: Floats, stamps: npt.NDArray[np.int64]) -> None:
        n, width = values.shape
        ring.stamps[first : first + n] = stamps
        if width == ring.values.shape[1]:
            ring.values[first : first + n] = values
        else:
            ring.values[first : first + n, :width] = values
            ring.values[first : first + n, width:] = np.nan

    def forget(self, kept_rows: int, keep_min: int) -> int:
        """Forget all but the latest `kept_rows` rows, but not the latest `keep_min` of a class; how many those were."""
        oldest, before = self._sequence - kept_rows + 1, self.forgotten
        for label in range(len(self.counts())):
            rings = self._of_class(label)
            numbers = self._numbers(rings)
            if len(numbers):
                border = min(oldest, int(numbers[-min(keep_min, len(numbers))]))
                self.forgotten += sum(ring.forget(border) for ring in rings)
        return self.forgotten - before

    def _shown(self, label: int, tier: int) -> _Ring | None:
        """The ring of a class and tier without the rows that are too old; None where there was never a row."""
        if not label:
            self._settle()
        index = label * len(TIERS) + tier
        ring = self._rings[index] if index < len(self._rings) else None
        if ring is not None and self._newest_us is not None:
            self.evicted_by_age += ring.expire(self._newest_us - self._age_us)
        return ring

    def size(self, label: int, tier: int | None = None) -> int:
        """Rows of a class, in one tier or in all."""
        if tier is not None:
            ring = self._shown(label, tier)
            return 0 if ring is None else ring.count
        return sum(self.size(label, each) for each in range(len(TIERS)))

    def counts(self) -> dict[int, tuple[int, ...]]:
        """Rows by class, then by tier."""
        self._settle()
        classes = (len(self._rings) + len(TIERS) - 1) // len(TIERS)
        return {label: tuple(self.size(label, tier) for tier in range(len(TIERS))) for label in range(classes)}

    def latest(self, label: int, tier: int | None, latest_max: int) -> Floats:
        """As `rows`, without a copy where that is possible: to be read at once, never written."""
        ring = None if tier is None else self._shown(label, tier)
        if ring is None:
            return self.rows(label, tier, latest_max)
        end = ring.start + ring.count
        if end > len(ring.values):
            return self.rows(label, tier, latest_max)
        return ring.values[max(ring.start, end - latest_max) : end]

    def rows(self, label: int, tier: int | None = None, latest_max: int | None = None) -> Floats:
        """A copy of the rows of a class, (n, d) oldest first; with `latest_max` only so many of the newest."""
        rings = [self._shown(label, each) for each in (range(len(TIERS)) if tier is None else (tier,))]
        parts = [(ring, ring.order()) for ring in rings if ring is not None and ring.count]
        if latest_max is not None:
            parts = [(ring, order[-latest_max:]) for ring, order in parts]
        if len(parts) == 1:
            ring, order = parts[0]
            return ring.values[order]
        return self._merged(parts, latest_max)[0]

    @staticmethod
    def _merged(
        parts: list[tuple[_Ring, npt.NDArray[np.intp]]], latest_max: int | None
    ) -> tuple[Floats, npt.NDArray[np.intp]]:
        """These rows of several rings in one matrix, oldest first; and their places in the parts put end to end."""
        width = max((ring.values.shape[1] for ring, _ in parts), default=0)
        rows = np.full((sum(len(order) for _, order in parts), width), np.nan)
        if not parts:
            return rows, np.zeros(0, dtype=np.intp)
        end = 0
        for ring, order in parts:
            rows[end : end + len(order), : ring.values.shape[1]] = ring.values.take(order, axis=0)
            end += len(order)
        numbers = np.concatenate([ring.stamps[order, 1] for ring, order in parts])
        by_age = numbers.argsort(kind="stable")  # of parts in order, which it merges
        if latest_max is not None:
            by_age = by_age[-latest_max:]
        return rows.take(by_age, axis=0), by_age

    @property
    def added(self) -> int:
        """Rows taken in since the start."""
        return self._sequence

    def recent(self, tier: int | None, latest_max: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """The newest rows of all classes together, (n, d) oldest first, and their classes, (n,); n <= latest_max.

        Classes have the shares of the stream as long as each still holds its rows of that stretch.
        """
        tiers = range(len(TIERS)) if tier is None else (tier,)
        classes = (max(len(self._rings), 1) + len(TIERS) - 1) // len(TIERS)
        shown = [(label, self._shown(label, each)) for label in range(classes) for each in tiers]
        known = [(label, ring) for label, ring in shown if ring is not None and ring.count]
        rows, places = self._merged([(ring, ring.order()[-latest_max:]) for _, ring in known], latest_max)
        labels = np.repeat([label for label, _ in known], [min(ring.count, latest_max) for _, ring in known])
        return rows, labels.astype(np.int64)[places]

    def numbered(self, label: int, latest_max: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """The newest rows of a class as `rows` gives them, and each row's number of arrival, (n,), for good its own."""
        rows = self.rows(label, None, latest_max)
        numbers = self._numbers(self._of_class(label))
        return rows, numbers[len(numbers) - len(rows) :]

    def _of_class(self, label: int) -> list[_Ring]:
        return [ring for tier in range(len(TIERS)) if (ring := self._shown(label, tier)) is not None]

    @staticmethod
    def _numbers(rings: list[_Ring]) -> npt.NDArray[np.int64]:
        """Of the rows of these rings together, in their order of arrival."""
        found = np.concatenate([np.zeros(0, np.int64), *(ring.stamps[ring.order(), 1] for ring in rings)])
        found.sort()
        return found

    def digest_state(self) -> object:
        """Each class and tier: its rows, oldest first, with their times; and the counters."""
        self._settle()
        shown = [
            [index, ring.values[order], ring.stamps[order]]
            for index, ring in enumerate(self._rings)
            if ring is not None
            for order in [ring.order()]
        ]
        return [
            self._sequence, self._newest_us, self.evicted_by_count, self.evicted_by_age, self.forgotten, shown
        ]  # fmt: skip
