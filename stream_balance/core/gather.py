"""Gather: samples that come singly, put together, so that a model learns them as one matrix. In and out: samples."""

from __future__ import annotations

import numpy as np

from stream_balance.core.records import HEAD, Samples, fitted


class Gather:
    """Samples that wait, in their order; as long as its owner lets them.

    >>> gather = Gather()
    >>> gather.add(Samples.of(np.array([1.0]), 0)); gather.add(Samples.of(np.array([2.0, 3.0]), 1))
    >>> gather.taken().rows.tolist(), len(gather)
    ([[1.0, nan], [2.0, 3.0]], 0)
    """

    def __init__(self) -> None:
        self._waiting: list[Samples] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, samples: Samples) -> None:
        """These come after those that wait."""
        self._waiting.append(samples)
        self._rows += len(samples)

    def taken(self) -> Samples:
        """All that wait, at least one, end to end, in rows as wide as the widest; none waits any more."""
        waiting, self._waiting, self._rows = self._waiting, [], 0
        return waiting[0] if len(waiting) == 1 else _joined(waiting)

    def digest_state(self) -> object:
        """What waits."""
        return [[each.rows, each.labels, each.origins, each.times] for each in self._waiting]


def _joined(several: list[Samples]) -> Samples:
    width = max(each.rows.shape[1] for each in several)
    weights, tiers = None, b""
    if any(each.weights is not None for each in several):
        weights = [w for each in several for w in each.weights or [1.0] * len(each)]
    if any(each.tiers for each in several):
        tiers = b"".join([each.tiers or bytes([HEAD]) * len(each) for each in several])
    return Samples(
        np.concatenate([fitted(each.rows, width) for each in several]),
        [label for each in several for label in each.labels],
        b"".join([each.origins for each in several]),
        [times for each in several for times in each.times],
        [offset for each in several for offset in each.offsets],
        weights,
        tiers,
    )
