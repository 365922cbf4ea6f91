"""Column table: which column a feature goes to, and which code a level has. In: names, kinds. Out: columns, codes.

Columns are appended as they are first seen: position in the table is for good. Bounded: beyond `columns_max` a feature
is added, with a sign, into one of `hash_columns` (Weinberger et al. 2009), beyond `levels_max` levels share buckets;
hashes are CRC-32. Counts what is hashed or folded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal
from zlib import crc32

from pydantic import Field, PositiveInt

from stream_balance.core.records import Columns, FeatureValue, RoomSettings

Scope = Literal["item", "search"]

FULL, UNKNOWN = -1, -2  # no column


class ColumnSettings(RoomSettings):
    """The bounds of the table."""

    columns_max: int = Field(default=512, ge=16)  # beyond it features share hashed columns
    hash_columns: PositiveInt = 16
    levels_max: PositiveInt = 1_000  # of one nominal column; beyond it levels share `level_buckets`
    level_buckets: PositiveInt = 32


class ColumnTable:
    """Columns by (scope, name, nominal). `columns` says what each of them is.

    >>> table = ColumnTable(ColumnSettings())
    >>> table.slot("item", "rating", nominal=False), table.slot("item", "brand", nominal=True)
    (0, 1)
    >>> table.level(1, "acme"), table.known_level(1, "other")
    (0, nan)
    """

    def __init__(self, settings: ColumnSettings) -> None:
        self.columns = Columns()
        self.counters = {"columns_overflow": 0, "levels_folded": 0, "kind_changes": 0}
        self._settings = settings
        self._slots: dict[tuple[Scope, str, bool], int] = {}  # (scope, name, nominal) -> column
        self._taken: dict[str, None] = {}
        self._hash_from: int | None = None  # the first hashed column

    def cells(
        self, scope: Scope, features: Mapping[str, FeatureValue], *, frozen: bool = False
    ) -> tuple[dict[int, float], list[tuple[int, float]]]:
        """Values by known column; (column, value) of hashed ones, which add up. `frozen`: what is new is left out."""
        plain: dict[int, float] = {}
        sums: list[tuple[int, float]] = []
        for name, value in features.items():
            named: list[tuple[str, float | str]]
            if isinstance(value, list):
                named = [(f"{name}.{i}", part) for i, part in enumerate(value)]
            else:
                named = [(name, value)]
            for label, part in named:
                nominal = isinstance(part, str)
                column = self.slot(scope, label, nominal=nominal, frozen=frozen)
                if column == UNKNOWN:
                    continue
                if column == FULL:
                    text, number = (f"{label}={part}", 1.0) if nominal else (label, float(part))
                    if self._hash_from is not None or not frozen:
                        sums.append(self.hashed(text, number, frozen=frozen))
                elif isinstance(part, str):
                    plain[column] = self.known_level(column, part) if frozen else float(self.level(column, part))
                else:
                    plain[column] = float(part)
        return plain, sums

    def slot(self, scope: Scope, name: str, *, nominal: bool, frozen: bool = False) -> int:
        """The column of a feature, appended when new (`frozen`: UNKNOWN); FULL when the table is full."""
        found = self._slots.get((scope, name, nominal))
        if found is not None:
            return found
        if len(self.columns) >= self._settings.columns_max:
            return FULL
        if frozen:
            return UNKNOWN
        label = name
        if (scope, name, not nominal) in self._slots:
            self.counters["kind_changes"] += 1
            label = f"{name}#{'text' if nominal else 'number'}"
        if label in self._taken:
            label = f"{scope}.{label}"
        while label in self._taken:
            label += "'"
        self._slots[scope, name, nominal] = column = self.add(label, nominal=nominal)
        return column

    def add(self, label: str, *, nominal: bool = False) -> int:
        self._taken[label] = None
        return self.columns.add(label, nominal=nominal)

    def hashed(self, name: str, value: float, *, frozen: bool = False) -> tuple[int, float]:
        if not frozen:
            self.counters["columns_overflow"] += 1
        if self._hash_from is None:
            self._hash_from = len(self.columns)
            for i in range(self._settings.hash_columns):
                self.add(f"#hash-{i}")
        code = crc32(name.encode("utf-8", "surrogatepass"))
        return self._hash_from + (code >> 1) % self._settings.hash_columns, -value if code & 1 else value

    def level(self, column: int, name: str) -> int:
        """The code of a level, appended when new; a bucket's when the column is full."""
        levels = self.columns.levels[column]
        code = levels.get(name)
        if code is not None:
            return code
        if len(levels) >= self._settings.levels_max:
            self.counters["levels_folded"] += 1
            name = self._bucket(name)
        return self.columns.level(column, name)

    def known_level(self, column: int, name: str) -> float:
        """The code that `level` would give, NaN if it would be a new one."""
        levels = self.columns.levels[column]
        if name not in levels and len(levels) >= self._settings.levels_max:
            name = self._bucket(name)
        return levels.get(name, math.nan)

    def _bucket(self, name: str) -> str:
        return f"#hash-{crc32(name.encode('utf-8', 'surrogatepass')) % self._settings.level_buckets}"

    def place(self, name: str, *, nominal: bool) -> int | None:
        """The column that an item's feature has already; None if it has none."""
        return self._slots.get(("item", name, nominal))

    def digest_state(self) -> dict[str, object]:
        """Everything that steers what comes next, in order of first appearance."""
        return {
            "names": self.columns.names,
            "nominal": self.columns.nominal,
            "levels": self.columns.level_names,
            "slots": [(*key, column) for key, column in self._slots.items()],
            "counters": self.counters,
        }
