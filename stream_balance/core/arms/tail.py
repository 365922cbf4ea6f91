"""Tail: the default arms once more, with as much to learn from rare items as from popular ones. In: as the arms.

Weighting the tail up in one model trades the head for it, so the tail has models of its own, and the weights of the
mixture, which are kept by tier, say what they count there; of the head they say nothing. Whether a row counts for more
does not hang on its label, so what they say needs no correction: p(y | x) of a tier is the same however many of its
rows there are.
"""

from __future__ import annotations

from typing import ClassVar

from stream_balance.core.arms.linear import Linear
from stream_balance.core.arms.replay_mlp import MADE, ReplayMLP
from stream_balance.core.arms.shares import DecayedShares
from stream_balance.core.records import HEAD, TAIL, TIERS, Columns, Samples

TAIL_SHARE_MIN = 0.02  # below it the head still counts as much as a tail of this share would


class TailLinear(Linear):
    """`Linear` with head rows that count so much less that both tiers count alike."""

    tail_only: bool = True

    def __init__(self, classes: int = 2) -> None:
        super().__init__(classes)
        self._tier_shares = DecayedShares(len(TIERS))
        self._factor = 1.0  # of the row at hand
        self._has_tail = False  # until a row of it comes there is nothing to be balanced

    def learn_rows(self, samples: Samples, columns: Columns) -> None:
        """A gradient step for each row; a row of the commoner tier is a smaller one."""
        encoded, labels = self._encoded(samples.rows, columns), samples.labels
        step = self._step_binary if self.classes == 2 else self._step
        for row, label, offset, tier in zip(encoded, labels, samples.offsets, _tiers(samples), strict=True):
            self._tier_shares.observe(tier)
            self._has_tail = self._has_tail or tier == TAIL
            if self._has_tail:
                head, tail = self._tier_shares.values()
                rare = max(tail, TAIL_SHARE_MIN)
                self._factor = min(rare / head, 1.0) if tier == HEAD else min(head / rare, 1.0)
            step(row, label, offset)
            self._learned_one(label, offset, self._factor)
        self._factor = 1.0

    def _importance(self) -> list[float]:
        """By class, of the row at hand: the tier's factor is the same for all, so that the offset stays."""
        return [each * self._factor for each in super()._importance()]

    def digest_state(self) -> object:
        """The base's and the tiers' shares."""
        return [super().digest_state(), self._tier_shares.values(), self._has_tail]


class TailReplayMLP(ReplayMLP):
    """`ReplayMLP` with stratified batches: of the observed rows of each class half are of the tail."""

    kinds: ClassVar[int] = 3  # observed in the head, made, observed in the tail
    tail_only: bool = True

    def __init__(self, classes: int = 2, seed: int = 0, *, networks: int = 1) -> None:
        super().__init__(classes, seed, networks=networks)

    def _rings(self, samples: Samples) -> list[int]:
        rows = zip(samples.labels, samples.origins, _tiers(samples), strict=True)
        return [label + self.classes * (MADE if artificial else 2 * (at == TAIL)) for label, artificial, at in rows]

    def _observed(self, label: int, rows: int) -> dict[int, int]:
        head, tail = label, label + 2 * self.classes
        if not self._added[tail]:
            return {head: rows}
        if not self._added[head]:
            return {tail: rows}
        return {head: rows // 2, tail: rows - rows // 2}


def _tiers(samples: Samples) -> bytes:
    return samples.tiers or bytes([HEAD]) * len(samples)
