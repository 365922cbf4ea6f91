"""Arm: one (model, strategy) pair behind its own calibrator and threshold. In: rows to score, matured examples. Out:
scores, and samples learned. Scores first, learns later; what it learns never reaches a metric.

Served probabilities refer to the real stream: a model that takes an offset learns under it and is served without; of
the others the decayed realised ratio is taken off the logit. What is left (interpolated rows bend p(x|y) too) the
calibrator learns on real, unsampled examples.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from random import Random

import numpy as np

from stream_balance.core.arms.registry import make_model
from stream_balance.core.balance import make_strategy
from stream_balance.core.calibrate import Calibrator, RatioCorrection, logits, unbend
from stream_balance.core.digest import Trail
from stream_balance.core.rates import Rates
from stream_balance.core.records import ORIGINS, TIERS, Arrivals, Columns, Examples, Floats, Samples
from stream_balance.core.settings import CoreSettings
from stream_balance.core.threshold import Threshold
from stream_balance.core.window import Window

TRAINED_DECAY = 0.999  # per sample: what "lately" means for the share of positives among the samples learned


class Arm:
    """Learns from balanced samples, serves calibrated probabilities of classes 1..C-1.

    `score` gives raw (n, C-1), probability (n, C-1) and threshold (n,). `version` grows with every sample learned.
    """

    def __init__(self, settings: CoreSettings, classes: int, seed: int, rng: Random) -> None:
        self.classes = classes
        self.model = make_model(settings.model.name, classes, seed, one_vs_rest=settings.model.one_vs_rest)
        self.rates = Rates(settings.rates, classes)
        self.strategy = make_strategy(settings.balance, self.rates, weighs=self.model.honours_weights)
        self.window = Window(settings.window)
        self.calibrator = Calibrator(settings.calibrate, classes)
        self.ratio = RatioCorrection(classes)
        self.threshold = Threshold(settings.threshold)
        self.version = 0
        self.samples = dict.fromkeys(ORIGINS, 0)
        self.by_class = [0] * classes
        self.abstentions = 0
        self.examples = 0
        self._trained = [0.0, 0.0]  # decayed samples: all, positive
        self._rng = rng

    # -- serving

    def score(self, values: Floats, tiers: bytes, columns: Columns) -> tuple[Floats, Floats, Floats]:
        """What is said of n rows now; abstentions count."""
        raw, probability, threshold = self.look(values, tiers, columns)
        self.abstentions += int(np.count_nonzero(np.isnan(raw[:, 0])))
        return raw, probability, threshold

    def look(self, values: Floats, tiers: bytes, columns: Columns) -> tuple[Floats, Floats, Floats]:
        """The same, and nothing is counted."""
        raw = self.model.predict(values, columns).probability
        probability = self.calibrator.apply(self._logits(raw), tiers)
        by_tier = np.array([self.threshold.value(tier) for tier in range(len(TIERS))])
        return raw, probability, by_tier[np.frombuffer(tiers, dtype=np.uint8)]

    def _logits(self, raw: Floats) -> Floats:
        """Log odds of the real stream, (n, C-1); NaN where the model abstained."""
        return logits(raw if self.model.supports_offset else unbend(raw, self.ratio.offset()))

    # -- learning

    def learn(self, examples: Examples, columns: Columns, trail: Trail) -> Floats:
        """Learn from one matured search; return the log-loss of each served probability, (n,)."""
        scored = examples.scored
        labels, tiers, values = examples.labels, scored.tiers, scored.values
        probability = scored.probability
        self.calibrator.learn_many(scored.raw, tiers, labels, self._logits)
        self.threshold.observe(probability, labels, tiers)
        self._train(Arrivals(values, labels, tiers, probability), columns, trail)
        self.window.add_many(values, labels, tiers, scored.ts_us)
        self.examples += len(labels)
        return _losses(probability, labels)

    def _train(self, arrivals: Arrivals, columns: Columns, trail: Trail) -> None:
        learned = [0.0] * self.classes
        samples = self.strategy.draw(arrivals, self.window, columns, self._rng)
        if samples is not None:
            self.model.learn(samples, columns)
            self._count(samples, learned, trail)
        labels = arrivals.labels
        self.rates.observe_many(labels)
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
            self.model.digest_state(), self.rates.digest_state(), self.strategy.digest_state(),
            self.window.digest_state(), self.calibrator.digest_state(), self.ratio.digest_state(),
            self.threshold.digest_state(), self.version, self.samples, self.by_class, self.abstentions, self.examples,
            self._trained, list(self._rng.getstate()[1]),
        ]  # fmt: skip


def _losses(probability: Floats, labels: Sequence[int]) -> Floats:
    """Natural log-loss of each row."""
    of_label = 1.0 - (probability[:, 0] if probability.shape[1] == 1 else probability.sum(axis=1))
    if any(labels):
        for i, label in enumerate(labels):
            if label:
                of_label[i] = probability[i, label - 1]
    losses: Floats = -np.log(np.maximum(of_label, 1e-15))
    return losses
