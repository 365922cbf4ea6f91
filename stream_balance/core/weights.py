"""Weights: how much each arm counts in the mean. In: arms' losses on real rows of a tier. Out: shares that sum to 1.

Exponential weights on the discounted log-loss, with a share kept for every arm (Herbster & Warmuth, "Tracking the best
expert", 1998). An arm that is absent from a row is charged what the mean lost there (sleeping experts, Freund et al.
1997). How long losses are best remembered differs from stream to stream: a memory of 1,000 rows follows a drift, and
where one row in fifty tells anything it follows chance. So there are two, trusted by what their means lose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stream_balance.core.memory import Memory
from stream_balance.core.records import Floats
from stream_balance.core.said import losses_of
from stream_balance.core.straighten import Trust

FIRST_TRUST = (0.1, 0.9)  # in the quick memory and the slow one: this one was hardly ever worse
TRUST_ROWS = 10_000.0  # how long the trust in a memory is remembered

Bools = npt.NDArray[np.bool_]


class Weights:
    """Of some arms in one tier: `share` (arms,), each at least `floor`. They begin with the losses `first` in a quick
    memory and in a slow one; `discounts` are what a row leaves of them there.

    >>> weights = Weights([0.0, 0.0], discounts=(0.999, 0.9999), eagerness=0.5, floor=1e-3)
    >>> _ = weights.learn(np.array([[0.1] * 50, [0.3] * 50]), running=np.array([True, True]))
    >>> weights.share.round(2).tolist()
    [0.99, 0.01]
    """

    __slots__ = ("_debts", "_discounts", "_eagerness", "_floor", "_losses", "_shares", "_trust", "share")

    def __init__(self, first: Sequence[float], discounts: tuple[float, float], eagerness: float, floor: float) -> None:
        self._discounts, self._eagerness, self._floor = np.array(discounts), eagerness, floor
        self._trust = Trust(FIRST_TRUST, FIRST_TRUST, Memory(rows=TRUST_ROWS))
        self.begin(np.array([first, first]), np.zeros((2, len(first))))

    def begin(self, losses: Floats, debts: Floats) -> None:
        """Discounted losses, and those above the best with which arms went to rest, by memory, (2, arms) each."""
        self._losses, self._debts = losses, debts
        shares = np.exp(-self._eagerness * (losses - losses.min(axis=1, keepdims=True)))
        shares /= shares.sum(axis=1, keepdims=True)
        self._shares = shares * (1.0 - self._floor * losses.shape[1]) + self._floor
        self._settle()

    def _settle(self) -> None:
        self.share: Floats = self._trust.weights @ self._shares

    def trust(self, logits: Floats, labels: npt.NDArray[np.intp]) -> None:
        """Weigh the memories by n rows of which some arm spoke, before they are learned: log odds (arms, n, C-1), NaN =
        nothing, labels (n,).
        """
        means = [mean_of(logits, share[:, None]) for share in self._shares]
        self._trust.weigh(losses_of(np.stack(means), labels).sum(axis=1), labels > 0)

    def learn(self, losses: Floats, running: Bools) -> Floats:
        """Fade, add, weigh: losses (arms, n), NaN where an arm said nothing. What the mean was charged, (n,); NaN where
        nobody spoke.
        """
        n, there = losses.shape[1], ~np.isnan(losses)
        weights = self.share[:, None] * there
        known = np.where(there, losses, 0.0)
        whole = weights.sum(axis=0)
        mixed = (weights * known).sum(axis=0) / np.where(whole > 0.0, whole, 1.0)
        charged = np.where(there, losses, mixed)
        fading = self._discounts[:, None] ** np.arange(n - 1, -1, -1.0)
        total = self._losses * self._discounts[:, None] ** n + fading @ charged.T
        if not running.all():
            total[:, ~running] = total[:, running].min(axis=1, keepdims=True) + self._debts[:, ~running]
        self.begin(total, self._debts)
        return np.where(whole > 0.0, mixed, np.nan)

    def rest(self, arm: int) -> None:
        """An arm rests: it keeps its distance from the best."""
        self._debts[:, arm] = self._losses[:, arm] - self._losses.min(axis=1)

    def alarm(self) -> None:
        """The stream has changed: the quick memory alone counts, until the slow one is found to be better again."""
        self._trust.weights = np.array([1.0, 0.0])
        self._settle()

    def state(self) -> list[object]:
        return [self._losses, self._debts, self._shares, self._trust.state()]


def mean_of(said: Floats, share: Floats) -> Floats:
    """Log odds (n, C-1): of what arms say, (arms, n, C-1), weighted by their shares, (arms, n or 1), of those that
    say something; NaN where none does.
    """
    total: Floats = np.add.reduce(said * share[:, :, None], axis=0)
    if not np.isnan(np.add.reduce(total, axis=None)):
        total /= np.add.reduce(share, axis=0)[:, None]
        return total
    there = ~np.isnan(said[:, :, 0])
    share = share * there
    whole = share.sum(axis=0)[:, None]
    total = (np.where(there[:, :, None], said, 0.0) * share[:, :, None]).sum(axis=0)
    found: Floats = np.where(whole > 0.0, total / np.where(whole > 0.0, whole, 1.0), np.nan)
    return found
