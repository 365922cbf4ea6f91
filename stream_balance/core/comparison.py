"""Comparison: several answers to the same real rows, side by side. In: log odds, losses, labels. Out: figures, lifts.

Over a window of blocks of rows. The error of a difference is the jackknife's over those blocks (Künsch, "The jackknife
and the bootstrap for general stationary observations", 1989, with blocks that do not overlap): rows of one block may
depend on each other, and both answers are to the same rows. A row where an answer is missing (NaN) does not count for
it; a difference is over the rows with both.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt

from stream_balance.core.arm_report import ArmScope, Difference, Lift
from stream_balance.core.metrics_math import average_precision, ranking_figures, roc_auc, score_bins
from stream_balance.core.records import Floats, RoomSettings

Objective = Literal["average_precision", "log_loss", "gmean", "ndcg_at_10"]
Bools = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]
BINS = 2_048  # of log odds: enough for .005 of an area
RANKS = 10  # of a ranking that count
BLOCKS_MIN = 8  # with fewer blocks an error says nothing


class ComparisonSettings(RoomSettings):
    """How far back arms and references are compared."""

    block_rows: PositiveInt = 512
    blocks_max: int = Field(default=40, ge=BLOCKS_MIN)  # 4 bytes x 2 for each row and answer


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of whole searches: log odds of any outcome and log-losses, (answers, n); labels, tiers and the number of the
    search, which grows, (n,).
    """

    scores: Floats
    losses: Floats
    labels: npt.NDArray[np.intp]
    tiers: bytes
    searches: npt.NDArray[np.int64]

    def taken(self, answers: Sequence[int], rows: Bools) -> Rows:
        """Some of the answers to some of the rows."""
        places = np.frombuffer(self.tiers, dtype=np.uint8)[rows].tobytes()
        scores, losses = self.scores[list(answers)][:, rows], self.losses[list(answers)][:, rows]
        return Rows(scores, losses, self.labels[rows], places, self.searches[rows])


@dataclass(slots=True)
class _Block:
    """As `Rows`, in single precision."""

    scores: Singles
    losses: Singles
    outcomes: Bools
    tiers: npt.NDArray[np.uint8]
    searches: npt.NDArray[np.int64]


class View:
    """The window at one moment, ready to be asked for figures."""

    def __init__(self, blocks: Sequence[_Block], between: Callable[[], None] = lambda: None) -> None:
        whole = _joined(blocks)
        between()
        self._losses = whole.losses.astype(np.float64)
        self._known = ~np.isnan(whole.scores)
        self._bins = np.empty(whole.scores.shape, dtype=np.intp)
        for answer, scores in enumerate(whole.scores):
            between()
            probability = 1.0 / (1.0 + np.exp(-np.nan_to_num(scores.astype(np.float64))))
            self._bins[answer] = score_bins(probability, BINS)
        self._scores, self._searches = whole.scores, whole.searches
        self._outcomes, self._tiers = whole.outcomes.astype(np.intp), whole.tiers
        self._block = np.repeat(np.arange(len(blocks)), [len(block.outcomes) for block in blocks])
        self._blocks = len(blocks)

    def figures(self, answer: int, tier: int | None = None) -> ArmScope:
        """Of one answer, in one tier or in all."""
        mine = self._known[answer] if tier is None else self._known[answer] & (self._tiers == tier)
        rows = int(mine.sum())
        misses, hits = self._counts(answer, mine).sum(axis=0)
        loss = float(self._losses[answer, mine].sum()) / rows if rows else None
        precision, area = average_precision(hits, misses), roc_auc(hits, misses)
        return ArmScope(rows=rows, log_loss=loss, average_precision=precision, roc_auc=area)

    def lift(self, ours: int, theirs: int, between: Callable[[], None] = lambda: None) -> Lift:
        """Of one answer over another; `between` is called after each piece of the work."""
        rows = int((self._known[ours] & self._known[theirs]).sum())
        precision = self.gain(ours, theirs, "average_precision", between)
        loss = self.gain(ours, theirs, "log_loss", between)
        return Lift(rows=rows, average_precision=precision, log_loss=loss)

    def gain(
        self, ours: int, theirs: int, objective: Objective, between: Callable[[], None] = lambda: None
    ) -> Difference:
        """How much better one answer is than another by an objective, on the rows with both.

        `between` is called for each block that is left out once.
        """
        both = self._known[ours] & self._known[theirs]
        sums_of, figure = _OBJECTIVES[objective]
        sums = sums_of(self, (ours, theirs), both)
        filled = np.bincount(self._block[both], minlength=self._blocks)
        whole = sums.sum(axis=0)
        without = []
        for b in np.flatnonzero(filled):
            between()
            without.append(figure(whole - sums[b]))
        return Difference(value=figure(whole), error=jackknife_error(without))

    def _losses_by_block(self, pair: tuple[int, int], both: Bools) -> Floats:
        """Log-loss saved, and rows."""
        gained = (self._losses[pair[1]] - self._losses[pair[0]])[both]
        return self._by_block(gained, self._block[both])

    def _precision_by_block(self, pair: tuple[int, int], both: Bools) -> Floats:
        return np.stack([self._counts(answer, both) for answer in pair], axis=1)

    def _decisions_by_block(self, pair: tuple[int, int], both: Bools) -> Floats:
        """Rows by (block, answer, outcome or not, decided or not); decided at the rate of the window."""
        rate = float(self._outcomes[both].mean()) if both.any() else 0.5
        border = math.log(max(rate, 1e-9) / max(1.0 - rate, 1e-9))
        tables = []
        for answer in pair:
            cell = (self._block[both] * 2 + self._outcomes[both]) * 2 + (self._scores[answer, both] >= border)
            tables.append(np.bincount(cell, minlength=self._blocks * 4).reshape(self._blocks, 2, 2))
        return np.stack(tables, axis=1).astype(np.float64)

    def _rankings_by_block(self, pair: tuple[int, int], both: Bools) -> Floats:
        """nDCG gained over searches with an outcome and a choice, and how many they are."""
        gained, blocks = [], []
        rows = np.flatnonzero(both)
        for search in np.split(rows, np.flatnonzero(np.diff(self._searches[rows])) + 1):
            bought = np.flatnonzero(self._outcomes[search]).tolist()
            if len(search) < 2 or not bought:
                continue
            ours, theirs = (ranking_figures(self._scores[answer, search].tolist(), bought, RANKS)[1] for answer in pair)
            gained.append(ours - theirs)
            blocks.append(int(self._block[search[0]]))
        return self._by_block(np.array(gained), np.array(blocks, dtype=np.intp))

    def _by_block(self, values: Floats, block: npt.NDArray[np.intp]) -> Floats:
        sums = np.bincount(block, values, minlength=self._blocks)
        return np.stack([sums, np.bincount(block, minlength=self._blocks)], axis=1)

    def _counts(self, answer: int, mine: Bools) -> Floats:
        """Rows without an outcome and with one, by bin, (blocks, 2, bins)."""
        cell = (self._block[mine] * 2 + self._outcomes[mine]) * BINS + self._bins[answer, mine]
        counts = np.bincount(cell, minlength=self._blocks * 2 * BINS).astype(np.float64)
        return counts.reshape(self._blocks, 2, BINS)


class Comparison:
    """Keeps what `answers` answers said of the latest rows.

    >>> comparison = Comparison(ComparisonSettings(), answers=2)
    >>> odds, losses = np.array([[2.0, -2.0], [0.0, 0.0]]), np.full((2, 2), 0.5)
    >>> comparison.add(Rows(odds, losses, np.array([1, 0]), bytes(2), np.zeros(2, dtype=np.int64)))
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
        self.blocks_filled = 0  # since the start

    def add(self, rows: Rows) -> None:
        """Rows as they matured, whole searches."""
        self._parts.append(_Block(
            rows.scores.astype(np.float32), rows.losses.astype(np.float32), rows.labels > 0,
            np.frombuffer(rows.tiers, dtype=np.uint8), rows.searches,
        ))  # fmt: skip
        outcomes = rows.labels
        self._part_rows += len(outcomes)
        if self._part_rows >= self._block_rows:
            self._blocks.append(_joined(self._parts))
            self._parts, self._part_rows = [], 0
            self.blocks_filled += 1

    def copy(self) -> Comparison:
        """The same rows; what is added to one does not show in the other."""
        twin = Comparison.__new__(Comparison)
        twin.answers, twin._block_rows, twin._part_rows = self.answers, self._block_rows, self._part_rows
        twin.blocks_filled = self.blocks_filled
        twin._blocks, twin._parts = self._blocks.copy(), list(self._parts)
        return twin

    def _all(self) -> list[_Block]:
        return [*self._blocks, _joined(self._parts)] if self._parts else list(self._blocks)

    def view(self, between: Callable[[], None] = lambda: None) -> View | None:
        """The window now; None while it is empty. `between` is called after each piece of the work."""
        blocks = self._all()
        return View(blocks, between) if blocks else None

    def digest_state(self) -> object:
        """All rows of the window."""
        return [[block.scores, block.losses, block.outcomes, block.tiers, block.searches] for block in self._all()]


def _joined(parts: Sequence[_Block]) -> _Block:
    return _Block(
        np.concatenate([part.scores for part in parts], axis=1),
        np.concatenate([part.losses for part in parts], axis=1),
        np.concatenate([part.outcomes for part in parts]),
        np.concatenate([part.tiers for part in parts]),
        np.concatenate([part.searches for part in parts]),
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


def _gmean_gained(tables: Floats) -> float | None:
    """Of the geometric mean of recall and specificity, from (answer, outcome or not, decided or not)."""
    of_class = tables.sum(axis=2)
    if not of_class.all():
        return None
    ours, theirs = np.sqrt(tables[:, 1, 1] / of_class[:, 1] * tables[:, 0, 0] / of_class[:, 0])
    return float(ours - theirs)


def _mean(sums: Floats) -> float | None:
    return float(sums[0] / sums[1]) if sums[1] > 0 else None


# By objective: sums by block of rows, and the figure that they make.
_OBJECTIVES: dict[Objective, tuple[Callable[[View, tuple[int, int], Bools], Floats], Callable[[Floats], float | None]]]
_OBJECTIVES = {
    "average_precision": (View._precision_by_block, _precision_gained),
    "log_loss": (View._losses_by_block, _mean),
    "gmean": (View._decisions_by_block, _gmean_gained),
    "ndcg_at_10": (View._rankings_by_block, _mean),
}
