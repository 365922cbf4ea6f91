"""Generated: rows of the pool are learned beside the rare rows, where the GAN's vetting has found that they help.

The ladder of the strategy `gan`: rows of a release up to the share that vetting chose, copies for the rest of what the
target asks for; without a release copies alone. The majority is under-sampled as in `smote_under`.
"""

from __future__ import annotations

from random import Random
from typing import ClassVar

from stream_balance.core.balance.picked import GENERATED
from stream_balance.core.balance.plain import Shared
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.balance.strategy import Beside
from stream_balance.core.pool import Pool
from stream_balance.core.rates import Rates
from stream_balance.core.records import Arrivals, Columns, Samples
from stream_balance.core.window import Window

CREDIT_MAX = 1_000.0  # rows that may be owed after a stretch without rare ones


class Generated(Shared):
    """Over- and under-sampling share the work (see `Shared`); beside a rare row stand rows of `pool`, then copies.

    A class with share s of vetting earns s generated rows with each sample learned, and spends them when it has a rare
    row to raise: so their share of all samples stays at most s.
    """

    name: ClassVar[str] = "gan"

    def __init__(self, settings: BalanceSettings, rates: Rates, *, weighs: bool = False) -> None:
        super().__init__(settings, rates, weighs=weighs)
        self.pool: Pool | None = None  # handed in by the pipeline
        self._credit = [0.0] * rates.classes

    def draw(self, arrivals: Arrivals, window: Window, columns: Columns, rng: Random) -> Samples | None:
        """As every strategy's; what is learned earns generated rows."""
        samples = super().draw(arrivals, window, columns, rng)
        if samples is not None and self.pool is not None:
            learned = sum(samples.times)
            for label, share in self.pool.shares().items():
                self._credit[label] = min(self._credit[label] + share * learned, CREDIT_MAX)
        return samples

    def _beside(
        self, wanted: dict[int, int], arrivals: Arrivals, window: Window, columns: Columns, rng: Random
    ) -> dict[int, Beside]:
        found: dict[int, Beside] = {}
        for i, more in wanted.items():
            label = arrivals.labels[i]
            n = min(more, int(self._credit[label]))
            if n and self.pool is not None:
                made = self.pool.draw(label, n, arrivals.values.shape[1])
                self._credit[label] -= len(made)
                found[i] = Beside(made, GENERATED)
        return found

    def digest_state(self) -> object:
        """The multipliers, and what may be spent."""
        return [super().digest_state(), self._credit]
