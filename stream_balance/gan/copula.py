"""Copula: a Gaussian copula of mixed columns, fitted in closed form. In: a Table. Out: scores and levels. numpy only.

Every column is a cut Gaussian score: the slots of a nominal column take intervals of it, ordered by where their rows
lie along the main direction of the others, so that one score can carry most of their dependence. With scores s = the
mean of z in each value's interval and a = var(s), a latent correlation r shows as cov(s_i, s_j) = r a_i a_j to first
order (Hermite expansion; Olsson, Drasgow and Dorans, "The polyserial correlation coefficient", 1982), solved for r.
Its own generator, and the first rung under the GAN, whose residual generator edits its samples.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from stream_balance.core.records import Floats
from stream_balance.gan.table import Ints, Table

CORRELATION_MAX = 0.995
EIGENVALUE_MIN = 1e-3


class Copula:
    """The dependence of rows (n, d) under a table's marginals.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 1))
    >>> rows = np.hstack([x, x + 0.1 * rng.normal(size=(500, 1))])
    >>> from stream_balance.gan.table import layout_of
    >>> table = Table(rows, layout_of(rows, [], levels_max=9, level_rows_min=1))
    >>> scores, _ = Copula(rows, table).sample(2000, rng)
    >>> bool(np.corrcoef(scores.T)[0, 1] > 0.98)
    True
    """

    def __init__(self, rows: Floats, table: Table) -> None:
        self.table = table
        low, high = table.ranks(rows)
        numeric = _interval_scores(low, high)
        slots = table.slots(rows)
        self._orders: list[Ints] = []
        self._edges: list[Floats] = []
        columns = [numeric]
        main = _main_direction(numeric, slots, table)
        for j in range(slots.shape[1]):
            order, edges = _intervals(slots[:, j], table.frequencies[j], main)
            self._orders.append(order)
            self._edges.append(edges)
            place = np.argsort(order)[slots[:, j]]
            columns.append(_interval_scores(edges[place], edges[place + 1])[:, None])
        scores = np.hstack(columns) if columns else np.empty((len(rows), 0))
        self._root = _root(_latent_correlation(scores))

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """Scores (n, p) and slots (n, q) of n new rows."""
        latent = rng.standard_normal((n, len(self._root))) @ self._root.T
        p = len(self.table.layout.numeric)
        slots = np.empty((n, len(self._orders)), dtype=np.int64)
        for j, (order, edges) in enumerate(zip(self._orders, self._edges, strict=True)):
            places = np.searchsorted(edges[1:-1], ndtr(latent[:, p + j]), side="right")
            slots[:, j] = order[places]
        return latent[:, :p], slots

    def rows(self, n: int, rng: np.random.Generator) -> Floats:
        """n new rows, (n, d)."""
        scores, slots = self.sample(n, rng)
        return self.table.decode(scores, slots, rng)


def _density(shares: Floats) -> Floats:
    """The normal density at the quantile of each share, 0 at the ends."""
    inside = (shares > 0) & (shares < 1)
    z = ndtri(np.where(inside, shares, 0.5))
    found: Floats = np.where(inside, np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi), 0.0)
    return found


def _interval_scores(low: Floats, high: Floats) -> Floats:
    """E[z | low < u < high] = (density(low) - density(high)) / (high - low), elementwise."""
    return (_density(low) - _density(high)) / np.maximum(high - low, 1e-12)


def _main_direction(numeric: Floats, slots: Ints, table: Table) -> Floats:
    """One number a row, (n,): its place along the first principal component of scores and one-hot levels."""
    hot = [np.eye(width)[slots[:, j]] for j, width in enumerate(table.layout.slots)]
    every = np.hstack([numeric, *hot]) if hot else numeric
    if not every.shape[1]:
        return np.zeros(len(every))
    centred = every - every.mean(axis=0)
    spread = centred.std(axis=0)
    centred = centred[:, spread > 0] / spread[spread > 0]
    if not centred.shape[1]:
        return np.zeros(len(every))
    _, vectors = np.linalg.eigh(centred.T @ centred)
    main: Floats = centred @ vectors[:, -1]
    return main


def _intervals(slots: Ints, frequencies: Floats, main: Floats) -> tuple[Ints, Floats]:
    """Slots in the order of their rows' mean place, and the edges of their intervals in 0..1."""
    counts = np.bincount(slots, minlength=len(frequencies))
    means = np.bincount(slots, weights=main, minlength=len(frequencies)) / np.maximum(counts, 1)
    order = np.argsort(means, kind="stable")
    edges = np.concatenate(([0.0], np.cumsum(frequencies[order])))
    edges[-1] = 1.0
    return order, edges


def _latent_correlation(scores: Floats) -> Floats:
    """Correlations of the uncut scores, (k, k), from the cut ones, (n, k)."""
    centred = scores - scores.mean(axis=0)
    covariance = centred.T @ centred / max(len(scores), 1)
    variance = np.maximum(np.diag(covariance), 1e-9)
    latent: Floats = np.clip(covariance / np.outer(variance, variance), -CORRELATION_MAX, CORRELATION_MAX)
    np.fill_diagonal(latent, 1.0)
    return latent


def _root(correlation: Floats) -> Floats:
    """A matrix whose square is the nearest correlation matrix without negative eigenvalues, (k, k)."""
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, EIGENVALUE_MIN))
    scaled: Floats = root / np.sqrt((root * root).sum(axis=1))[:, None]
    return scaled
