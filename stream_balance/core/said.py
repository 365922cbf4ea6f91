"""Said: what each member of a panel said of a search, as it is kept with it. In: probabilities. Out: float32 bytes, and
log odds back. `Scored.said` is (rows, n, C-1): each member's own log odds (a class against the rest), each one's
calibrated log odds (a class against class 0) and those of the reference `none`, if it is a mixture; then what the
mixtures said before the last calibration, that of the arms (if there are several) and that of `none`.

The word of an only arm stands in the search's block, at full precision, and is not kept twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_balance.core.calibrate import logits, probability_of_one
from stream_balance.core.records import Floats, Scored

Singles = npt.NDArray[np.float32]
_LOWEST = 1e-15


def odds_of(probability: Floats) -> Floats:
    """Log odds of classes 1..C-1 against class 0, (n, C-1), of their probabilities.

    >>> odds_of(np.array([[0.5], [0.0]])).round(1).tolist()
    [[0.0], [-34.5]]
    """
    if probability.size == 1:  # rows of a table come singly, and floats are several times as fast as arrays of one
        p = probability.item()
        return np.array(math.log(max(p, _LOWEST) / max(1.0 - p, _LOWEST)), ndmin=probability.ndim)
    rest = np.maximum(1.0 - probability.sum(axis=-1, keepdims=True), _LOWEST)
    found: Floats = np.log(np.maximum(probability, _LOWEST) / rest)
    return found


def probability_of(odds: Floats) -> Floats:
    """The way back; NaN stays NaN."""
    if odds.size == 1:
        return np.array(probability_of_one(odds.item()), ndmin=odds.ndim)
    top = np.maximum(odds.max(axis=-1, keepdims=True), 0.0)
    raised = np.exp(odds - top)
    found: Floats = raised / (np.exp(-top) + raised.sum(axis=-1, keepdims=True))
    return found


def any_outcome(odds: Floats) -> Floats:
    """Log odds of any outcome at all, (..., n), of (..., n, C-1)."""
    if odds.shape[-1] == 1:
        return odds[..., 0]
    top = odds.max(axis=-1)
    found: Floats = top + np.log(np.exp(odds - top[..., None]).sum(axis=-1))
    return found


def losses_of(odds: Floats, labels: npt.NDArray[np.intp]) -> Floats:
    """Natural log-loss, (..., n), of log odds (..., n, C-1); NaN stays NaN.

    >>> losses_of(np.zeros((1, 2, 1)), np.array([0, 1])).round(4).tolist()
    [[0.6931, 0.6931]]
    """
    if odds.shape[-1] == 1:
        with np.errstate(invalid="ignore"):
            single: Floats = np.logaddexp(0.0, odds[..., 0]) - np.where(labels > 0, odds[..., 0], 0.0)
        return single
    of_label = np.concatenate([np.zeros_like(odds[..., :1]), odds], axis=-1)
    of_label = np.take_along_axis(of_label, np.broadcast_to(labels[:, None], (*odds.shape[:-1], 1)), axis=-1)[..., 0]
    with np.errstate(invalid="ignore"):  # NaN where nothing was said
        found: Floats = np.logaddexp(0.0, any_outcome(odds)) - of_label
    return found


def losses_at(probability: Floats, labels: Sequence[int]) -> Floats:
    """Natural log-loss, (n,), of served probabilities, (n, C-1)."""
    of_label = 1.0 - (probability[:, 0] if probability.shape[1] == 1 else probability.sum(axis=1))
    if any(labels):
        for i, label in enumerate(labels):
            if label:
                of_label[i] = probability[i, label - 1]
    found: Floats = -np.log(np.maximum(of_label, 1e-15))
    return found


@dataclass(frozen=True, slots=True)
class Layout:
    """Who is kept: of `members` members all, or all but the first if it is the only arm."""

    members: int
    classes: int
    alone: bool
    none_mixes: bool

    @property
    def first(self) -> int:
        """Place of the first member that is kept."""
        return 1 if self.alone else 0

    def kept(self, words: Sequence[Floats | None], odds: Floats, mixtures: Sequence[Floats]) -> bytes:
        """Own probabilities by member, (n, C-1) or None; calibrated log odds, (members, n, C-1); the mixtures', from
        the calibrated ones of `none` on.
        """
        shape = odds.shape[1:]
        parts = [np.full(shape, np.nan) if each is None else logits(each) for each in words[self.first :]]
        parts += [*odds[self.first :], *mixtures]
        return np.array(parts, dtype=np.float32).tobytes() if parts else b""

    def words(self, scored: Scored) -> Singles:
        """Own log odds of the members that are kept, (members kept, n, C-1)."""
        return self._table(scored)[: self.members - self.first]

    def mixtures(self, scored: Scored) -> Singles:
        """Log odds before the last calibration: of the arms if there are several, of `none` if it mixes. None of a
        search that was scored before there was a last calibration, and came with a checkpoint.
        """
        return self._table(scored)[2 * (self.members - self.first) + self.none_mixes :]

    def odds(self, scored: Scored) -> Floats:
        """Calibrated log odds of all, (members, n, C-1), then of `none` if it mixes; NaN: nothing was said."""
        kept = self.members - self.first
        table = self._table(scored)[kept : 2 * kept + self.none_mixes].astype(np.float64)
        if not self.alone:
            return table
        own = np.where(np.isnan(scored.raw), np.nan, odds_of(scored.probability))
        return np.concatenate([own[None], table])

    def _table(self, scored: Scored) -> Singles:
        return np.frombuffer(scored.said, dtype=np.float32).reshape(-1, len(scored), self.classes - 1)
