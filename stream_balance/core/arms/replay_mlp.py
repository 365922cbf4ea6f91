"""Replay network: small neural classifiers that learn from the windows of recent rows, not from the arriving row alone.

Each class keeps its latest rows: the common one few, so that it is current, a rare one as many as there are worth
having. At every fourth arrival each network takes one Adam step on rows drawn from them, a rare class with at least a
share that can be moved. The networks learn under the log odds of the batch as an offset, so that they say the logarithm
of the likelihood ratio, however the batch is mixed; what is served adds the log odds of the current rate (Elkan, "The
foundations of cost-sensitive learning", 2001, theorem 2). Several networks, apart by their first weights and their
draws, are one batched product.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from stream_balance.core.arms.encoding import Encoder
from stream_balance.core.arms.learner import Learner
from stream_balance.core.arms.networks import DECAY, Networks, Singles
from stream_balance.core.arms.shares import DecayedShares
from stream_balance.core.records import Columns, Floats, Samples

NETWORKS = 3
HIDDEN = 64
BATCH_ROWS = 32
EVERY = 4  # arrivals a step
RARE_SHARE = 0.3  # of all rare classes together in a batch; or their own, where that is more
RARE_SHARE_TARGET = 0.2  # the target share that this stands for: another one moves its odds as far
RARE_ROWS = 100  # the latest of a rare class that are drawn from
COMMON_ROWS = 1_500  # of the commonest class; a class in between has as many as came along with these
MADE_SHARE = 0.5  # of a class's draws, from its made rows, if there are any
RATE = 3e-3
MADE = 1  # the kind of row that was not observed
_PLAN_ROWS = 64  # the draw's plan follows the shares once in so many rows


class ReplayMLP(Learner):
    """Networks that replay the windows of classes 0..C-1; their logits are averaged.

    Made rows (copied, interpolated, generated) are kept apart, so that they push no observed row out of its window.
    """

    kinds: ClassVar[int] = 2  # of rows: observed, made
    sure_early = True

    def __init__(
        self,
        classes: int = 2,
        seed: int = 0,
        *,
        networks: int = NETWORKS,
        rare_share: float = RARE_SHARE,
        rare_rows: int = RARE_ROWS,
        common_rows: int = COMMON_ROWS,
    ) -> None:
        super().__init__(classes)
        self.encoder = Encoder()
        self.shares = DecayedShares(classes)
        self.networks = Networks(networks, HIDDEN, classes - 1, RATE, DECAY)
        self._rng = np.random.default_rng([seed, 0x4D4C50])
        self._rare_share = self._rare_share_asked = rare_share
        self._rare_rows, self._common_rows = rare_rows, common_rows
        # A ring for the observed rows of each class, then one for the made ones of each.
        self._rows: Singles = np.zeros((self.kinds * classes * common_rows, 0), dtype=np.float32)
        self._added = np.zeros(self.kinds * classes, dtype=np.intp)
        self._numbers = np.zeros(len(self._rows), dtype=np.int64)  # how many rows had been learned before each
        self._planned = [0] * classes  # rows of each class in a batch
        self._plan()

    # -- serving

    def logits(self, values: Floats) -> Floats:
        """Log odds of classes 1..C-1 against class 0, (n, C-1)."""
        encoded = self.encoder.encode(values).astype(np.float32)
        if encoded.shape[1] > self.networks.width:  # columns that they have not learned yet
            encoded = encoded[:, : self.networks.width]
        said = np.add.reduce(self.networks.logits(encoded), axis=0)
        first, *rest = self.shares.values()
        prior = [math.log(share / first) for share in rest]
        if said.size == 1:  # floats are several times as fast as arrays of one
            return np.array([[said.item() / self.networks.k + prior[0]]])
        found: Floats = said.astype(np.float64)
        found /= self.networks.k
        found += prior
        return found

    # -- learning

    def aim(self, target: float) -> None:
        """The batch follows, and the offset that it is learned under with it."""
        odds = target / (1.0 - target) * (1.0 - RARE_SHARE_TARGET) / RARE_SHARE_TARGET
        odds *= self._rare_share_asked / (1.0 - self._rare_share_asked)
        self._rare_share = odds / (1.0 + odds)
        self._plan()

    def aimed_share(self) -> float | None:
        """Of the outcomes in a batch."""
        return 1.0 - self._planned[0] / BATCH_ROWS if any(self._planned) and self._rare_share else None

    def learn_rows(self, samples: Samples, columns: Columns) -> None:
        """Remember the rows; after every fourth one all networks take a step."""
        self.encoder.learn(samples.rows, columns)
        if self.encoder.width > self.networks.width:
            self._widen(self.encoder.width)
        encoded = self.encoder.encode(samples.rows)
        size, added = self._common_rows, self._added
        for row, label, ring in zip(encoded, samples.labels, self._rings(samples), strict=True):
            at = added.item(ring)
            place = ring * size + at % size
            self._rows[place] = row
            self._numbers[place] = self.learned
            added[ring] = at + 1
            self.shares.observe(label)
            if not at or self.learned % _PLAN_ROWS == 0:
                self._plan()
            self.learned += 1
            if self.learned % EVERY == 0:
                self._step()

    def _rings(self, samples: Samples) -> list[int]:
        """Where each row is kept."""
        rows = zip(samples.labels, samples.origins, strict=True)
        return [label + self.classes if artificial else label for label, artificial in rows]

    def _observed(self, label: int, rows: int) -> dict[int, int]:
        """So many observed rows of a class, by ring."""
        return {label: rows}

    def forget(self, latest: int, keep_min: int) -> None:
        """Each class's older rows go; of made ones all that are older."""
        size = self._common_rows
        for ring, added in enumerate(self._added.tolist()):
            start = ring * size
            places = start + np.arange(max(added - size, 0), added) % size
            kept = int(np.count_nonzero(self._numbers[places] >= self.learned - latest))
            kept = min(max(kept, 0 if ring // self.classes == MADE else keep_min), len(places))
            places = places[len(places) - kept :]
            self._rows[start : start + kept], self._numbers[start : start + kept] = (
                self._rows[places],
                self._numbers[places],
            )
            self._added[ring] = kept
        self._plan()

    def _widen(self, width: int) -> None:
        self.networks.widen(width, self._rng)
        wide = np.zeros((len(self._rows), width), dtype=np.float32)
        wide[:, : self._rows.shape[1]] = self._rows
        self._rows = wide

    def _plan(self) -> None:
        """How many rows of each ring are drawn for a batch, and from how many of its latest."""
        classes, added = self.classes, self._added.tolist()
        there = [sum(added[c::classes]) > 0 for c in range(classes)]
        shares = [share if known else 0.0 for share, known in zip(self.shares.values(), there, strict=True)]
        highest, rare = max(shares), max(sum(there) - 1, 1)
        common = shares.index(highest)
        planned = [
            max(1, round(BATCH_ROWS * max(share, self._rare_share / rare))) if share and c != common else 0
            for c, share in enumerate(shares)
        ]
        planned[common] = max(1, BATCH_ROWS - sum(planned)) if any(there) else 0
        self._planned = planned
        draws = [0] * len(added)
        for c, rows in enumerate(planned):
            observed = sum(added[c::classes]) - added[c + classes]
            draws[c + classes] = (round(rows * MADE_SHARE) if observed else rows) if added[c + classes] else 0
            for ring, mine in self._observed(c, rows - draws[c + classes]).items():
                draws[ring] = mine
        self._ring = np.repeat(np.arange(len(added)), draws)
        self._start = self._ring * self._common_rows
        self._truth: Singles = (self._ring[:, None] % classes == np.arange(1, classes)).astype(np.float32)[None]
        worth = [max(self._rare_rows, self._common_rows * share / max(highest, 1e-9)) for share in shares]
        self._reach = np.minimum(np.array(worth * self.kinds), self._common_rows)
        drawn = np.log(np.maximum(planned, 1))
        self._offset: Singles = (drawn[1:] - drawn[:1]).astype(np.float32)

    def _step(self) -> None:
        """One step of every network, each on a draw of its own."""
        if sum(rows > 0 for rows in self._planned) < 2:
            return
        ring = self._ring
        back = self._rng.random((self.networks.k, len(ring)))
        back *= np.minimum(self._reach, self._added)[ring]
        places = (self._added[ring] - 1 - back.astype(np.intp)) % self._common_rows
        places += self._start
        self.networks.step(self._rows[places], self._truth, self._offset)

    def digest_state(self) -> object:
        """Networks, memories and moments."""
        return [
            self.learned, self._rare_share, self.encoder.digest_state(), self.shares.values(),
            self.networks.digest_state(), self._rows, self._added, self._numbers, self._planned,
        ]  # fmt: skip
