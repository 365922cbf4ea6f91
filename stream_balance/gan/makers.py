"""Makers: the ways to make rows, best first. In: rows to learn, a seed, earlier weights. Out: rows, weights, curve.

The GAN edits rows that trees draw. It needs torch, and is left out without; trees and copula need nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from stream_balance.core.packing import pack, unpack
from stream_balance.core.records import Floats
from stream_balance.core.synthesis import NO_CURVE, NO_WEIGHTS, RecipeSettings
from stream_balance.gan.copula import Copula
from stream_balance.gan.table import Ints, Layout, Table, layout_of
from stream_balance.gan.trees import Trees

DRAWN = 8_192  # drawn rows that a training picks its batches from
FOREIGN_MAX = 0.2  # with a larger share of rows of levels that only a new layout has a slot for, weights are of no use
FORMAT = 2


def has_torch() -> bool:
    """Whether the extra `gan` is installed."""
    return find_spec("torch") is not None


@dataclass(frozen=True, slots=True)
class Made:
    """Rows (m, d), and what the training leaves."""

    rows: Floats
    weights: bytes = NO_WEIGHTS
    warm: bool = False
    curve: Floats = field(default_factory=lambda: NO_CURVE)


@dataclass(frozen=True, slots=True)
class Start:
    """What a training begins with: the table under the old layout and its weights if they fit, else a new layout."""

    table: Table
    weights: Mapping[str, npt.NDArray[np.float32]] | None

    @staticmethod
    def of(rows: Floats, nominal: tuple[int, ...], weights: bytes, settings: RecipeSettings) -> Start:
        """Rows (n, d) to learn from. Weights of another table of columns, or that are none, are laid aside."""
        fresh = layout_of(rows, nominal, levels_max=settings.levels_max, level_rows_min=settings.level_rows_min)
        with suppress(ValueError):  # bytes that are no weights: they would be sent along for ever
            head, arrays = unpack(weights)
            if head["format"] == FORMAT and _still_fits(rows, old := Layout.from_plain(head["layout"]), fresh):
                return Start(Table(rows, old), arrays)
        return Start(Table(rows, fresh), None)


def _still_fits(rows: Floats, old: Layout, fresh: Layout) -> bool:
    """Whether the old networks can speak of these rows: same columns, and few levels that they have no place for."""
    if (old.width, old.numeric, old.nominal) != (fresh.width, fresh.numeric, fresh.nominal):
        return False
    # A column of very many levels has most of its rows in the last slot under any layout.
    return bool((_without_slot(rows, old) - _without_slot(rows, fresh) <= FOREIGN_MAX).all())


def _without_slot(rows: Floats, layout: Layout) -> Floats:
    """By nominal column: the share of rows whose level has no slot of its own, (q,)."""
    slots = Table(rows, layout).slots(rows)
    found: Floats = (slots == np.array(layout.slots, dtype=np.int64) - 1).mean(axis=0)
    return found


def make_by_copula(start: Start, rows: Floats, count: int, seed: int) -> Made:
    """`count` rows of the copula."""
    return Made(Copula(rows, start.table).rows(count, np.random.default_rng(seed)))


def make_by_trees(start: Start, rows: Floats, count: int, seed: int) -> Made:
    """`count` rows of the trees."""
    rng = np.random.default_rng(seed)
    return Made(Trees(rows, start.table, rng).rows(count, rng))


def make_by_gan(start: Start, rows: Floats, count: int, seed: int, settings: RecipeSettings) -> Made:
    """`count` rows of a generator trained on `rows`, from the start's weights if it has some."""
    from stream_balance.gan.train import generate, steps_for, train  # noqa: PLC0415  # torch is optional, and slow to import

    table, layout = start.table, start.table.layout
    rng = np.random.default_rng(seed)
    trees, held = Trees(rows, table, rng), table.tied
    warm, spread = start.weights is not None, table.spread(rows)
    trained = train(
        layout,
        lambda chance: encode(*spread(chance), layout),
        encode(*trees.sample(DRAWN, rng), layout),
        steps=steps_for(len(rows), settings, warm=warm),
        seed=seed,
        weights=start.weights,
        held=held,
    )
    made = generate(layout, trained.weights, encode(*trees.sample(count, rng), layout), seed, held=held)
    weights = pack({"format": FORMAT, "layout": layout.as_plain()}, trained.weights)
    if not np.isfinite(made).all():
        return Made(np.full((count, layout.width), np.inf), warm=warm, curve=trained.curve)
    scores, slots = split(made, layout)
    # What was not edited has its marginals from the rows themselves.
    scores = np.where(held, scores, ranked(scores))
    return Made(table.decode(scores, slots, rng), weights, warm=warm, curve=trained.curve)


def encode(scores: Floats, slots: Ints, layout: Layout) -> npt.NDArray[np.float32]:
    """Scores (n, p) and slots (n, q) as the networks' rows (n, size)."""
    hot = [np.eye(width)[slots[:, j]] for j, width in enumerate(layout.slots)]
    return np.hstack([scores, *hot]).astype(np.float32)


def split(encoded: npt.NDArray[np.float32], layout: Layout) -> tuple[Floats, Ints]:
    """The networks' rows (n, size) as scores (n, p) and slots (n, q): of each nominal column the largest place."""
    p = len(layout.numeric)
    ends = np.cumsum([p, *layout.slots])
    slots = [encoded[:, a:b].argmax(axis=1) for a, b in pairwise(ends)]
    scores = encoded[:, :p].astype(np.float64)
    return scores, np.stack(slots, axis=1) if slots else np.empty((len(encoded), 0), dtype=np.int64)


def ranked(scores: Floats) -> Floats:
    """Scores (n, p) put to the normal scores of their ranks: dependence is made, marginals are the table's."""
    ranks = np.argsort(np.argsort(scores, axis=0, kind="stable"), axis=0, kind="stable")
    found: Floats = ndtri((ranks + 0.5) / len(scores))
    return found
