"""Verdict: what the answers of a race are worth, with errors. In: `Answers`. Out: figures, gains, curves, plots.

Errors are the jackknife's over `BLOCKS` stretches of equal length (Künsch 1989): rows near each other in time may
depend on each other. An interval is that of 95 % confidence: Student's t with a degree of freedom less than stretches
(Tukey 1958), cut where a figure ends. A gain is paired: both answers are to the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from stream_balance.core.comparison import jackknife_error
from stream_balance.core.metrics_math import average_precision, calibration_error, grouped, roc_auc, score_bins
from stream_balance.core.race import Answers
from stream_balance.core.records import TAIL
from stream_balance.core.reliability import reliability

BLOCKS = 40
SURE = 3.0  # errors: with twenty strategies one in three comparisons would show two by chance
STRETCHES = 30  # points of a curve over time
CURVE_POINTS = 60  # of a precision-recall curve
CONFIDENCE = 0.95

Array = npt.NDArray[np.float64]
Interval = tuple[float, float]


class Sums(NamedTuple):
    """What figures are made of. Of parts of the rows with one axis more in front."""

    counts: Array  # rows by outcome or not and bin of the score, of those that have any, (2, bins)
    mass: Array  # sum of probability by bin, (bins,)
    decisions: Array  # rows by outcome or not and decided or not at the threshold of then, (2, 2)
    loss: Array  # sum of log-loss, ()

    def total(self) -> Sums:
        """Of all parts together."""
        return Sums(*(each.sum(axis=0) for each in self))

    def of(self, part: int) -> Sums:
        """Of one part."""
        return Sums(*(each[part] for each in self))

    def less(self, other: Sums) -> Sums:
        """Without the rows of another."""
        return Sums(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))


class Verdict:
    """Figures of k answers; None where they are undefined."""

    def __init__(self, answers: Answers, ece_bins: int = 15) -> None:
        self._answers, self._ece_bins = answers, ece_bins
        self._said = answers.probability.astype(np.float64)
        self._decided = answers.decided.astype(np.bool_)
        self._outcome = answers.labels > 0
        self._rows = len(self._outcome)
        self._figures = _FIGURES | {"ece": (partial(_calibration, ece_bins), 1.0)}
        places = np.arange(self._rows)
        self._blocks = min(BLOCKS, self._rows)
        self._block = places * self._blocks // max(self._rows, 1)
        self._stretch = places * STRETCHES // max(self._rows, 1)

    def of_tail(self) -> Verdict:
        """The same of the tail's rows alone."""
        given = self._answers
        tail = given.tiers == TAIL
        rows = Answers(given.probability[:, tail], given.decided[:, tail], given.labels[tail], given.tiers[tail])
        return Verdict(rows, self._ece_bins)

    def figures(self, answer: int) -> dict[str, dict[str, Any]]:
        """By figure: its `value` over all rows, its standard `error`, and the `interval` of 95 % confidence."""
        whole, parts = self._whole_and_parts(answer)
        without = [[figure(whole.less(part)) for figure, _ in self._figures.values()] for part in parts]
        by_figure = zip(*without, strict=True) if without else [()] * len(self._figures)
        return {
            name: _estimate(figure(whole), left_out, highest, lowest=0.0)
            for (name, (figure, highest)), left_out in zip(self._figures.items(), by_figure, strict=True)
        }

    def gain(self, ours: int, theirs: int) -> dict[str, dict[str, Any]]:
        """How much better one answer is than another (positive: better), by average precision and log-loss."""
        mine, my_parts = self._whole_and_parts(ours)
        other, other_parts = self._whole_and_parts(theirs)
        found = {}
        for name, sign in (("average_precision", 1.0), ("log_loss", -1.0)):
            figure = _FIGURES[name][0]
            without = [
                _gained(figure(mine.less(a)), figure(other.less(b)), sign)
                for a, b in zip(my_parts, other_parts, strict=True)
            ]
            found[name] = _estimate(_gained(figure(mine), figure(other), sign), without)
        return found

    def _whole_and_parts(self, answer: int) -> tuple[Sums, list[Sums]]:
        """Of all rows, and of each block."""
        sums = self._sums(answer, self._block, self._blocks)
        return sums.total(), [sums.of(b) for b in range(self._blocks)]

    def curve(self, answer: int) -> list[dict[str, float | int | None]]:
        """Stretch by stretch: the row it ends at, average precision, log-loss, mean probability, rate."""
        sums = self._sums(answer, self._stretch, STRETCHES)
        points: list[dict[str, float | int | None]] = []
        for at in range(STRETCHES):
            part = sums.of(at)
            rows = part.counts.sum()
            if rows:
                points.append(
                    {
                        "row": -(-(at + 1) * self._rows // STRETCHES),
                        "average_precision": _precision(part),
                        "log_loss": _loss(part),
                        "probability": float(part.mass.sum() / rows),
                        "rate": float(part.counts[1].sum() / rows),
                    }
                )
        return points

    def precision_recall(self, answer: int) -> list[tuple[float, float]]:
        """(recall, precision) from the highest score down, thinned."""
        hits, misses, _ = grouped(self._said[answer], self._outcome)
        if not hits.sum():
            return []
        found = hits[::-1].cumsum()
        precision = found / (found + misses[::-1].cumsum())
        recall = found / found[-1]
        wanted = np.unique(np.searchsorted(recall, np.linspace(0, 1, CURVE_POINTS + 1)[1:]).clip(0, len(recall) - 1))
        return [(float(recall[i]), float(precision[i])) for i in wanted]

    def reliability(self, answer: int) -> list[dict[str, float | int]]:
        """Promised against seen, ten bins."""
        return reliability(self._said[answer], self._outcome)

    def _sums(self, answer: int, part: npt.NDArray[np.int64], parts: int) -> Sums:
        """Part by part."""

        def by_cell(cell: npt.NDArray[np.int64], *shape: int, of: Array | None = None) -> Array:
            return np.bincount(cell, of, minlength=parts * math.prod(shape)).astype(np.float64).reshape(parts, *shape)

        said = self._said[answer]
        used, binned = np.unique(score_bins(said), return_inverse=True)
        losses = -np.log(np.maximum(np.where(self._outcome, said, 1.0 - said), 1e-15))
        outcome = part * 2 + self._outcome
        return Sums(
            by_cell(outcome * len(used) + binned, 2, len(used)),
            by_cell(part * len(used) + binned, len(used), of=said),
            by_cell(outcome * 2 + self._decided[answer], 2, 2),
            by_cell(part, of=losses),
        )


def _precision(sums: Sums) -> float | None:
    return average_precision(sums.counts[1], sums.counts[0])


def _area(sums: Sums) -> float | None:
    return roc_auc(sums.counts[1], sums.counts[0])


def _loss(sums: Sums) -> float | None:
    rows = float(sums.counts.sum())
    return float(sums.loss) / rows if rows else None


def _ratio(sums: Sums) -> float | None:
    hits = float(sums.counts[1].sum())
    return float(sums.mass.sum()) / hits if hits else None


def _calibration(bins: int, sums: Sums) -> float | None:
    return calibration_error(sums.counts[1], sums.counts[0], sums.mass, bins)


def _gmean(sums: Sums) -> float | None:
    of_class = sums.decisions.sum(axis=1)
    if not of_class.all():
        return None
    return math.sqrt(float(sums.decisions[1, 1] / of_class[1] * sums.decisions[0, 0] / of_class[0]))


# By name: the figure, and the highest it can be; the lowest is 0.
_FIGURES: dict[str, tuple[Callable[[Sums], float | None], float]] = {
    "roc_auc": (_area, 1.0),
    "average_precision": (_precision, 1.0),
    "log_loss": (_loss, math.inf),
    "mean_probability_over_rate": (_ratio, math.inf),
    "gmean": (_gmean, 1.0),
}


def _estimate(
    value: float | None, without: Sequence[float | None], highest: float = math.inf, *, lowest: float = -math.inf
) -> dict[str, Any]:
    error = jackknife_error(without)
    return {"value": value, "error": error, "interval": _interval(value, error, len(without), lowest, highest)}


def _interval(value: float | None, error: float | None, blocks: int, lowest: float, highest: float) -> Interval | None:
    if value is None or error is None:
        return None
    reach = float(stdtrit(blocks - 1, (1 + CONFIDENCE) / 2)) * error
    return max(value - reach, lowest), min(value + reach, highest)


def _gained(ours: float | None, theirs: float | None, sign: float) -> float | None:
    return None if ours is None or theirs is None else sign * (ours - theirs)


def sure(gain: dict[str, Any]) -> bool:
    """Whether a gain, positive or negative, is more than `SURE` of its errors away from nothing."""
    value, error = gain["value"], gain["error"]
    return value is not None and error is not None and abs(value) > SURE * error
