"""Over-sampling that looks at a rare row first: most is added where the classes meet."""

from __future__ import annotations

from random import Random
from typing import ClassVar

import numpy as np

from stream_balance.core.balance.informed import FadingMean, Informed, rounded, split
from stream_balance.core.balance.neighbours import between
from stream_balance.core.balance.reference import Reference
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.rates import Rates
from stream_balance.core.records import Arrivals, Columns, Floats, fitted
from stream_balance.core.window import Window


class Hardest(Informed):
    """Base: rows are added beside a rare row in proportion to its hardness, by its share of neighbours of others."""

    synthesises: ClassVar[bool] = True
    first_hardness: ClassVar[float] = 0.5

    def __init__(self, settings: BalanceSettings, rates: Rates, *, weighs: bool = False) -> None:
        super().__init__(settings, rates, weighs=weighs)
        self._hardness = [FadingMean(self.first_hardness, 1.0) for _ in range(rates.classes)]

    def hardness(self, rows: Floats, label: int, reference: Reference) -> Floats:
        """Of each row of a class, (n,)."""
        raise NotImplementedError

    def _raised(
        self, label: int, places: list[int], arrivals: Arrivals, window: Window, columns: Columns, rng: Random
    ) -> list[int]:
        asked = self._by_reference(label, places, arrivals, window, columns)
        if asked is None:
            return self._by_chance(label, len(places), rng)
        mean, more = self._hardness[label], self._multipliers[label] - 1.0
        times: dict[int, int] = {}
        for reference, mine in asked:
            found = self.hardness(split(arrivals.values, mine), label, reference)
            if np.isnan(found).any():  # one row alone has no neighbours
                return self._by_chance(label, len(places), rng)
            mean.observe(found.tolist())
            for place, hardness in zip(mine, found.tolist(), strict=True):
                wanted = more * hardness / mean.value if mean.value > 0 else more
                times[place] = min(1 + rounded(wanted, rng), self.settings.copies_max)
        return [times[place] for place in places]

    def digest_state(self) -> object:
        """The base's and the mean hardness."""
        return [super().digest_state(), [[each.total, each.weight] for each in self._hardness]]


class Adasyn(Hardest):
    """ADASYN: as SMOTE, with rows in proportion to the share of other classes among the nearest neighbours.

    He, Bai, Garcia, Li, "ADASYN: adaptive synthetic sampling approach for imbalanced learning" (IJCNN 2008),
    equations 3-5, with the decayed mean of the share in place of the sum over a table that is complete.
    """

    name: ClassVar[str] = "adasyn"

    def hardness(self, rows: Floats, label: int, reference: Reference) -> Floats:
        """Share of others among `neighbours`."""
        return reference.others(rows, label, self.settings.neighbours)


class BorderlineSmote(Hardest):
    """Borderline-SMOTE 1: as SMOTE, but only beside rare rows in danger, those with as many others near or more.

    Han, Wang, Mao, "Borderline-SMOTE" (ICIC 2005). A row with others only around it is noise, one among its own is
    safe: both are learned once. New rows lie between two of the class.
    """

    name: ClassVar[str] = "borderline_smote"
    first_hardness: ClassVar[float] = 0.3
    ratio_outcomes: ClassVar[float] = 100.0  # the few in danger get all that is added

    def hardness(self, rows: Floats, label: int, reference: Reference) -> Floats:
        """1 in danger, else 0."""
        others = reference.others(rows, label, self.settings.danger_neighbours)
        return np.where(np.isnan(others), others, (others >= 0.5) & (others < 1.0))


class BorderlineSmote2(BorderlineSmote):
    """Borderline-SMOTE 2: new rows also lie towards near rows of other classes, less than half of the way.

    Han, Wang, Mao (2005), section 3. The neighbours are the nearest of all classes together. Levels stay the row's own.
    """

    name: ClassVar[str] = "borderline_smote_2"

    def _beside(
        self, row: Floats, label: int, tier: int, wanted: int, window: Window, columns: Columns, rng: Random
    ) -> Floats:
        reference = self._reference(label, tier, window, columns)
        if reference is None:
            return np.empty((0, len(row)))
        places = reference.nearest(row[None, :], self.settings.neighbours)[0][0]
        if not len(places):
            return np.empty((0, len(row)))
        near = fitted(reference.rows[places], len(row)).copy()
        for column in columns.nominal_indices:
            if column < len(row):
                near[:, column] = row[column]
        reach = np.where(reference.labels[places] == label, 1.0, 0.5)
        return between(row, near, wanted, [], rng, reach)
