"""Calibrate: from a learner's logits to probabilities of the stream as it is, and to a decision threshold.

In: logits at scoring time, labels at maturity; only real examples. Out: probabilities, (n, C-1), and thresholds.
Training on a bent stream moves the logit (by the offset, and by what synthetic rows do to p(x|y)); three parts put it
right: `RatioCorrection` for models that cannot learn with an offset, `Calibrator` for all, `Threshold` for decisions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, PositiveInt

from stream_balance.core.records import TIERS, Floats, RoomSettings

LOGIT_MAX = 16.0
_SLOPE_MIN, _SLOPE_MAX, _SHIFT_MAX = 0.05, 10.0, 20.0  # a calibrator never turns the order of scores around


class CalibratorSettings(RoomSettings):
    """How fast the calibration follows, and how firmly it holds to "as the model says"."""

    decay: float = Field(default=0.9995, gt=0, lt=1)  # forgetting per example of a tier
    block_rows: PositiveInt = 64  # learned from at once: a Newton step for each row costs more than it brings
    youth: float = Field(default=2.0, ge=0)  # at first never more than the last 1 / youth of all rows is remembered
    slope_precision: PositiveFloat = 20.0  # prior of the slope around 1
    shift_precision: PositiveFloat = 2.0  # prior of the shift around 0
    rate_decay: float = Field(default=0.999, gt=0, lt=1)  # of the base rate, served where the model abstains
    base_rate: float = Field(default=0.02, gt=0, lt=1)  # of all outcomes together, before any example
    base_weight: PositiveFloat = 50.0  # examples that this first guess is worth


class ThresholdSettings(RoomSettings):
    """From which probability on an outcome is predicted."""

    rule: Literal["prior", "gmean_window"] = "prior"
    decay: float = Field(default=0.999, gt=0, lt=1)  # of the rate in `prior`, per example of a tier
    base_rate: float = Field(default=0.02, gt=0, lt=1)  # the rate before any example
    base_weight: PositiveFloat = 50.0  # examples that this first guess is worth
    window_rows: PositiveInt = 2_000  # `gmean_window` looks at so many real examples of a tier
    refresh_rows: PositiveInt = 200  # and again after so many


def logits(probability: Floats) -> Floats:
    """Log odds, clipped to +-16; NaN stays NaN.

    >>> logits(np.array([0.5, 1.0])).tolist()
    [0.0, 16.0]
    """
    clipped = np.minimum(np.maximum(probability, 1e-12), 1 - 1e-12)
    found: Floats = np.minimum(np.maximum(np.log(clipped / (1 - clipped)), -LOGIT_MAX), LOGIT_MAX)
    return found


def _sigmoid(logit: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-logit))
    return found


def unbend(probability: Floats, offset: Sequence[float]) -> Floats:
    """Probabilities (n, C-1) with the log multipliers of classes 1..C-1 (against class 0) taken out of the odds.

    >>> unbend(np.array([[0.5]]), [math.log(3.0)]).tolist()
    [[0.25]]
    """
    weighted = probability * np.exp(-np.asarray(offset))
    rest = np.maximum(1.0 - probability.sum(axis=1, keepdims=True), 0.0)
    found: Floats = weighted / (rest + weighted.sum(axis=1, keepdims=True))
    return found


class _Rate:
    """Decayed share of each class 1..C-1; its weight starts at the first guess's and grows to 1 / (1 - decay)."""

    __slots__ = ("decay", "rates", "weight")

    def __init__(self, decay: float, base_rate: float, base_weight: float, outcomes: int) -> None:
        self.decay = decay
        self.weight = base_weight
        self.rates = [base_rate / outcomes] * outcomes

    def observe(self, label: int) -> None:
        self.weight = self.weight * self.decay + 1.0
        step = 1.0 / self.weight
        rates = self.rates
        for i, rate in enumerate(rates):
            rates[i] = rate - step * rate
        if label:
            rates[label - 1] += step

    def observe_none(self, n: int) -> None:
        """As `observe(0)` n times, up to rounding."""
        faded = self.decay**n
        before = self.weight * faded
        self.weight = before + (1.0 - faded) / (1.0 - self.decay)
        self.rates = [rate * before / self.weight for rate in self.rates]

    def state(self) -> list[float]:
        return [self.weight, *self.rates]


class RatioCorrection:
    """What resampling did to the odds, as it really came out: decayed counts of samples over those of examples.

    For models that do not learn with an offset. Exact for a constant ratio, late by its decay for a changing one.

    >>> correction = RatioCorrection(classes=2)
    >>> correction.observe(examples=[100, 10], samples=[10, 10])
    >>> round(correction.offset()[0] - math.log(10.0), 1)
    -0.1
    """

    def __init__(self, classes: int, decay: float = 0.999) -> None:
        self._decay = decay
        self._examples = [1.0] * classes  # one example, learned once, of each: no correction
        self._samples = [1.0] * classes

    def observe(self, examples: Sequence[int], samples: Sequence[int]) -> None:
        """Count one matured search: real examples and learned samples, by class."""
        fading = self._decay ** sum(examples)
        for label, (real, learned) in enumerate(zip(examples, samples, strict=True)):
            self._examples[label] = self._examples[label] * fading + real + (1 - fading)
            self._samples[label] = self._samples[label] * fading + learned + (1 - fading)

    def offset(self) -> tuple[float, ...]:
        """ln(multiplier of the class / multiplier of class 0) for classes 1..C-1: to be taken out of the logits."""
        ratios = [math.log(s / e) for s, e in zip(self._samples, self._examples, strict=True)]
        return tuple(ratio - ratios[0] for ratio in ratios[1:])

    def digest_state(self) -> object:
        """The decayed counts."""
        return [list(self._examples), list(self._samples)]


class _Platt:
    """slope * (logit - centre) + centre + shift, by Newton steps on the decayed logistic loss with a fading-in prior.

    Recursive form of Platt (1999): with precision P and prior (P0, theta0), an example (x = (logit - centre, 1), y)
    does
        P <- (1 - f) P + f P0 + p (1 - p) x x',
        theta <- theta + P^-1 ((y - p) x - f P0 (theta - theta0)),
    where f = max(1 - decay, youth / (youth + rows)): a young model changes, what it said at first soon means little.

    The centre is the logit of a typical rate. Around 0 instead, where no logit of a rare class lies, slope and shift
    are so correlated that the first positives throw the probabilities up several times over (seen on the simulated shop
    with labels half an hour late: mean probability over rate 2.4 in a stretch of 12,000 rows, 1.4 with the centre).
    """

    __slots__ = (
        "centre", "fade", "h00", "h01", "h11", "rows", "shift", "shift_precision", "slope", "slope_precision", "youth",
    )  # fmt: skip

    def __init__(self, settings: CalibratorSettings, centre: float) -> None:
        self.centre = centre
        self.fade = 1.0 - settings.decay
        self.youth = settings.youth
        self.rows = 0
        self.slope_precision = settings.slope_precision
        self.shift_precision = settings.shift_precision
        self.slope, self.shift = 1.0, 0.0
        self.h00, self.h01, self.h11 = settings.slope_precision, 0.0, settings.shift_precision

    @property
    def intercept(self) -> float:
        """The map is slope * logit + intercept."""
        return self.shift + self.centre * (1.0 - self.slope)

    def learn(self, logit: float, outcome: bool) -> None:
        x = logit - self.centre
        z = self.slope * x + self.centre + self.shift
        p = 1.0 / (1.0 + math.exp(-z)) if z > -700.0 else 0.0
        w = p * (1.0 - p)
        self.rows += 1
        decay = 1.0 - max(self.fade, self.youth / (self.youth + self.rows))
        pull0 = (1.0 - decay) * self.slope_precision
        pull1 = (1.0 - decay) * self.shift_precision
        wx = w * x
        h00 = self.h00 = decay * self.h00 + pull0 + wx * x
        h01 = self.h01 = decay * self.h01 + wx
        h11 = self.h11 = decay * self.h11 + pull1 + w
        error = 1.0 - p if outcome else -p
        self._step(error * x - pull0 * (self.slope - 1.0), error - pull1 * self.shift, h00 * h11 - h01 * h01)

    def learn_many(self, logits: Floats, outcome: npt.NDArray[np.bool_]) -> None:
        """One Newton step on n examples at once."""
        x = logits - self.centre
        p = _sigmoid(self.slope * x + (self.centre + self.shift))
        w = p * (1.0 - p)
        wx = w * x
        self.rows += len(x)
        decay = (1.0 - max(self.fade, self.youth / (self.youth + self.rows))) ** len(x)
        pull0 = (1.0 - decay) * self.slope_precision
        pull1 = (1.0 - decay) * self.shift_precision
        self.h00 = decay * self.h00 + pull0 + float(wx @ x)
        self.h01 = decay * self.h01 + float(wx.sum())
        self.h11 = decay * self.h11 + pull1 + float(w.sum())
        error = outcome - p
        self._step(
            float(error @ x) - pull0 * (self.slope - 1.0),
            float(error.sum()) - pull1 * self.shift,
            self.h00 * self.h11 - self.h01 * self.h01,
        )

    def _step(self, g0: float, g1: float, determinant: float) -> None:
        slope = self.slope + (self.h11 * g0 - self.h01 * g1) / determinant
        shift = self.shift + (self.h00 * g1 - self.h01 * g0) / determinant
        self.slope = min(max(slope, _SLOPE_MIN), _SLOPE_MAX)
        self.shift = min(max(shift, -_SHIFT_MAX), _SHIFT_MAX)

    def state(self) -> list[float]:
        return [self.slope, self.shift, self.h00, self.h01, self.h11, self.rows]


class Calibrator:
    """Recursive two-parameter calibration per tier, on real examples as they were scored.

    Two classes: one logistic map per tier. More: one per class (class 0 included) and tier, normalised to sum 1.
    Where the model abstained (NaN) the decayed base rate is served, and nothing is learned but that rate.

    >>> calibrator = Calibrator(CalibratorSettings())
    >>> calibrator.apply(np.array([[0.0], [np.nan]]), tiers=bytes([0, 1])).tolist()
    [[0.5], [0.02]]
    """

    def __init__(self, settings: CalibratorSettings, classes: int = 2) -> None:
        self.classes = classes
        rate = settings.base_rate / (classes - 1)
        rates = [rate] if classes == 2 else [1.0 - settings.base_rate, *[rate] * (classes - 1)]
        self._maps = [[_Platt(settings, math.log(r / (1.0 - r))) for r in rates] for _ in TIERS]
        self._rate = _Rate(settings.rate_decay, settings.base_rate, settings.base_weight, classes - 1)
        self._block_rows = settings.block_rows
        self._waiting: list[tuple[Floats, bytes, tuple[int, ...]]] = []
        self._waiting_rows = 0

    def apply(self, logits: Floats, tiers: bytes) -> Floats:
        """Served probabilities, (n, C-1), of logits of classes 1..C-1, each against the rest, (n, C-1)."""
        columns = self._columns(logits)
        slopes = np.array([[each.slope for each in maps] for maps in self._maps])
        shifts = np.array([[each.intercept for each in maps] for maps in self._maps])
        at = np.frombuffer(tiers, dtype=np.uint8)
        found = _sigmoid(slopes[at] * columns + shifts[at])
        if self.classes > 2:
            found = found[:, 1:] / found.sum(axis=1, keepdims=True)
        absent = np.isnan(found[:, 0])
        if absent.any():
            found[absent] = self._rate.rates
        return found

    def _columns(self, logits: Floats) -> Floats:
        """(n, 1) as it is; for more classes (n, C) with class 0's logit in front."""
        if self.classes == 2:
            return logits
        rest = np.minimum(np.maximum(1.0 - _sigmoid(logits).sum(axis=1, keepdims=True), 1e-7), 1 - 1e-7)
        return np.concatenate([np.log(rest / (1 - rest)), logits], axis=1)

    def learn(self, logit: float, tier: int, label: int) -> None:
        """One real example of a stream of two classes: the logit it was served with, and what it turned out to be."""
        self._rate.observe(label)
        if not math.isnan(logit):
            self._maps[tier][0].learn(logit, label > 0)

    def learn_many(self, logits: Floats, tiers: bytes, labels: Sequence[int]) -> None:
        """A matured search, (n, C-1). Folded in once `block_rows` have come together, with one step a tier."""
        if any(labels):
            for label in labels:
                self._rate.observe(label)
        else:
            self._rate.observe_none(len(labels))
        self._waiting.append((logits, tiers, tuple(labels)))
        self._waiting_rows += len(labels)
        if self._waiting_rows >= self._block_rows:
            self._fold()

    def _fold(self) -> None:
        columns = self._columns(np.concatenate([each[0] for each in self._waiting]))
        at = np.frombuffer(b"".join(each[1] for each in self._waiting), dtype=np.uint8)
        outcomes = np.array([label for each in self._waiting for label in each[2]])
        self._waiting, self._waiting_rows = [], 0
        known = ~np.isnan(columns[:, 0])
        for tier, maps in enumerate(self._maps):
            mine = known & (at == tier)
            if mine.any():
                for i, each in enumerate(maps):
                    each.learn_many(columns[mine, i], outcomes[mine] == (i if self.classes > 2 else 1))

    def parameters(self) -> list[list[tuple[float, float]]]:
        """By tier and map: slope and intercept."""
        return [[(each.slope, each.intercept) for each in maps] for maps in self._maps]

    def base_rates(self) -> list[float]:
        """Decayed share of each class 1..C-1."""
        return list(self._rate.rates)

    def digest_state(self) -> object:
        """All parameters and rates."""
        waiting = [list(each) for each in self._waiting]
        return [self._rate.state(), [[each.state() for each in maps] for maps in self._maps], waiting]


class Threshold:
    """Predict an outcome where the probability of all outcomes together reaches `value(tier)`.

    `prior`: the decayed rate of outcomes before the row. `gmean_window`: the cut with the best geometric mean of recall
    and specificity on the latest real examples of the tier; the prior until both kinds are among them.

    >>> Threshold(ThresholdSettings()).value(tier=0)
    0.02
    """

    def __init__(self, settings: ThresholdSettings) -> None:
        self._settings = settings
        self._rates = [_Rate(settings.decay, settings.base_rate, settings.base_weight, 1) for _ in TIERS]
        self._recent: list[list[tuple[float, bool]]] = [[] for _ in TIERS]
        self._since = [0] * len(TIERS)
        self._best: list[float | None] = [None] * len(TIERS)

    def value(self, tier: int) -> float:
        """The threshold in force."""
        best = self._best[tier]
        return self._rates[tier].rates[0] if best is None else best

    def observe(self, probabilities: Floats, labels: Sequence[int], tiers: bytes) -> None:
        """A matured search: probabilities as they were served, (n, C-1), and the labels."""
        if any(labels):
            for label, tier in zip(labels, tiers, strict=True):
                self._rates[tier].observe(int(label > 0))
        else:
            for tier in range(len(TIERS)):
                if count := tiers.count(tier):
                    self._rates[tier].observe_none(count)
        if self._settings.rule == "gmean_window":
            self._remember(probabilities, labels, tiers)

    def _remember(self, probabilities: Floats, labels: Sequence[int], tiers: bytes) -> None:
        for probability, label, tier in zip(probabilities.sum(axis=1).tolist(), labels, tiers, strict=True):
            recent = self._recent[tier]
            recent.append((probability, label > 0))
            self._since[tier] += 1
            if self._since[tier] >= self._settings.refresh_rows:
                self._since[tier] = 0
                del recent[: -self._settings.window_rows]
                self._best[tier] = best_gmean_cut(recent)

    def digest_state(self) -> object:
        """Rates, the remembered examples and the cuts found."""
        recent = [[list(pair) for pair in each] for each in self._recent]
        return [[rate.state() for rate in self._rates], recent, list(self._since), list(self._best)]


def best_gmean_cut(examples: Sequence[tuple[float, bool]]) -> float | None:
    """The probability from which on predicting positive maximises recall x specificity; None with one class only.

    >>> best_gmean_cut([(0.1, False), (0.2, False), (0.3, True), (0.4, False)])
    0.3
    """
    table = np.array(examples, dtype=np.float64).reshape(-1, 2)
    positives = table[:, 1].sum()
    negatives = len(table) - positives
    if not positives or not negatives:
        return None
    table = table[np.argsort(-table[:, 0], kind="stable")]
    hits = table[:, 1].cumsum()
    false_alarms = np.arange(1, len(table) + 1) - hits
    product = hits / positives * (1.0 - false_alarms / negatives)
    # A cut lies between different probabilities only.
    product[:-1][table[:-1, 0] == table[1:, 0]] = -1.0
    return float(table[int(product.argmax()), 0])
