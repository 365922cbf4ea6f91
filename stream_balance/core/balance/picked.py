"""Picked: samples of one matured search, collected in order; the matrix is made once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream_balance.core.records import ORIGINS, Floats, Samples

OBSERVED, COPIED, INTERPOLATED, GENERATED = range(len(ORIGINS))


class Picked:
    """Collects samples of the arrivals `values`, (n, d), with their tiers, and of rows beside them."""

    def __init__(self, values: Floats, tiers: bytes) -> None:
        self._values = values
        self._tiers_of = tiers
        self._tiers = bytearray()
        self._new: list[Floats] = []
        self._next = len(values)
        self._places: list[int] = []
        self._labels: list[int] = []
        self._origins = bytearray()
        self._times: list[int] = []
        self._offsets: list[tuple[float, ...]] = []
        self._weights: list[float] = []  # from the first weight that is not 1 on

    def add(self, place: int, label: int, origin: int, times: int, offset: tuple[float, ...]) -> None:
        """The arrival at `place`, so many times."""
        self._places.append(place)
        self._tiers.append(self._tiers_of[place])
        self._labels.append(label)
        self._origins.append(origin)
        self._times.append(times)
        self._offsets.append(offset)

    def weigh(self, weight: float) -> None:
        """The sample that was added last counts so much."""
        self._weights += [1.0] * (len(self._places) - len(self._weights) - 1) + [weight]

    def add_new(
        self, rows: Floats, label: int, origin: int, offset: tuple[float, ...], times: Sequence[int] | None = None
    ) -> None:
        """Rows beside the arrival added last, each once unless `times` says more."""
        k = len(rows)
        self._tiers += self._tiers[-1:] * k
        self._new.append(rows)
        self._places += range(self._next, self._next + k)
        self._next += k
        self._labels += [label] * k
        self._origins += bytes([origin]) * k
        self._times += [1] * k if times is None else times
        self._offsets += [offset] * k

    def samples(self) -> Samples | None:
        """All of them in their order; None where nothing was added."""
        if not self._places:
            return None
        offered = np.concatenate((self._values, *self._new)) if self._new else self._values
        weights = self._weights and self._weights + [1.0] * (len(self._places) - len(self._weights))
        return Samples(
            offered.take(self._places, axis=0), self._labels, bytes(self._origins), self._times, self._offsets,
            weights or None, bytes(self._tiers),
        )  # fmt: skip
