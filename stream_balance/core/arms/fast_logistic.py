"""Fast logistic regression: River's StandardScaler and LogisticRegression(SGD(.01)) as arithmetic on arrays.

Agrees with River within 1e-9 on the same samples, absent values and nominal levels included: a second implementation,
held to the first by a contract test. A search is scored as one matrix product; learning a row is a dozen operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stream_balance.core.arms.model import abstention
from stream_balance.core.records import Columns, Floats, Sample, Scores

RATE = 0.01  # of weights and intercept alike
GRADIENT_MAX = 1e12
_TINY = 1e-300  # stands for a variance of 0
SATURATION = 30.0  # beyond this logit River's sigmoid is exactly 0 or 1


_Places = list[tuple[Floats, int]]  # level weights of a column, and the code of the row's level


class FastLogistic:
    """Online logistic regression on standardised columns, for two classes.

    Each column keeps its own count, mean and variance over the rows where it is present (Welford), the row that is
    being learned included; a column without variance counts as 0, as does an absent value. A nominal column has a
    weight per level and is not scaled. `Sample.offset` is in the logit while a sample is learned and not when asked.
    """

    supports_offset = True

    def __init__(self) -> None:
        self.learned = 0
        self.intercept = 0.0
        self._allocate(0)
        self.levels: dict[int, Floats] = {}  # by nominal column: weight by level code

    def _allocate(self, width: int) -> None:
        self.count: Floats = np.zeros(width)
        self.mean: Floats = np.zeros(width)
        self.variance: Floats = np.zeros(width)
        self.weight: Floats = np.zeros(width)
        self._nominal: npt.NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._numeric: npt.NDArray[np.bool_] = np.ones(width, dtype=np.bool_)
        self._settled = False  # every numeric column has been present

    def _widen(self, width: int, columns: Columns) -> None:
        old = (self.count, self.mean, self.variance, self.weight)
        known = len(self.count)
        self._allocate(width)
        new = (self.count, self.mean, self.variance, self.weight)
        for before, after in zip(old, new, strict=True):
            after[:known] = before
        for column in columns.nominal_indices:
            if column < width and column not in self.levels:
                self.levels[column] = np.zeros(1)
        self._nominal = np.array(sorted(self.levels), dtype=np.intp)
        self._numeric[self._nominal] = False

    def predict(self, values: Floats, columns: Columns) -> Scores:
        """Sigmoid of the logits, one matrix product for all n rows."""
        if not self.learned:
            return abstention(len(values), 2)
        logit = self.logits(values)
        probability = 1.0 / (1.0 + np.exp(-np.maximum(logit, -700.0)))
        size = float(logit @ logit)
        if not size <= SATURATION * SATURATION:  # some may be beyond, or not a number
            probability[logit < -SATURATION] = 0.0
            probability[logit > SATURATION] = 1.0
            return Scores(probability[:, None], np.isnan(probability))
        return Scores(probability[:, None], np.zeros(len(values), dtype=np.bool_))

    def logits(self, values: Floats) -> Floats:
        """Log odds of class 1 without offset, (n,)."""
        width = min(values.shape[1], len(self.count))
        rows = values if width == values.shape[1] else values[:, :width]
        centred = rows - self.mean[:width]
        weight = self.weight[:width] / np.sqrt(np.maximum(self.variance[:width], _TINY))
        logit: Floats = centred @ weight
        if not math.isfinite(logit @ logit):
            centred[np.isnan(rows)] = 0.0
            logit = centred @ weight
        logit += self.intercept
        for column, weights in self.levels.items():
            if column < width:
                codes = rows[:, column]
                known = codes < len(weights)  # False where absent
                logit[known] += weights[codes[known].astype(np.intp)]
        return logit

    def learn(self, sample: Sample, columns: Columns) -> None:
        """SGD on the logarithmic loss, `times` steps; the scaler counts the row each time, as River does."""
        self.learn_all([sample], columns)

    def learn_all(self, samples: Sequence[Sample], columns: Columns) -> None:
        """Learn samples in their order. What the scaler learns of each is worked out for all of them at once."""
        width = max(len(sample.row) for sample in samples)
        if width > len(self.count):
            self._widen(width, columns)
        rows = np.full((len(samples), len(self.count)), np.nan)
        for i, sample in enumerate(samples):
            rows[i, : len(sample.row)] = sample.row
        places = self._places(rows) if self.levels else None
        offsets = [sample.offset[0] for sample in samples]
        signs = [1.0 if sample.label else -1.0 for sample in samples]
        if any(sample.times > 1 for sample in samples):
            repeated = [i for i, sample in enumerate(samples) for _ in range(sample.times)]
            rows, offsets, signs = rows[repeated], [offsets[i] for i in repeated], [signs[i] for i in repeated]
            places = None if places is None else [places[i] for i in repeated]
        self._descend(self._standardise(rows), signs, offsets, places)
        self.learned += len(rows)

    def _standardise(self, rows: Floats) -> Floats:
        """Let the scaler learn the rows one after the other; each row as it was scaled with itself included, (k, d).

        Welford's recursion in closed form: with reference r (the mean before, or the first value of a new column),
        mean_k = r + sum_j (x_j - r) / n_k and S_k = S_0 + sum_j (x_j - mean_(j-1)) (x_j - mean_j).
        Where there is no variance the deviation is exactly 0, so that a tiny divisor leaves it 0.
        """
        present = ~np.isnan(rows)
        if self.levels:
            present[:, self._nominal] = False
        if not self._settled:
            self._meet(rows, present)
        absent = ~present
        difference = rows - self.mean
        difference[absent] = 0.0
        count = self.count + present.cumsum(axis=0)
        divisor = np.maximum(count, 1.0)
        moved = difference.cumsum(axis=0) / divisor  # mean_k - r
        now = difference - moved
        now[absent] = 0.0
        difference[1:] -= moved[:-1]
        difference *= now
        variance = (self.variance * self.count + difference.cumsum(axis=0)) / divisor
        self.count = count[-1]
        self.mean = self.mean + moved[-1]
        self.variance = variance[-1]
        scaled: Floats = now / np.sqrt(np.maximum(variance, _TINY))
        return scaled

    def _meet(self, rows: Floats, present: npt.NDArray[np.bool_]) -> None:
        """A column that was never present takes its first value for its mean."""
        seen = present.any(axis=0)
        for column in np.flatnonzero((self.count == 0) & seen).tolist():
            self.mean[column] = rows[present[:, column].argmax(), column]
        self._settled = bool(((self.count > 0) | seen)[self._numeric].all())

    def _descend(self, scaled: Floats, signs: list[float], offsets: list[float], places: list[_Places] | None) -> None:
        weight, intercept = self.weight, self.intercept
        for i, row in enumerate(scaled):
            logit = float(row @ weight) + intercept + offsets[i]
            if places is not None:
                for weights, code in places[i]:
                    logit += float(weights[code])
            step = RATE * min(max(_gradient(signs[i], logit), -GRADIENT_MAX), GRADIENT_MAX)
            intercept -= step
            weight -= row * step
            if places is not None:
                for weights, code in places[i]:
                    weights[code] -= step
        self.intercept = intercept

    def _places(self, rows: Floats) -> list[_Places]:
        """By row: where the weights of its levels are. Room is made for all before any is pointed at."""
        codes, columns = rows[:, self._nominal], self._nominal.tolist()
        for column, highest in zip(columns, np.fmax.reduce(codes, axis=0).tolist(), strict=True):
            known = self.levels[column]
            if highest >= len(known):
                wider = self.levels[column] = np.zeros(max(int(highest) + 1, 2 * len(known)))
                wider[: len(known)] = known
        weights = [self.levels[column] for column in columns]
        return [
            [(each, int(code)) for each, code in zip(weights, row, strict=True) if not math.isnan(code)]
            for row in codes.tolist()
        ]

    def digest_state(self) -> object:
        """All of it."""
        levels = [[column, np.trim_zeros(weights, "b")] for column, weights in sorted(self.levels.items())]
        return [self.learned, self.intercept, self.count, self.mean, self.variance, self.weight, levels]


def _gradient(sign: float, logit: float) -> float:
    """Derivative of ln(1 + exp(-sign * logit)) by the logit, with River's shortcuts for large logits."""
    z = logit * sign
    if z > 18.0:
        return -sign * math.exp(-z)
    if z < -18.0:
        return -sign
    return -sign / (math.exp(z) + 1.0)
