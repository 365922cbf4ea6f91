"""Model: what every classifier looks like to the rest, and rows as River reads them."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from stream_balance.core.records import Columns, Floats, Samples, Scores


class Model(Protocol):
    """A classifier of classes 0..C-1 that learns samples in their order.

    The cold start is the same for all: until a model has learned a sample, and wherever it names no class or no
    number, it abstains: NaN in the row, True in `abstained`. A class that it does not name has probability 0.
    """

    supports_offset: bool  # learns with `Samples.offsets` in its logit and answers without it
    honours_weights: bool  # a sample of weight w moves it as w of them would, or w times as far

    def predict(self, values: Floats, columns: Columns) -> Scores:
        """Probabilities of classes 1..C-1 for n rows, (n, d). Changes nothing that a later answer depends on."""
        ...

    def learn(self, samples: Samples, columns: Columns) -> None:
        """Learn one or more rows, in their order."""
        ...

    def digest_state(self) -> object:
        """What can be said of the state in plain values; the running hash of predictions covers the rest."""
        ...


def abstention(n: int, classes: int) -> Scores:
    """The answer of a model that knows nothing yet."""
    return Scores(np.full((n, classes - 1), np.nan), np.ones(n, dtype=np.bool_))


Row = dict[str, float | str]
NumbersAndLevels = tuple[dict[str, float], dict[str, float]]


def named_levels(values: Floats, columns: Columns) -> list[Row]:
    """Present values of each row, (n, d), by column name and in column order; nominal ones as their level's name."""
    width, names = values.shape[1], columns.names
    nominal = [i for i in columns.nominal_indices if i < width]
    found: list[Row] = _present(values, names)  # type: ignore[assignment]  # strings are added below
    for i in nominal:
        name, level_names = names[i], columns.level_names[i]
        for row in found:
            if name in row:
                row[name] = level_names[int(row[name])]
    return found


def numbers_and_levels(values: Floats, columns: Columns) -> list[NumbersAndLevels]:
    """By row: present numeric values by column name; {"column=level": 1.0} for each present nominal value."""
    width, names = values.shape[1], columns.names
    nominal = [i for i in columns.nominal_indices if i < width]
    rows = _present(values, names)
    if not nominal:
        return [(row, {}) for row in rows]
    named = [(names[i], columns.level_names[i]) for i in nominal]
    return [
        (row, {f"{name}={levels[int(row.pop(name))]}": 1.0 for name, levels in named if name in row}) for row in rows
    ]


def _present(values: Floats, names: list[str]) -> list[dict[str, float]]:
    """Values that are not absent, by name. The rows of one search mostly lack the same columns."""
    absent = np.isnan(values)
    lacking = absent.any(axis=0)
    if (lacking == absent.all(axis=0)).all():
        columns = np.flatnonzero(~lacking)
        known = [names[i] for i in columns.tolist()]
        return [dict(zip(known, row, strict=True)) for row in values[:, columns].tolist()]
    return [{names[i]: value for i, value in enumerate(row) if not math.isnan(value)} for row in values.tolist()]
