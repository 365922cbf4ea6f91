"""Network: what it says and its gradients are autograd's, the penalty's and the generator's included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_balance.core.synthesis import RecipeSettings
from stream_balance.gan.makers import Start, encode
from tests.gan.tables import NOMINAL, mixed

torch = pytest.importorskip("torch", reason="needs the extra 'gan'")

from torch.nn.functional import softplus  # noqa: E402

from stream_balance.gan.model import Generator, Perceptron  # noqa: E402  # imports torch
from stream_balance.gan.network import Network  # noqa: E402

ROWS, SEEDS = 40, range(3)


def drawn(seed: int) -> tuple[np.random.Generator, Perceptron, Any, Any]:
    """Random numbers, a perceptron of 7 inputs, random weights for it, and rows; all float64."""
    rng = np.random.default_rng(seed)
    shape = Perceptron(7, 1)
    weights = rng.normal(size=shape.size) / 4
    return rng, shape, weights, torch.from_numpy(rng.normal(size=(ROWS, 7)))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminators_loss_with_its_penalty_has_autograds_gradient(seed: int) -> None:
    _, shape, weights, rows = drawn(seed)
    flat, half = torch.from_numpy(weights).requires_grad_(), ROWS // 2
    real = rows[:half].clone().requires_grad_()
    logits = shape(flat, torch.cat((real, rows[half:])))
    (slope,) = torch.autograd.grad(logits[:half].sum(), real, create_graph=True)
    loss = softplus(-logits[:half]).mean() + softplus(logits[half:]).mean()
    expected = torch.autograd.grad(loss + 1.5 * slope.square().sum(dim=1).mean(), flat)[0]

    network = Network(shape, weights)
    said = network(rows)
    first, second = network.hidden(torch.ones(ROWS, 1, dtype=torch.float64))
    pull = torch.sigmoid(said)
    pull[:half] -= 1.0
    pull /= half
    network.collect(pull, first * pull, second * pull)
    network.penalise(3.0 / half, first[:half], second[:half])
    torch.testing.assert_close(said, logits.detach())
    torch.testing.assert_close(network.gradient, expected)
    torch.testing.assert_close(network.slope(first)[:half], slope.detach())


@pytest.mark.parametrize("held", [(), (True, False, False, True)])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_generators_loss_has_autograds_gradient(seed: int, held: tuple[bool, ...]) -> None:
    rows = mixed(200, seed)
    table = Start.of(rows, NOMINAL, b"", RecipeSettings()).table
    generator, rng = Generator(table.layout, held), np.random.default_rng(seed)
    before = torch.from_numpy(encode(*table.scores(rows, rng), table.layout))
    chance = torch.from_numpy(rng.random((len(rows), generator.chance))).float()
    weights = generator.net.fresh(rng, last=1.0)
    judge = torch.from_numpy(rng.normal(size=(table.layout.size, 1))).float()
    flat = torch.from_numpy(weights).requires_grad_()
    made = generator(flat, before, chance)
    expected = torch.autograd.grad(torch.tanh(made @ judge).mean(), flat)[0]

    network = Network(generator.net, weights)
    ours = generator.edited(before, network(generator.given(before, chance)), chance)
    pull = (1 - torch.tanh(ours @ judge).square()) @ judge.T / len(rows)
    edit = generator.pull(ours, pull)
    network.collect(edit, *network.hidden(edit))
    torch.testing.assert_close(ours, made.detach())
    torch.testing.assert_close(network.gradient, expected, rtol=1e-4, atol=1e-7)
