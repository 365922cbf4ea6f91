"""Arm: one (model, strategy) pair behind its own calibrator. In: rows to score, matured examples. Out: scores, and
samples learned. Scores first, learns later; what it learns never reaches a metric.

Served probabilities refer to the real stream: a model that takes an offset learns under it and is served without; of
the others the decayed realised ratio is taken off the logit. What is left (interpolated rows bend p(x|y) too) the
calibrator learns on real, unsampled examples.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from stream_balance.core.arms import SharedEncoder, make_model, share_encoder
from stream_balance.core.balance import make_strategy
from stream_balance.core.calibrate import Calibrator, RatioCorrection, logits, unbend
from stream_balance.core.digest import Trail
from stream_balance.core.lineup import NONE, Pair
from stream_balance.core.rates import Rates
from stream_balance.core.records import ORIGINS, Arrivals, Columns, Examples, Floats, Samples
from stream_balance.core.settings import CoreSettings
from stream_balance.core.window import Window

TRAINED_DECAY = 0.999  # per sample: what "lately" means for the share of positives among the samples learned


@dataclass(slots=True)
class Recent:
    """What all arms know of the stream: its class shares and its latest rows. They are the same for each."""

    rates: Rates
    window: Window

    def observe(self, examples: Examples) -> None:
        """A matured search, after every arm has learned it."""
        self.rates.observe_many(examples.labels)
        scored = examples.scored
        self.window.add_many(scored.values, examples.labels, scored.tiers, scored.ts_us)


class Arm:
    """Learns from balanced samples, says calibrated probabilities of classes 1..C-1; `version` counts the samples."""

    def __init__(  # what an arm is made of
        self, pair: Pair, settings: CoreSettings, classes: int, seed: int, rng: Random, recent: Recent,
        *, one_vs_rest: bool,
    ) -> None:  # fmt: skip
        self.pair = pair
        self.classes = classes
        self.model = make_model(pair.model, classes, seed, one_vs_rest=one_vs_rest)
        balance = settings.balance.model_copy(update={"strategy": pair.strategy})
        self.strategy = make_strategy(balance, recent.rates, weighs=self.model.honours_weights)
        self.calibrator = Calibrator(settings.calibrate, classes)
        self.ratio = RatioCorrection(classes)
        self.version = 0
        self.samples = dict.fromkeys(ORIGINS, 0)
        self.by_class = [0] * classes
        self._recent = recent
        self._trained = [0.0, 0.0]  # decayed samples: all, positive
        self._rng = rng

    # -- serving

    def look(self, values: Floats, tiers: bytes, columns: Columns) -> tuple[Floats, Floats]:
        """What the model says of n rows now (NaN: nothing), and what that means once calibrated, each (n, C-1)."""
        raw = self.model.predict(values, columns).probability
        return raw, self.calibrator.apply(self._logits(raw), tiers)

    def _logits(self, raw: Floats) -> Floats:
        """Log odds of the real stream, (n, C-1); NaN where the model abstained."""
        return logits(raw if self.model.supports_offset else unbend(raw, self.ratio.offset()))

    def _logits_of_singles(self, said: Floats) -> Floats:
        """The same from the model's log odds, each against the rest, as the panel keeps them."""
        return self._logits(1.0 / (1.0 + np.exp(-said.astype(np.float64))))

    # -- learning

    def calibrate(self, raw: Floats, tiers: bytes, labels: Sequence[int], *, as_logits: bool = False) -> None:
        """What the model said when a search arrived, (n, C-1), and the labels it turned out to have."""
        self.calibrator.learn_many(raw, tiers, labels, self._logits_of_singles if as_logits else self._logits)

    def train(self, arrivals: Arrivals, columns: Columns, trail: Trail) -> None:
        """Draw samples of a matured search and learn them."""
        learned = [0.0] * self.classes
        samples = self.strategy.draw(arrivals, self._recent.window, columns, self._rng)
        if samples is not None:
            self.model.learn(samples, columns)
            self._count(samples, learned, trail)
        labels = arrivals.labels
        self.ratio.observe([labels.count(label) for label in range(self.classes)], learned)

    def _count(self, samples: Samples, learned: list[float], trail: Trail) -> None:
        origins, labels, times, weights = samples.origins, samples.labels, samples.times, samples.weights
        trail.add_bytes(samples.rows.tobytes() + origins + array("q", labels + times).tobytes())
        total = sum(times)
        if weights is not None:
            trail.add_bytes(array("d", weights).tobytes())
            for label, n, weight in zip(labels, times, weights, strict=True):
                learned[label] += n * weight
        if total == len(labels):
            by_class = [labels.count(label) for label in range(self.classes)]
            for place, origin in enumerate(ORIGINS):
                self.samples[origin] += origins.count(place)
        else:
            by_class = [0] * self.classes
            for label, place, n in zip(labels, origins, times, strict=True):
                by_class[label] += n
                self.samples[ORIGINS[place]] += n
        self.version += total
        for label, n in enumerate(by_class):
            self.by_class[label] += n
        if weights is None:
            learned[:] = by_class
        counted = sum(learned)
        keep = TRAINED_DECAY**counted
        self._trained[0] = self._trained[0] * keep + (1 - keep)
        self._trained[1] = self._trained[1] * keep + (1 - keep) * (counted - learned[0]) / counted

    # -- telling

    def positive_share(self) -> float | None:
        """Decayed share of outcomes among the samples learned lately; None before the first."""
        return self._trained[1] / self._trained[0] if self._trained[0] else None

    def target_share(self) -> float:
        """What the share is aimed at, after clamps."""
        return self.strategy.target_share_after_clamps()

    def digest_state(self) -> object:
        """Every room's state, the counters and the random stream."""
        return [
            self.pair.name, self.model.digest_state(), self.strategy.digest_state(), self.calibrator.digest_state(),
            self.ratio.digest_state(), self.version, self.samples, self.by_class, self._trained,
            list(self._rng.getstate()[1]),
        ]  # fmt: skip


def share_encoding(arms: Sequence[Arm]) -> SharedEncoder | None:
    """One encoder for the models that learn every row as it is; see `share_encoder`."""
    return share_encoder(arm.model for arm in arms if arm.pair.strategy == NONE)


def losses(probability: Floats, labels: Sequence[int]) -> Floats:
    """Natural log-loss of each row."""
    of_label = 1.0 - (probability[:, 0] if probability.shape[1] == 1 else probability.sum(axis=1))
    if any(labels):
        for i, label in enumerate(labels):
            if label:
                of_label[i] = probability[i, label - 1]
    found: Floats = -np.log(np.maximum(of_label, 1e-15))
    return found
