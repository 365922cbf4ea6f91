"""Quality: how near made rows are to rows that nobody trained on. In: three sets of rows. Out: `Quality`.

A classifier two-sample test (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017) by a forest,
coverage (Naeem et al., "Reliable fidelity and diversity metrics for generative models", ICML 2020), distance to the
closest record, and distances of marginals and of pairs. Copies of real rows pass the first two: the third is for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from stream_balance.core.records import Floats
from stream_balance.core.synthesis import Quality
from stream_balance.gan.table import Ints, Table

TREES, LEAF_ROWS, FOLDS = 100, 2, 5
NEIGHBOURS = 5
CELLS = 4  # a numeric column is cut into so many cells for the joint tables
PAIRS_MAX = 300
KS_MEAN = (np.pi / 2) ** 0.5 * np.log(2)  # of the Kolmogorov distribution
DISTANCE_ROWS_MAX = 2_000
BY_NATURE = 2.0  # standard errors of the held-out rows' share that is equal to a row learned
# Columns are tied where shuffling opens more distance than this over the root of the held-out rows' number: on average
# over the pairs (the more where there are few pairs, P), or in one. Independent columns (2 to 25 of them, 70 to 1,000
# rows, 1,120 tables) stood on average at .20 (P = 15), .30 (3) and .39 (1) at most, in one pair at .78.
TIED_MEAN, TIED_FEW, TIED_WORST = 0.2, 0.3, 1.0


def quality_of(
    made: Floats, learned: Floats, held_out: Floats, nominal: tuple[int, ...], table: Table, seed: int
) -> Quality:
    """Figures of rows `made` (m, d), given the rows `learned` from and the rows `held_out`."""
    marginal = marginal_distances(made, held_out, nominal)
    # The mean Kolmogorov-Smirnov distance of two samples of one distribution, where it is continuous.
    by_chance = KS_MEAN * (1 / len(made) + 1 / len(held_out)) ** 0.5
    pairs = pairwise_distances(made, held_out, table)
    shuffled = pairwise_distances(shuffle(learned, len(made), seed), held_out, table)
    near = [encoded(rows[-DISTANCE_ROWS_MAX:], table) for rows in (made, learned, held_out)]
    return Quality(
        c2st=c2st(made, held_out, seed),
        coverage=coverage(near[0][: len(held_out)], near[2]),
        dcr_share=dcr_share(*near),
        exact_share=exact_share(made, learned),
        exact_share_real=exact_share_by_nature(held_out, learned),
        marginal=max(float(np.mean(marginal)) - by_chance, 0.0) if marginal else 0.0,
        pairwise=float(np.mean(pairs)) if pairs else 0.0,
        pairwise_max=max(pairs, default=0.0),
        pairs_lost=pairs_lost(pairs, pairwise_distances(learned, held_out, table), shuffled, len(held_out)),
    )


def c2st(made: Floats, real: Floats, seed: int) -> float:
    """Cross-validated AUC of a forest that tells equally many made rows from real ones; .5 = it cannot."""
    n = min(len(made), len(real))
    rows, is_real = np.vstack([made[:n], real[:n]]), np.repeat([0, 1], n)
    chance = np.full(2 * n, 0.5)
    for fit, test in StratifiedKFold(min(FOLDS, n), shuffle=True, random_state=seed).split(rows, is_real):
        forest = RandomForestClassifier(TREES, min_samples_leaf=LEAF_ROWS, random_state=seed)
        chance[test] = forest.fit(rows[fit], is_real[fit]).predict_proba(rows[test])[:, 1]
    return float(roc_auc_score(is_real, chance))


def encoded(rows: Floats, table: Table) -> Floats:
    """Rows in a space where a standard deviation of rank score and a different level both count 1, (n, size)."""
    scores, slots = table.middle(rows)
    hot = [np.eye(width)[slots[:, j]] * np.sqrt(0.5) for j, width in enumerate(table.layout.slots)]
    return np.hstack([scores, *hot])


def _squared(a: Floats, b: Floats) -> Floats:
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    found: Floats = np.maximum(squares, 0.0)
    return found


def coverage(made: Floats, real: Floats) -> float:
    """Share of real rows, (n, k), with a made row within the distance of their fifth nearest real row."""
    k = min(NEIGHBOURS, len(real) - 1)
    reach = np.partition(_squared(real, real), k, axis=1)[:, k]
    return float((_squared(real, made).min(axis=1) <= reach).mean())


def dcr_share(made: Floats, learned: Floats, held_out: Floats) -> float:
    """Share of made rows nearer to a row learned than to one held out, as if both were equally many: .5 = no copies.

    Ties count half. With r times as many rows learned, fresh rows fall to them at odds of r: those are taken off.
    """
    to_learned, to_held = _squared(made, learned).min(axis=1), _squared(made, held_out).min(axis=1)
    tie = np.isclose(to_learned, to_held, rtol=1e-9, atol=1e-12)
    ratio = len(learned) / len(held_out)
    share = float(np.where(tie, ratio / (1 + ratio), to_learned < to_held).mean())
    return share / (share + (1 - share) * ratio)


def exact_share(made: Floats, learned: Floats) -> float:
    """Share of rows that are equal to one learned, in every column."""
    known = {row.tobytes() for row in learned + 0.0}  # + 0.0: -0.0 is 0.0
    return float(np.mean([row.tobytes() in known for row in made + 0.0]))


def exact_share_by_nature(held_out: Floats, learned: Floats) -> float:
    """Share of fresh rows that may be equal to one learned: the held-out rows' share and two of its standard errors."""
    share = exact_share(held_out, learned)
    return share + BY_NATURE * float(np.sqrt(share * (1 - share) / len(held_out)))


def marginal_distances(made: Floats, real: Floats, nominal: tuple[int, ...]) -> list[float]:
    """By column: Kolmogorov-Smirnov distance, absent values lowest; total variation where it is nominal."""
    found = []
    for column in range(real.shape[1]):
        a, b = (np.where(np.isnan(rows[:, column]), -np.inf, rows[:, column]) for rows in (made, real))
        values = np.unique(np.concatenate([a, b]))
        if column in nominal:
            shares = [np.array([(each == v).mean() for v in values]) for each in (a, b)]
            found.append(float(np.abs(shares[0] - shares[1]).sum() / 2))
        else:
            below = [np.searchsorted(np.sort(each), values, side="right") / len(each) for each in (a, b)]
            found.append(float(np.abs(below[0] - below[1]).max()))
    return found


def pairwise_distances(made: Floats, real: Floats, table: Table) -> list[float]:
    """By pair of columns: total variation between both joint tables, less what two halves of chance would show.

    Chance: two samples of n and m from one table with c cells differ by about sum sqrt(p (1/n + 1/m) / (2 pi)).
    """
    cells = [_cells(rows, table) for rows in (made, real)]
    widths = [int(max(each[:, j].max() for each in cells)) + 1 for j in range(cells[0].shape[1])]
    found = []
    for i, j in list(combinations(range(len(widths)), 2))[:PAIRS_MAX]:
        tables = [
            np.bincount(each[:, i] * widths[j] + each[:, j], minlength=widths[i] * widths[j]) / len(each)
            for each in cells
        ]
        by_chance = np.sqrt((tables[0] + tables[1]) / 2 * (1 / len(made) + 1 / len(real)) / (2 * np.pi)).sum()
        found.append(max(float(np.abs(tables[0] - tables[1]).sum() / 2 - by_chance), 0.0))
    return found


def shuffle(rows: Floats, count: int, seed: int) -> Floats:
    """`count` rows with the columns of rows (n, d) and nothing that ties them: each column in an order of its own."""
    rng = np.random.default_rng(seed)
    often = np.tile(rows, (-(-count // len(rows)), 1))
    return np.column_stack([rng.permutation(column) for column in often.T])[:count]


def pairs_lost(made: Sequence[float], real: Sequence[float], shuffled: Sequence[float], held_out: int) -> float:
    """Where made rows stand on the way from real rows (0) to shuffled ones (1), by their distances of pairs.

    The least-squares coefficient over the pairs, each by what shuffling opens in it: the worst pair alone is too much a
    matter of chance. 0 where shuffling opens no more than by chance: such columns have nothing to lose.

    >>> round(pairs_lost([0.0, 0.1, 0.1], [0.0, 0.1, 0.0], [0.4, 0.1, 0.2], 100), 3)
    0.1
    >>> pairs_lost([0.0, 0.1, 0.1], [0.0, 0.1, 0.0], [0.4, 0.1, 0.2], 2)
    0.0
    """
    difference = np.subtract(shuffled, real)
    opened, by_chance = np.maximum(difference, 0.0), held_out**-0.5
    if not len(opened):
        return 0.0
    mean_min = (TIED_MEAN + TIED_FEW / len(opened) ** 0.5) * by_chance
    if difference.mean() <= mean_min and opened.max() <= TIED_WORST * by_chance:
        return 0.0
    return float(opened @ np.subtract(made, real) / (opened @ opened))


def _cells(rows: Floats, table: Table) -> Ints:
    """Each column as a small whole number, (n, k)."""
    low, high = table.ranks(rows)
    numeric = np.minimum(((low + high) / 2 * CELLS).astype(np.int64), CELLS - 1)
    return np.hstack([numeric, table.slots(rows)])
