"""Fast logistic regression: River's StandardScaler and LogisticRegression(SGD(.01)) as arithmetic on arrays.

Agrees with River within 1e-9 on the same samples, absent values and nominal levels included: a second implementation,
held to the first by a contract test. A search is scored as one matrix product, and learned as one: each step of SGD is
along one row, so the logits of later rows need only the products of the rows with each other (the kernel form).
"""

from __future__ import annotations

import math
from operator import mul

import numpy as np
import numpy.typing as npt

from stream_balance.core.arms.model import abstention
from stream_balance.core.records import Columns, Floats, Samples, Scores, fitted

RATE = 0.01  # of weights and intercept alike
_TINY = 1e-300  # stands for a variance of 0
SATURATION = 30.0  # beyond this logit River's sigmoid is exactly 0 or 1
BLOCK = 64  # rows learned by one product
_STEPS: Floats = np.arange(1.0, BLOCK + 1.0)[:, None]

_Indices = npt.NDArray[np.intp]
_Bools = npt.NDArray[np.bool_]


class FastLogistic:
    """Online logistic regression on standardised columns, for two classes.

    Each column keeps its own count, mean and variance over the rows where it is present (Welford), the row that is
    being learned included; a column without variance counts as 0, as does an absent value. A nominal column has a
    weight per level and is not scaled. `Samples.offsets` is in the logit while a row is learned and not when asked.
    """

    supports_offset = True
    honours_weights = True

    def __init__(self) -> None:
        self.learned = 0
        self.intercept = 0.0
        self.levels: dict[int, Floats] = {}  # by nominal column: weight by level code
        self._width = 0
        # Numeric columns that were ever present, in the order of the columns; and those that were not yet.
        self._met: _Indices = np.zeros(0, dtype=np.intp)
        self._unmet: _Indices = np.zeros(0, dtype=np.intp)
        self.count = self.mean = self.variance = self.weight = np.zeros(0)  # by column of `_met`

    def _widen(self, width: int, columns: Columns) -> None:
        new = range(self._width, width)
        for column in columns.nominal_indices:
            if column in new:
                self.levels[column] = np.zeros(1)
        numeric = np.array([column for column in new if column not in self.levels], dtype=np.intp)
        self._unmet = np.concatenate((self._unmet, numeric))
        self._width = width

    def _meet(self, rows: Floats) -> None:
        """A numeric column that was never present takes its first value for its mean."""
        present = ~np.isnan(rows.take(self._unmet[self._unmet < rows.shape[1]], axis=1))
        seen = np.zeros(len(self._unmet), dtype=np.bool_)
        seen[: present.shape[1]] = present.any(axis=0)
        if not seen.any():
            return
        new = self._unmet[seen]
        first = rows[present[:, seen[: present.shape[1]]].argmax(axis=0), new]
        places = np.searchsorted(self._met, new)
        self._met, self._unmet = np.insert(self._met, places, new), self._unmet[~seen]
        self.mean = np.insert(self.mean, places, first)
        self.count, self.variance, self.weight = (
            np.insert(each, places, 0.0) for each in (self.count, self.variance, self.weight)
        )

    def _numbers(self, values: Floats) -> Floats:
        """The columns that were ever present, of rows of any width, (n, m)."""
        return fitted(values, self._width).take(self._met, axis=1)

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

    def predict_single(self, values: Floats) -> float:
        """The same of an only row, as a float; NaN: nothing."""
        if not self.learned:
            return math.nan
        logit = self.logits(values).item()
        if logit > SATURATION:
            return 1.0
        return 0.0 if logit < -SATURATION else 1.0 / (1.0 + math.exp(-logit))

    def logits(self, values: Floats) -> Floats:
        """Log odds of class 1 without offset, (n,)."""
        centred = self._numbers(values) - self.mean
        weight = self.weight / np.sqrt(np.maximum(self.variance, _TINY))
        logit: Floats = centred @ weight
        if not math.isfinite(logit @ logit):
            centred[np.isnan(centred)] = 0.0
            logit = centred @ weight
        logit += self.intercept
        for column, weights in self.levels.items():
            if column < values.shape[1]:
                codes = values[:, column]
                known = codes < len(weights)  # False where absent
                if known.any():
                    logit[known] += weights[codes[known].astype(np.intp)]
        return logit

    def learn(self, samples: Samples, columns: Columns) -> None:
        """SGD on the logarithmic loss, `times` steps a row; the scaler counts the row each time, as River does."""
        samples = samples.unrolled()
        rows, weights = samples.rows, samples.weights
        if rows.shape[1] > self._width:
            self._widen(rows.shape[1], columns)
        if len(self._unmet):
            self._meet(rows)
        numbers = self._numbers(rows)
        codes = {column: rows[:, column] for column in self.levels if column < rows.shape[1]}
        signs = [1.0 if label else -1.0 for label in samples.labels]
        offsets = [offset[0] for offset in samples.offsets]
        for first in range(0, len(signs), BLOCK):
            block = slice(first, first + BLOCK)
            scaled = self._standardise(numbers[block])
            places = [self._places(column, each[block]) for column, each in codes.items()]
            known = [each for each in places if each is not None]
            self._descend(scaled, signs[block], offsets[block], known, weights and weights[block])
        self.learned += len(signs)

    def _standardise(self, rows: Floats) -> Floats:
        """Let the scaler learn the rows one after the other; each row as it was scaled with itself included, (k, m).

        Welford's recursion in closed form: with reference r (the mean before, or the first value ever),
        mean_k = r + sum_j (x_j - r) / n_k and S_k = S_0 + sum_j (x_j - mean_(j-1)) (x_j - mean_j).
        Where there is no variance the deviation is exactly 0, so that a tiny divisor leaves it 0.
        """
        difference = rows - self.mean
        if len(rows) == 1 and not math.isnan(np.add.reduce(difference[0])):
            return self._standardise_row(difference)
        absent = np.isnan(rows)
        ragged = bool(absent.any())
        if ragged:
            difference[absent] = 0.0
            count = self.count + (~absent).cumsum(axis=0)
            divisor = np.maximum(count, 1.0)
        else:
            divisor = count = self.count + _STEPS[: len(rows)]
        moved = difference.cumsum(axis=0) / divisor  # mean_k - r
        now: Floats = difference - moved
        if ragged:
            now[absent] = 0.0
        difference[1:] -= moved[:-1]
        difference *= now
        variance = (self.variance * self.count + difference.cumsum(axis=0)) / divisor
        self.count = count[-1]
        self.mean = self.mean + moved[-1]
        self.variance = variance[-1]
        now /= np.sqrt(np.maximum(variance, _TINY))
        return now

    def _standardise_row(self, difference: Floats) -> Floats:
        """The same for one row without absent values."""
        count = self.count + 1.0
        moved = difference[0] / count
        now: Floats = difference - moved
        variance = self.variance * self.count
        variance += difference[0] * now[0]
        variance /= count
        self.count, self.mean, self.variance = count, self.mean + moved, variance
        now /= np.sqrt(np.maximum(variance, _TINY))
        return now

    def _places(self, column: int, codes: Floats) -> tuple[int, Floats] | None:
        """A nominal column and its codes, with room for the weights of all; None where all are absent."""
        highest = np.fmax.reduce(codes)
        if math.isnan(highest):
            return None
        weights = self.levels[column]
        if highest >= len(weights):
            wider = self.levels[column] = np.zeros(max(int(highest) + 1, 2 * len(weights)))
            wider[: len(weights)] = weights
        return column, codes

    def _descend(
        self,
        scaled: Floats,
        signs: list[float],
        offsets: list[float],
        places: list[tuple[int, Floats]],
        importance: list[float] | None,
    ) -> None:
        """k steps: the logit of row i is that of the weights before, less each earlier step times rows i x j."""
        alone = len(signs) == 1  # no row before it
        products = np.zeros((1, 0)) if alone else scaled @ scaled.T
        products += 1.0  # the intercept's
        before = scaled @ self.weight
        before += offsets
        before += self.intercept
        known: list[tuple[Floats, _Bools, _Indices]] = []
        for column, codes in places:
            if not alone:
                products += codes[:, None] == codes  # false where absent
            present = ~np.isnan(codes)
            weights, levels = self.levels[column], codes[present].astype(np.intp)
            before[present] += weights[levels]
            known.append((weights, present, levels))
        steps: list[float] = []
        for sign, logit, row in zip(signs, before.tolist(), products.tolist(), strict=True):
            z = sign * (logit - sum(map(mul, steps, row)))
            # River's shortcuts for large logits; the gradient by the logit is between -1 and 1.
            if z > 18.0:
                step = -sign * RATE * math.exp(-z)
            elif z < -18.0:
                step = -sign * RATE
            else:
                step = -sign * RATE / (math.exp(z) + 1.0)
            steps.append(step if importance is None else step * importance[len(steps)])
        taken = np.array(steps)
        self.intercept -= sum(steps)
        self.weight = self.weight - taken @ scaled
        for weights, present, levels in known:
            np.subtract.at(weights, levels, taken[present])

    def digest_state(self) -> object:
        """All of it."""
        levels = [[column, np.trim_zeros(weights, "b")] for column, weights in sorted(self.levels.items())]
        return [self.learned, self.intercept, self._met, self.count, self.mean, self.variance, self.weight, levels]
