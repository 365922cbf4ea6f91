"""Said: what each member of a panel said of a search, as it is kept with it. In: probabilities. Out: float32 bytes, and
log odds back. `Scored.said` is (rows, n, C-1): each member's own log odds (a class against the rest), then each one's
calibrated log odds (a class against class 0) and those of the reference `none`, if it is a mixture.

The word of an only arm stands in the search's block, at full precision, and is not kept twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt

from stream_balance.core.odds import LOGIT_MAX, logits, probability_of_one
from stream_balance.core.records import Floats, Scored, Values

Singles = npt.NDArray[np.float32]
V = TypeVar("V", float, Floats)
_LOWEST = 1e-15


@overload
def odds_of(probability: float) -> float: ...
@overload
def odds_of(probability: Floats) -> Floats: ...
def odds_of(probability: float | Floats) -> float | Floats:
    """Log odds of classes 1..C-1 against class 0, (n, C-1), of their probabilities.

    >>> odds_of(np.array([[0.5], [0.0]])).round(1).tolist(), odds_of(0.5)
    ([[0.0], [-34.5]], 0.0)
    """
    if isinstance(probability, float):
        rest = 1.0 - probability
        if probability < _LOWEST or rest < _LOWEST:
            return math.log(max(probability, _LOWEST) / max(rest, _LOWEST))
        return math.log(probability / rest)
    rest = np.maximum(1.0 - probability.sum(axis=-1, keepdims=True), _LOWEST)
    found: Floats = np.log(np.maximum(probability, _LOWEST) / rest)
    return found


@overload
def probability_of(odds: float) -> float: ...
@overload
def probability_of(odds: Floats) -> Floats: ...
def probability_of(odds: float | Floats) -> float | Floats:
    """The way back; NaN stays NaN."""
    if isinstance(odds, float):
        return probability_of_one(odds)
    top = np.maximum(odds.max(axis=-1, keepdims=True), 0.0)
    raised = np.exp(odds - top)
    found: Floats = raised / (np.exp(-top) + raised.sum(axis=-1, keepdims=True))
    return found


def calibrated_odds(raw: Sequence[V], calibrated: Sequence[V]) -> list[V]:
    """Log odds, (n, C-1) each, of several calibrated probabilities; NaN where the own word is, so nothing was said."""
    return [
        (odds_of(probability) if word == word else math.nan)  # noqa: PLR0124  # not NaN
        if isinstance(word, float)
        else np.where(np.isnan(word), np.nan, odds_of(probability))
        for word, probability in zip(raw, calibrated, strict=True)
    ]


@overload
def against_rest(odds: float) -> float: ...
@overload
def against_rest(odds: Floats) -> Floats: ...
def against_rest(odds: float | Floats) -> float | Floats:
    """Log odds of each class against the rest, clipped to +-16, of those against class 0, (n, C-1); NaN stays NaN.

    >>> against_rest(np.array([[0.0, 0.0]])).round(3).tolist(), against_rest(0.5)
    ([[-0.693, -0.693]], 0.5)
    """
    if isinstance(odds, float):
        return LOGIT_MAX if odds > LOGIT_MAX else -LOGIT_MAX if odds < -LOGIT_MAX else odds
    return logits(probability_of(odds))


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


def losses_at(probability: Values, labels: Sequence[int]) -> list[float]:
    """Natural log-loss of each row, of served probabilities, (n, C-1)."""
    if isinstance(probability, float):
        return [-math.log(max(probability if labels[0] else 1.0 - probability, _LOWEST))]
    if probability.size == 1:
        return losses_at(probability.item(), labels)
    of_label = 1.0 - (probability[:, 0] if probability.shape[1] == 1 else probability.sum(axis=1))
    if any(labels):
        for i, label in enumerate(labels):
            if label:
                of_label[i] = probability[i, label - 1]
    found: list[float] = (-np.log(np.maximum(of_label, _LOWEST))).tolist()
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

    def kept(self, words: Sequence[Values], odds: Sequence[Values], none: Sequence[Values]) -> bytes:
        """Own log odds by member, each against the rest, (n, C-1) each; their calibrated ones; those of `none`, if it
        mixes. All are floats, or all are arrays.
        """
        parts = [*words[self.first :], *odds[self.first :], *none]
        if parts and isinstance(parts[0], float):
            return pack(f"{len(parts)}f", *parts)
        return np.array(parts, dtype=np.float32).tobytes() if parts else b""

    def again(self, scored: Scored, raw: Sequence[Values]) -> Scored:
        """With these own probabilities by member, (n, C-1) each, in the place of what was said then; where one is NaN,
        what was said then.
        """
        shape = len(scored), self.classes - 1
        own = scored.raw
        if self.alone:
            now = np.reshape(raw[0], shape)
            own = np.where(np.isnan(now), own, now)
        if not scored.said:
            return scored.saying(own, b"")
        table = np.frombuffer(scored.said, np.float32).reshape(-1, *shape).copy()
        words = np.array([logits(np.reshape(each, shape)) for each in raw[self.first :]])
        kept = table[: len(words)]
        kept[:] = np.where(np.isnan(words), kept, words)
        return scored.saying(own, table.tobytes())

    def read(self, several: Sequence[Scored]) -> Said:
        """What was said of searches, end to end."""
        tables = [np.frombuffer(each.said, np.float32).reshape(-1, len(each), self.classes - 1) for each in several]
        table = np.concatenate(tables, axis=1) if len(tables) > 1 else tables[0]
        kept, own = self.members - self.first, None
        odds = table[kept:].astype(np.float64)
        if self.alone:
            own = np.concatenate([each.raw for each in several])
            served = odds_of(np.concatenate([each.probability for each in several]))
            odds = np.concatenate([np.where(np.isnan(own), np.nan, served)[None], odds])
        return Said(own, table[:kept], odds)


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of n rows: own probabilities of an only arm, (n, C-1); the other members' own log odds, (members
    kept, n, C-1); calibrated log odds of all, then of `none` if it mixes, (members, n, C-1). NaN: nothing was said.
    """

    alone: Floats | None
    words: Singles
    odds: Floats
