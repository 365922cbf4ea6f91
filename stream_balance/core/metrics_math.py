"""Formulas of the measuring rooms: pure functions of arrays, and the settings those rooms share. Remembers nothing.

Scores enter as groups: rows with equal scores (or of one histogram bin) are one group, in ascending order of score,
with the mass of its positives and negatives. So ties are handled once, and exact and binned figures share each formula.
Undefined is None, never 0.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt

from stream_balance.core.records import Floats, RoomSettings

Ints = npt.NDArray[np.intp]

EPSILON = 1e-15  # probabilities are clipped here before a logarithm
BINS = 1 << 16
_SMALLEST, _LARGEST = 1e-300, 1.0 - 2.0**-53  # probabilities told apart from 0 and 1
_LOW = math.asinh(0.5 * math.log(_SMALLEST))
_HIGH = math.asinh(0.5 * 53.0 * math.log(2.0))


class MetricSettings(RoomSettings):
    """Sizes of the measuring rooms."""

    window_positives: PositiveInt = 200  # the window reaches back to the 200th last positive: AUC's error is .019 there
    window_rows: PositiveInt = 100_000  # at most
    fade: float = Field(default=0.999, ge=0.9, lt=1.0)  # weight of a row against the row after it
    ece_bins: PositiveInt = 15  # of equal mass
    ranking_searches: PositiveInt = 5_000  # searches with a purchase in the ranking's window
    exposure_searches: PositiveInt = 5_000  # searches in the exposure's window
    top_k: PositiveInt = 10  # k = max(1, min(top_k, items // 2))


@dataclass(frozen=True, slots=True)
class Measured:
    """n rows: `ranks` (t, n) score per one-vs-rest task, `truth` (t, n) bool, `decided` (r, n) class per rule."""

    label: Ints
    ranks: Floats
    truth: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    loss: Floats
    brier: Floats
    decided: Ints


def measure(rows: Floats, classes: int) -> Measured:
    """Measure (n, C + 1) rows: probabilities of classes 1..C-1, threshold, label."""
    label = rows[:, -1].astype(np.intp)
    served = rows[:, : classes - 1].T
    assert not np.isnan(served).any(), "a served probability is NaN; the arm must answer with a number for every row"
    if classes == 2:
        p = served[0]
        ranks, truth = served, (label == 1)[None, :]
        right = np.where(label == 1, p, 1.0 - p)
        decided = np.stack((p >= 0.5, p >= rows[:, -2])).astype(np.intp)
    else:
        ranks = np.concatenate((np.clip(1.0 - served.sum(axis=0), 0.0, 1.0)[None, :], served))
        truth = label == np.arange(classes)[:, None]
        right = ranks[label, np.arange(len(label))]
        decided = np.argmax(ranks, axis=0)[None, :]
    loss = -np.log(np.clip(right, EPSILON, 1.0 - EPSILON))
    return Measured(label, ranks, truth, loss, (1.0 - right) ** 2, decided)


def score_bins(probability: Floats, bins: int = BINS) -> Ints:
    """Bin of each probability, 0..bins-1, monotone: equal steps of asinh(logit / 2).

    Of 2^16 bins one is .0003 wide in logit at p = .5, .0007 at p = .02 and .001 at p = .0003: a calibrator that trusts
    its model little spreads all its answers over .1. Yet probabilities down to 1e-300 are told apart: a naive Bayes
    spends most of its answers there.
    """
    clipped = np.clip(probability, _SMALLEST, _LARGEST)
    stretched = np.arcsinh(0.5 * (np.log(clipped) - np.log1p(-clipped)))
    steps: Ints = ((stretched - _LOW) * ((bins - 1) / (_HIGH - _LOW))).astype(np.intp)
    return np.minimum(steps, bins - 1)


def grouped(score: Floats, positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Exact groups of rows with equal score: (positives, negatives, sum of scores) by group, ascending."""
    values, group = np.unique(score, return_inverse=True)
    hits = np.bincount(group[positive], minlength=len(values)).astype(np.float64)
    mass = np.bincount(group, minlength=len(values)).astype(np.float64)
    return hits, mass - hits, values * mass


def roc_auc(positive: Floats, negative: Floats) -> float | None:
    """Area under the ROC curve, a tie counting half. None with fewer than two classes."""
    total = float(positive.sum()) * float(negative.sum())
    if total <= 0.0:
        return None
    below = np.cumsum(negative) - 0.5 * negative
    return float((positive * below).sum()) / total  # not @: a threaded dot product depends on the number of cores


def average_precision(positive: Floats, negative: Floats) -> float | None:
    """Step rule: sum of (recall gained) x (precision there) from the highest score down. None with one class."""
    hits = float(positive.sum())
    if hits <= 0.0 or float(negative.sum()) <= 0.0:
        return None
    found = positive[::-1]
    some = found > 0.0
    true = np.cumsum(found)
    taken = true + np.cumsum(negative[::-1])
    return float((found[some] * true[some] / taken[some]).sum()) / hits


def calibration_error(positive: Floats, negative: Floats, probability: Floats, bins: int) -> float | None:
    """Expected calibration error over `bins` of equal mass: sum of share x |mean probability - rate|.

    `probability` is the sum of probabilities by group. A group that straddles a border is shared in proportion,
    which is the expectation over the order of its tied rows.
    """
    mass = positive + negative
    used = mass > 0.0
    total = float(mass.sum())
    if total <= 0.0:
        return None
    reached = np.concatenate(([0.0], np.cumsum(mass[used])))
    gap = np.concatenate(([0.0], np.cumsum(probability[used] - positive[used])))
    borders = np.linspace(0.0, float(reached[-1]), bins + 1)
    return float(np.abs(np.diff(np.interp(borders, reached, gap))).sum()) / total


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are defined, None without any."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def entropy(counts: Floats) -> float:
    """Entropy of the class shares, natural log."""
    shares = counts[counts > 0.0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def ratio(part: float, whole: float) -> float | None:
    """part / whole, None where nothing is there to divide by."""
    return part / whole if whole > 0.0 else None


def decision_figures(confusion: Floats) -> dict[str, float | None]:
    """Figures of a 2 x 2 table [label, decided]. MCC of a constant decision is 0, as in scikit-learn."""
    (tn, fp), (fn, tp) = confusion.tolist()
    positives, negatives, rows = tp + fn, tn + fp, tn + fp + fn + tp
    recall, specificity = ratio(tp, positives), ratio(tn, negatives)
    figures = {
        "accuracy": ratio(tp + tn, rows),
        "majority_accuracy": ratio(max(positives, negatives), rows),
        "recall": recall,
        "specificity": specificity,
        "precision": ratio(tp, tp + fp),
        "f1": 2.0 * tp / (2.0 * tp + fp + fn) if tp + fp > 0.0 else None,
    }
    if recall is None or specificity is None:
        return figures
    # By way of shares, each at most 1: products of masses of which one has all but faded are lost in rounding.
    decided_positive, decided_negative = (tp + fp) / rows, (tn + fn) / rows
    errors_by_chance = decided_positive * (negatives / rows) + decided_negative * (positives / rows)
    return figures | {
        "gmean": math.sqrt(recall * specificity),
        "balanced_accuracy": 0.5 * (recall + specificity),
        "mcc": _matthews(tn, fp, fn, tp),
        "kappa": 1.0 - (fp + fn) / rows / errors_by_chance if errors_by_chance > _SMALLEST else None,
    }


def _matthews(tn: float, fp: float, fn: float, tp: float) -> float:
    """Matthews correlation: geometric mean of the four shares that are right, less that of the four that are wrong."""
    if tp + fp <= 0.0 or tn + fn <= 0.0:
        return 0.0
    right = math.sqrt(tp / (tp + fp) * (tp / (tp + fn))) * math.sqrt(tn / (tn + fp) * (tn / (tn + fn)))
    wrong = math.sqrt(fp / (tp + fp) * (fn / (tp + fn))) * math.sqrt(fp / (tn + fp) * (fn / (tn + fn)))
    return right - wrong


def gini(counts: npt.NDArray[np.float64 | np.intp]) -> float | None:
    """Gini coefficient of non-negative counts, zeros included: mean absolute difference / (2 x mean)."""
    total = float(counts.sum())
    if total <= 0.0:
        return None
    n = len(counts)
    ordered = np.sort(counts)
    return float(2.0 * (np.arange(1, n + 1) * ordered).sum() / (n * total) - (n + 1) / n)


def cut(items: int, top_k: int) -> int:
    """The k of a list of so many items: half of it, at most `top_k`, at least one."""
    return max(1, min(top_k, items // 2))


def ranking_figures(scores: Sequence[float], relevant: Sequence[int], k: int) -> tuple[float, float, float]:
    """(reciprocal rank, nDCG@k, hit@k) of a list ordered by descending score, expected over random orders of ties.

    `relevant` are the indices of what was bought, at least one; gains are binary.
    """
    ascending = sorted(scores)
    bought: dict[float, int] = {}
    for index in relevant:
        bought[scores[index]] = bought.get(scores[index], 0) + 1
    groups = []  # of tied items, best first: items above, items tied, of which bought
    for score in sorted(bought, reverse=True):
        end = bisect_right(ascending, score)
        groups.append((len(ascending) - end, end - bisect_left(ascending, score), bought[score]))
    gain = sum(hits / size * _discounts(above, min(above + size, k)) for above, size, hits in groups)
    return _first_rank(*groups[0]), gain / _discounts(0, min(len(relevant), k)), _hit(*groups[0], k)


def _discounts(start: int, stop: int) -> float:
    """Sum of the DCG discounts of ranks start+1..stop."""
    return sum(1.0 / math.log2(rank + 2) for rank in range(start, stop))


def _first_rank(above: int, size: int, bought: int) -> float:
    """Expected 1 / rank of the first of `bought` items among `size` tied ones, `above` items before them."""
    expected, not_yet = 0.0, 1.0
    for drawn in range(size - bought + 1):
        now = bought / (size - drawn)
        expected += not_yet * now / (above + drawn + 1)
        not_yet *= 1.0 - now
    return expected


def _hit(above: int, size: int, bought: int, k: int) -> float:
    """Probability that one of `bought` items among `size` tied ones lies in the top k."""
    slots = min(k - above, size)
    if slots <= 0:
        return 0.0
    missed = 1.0
    for drawn in range(slots):
        missed *= max(0, size - bought - drawn) / (size - drawn)
    return 1.0 - missed
