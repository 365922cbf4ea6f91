"""Shadow: would a model gain from made rows? In: rows of a class, of the others, made rows. Out: `Gain`s.

Each model is trained on the rows that may be learned, alone, with plain copies, and with made rows, each diet several
times, and ranks the held-out rows. Compared is average precision at the stream's rate, paired: the same held-out
rows, the same amounts. Its error is that of the held-out rows (bootstrap) and that of the trainings, together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from stream_balance.core.records import Floats
from stream_balance.core.synthesis import Gain
from stream_balance.gan.table import Ints

BOOTSTRAPS = 60
MIN_HELD_OUT = 10  # rows of the class to measure on

# Learn rows (n, d) with labels (n,) from a seed, then rank rows (m, d): higher = rather of the class.
Learner = Callable[[Floats, Ints, int, Floats], Floats]


def booster(rows: Floats, labels: Ints, seed: int, test: Floats) -> Floats:
    """The stronger model: boosted trees of the service's own booster's size. Level numbers are split as numbers are."""
    known = ~np.isnan(rows).all(axis=0)  # a column without any value it cannot bin
    if not known.any():
        return np.zeros(len(test))
    rows, test = rows[:, known], test[:, known]
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)
    # More threads wait for each other on busy cores, and sum in another order.
    with threadpool_limits(1):
        found: Floats = trees.fit(rows, labels).predict_proba(test)[:, 1]
    return found


@dataclass(frozen=True, slots=True)
class ShadowSet:
    """Rows to learn and held-out rows, of the class and of the others; `rate` is the class's share in the stream."""

    rows: Floats
    others: Floats
    rows_held_out: Floats
    others_held_out: Floats
    rate: float


def shadow_gains(
    shadow: ShadowSet, made: Floats, learners: Mapping[str, Learner], shares: tuple[float, ...], repeats: int, seed: int
) -> tuple[Gain, ...]:
    """A `Gain` for each model and share. Empty where there are too few held-out rows to tell."""
    if len(shadow.rows_held_out) < MIN_HELD_OUT or len(shadow.others_held_out) < MIN_HELD_OUT:
        return ()
    gains: list[Gain] = []
    for name, learner in learners.items():
        none = [_scores(shadow, learner, None, seed + r) for r in range(repeats)]
        for share in shares:
            amount = round(share / (1 - share) * (len(shadow.rows) + len(shadow.others)))
            copies, fed = [], []
            for r in range(repeats):
                rng = np.random.default_rng((seed, r))
                copies.append(_scores(shadow, learner, _take(shadow.rows, amount, rng), seed + r))
                fed.append(_scores(shadow, learner, _take(made, amount, rng), seed + r))
            gains.append(_gain(name, share, shadow, (none, copies, fed), seed))
    return tuple(gains)


def _take(rows: Floats, amount: int, rng: np.random.Generator) -> Floats:
    """`amount` of the rows, each as often as the others, give or take one."""
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(-(-amount // len(rows)))])
    taken: Floats = rows[order[:amount]]
    return taken


def _scores(shadow: ShadowSet, learner: Learner, more: Floats | None, seed: int) -> Floats:
    """Scores of the held-out rows, those of the class first, after learning in an order of chance."""
    rows = shadow.rows if more is None else np.vstack([shadow.rows, more])
    every = np.vstack([rows, shadow.others])
    labels = np.repeat([1, 0], [len(rows), len(shadow.others)])
    order = np.random.default_rng(seed).permutation(len(every))
    return learner(every[order], labels[order], seed, np.vstack([shadow.rows_held_out, shadow.others_held_out]))


def _gain(
    name: str, share: float, shadow: ShadowSet, diets: tuple[list[Floats], list[Floats], list[Floats]], seed: int
) -> Gain:
    positive, negative = len(shadow.rows_held_out), len(shadow.others_held_out)
    # Weights that give the held-out rows the stream's rate.
    rate = min(max(shadow.rate, 1e-6), 1 - 1e-6)
    weights = np.repeat([rate / positive, (1 - rate) / negative], [positive, negative])
    labels = np.repeat([1, 0], [positive, negative])
    rng = np.random.default_rng(seed)
    drawn = np.stack(
        [
            np.ones(len(labels)),
            *(
                np.concatenate([rng.multinomial(n, np.full(n, 1 / n)) for n in (positive, negative)])
                for _ in range(BOOTSTRAPS)
            ),
        ]
    )
    # (diet, repeat, bootstrap); bootstrap 0 is the rows as they are
    found = np.array([[weighted_precision(labels, scores, drawn * weights) for scores in diet] for diet in diets])
    differences = found[2] - found[:2]  # (2, repeat, bootstrap)
    error = np.sqrt(
        differences[:, :, 1:].mean(axis=1).var(axis=1)
        + (differences[:, :, 0].var(axis=1, ddof=1) / differences.shape[1] if differences.shape[1] > 1 else 0.0)
    )
    mean = differences[:, :, 0].mean(axis=1)
    return Gain(
        name, share, float(found[0, :, 0].mean()), float(mean[0]), float(error[0]), float(mean[1]), float(error[1])
    )


def weighted_precision(labels: Ints, scores: Floats, weights: Floats) -> Floats:
    """Average precision under each row of `weights` (b, n), (b,); rows of equal score are one step.

    >>> weighted_precision(np.array([1, 0, 1]), np.array([0.9, 0.5, 0.1]), np.ones((1, 3))).round(3).tolist()
    [0.833]
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order]) != 0), len(scores) - 1)
    ordered = weights[:, order]
    hits = np.cumsum(ordered * labels[order], axis=1)[:, ends]
    every = np.cumsum(ordered, axis=1)[:, ends]
    steps = np.diff(hits, axis=1, prepend=0.0)
    found: Floats = (steps * hits / np.maximum(every, 1e-300)).sum(axis=1) / np.maximum(hits[:, -1], 1e-300)
    return found
