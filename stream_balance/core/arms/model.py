"""Model: what every classifier looks like to the rest, and rows as River reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stream_balance.core.records import Columns, Floats, Sample, Scores


class Model(Protocol):
    """A classifier of classes 0..C-1 that learns one sample at a time.

    The cold start is the same for all: until a model has learned a sample, and wherever it names no class or no
    number, it abstains: NaN in the row, True in `abstained`. A class that it does not name has probability 0.
    """

    supports_offset: bool  # learns with `Sample.offset` in its logit and answers without it

    def predict(self, values: Floats, columns: Columns) -> Scores:
        """Probabilities of classes 1..C-1 for n rows, (n, d). Changes nothing that a later answer depends on."""
        ...

    def learn(self, sample: Sample, columns: Columns) -> None:
        """Learn the sample's row `times` times."""
        ...

    def learn_all(self, samples: Sequence[Sample], columns: Columns) -> None:
        """Learn samples, one or more, in their order: as `learn` of each would, up to rounding."""
        ...

    def digest_state(self) -> object:
        """What can be said of the state in plain values; the running hash of predictions covers the rest."""
        ...


def abstention(n: int, classes: int) -> Scores:
    """The answer of a model that knows nothing yet."""
    return Scores(np.full((n, classes - 1), np.nan), np.ones(n, dtype=np.bool_))


Row = dict[str, float | str]


def named_levels(row: list[float], columns: Columns) -> Row:
    """Present values by column name; nominal ones as the name of their level."""
    names = columns.names
    found: Row = _present(row, names)  # type: ignore[assignment]  # strings are added below
    for i in columns.nominal_indices:
        if i < len(row) and not math.isnan(row[i]):
            found[names[i]] = columns.level_names[i][int(row[i])]
    return found


def _present(row: list[float], names: list[str]) -> dict[str, float]:
    """Values that are not absent, by name. Most rows have them all, which one sum tells."""
    if math.isnan(sum(row)):
        return {names[i]: value for i, value in enumerate(row) if not math.isnan(value)}
    return dict(zip(names, row, strict=False))


def numbers_and_levels(row: list[float], columns: Columns) -> tuple[dict[str, float], dict[str, float]]:
    """Present numeric values by column name; and {"column=level": 1.0} for each present nominal value."""
    names = columns.names
    if not columns.nominal_indices:
        return _present(row, names), {}
    nominal = columns.nominal
    numbers, levels = {}, {}
    for i, value in enumerate(row):
        if math.isnan(value):
            continue
        if nominal[i]:
            levels[f"{names[i]}={columns.level_names[i][int(value)]}"] = 1.0
        else:
            numbers[names[i]] = value
    return numbers, levels
