"""Live model: the service's own model as a learner of the shadow test. In: its name. Out: a `Learner`."""

from __future__ import annotations

import numpy as np

from stream_balance.core.arms.registry import make_model
from stream_balance.core.records import Columns, Floats, Samples
from stream_balance.gan.shadow import Learner
from stream_balance.gan.table import Ints

BLOCK = 50  # rows learned at once: about what a search or two bring


def live_model(name: str, nominal: tuple[int, ...]) -> Learner:
    """A fresh model of that name each time, with the class against all others."""

    def learn(rows: Floats, labels: Ints, seed: int, test: Floats) -> Floats:
        columns = _columns(np.vstack([rows, test]), nominal)
        model = make_model(name, 2, seed)
        for start in range(0, len(rows), BLOCK):
            part = labels[start : start + BLOCK].tolist()
            n = len(part)
            samples = Samples(rows[start : start + n], part, bytes(n), [1] * n, [(0.0,)] * n)
            model.learn(samples, columns)
        found = model.predict(test, columns).probability[:, 0]
        return np.where(np.isnan(found), 0.5, found)

    return learn


def _columns(rows: Floats, nominal: tuple[int, ...]) -> Columns:
    """A table of columns of that width, with a level for each code there is."""
    columns = Columns()
    for column in range(rows.shape[1]):
        columns.add(f"c{column}", nominal=column in nominal)
        if column in nominal:
            codes = rows[:, column][~np.isnan(rows[:, column])]
            for code in range(int(codes.max()) + 1 if len(codes) else 0):
                columns.level(column, str(code))
    return columns
