"""Small mixed tables for the tests of the GAN: rows with a dependence that a copula cannot see, and their kin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_balance.core.synthesis import RecipeSettings, TrainingSet

Floats = npt.NDArray[np.float64]
NOMINAL = (4, 5)


def mixed(n: int, seed: int) -> Floats:
    """A score, its noisy square, a price in cents, zeros with a tail and absences, two nominal columns. (n, 6)"""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    square = x * x + 0.3 * rng.normal(size=n)
    price = np.round(np.exp(1 + 0.5 * x + 0.3 * rng.normal(size=n)), 2)
    spent = np.where(rng.random(n) < 0.5, 0.0, price)
    spent[rng.random(n) < 0.1] = np.nan
    side = (x > 0).astype(np.float64)
    level = rng.choice(12, n, p=np.arange(12, 0, -1) / 78).astype(np.float64)
    return np.column_stack([x, square, price, spent, side, level])


def request(n: int = 300, others: int = 300, seed: int = 0, weights: bytes = b"", **settings: object) -> TrainingSet:
    """A request on `mixed` rows against noise; every fourth row or so is held out."""
    rng = np.random.default_rng(seed)
    noise = mixed(others, seed + 1)
    noise[:, 1] = rng.permutation(noise[:, 1])
    quick = {"steps_cold": 20, "steps_warm": 10, "release_rows": 200, "shadow_repeats": 1}
    return TrainingSet(
        label=1, rows=mixed(n, seed), held_out=rng.random(n) < 0.25, others=noise,
        others_held_out=rng.random(others) < 0.25, nominal=NOMINAL, rate=0.05, model="logistic", seed=seed,
        settings=RecipeSettings.model_validate(quick | settings), weights=weights,
    )  # fmt: skip
