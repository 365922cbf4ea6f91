"""Noisy marginals: what a private training knows of single columns. In: rows, a budget. Out: rows of noisy marginals.

Each column gets an equal share of the budget rho (zero-concentrated differential privacy for adding or removing one
row: Bun and Steinke, TCC 2016). A nominal one: counts of its levels with Gaussian noise. A numeric one, on a grid of
four digits that no data has a say in: values so frequent that noise cannot hide them (zeros, counts, absences), then
medians of medians of the others by the exponential mechanism (Kaplan, Schnapp and Stemmer, "Differentially private
approximate quantiles", ICML 2022), each epsilon^2 / 8 of rho (Cesar and Rogers, ALT 2021, for a bounded range).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream_balance.core.records import Floats
from stream_balance.gan.table import ABSENT, Ints

DIGITS = 4
DECADES = range(-8, 10)  # larger values count as the largest, smaller ones as zero
LEVELS, OUTER = 4, 2  # splits into halves, and how often the outermost parts are split further
PART_ROWS_MIN = 20  # of about so many rows a median is worth its noise
SURE = 4.0  # standard deviations of noise above which a level is believed in


@dataclass(frozen=True, slots=True)
class Grid:
    """The values that a noisy marginal can have, ascending, absent (-inf) first; `mass` (k + 1,) sums up their weights.

    Round values weigh more: each number of digits has the same weight in all.
    """

    values: Floats
    mass: Floats

    @staticmethod
    def make() -> Grid:
        """The grid of this module."""
        whole = np.arange(10 ** (DIGITS - 1), 10**DIGITS)
        digits = DIGITS - sum((whole % 10**k == 0).astype(np.int64) for k in range(1, DIGITS))
        each = np.bincount(digits, minlength=DIGITS + 1)
        weights = np.tile(1.0 / each[digits], len(DECADES))
        above = np.concatenate([_written(whole, decade) for decade in DECADES])
        values = np.concatenate(([-np.inf], -above[::-1], [0.0], above))
        heavy = [weights.sum() / 4]
        mass = np.cumsum(np.concatenate(([0.0], heavy, weights[::-1], heavy, weights)))
        return Grid(values, mass)

    def places(self, values: Floats) -> Ints:
        """The place of each value (NaN = absent) on the grid, the nearest."""
        filled = np.clip(np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf), self.values[1], self.values[-1])
        above = np.clip(np.searchsorted(self.values, filled), 2, len(self.values) - 1)
        nearer = filled - self.values[above - 1] < self.values[above] - filled
        found: Ints = np.where(np.isnan(values), 0, np.where(nearer, above - 1, above))
        return found


def _written(whole: Ints, decade: int) -> Floats:
    """Four digits before a power of ten, as exactly as decimals are read."""
    power = decade - (DIGITS - 1)
    return whole * np.float64(10.0**power) if power >= 0 else whole / np.float64(10.0**-power)


def noisy_rows(rows: Floats, others: Floats, nominal: tuple[int, ...], rho: float, rng: np.random.Generator) -> Floats:
    """As many rows as `rows` (n, d), (n, d), whose columns have noisy marginals of them and nothing in common.

    `others` say which levels there are; their number n is taken as known.
    """
    n, d = rows.shape
    grid, share = Grid.make(), rho / d
    made = np.empty((n, d))
    for column in range(d):
        if column in nominal:
            levels = _known_levels(others[:, column])
            made[:, column] = _nominal(rows[:, column], levels, share, rng)
        else:
            made[:, column] = _numeric(rows[:, column], grid, share, rng)
    return made


def _known_levels(values: Floats) -> Floats:
    """Absent, and every code up to the largest."""
    present = values[~np.isnan(values)]
    return np.concatenate(([ABSENT], np.arange(int(present.max()) + 1 if len(present) else 1, dtype=np.float64)))


def _nominal(values: Floats, levels: Floats, rho: float, rng: np.random.Generator) -> Floats:
    codes = np.where(np.isnan(values), ABSENT, values)
    noise = (2 * rho) ** -0.5
    counts = np.array([(codes == level).sum() for level in levels]) + noise * rng.standard_normal(len(levels))
    believed = counts >= SURE * noise
    if not believed.any():
        believed = counts == counts.max()
    found = np.repeat(levels[believed], _apportioned(counts[believed], len(values)))
    return np.where(found == ABSENT, np.nan, found)


def _apportioned(weights: Floats, total: int) -> Ints:
    """Whole numbers in the proportion of positive weights, `total` in sum."""
    if weights.min() <= 0:
        weights = np.where(weights == weights.max(), 1.0, 0.0)
    edges = np.rint(np.cumsum(weights) / weights.sum() * total)
    found: Ints = np.diff(edges, prepend=0.0).astype(np.int64)
    return found


def _numeric(values: Floats, grid: Grid, rho: float, rng: np.random.Generator) -> Floats:
    n, places = len(values), grid.places(values)
    counts = np.bincount(places, minlength=len(grid.values)).astype(np.float64)
    noise = rho**-0.5  # half of the share is for the frequent values
    counts += noise * rng.standard_normal(len(counts))
    # So high that among all values of the grid hardly one is frequent by noise alone.
    frequent = np.flatnonzero(counts >= noise * (2 * np.log(len(counts))) ** 0.5 + noise)
    left = max(n - counts[frequent].sum(), 0.0)
    knots = np.empty(0, dtype=np.int64)
    if left >= 2 * PART_ROWS_MIN or not len(frequent):
        rest = np.sort(places[~np.isin(places, frequent)])
        levels = int(np.clip(np.log2(max(left, 1.0) / PART_ROWS_MIN), 1, LEVELS))
        knots, shares = _quantiles(rest, grid, levels, (rho / 2 / (levels + OUTER) * 8) ** 0.5, rng)
    else:
        left = 0.0
    parts = _apportioned(np.append(np.maximum(counts[frequent], 1e-9), max(left, 0.0) + 1e-9), n)
    found = [np.repeat(grid.values[frequent], parts[:-1])]
    if len(knots):
        found.append(_drawn(grid.values[knots], shares, int(parts[-1]), grid.values[frequent]))
    else:
        found.append(np.full(parts[-1], grid.values[frequent][0]))
    every = np.concatenate(found)
    return np.where(np.isneginf(every), np.nan, every)


def _quantiles(places: Ints, grid: Grid, levels: int, epsilon: float, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Noisy quantiles of sorted places, and the shares they stand at, both (k,), ascending.

    Every level splits rows that nobody else has, so that a row pays once a level.
    """
    knots: list[tuple[int, float]] = []

    def split(part: Ints, low: int, high: int, share: float, width: float, level: int, outer: bool) -> None:
        if level >= levels + (OUTER if outer else 0):
            return
        place = _median(part, grid, low, high, epsilon, rng)
        knots.append((place, share))
        # A row on the median itself falls to a side by its own coin.
        is_left = (part < place) | ((part == place) & (rng.random(len(part)) < 0.5))
        width /= 2
        split(part[is_left], low, place, share - width, width, level + 1, outer and (level == 0 or share < 0.5))
        split(part[~is_left], place, high, share + width, width, level + 1, outer and (level == 0 or share > 0.5))

    split(places, 1, len(grid.values) - 1, 0.5, 0.5, 0, outer=True)
    knots.sort(key=lambda each: each[1])
    return np.array([place for place, _ in knots]), np.array([share for _, share in knots])


def _median(part: Ints, grid: Grid, low: int, high: int, epsilon: float, rng: np.random.Generator) -> int:
    """A place within low..high by the exponential mechanism."""
    starts, ends, mass, worth = stretches(part, grid, low, high)
    chosen = int(np.argmax(np.log(mass) + epsilon * worth + rng.gumbel(size=len(mass))))
    target = grid.mass[starts[chosen]] + rng.random() * mass[chosen]
    return int(np.clip(np.searchsorted(grid.mass, target, side="right") - 1, starts[chosen], ends[chosen] - 1))


def stretches(part: Ints, grid: Grid, low: int, high: int) -> tuple[Ints, Ints, Floats, Floats]:
    """Stretches [start, end) of places of equal worth as a median of sorted `part` (n,), their mass and their worth.

    Worth: 0 for a median, else the ranks that lack. One row more or less moves it by half a rank at most.
    """
    here, counts = np.unique(np.clip(part, low, high), return_counts=True)
    edges = np.unique(np.concatenate(([low, high + 1], here, here + 1)))
    starts, ends = edges[:-1], edges[1:]
    ranks = np.concatenate(([0], np.cumsum(counts)))
    below, above = ranks[np.searchsorted(here, starts)], len(part) - ranks[np.searchsorted(here, ends)]
    worth = -np.maximum(np.maximum(below, above) - len(part) / 2, 0.0)
    return starts, ends, grid.mass[ends] - grid.mass[starts], worth


def _drawn(knots: Floats, shares: Floats, n: int, frequent: Floats) -> Floats:
    """n values on straight lines between quantiles, a step further at the ends, as many decimals as all have."""
    if len(knots) > 1:
        knots = np.concatenate(([2 * knots[0] - knots[1]], knots, [2 * knots[-1] - knots[-2]]))
    else:
        knots = np.repeat(knots, 3)
    values = np.interp((np.arange(n) + 0.5) / max(n, 1), np.concatenate(([0.0], shares, [1.0])), knots)
    finite = np.concatenate((knots[1:-1], frequent[np.isfinite(frequent)]))
    decimals = next((k for k in range(7) if np.array_equal(np.round(finite, k), finite)), None)
    return values if decimals is None else np.round(values, decimals)
