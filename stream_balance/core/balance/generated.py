"""Generated: rows of the pool are learned beside the rare rows, where the GAN's vetting has found that they help.

The ladder of the strategy `gan`: rows of a release up to the share that vetting chose, copies for the rest of what the
target asks for; without a release copies alone. The majority is under-sampled as in `smote_under`.
"""

from __future__ import annotations

from random import Random
from typing import ClassVar

from stream_balance.core.balance.picked import COPIED, GENERATED, Picked
from stream_balance.core.balance.plain import Shared
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.pool import Pool
from stream_balance.core.rates import Rates
from stream_balance.core.records import Arrivals, Columns, Plan, Samples
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

    def _multiply(
        self, arrivals: Arrivals, i: int, plan: Plan, picked: Picked, window: Window, columns: Columns, rng: Random
    ) -> None:
        label, more = arrivals.labels[i], plan.copies - 1
        wanted = min(more, int(self._credit[label]))
        if wanted and self.pool is not None:
            made = self.pool.draw(label, wanted, arrivals.values.shape[1])
            picked.add_new(made, label, GENERATED, plan.offset)
            self._credit[label] -= len(made)
            more -= len(made)
        if more:
            picked.add(i, label, COPIED, more, plan.offset)

    def digest_state(self) -> object:
        """The multipliers, and what may be spent."""
        return [super().digest_state(), self._credit]
