"""Private: training whose steps on real rows are differentially private, and what a bill comes to. torch; Opacus.

DP-SGD (Abadi et al., "Deep learning with differential privacy", CCS 2016) for the discriminator, the only network that
sees real rows: each row is in a batch by its own chance, its gradient is clipped, their sum gets noise (Opacus's
optimizer), and the generator learns from the discriminator alone. Bills are counted by Opacus's Renyi accountant, for
adding or removing one row.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.nn.functional import softplus

from stream_balance.core.synthesis import PrivacySettings, Spent
from stream_balance.gan.model import Generator, Perceptron
from stream_balance.gan.table import Layout
from stream_balance.gan.train import AVERAGE, BATCH, CURVE_EVERY, RATE_D, RATE_G, Adam, Matrix, Trained, fresh_weights

KEEP = 0.98  # of levels drawn each by itself: more of them have to move than where trees have drawn them


def sample_rate(rows: int, batch: int) -> float:
    """The chance of each of so many rows to be in a batch of about so many."""
    return min(1.0, batch / rows)


def epsilon(spent: Spent, delta: float) -> float:
    """What all trainings have spent together; 0 for none."""
    from opacus.accountants import RDPAccountant  # noqa: PLC0415  # optional, and slow to import

    if not spent:
        return 0.0
    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps) for noise, rate, steps in spent]
    with warnings.catch_warnings():
        # That a finer choice of orders would give a tighter bound: it is a bound all the same.
        warnings.filterwarnings("ignore", message="Optimal order is the")
        return float(accountant.get_epsilon(delta))


def train_privately(
    layout: Layout,
    real: Matrix,
    drawn: Matrix,
    *,
    steps: int,
    seed: int,
    settings: PrivacySettings,
    weights: Mapping[str, Matrix] | None = None,
) -> Trained:
    """Train for `steps` on `real` (n, size). `drawn` (m, size) must come from no joint distribution of real rows."""
    from opacus.optimizers import DPOptimizer  # noqa: PLC0415  # optional, and slow to import

    start = fresh_weights(layout, seed) if weights is None else weights
    generator, discriminator = Generator(layout, keep=KEEP), Perceptron(layout.size, 1)
    g = torch.from_numpy(start["generator"].copy()).requires_grad_()
    d = torch.nn.Parameter(torch.from_numpy(start["discriminator"].copy()))
    averaged, adam_g, adam_d = g.detach().clone(), Adam(g), Adam(d)
    rng, chance = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    rows, samples, rate = torch.from_numpy(real), torch.from_numpy(drawn), sample_rate(len(real), settings.batch)
    noisy = DPOptimizer(
        torch.optim.SGD([d], lr=1.0), noise_multiplier=settings.noise, max_grad_norm=settings.clip,
        expected_batch_size=max(1, round(rate * len(real))),
        generator=torch.Generator().manual_seed(int(np.random.default_rng((seed, 1)).integers(2**62))),
    )  # fmt: skip

    def loss_of_one(flat: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        return softplus(-discriminator(flat, row[None])).sum()

    by_row: Callable[..., torch.Tensor] = torch.func.vmap(torch.func.grad(loss_of_one), in_dims=(None, 0))
    curve = []

    def made() -> torch.Tensor:
        picked = torch.from_numpy(rng.integers(len(samples), size=BATCH))
        return generator(g, samples[picked], torch.rand(BATCH, generator.chance, generator=chance))

    for step in range(steps):
        # The discriminator: real rows through clipping and noise; made rows are nobody's.
        batch = rows[torch.from_numpy(np.flatnonzero(rng.random(len(rows)) < rate))]
        d.grad_sample = by_row(d.detach(), batch) if len(batch) else torch.zeros(0, len(d))  # type: ignore[attr-defined]
        noisy.pre_step()
        with torch.no_grad():
            fakes = made()
        loss_made = softplus(discriminator(d, fakes)).mean()
        assert d.grad is not None, "set by the optimizer"
        adam_d.step(d.grad + torch.autograd.grad(loss_made, d)[0], 2 * RATE_D)
        noisy.zero_grad()

        loss_g = softplus(-discriminator(d.detach(), made())).mean()
        adam_g.step(torch.autograd.grad(loss_g, g)[0], RATE_G)
        averaged.lerp_(g.detach(), 1 - AVERAGE)
        if step % CURVE_EVERY == 0:
            # The loss on real rows would be one more look at them.
            curve.append((float(step), math.nan, loss_g.item()))
    return Trained({"generator": averaged.numpy(), "discriminator": d.detach().numpy()}, np.array(curve))
