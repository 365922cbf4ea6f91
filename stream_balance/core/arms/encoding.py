"""Encoding: rows of mixed columns as numbers near 1, for models that are sums. In: (n, d) rows. Out: (n, w) matrices.

A numeric column is one slot, standardised by decayed moments and clipped; absent is 0, and a column that was ever
absent gets a second slot that says so. A level of a nominal column is a slot that is 1 where the row has it; slots are
given to levels as they come, up to a bound, beyond which levels share.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Columns, Floats, fitted

DECAY = 0.9995  # per row: the moments follow a drift within some 2,000 rows
CLIP = 4.0  # standard deviations
LEVELS_MAX = 64  # slots of one nominal column
_TINY = 1e-24  # a variance below this (relative to the squared mean) is rounding

Ints = npt.NDArray[np.intp]


class Encoder:
    """Learns moments and slots from rows, encodes rows. `width` grows with columns and levels and never shrinks.

    >>> columns = Columns()
    >>> columns.add("price"), columns.add("brand", nominal=True)
    (0, 1)
    >>> encoder = Encoder()
    >>> rows = np.array([[1.0, 0.0], [3.0, 1.0]])
    >>> encoder.learn(rows, columns)
    >>> encoder.encode(rows).round(2).tolist()
    [[-1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """

    def __init__(self, decay: float = DECAY, clip: float = CLIP, levels_max: int = LEVELS_MAX) -> None:
        self.width = 0
        self._decay, self._clip, self._levels_max = decay, clip, levels_max
        self._known = 0  # columns
        self._numeric: Ints = np.zeros(0, dtype=np.intp)  # columns, and their slots
        self._slots: Ints = np.zeros(0, dtype=np.intp)
        self._flags: Ints = np.zeros(0, dtype=np.intp)  # by numeric column: the slot that says "absent", or -1
        self._levels: dict[int, Ints] = {}  # by nominal column: code -> slot, or -1
        self._given: dict[int, list[int]] = {}  # by nominal column: its slots
        self._count: Floats = np.zeros(0)  # decayed, by numeric column
        self._mean: Floats = np.zeros(0)
        self._variance: Floats = np.zeros(0)
        self._scale: Floats = np.zeros(0)  # 1 / standard deviation, 0 where there is none
        self._plain = True  # every slot is a numeric column's, in order

    # -- learning

    def learn(self, rows: Floats, columns: Columns) -> None:
        """Count n >= 1 rows, oldest first; give slots to what is new in them."""
        if rows.shape[1] > self._known:
            self._meet(rows.shape[1], columns)
        if self._levels:
            single = rows[0].tolist() if len(rows) == 1 else None
            for column, slots in self._levels.items():
                if column < rows.shape[1] and (single is None or not _has_slot(slots, single[column])):
                    self._meet_levels(column, slots, rows[:, column])
        numbers = rows if self._plain and rows.shape[1] == self._known else self._numbers(rows)
        if numbers.shape[1]:
            self._moments(numbers)

    def _meet(self, width: int, columns: Columns) -> None:
        fresh = range(self._known, width)
        numeric = [column for column in fresh if not columns.nominal[column]]
        for column in fresh:
            if columns.nominal[column]:
                self._levels[column], self._given[column] = np.full(1, -1, dtype=np.intp), []
        self._numeric = np.append(self._numeric, numeric).astype(np.intp)
        self._slots = np.append(self._slots, np.arange(self.width, self.width + len(numeric)))
        self._flags = np.append(self._flags, np.full(len(numeric), -1))
        self.width += len(numeric)
        zeros = np.zeros(len(numeric))
        self._count, self._mean = np.append(self._count, zeros), np.append(self._mean, zeros)
        self._variance, self._scale = np.append(self._variance, zeros), np.append(self._scale, zeros)
        self._known = width
        self._plain = len(self._numeric) == width == self.width

    def _meet_levels(self, column: int, slots: Ints, codes: Floats) -> None:
        present = codes[~np.isnan(codes)].astype(np.intp)
        if not len(present):
            return
        highest = int(present.max())
        if highest >= len(slots):
            slots = np.append(slots, np.full(max(highest + 1, 2 * len(slots)) - len(slots), -1))
            self._levels[column] = slots
        given = self._given[column]
        for code in present[slots[present] < 0].tolist():
            if slots[code] < 0:  # a code may be there twice
                if len(given) < self._levels_max:
                    given.append(self.width)
                    self.width += 1
                    slots[code] = given[-1]
                else:
                    slots[code] = given[code % len(given)]
        self._plain = False

    def _numbers(self, rows: Floats) -> Floats:
        rows = fitted(rows, self._known)
        return rows if len(self._numeric) == rows.shape[1] else rows[:, self._numeric]

    def _moments(self, numbers: Floats) -> None:
        """Decayed count, mean and variance, the rows' own moments joined to the ones before (Chan et al. 1979)."""
        n = len(numbers)
        if not math.isnan(np.add.reduce(numbers, axis=None)):
            self._join(numbers)
            return
        present = ~np.isnan(numbers)
        whole: npt.NDArray[np.bool_] = np.all(present, axis=0)
        if not whole.all():
            self._flag(~whole)
        weights = self._decay ** np.arange(n - 1, -1, -1.0)[:, None] * present
        count = weights.sum(axis=0)
        divisor = np.maximum(count, _TINY)
        reference = np.where(
            self._count > 0, self._mean, np.nan_to_num(numbers[present.argmax(axis=0), range(numbers.shape[1])])
        )
        moved = np.where(present, numbers - reference, 0.0)
        mean = (weights * moved).sum(axis=0) / divisor
        variance = (weights * (moved - mean) ** 2 * present).sum(axis=0) / divisor
        before = self._count * self._decay**n
        after = before + count
        share = np.where(after > 0, count / np.maximum(after, _TINY), 0.0)
        self._variance = self._variance * (1 - share) + variance * share + share * (1 - share) * mean**2
        self._mean = reference + share * mean
        self._count = after
        self._rescale()

    def _join(self, numbers: Floats) -> None:
        """The same for rows without absent values, in less time."""
        n, count = len(numbers), self._count
        if n and not np.minimum.reduce(count):
            self._mean[count == 0.0] = numbers[0, count == 0.0]
        moved = numbers - self._mean
        if n == 1:
            total, mean = 1.0, moved[0]
        else:
            weights = self._decay ** np.arange(n - 1, -1, -1.0)
            total = float(weights.sum())
            mean = weights @ moved / total
        count *= self._decay**n
        count += total
        share = total / count
        step = share * mean
        self._mean += step
        self._variance += mean * step
        self._variance *= 1.0 - share
        if n > 1:
            moved -= mean
            moved *= moved
            self._variance += share * (weights @ moved) / total
        self._rescale()

    def _rescale(self) -> None:
        least = self._mean * self._mean
        least += 1.0
        least *= _TINY
        usable = self._variance > least
        np.maximum(self._variance, least, out=least)
        self._scale = usable / np.sqrt(least, out=least)

    def _flag(self, absent: npt.NDArray[np.bool_]) -> None:
        for column in np.flatnonzero(absent & (self._flags < 0)).tolist():
            self._flags[column] = self.width
            self.width += 1
            self._plain = False

    # -- encoding

    def encode(self, rows: Floats) -> Floats:
        """(n, width) of n rows of any width; a level without a slot is as an absent one."""
        if self._plain and rows.shape[1] == self._known:
            scaled: Floats = rows - self._mean
            scaled *= self._scale
            np.maximum(scaled, -self._clip, out=scaled)
            np.minimum(scaled, self._clip, out=scaled)
            if math.isnan(np.vdot(scaled, scaled)):  # the quickest way to ask
                scaled[np.isnan(scaled)] = 0.0
            return scaled
        if len(rows) == 1:
            return self._encode_row(rows)
        numbers = self._numbers(rows[:, : self._known])
        encoded = np.zeros((len(rows), self.width))
        absent = np.isnan(numbers)
        scaled = np.clip((numbers - self._mean) * self._scale, -self._clip, self._clip)
        scaled[absent] = 0.0
        encoded[:, self._slots] = scaled
        flagged = self._flags >= 0
        if flagged.any():
            encoded[:, self._flags[flagged]] = absent[:, flagged]
        for column, slots in self._levels.items():
            if column < rows.shape[1]:
                codes = rows[:, column]
                known = codes < len(slots)
                at = slots[codes[known].astype(np.intp)]
                encoded[np.flatnonzero(known)[at >= 0], at[at >= 0]] = 1.0
        return encoded

    def _encode_row(self, rows: Floats) -> Floats:
        """The same of one row, (1, d), in a third of the time: levels are looked up one by one."""
        scaled = self._numbers(rows[:, : self._known])[0] - self._mean
        scaled *= self._scale
        np.minimum(np.maximum(scaled, -self._clip, out=scaled), self._clip, out=scaled)
        encoded = np.zeros((1, self.width))
        row = encoded[0]
        if math.isnan(np.add.reduce(scaled)):
            absent = np.isnan(scaled)
            scaled[absent] = 0.0
            row[self._flags[absent & (self._flags >= 0)]] = 1.0
        row[self._slots] = scaled
        single = rows[0].tolist()
        for column, slots in self._levels.items():
            if column < len(single) and _has_slot(slots, single[column]):
                row[slots[int(single[column])]] = 1.0
        return encoded

    def digest_state(self) -> object:
        """Moments and slots."""
        levels = [[column, slots] for column, slots in sorted(self._levels.items())]
        return [self.width, self._count, self._mean, self._variance, self._slots, self._flags, levels]


def _has_slot(slots: Ints, code: float) -> bool:
    """Whether a level, NaN for none, has one."""
    return code < len(slots) and slots.item(int(code)) >= 0


class SharedEncoder(Encoder):
    """One encoder of several models that learn the same rows: the matrix at hand is learned and encoded once for all.

    A matrix is told by its identity, so nobody may change one that was handed in or out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._forget()

    def _forget(self) -> None:
        self._learned: Floats | None = None
        self._read: tuple[Floats, Floats] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_learned", "_read")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def learn(self, rows: Floats, columns: Columns) -> None:
        """The first model that learns these rows teaches them."""
        if rows is not self._learned:
            self._read = None
            super().learn(rows, columns)
            self._learned = rows

    def encode(self, rows: Floats) -> Floats:
        """The same matrix for each model that asks."""
        if self._read is None or self._read[0] is not rows:
            self._read = rows, super().encode(rows)
        return self._read[1]
