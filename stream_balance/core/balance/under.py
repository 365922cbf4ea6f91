"""Under-sampling that looks at a majority row first: what confuses goes (edited neighbours, Tomek), or what is easy
stays away (NearMiss, hard mining). Rows are judged as they arrive; what was learned is not unlearned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from stream_balance.core.balance.informed import FadingMean, Informed, split
from stream_balance.core.balance.plain import Lowered
from stream_balance.core.balance.reference import EQUAL, Reference
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.rates import Rates
from stream_balance.core.records import Arrivals, Columns, Floats
from stream_balance.core.window import Window

PATIENCE = 4.0  # NearMiss: owing so many rows, it takes e times as many of the nearest
MEASURED_MAX = 1_000  # and is judged by the distances of so many of the newest rows of its class
EASY_SHARE = 0.5  # hard mining: so much of the keep rate is the same for all rows
_SURVIVAL_MIN = 0.05


class Cleaning(Lowered, Informed):
    """Base: a majority row that does not survive its neighbours is dropped, and others by chance down to the target.

    With a target at or below the share there is, only the cleaning is left. Chance comes first, so that few rows need
    their neighbours looked up; the rate of survival, a decayed mean, keeps the target.

    With several classes, one that is to be raised against the commonest is thinned by chance alone, and of one between
    those and the commonest cleaning removes no more than is to be removed: a rare class lies amid others, so hardly
    any of it would survive.
    """

    def __init__(self, settings: BalanceSettings, rates: Rates, *, weighs: bool = False) -> None:
        super().__init__(settings, rates, weighs=weighs)
        self._survival = [FadingMean(1.0) for _ in range(rates.classes)]

    def survives(self, rows: Floats, label: int, reference: Reference) -> npt.NDArray[np.bool_]:
        """Of each row of a class: whether it stays, (n,)."""
        raise NotImplementedError

    def _is_rare(self, label: int) -> bool:
        """Whether the class is to be raised against the commonest, be it learned less than once."""
        return self._needed(self._rates.shares())[label] > 1.0

    def _spared(self, label: int) -> float:
        """The chance that a row stays that does not survive, which keeps a class between to its multiplier."""
        multiplier, shares, survival = self._multipliers[label], self._rates.shares(), self._survival[label].value
        wanted = max(multiplier, _SURVIVAL_MIN)  # of the rows that are tested
        if multiplier >= 1.0 or shares[label] == max(shares) or survival >= wanted:
            return 0.0
        return (wanted - survival) / (1.0 - survival)

    def _lowered(
        self, label: int, places: list[int], arrivals: Arrivals, window: Window, columns: Columns, rng: Random
    ) -> list[int]:
        if self._is_rare(label):
            return self._by_chance(label, len(places), rng)
        survival, spared = self._survival[label], self._spared(label)
        chance = self._multipliers[label] / max(survival.value, _SURVIVAL_MIN)
        tested = places if chance >= 1.0 else [i for i in places if rng.random() < chance]
        kept: set[int] = set(tested)
        if tested:
            asked = self._by_reference(self.rarest, tested, arrivals, window, columns)
            for reference, mine in asked or ():
                stays = self.survives(split(arrivals.values, mine), label, reference)
                survival.observe(stays.astype(float).tolist())
                kept.difference_update(
                    i
                    for i, each in zip(mine, stays.tolist(), strict=True)
                    if not each and not (spared and rng.random() < spared)
                )
        return [int(i in kept) for i in places]

    def digest_state(self) -> object:
        """The base's and the rates of survival."""
        return [super().digest_state(), [[each.total, each.weight] for each in self._survival]]


class NeighbourUnder(Cleaning):
    """Edited nearest neighbours: a majority row is dropped unless all of its nearest rows are of its class.

    Wilson, "Asymptotic properties of nearest neighbor rules using edited data" (IEEE Trans. SMC 1972), in the strict
    form that is usual for cleaning a majority (imbalanced-learn's `kind_sel="all"`).
    """

    name: ClassVar[str] = "neighbour_under"

    def survives(self, rows: Floats, label: int, reference: Reference) -> npt.NDArray[np.bool_]:
        """No other class among `edit_neighbours`."""
        return ~(reference.others(rows, label, self.settings.edit_neighbours) > 0)


class Tomek(Cleaning):
    """Tomek links: a majority row is dropped where it and a row of another class are each other's nearest.

    Tomek, "Two modifications of CNN" (IEEE Trans. SMC 1976). A link is seen when its majority row arrives second.
    """

    name: ClassVar[str] = "tomek"

    def survives(self, rows: Floats, label: int, reference: Reference) -> npt.NDArray[np.bool_]:
        """Not the nearest of its nearest, or that one is of its class."""
        places, squares = reference.nearest(rows, 1)
        if not places.shape[1]:
            return np.ones(len(rows), dtype=np.bool_)
        stays = np.ones(len(rows), dtype=np.bool_)
        others = np.flatnonzero(reference.labels[places[:, 0]] != label)
        spacing = reference.spacing(places[others, 0])
        stays[others] = squares[others, 0] > spacing * (1 + EQUAL) + EQUAL
        return stays


class NearMiss(Lowered, Informed):
    """NearMiss 1 or 2: of the majority, the rows nearest to rare rows are kept, as many as the target asks for.

    Mani and Zhang, "kNN approach to unbalanced data distributions" (ICML workshop 2003). Version 1 takes the mean
    distance to the `neighbours` nearest rows of the rarest class, version 2 to the farthest ones. A row is kept if
    the newest rows of its class would have it among the lowest, all measured against the same rare rows: against those
    of their time the distances of earlier rows are no measure where the rare ones become fewer or more (seen: 7 points
    above the target share after a fall of the rate, 5 below after a rise). It bends p(x|y) as no other does:
    probabilities rest on the calibrator alone.

    The lowest m of a thousand rows are few, so what was kept is held against what was asked for, as in Gibbs and
    Candes, "Adaptive conformal inference under distribution shift" (NeurIPS 2021): with d rows owed, the lowest
    m exp(d / `PATIENCE`) are kept. Whatever the distances do, no more rows are owed than `PATIENCE` ln(1 / m) and those
    of one search, and no more were given too many than `PATIENCE` ln(2 m n), n rows of the class, and one search.
    """

    name: ClassVar[str] = "near_miss"
    refreshes: ClassVar[int] = 4  # for each time a thousand rows are measured anew

    def __init__(self, settings: BalanceSettings, rates: Rates, *, weighs: bool = False) -> None:
        super().__init__(settings, rates, weighs=weighs)
        self._owed = [0.0] * rates.classes  # rows asked for and not kept, by class

    def scores(self, rows: Floats, reference: Reference) -> Floats:
        """The sum of each row's distances to its `neighbours` nearest (or farthest) of `reference`, (n,)."""
        squares, n = reference.squares(rows), len(reference)
        k = min(self.settings.neighbours, n)
        nearest = self.settings.near_miss_version == 1
        squares.partition((k - 1,) if nearest else (n - k,), axis=1)
        distances = np.sqrt(squares[:, :k] if nearest else squares[:, -k:])
        found: Floats = np.add.reduce(distances, axis=1)
        return found

    def _measured(self, label: int, reference: Reference, rarest: int) -> Floats:
        """The scores of the newest of the reference's rows of a class, (n,) in order, n <= `MEASURED_MAX`; none without
        rare rows. Raised by what is rounding, so that rows as near as one asked about are not nearer.
        """
        measured = reference.measured.get((label, rarest))
        if measured is None:
            rare = reference.of_class(rarest)
            rows = reference.newest(label, MEASURED_MAX)
            measured = np.empty(0) if rare is None else np.sort(self.scores(rows, rare)) * (1.0 + EQUAL)
            reference.measured[label, rarest] = measured
        return measured

    def _lowered(
        self, label: int, places: list[int], arrivals: Arrivals, window: Window, columns: Columns, rng: Random
    ) -> list[int]:
        share = self._multipliers[label]
        border = share * math.exp(self._owed[label] / PATIENCE)
        kept: set[int] = set()
        rarest = self.rarest
        asked = self._by_reference(rarest, places, arrivals, window, columns)
        if asked is None:
            return self._by_chance(label, len(places), rng)
        for reference, mine in asked:
            rare, measured = reference.of_class(rarest), self._measured(label, reference, rarest)
            if rare is None or not len(measured):
                return self._by_chance(label, len(places), rng)
            lowest = border * len(measured) - 0.5  # a row among n others has its place in the middle of n + 1
            nearer = measured.searchsorted(self.scores(split(arrivals.values, mine), rare)).tolist()
            kept.update([i for i, each in zip(mine, nearer, strict=True) if each < lowest])
        self._owed[label] += share * len(places) - len(kept)
        return [int(i in kept) for i in places]

    def digest_state(self) -> object:
        """The base's and the rows owed."""
        return [super().digest_state(), list(self._owed)]


class HardMining(Lowered, Informed):
    """Hard mining: a majority row is kept rather if the model was wrong about it, by the probability that was served.

    Shrivastava, Gupta, Girshick, "Training region-based object detectors with online hard example mining" (CVPR 2016),
    with the correction of Fithian and Hastie, "Local case-control sampling" (Annals of Statistics 2014): what a row's
    own keep rate has done to its log odds goes into its offset, so that a model that learns with offsets stays
    unbiased. A share of the keep rate (`EASY_SHARE`) is the same for all rows, so that easy ones are not forgotten.
    """

    name: ClassVar[str] = "hard_mining"

    def __init__(self, settings: BalanceSettings, rates: Rates, *, weighs: bool = False) -> None:
        super().__init__(settings, rates, weighs=weighs)
        self._wrong = [FadingMean(0.02, 1.0) for _ in range(rates.classes)]  # chance given to other classes

    def _chances(self, probability: Floats) -> Floats:
        """How rather a row is kept, were it of each class: (n, C) relative to the class's multiplier."""
        rest = 1.0 - probability.sum(axis=1, keepdims=True)
        found: Floats = np.ones((len(probability), len(self._multipliers)))
        rarest = self.rarest
        for label, m in enumerate(self._multipliers):
            if m <= 1.0 and label != rarest:
                wrong = 1.0 - (rest[:, 0] if label == 0 else probability[:, label - 1])
                hard = wrong / max(self._wrong[label].value, 1e-9)
                found[:, label] = np.minimum(EASY_SHARE + (1.0 - EASY_SHARE) * hard, 1.0 / m)
        return found

    def _offsets(self, arrivals: Arrivals) -> Sequence[tuple[float, ...]]:
        logs = np.log(self._chances(arrivals.probability) * self._multipliers)
        return [tuple(row) for row in (logs[:, 1:] - logs[:, :1]).tolist()]

    def _lowered(
        self, label: int, places: list[int], arrivals: Arrivals, window: Window, columns: Columns, rng: Random
    ) -> list[int]:
        probability = split(arrivals.probability, places)
        chances = self._chances(probability)[:, label] * self._multipliers[label]
        wrong = probability.sum(axis=1) if label == 0 else 1.0 - probability[:, label - 1]
        kept = [int(rng.random() < chance) for chance in chances.tolist()]
        self._wrong[label].observe(wrong.tolist())
        return kept

    def digest_state(self) -> object:
        """The base's and how wrong the model is in the mean."""
        return [super().digest_state(), [[each.total, each.weight] for each in self._wrong]]
