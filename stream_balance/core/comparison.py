"""Comparison: several answers to the same real rows, side by side. In: log odds, losses, labels. Out: figures, lifts.

Over a window of blocks of rows. The error of a difference is the jackknife's over those blocks (Künsch, "The jackknife
and the bootstrap for general stationary observations", 1989, with blocks that do not overlap): rows of one block may
depend on each other, and both answers are to the same rows. A row where an answer is missing (NaN) does not count for
it; a difference is over the rows with both.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt

from stream_balance.core.metrics_math import average_precision, roc_auc, score_bins
from stream_balance.core.records import Floats, RoomSettings

Bools = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]
BINS = 2_048  # of log odds: enough for .005 of an area
BLOCKS_MIN = 8  # with fewer blocks an error says nothing


class ComparisonSettings(RoomSettings):
    """How far back arms and references are compared."""

    block_rows: PositiveInt = 512
    blocks_max: int = Field(default=40, ge=BLOCKS_MIN)  # 4 bytes x 2 for each row and answer


@dataclass(frozen=True, slots=True)
class Figures:
    """One answer over a set of rows; None where it is undefined."""

    rows: int
    log_loss: float | None
    average_precision: float | None
    roc_auc: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one answer is than another, and the standard error of that; positive is better."""

    value: float | None
    error: float | None


@dataclass(frozen=True, slots=True)
class Lift:
    """One answer against another on the rows where both said something."""

    rows: int
    average_precision: Difference
    log_loss: Difference


@dataclass(slots=True)
class _Block:
    """Rows: `scores` (log odds of any outcome) and `losses`, (answers, n); `outcomes` and `tiers`, (n,)."""

    scores: Singles
    losses: Singles
    outcomes: Bools
    tiers: npt.NDArray[np.uint8]


class View:
    """The window at one moment, ready to be asked for figures."""

    def __init__(self, blocks: Sequence[_Block]) -> None:
        whole = _joined(blocks)
        self._losses = whole.losses.astype(np.float64)
        self._known = ~np.isnan(whole.scores)
        self._bins = score_bins(1.0 / (1.0 + np.exp(-np.nan_to_num(whole.scores.astype(np.float64)))), BINS)
        self._outcomes, self._tiers = whole.outcomes.astype(np.intp), whole.tiers
        self._block = np.repeat(np.arange(len(blocks)), [len(block.outcomes) for block in blocks])
        self._blocks = len(blocks)

    def figures(self, answer: int, tier: int | None = None) -> Figures:
        """Of one answer, in one tier or in all."""
        mine = self._known[answer] if tier is None else self._known[answer] & (self._tiers == tier)
        rows = int(mine.sum())
        misses, hits = self._counts(answer, mine).sum(axis=0)
        loss = float(self._losses[answer, mine].sum()) / rows if rows else None
        return Figures(rows, loss, average_precision(hits, misses), roc_auc(hits, misses))

    def lift(self, ours: int, theirs: int) -> Lift:
        """Of one answer over another."""
        both = self._known[ours] & self._known[theirs]
        n = int(both.sum())
        if not n:
            return Lift(0, Difference(None, None), Difference(None, None))
        by_block = np.stack((self._counts(ours, both), self._counts(theirs, both)), axis=1)
        whole = by_block.sum(axis=0)
        block = self._block[both]
        rows = np.bincount(block, minlength=self._blocks)
        gained = np.bincount(block, (self._losses[theirs] - self._losses[ours])[both], minlength=self._blocks)
        used = np.flatnonzero(rows)
        total = float(gained.sum())
        without = [(total - gained[b]) / (n - rows[b]) for b in used] if len(used) > 1 else []
        return Lift(
            n,
            Difference(
                _precision_gained(whole), jackknife_error([_precision_gained(whole - by_block[b]) for b in used])
            ),
            Difference(total / n, jackknife_error(without)),
        )

    def _counts(self, answer: int, mine: Bools) -> Floats:
        """Rows without an outcome and with one, by bin, (blocks, 2, bins)."""
        cell = (self._block[mine] * 2 + self._outcomes[mine]) * BINS + self._bins[answer, mine]
        counts = np.bincount(cell, minlength=self._blocks * 2 * BINS).astype(np.float64)
        return counts.reshape(self._blocks, 2, BINS)


class Comparison:
    """Keeps what `answers` answers said of the latest rows.

    >>> comparison = Comparison(ComparisonSettings(), answers=2)
    >>> comparison.add(np.array([[2.0, -2.0], [0.0, 0.0]]), np.full((2, 2), 0.5), [1, 0], bytes(2))
    >>> view = comparison.view()
    >>> [view.figures(answer).roc_auc for answer in (0, 1)], view.lift(0, 1).average_precision
    ([1.0, 0.5], Difference(value=0.5, error=None))
    """

    def __init__(self, settings: ComparisonSettings, answers: int) -> None:
        self.answers = answers
        self._block_rows = settings.block_rows
        self._blocks: deque[_Block] = deque(maxlen=settings.blocks_max)
        self._parts: list[_Block] = []  # the open block, search by search
        self._part_rows = 0

    def add(self, scores: Floats, losses: Floats, labels: Sequence[int] | npt.NDArray[np.intp], tiers: bytes) -> None:
        """Rows as they matured: log odds of any outcome and log-losses, each (answers, n)."""
        outcomes = np.asarray(labels) > 0
        places = np.frombuffer(tiers, dtype=np.uint8)
        self._parts.append(_Block(scores.astype(np.float32), losses.astype(np.float32), outcomes, places))
        self._part_rows += len(outcomes)
        if self._part_rows >= self._block_rows:
            self._blocks.append(_joined(self._parts))
            self._parts, self._part_rows = [], 0

    def copy(self) -> Comparison:
        """The same rows; what is added to one does not show in the other."""
        twin = Comparison.__new__(Comparison)
        twin.answers, twin._block_rows, twin._part_rows = self.answers, self._block_rows, self._part_rows
        twin._blocks, twin._parts = self._blocks.copy(), list(self._parts)
        return twin

    def _all(self) -> list[_Block]:
        return [*self._blocks, _joined(self._parts)] if self._parts else list(self._blocks)

    def view(self) -> View | None:
        """The window now; None while it is empty."""
        blocks = self._all()
        return View(blocks) if blocks else None

    def digest_state(self) -> object:
        """All rows of the window."""
        return [[block.scores, block.losses, block.outcomes, block.tiers] for block in self._all()]


def _joined(parts: Sequence[_Block]) -> _Block:
    return _Block(
        np.concatenate([part.scores for part in parts], axis=1),
        np.concatenate([part.losses for part in parts], axis=1),
        np.concatenate([part.outcomes for part in parts]),
        np.concatenate([part.tiers for part in parts]),
    )


def jackknife_error(without: Sequence[float | None]) -> float | None:
    """Standard error of a figure, from its values without each block in turn; None with too few of them.

    >>> jackknife_error([1.0] * 8), jackknife_error([1.0])
    (0.0, None)
    """
    known = np.array([value for value in without if value is not None])
    if len(known) < BLOCKS_MIN:
        return None
    return math.sqrt(float(((known - known.mean()) ** 2).sum()) * (len(known) - 1) / len(known))


def _precision_gained(counts: Floats) -> float | None:
    """Difference of average precision, from (answer, outcome or not, bin)."""
    ours, theirs = (average_precision(hits, misses) for misses, hits in counts)
    return None if ours is None or theirs is None else ours - theirs
