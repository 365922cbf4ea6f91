"""Model: the two networks. The generator edits rows drawn before it; the discriminator tells real from made. torch.

An encoded row is (p scores, then the one-hot places of each nominal column), width `layout.size`. The generator's last
layer starts at zero, so that its first rows are those drawn: training only bends what simpler means already give.
All weights of a network are one flat vector: at these sizes a step costs calls, not sums, and this needs the fewest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from stream_balance.gan.table import Layout

HIDDEN = 128
NOISE = 16
SLOPE = 0.2
TEMPERATURE = 0.5  # of the Gumbel softmax (Jang, Gu and Poole 2017)
KEEP = 0.998  # the chance that an unedited generator keeps the level that was drawn
EXPONENT_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Perceptron:
    """Two hidden layers of leaky ReLUs between `width_in` and `width_out`; its weights come as one vector."""

    width_in: int
    width_out: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of weights and biases, in their order in the vector."""
        return (
            (self.width_in, HIDDEN), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN,),
            (HIDDEN, self.width_out), (self.width_out,),
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    def fresh(self, rng: np.random.Generator, *, last: float) -> npt.NDArray[np.float32]:
        """Weights uniform within 1 / sqrt(inputs), those of the last layer times `last`."""
        parts = []
        for i, shape in enumerate(self.shapes):
            bound = 1 / math.sqrt(self.shapes[i - i % 2][0])
            parts.append(rng.uniform(-bound, bound, math.prod(shape)) * (last if i > 3 else 1.0))
        return np.concatenate(parts).astype(np.float32)

    def parts(self, vector: Tensor) -> list[Tensor]:
        """Weights and biases within their vector."""
        parts = torch.split(vector, [math.prod(shape) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def __call__(self, weights: Tensor, rows: Tensor) -> Tensor:
        """(n, width_in) -> (n, width_out)."""
        w1, b1, w2, b2, w3, b3 = self.parts(weights)
        hidden = leaky_relu(torch.addmm(b1, rows, w1), SLOPE)
        return torch.addmm(b3, leaky_relu(torch.addmm(b2, hidden, w2), SLOPE), w3)


class Generator:
    """(n, size) rows drawn and (n, `chance`) uniform numbers -> (n, size) rows, levels as simplex points.

    `held` marks the numeric columns, (p,), that stay as they were drawn; `keep` is the share of levels that an
    unedited generator keeps.
    """

    def __init__(self, layout: Layout, held: Sequence[bool] = (), keep: float = KEEP) -> None:
        self.net = Perceptron(layout.size + NOISE, layout.size)
        self._free = torch.ones(layout.size)
        self._free[: len(held)] = 1.0 - torch.tensor(held, dtype=torch.float32)
        self._scores = len(layout.numeric)
        self.chance = NOISE + layout.size - self._scores
        widths = np.repeat(layout.slots, layout.slots).astype(np.float32)
        rest = np.log((1 - keep) / widths) if len(widths) else widths
        kept = np.log(keep + (1 - keep) / widths) if len(widths) else widths
        self._rest, self._step = torch.from_numpy(rest), torch.from_numpy(kept - rest)
        column = np.repeat(np.arange(len(layout.slots)), layout.slots)
        self._same = torch.from_numpy((column[:, None] == column).astype(np.float32))  # places of one column

    def __call__(self, weights: Tensor, drawn: Tensor, chance: Tensor) -> Tensor:
        return self.edited(drawn, self.net(weights, self.given(drawn, chance)), chance)

    def given(self, drawn: Tensor, chance: Tensor) -> Tensor:
        """What the network is given, (n, size + `NOISE`)."""
        return torch.cat((drawn, chance[:, :NOISE] * 4.0 - 2.0), dim=1)

    def edited(self, drawn: Tensor, edit: Tensor, chance: Tensor) -> Tensor:
        """The rows that an edit (n, size) makes of those drawn."""
        p, edit = self._scores, edit * self._free
        if p == drawn.shape[1]:
            return drawn + edit
        gumbel = -torch.log(-torch.log(chance[:, NOISE:].clamp(1e-7, 1 - 1e-7)))
        places = drawn[:, p:] * self._step + self._rest + edit[:, p:] + gumbel
        mass = (places / TEMPERATURE).clamp(-EXPONENT_MAX, EXPONENT_MAX).exp()
        return torch.cat((drawn[:, :p] + edit[:, :p], mass / (mass @ self._same)), dim=1)

    def pull(self, made: Tensor, pull: Tensor) -> Tensor:
        """Pulls on the edit for pulls on the rows that it `made`, both (n, size)."""
        p = self._scores
        if p == made.shape[1]:
            return pull * self._free
        places = pull[:, p:] * made[:, p:]
        places = (places - made[:, p:] * (places @ self._same)) / TEMPERATURE
        return torch.cat((pull[:, :p], places), dim=1) * self._free
