"""Fading: class shares that forget exponentially, example by example. In: labels. Out: shares of classes 1..C-1."""

from __future__ import annotations

from collections.abc import Sequence


class FadingShares:
    """Decayed share of each class 1..C-1; its weight starts at the first guess's and grows to 1 / (1 - decay).

    >>> shares = FadingShares(decay=0.5, base_rate=0.0, base_weight=1.0, outcomes=1)
    >>> shares.observe_all([0, 1])
    >>> round(shares.rates[0], 3)
    0.571
    """

    __slots__ = ("decay", "rates", "weight")

    def __init__(self, decay: float, base_rate: float, base_weight: float, outcomes: int) -> None:
        self.decay = decay
        self.weight = base_weight
        self.rates = [base_rate / outcomes] * outcomes

    def observe(self, label: int) -> None:
        """Count one example."""
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

    def observe_all(self, labels: Sequence[int]) -> None:
        """As `observe` of each in turn, up to rounding; runs of 0 are taken at once."""
        run = 0
        for label in labels:
            if label:
                if run:
                    self.observe_none(run)
                    run = 0
                self.observe(label)
            else:
                run += 1
        if run:
            self.observe_none(run)

    def state(self) -> list[float]:
        """Weight and shares, for a digest."""
        return [self.weight, *self.rates]
