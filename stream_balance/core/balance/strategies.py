"""Strategies: over-sampling by copies or by SMOTE, under-sampling, both at once. Each only splits a multiplier."""

from __future__ import annotations

import math
from typing import ClassVar

from stream_balance.core.balance.strategy import Strategy


class NoBalancing(Strategy):
    """Every example is learned once, whatever the shares: the baseline of all others."""

    name: ClassVar[str] = "none"

    def _needed(self) -> list[float]:
        return [1.0] * self._rates.classes


class RandomOver(Strategy):
    """Rare examples are learned repeatedly, the majority once."""

    name: ClassVar[str] = "random_over"


class RandomUnder(Strategy):
    """Majority examples are kept by chance, those of the rarest class all."""

    name: ClassVar[str] = "random_under"

    def majority_weight(self, needed: float) -> float:
        """1 / needed, so that the rarest class counts once."""
        return 1.0 / needed


class Smote(Strategy):
    """Beside each rare example, rows between it and its neighbours are learned; the majority once."""

    name: ClassVar[str] = "smote"
    synthesises: ClassVar[bool] = True


class SmoteUnder(Strategy):
    """SMOTE and under-sampling share the work: rare examples count sqrt(m) times, the majority 1 / sqrt(m) times.

    A model then learns sqrt(m) samples where SMOTE alone makes it learn m, and sees sqrt(m) times as many real
    majority rows as under-sampling alone. What a bound takes from one side, the other side gives.
    """

    name: ClassVar[str] = "smote_under"
    synthesises: ClassVar[bool] = True

    def majority_weight(self, needed: float) -> float:
        """1 / sqrt(needed), or less where `copies_max` would cut the rare side; never below `keep_min`."""
        weight = min(1.0 / math.sqrt(needed), self.settings.copies_max / needed)
        return max(weight, self.settings.keep_min)
