"""Train: one visible loop. In: encoded real rows, drawn rows, a seed, perhaps earlier weights. Out: weights, curve.

Non-saturating logistic loss (Goodfellow et al. 2014) with the R1 penalty on real rows (Mescheder, Geiger and Nowozin,
"Which training methods for GANs do actually converge?", ICML 2018) at every fourth step; averaged generator weights; a
price on every edit, so that what the discriminator cannot be sure of stays as it was drawn.
The number of steps is the recipe's, never the clock's, and one thread does all: the same request gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import softplus

from stream_balance.core.synthesis import RecipeSettings
from stream_balance.gan.model import KEEP, Generator, Perceptron
from stream_balance.gan.network import Network
from stream_balance.gan.table import Layout

Matrix = npt.NDArray[np.float32]

BATCH = 128
BETAS = (0.5, 0.9)
RATE_G, RATE_D = 1e-3, 2e-3
FALL = 0.5  # over this last part of the steps both rates fall to 0
R1_WEIGHT, R1_EVERY = 1.0, 4
EDIT_WEIGHT = 1.0  # of half the square of a row's edit in the generator's loss
AVERAGE = 0.99  # decay of the averaged generator, per step
CURVE_EVERY = 10


@dataclass(frozen=True, slots=True)
class Trained:
    """`weights`: "generator" (averaged) and "discriminator"; `curve` is (steps / 10, 3): step, losses of D and G."""

    weights: dict[str, Matrix]
    curve: npt.NDArray[np.float64]


def fresh_weights(layout: Layout, seed: int) -> dict[str, Matrix]:
    """Weights to begin with: a generator that edits nothing."""
    rng = np.random.default_rng(seed)
    return {
        "generator": Generator(layout).net.fresh(rng, last=0.0),
        "discriminator": Perceptron(layout.size, 1).fresh(rng, last=1.0),
    }


def steps_for(rows: int, settings: RecipeSettings, *, warm: bool) -> int:
    """Steps of a training on so many rows. Seen too often, few rows are learned by heart."""
    part = min(1.0, settings.passes_max * rows / (BATCH * settings.steps_cold))
    return max(1, round(part * (settings.steps_warm if warm else settings.steps_cold)))


@torch.inference_mode()
def train(
    layout: Layout,
    real: Callable[[np.random.Generator], Matrix],
    drawn: Matrix,
    *,
    steps: int,
    seed: int,
    weights: Mapping[str, Matrix] | None = None,
    held: Sequence[bool] = (),
    edit_weight: float = EDIT_WEIGHT,
) -> Trained:
    """Train for `steps`. `real(rng)` is one pass of all real rows, (n, size), ties spread anew; `drawn` (m, size).

    `held` marks the numeric columns that are not edited; the more `edit_weight`, the surer an edit has to be.
    """
    start = fresh_weights(layout, seed) if weights is None else weights
    generator = Generator(layout, held)
    g, d = Network(generator.net, start["generator"]), Network(Perceptron(layout.size, 1), start["discriminator"])
    averaged, adam_g, adam_d = g.weights.clone(), Adam(g.weights), Adam(d.weights)
    rng, chance = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    reals, samples = Batches(lambda: real(rng), rng), Batches(lambda: drawn, rng)
    one = torch.ones(1, 1)
    curve = []
    for step in range(steps):
        left = min(1.0, (1 - step / steps) / FALL)
        before, numbers = samples.next(), torch.rand(BATCH, generator.chance, generator=chance)
        said = g(generator.given(before, numbers))
        made = generator.edited(before, said, numbers)

        # The discriminator: up on real rows, down on made ones.
        logits = d(torch.cat((reals.next(), made)))
        first, second = d.hidden(one.expand(len(logits), 1))
        doubt = torch.sigmoid(logits)
        doubt[:BATCH] -= 1.0
        pull = doubt / BATCH
        d.collect(pull, first * pull, second * pull)
        if step % R1_EVERY == 0:
            d.penalise(R1_WEIGHT * R1_EVERY / BATCH, first[:BATCH], second[:BATCH])
        if step % CURVE_EVERY == 0:
            on_real, on_made = softplus(-logits[:BATCH]).mean(), softplus(logits[BATCH:]).mean()
            curve.append((float(step), (on_real + on_made).item(), softplus(-logits[BATCH:]).mean().item()))
        adam_d.step(d.gradient, left * RATE_D)

        # The generator: make the discriminator say real, by now a better one.
        logits = d(made)
        pull = (torch.sigmoid(logits) - 1.0) / BATCH
        edit = generator.pull(made, d.slope(d.hidden(pull)[0])).add_(said, alpha=edit_weight / BATCH)
        g.collect(edit, *g.hidden(edit))
        adam_g.step(g.gradient, left * RATE_G)

        averaged.lerp_(g.weights, 1 - AVERAGE)
    return Trained({"generator": averaged.numpy(), "discriminator": d.weights.numpy()}, np.array(curve))


def generate(
    layout: Layout,
    weights: Mapping[str, Matrix],
    drawn: Matrix,
    seed: int,
    *,
    held: Sequence[bool] = (),
    keep: float = KEEP,
) -> Matrix:
    """Rows (m, size) that the averaged generator makes of drawn rows (m, size)."""
    generator, chance = Generator(layout, held, keep), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        numbers = torch.rand(len(drawn), generator.chance, generator=chance)
        made = generator(torch.from_numpy(weights["generator"].copy()), torch.from_numpy(drawn), numbers)
    rows: Matrix = made.numpy()
    return rows


class Adam:
    """Kingma and Ba (2015), algorithm 1, on one vector. torch.optim's costs as much as the network at this size."""

    def __init__(self, weights: Tensor) -> None:
        self._weights = weights
        self._mean, self._square = torch.zeros_like(weights), torch.zeros_like(weights)
        self._steps = 0

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """One step down the gradient."""
        self._steps += 1
        self._mean.lerp_(gradient, 1 - BETAS[0])
        self._square.lerp_(gradient * gradient, 1 - BETAS[1])
        rate *= (1 - BETAS[1] ** self._steps) ** 0.5 / (1 - BETAS[0] ** self._steps)
        self._weights.addcdiv_(self._mean, self._square.sqrt().add_(1e-8), value=-rate)


class Batches:
    """Rows in batches of `BATCH`, every row once a pass, in an order of chance; `rows` gives each pass its rows."""

    def __init__(self, rows: Callable[[], Matrix], rng: np.random.Generator) -> None:
        self._source, self._rng = rows, rng
        self._rows = torch.empty(0)
        self._at = 0

    def next(self) -> Tensor:
        """(BATCH, size) rows."""
        parts, missing = [], BATCH
        while missing:
            if self._at >= len(self._rows):
                rows = self._source()
                self._rows, self._at = torch.from_numpy(rows[self._rng.permutation(len(rows))]), 0
            part = self._rows[self._at : self._at + missing]
            self._at += len(part)
            missing -= len(part)
            parts.append(part)
        return torch.cat(parts)
