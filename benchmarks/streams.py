"""Streams: imbalanced, drifting rows from River's generators, for benchmarks. In: name, rows, seed. Out: a `Stream`.

Each takes rows of a generator's concept until one has the wanted label, labels being drawn independently at the wanted
rate. In the middle the concept is changed at once: Agrawal's function 4 for 1, Hyperplane's and RandomRBF's for one of
another seed. `jump` is RandomRBF whose rate goes from 1 % to 10 % and back while the concept stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from river.datasets import synth

from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Columns, Floats
from stream_balance.edge.logfile import read_lines
from stream_balance.service import make_codec
from stream_balance.settings import Settings
from stream_balance.simulation.shop import Shop

SIX = ("agrawal_1", "agrawal_5", "hyperplane_1", "hyperplane_5", "rbf_1", "rbf_5")
NAMES = (*SIX, "jump")


@dataclass(frozen=True, slots=True)
class Stream:
    """n rows in their order: `values` (n, d) float64 as in the core, `labels` (n,), and the columns' names."""

    name: str
    values: Floats
    labels: np.ndarray[tuple[int], np.dtype[np.intp]]
    columns: Columns

    def dicts(self) -> list[dict[str, float]]:
        """The rows as River reads them."""
        return [dict(zip(self.columns.names, row, strict=True)) for row in self.values.tolist()]


def concept(kind: str, part: int, seed: int) -> Iterator[tuple[dict[Any, float], int]]:
    """Endless rows of one concept, at whatever rate the generator has."""
    if kind == "agrawal":
        generator: Any = synth.Agrawal(classification_function=(1, 4)[part], seed=10 * seed + part)
    elif kind == "hyperplane":
        generator = synth.Hyperplane(seed=10 * seed + part)
    else:
        generator = synth.RandomRBF(seed_model=10 * seed + part, seed_sample=10 * seed + part, n_features=10)
    return iter(generator)


def make_stream(name: str, rows: int, seed: int) -> Stream:
    """The stream of that name; the same seed gives the same rows.

    >>> stream = make_stream("agrawal_5", 400, 0)
    >>> stream.values.shape, bool(0 < stream.labels.mean() < 0.15)
    ((400, 9), True)
    """
    kind, _, percent = name.partition("_")
    rng = np.random.default_rng([seed, NAMES.index(name)])
    if kind == "jump":
        rates = np.full(rows, 0.01)
        rates[rows // 3 : 2 * rows // 3] = 0.1
        parts = [(0, rows)]
    else:
        rates = np.full(rows, int(percent) / 100)
        parts = [(0, rows // 2), (1, rows - rows // 2)]
    labels = (rng.random(rows) < rates).astype(np.intp)
    found: list[dict[Any, float]] = []
    for part, count in parts:
        source = concept("rbf" if kind == "jump" else kind, part, seed)
        for label in labels[len(found) : len(found) + count].tolist():
            found.append(next(x for x, y in source if int(y) == label))
    columns = Columns()
    for key in found[0]:
        columns.add(str(key))
    return Stream(name, np.array([list(x.values()) for x in found], dtype=np.float64), labels, columns)


def push_shop(pipeline: Pipeline, settings: Settings, enough: Callable[[Pipeline], bool]) -> None:
    """Events of the simulated shop into a pipeline, until it has had enough."""
    for record in read_lines(Shop(settings.shop, settings.seed).events(), make_codec(settings)):
        assert record.event is not None
        pipeline.push(record.event, record.data)
        if enough(pipeline):
            break
