"""Verdict: what the answers of a race are worth, with errors. In: `Answers`. Out: figures, gains, curves, plots.

Errors are the jackknife's over `BLOCKS` stretches of equal length (Künsch 1989): rows near each other in time may
depend on each other. A gain is paired: both answers are to the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_balance.core.comparison import jackknife_error
from stream_balance.core.metrics_math import average_precision, grouped, roc_auc, score_bins
from stream_balance.core.race import Answers
from stream_balance.core.reliability import reliability

BINS = 4_096  # of scores: areas to .005
BLOCKS = 40
SURE = 3.0  # errors: with twenty strategies one in three comparisons would show two by chance
STRETCHES = 30  # points of a curve over time
CURVE_POINTS = 60  # of a precision-recall curve

Counts = npt.NDArray[np.float64]


class Verdict:
    """Figures of k answers; None where they are undefined."""

    def __init__(self, answers: Answers) -> None:
        self._said = answers.probability.astype(np.float64)
        self._outcome = answers.labels > 0
        self._rows = len(self._outcome)
        places = np.arange(self._rows)
        self._blocks = min(BLOCKS, self._rows)
        self._block = places * self._blocks // max(self._rows, 1)
        self._stretch = places * STRETCHES // max(self._rows, 1)

    def figures(self, answer: int) -> dict[str, dict[str, float | None]]:
        """By figure: its `value` over all rows, and its standard `error`."""
        sums = self._sums(answer, self._block, self._blocks)
        whole, found = _total(sums), {}
        for name, figure in _FIGURES.items():
            error = jackknife_error([figure(*_without(whole, sums, b)) for b in range(self._blocks)])
            found[name] = {"value": figure(*whole), "error": error}
        return found

    def gain(self, ours: int, theirs: int) -> dict[str, dict[str, float | None]]:
        """How much better one answer is than another (positive: better), by average precision and log-loss."""
        pair = [self._sums(each, self._block, self._blocks) for each in (ours, theirs)]
        wholes = [_total(sums) for sums in pair]
        found = {}
        for name, sign in (("average_precision", 1.0), ("log_loss", -1.0)):
            figure = _FIGURES[name]
            value = _gained(figure(*wholes[0]), figure(*wholes[1]), sign)
            without = []
            for b in range(self._blocks):
                mine, other = (figure(*_without(whole, sums, b)) for whole, sums in zip(wholes, pair, strict=True))
                without.append(_gained(mine, other, sign))
            found[name] = {"value": value, "error": jackknife_error(without)}
        return found

    def curve(self, answer: int) -> list[dict[str, float | int | None]]:
        """Stretch by stretch: the row it ends at, average precision, log-loss, mean probability, rate."""
        sums = self._sums(answer, self._stretch, STRETCHES)
        points: list[dict[str, float | int | None]] = []
        for at in range(STRETCHES):
            counts, loss, mass = sums[0][at], sums[1][at], sums[2][at]
            rows = counts.sum()
            if rows:
                points.append(
                    {
                        "row": -(-(at + 1) * self._rows // STRETCHES),
                        "average_precision": _precision(counts, loss, mass),
                        "log_loss": _loss(counts, loss, mass),
                        "probability": float(mass / rows),
                        "rate": float(counts[1].sum() / rows),
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

    def _sums(self, answer: int, part: npt.NDArray[np.int64], parts: int) -> tuple[Counts, Counts, Counts]:
        """By part: counts by outcome and score bin, (parts, 2, bins); sums of log-loss and of probability, (parts,)."""
        said = self._said[answer]
        cell = (part * 2 + self._outcome) * BINS + score_bins(said, BINS)
        counts = np.bincount(cell, minlength=parts * 2 * BINS).astype(np.float64).reshape(parts, 2, BINS)
        losses = -np.log(np.maximum(np.where(self._outcome, said, 1.0 - said), 1e-15))
        loss, mass = (np.bincount(part, each, minlength=parts).astype(np.float64) for each in (losses, said))
        return counts, loss, mass


def _total(sums: tuple[Counts, Counts, Counts]) -> tuple[Counts, float, float]:
    return sums[0].sum(axis=0), float(sums[1].sum()), float(sums[2].sum())


def _without(
    whole: tuple[Counts, float, float], sums: tuple[Counts, Counts, Counts], block: int
) -> tuple[Counts, float, float]:
    return whole[0] - sums[0][block], whole[1] - float(sums[1][block]), whole[2] - float(sums[2][block])


def _precision(counts: Counts, loss: float, mass: float) -> float | None:
    return average_precision(counts[1], counts[0])


def _area(counts: Counts, loss: float, mass: float) -> float | None:
    return roc_auc(counts[1], counts[0])


def _loss(counts: Counts, loss: float, mass: float) -> float | None:
    rows = float(counts.sum())
    return float(loss) / rows if rows else None


def _ratio(counts: Counts, loss: float, mass: float) -> float | None:
    hits = float(counts[1].sum())
    return float(mass) / hits if hits else None


_FIGURES: dict[str, Callable[[Counts, float, float], float | None]] = {
    "roc_auc": _area,
    "average_precision": _precision,
    "log_loss": _loss,
    "mean_probability_over_rate": _ratio,
}


def _gained(ours: float | None, theirs: float | None, sign: float) -> float | None:
    return None if ours is None or theirs is None else sign * (ours - theirs)


def sure(gain: dict[str, Any]) -> bool:
    """Whether a gain, positive or negative, is more than `SURE` of its errors away from nothing."""
    value, error = gain["value"], gain["error"]
    return value is not None and error is not None and abs(value) > SURE * error
