"""Networks: K small neural classifiers as one set of arrays, learning with Adam. In: rows. Out: logits. float32.

Parameters lie in one vector per network, (K, p), so that a step of Adam is a dozen vector operations for all of them,
and the layers are batched products. Adam: Kingma & Ba 2015; decoupled decay: Loshchilov & Hutter 2019.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Singles = npt.NDArray[np.float32]

DECAY = 0.05  # decoupled: per step, times the learning rate
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_LOGIT_MAX = np.float32(60.0)  # its exponential is still a float32


class Networks:
    """K networks width -> hidden -> hidden -> outputs (ReLU) and their Adam state. Grows with `widen`.

    >>> networks = Networks(2, 4, 1, 1e-3, DECAY)
    >>> networks.widen(3, np.random.default_rng(0))
    >>> networks.logits(np.zeros((5, 3), dtype=np.float32)).shape
    (2, 5, 1)
    """

    def __init__(self, networks: int, hidden: int, outputs: int, rate: float, decay: float) -> None:
        self.k, self.hidden, self.outputs = networks, hidden, outputs
        self.steps = 0
        self._rate, self._decay = rate, decay
        self._lay(0)

    def _lay(self, width: int) -> None:
        h, o = self.hidden, self.outputs
        self.width = width
        shape = (self.k, width * h + h + h * h + h + h * o + o)
        self._parameters: Singles = np.zeros(shape, dtype=np.float32)
        self._first: Singles = np.zeros(shape, dtype=np.float32)
        self._second: Singles = np.zeros(shape, dtype=np.float32)
        self._prepare()

    def _prepare(self) -> None:
        """Scratch memory and views into it; no part of the state."""
        self._gradient = np.zeros_like(self._parameters)
        self._scratch = np.zeros_like(self._parameters)
        self._layers, self._slopes = self._views(self._parameters), self._views(self._gradient)
        self._flipped = [layer.transpose(0, 2, 1) for layer in self._layers]

    def _views(self, vector: Singles) -> list[Singles]:
        """Weights and biases of the three layers, (K, in, out) and (K, 1, out), in the vector's memory."""
        h, o = self.hidden, self.outputs
        found, start = [], 0
        for rows, columns in ((self.width, h), (1, h), (h, h), (1, h), (h, o), (1, o)):
            found.append(vector[:, start : start + rows * columns].reshape(self.k, rows, columns))
            start += rows * columns
        return found

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_gradient", "_scratch", "_layers", "_slopes", "_flipped")
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def widen(self, width: int, rng: np.random.Generator) -> None:
        """Take `width` inputs. New ones start random, as all do at first; the old ones keep what they learned."""
        known, old = self.width, [self._views(each) for each in (self._parameters, self._first, self._second)]
        self._lay(width)
        for views, vector in zip(old, (self._parameters, self._first, self._second), strict=True):
            for before, after in zip(views, self._views(vector), strict=True):
                after[:, : before.shape[1]] = before
        weights = self._layers
        weights[0][:, known:] = rng.standard_normal((self.k, width - known, self.hidden)) * math.sqrt(2.0 / width)
        if not known:
            weights[2][...] = rng.standard_normal(weights[2].shape) * math.sqrt(2.0 / self.hidden)
            weights[4][...] = rng.standard_normal(weights[4].shape) * math.sqrt(1.0 / self.hidden)

    def logits(self, rows: Singles) -> Singles:
        """Logits of rows (n, width), by network, (K, n, outputs)."""
        w1, b1, w2, b2, w3, b3 = self._layers
        hidden = rows @ w1
        hidden += b1
        hidden = np.maximum(hidden, 0.0, out=hidden) @ w2
        hidden += b2
        found: Singles = np.maximum(hidden, 0.0, out=hidden) @ w3
        found += b3
        return found

    def step(self, rows: Singles, truth: Singles, offset: Singles) -> None:
        """One Adam step on rows (K, n, width) and one-hot truth of classes 1..C-1, (K or 1, n, outputs).

        `offset`, (outputs,), is in the logits meanwhile.
        """
        w1, b1, w2, b2, w3, b3 = self._layers
        g1, c1, g2, c2, g3, c3 = self._slopes
        first = rows @ w1
        first += b1
        np.maximum(first, 0.0, out=first)
        second = first @ w2
        second += b2
        np.maximum(second, 0.0, out=second)
        logits: Singles = np.matmul(second, w3)
        logits += b3
        logits += offset
        back = softmax(logits)
        back -= truth
        back *= np.float32(1.0 / rows.shape[1])
        # A product with ones is the faster sum over rows; with a single output, a product by element the faster one.
        ones = np.ones((self.k, 1, rows.shape[1]), dtype=np.float32)
        np.matmul(second.transpose(0, 2, 1), back, out=g3)
        np.matmul(ones, back, out=c3)
        back = back * self._flipped[4] if self.outputs == 1 else back @ self._flipped[4]
        back *= second > 0.0
        np.matmul(first.transpose(0, 2, 1), back, out=g2)
        np.matmul(ones, back, out=c2)
        back = back @ self._flipped[2]
        back *= first > 0.0
        np.matmul(rows.transpose(0, 2, 1), back, out=g1)
        np.matmul(ones, back, out=c1)
        self._adam()

    def _adam(self) -> None:
        self.steps += 1
        gradient, first, second, scratch = self._gradient, self._first, self._second, self._scratch
        # The moments are kept as sums, 1 / (1 - beta) times as large: one multiplication less each.
        first *= _BETA1
        first += gradient
        gradient *= gradient
        second *= _BETA2
        second += gradient
        np.sqrt(second, out=scratch)
        unbias1 = (1.0 - _BETA1) / (1.0 - _BETA1**self.steps)
        unbias2 = math.sqrt((1.0 - _BETA2) / (1.0 - _BETA2**self.steps))
        scratch += _EPSILON / unbias2
        np.divide(first, scratch, out=scratch)
        scratch *= self._rate * unbias1 / unbias2
        self._parameters *= 1.0 - self._rate * self._decay
        self._parameters -= scratch

    def digest_state(self) -> object:
        """All numbers."""
        return [self.steps, self._parameters, self._first, self._second]


def softmax(logits: Singles) -> Singles:
    """Probabilities of classes 1..C-1, of logits against class 0, along the last axis.

    >>> softmax(np.zeros((1, 3), dtype=np.float32)).tolist()
    [[0.25, 0.25, 0.25]]
    """
    if logits.shape[-1] == 1:
        found: Singles = np.exp(np.minimum(np.maximum(-logits, -_LOGIT_MAX), _LOGIT_MAX))
        found += 1.0
        return np.divide(1.0, found, out=found)
    top = np.maximum(logits.max(axis=-1, keepdims=True), 0.0)
    above = np.exp(logits - top)
    found = above / (above.sum(axis=-1, keepdims=True) + np.exp(-top))
    return found
