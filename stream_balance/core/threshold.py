"""Threshold: from which probability on an outcome is predicted, per tier. In: served probabilities and labels of real
examples. Out: one number a tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from stream_balance.core.fading import FadingShares
from stream_balance.core.records import TIERS, Floats, RoomSettings


class ThresholdSettings(RoomSettings):
    """From which probability on an outcome is predicted."""

    rule: Literal["prior", "gmean_window"] = "prior"
    decay: float = Field(default=0.999, gt=0, lt=1)  # of the rate in `prior`, per example of a tier
    base_rate: float = Field(default=0.02, gt=0, lt=1)  # the rate before any example
    base_weight: PositiveFloat = 50.0  # examples that this first guess is worth
    window_rows: PositiveInt = 2_000  # `gmean_window` looks at so many real examples of a tier
    refresh_rows: PositiveInt = 200  # and again after so many


class Threshold:
    """Predict an outcome where the probability of all outcomes together reaches `value(tier)`.

    `prior`: the decayed rate of outcomes before the row. `gmean_window`: the cut with the best geometric mean of recall
    and specificity on the latest real examples of the tier; the prior until both kinds are among them.

    >>> Threshold(ThresholdSettings()).value(tier=0)
    0.02
    """

    def __init__(self, settings: ThresholdSettings) -> None:
        self._settings = settings
        self._rates = [FadingShares(settings.decay, settings.base_rate, settings.base_weight, 1) for _ in TIERS]
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
            for tier, rate in enumerate(self._rates):
                rate.observe_all([int(label > 0) for label, at in zip(labels, tiers, strict=True) if at == tier])
        else:
            for tier, rate in enumerate(self._rates):
                if count := tiers.count(tier):
                    rate.observe_none(count)
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
