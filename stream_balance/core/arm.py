"""Arm: one (model, strategy) pair behind its own calibrator. In: rows to score, matured examples. Out: scores, and
samples learned. Scores first, learns later; what it learns never reaches a metric.

Served probabilities refer to the real stream: a model that takes an offset learns under it and is served without; of
the others the decayed realised ratio is taken off the logit. What is left (interpolated rows bend p(x|y) too) the
calibrator learns on real, unsampled examples.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import numpy as np

from stream_balance.core.arms import SharedEncoder, make_model, share_encoder
from stream_balance.core.balance import make_strategy
from stream_balance.core.calibrate import BaseRate, Calibrator, RatioCorrection
from stream_balance.core.digest import Trail
from stream_balance.core.lineup import NONE, Pair
from stream_balance.core.odds import logits, unbend
from stream_balance.core.rates import Rates
from stream_balance.core.records import ORIGINS, TAIL, Arrivals, Columns, Floats, Samples, Values
from stream_balance.core.settings import CoreSettings
from stream_balance.core.window import Window

V = TypeVar("V", float, Floats)

TRAINED_DECAY = 0.999  # per sample: what "lately" means for the share of positives among the samples learned
# Once in so many rows it is noted how many samples had been learned; beyond the latest marks nobody remembers.
MARK_ROWS, MARKS_MAX = 128, 1_024


@dataclass(slots=True)
class Recent:
    """What all arms know of the stream: its class shares (those of each tier, if they are asked for) and its latest
    rows. They are the same for each.
    """

    rates: Rates
    window: Window
    tiers: list[Rates] = field(default_factory=list)
    base_rate: BaseRate | None = None  # what is served where a model abstains; None: each calibrator has its own

    def observe(self, arrivals: Arrivals, ts_us: int) -> None:
        """A matured search of that time, after every arm has learned it."""
        labels, tiers = arrivals.labels, arrivals.tiers
        self.rates.observe_many(labels)
        if self.base_rate is not None:
            self.base_rate.observe_all(labels)
        for tier, rates in enumerate(self.tiers):
            rates.observe_many([label for label, at in zip(labels, tiers, strict=True) if at == tier])
        self.window.add_many(arrivals.values, labels, tiers, ts_us)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Samples of a matured search, and what is counted of them."""

    samples: Samples
    by_class: list[int]
    learned: list[float]  # by class: as often, and as much, as each counts
    origins: list[int]

    @classmethod
    def of(cls, samples: Samples, classes: int) -> Drawn:
        """Counted."""
        labels, times, weights = samples.labels, samples.times, samples.weights
        by_class, origins = [0] * classes, [0] * len(ORIGINS)
        for label, origin, n in zip(labels, samples.origins, times, strict=True):
            by_class[label] += n
            origins[origin] += n
        learned: list[float] = list(by_class)
        if weights is not None:
            learned = [0.0] * classes
            for label, n, weight in zip(labels, times, weights, strict=True):
                learned[label] += n * weight
        return cls(samples, by_class, learned, origins)

    @classmethod
    def as_they_came(cls, arrivals: Arrivals, classes: int) -> Drawn:
        """Every row once: what all arms learn that nothing balances."""
        labels, n = list(arrivals.labels), len(arrivals)
        samples = Samples(
            arrivals.values, labels, bytes(n), [1] * n, [(0.0,) * (classes - 1)] * n, tiers=arrivals.tiers
        )
        by_class = [labels.count(label) for label in range(classes)]
        return cls(samples, by_class, list(by_class), [n, *[0] * (len(ORIGINS) - 1)])

    def seal(self) -> bytes:
        """For the trail."""
        samples = self.samples
        weights = b"" if samples.weights is None else array("d", samples.weights).tobytes()
        return samples.rows.tobytes() + samples.origins + array("q", samples.labels + samples.times).tobytes() + weights


class Arm:
    """Learns from balanced samples, says calibrated probabilities of classes 1..C-1; `version` counts the samples."""

    def __init__(  # what an arm is made of
        self, pair: Pair, settings: CoreSettings, classes: int, seed: int, rng: Random, recent: Recent,
        *, one_vs_rest: bool,
    ) -> None:  # fmt: skip
        self.pair = pair
        self.classes = classes
        self.model = make_model(pair.model, classes, seed, one_vs_rest=one_vs_rest)
        self._tail_only: bool = getattr(self.model, "tail_only", False)
        balance = settings.balance.model_copy(update={"strategy": pair.strategy})
        self.strategy = make_strategy(balance, recent.rates, recent.tiers, weighs=self.model.honours_weights)
        if settings.balance.target_share is not None:
            self.aim(settings.balance.target_share)
        self.balances = pair.strategy != NONE
        self.calibrator = Calibrator(settings.calibrate, classes, recent.base_rate)
        # Of each tier, where they are balanced apart; without balancing there is nothing to put right.
        parts = self.strategy.parts() if self.balances else ()
        self.ratios = [RatioCorrection(classes, each.ratio_outcomes) for each in parts]
        self.version = 0
        self.samples = dict.fromkeys(ORIGINS, 0)
        self.by_class = [0] * classes
        self._recent = recent
        self._trained = [0.0, 0.0]  # decayed samples: all, positive
        self._rng = rng
        self._marks: deque[tuple[int, int]] = deque(maxlen=MARKS_MAX)  # rows of the stream, samples learned by then

    @property
    def speaks_everywhere(self) -> bool:
        """Whether it is asked about rows of the head too."""
        return not self._tail_only

    # -- serving

    def look(self, values: Floats, tiers: bytes, columns: Columns) -> tuple[Values, Values]:
        """What the model says of n rows now (NaN: nothing), and what that means once calibrated, each (n, C-1); of an
        only row of two classes each is a float.
        """
        if self.classes == 2 and len(tiers) == 1 and (tiers[0] == TAIL or not self._tail_only):
            single = self._single_word(values, columns)
            return single, self.calibrator.apply(self._logits(single, tiers), tiers)
        raw = self._word_of_tail(values, tiers, columns) if self._tail_only else self._word(values, columns)
        if raw.size == 1 and self.classes == 2:  # not of the tail
            return math.nan, self.calibrator.apply(math.nan, tiers)
        return raw, self.calibrator.apply(self._logits(raw, tiers), tiers)

    def _single_word(self, values: Floats, columns: Columns) -> float:
        """Rows of a table come singly, and floats are several times as fast as arrays of one."""
        predict_single = getattr(self.model, "predict_single", None)
        found: float = self._word(values, columns).item() if predict_single is None else predict_single(values)
        return found

    def _word(self, values: Floats, columns: Columns) -> Floats:
        return self.model.predict(values, columns).probability

    def _word_of_tail(self, values: Floats, tiers: bytes, columns: Columns) -> Floats:
        found = np.full((len(tiers), self.classes - 1), np.nan)
        tail = np.flatnonzero(np.frombuffer(tiers, dtype=np.uint8) == TAIL)
        if len(tail):
            found[tail] = self._word(values[tail], columns)
        return found

    def _logits(self, raw: V, tiers: bytes) -> V:
        """Log odds of the real stream, (n, C-1); NaN where the model abstained."""
        if self.model.supports_offset or not self.ratios:
            return logits(raw)
        if len(self.ratios) == 1:
            return logits(unbend(raw, self.ratios[0].offset()))
        if isinstance(raw, float):
            return logits(unbend(raw, self.ratios[tiers[0]].offset()))
        offsets = np.array([each.offset() for each in self.ratios])
        return logits(unbend(raw, offsets[np.frombuffer(tiers, dtype=np.uint8)]))

    def _logits_of_singles(self, said: Floats, tiers: bytes) -> Floats:
        """The same from the model's log odds, each against the rest, as the panel keeps them."""
        return self._logits(1.0 / (1.0 + np.exp(-said)), tiers)

    def calibrated(self, said: Floats, tiers: bytes) -> Floats:
        """Served probabilities, (n, C-1), that the model's log odds of then, each against the rest, would have now."""
        return self.calibrator.apply(self._logits_of_singles(said, tiers), tiers)

    # -- learning

    def calibrate(self, raw: Floats, tiers: bytes, labels: Sequence[int], *, as_logits: bool = False) -> None:
        """What the model said when a search arrived, (n, C-1), and the labels it turned out to have."""
        self.calibrator.learn_many(raw, tiers, labels, self._logits_of_singles if as_logits else self._logits)

    def train(self, arrivals: Arrivals, columns: Columns, trail: Trail, drawn: Drawn | None = None) -> None:
        """Draw samples of a matured search, if they are not handed in, and learn them."""
        rows = self._recent.window.added
        if not self._marks or rows - self._marks[-1][0] >= MARK_ROWS:
            self._marks.append((rows, self.version))
        if drawn is None:
            samples = self.strategy.draw(arrivals, self._recent.window, columns, self._rng)
            drawn = None if samples is None else Drawn.of(samples, self.classes)
            if drawn is not None:
                trail.add_bytes(drawn.seal())
        if drawn is not None:
            self.model.learn(drawn.samples, columns)
            self._count(drawn)
        if self.balances:
            self._observe_ratios(arrivals, drawn)

    def _observe_ratios(self, arrivals: Arrivals, drawn: Drawn | None) -> None:
        """What was learned of each class, over what arrived."""
        labels, outcomes = arrivals.labels, range(self.classes)
        samples = None if drawn is None else drawn.samples
        if len(self.ratios) == 1:
            learned = [0.0] * self.classes if drawn is None else drawn.learned
            self.ratios[0].observe([labels.count(label) for label in outcomes], learned)
            return
        for tier, ratio in enumerate(self.ratios):
            mine = [label for label, at in zip(labels, arrivals.tiers, strict=True) if at == tier]
            counted = [0.0] * self.classes
            if samples is not None:
                weights = samples.weights or [1.0] * len(samples)
                for label, n, weight, at in zip(samples.labels, samples.times, weights, samples.tiers, strict=True):
                    counted[label] += n * weight if at == tier else 0.0
            ratio.observe([mine.count(label) for label in outcomes], counted)

    def aim(self, target: float) -> None:
        """From now on strategy and model aim at this share of the rare class."""
        self.strategy.aim(target)
        aim = getattr(self.model, "aim", None)
        if aim is not None:
            aim(target)

    def forget(self, kept_rows: int, keep_min: int) -> None:
        """The model forgets the samples from before the latest so many rows of the stream, a mark more or less."""
        forget = getattr(self.model, "forget", None)
        since = self._recent.window.added - kept_rows
        learned = next((version for rows, version in reversed(self._marks) if rows <= since), None)
        if forget is not None and learned is not None:
            forget(self.version - learned, keep_min)

    def _count(self, drawn: Drawn) -> None:
        for place, n in enumerate(drawn.origins):
            if n:
                self.samples[ORIGINS[place]] += n
        for label, n in enumerate(drawn.by_class):
            if n:
                self.by_class[label] += n
                self.version += n
        counted = sum(drawn.learned)
        keep = TRAINED_DECAY**counted
        self._trained[0] = self._trained[0] * keep + (1 - keep)
        self._trained[1] = self._trained[1] * keep + (1 - keep) * (counted - drawn.learned[0]) / counted

    # -- telling

    def positive_share(self) -> float | None:
        """Decayed share of outcomes among the samples learned lately; None before the first. Of a model that balances
        by itself, as it weighs or draws them.
        """
        if not self._trained[0]:
            return None
        own = self._own_share()
        return self._trained[1] / self._trained[0] if own is None else own

    def target_share(self) -> float:
        """What the share is aimed at, after clamps; by the model's own balancing, if it does any."""
        own = self._own_share()
        return self.strategy.target_share_after_clamps() if own is None else own

    def _own_share(self) -> float | None:
        aimed = getattr(self.model, "aimed_share", None)
        return None if aimed is None else aimed()

    def digest_state(self) -> object:
        """Every room's state, the counters and the random stream."""
        return [
            self.pair.name, self.model.digest_state(), self.strategy.digest_state(), self.calibrator.digest_state(),
            [ratio.digest_state() for ratio in self.ratios], self.version, self.samples, self.by_class, self._trained,
            list(self._rng.getstate()[1]), [list(mark) for mark in self._marks],
        ]  # fmt: skip


def share_encoding(arms: Sequence[Arm]) -> SharedEncoder | None:
    """One encoder for the models that learn every row as it is; see `share_encoder`."""
    return share_encoder(arm.model for arm in arms if arm.pair.strategy == NONE)
