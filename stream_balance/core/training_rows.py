"""Training rows: what a training learns from and is judged by, from the window. In: a moment. Out: TrainingSet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Columns, Floats
from stream_balance.core.synthesis import RecipeSettings, Spent, TrainingSet
from stream_balance.core.window import Window

HELD_OUT = 0.25  # share of the rows that is never trained on
# SplitMix64 (Steele, Lea and Flood 2014, figure 16): its increment, and the multipliers of its finalizer.
INCREMENT = np.uint64(0x9E3779B97F4A7C15)
MIX_ONE, MIX_TWO = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class Moment:
    """What the policy sees: events taken, event time, drift alarms so far, and what there is to learn from."""

    events: int
    now_us: int
    alarms: int
    window: Window
    columns: Columns
    shares: Sequence[float]
    rare: Sequence[int]  # classes that are to be raised


def training_set(
    moment: Moment, label: int, recipe: RecipeSettings, model: str, seed: int, weights: bytes, spent: Spent = ()
) -> TrainingSet:
    """A complete request for rows of class `label`."""
    rows, numbers = moment.window.numbered(label, recipe.rows_max)
    others, other_numbers = _others(moment, label, recipe.others_max)
    width = max(rows.shape[1], others.shape[1])
    return TrainingSet(
        label=label, rows=_wide(rows, width), held_out=held_out(numbers), others=_wide(others, width),
        others_held_out=held_out(other_numbers),
        nominal=tuple(c for c in moment.columns.nominal_indices if c < width),
        rate=float(moment.shares[label]), model=model, seed=seed, settings=recipe, weights=weights, spent=spent,
    )  # fmt: skip


def has_rows(moment: Moment, label: int, recipe: RecipeSettings) -> bool:
    """Whether a training of class `label` would have rows enough, as the child counts them."""
    if moment.window.size(label) < recipe.rows_min:
        return False  # without a copy of the rows
    is_out = held_out(moment.window.numbered(label, recipe.rows_max)[1])
    return recipe.are_enough(int((~is_out).sum()), int(is_out.sum()))


def held_out(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which rows are never trained on, by their number of arrival: the same rows in every request, (n,).

    A hash that mixes: with one multiplication alone, of rows that come 144 arrivals apart none would be held out.
    """
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) * INCREMENT
        mixed = (mixed ^ (mixed >> np.uint64(30))) * MIX_ONE
        mixed = (mixed ^ (mixed >> np.uint64(27))) * MIX_TWO
    mixed ^= mixed >> np.uint64(31)
    found: npt.NDArray[np.bool_] = mixed >= np.uint64(round((1 - HELD_OUT) * 2**64))
    return found


def _others(moment: Moment, label: int, rows_max: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The newest rows of all other classes, each in its share, (n, d), and their numbers, (n,)."""
    rest = sum(share for c, share in enumerate(moment.shares) if c != label) or 1.0
    parts = [
        moment.window.numbered(c, max(1, round(rows_max * share / rest)))
        for c, share in enumerate(moment.shares)
        if c != label
    ]
    width = max(rows.shape[1] for rows, _ in parts)
    return np.vstack([_wide(rows, width) for rows, _ in parts]), np.concatenate([numbers for _, numbers in parts])


def _wide(rows: Floats, width: int) -> Floats:
    if rows.shape[1] == width:
        return rows
    wide = np.full((len(rows), width), np.nan)
    wide[:, : rows.shape[1]] = rows
    return wide
