"""Records: the nouns that travel between rooms. Values only: frozen, slotted, no behaviour but views of themselves.

Times are integer microseconds since the epoch (`ts_us`), so that window borders compare exactly.
A search is the unit of travel: its impressions are columns (tuples, matrices) of equal length `n`, because one search
is featurized, scored, held, matured and measured as one matrix.
Labels are class ids: 0 is "no outcome", 1..C-1 are outcomes. Probabilities are stored for classes 1..C-1 only
(shape (n, C-1)): class 0 has the rest, and two classes cost one column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Floats = npt.NDArray[np.float64]
Values = float | Floats  # of n rows, (n, C-1); of an only row of two classes a float, several times as fast
FeatureValue = float | str | list[float]

HEAD = 0
TAIL = 1
TIERS = ("head", "tail")

Origin = Literal["observed", "copied", "interpolated", "generated"]
ORIGINS: tuple[Origin, ...] = ("observed", "copied", "interpolated", "generated")


class RoomSettings(BaseModel):
    """Base of each room's own settings: frozen, checked at birth, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


@dataclass(frozen=True, slots=True)
class Search:
    """A user was shown `n` items at `ts_us`. All tuples have length n, in the order shown."""

    event_id: str
    ts_us: int
    user_id: str
    item_ids: tuple[str, ...]
    positions: tuple[int, ...]
    prices: tuple[float | None, ...]
    categories: tuple[str | None, ...]
    item_features: tuple[Mapping[str, FeatureValue], ...]
    features: Mapping[str, FeatureValue] = field(default_factory=dict)
    session_id: str | None = None
    query: str | None = None
    truths: tuple[float, ...] | None = None  # true probabilities of a simulated log; never a feature

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class Purchase:
    """An outcome: the user bought the item at `ts_us`. `label` is a class id >= 1."""

    event_id: str
    ts_us: int
    user_id: str
    item_id: str
    search_id: str | None = None
    price: float | None = None
    quantity: int = 1
    label: int = 1


Event = Search | Purchase


class Columns:
    """The table of known feature columns: append-only, owned by the features room, read by the others.

    A row is float64, one value per column; NaN = absent. A nominal column holds the index of its level as a float.
    Rows made when the table was narrower are padded with NaN on the right.

    >>> columns = Columns()
    >>> columns.add("price"), columns.add("brand", nominal=True)
    (0, 1)
    >>> columns.level(1, "acme"), columns.names, columns.nominal
    (0, ['price', 'brand'], [False, True])
    """

    __slots__ = ("level_names", "levels", "names", "nominal", "nominal_indices")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.nominal: list[bool] = []
        self.nominal_indices: list[int] = []
        self.levels: list[dict[str, int]] = []  # by column: level name -> code (empty for numeric columns)
        self.level_names: list[list[str]] = []  # by column: code -> level name

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, *, nominal: bool = False) -> int:
        """Append a column, return its index."""
        index = len(self.names)
        self.names.append(name)
        self.nominal.append(nominal)
        if nominal:
            self.nominal_indices.append(index)
        self.levels.append({})
        self.level_names.append([])
        return index

    def level(self, column: int, name: str) -> int:
        """Code of a level of a nominal column, appended when new. The caller bounds their number."""
        levels = self.levels[column]
        code = levels.get(name)
        if code is None:
            code = levels[name] = len(levels)
            self.level_names[column].append(name)
        return code


def fitted(rows: Floats, width: int) -> Floats:
    """`rows`, (n, any), with exactly `width` columns, the missing ones NaN; where none is missing, a view."""
    known = rows.shape[1]
    if known >= width:
        return rows if known == width else rows[:, :width]
    wide = np.full((len(rows), width), np.nan)
    wide[:, :known] = rows
    return wide


@dataclass(frozen=True, slots=True)
class Arrivals:
    """n real rows to be learned now: one matured search. `values` is (n, d), `probability` (n, C-1) as served."""

    values: Floats
    labels: Sequence[int]
    tiers: bytes
    probability: Floats

    def __len__(self) -> int:
        return len(self.labels)


_STAMP = Struct("<qq")


def _outcomes(matrix: Floats, width: int) -> int:
    """C - 1: how many columns of raw scores stand behind the features of a block, and as many of served ones."""
    columns: int = matrix.shape[1]
    return (columns - width - 1) // 2


@dataclass(frozen=True, slots=True)
class Scored:
    """One search as it was scored: what is held until its labels are due. Compact on purpose: one bytes block.

    `block` is (n, width + 2 * (C - 1) + 1) float64 (features, raw scores, served probabilities, threshold), and a stamp
    of 16 bytes, made by `sealed`: as objects of their own the two numbers would cost a held search 80 bytes.
    """

    event_id: str
    user_id: str
    item_ids: tuple[str, ...]
    positions: tuple[int, ...]
    tiers: bytes
    width: int
    block: bytes
    truths: tuple[float, ...] | None = None
    said: bytes = b""  # what arms and references said, if there are several: float32, read by the panel alone

    def __len__(self) -> int:
        return len(self.item_ids)

    @staticmethod
    def sealed(matrix: bytes, ts_us: int, model_version: int = 0) -> bytes:
        """The block of a matrix's bytes and the stamp."""
        return matrix + _STAMP.pack(ts_us, model_version)

    @property
    def ts_us(self) -> int:
        """When the search was."""
        stamp: tuple[int, int] = _STAMP.unpack_from(self.block, len(self.block) - _STAMP.size)
        return stamp[0]

    @property
    def model_version(self) -> int:
        """Of the model that scored it."""
        stamp: tuple[int, int] = _STAMP.unpack_from(self.block, len(self.block) - _STAMP.size)
        return stamp[1]

    def matrix(self) -> Floats:
        """Read-only (n, width + 2(C-1) + 1) view of the block."""
        count = (len(self.block) - _STAMP.size) // 8
        return np.frombuffer(self.block, np.float64, count).reshape(len(self.item_ids), -1)

    def figures_of_one(self) -> Floats:
        """What stands behind the features, (2(C-1) + 1,), of a search of one item."""
        first = 8 * self.width
        return np.frombuffer(self.block, np.float64, (len(self.block) - _STAMP.size - first) // 8, first)

    @property
    def values(self) -> Floats:
        """Features, (n, width)."""
        return self.matrix()[:, : self.width]

    @property
    def raw(self) -> Floats:
        """The learner's own probabilities of classes 1..C-1, (n, C-1); NaN where it abstained."""
        matrix = self.matrix()
        outcomes = _outcomes(matrix, self.width)
        return matrix[:, self.width : self.width + outcomes]

    @property
    def probability(self) -> Floats:
        """What was served for classes 1..C-1, (n, C-1)."""
        matrix = self.matrix()
        outcomes = _outcomes(matrix, self.width)
        return matrix[:, self.width + outcomes : self.width + 2 * outcomes]

    def saying(self, raw: Floats, said: bytes) -> Scored:
        """The same search with another own word, (n, C-1), and other words of the arms, where they are kept apart."""
        matrix = self.matrix().copy()
        matrix[:, self.width : self.width + _outcomes(matrix, self.width)] = raw
        return replace(self, block=matrix.tobytes() + self.block[-_STAMP.size :], said=said)

    def arrivals(self, labels: Sequence[int]) -> Arrivals:
        """The rows with their labels; views of the block."""
        matrix, width = self.matrix(), self.width
        outcomes = _outcomes(matrix, width)
        return Arrivals(matrix[:, :width], labels, self.tiers, matrix[:, width + outcomes : width + 2 * outcomes])

    @property
    def threshold(self) -> Floats:
        """Decision threshold in force when scored, (n,)."""
        return self.matrix()[:, -1]


@dataclass(frozen=True, slots=True)
class Examples:
    """One matured search: its impressions with the labels they turned out to have.

    `known[i]`: the label was already known when the impression was scored (late search): learned, never measured.
    `revenue[i]`: price x quantity of the purchases attributed to it (0 where none or unknown).
    """

    scored: Scored
    labels: tuple[int, ...]
    known: tuple[bool, ...]
    revenue: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Counts by class id: `total` exact since the start, `share` decayed (sums to 1)."""

    total: tuple[int, ...]
    share: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one example is to be learned: `copies` of it and `synthetic` rows beside it; 0 and 0 = dropped.

    `offset` is ln(multiplier of each class / multiplier of class 0), length C-1: what resampling did to the log odds.
    """

    copies: int
    synthetic: int
    offset: tuple[float, ...]
    weight: float = 1.0  # of each copy, where the model honours weights


@dataclass(frozen=True, slots=True)
class Samples:
    """k rows for the model, never for a metric; learned in their order, row i `times[i]` times.

    `rows` is (k, d) float64; `origins[i]` is the place of the row's origin in ORIGINS; `offsets[i]` holds, for classes
    1..C-1, what balancing has added to the log odds; `weights[i]`, if any, is how much each of its times counts;
    `tiers[i]` is the tier of the row, or of the one that it stands beside (empty: all HEAD).
    """

    rows: Floats
    labels: list[int]
    origins: bytes
    times: list[int]
    offsets: list[tuple[float, ...]]
    weights: list[float] | None = None
    tiers: bytes = b""

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, row: Floats, label: int, *, times: int = 1, offset: tuple[float, ...] = (0.0,)) -> Samples:
        """One observed row, (d,)."""
        return cls(row[None, :], [label], b"\0", [times], [offset])

    def unrolled(self) -> Samples:
        """The same with every row standing as often as it is learned: all `times` are 1."""
        if max(self.times) <= 1:
            return self
        again = [i for i, times in enumerate(self.times) for _ in range(times)]
        return Samples(
            self.rows.take(again, axis=0),
            [self.labels[i] for i in again],
            bytes([self.origins[i] for i in again]),
            [1] * len(again),
            [self.offsets[i] for i in again],
            None if self.weights is None else [self.weights[i] for i in again],
            bytes(self.tiers[i] for i in again) if self.tiers else b"",
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's answer for n rows: `probability` is (n, C-1); `abstained` is (n,) bool, with NaN in those rows."""

    probability: Floats
    abstained: npt.NDArray[np.bool_]
